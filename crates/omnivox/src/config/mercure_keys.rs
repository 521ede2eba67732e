//! The keys of an app's Mercure publishers and subscribers, where those have keys of their own as at Mercure's own hub.
//!
//! ```text
//!   mercure_publisher_secrets, mercure_publisher_keys     ──▶  tokens that may publish
//!   mercure_subscriber_secrets, mercure_subscriber_keys   ──▶  tokens that may subscribe, read history and see who is there
//! ```
//!
//! Each is a list, so that a key can be replaced without a gap: add the new one, let the signers change, take the old one out. A key that is in
//! both lists may do both. Such tokens count at every entrance of the app, for what their key may give and no more.
//!
//! Invariant: what a publisher's key signed never subscribes, and the other way round.

use std::io;
use std::path::Path;
use std::sync::Arc;

use omnivox_auth::key::{Algorithm, VerificationKey};
use omnivox_auth::key_set::{KeySet, KeySetPolicy};
use omnivox_auth::secret::Secret;
use omnivox_auth::token::{Audience, Keys, TokenRules, Trust};
use omnivox_core::Permissions;
use omnivox_dialects::mercure::HUB;

use super::settings::{App, Config};
use super::trust::{public_algorithms, public_key, shared};
use super::value;

/// The trusts of an app in its Mercure keys; `problem` is told of those that can't be used.
pub(super) fn trusts(
    entry: &App,
    config: &Config,
    rules: &TokenRules,
    read: &impl Fn(&Path) -> io::Result<String>,
    problem: &mut impl FnMut(String),
) -> Vec<Trust> {
    let rules = TokenRules { audience: audience(entry, config), ..rules.clone() };
    let publisher = Permissions::PUBLISH;
    let subscriber = Permissions::SUBSCRIBE.with(Permissions::HISTORY).with(Permissions::PRESENCE);
    let roles = [
        ("publisher", publisher, &entry.mercure_publisher_secrets, &entry.mercure_publisher_keys),
        ("subscriber", subscriber, &entry.mercure_subscriber_secrets, &entry.mercure_subscriber_keys),
    ];
    let mut trusts = Vec::new();
    for (role, ceiling, secrets, files) in roles {
        let mut pinned = Vec::new();
        for secret in secrets {
            match of_secret(secret, entry) {
                Ok(key) => pinned.push(key),
                Err(what) => problem(format!("`mercure_{role}_secrets`: {what}")),
            }
        }
        for path in files {
            match read(path).map_err(|error| error.to_string()).and_then(|text| of_file(&text, entry)) {
                Ok(FileKeys::One(key)) => pinned.push(key),
                Ok(FileKeys::Set(set)) => trusts.push(Trust { keys: Keys::Fetched(set), rules: rules.clone(), ceiling }),
                Err(what) => problem(format!("`mercure_{role}_keys` {}: {what}", path.display())),
            }
        }
        if !pinned.is_empty() {
            trusts.push(Trust { keys: Keys::Pinned(pinned), rules: rules.clone(), ceiling });
        }
    }
    trusts
}

/// Whom tokens must be for. Those of the first generation have no `aud`; those of the second name the hub's URL, which is known when
/// the settings say it.
fn audience(entry: &App, config: &Config) -> Audience {
    if !entry.token_audiences.is_empty() {
        return Audience::Named(entry.token_audiences.iter().map(|text| text.as_str().into()).collect());
    }
    match &config.mercure.public_origin {
        Some(origin) => Audience::Named(vec![format!("{}{HUB}", origin.trim_end_matches('/')).into()]),
        None => Audience::Any,
    }
}

fn of_secret(secret: &value::Secret, entry: &App) -> Result<VerificationKey, String> {
    let secret = Secret::parse(secret.reveal()).map_err(|weak| weak.to_string())?;
    // The roles may sign with different algorithms: each secret is pinned to those that it is long enough for.
    let named = shared(entry);
    let fits = |algorithm: &Algorithm| VerificationKey::of_secret(&secret, &[*algorithm]).is_ok();
    let fitting: Vec<Algorithm> = named.iter().copied().filter(fits).collect();
    VerificationKey::of_secret(&secret, if fitting.is_empty() { &named } else { &fitting }).map_err(|error| error.to_string())
}

/// What a key file holds.
enum FileKeys {
    One(VerificationKey),
    Set(Arc<KeySet>),
}

/// A public key (PEM), or a key set (JWKS). The set is read with the settings, and again with them.
fn of_file(text: &str, entry: &App) -> Result<FileKeys, String> {
    if !text.trim_start().starts_with('{') {
        return public_key(text, entry).map(FileKeys::One);
    }
    let mut algorithms = public_algorithms(entry);
    // Shared secrets of a set count only when their algorithm is named.
    algorithms
        .extend(shared(entry).into_iter().filter(|_| !entry.token_algorithms.is_empty()).filter(|name| !Algorithm::PUBLIC.contains(name)));
    let policy = KeySetPolicy { algorithms: algorithms.into(), refresh_ms: u64::MAX, stale_ms: u64::MAX, ..KeySetPolicy::default() };
    // Known by what it holds: when the file has changed, those whom one of its keys let in have to come again.
    let set = KeySet::named(text, policy);
    set.replace(text, 0).map_err(|error| error.to_string())?;
    Ok(FileKeys::Set(Arc::new(set)))
}
