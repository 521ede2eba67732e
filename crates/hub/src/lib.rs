//! The hub: the one door through which every session of every dialect goes.
//!
//! - [`memory`]: the engine of a node that needs nothing but itself.
//! - [`inbox`]: how news reach the shards, bounded.
//! - [`leases`]: seats of members who have no connection.
//! - [`rooms`]: seats and signals of peers who call each other.
//! - [`key_sets`]: the keys of identity providers, kept fresh; [`quotas`]: what one session, user or app may have.
//! - [`hub`]: commands in, replies out: grants and limits are checked here and nowhere else.
//! - [`hooks`]: the back end is asked about connects, subscribes, publications and calls.
//! - [`calls`]: what clients ask of the application behind the hub.
//! - [`outgoing`]: HTTP requests of our own, to back ends; [`webhooks`]: what happens in an app, told to its back ends.
//! - [`traces`]: whose part a request to a back end is.
//!
//! The subscriber tables and the fan-out are pure and live in `omnivox_core::channel`; the shards that own them in the crate `server`.
//!
//! Invariant: no lock is held across an await, and a publisher never waits for a shard.

mod apps;
pub mod calls;
pub mod hooks;
pub mod hub;
pub mod inbox;
pub mod key_sets;
pub mod leases;
pub mod memory;
pub mod outgoing;
mod patterns;
pub mod quotas;
pub mod rooms;
pub mod traces;
pub mod webhooks;

pub use apps::AppEntry;
pub use hub::{Hub, Outcome};
pub use inbox::{Inbox, Inboxes};
pub use memory::MemoryEngine;
pub use webhooks::Webhooks;
