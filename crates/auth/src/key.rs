//! Keys that sign and verify tokens, each pinned to the algorithms that it may be used with.
//!
//! The header of a token only *asks* for an algorithm: a key that isn't pinned to it is not even tried. So a public RSA key can't be
//! taken for an HMAC secret, and `none` is no algorithm at all.
//!
//! ```
//! use omnivox_auth::key::{Algorithm, VerificationKey};
//! use omnivox_auth::secret::Secret;
//! let secret = Secret::parse("an example secret that is long enough").unwrap();
//! let key = VerificationKey::of_secret(&secret, &[Algorithm::HS256]).unwrap();
//! assert!(key.allows(Algorithm::HS256) && !key.allows(Algorithm::RS256));
//! ```
//!
//! Invariant: all algorithms of one key belong to one family, and the key has the size that they need.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde::Deserialize;

use omnivox_core::grants::Signer;

use crate::secret::{Secret, signer};

/// The algorithms that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA (PKCS #1 version 1.5) with SHA-256.
    RS256,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// Ed25519; also written `Ed25519` in newer tokens.
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::HS256, Self::HS384, Self::HS512, Self::RS256, Self::ES256, Self::EdDSA];
    /// Those whose keys may be published.
    pub const PUBLIC: [Self; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::HS256),
            "HS384" => Some(Self::HS384),
            "HS512" => Some(Self::HS512),
            "RS256" => Some(Self::RS256),
            "ES256" => Some(Self::ES256),
            "EdDSA" | "Ed25519" => Some(Self::EdDSA),
            _ => None,
        }
    }

    /// Its name in a token's header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The shortest secret that RFC 7518 §3.2 allows; `None` for those with key pairs.
    const fn secret_bytes_min(self) -> Option<usize> {
        match self {
            Self::HS256 => Some(32),
            Self::HS384 => Some(48),
            Self::HS512 => Some(64),
            Self::RS256 | Self::ES256 | Self::EdDSA => None,
        }
    }

    const fn provider(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::HS256 => jsonwebtoken::Algorithm::HS256,
            Self::HS384 => jsonwebtoken::Algorithm::HS384,
            Self::HS512 => jsonwebtoken::Algorithm::HS512,
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something can't be a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No algorithm was named.
    #[error("the key is pinned to no algorithm; name at least one in `app.token_algorithms`")]
    NoAlgorithm,
    /// The algorithm needs a key of another kind.
    #[error("the key can't be used with {0}: HS… needs a secret, RS256 an RSA key, ES256 one on P-256, EdDSA an Ed25519 key")]
    WrongKind(Algorithm),
    /// The secret is shorter than the algorithm demands.
    #[error("{algorithm} needs a secret of at least {min} bytes and this one has {bytes}; use a longer one or HS256")]
    ShortSecret {
        /// The algorithm.
        algorithm: Algorithm,
        /// What it needs.
        min: usize,
        /// What there is.
        bytes: usize,
    },
    /// The file holds something else.
    #[error(
        "this is not the PEM file of a {0} key (`-----BEGIN PUBLIC KEY-----` to verify, `-----BEGIN PRIVATE KEY-----`, PKCS #8, to sign)"
    )]
    NotPem(&'static str),
    /// The key's numbers are wrong, or too small to be safe.
    #[error("the key is damaged or too weak: RSA keys have 2048 to 8192 bits, P-256 points 64 bytes, Ed25519 keys 32 bytes")]
    Damaged,
    /// The key is not meant to verify signatures.
    #[error("the key is not for signatures of tokens (`use`, `key_ops` or `alg` say so)")]
    OtherUse,
}

/// A key that verifies tokens.
#[derive(Clone)]
pub struct VerificationKey {
    id: Option<Box<str>>,
    algorithms: Box<[Algorithm]>,
    key: DecodingKey,
    signer: Signer,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("id", &self.id).field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

impl VerificationKey {
    /// A shared secret, pinned to some of HS256, HS384 and HS512.
    pub fn of_secret(secret: &Secret, algorithms: &[Algorithm]) -> Result<Self, KeyError> {
        if algorithms.is_empty() {
            return Err(KeyError::NoAlgorithm);
        }
        for algorithm in algorithms {
            check_secret(secret.expose(), *algorithm)?;
        }
        let key = DecodingKey::from_secret(secret.expose());
        Ok(Self { id: None, algorithms: algorithms.into(), key, signer: signer("secret", &[secret.expose()]) })
    }

    /// A public key from a PEM file, pinned to RS256, ES256 or EdDSA.
    pub fn of_pem(pem: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        const KIND: &str = "public";
        let public = ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"];
        if !public.iter().any(|begin| pem.trim_start().starts_with(begin)) {
            return Err(KeyError::NotPem(KIND));
        }
        let parsed = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return Err(KeyError::WrongKind(algorithm)),
        };
        let key = parsed.map_err(|_| KeyError::WrongKind(algorithm))?;
        check_public(&key, algorithm)?;
        Ok(Self { id: None, algorithms: [algorithm].into(), key, signer: signer("pem", &[pem.trim().as_bytes()]) })
    }

    /// One key of a key set (RFC 7517), pinned to what it says, or to those of `allowed` that fit its kind.
    pub(crate) fn of_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.operations.as_ref().is_none_or(|operations| operations.iter().any(|operation| **operation == *"verify"));
        if !for_signatures {
            return Err(KeyError::OtherUse);
        }
        let fitting = jwk.fitting();
        let pinned: Vec<Algorithm> = match jwk.algorithm.as_deref().map(Algorithm::named) {
            Some(None) => return Err(KeyError::OtherUse),
            Some(Some(named)) if !fitting.contains(&named) => return Err(KeyError::WrongKind(named)),
            Some(Some(named)) => allowed.iter().copied().filter(|algorithm| *algorithm == named).collect(),
            None => allowed.iter().copied().filter(|algorithm| fitting.contains(algorithm)).collect(),
        };
        let Some(first) = pinned.first().copied() else { return Err(KeyError::NoAlgorithm) };
        let key = jwk.material(first)?;
        if first.secret_bytes_min().is_none() {
            check_public(&key, first)?;
        }
        // The set vouches for its keys, so that a rotation ends nobody.
        Ok(Self { id: jwk.id.as_deref().map(Box::from), algorithms: pinned.into(), key, signer: Signer([0; 8]) })
    }

    /// The same key under an id, which tokens name as `kid`.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// What stands for it in principals.
    pub const fn signer(&self) -> Signer {
        self.signer
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether it may be used with the algorithm.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether the signature, in URL-safe base64, is that of `message`. The key must allow the algorithm.
    pub(crate) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.allows(algorithm) && crypto::verify(signature, message, &self.key, algorithm.provider()).unwrap_or(false)
    }
}

/// A key that signs tokens, with one algorithm.
#[derive(Clone)]
pub struct SigningKey {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A shared secret with HS256, HS384 or HS512.
    pub fn of_secret(secret: &Secret, algorithm: Algorithm) -> Result<Self, KeyError> {
        check_secret(secret.expose(), algorithm)?;
        Ok(Self { id: None, algorithm, key: EncodingKey::from_secret(secret.expose()) })
    }

    /// A private key from a PEM file (PKCS #8; RSA also PKCS #1) with RS256, ES256 or EdDSA.
    pub fn of_pem(pem: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let private = ["-----BEGIN PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----"];
        if !private.iter().any(|begin| pem.trim_start().starts_with(begin)) {
            return Err(KeyError::NotPem("private"));
        }
        let parsed = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return Err(KeyError::WrongKind(algorithm)),
        };
        let signing = Self { id: None, algorithm, key: parsed.map_err(|_| KeyError::WrongKind(algorithm))? };
        signing.sign(b"").map_err(|_| KeyError::Damaged)?;
        Ok(signing)
    }

    /// The same key under an id, which goes into tokens as `kid`.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature of `message` in URL-safe base64.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<String, KeyError> {
        crypto::sign(message, &self.key, self.algorithm.provider()).map_err(|_| KeyError::Damaged)
    }
}

fn check_secret(secret: &[u8], algorithm: Algorithm) -> Result<(), KeyError> {
    let min = algorithm.secret_bytes_min().ok_or(KeyError::WrongKind(algorithm))?;
    if secret.len() < min {
        return Err(KeyError::ShortSecret { algorithm, min, bytes: secret.len() });
    }
    Ok(())
}

/// Whether a public key has the size that its algorithm needs; a signature check alone would only ever say "wrong".
fn check_public(key: &DecodingKey, algorithm: Algorithm) -> Result<(), KeyError> {
    let raw = key.try_get_as_bytes();
    let sound = match algorithm {
        Algorithm::RS256 => match key.kind() {
            jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, e } => rsa_modulus_is_sound(n) && !e.is_empty() && e.len() <= 8,
            jsonwebtoken::DecodingKeyKind::SecretOrDer(der) => {
                let components = crypto::aws_lc::DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
                components(der).is_ok_and(|(modulus, _)| rsa_modulus_is_sound(&modulus))
            }
        },
        Algorithm::ES256 => raw.is_ok_and(|point| point.len() == 65 && point[0] == 4),
        Algorithm::EdDSA => raw.is_ok_and(|point| point.len() == 32),
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return Err(KeyError::WrongKind(algorithm)),
    };
    if sound { Ok(()) } else { Err(KeyError::Damaged) }
}

fn rsa_modulus_is_sound(modulus: &[u8]) -> bool {
    let leading = modulus.iter().take_while(|byte| **byte == 0).count();
    (256..=1024).contains(&(modulus.len() - leading))
}

/// What of a JSON Web Key is read.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    #[serde(rename = "kty")]
    kind: Box<str>,
    #[serde(rename = "kid")]
    id: Option<Box<str>>,
    #[serde(rename = "use")]
    usage: Option<Box<str>>,
    #[serde(rename = "key_ops")]
    operations: Option<Vec<Box<str>>>,
    #[serde(rename = "alg")]
    algorithm: Option<Box<str>>,
    #[serde(rename = "crv")]
    curve: Option<Box<str>>,
    n: Option<Box<str>>,
    e: Option<Box<str>>,
    x: Option<Box<str>>,
    y: Option<Box<str>>,
    k: Option<Box<str>>,
}

impl Jwk {
    /// The algorithms that a key of this kind can be used with.
    fn fitting(&self) -> &'static [Algorithm] {
        match (&*self.kind, self.curve.as_deref()) {
            ("RSA", _) => &[Algorithm::RS256],
            ("EC", Some("P-256")) => &[Algorithm::ES256],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
            ("oct", _) => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
            _ => &[],
        }
    }

    fn material(&self, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
        let part = |text: &Option<Box<str>>| text.clone().ok_or(KeyError::Damaged);
        let parsed = match algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_components(&part(&self.n)?, &part(&self.e)?),
            Algorithm::ES256 => DecodingKey::from_ec_components(&part(&self.x)?, &part(&self.y)?),
            Algorithm::EdDSA => DecodingKey::from_ed_components(&part(&self.x)?),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                let secret = URL_SAFE_NO_PAD.decode(part(&self.k)?.as_bytes()).map_err(|_| KeyError::Damaged)?;
                check_secret(&secret, algorithm)?;
                return Ok(DecodingKey::from_secret(&secret));
            }
        };
        parsed.map_err(|_| KeyError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those who look for a key pick one that allows the algorithm; this is the lock behind that one.
    #[test]
    fn a_good_signature_of_another_algorithm_does_not_count() {
        let secret = Secret::parse(&"0123456789abcdef".repeat(4)).unwrap();
        let message = b"what is signed";
        for made in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let signature = SigningKey::of_secret(&secret, made).unwrap().sign(message).unwrap();
            for pinned in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let key = VerificationKey::of_secret(&secret, &[pinned]).unwrap();
                assert_eq!(key.verifies(made, message, &signature), made == pinned, "{made} at a key for {pinned}");
            }
        }
    }
}
