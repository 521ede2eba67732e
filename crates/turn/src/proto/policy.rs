//! Which peers the relay may reach: the rules are those of every address that is reached on behalf of somebody else.

pub use omnivox_core::address::{AddressRange, DENIED_BY_DEFAULT, InvalidRange, PeerPolicy};
