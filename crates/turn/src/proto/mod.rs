//! The pure part: bytes, addresses, times and random numbers come in as arguments, actions go out.
//!
//! Nothing here opens a socket, reads a clock or draws a random number, so every rule of the protocol is a table in a unit
//! test.

#![forbid(unsafe_code)]

pub mod address;
pub mod attribute;
pub mod credentials;
pub mod integrity;
pub mod ledger;
pub mod machine;
pub mod message;
pub mod nonce;
pub mod policy;
pub mod rate;

#[cfg(test)]
mod vectors;
