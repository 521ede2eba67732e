//! The outer form of a signed token: three parts of base64 with dots between (RFC 7515, compact).
//!
//! ```text
//! eyJhbGciOiJIUzI1NiJ9 . eyJzdWIiOiJhbmEifQ . c2lnbmF0dXJl
//! └ header ───────────┘ └ claims ──────────┘ └ signature ┘
//! └ what is signed ────────────────────────┘
//! ```
//!
//! Invariant: nothing of the claims is read before the signature was found good; the header is read only to choose a key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::Claims;
use crate::error::AuthError;
use crate::key::{Algorithm, VerificationKey};

/// A token whose signature was not looked at yet.
pub(crate) struct UnverifiedToken<'a> {
    /// What the header asks for.
    pub(crate) header: Header,
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

/// What of a token's header is read. Keys and addresses of keys in it (`jwk`, `jku`, `x5u`) are not: who signs doesn't say with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The algorithm that it asks for.
    pub algorithm: Algorithm,
    /// The key that it asks for.
    pub key_id: Option<Box<str>>,
    /// What kind of token it says it is.
    pub kind: Option<Box<str>>,
}

impl Header {
    /// Whether it says that it is an OAuth 2.0 access token (RFC 9068).
    pub fn is_access_token(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        kind.eq_ignore_ascii_case("at+jwt") || kind.eq_ignore_ascii_case("application/at+jwt")
    }

    fn parse(json: &[u8]) -> Result<Self, AuthError> {
        #[derive(Deserialize)]
        struct Written {
            alg: Box<str>,
            kid: Option<Box<str>>,
            typ: Option<Box<str>>,
            crit: Option<IgnoredAny>,
        }
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(AuthError::Malformed("its header is no JSON object"));
        }
        let written: Written = serde_json::from_slice(json).map_err(|_| AuthError::Malformed("its header has no `alg`, or is no JSON"))?;
        if written.alg.eq_ignore_ascii_case("none") {
            return Err(AuthError::Unsigned);
        }
        if written.crit.is_some() {
            return Err(AuthError::Critical);
        }
        let algorithm = Algorithm::named(&written.alg).ok_or(AuthError::AlgorithmUnknown)?;
        Ok(Self { algorithm, key_id: written.kid, kind: written.typ })
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Splits the token and reads its header.
    pub(crate) fn parse(token: &'a str, bytes_max: usize) -> Result<Self, AuthError> {
        if token.len() > bytes_max {
            return Err(AuthError::Oversize { bytes: token.len(), max: bytes_max });
        }
        if token.is_empty() {
            return Err(AuthError::Malformed("it is empty"));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(AuthError::Malformed("it does not have three parts with dots between"));
        };
        match parts.count() {
            0 => {}
            2 => return Err(AuthError::Malformed("it has five parts: encrypted tokens are not read")),
            _ => return Err(AuthError::Malformed("it does not have three parts with dots between")),
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| AuthError::Malformed("its header is no URL-safe base64 without `=`"))?;
        let header = Header::parse(&header)?;
        if signature.is_empty() {
            return Err(AuthError::Malformed("its signature is empty"));
        }
        let signed = &token[..token.len() - signature.len() - 1];
        Ok(Self { header, signed, claims, signature })
    }

    /// Whether the key signed it.
    pub(crate) fn is_signed_by(&self, key: &VerificationKey) -> bool {
        key.verifies(self.header.algorithm, self.signed.as_bytes(), self.signature)
    }

    /// The claims. Only to be called once a key was found.
    pub(crate) fn claims(&self) -> Result<Claims, AuthError> {
        let json =
            URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| AuthError::Malformed("its claims are no URL-safe base64 without `=`"))?;
        Claims::parse(&json)
    }
}
