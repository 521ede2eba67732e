//! Whose credentials an app accepts: its secret, the public keys in its files, and the rules for tokens.

use std::io;
use std::path::Path;
use std::sync::Arc;

use omnivox_auth::key::{Algorithm, VerificationKey};
use omnivox_auth::key_set::{KeySet, KeySetPolicy};
use omnivox_auth::secret::Secret;
use omnivox_auth::token::{Audience, Keys, TokenRules, Trust};
use omnivox_auth::{ApiKey, MemoryLimits, Settings};
use omnivox_core::{App as Tenant, Grant, Pattern, Permissions};

use super::choices::TokenAlgorithm;
use super::mercure_keys;
use super::problem::{Place, Problem};
use super::relay::{Meant, Written};
use super::settings::{App, Config};

/// What verifies the credentials of an app. `read` reads a file: key files are the only settings that lie elsewhere.
pub(crate) fn settings(
    tenant: &Arc<Tenant>,
    entry: &App,
    config: &Config,
    read: &impl Fn(&Path) -> io::Result<String>,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut problem = |what: String| problems.push(Problem::new(Place::Section(format!("[[app]] {}", entry.id)), what));
    let rules = rules(entry);
    let limits = &config.limits;
    let mut settings = Settings {
        token_bytes_max: limits.token_bytes_max,
        signature_window_ms: milliseconds(entry.signature_window_ms),
        memory: MemoryLimits {
            tickets_max: limits.tickets_max,
            revocations_max: limits.revocations_max,
            signatures_max: limits.signatures_max,
        },
        ..Settings::open(tenant.clone())
    };
    if let Some(secret) = &entry.secret {
        match Secret::parse(secret.reveal()).map_err(|weak| weak.to_string()).and_then(|secret| {
            let key = VerificationKey::of_secret(&secret, &shared(entry)).map_err(|error| error.to_string())?;
            Ok((key, secret))
        }) {
            Ok((key, secret)) => {
                settings.trusts.push(Trust { keys: Keys::Pinned(vec![key]), rules: rules.clone(), ceiling: Permissions::ALL });
                let id = entry.key.as_deref().unwrap_or(entry.id.as_str());
                settings.api_keys.push(ApiKey::full(tenant, id, secret));
            }
            Err(what) => problem(format!("`secret`: {what}")),
        }
    }
    for key in config.api_key.iter().filter(|key| key.app.as_ref().is_none_or(|app| *app == entry.id)) {
        match key
            .secret
            .as_ref()
            .ok_or_else(|| "is missing; `openssl rand -hex 32` gives one".to_owned())
            .and_then(|secret| Secret::parse(secret.reveal()).map_err(|weak| weak.to_string()))
        {
            Ok(secret) => {
                let grants = key.allow.iter().map(|allowance| allowance.meaning().clone()).collect();
                settings.api_keys.push(ApiKey { id: key.id.as_str().into(), secret, grants });
            }
            Err(what) => problem(format!("[[api_key]] {}: `secret`: {what}", key.id)),
        }
    }
    let mut pinned = Vec::new();
    for path in &entry.token_keys {
        let key = read(path).map_err(|error| error.to_string()).and_then(|pem| public_key(&pem, entry));
        match key {
            Ok(key) => pinned.push(key),
            Err(what) => problem(format!("`token_keys` {}: {what}", path.display())),
        }
    }
    if let Some(location) = &entry.token_key_set {
        let keys = Keys::Fetched(Arc::new(KeySet::named(location, key_set_policy(entry, location))));
        settings.trusts.push(Trust { keys, rules: rules.clone(), ceiling: Permissions::CLIENT });
    }
    if !pinned.is_empty() {
        // Somebody else signs with these: the right to manage stays with the app's own secret.
        settings.trusts.push(Trust { keys: Keys::Pinned(pinned), rules: rules.clone(), ceiling: Permissions::CLIENT });
    }
    settings.trusts.extend(mercure_keys::trusts(entry, config, &rules, read, &mut problem));
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

/// How a key set is kept. A file costs nothing to read, so that it is read again soon after it has changed.
fn key_set_policy(entry: &App, location: &str) -> KeySetPolicy {
    let named: Vec<_> = entry.token_algorithms.iter().copied().map(TokenAlgorithm::to_auth).collect();
    let public = named.iter().any(|algorithm| Algorithm::PUBLIC.contains(algorithm));
    let algorithms = if public { named } else { Algorithm::PUBLIC.into_iter().chain(named).collect() };
    let defaults =
        KeySetPolicy { algorithms: algorithms.into(), pause_ms: milliseconds(entry.token_key_set_pause_ms), ..KeySetPolicy::default() };
    let fetched = ["https://", "http://"].iter().any(|scheme| location.starts_with(scheme));
    if fetched { defaults } else { KeySetPolicy { refresh_ms: 10_000, pause_ms: 1_000, ..defaults } }
}

/// What a key may do: `chat:*=publish,history`.
pub(crate) type Allowance = Meant<Grant>;

impl Written for Grant {
    fn read(text: &str) -> Result<Self, String> {
        // The last `=` divides, because channels may have one in their names.
        let (pattern, names) = text.rsplit_once('=').ok_or("expected PATTERN=permission,…, such as `chat:*=subscribe,publish`")?;
        let pattern = Pattern::parse(pattern).map_err(|error| error.to_string())?;
        let permissions = names.split(',').map(str::trim).try_fold(Permissions::NONE, |all, name| {
            let known = Permissions::named(name);
            known
                .map(|one| all.with(one))
                .ok_or_else(|| format!("{name:?} is no permission; there are subscribe, publish, presence, history, manage and *"))
        })?;
        Ok(Self { pattern, permissions })
    }
}

fn rules(entry: &App) -> TokenRules {
    let texts = |list: &[String]| list.iter().map(|text| text.as_str().into()).collect();
    let defaults = TokenRules::new(entry.id.as_str());
    TokenRules {
        issuers: texts(&entry.token_issuers),
        audience: if entry.token_audiences.is_empty() { defaults.audience } else { Audience::OneOf(texts(&entry.token_audiences)) },
        leeway_ms: milliseconds(entry.token_leeway_ms),
        expiry_required: entry.token_expiry_required,
        lifetime_ms_max: entry.token_lifetime_max_ms.map(milliseconds),
        access_only: entry.token_access_only,
    }
}

fn milliseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The algorithms that the app's secret may be used with: HS256 unless others are named.
pub(crate) fn shared(entry: &App) -> Vec<Algorithm> {
    let named: Vec<_> =
        entry.token_algorithms.iter().copied().map(TokenAlgorithm::to_auth).filter(|name| !Algorithm::PUBLIC.contains(name)).collect();
    if named.is_empty() { vec![Algorithm::HS256] } else { named }
}

/// The algorithms that public keys may be used with: all, unless some are named.
pub(super) fn public_algorithms(entry: &App) -> Vec<Algorithm> {
    let named: Vec<_> =
        entry.token_algorithms.iter().copied().map(TokenAlgorithm::to_auth).filter(|name| Algorithm::PUBLIC.contains(name)).collect();
    if named.is_empty() { Algorithm::PUBLIC.to_vec() } else { named }
}

/// A public key, pinned to the one algorithm that it fits and that is allowed.
pub(super) fn public_key(pem: &str, entry: &App) -> Result<VerificationKey, String> {
    let allowed = public_algorithms(entry);
    let mut tried = allowed.iter().map(|algorithm| VerificationKey::of_pem(pem, *algorithm));
    let first = tried.next().expect("some algorithm is always allowed");
    tried.fold(first, |found, next| if found.is_ok() { found } else { next.or(found) }).map_err(|error| error.to_string())
}

impl TokenAlgorithm {
    fn to_auth(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Hs384 => Algorithm::HS384,
            Self::Hs512 => Algorithm::HS512,
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}
