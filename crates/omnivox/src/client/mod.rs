//! A small client of the native protocol, for the commands that talk to a running server.
//!
//! - [`target`], [`connection`], [`tls`]: where the server is, and one connection to it
//! - [`api`]: one request of the HTTP API; [`publish`]: that of a message
//! - [`subscription`]: a stream of messages over [`ws`], [`sse`] or [`poll`], which comes back after a loss and goes on where it was
//! - [`message`], [`trouble`]: what is printed, and what can go wrong
//!
//! The byte codecs are those of crate `wire`; sockets, deadlines and reconnects are here.

pub(crate) mod api;
pub(crate) mod connection;
mod message;
mod poll;
pub(crate) mod publish;
mod sse;
pub(crate) mod subscription;
pub(crate) mod target;
mod tls;
mod trouble;
mod ws;
