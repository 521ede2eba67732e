//! STUN and TURN (RFC 8489, 8656) for omnivox, and a relay of its own right.
//!
//! The crate has two halves. [`proto`] is pure: messages, credentials, nonces, the peer policy and the allocation machine,
//! where bytes and times go in and actions come out. The driver behind [`TurnServer`] is the Linux half: worker threads,
//! each with its own sockets and its own machine. Neither knows a hub; whoever embeds the relay gives it an
//! [`Authorize`](credentials::Authorize) and sends revocations.
//!
//! ```no_run
//! # use std::sync::Arc;
//! use omnivox_turn::credentials::{RestSecrets, Secret};
//! use omnivox_turn::{Config, TurnServer};
//!
//! let mut config = Config::new(Arc::new(RestSecrets::new(vec![Secret::new("from the settings")])));
//! config.udp = vec!["0.0.0.0:3478".parse().unwrap()];
//! let relay = TurnServer::start(config).unwrap();
//! println!("{} allocations", relay.stats().allocations);
//! relay.join();
//! ```
//!
//! Invariant: only `driver::socket` has `unsafe` code.

pub mod config;
mod driver;
#[doc(hidden)]
pub mod fuzzing;
pub mod import;
pub mod proto;

pub use config::{Config, RelayAddress, StreamLimits};
pub use driver::{Bound, Handle, StartError, Stats, TurnServer};
pub use proto::credentials;
pub use proto::machine::{Counters, SessionInfo, Settings, Transport, Usage};
pub use proto::policy::{AddressRange, PeerPolicy};
