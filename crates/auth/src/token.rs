//! Verification of signed tokens: who signed, and do the rules for that signer hold?
//!
//! A [`Trust`] is a signer: its keys and the rules for its tokens. An app may have several (its own secret, an identity provider). Each
//! token is tried with the keys that its header fits, never with others, and at most [`SIGNATURE_TRIES_MAX`] of them.
//!
//! Invariant: the claims come out only when signature, time, issuer and audience are right.

use std::sync::Arc;

use omnivox_core::grants::Signer;
use omnivox_core::{Permissions, UserId};

use crate::claims::Claims;
use crate::error::{AuthError, quoted};
use crate::jws::{Header, UnverifiedToken};
use crate::key::{Algorithm, VerificationKey};
use crate::key_set::{KeySet, Lookup};

/// How many keys are tried for one token: the work that a stranger can cause.
pub const SIGNATURE_TRIES_MAX: usize = 8;

/// Whose tokens are accepted, and under which rules.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The signer's keys.
    pub keys: Keys,
    /// What its tokens must say.
    pub rules: TokenRules,
    /// The most that its tokens can grant.
    pub ceiling: Permissions,
}

impl Trust {
    /// Whether the signer is one of its own.
    pub(crate) fn has(&self, signer: Signer) -> bool {
        match &self.keys {
            Keys::Pinned(keys) => keys.iter().any(|key| key.signer() == signer),
            Keys::Fetched(set) => set.signer() == signer,
        }
    }
}

/// The keys of a signer.
#[derive(Clone, Debug)]
pub enum Keys {
    /// From the settings.
    Pinned(Vec<VerificationKey>),
    /// From a key set that is fetched.
    Fetched(Arc<KeySet>),
}

/// What tokens of a signer must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    /// The `iss` that are accepted; empty accepts all, and none.
    pub issuers: Vec<Box<str>>,
    /// What of `aud` is accepted.
    pub audience: Audience,
    /// How wrong clocks may be.
    pub leeway_ms: u64,
    /// Whether a token must have `exp`.
    pub expiry_required: bool,
    /// How far away `exp` may be.
    pub lifetime_ms_max: Option<u64>,
    /// Whether only access tokens (`typ` is `at+jwt`) are accepted.
    pub access_only: bool,
}

/// What of `aud` is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The token may leave it out; when it is there it must hold this: the app's id.
    Own(Box<str>),
    /// It must hold one of these.
    OneOf(Vec<Box<str>>),
    /// It must hold one of these when it is there; only access tokens must have it (RFC 9068).
    Named(Vec<Box<str>>),
    /// It is not looked at: the key signs for nobody else.
    Any,
}

impl TokenRules {
    /// The rules for tokens that are signed for the app alone: `exp` is needed, `aud` isn't, clocks may be 30 s apart.
    pub fn new(app: &str) -> Self {
        Self {
            issuers: Vec::new(),
            audience: Audience::Own(app.into()),
            leeway_ms: 30_000,
            expiry_required: true,
            lifetime_ms_max: None,
            access_only: false,
        }
    }

    /// Whether the claims keep them; the answer is the end of the token.
    fn check(&self, header: &Header, claims: &Claims, now_ms: u64) -> Result<Option<u64>, AuthError> {
        if self.access_only && !header.is_access_token() {
            return Err(AuthError::NotAccessToken);
        }
        self.check_issuer(claims)?;
        self.check_audience(header, claims)?;
        self.check_time(header, claims, now_ms)
    }

    fn check_issuer(&self, claims: &Claims) -> Result<(), AuthError> {
        if self.issuers.is_empty() {
            return Ok(());
        }
        match claims.optional::<Box<str>>("iss", "a text")? {
            Some(issuer) if self.issuers.contains(&issuer) => Ok(()),
            found => Err(AuthError::Issuer { found: found.map_or_else(|| "missing".into(), |issuer| quoted(&issuer)) }),
        }
    }

    fn check_audience(&self, header: &Header, claims: &Claims) -> Result<(), AuthError> {
        let found = claims.texts("aud")?;
        let accepted = match &self.audience {
            Audience::Own(app) => !claims.has("aud") || found.contains(app),
            Audience::Any => true,
            Audience::Named(_) if !claims.has("aud") => !header.is_access_token(),
            Audience::Named(accepted) => found.iter().any(|audience| accepted.contains(audience)),
            Audience::OneOf(accepted) => found.iter().any(|audience| accepted.contains(audience)),
        };
        if accepted {
            return Ok(());
        }
        Err(AuthError::Audience { found: if found.is_empty() { "missing".into() } else { quoted(&found.join(" ")) } })
    }

    fn check_time(&self, header: &Header, claims: &Claims, now_ms: u64) -> Result<Option<u64>, AuthError> {
        let expires_at_ms = claims.moment_ms("exp")?;
        if let Some(begins) = claims.moment_ms("nbf")?
            && now_ms.saturating_add(self.leeway_ms) < begins
        {
            return Err(AuthError::NotYetValid { in_s: (begins - now_ms).div_ceil(1000) });
        }
        if let Some(made) = claims.moment_ms("iat")?
            && now_ms.saturating_add(self.leeway_ms) < made
        {
            return Err(AuthError::MadeLater { in_s: (made - now_ms).div_ceil(1000) });
        }
        match expires_at_ms {
            // RFC 9068 demands it of access tokens, whatever the setting says.
            None if self.expiry_required || header.is_access_token() => return Err(AuthError::NoExpiry),
            Some(expires) if now_ms >= expires.saturating_add(self.leeway_ms) => {
                return Err(AuthError::Expired { ago_s: now_ms.saturating_sub(expires) / 1000 });
            }
            _ => {}
        }
        if let Some(max_ms) = self.lifetime_ms_max
            && expires_at_ms.is_none_or(|expires| expires > now_ms.saturating_add(max_ms).saturating_add(self.leeway_ms))
        {
            return Err(AuthError::LivesTooLong { max_s: max_ms / 1000 });
        }
        Ok(expires_at_ms)
    }
}

/// A token that keeps all the rules.
#[derive(Debug)]
pub struct VerifiedToken {
    /// What its header says.
    pub header: Header,
    /// Its claims.
    pub claims: Claims,
    /// Who it is.
    pub user: Option<UserId>,
    /// Its id.
    pub token_id: Option<Arc<str>>,
    /// When it ends.
    pub expires_at_ms: Option<u64>,
    /// When it was made.
    pub issued_at_ms: Option<u64>,
    /// The most that it can grant.
    pub ceiling: Permissions,
    /// Whose it is.
    pub signer: Signer,
}

/// Verifies a token against everyone who may have signed it. A key that several have, such as that of Mercure's publishers and subscribers,
/// may do what all of them may.
pub fn verify(trusts: &[Trust], token: &str, bytes_max: usize, now_ms: u64) -> Result<VerifiedToken, AuthError> {
    let token = UnverifiedToken::parse(token, bytes_max)?;
    let mut tries = SIGNATURE_TRIES_MAX;
    let mut refusal = Refusal::default();
    let mut found: Option<VerifiedToken> = None;
    for trust in trusts {
        if found.as_ref().is_some_and(|verified| verified.ceiling.contains(trust.ceiling)) {
            continue;
        }
        match signer(trust, &token, &mut tries, now_ms) {
            Ok(signer) => match admit(trust, &token, signer, now_ms) {
                Ok(verified) => {
                    let ceiling = found.map_or(Permissions::NONE, |earlier| earlier.ceiling).with(verified.ceiling);
                    found = Some(VerifiedToken { ceiling, ..verified });
                }
                Err(error) => refusal.broken_rule = Some(error),
            },
            Err(miss) => refusal.note(miss),
        }
    }
    found.ok_or_else(|| refusal.into_error(token.header.algorithm))
}

fn admit(trust: &Trust, token: &UnverifiedToken<'_>, signer: Signer, now_ms: u64) -> Result<VerifiedToken, AuthError> {
    let claims = token.claims()?;
    let expires_at_ms = trust.rules.check(&token.header, &claims, now_ms)?;
    Ok(VerifiedToken {
        header: token.header.clone(),
        user: claims.user()?,
        token_id: claims.token_id()?,
        expires_at_ms,
        issued_at_ms: claims.moment_ms("iat")?,
        ceiling: trust.ceiling,
        signer,
        claims,
    })
}

/// Why a signer was not the one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Miss {
    Algorithm,
    UnknownKey,
    NoKeys,
    Signature,
}

fn signer(trust: &Trust, token: &UnverifiedToken<'_>, tries: &mut usize, now_ms: u64) -> Result<Signer, Miss> {
    let header = &token.header;
    match &trust.keys {
        Keys::Pinned(keys) => {
            let id = header.key_id.as_deref();
            // A key without an id answers to every `kid`: the settings needn't repeat what the signer invents.
            let named = keys.iter().filter(|key| id.is_none() || key.id().is_none() || key.id() == id);
            let mut named = named.peekable();
            if named.peek().is_none() {
                return Err(Miss::UnknownKey);
            }
            try_keys(named.filter(|key| key.allows(header.algorithm)), token, tries)
        }
        Keys::Fetched(set) => match set.lookup(header.key_id.as_deref(), header.algorithm, now_ms) {
            Lookup::Found(keys) => try_keys(keys.iter().map(|key| &**key), token, tries).map(|_| set.signer()),
            Lookup::OtherAlgorithm => Err(Miss::Algorithm),
            Lookup::Unknown => Err(Miss::UnknownKey),
            Lookup::NoKeys => Err(Miss::NoKeys),
        },
    }
}

fn try_keys<'k>(keys: impl Iterator<Item = &'k VerificationKey>, token: &UnverifiedToken<'_>, tries: &mut usize) -> Result<Signer, Miss> {
    let mut miss = Miss::Algorithm;
    for key in keys {
        miss = Miss::Signature;
        if *tries == 0 {
            break;
        }
        *tries -= 1;
        if token.is_signed_by(key) {
            return Ok(key.signer());
        }
    }
    Err(miss)
}

/// The reasons of all signers; the one that tells most is shown.
#[derive(Default)]
struct Refusal {
    broken_rule: Option<AuthError>,
    signature: bool,
    unknown_key: bool,
    no_keys: bool,
}

impl Refusal {
    fn note(&mut self, miss: Miss) {
        match miss {
            Miss::Signature => self.signature = true,
            Miss::UnknownKey => self.unknown_key = true,
            Miss::NoKeys => self.no_keys = true,
            Miss::Algorithm => {}
        }
    }

    fn into_error(self, algorithm: Algorithm) -> AuthError {
        match self {
            Self { broken_rule: Some(error), .. } => error,
            // Keys that are still to come could make it right, so this is worth another try.
            Self { no_keys: true, .. } => AuthError::KeysUnavailable,
            Self { signature: true, .. } => AuthError::BadSignature,
            Self { unknown_key: true, .. } => AuthError::UnknownKey,
            Self { .. } => AuthError::AlgorithmNotAllowed(algorithm),
        }
    }
}
