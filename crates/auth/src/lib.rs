//! Pure verification of credentials: tokens, keys, tickets and signatures in, a [`Principal`](omnivox_core::Principal) or a reason out.
//!
//! Nothing here reads a clock, draws randomness, opens a file or a socket: `now_ms` (milliseconds since the Unix epoch) and entropy are
//! arguments. One exception is the signer's own nonce in [`mint`] with ES256.
//!
//! - [`Authenticator`]: the door of one app, over everything below.
//! - [`token`]: signed tokens (JWT) and their rules; [`key`] and [`key_set`]: what verifies them; [`claims`] and [`mercure`]: what they allow.
//! - [`ticket`]: what browsers put into addresses; [`signature`]: signed requests and webhooks; [`revocation`]: what ended early.
//! - [`secret`]: secrets, and those derived from an app's; [`turn`]: relay credentials; [`seat`]: places in rooms; [`origin`]: pages and cookies.
//! - [`mint`] and [`explain`]: `omnivox token` and `omnivox explain`.
//!
//! `docs/credentials.md` says the same to users.
//!
//! Invariant: a secret is compared in constant time and is in no error, no `Debug` and no explanation.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test has to start its clock somewhere"))]

pub mod api_key;
pub mod authenticator;
pub mod claims;
pub mod error;
pub mod explain;
#[doc(hidden)]
pub mod fuzzing;
mod jws;
pub mod key;
pub mod key_set;
pub mod mercure;
pub mod mint;
pub mod origin;
pub mod revocation;
pub mod seat;
pub mod secret;
pub mod signature;
pub mod ticket;
pub mod token;
pub mod turn;

pub use api_key::ApiKey;
pub use authenticator::{Authenticator, Memory, MemoryLimits, Settings};
pub use error::AuthError;
pub use jws::Header;
