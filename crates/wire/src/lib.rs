//! Pure byte codecs of the real-time transports: WebSocket, HTTP/1.1 heads and bodies, server-sent events.
//!
//! - [`ws`] — frames, the opening handshake, permessage-deflate.
//! - [`http1`] — strict request heads, chunked bodies, response heads, queries and paths.
//! - [`sse`] — the `text/event-stream` encoder and an incremental client parser.
//!
//! Everything takes bytes and gives bytes or typed messages; a caller brings sockets, time and randomness.
//!
//! Invariant: no input from the network panics, and nothing grows without a limit that the caller gave.
//!
//! ```
//! use omnivox_wire::ws::{DataKind, Decoder, Message, Role, encode_masked};
//!
//! let mut frame = bytes::BytesMut::new();
//! encode_masked(DataKind::Text, b"hello", [1, 2, 3, 4], &mut frame);
//!
//! let mut decoder = Decoder::new(Role::Server, 64 * 1024, None);
//! let step = decoder.step(&mut frame).unwrap();
//! assert_eq!(step.message, Some(Message::Text("hello")));
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test has to start its clock somewhere"))]

#[doc(hidden)]
pub mod fuzzing;
pub mod http1;
pub mod proxy;
pub mod sse;
pub mod ws;
