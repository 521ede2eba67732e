//! What tests share: a dialect and a hub that follow a written transcript, without sockets, clocks or threads of their own.
//!
//! - [`engine`] — what every engine must do: one suite for memory and brokers.
//! - [`transcript`] — `> client`, `< server`, `@ +25s`, `! hub`: one [`check`](transcript::check) for all dialects.
//!
//! Invariant: only tests depend on this crate.

pub mod engine;
pub mod transcript;
