//! A key set of an identity provider (JWKS, RFC 7517 §5), and when it should be fetched again.
//!
//! The fetching belongs to the server. It asks [`KeySet::wants_refresh`] about once a second and drives the machine:
//!
//! ```text
//! wants_refresh(now) ── true ──▶ started(now) ──▶ fetch ──▶ replace(text, now)
//!        ▲                                          └─────▶ failed(now): the old keys stay, the pause doubles
//!        └── an unknown `kid` was seen · the keys are old · there are none yet
//! ```
//!
//! Invariant: however many unknown `kid`s come, there is at most one fetch in [`KeySetPolicy::pause_ms`]; a set that can't be read never
//! replaces one that could.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use omnivox_core::grants::Signer;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::key::{Algorithm, Jwk, KeyError, VerificationKey};
use crate::secret::signer;

/// The longest key set that is read, in bytes.
pub const KEY_SET_BYTES_MAX: usize = 256 << 10;
/// The most keys of a set.
pub const KEYS_MAX: usize = 100;

/// How a key set is used and kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySetPolicy {
    /// What its keys may be used with. Shared secrets (`oct`) are read only when an HMAC algorithm is among them.
    pub algorithms: Box<[Algorithm]>,
    /// How old the keys may be before they are fetched again.
    pub refresh_ms: u64,
    /// The shortest time between two fetches.
    pub pause_ms: u64,
    /// The longest time between two fetches while they fail.
    pub pause_failing_ms: u64,
    /// How old keys may be and still be used, when fetching fails: a key that was withdrawn must end some time.
    pub stale_ms: u64,
}

impl Default for KeySetPolicy {
    fn default() -> Self {
        Self {
            algorithms: Algorithm::PUBLIC.into(),
            refresh_ms: 10 * 60 * 1000,
            pause_ms: 30 * 1000,
            pause_failing_ms: 5 * 60 * 1000,
            stale_ms: 24 * 3600 * 1000,
        }
    }
}

/// Why a text did not become the key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is too long; nothing of it was read.
    #[error("the key set has {0} bytes and at most 262144 are read; point `app.token_key_set` at the set itself")]
    TooLong(usize),
    /// It is no key set.
    #[error("this is no key set: a JSON object with a list `keys`; `app.token_key_set` must name the JWKS document")]
    NotASet,
    /// It has too many keys.
    #[error("the key set has {0} keys and at most 100 are read")]
    TooManyKeys(usize),
    /// None of its keys can be used.
    #[error("none of the {count} keys can be used; the first one: {first}")]
    NoUsableKey {
        /// How many there are.
        count: usize,
        /// Why the first one can't.
        first: KeyError,
    },
    /// It has no keys.
    #[error("the key set is empty; the keys that were there stay in use")]
    Empty,
}

/// What became of a new key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// How many keys can be used.
    pub usable: usize,
    /// Why the others can't, by their place in the list.
    pub skipped: Vec<(usize, KeyError)>,
}

/// What a search for a key found.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The keys that may have signed the token, few.
    Found(Vec<Arc<VerificationKey>>),
    /// There are keys of that id, for other algorithms.
    OtherAlgorithm,
    /// No key has the id.
    Unknown,
    /// There are no keys yet, or only ones that are too old.
    NoKeys,
}

/// Keys that change under their readers.
#[derive(Debug)]
pub struct KeySet {
    policy: KeySetPolicy,
    location: Box<str>,
    signer: Signer,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Vec<Arc<VerificationKey>>,
    loaded_at_ms: Option<u64>,
    attempted_at_ms: Option<u64>,
    failures: u32,
    missed: bool,
}

impl KeySet {
    /// A set without keys, which wants to be fetched.
    pub fn new(policy: KeySetPolicy) -> Self {
        Self::named("", policy)
    }

    /// The same; `name`, its address, stands for it in principals.
    pub fn named(name: &str, policy: KeySetPolicy) -> Self {
        Self { policy, location: name.into(), signer: signer("set", &[name.as_bytes()]), state: RwLock::default() }
    }

    /// Where it is fetched from.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Somebody says that it may have changed.
    pub fn want(&self) {
        self.write().missed = true;
    }

    /// What stands for it in principals.
    pub const fn signer(&self) -> Signer {
        self.signer
    }

    /// How it is used and kept fresh.
    pub const fn policy(&self) -> &KeySetPolicy {
        &self.policy
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.read().keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys for a token. A miss makes the set want a refresh.
    pub fn lookup(&self, key_id: Option<&str>, algorithm: Algorithm, now_ms: u64) -> Lookup {
        if !self.policy.algorithms.contains(&algorithm) {
            return Lookup::OtherAlgorithm;
        }
        let found = self.read().lookup(key_id, algorithm, now_ms, self.policy.stale_ms);
        if matches!(found, Lookup::Unknown) && !self.read().missed {
            self.write().missed = true;
        }
        found
    }

    /// Whether it should be fetched now. The answer stays the same until [`started`](Self::started).
    pub fn wants_refresh(&self, now_ms: u64) -> bool {
        let state = self.read();
        let pause_ms = match state.failures {
            0 => self.policy.pause_ms,
            failures => (1000_u64 << failures.min(20)).min(self.policy.pause_failing_ms),
        };
        // A clock that was set back must not stop the fetching: `None` counts as long ago.
        let since = |then: Option<u64>| then.and_then(|then| now_ms.checked_sub(then));
        if since(state.attempted_at_ms).is_some_and(|passed_ms| passed_ms < pause_ms) {
            return false;
        }
        state.missed || since(state.loaded_at_ms).is_none_or(|passed_ms| passed_ms >= self.policy.refresh_ms)
    }

    /// A fetch begins.
    pub fn started(&self, now_ms: u64) {
        let mut state = self.write();
        state.attempted_at_ms = Some(now_ms);
        state.missed = false;
    }

    /// A fetch failed: the keys stay, and the next one waits longer.
    pub fn failed(&self, now_ms: u64) {
        let mut state = self.write();
        state.attempted_at_ms = Some(now_ms);
        state.failures = state.failures.saturating_add(1);
    }

    /// A fetch brought a text. When it is no usable key set the old keys stay, as if it had failed.
    pub fn replace(&self, text: &str, now_ms: u64) -> Result<Replaced, KeySetError> {
        match self.parse(text) {
            Ok((keys, replaced)) => {
                let mut state = self.write();
                state.keys = keys;
                state.loaded_at_ms = Some(now_ms);
                state.attempted_at_ms = Some(now_ms);
                state.failures = 0;
                Ok(replaced)
            }
            Err(error) => {
                self.failed(now_ms);
                Err(error)
            }
        }
    }

    fn parse(&self, text: &str) -> Result<(Vec<Arc<VerificationKey>>, Replaced), KeySetError> {
        #[derive(Deserialize)]
        struct Written {
            keys: Vec<Box<RawValue>>,
        }
        if text.len() > KEY_SET_BYTES_MAX {
            return Err(KeySetError::TooLong(text.len()));
        }
        if !text.trim_start().starts_with('{') {
            return Err(KeySetError::NotASet);
        }
        let written: Written = serde_json::from_str(text).map_err(|_| KeySetError::NotASet)?;
        let count = written.keys.len();
        if count > KEYS_MAX {
            return Err(KeySetError::TooManyKeys(count));
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (place, key) in written.keys.iter().enumerate() {
            let jwk = serde_json::from_str::<Jwk>(key.get()).map_err(|_| KeyError::Damaged);
            match jwk.and_then(|jwk| VerificationKey::of_jwk(&jwk, &self.policy.algorithms)) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(error) => skipped.push((place, error)),
            }
        }
        match (keys.is_empty(), skipped.first()) {
            (true, Some((_, first))) => Err(KeySetError::NoUsableKey { count, first: first.clone() }),
            (true, None) => Err(KeySetError::Empty),
            (false, _) => {
                let usable = keys.len();
                Ok((keys, Replaced { usable, skipped }))
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn lookup(&self, key_id: Option<&str>, algorithm: Algorithm, now_ms: u64, stale_ms: u64) -> Lookup {
        let stale = self.loaded_at_ms.is_none_or(|loaded| now_ms.saturating_sub(loaded) > stale_ms);
        if stale {
            return Lookup::NoKeys;
        }
        let named: Vec<_> = match key_id {
            Some(id) => self.keys.iter().filter(|key| key.id() == Some(id)).collect(),
            None => self.keys.iter().collect(),
        };
        if named.is_empty() {
            return Lookup::Unknown;
        }
        let fitting: Vec<_> = named.into_iter().filter(|key| key.allows(algorithm)).cloned().collect();
        if fitting.is_empty() { Lookup::OtherAlgorithm } else { Lookup::Found(fitting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"ec","use":"sig","alg":"ES256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const OCT: &str = r#"{"kty":"oct","kid":"hs","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;

    fn set(keys: &[&str]) -> String {
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }

    fn loaded(keys: &[&str]) -> KeySet {
        let loaded = KeySet::new(KeySetPolicy::default());
        loaded.replace(&set(keys), 0).unwrap();
        loaded
    }

    #[test]
    fn keys_are_read_or_passed_over_with_the_reason() {
        let check = |keys: &[&str], expected: &str| {
            let found = match KeySet::new(KeySetPolicy::default()).replace(&set(keys), 0) {
                Ok(replaced) => {
                    let skipped = replaced.skipped.iter().map(|(place, error)| format!("; {place}: {error}"));
                    format!("{}{}", replaced.usable, skipped.collect::<String>())
                }
                Err(error) => format!("! {error}"),
            };
            assert!(found.contains(expected), "{keys:?}: {found}");
        };
        check(&[ED, EC], "2");
        check(&[ED, OCT], "1; 1: the key is pinned to no algorithm");
        check(&[ED, "{}"], "1; 1: the key is damaged");
        check(&[ED, "7"], "1; 1: the key is damaged");
        check(&[], "! the key set is empty");
        check(&[OCT], "! none of the 1 keys can be used");
        check(&[&EC.replace("\"sig\"", "\"enc\"")], "not for signatures");
        check(&[&EC.replace("\"use\":\"sig\"", "\"key_ops\":[\"encrypt\"]")], "not for signatures");
        check(&[&EC.replace("ES256", "RS256")], "can't be used with RS256");
        check(&[&EC.replace("ES256", "ES512")], "not for signatures");
        check(&[&EC.replace("P-256", "P-384")], "can't be used with ES256");
        check(&[&EC.replace("f83OJ3D2", "")], "too weak");
        check(&[&ED.replace("11qYAYKx", "")], "too weak");
        check(&[r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#], "too weak");
        check(&[&ED.replace("11q", "1 q")], "damaged");
        check(&vec![ED; 101], "! the key set has 101 keys");
    }

    #[test]
    fn a_text_that_is_no_set_leaves_the_old_keys() {
        let keys = loaded(&[ED]);
        for (text, expected) in [
            (String::new(), KeySetError::NotASet),
            ("[]".into(), KeySetError::NotASet),
            ("<html>".into(), KeySetError::NotASet),
            (r#"{"keys":{}}"#.into(), KeySetError::NotASet),
            (r#"{"keys":[]}"#.into(), KeySetError::Empty),
            (
                format!("{{\"keys\":{}{}}}", "[".repeat(5000), "]".repeat(5000)),
                KeySetError::NoUsableKey { count: 1, first: KeyError::Damaged },
            ),
            (" ".repeat(KEY_SET_BYTES_MAX + 1), KeySetError::TooLong(KEY_SET_BYTES_MAX + 1)),
        ] {
            assert_eq!(keys.replace(&text, 1), Err(expected));
            assert!(matches!(keys.lookup(Some("ed"), Algorithm::EdDSA, 1), Lookup::Found(_)));
        }
    }

    #[test]
    fn shared_secrets_must_be_asked_for() {
        let policy = KeySetPolicy { algorithms: [Algorithm::HS256].into(), ..KeySetPolicy::default() };
        let keys = KeySet::new(policy);
        assert_eq!(keys.replace(&set(&[OCT, ED]), 0).unwrap().usable, 1);
        assert!(matches!(keys.lookup(Some("hs"), Algorithm::HS256, 0), Lookup::Found(_)));
        assert!(matches!(keys.lookup(Some("hs"), Algorithm::HS384, 0), Lookup::OtherAlgorithm));
    }

    #[test]
    fn a_key_is_found_by_its_id_and_algorithm() {
        let keys = loaded(&[ED, EC]);
        let check = |id: Option<&str>, algorithm, expected: &str| {
            let found = match keys.lookup(id, algorithm, 0) {
                Lookup::Found(keys) => keys.iter().filter_map(|key| key.id()).collect::<Vec<_>>().join(" "),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{id:?} {algorithm}");
        };
        check(Some("ed"), Algorithm::EdDSA, "ed");
        check(None, Algorithm::ES256, "ec");
        check(Some("ed"), Algorithm::ES256, "OtherAlgorithm");
        check(Some("ed"), Algorithm::HS256, "OtherAlgorithm");
        check(Some("new"), Algorithm::ES256, "Unknown");
    }

    /// `@ time action`: `?` asks, `u` shows an unknown id, `s` starts a fetch, `ok` and `bad` end it.
    #[test]
    fn fetches_are_wanted_when_needed_and_never_more_often() {
        let check = |script: &str| {
            let keys = KeySet::new(KeySetPolicy::default());
            for step in script.split_whitespace() {
                let (at_s, act) = step.split_once(':').unwrap();
                let now_ms = at_s.parse::<u64>().unwrap() * 1000;
                match act {
                    "yes" => assert!(keys.wants_refresh(now_ms), "{script}: {step}"),
                    "no" => assert!(!keys.wants_refresh(now_ms), "{script}: {step}"),
                    "unknown" => drop(keys.lookup(Some("new"), Algorithm::EdDSA, now_ms)),
                    "start" => keys.started(now_ms),
                    "ok" => drop(keys.replace(&set(&[ED]), now_ms).unwrap()),
                    "html" => drop(keys.replace("<html>", now_ms).unwrap_err()),
                    "bad" => keys.failed(now_ms),
                    "usable" => assert!(matches!(keys.lookup(Some("ed"), Algorithm::EdDSA, now_ms), Lookup::Found(_)), "{script}: {step}"),
                    "unusable" => assert!(matches!(keys.lookup(Some("ed"), Algorithm::EdDSA, now_ms), Lookup::NoKeys), "{script}: {step}"),
                    other => unreachable!("{other}"),
                }
            }
        };
        check("0:yes 0:start 0:no 1:ok 2:no 600:no 601:yes");
        check("0:start 0:ok 5:unknown 5:no 29:no 30:yes 30:start 30:unknown 30:ok 31:no 60:yes");
        check("0:start 0:bad 1:no 2:yes 2:start 2:bad 5:no 6:yes 6:html 13:no 14:yes");
        check("0:start 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 0:bad 299:no 300:yes");
        check("0:start 0:ok 700:start 700:bad 86400:usable 86401:unusable");
        check("1000000:start 1000000:ok 10:yes 10:start 10:no");
        check("0:unusable 0:yes");
    }

    #[test]
    fn a_flood_of_unknown_ids_costs_one_fetch_in_a_pause() {
        let keys = loaded(&[ED]);
        let mut fetches = 0;
        for now_ms in (0..300_000).step_by(100) {
            let _ = keys.lookup(Some(&format!("kid{now_ms}")), Algorithm::EdDSA, now_ms);
            if keys.wants_refresh(now_ms) {
                keys.started(now_ms);
                keys.replace(&set(&[ED]), now_ms).unwrap();
                fetches += 1;
            }
        }
        assert_eq!(fetches, 9, "one in 30 s");
    }
}
