//! The claims of a token, and our own claim shape.
//!
//! ```json
//! { "sub": "ana", "exp": 1763840000, "jti": "7f3a", "aud": "shop", "info": {"name": "Ana"},
//!   "channels": { "chat:*": ["subscribe", "publish"], "news": "subscribe", "private-ana": "*" } }
//! ```
//!
//! `channels` maps patterns to permissions: `subscribe`, `publish`, `presence`, `history`, `manage`, or `*` for all but `manage`.
//! Everything may be left out. An unknown permission is an error, so that a misspelt one is not silently missing.
//!
//! Invariant: a claim is either of the right shape or the token is refused; nothing is guessed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use omnivox_core::name::UserId;
use omnivox_core::{Grant, Pattern, Permissions};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{AuthError, quoted};

/// The most grants that one token may hold.
pub const GRANTS_MAX: usize = 1000;
/// The longest `info`, in bytes: every member of a presence set sees it.
pub const INFO_BYTES_MAX: usize = 4096;
/// The longest `jti`, in bytes.
pub const TOKEN_ID_BYTES_MAX: usize = 255;

/// The claims of a token whose signature is good. Their values are read when somebody asks for them.
pub struct Claims(BTreeMap<Box<str>, Box<RawValue>>);

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Claims {
    /// Reads a JSON object.
    pub fn parse(json: &[u8]) -> Result<Self, AuthError> {
        let fields = serde_json::from_slice(json).map_err(|_| AuthError::Malformed("its claims are no JSON object"))?;
        Ok(Self(fields))
    }

    /// Whether the claim is there and not `null`.
    pub fn has(&self, claim: &str) -> bool {
        self.0.get(claim).is_some_and(|value| value.get() != "null")
    }

    /// The value of a claim; `expected` says what it should be.
    pub fn optional<T: DeserializeOwned>(&self, claim: &'static str, expected: &str) -> Result<Option<T>, AuthError> {
        let Some(value) = self.0.get(claim).filter(|value| value.get() != "null") else { return Ok(None) };
        match serde_json::from_str(value.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(AuthError::Claim { claim, problem: format!("is not {expected}").into() }),
        }
    }

    /// A moment in milliseconds since the Unix epoch. In the token it is in seconds, perhaps with a fraction.
    pub fn moment_ms(&self, claim: &'static str) -> Result<Option<u64>, AuthError> {
        const EXPECTED: &str = "a number of seconds since 1970";
        let Some(number) = self.optional::<serde_json::Number>(claim, EXPECTED)? else { return Ok(None) };
        if let Some(seconds) = number.as_u64() {
            return Ok(Some(seconds.saturating_mul(1000)));
        }
        match number.as_f64() {
            Some(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(Some(milliseconds(seconds))),
            _ => Err(AuthError::Claim { claim, problem: format!("is not {EXPECTED}").into() }),
        }
    }

    /// One text or a list of them: `aud`.
    pub fn texts(&self, claim: &'static str) -> Result<Vec<Box<str>>, AuthError> {
        Ok(self.optional::<OneOrMany>(claim, "a text or a list of texts")?.map(OneOrMany::into_list).unwrap_or_default())
    }

    /// Who it is: `sub`.
    pub fn user(&self) -> Result<Option<UserId>, AuthError> {
        let Some(text) = self.optional::<Box<str>>("sub", "a text")? else { return Ok(None) };
        UserId::parse(&text).map(Some).map_err(|why| AuthError::Claim { claim: "sub", problem: format!("is no user: {why}").into() })
    }

    /// The id of the token: `jti`.
    pub fn token_id(&self) -> Result<Option<Arc<str>>, AuthError> {
        let Some(text) = self.optional::<Box<str>>("jti", "a text")? else { return Ok(None) };
        if text.is_empty() || text.len() > TOKEN_ID_BYTES_MAX {
            return Err(AuthError::Claim { claim: "jti", problem: "does not have 1 to 255 bytes".into() });
        }
        Ok(Some(Arc::from(text)))
    }

    /// What others may see of the user: `info`, any JSON, byte for byte.
    pub fn info(&self) -> Result<Option<Arc<str>>, AuthError> {
        self.shown("info")
    }

    /// JSON that other clients will see. It is read once, so that nothing reaches them that is nested too deeply for their parsers.
    pub(crate) fn shown(&self, claim: &'static str) -> Result<Option<Arc<str>>, AuthError> {
        let Some(value) = self.0.get(claim).filter(|value| value.get() != "null") else { return Ok(None) };
        presentable(claim, value.get()).map(Some)
    }

    /// Our own grants: `channels`.
    pub fn channels(&self) -> Result<Vec<Grant>, AuthError> {
        const CLAIM: &str = "channels";
        let expected = "an object of patterns, each with a list of permissions";
        let Some(channels) = self.optional::<BTreeMap<Box<str>, OneOrMany>>(CLAIM, expected)? else { return Ok(Vec::new()) };
        if channels.len() > GRANTS_MAX {
            return Err(AuthError::Claim { claim: CLAIM, problem: format!("has more than {GRANTS_MAX} patterns").into() });
        }
        let grant = |(pattern, names): (Box<str>, OneOrMany)| {
            let wrong = |problem: String| AuthError::Claim { claim: CLAIM, problem: problem.into() };
            let parsed = Pattern::parse(&pattern).map_err(|why| wrong(format!("has the pattern {}: {why}", quoted(&pattern))))?;
            let permissions = permissions_named(&names.into_list()).map_err(|name| {
                wrong(format!("has the permission {}; there are subscribe, publish, presence, history, manage and *", quoted(&name)))
            })?;
            Ok(Grant { pattern: parsed, permissions })
        };
        channels.into_iter().map(grant).collect()
    }
}

/// All the permissions together, or the name that is none.
pub fn permissions_named(names: &[Box<str>]) -> Result<Permissions, Box<str>> {
    names.iter().try_fold(Permissions::NONE, |all, name| Ok(all.with(Permissions::named(name).ok_or_else(|| name.clone())?)))
}

/// JSON that other clients will see: short, and not nested too deeply.
pub(crate) fn presentable(claim: &'static str, json: &str) -> Result<Arc<str>, AuthError> {
    if json.len() > INFO_BYTES_MAX {
        return Err(AuthError::Claim { claim, problem: format!("has more than {INFO_BYTES_MAX} bytes").into() });
    }
    match serde_json::from_str::<serde_json::Value>(json) {
        Ok(_) => Ok(Arc::from(json)),
        Err(_) => Err(AuthError::Claim { claim, problem: "is nested too deeply".into() }),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the caller checked the sign, and a cast from f64 saturates")]
fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

/// A text, or a list of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(Box<str>),
    Many(Vec<Box<str>>),
}

impl OneOrMany {
    pub(crate) fn into_list(self) -> Vec<Box<str>> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(json: &str) -> String {
        match Claims::parse(json.as_bytes()).and_then(|claims| claims.channels()) {
            Ok(grants) => grants.iter().map(|grant| format!("{}={}", grant.pattern, grant.permissions)).collect::<Vec<_>>().join(" "),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn channels_become_grants() {
        let check = |json: &str, expected: &str| {
            let found = grants(json);
            assert!(if expected.starts_with('!') { found.contains(&expected[2..]) } else { found == expected }, "{json}: {found}");
        };
        check(r#"{"channels":{"chat:*":["subscribe","publish"]}}"#, "chat:*=subscribe,publish");
        check(r#"{"channels":{"news":"subscribe","a":"*"}}"#, "a=subscribe,publish,presence,history news=subscribe");
        check(r#"{"channels":{"*":["*","manage"]}}"#, "*=subscribe,publish,presence,history,manage");
        check(r#"{"channels":{"a":[]}}"#, "a=nothing");
        check(r#"{"channels":{}}"#, "");
        check(r#"{"channels":null}"#, "");
        check("{}", "");
        check(r#"{"channels":{"chat":["subscirbe"]}}"#, "! the permission \"subscirbe\"; there are subscribe, publish");
        check(r#"{"channels":{"":["publish"]}}"#, "! the pattern \"\": the name is empty");
        check(r#"{"channels":["chat"]}"#, "! `channels` is not an object of patterns");
        check(r#"{"channels":{"a":{"b":1}}}"#, "! `channels` is not an object of patterns");
        check("[]", "! its claims are no JSON object");
        let many: Vec<_> = (0..=GRANTS_MAX).map(|n| format!("\"c{n}\":\"*\"")).collect();
        check(&format!("{{\"channels\":{{{}}}}}", many.join(",")), "! more than 1000 patterns");
    }

    #[test]
    fn moments_are_numbers_of_seconds() {
        let check = |json: &str, expected: Option<Option<u64>>| {
            let claims = Claims::parse(format!("{{\"exp\":{json}}}").as_bytes()).unwrap();
            assert_eq!(claims.moment_ms("exp").ok(), expected, "{json}");
        };
        check("1700000000", Some(Some(1_700_000_000_000)));
        check("1700000000.5", Some(Some(1_700_000_000_500)));
        check("18446744073709551615", Some(Some(u64::MAX)));
        check("1e300", Some(Some(u64::MAX)));
        check("0", Some(Some(0)));
        check("null", Some(None));
        for wrong in ["-1", "-0.5", "\"1700000000\"", "[]", "true"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_others_see_is_bounded() {
        let info = |json: String| Claims::parse(format!("{{\"info\":{json}}}").as_bytes()).unwrap().info();
        assert_eq!(info("{\"b\": 1,\"a\":2}".into()).unwrap().as_deref(), Some("{\"b\": 1,\"a\":2}"), "byte for byte");
        assert_eq!(info("null".into()).unwrap(), None);
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(info(deep(100)).is_ok());
        assert!(info(deep(200)).unwrap_err().to_string().contains("nested too deeply"));
        assert!(info(deep(2000)).is_err());
        assert!(info(format!("\"{}\"", "x".repeat(INFO_BYTES_MAX))).unwrap_err().to_string().contains("more than 4096 bytes"));
    }

    #[test]
    fn names_in_claims_are_names() {
        let claims = Claims::parse(br#"{"sub":"a\nb","jti":""}"#).unwrap();
        assert!(claims.user().unwrap_err().to_string().contains("`sub` is no user: the name has a control character"));
        assert!(claims.token_id().unwrap_err().to_string().contains("`jti` does not have 1 to 255 bytes"));
        assert_eq!(Claims::parse(br#"{"sub":7}"#).unwrap().user().unwrap_err().to_string(), "the token's claim `sub` is not a text");
    }
}
