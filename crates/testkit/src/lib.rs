//! What tests share: a dialect and a hub that follow a written transcript, without sockets, clocks or threads of their own.
//!
//! - [`dialect`] — what every dialect must show: a conversation of each kind, and that garbage does not break it.
//! - [`engine`] — what every engine must do: one suite for memory and brokers.
//! - [`transcript`] — `> client`, `< server`, `@ +25s`, `! hub`: one [`check`](transcript::check) for all dialects.
//!
//! Invariant: only tests depend on this crate.

pub mod dialect;
pub mod engine;
pub mod transcript;
