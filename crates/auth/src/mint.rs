//! Makes tokens: what `omnivox token` prints, and what tests are made with.
//!
//! ```
//! use omnivox_auth::key::{Algorithm, SigningKey};
//! use omnivox_auth::mint::{TokenDraft, mint};
//! use omnivox_auth::secret::Secret;
//!
//! let secret = Secret::parse("an example secret that is long enough").unwrap();
//! let key = SigningKey::of_secret(&secret, Algorithm::HS256).unwrap();
//! let draft = TokenDraft::new("shop").user("ana").allow("chat:*", &["subscribe", "publish"]);
//! let token = mint(&key, &draft, 1_763_840_000_000, 3_600_000).unwrap();
//! assert_eq!(token.split('.').count(), 3);
//! ```
//!
//! Invariant: what is minted here is accepted by an [`Authenticator`](crate::Authenticator) that has the key; else it is an error here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::claims::{Claims, OneOrMany};
use crate::error::AuthError;
use crate::key::{KeyError, SigningKey};

/// What a token shall say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TokenDraft {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    channels: BTreeMap<Box<str>, OneOrMany>,
    /// Claims of other shapes, as they are.
    #[serde(flatten)]
    more: BTreeMap<Box<str>, serde_json::Value>,
}

/// Why a token could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The claims would be refused.
    #[error(transparent)]
    Claims(#[from] AuthError),
    /// The key can't sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A claim of another shape has the name of one that is written anyway.
    #[error("the claim `{0}` has its own option; use that")]
    Reserved(Box<str>),
    /// The text for `info` is no JSON.
    #[error("`info` is no JSON: quote texts, like '\"Ana\"'")]
    Info,
}

impl TokenDraft {
    /// A token for an app: its `aud` is the app's id.
    pub fn new(app: &str) -> Self {
        Self { aud: Some(app.into()), ..Self::default() }
    }

    /// Names the user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        Self { sub: Some(user.into()), ..self }
    }

    /// Names the issuer.
    #[must_use]
    pub fn issuer(self, issuer: &str) -> Self {
        Self { iss: Some(issuer.into()), ..self }
    }

    /// Names another audience than the app.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        Self { aud: Some(audience.into()), ..self }
    }

    /// Gives the token an id, so that it can be revoked.
    #[must_use]
    pub fn id(self, id: &str) -> Self {
        Self { jti: Some(id.into()), ..self }
    }

    /// Says what others may see of the user: JSON.
    pub fn info(self, json: &str) -> Result<Self, MintError> {
        let info = RawValue::from_string(json.to_owned()).map_err(|_| MintError::Info)?;
        Ok(Self { info: Some(info), ..self })
    }

    /// Allows something with the channels of a pattern.
    #[must_use]
    pub fn allow(mut self, pattern: &str, permissions: &[&str]) -> Self {
        let names = permissions.iter().map(|name| Box::from(*name)).collect();
        self.channels.insert(pattern.into(), OneOrMany::Many(names));
        self
    }

    /// Adds a claim of another shape.
    #[must_use]
    pub fn claim(mut self, name: &str, value: serde_json::Value) -> Self {
        self.more.insert(name.into(), value);
        self
    }
}

/// Signs a token that begins now and lasts `lifetime_ms`.
pub fn mint(key: &SigningKey, draft: &TokenDraft, now_ms: u64, lifetime_ms: u64) -> Result<String, MintError> {
    #[derive(Serialize)]
    struct Written<'a> {
        iat: u64,
        exp: u64,
        #[serde(flatten)]
        draft: &'a TokenDraft,
    }
    const RESERVED: [&str; 8] = ["iat", "exp", "iss", "aud", "sub", "jti", "info", "channels"];
    if let Some(name) = draft.more.keys().find(|name| RESERVED.contains(&&***name)) {
        return Err(MintError::Reserved(name.clone()));
    }
    let exp = now_ms.saturating_add(lifetime_ms) / 1000;
    let json = serde_json::to_string(&Written { iat: now_ms / 1000, exp, draft }).map_err(|_| MintError::Info)?;
    let claims = Claims::parse(json.as_bytes())?;
    claims.user()?;
    claims.token_id()?;
    claims.info()?;
    claims.channels()?;
    Ok(sign(key, "JWT", &json)?)
}

/// Signs claims as they are, whatever they say.
pub fn sign(key: &SigningKey, kind: &str, claims: &str) -> Result<String, KeyError> {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'a str,
        typ: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<&'a str>,
    }
    let header = Header { alg: key.algorithm().name(), typ: kind, kid: key.id() };
    let header = serde_json::to_string(&header).expect("three texts are always JSON");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{signature}"))
}
