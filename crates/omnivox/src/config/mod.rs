//! Configuration: one definition, read from four layers, rendered into every document about it.
//!
//! - [`settings`]: the definition itself, and the structs made from it; [`choices`]: the words that some of them choose from
//! - [`layers`]: defaults < file < environment < flags
//! - [`meaning`]: what a server is started with, and the rules between settings
//! - [`traces`]: `[traces]` as the server takes it; [`otel`]: the variables that say the same in OpenTelemetry's words
//! - [`relay`]: `[turn]` as the relay takes it
//! - [`reload`]: what a running server takes over
//! - [`dev`]: what `omnivox dev` has instead of a file
//! - [`hooks`]: back ends that are asked about clients
//! - [`apps`]: the rules between apps; [`secrets`]: what can be guessed
//! - [`secure`]: where certificates come from; [`sockets`]: listening without a port
//! - [`trust`]: whose credentials an app accepts; [`mercure_keys`]: those of Mercure's publishers and subscribers
//! - [`webhooks`]: who is told what happens
//! - [`summary`]: what a server would do; [`weaknesses`]: what is weak in that, although it works
//! - [`render`]: the reference, the sample file and the JSON schema
//! - [`flags`]: the same rows as flags of `omnivox serve`
//! - [`value`], [`table`], [`problem`], [`suggest`]: how a value is read, how the definition works, what errors look like
//!
//! Invariant: this folder reads no file and no environment variable; the commands do, and hand in text.

mod apps;
pub(crate) mod choices;
pub(crate) mod dev;
pub(crate) mod flags;
pub(crate) mod hooks;
pub(crate) mod layers;
pub(crate) mod meaning;
mod mercure_keys;
mod otel;
mod problem;
mod quotas;
pub(crate) mod relay;
mod reload;
pub(crate) mod render;
mod secrets;
mod secure;
pub(crate) mod settings;
pub(crate) mod sockets;
mod suggest;
pub(crate) mod summary;
mod table;
mod traces;
pub(crate) mod trust;
mod value;
pub(crate) mod weaknesses;
pub(crate) mod webhooks;

#[cfg(test)]
mod tests;

pub(crate) use layers::Layers;
pub(crate) use meaning::server_config;
pub(crate) use settings::Config;
