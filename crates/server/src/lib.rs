//! The server: the front door, the driver that runs sessions over carriers, and what an operator sees.
//!
//! - [`config`]: what a server is started with.
//! - [`router`]: which dialect a path belongs to.
//! - `listener`: takes connections, on the thread of a shard that has about as few as the others; `admission`: how many of whom, and how fast.
//! - [`proxies`]: who the client is behind a trusted proxy.
//! - `shard`: a thread that owns its connections, their sessions and its slice of every channel's subscribers.
//! - `background`: the runtime for what may take its time: requests to back ends.
//! - [`tls`]: certificates; [`acme`]: those from an authority; [`bridge`]: HTTP/2 and embedders.
//! - [`socketio`]: Socket.IO inside a program, with closures.
//! - [`traces`]: spans of requests and commands for OpenTelemetry.
//! - [`status`]: health, readiness, metrics, the page at `/`.
//!
//! ```text
//!   listener ──▶ shard ── conn ── session of a dialect ──▶ Hub ──▶ engine
//!                  ▲                                                  │
//!                  └───────────── inbox (bounded) ◀───────────────────┘
//! ```
//!
//! Invariant: a shard never waits for another shard, for a broker or for a client.

pub mod acme;
mod admission;
mod background;
pub mod bridge;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
pub mod metrics;
pub mod proxies;
pub mod relay;
mod roster;
pub mod router;
mod server;
mod shard;
pub mod socketio;
pub mod status;
pub mod tls;
pub mod traces;

pub use config::ServerConfig;
pub use listener::{Endpoint, Identity, Inherited, InheritedSocket, UnixSockets};
#[doc(hidden)]
pub use server::Simulated;
pub use server::{Embedded, Handle, Server, StartError};
pub use shard::{Peer, Stream};
