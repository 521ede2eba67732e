//! Client protocols as pure state machines: a folder each, none imports another.
//!
//! Each is a [`Dialect`](omnivox_core::Dialect): it opens sessions for requests and encodes events into frames.
//!
//! Invariant: nothing here does I/O, reads a clock or draws a random number, and nothing here knows the hub or a carrier.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test has to start its clock somewhere"))]

pub mod mercure;
pub mod native;
pub mod peerjs;
pub mod socketio;
