//! Secrets: parsed once, compared in constant time, never shown; and the secrets that are derived from an app's one secret.
//!
//! ```
//! use omnivox_auth::secret::{Purpose, Secret};
//! use omnivox_core::AppId;
//! let secret = Secret::parse("an example secret that is long enough").unwrap();
//! let shop = AppId::parse("shop").unwrap();
//! assert_eq!(secret.derive(&shop, Purpose::Pusher).expose().len(), 64);
//! assert_eq!(format!("{secret:?}"), "Secret(redacted)");
//! ```
//!
//! Invariant: two purposes, and two apps, never share a derived secret.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use omnivox_core::AppId;
use omnivox_core::grants::Signer;

/// The shortest secret of our own, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;
/// The shortest secret that another product gave.
pub const IMPORTED_SECRET_BYTES_MIN: usize = 16;
/// The longest secret.
pub const SECRET_BYTES_MAX: usize = 1024;

/// A secret that signatures are made with. Its text never appears in `Debug`.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Why a text can't be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// It is too short.
    #[error("the secret has {bytes} bytes and needs at least {min}; `openssl rand -hex 32` gives one")]
    Short {
        /// How many it has.
        bytes: usize,
        /// How many it needs.
        min: usize,
    },
    /// It is too long.
    #[error("the secret has {0} bytes and may have at most 1024; `openssl rand -hex 32` gives one")]
    Long(usize),
    /// It has too few different bytes to be random.
    #[error("the secret has only {0} different bytes, so it can be guessed; `openssl rand -hex 32` gives one")]
    Monotonous(usize),
    /// It is a key that everybody may read.
    #[error("this is a PEM file, not a secret; a public key as a shared secret would let anyone sign: name it in `app.token_keys`")]
    Pem,
}

/// What stands for a key, or for the place of a hook, in a principal: eight bytes of a digest of it.
pub fn signer(kind: &str, key: &[&[u8]]) -> Signer {
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    context.update(b"omnivox signer\0");
    context.update(kind.as_bytes());
    for part in key {
        context.update(b"\0");
        context.update(part);
    }
    let mut short = [0; 8];
    short.copy_from_slice(&context.finish().as_ref()[..8]);
    Signer(short)
}

/// What stands for some texts together, such as the key of a cache that must not keep a credential itself.
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&SHA256);
    context.update(b"omnivox fingerprint\0");
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.finish().as_ref());
    tag
}

impl Secret {
    /// Takes a secret of our own: 32 bytes or more.
    pub fn parse(text: &str) -> Result<Self, WeakSecret> {
        Self::of_at_least(text.as_bytes(), SECRET_BYTES_MIN)
    }

    /// Takes a secret that another product gave and that can't be changed: 16 bytes or more.
    pub fn imported(text: &str) -> Result<Self, WeakSecret> {
        Self::of_at_least(text.as_bytes(), IMPORTED_SECRET_BYTES_MIN)
    }

    /// Takes a secret of raw bytes: 32 or more.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeakSecret> {
        Self::of_at_least(bytes, SECRET_BYTES_MIN)
    }

    fn of_at_least(bytes: &[u8], min: usize) -> Result<Self, WeakSecret> {
        const DIFFERENT_MIN: usize = 8;
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(WeakSecret::Pem);
        }
        if bytes.len() < min {
            return Err(WeakSecret::Short { bytes: bytes.len(), min });
        }
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(WeakSecret::Long(bytes.len()));
        }
        let mut seen = [false; 256];
        for byte in bytes {
            seen[usize::from(*byte)] = true;
        }
        let different = seen.iter().filter(|seen| **seen).count();
        if different < DIFFERENT_MIN {
            return Err(WeakSecret::Monotonous(different));
        }
        Ok(Self(bytes.into()))
    }

    /// The secret's bytes, for a signature; they belong in no message.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether `shown` is this secret. The time that it takes depends on the length of `shown` alone.
    pub fn is(&self, shown: &[u8]) -> bool {
        let ours = digest(&SHA256, &self.0);
        let theirs = digest(&SHA256, shown);
        verify_slices_are_equal(ours.as_ref(), theirs.as_ref()).is_ok()
    }

    /// The secret of one purpose of one app: HKDF-SHA256, as 64 hexadecimal digits, so that it can be typed into an SDK.
    #[must_use]
    pub fn derive(&self, app: &AppId, purpose: Purpose) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"omnivox/1").extract(&self.0);
        let info: [&[u8]; 3] = [purpose.label().as_bytes(), b"\0", app.as_str().as_bytes()];
        let mut bytes = [0; 32];
        prk.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut bytes)).expect("32 bytes are within what HKDF-SHA256 expands to");
        Self(hex(&bytes).into_bytes().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

/// What a derived secret is for. The labels are part of the wire contract: a change makes every derived secret another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Signs what Pusher back ends send.
    Pusher,
    /// The secret half of the Ably key.
    Ably,
    /// Signs Supabase tokens.
    Supabase,
    /// Signs Centrifugo tokens.
    Centrifugo,
    /// Signs Mercure tokens.
    Mercure,
    /// The key of PeerJS clients.
    PeerJs,
    /// Signs webhooks and back-end hooks.
    Webhook,
    /// Makes relay passwords.
    Turn,
    /// Seals what clients carry for us: session ids, resume marks.
    Seal,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 9] =
        [Self::Pusher, Self::Ably, Self::Supabase, Self::Centrifugo, Self::Mercure, Self::PeerJs, Self::Webhook, Self::Turn, Self::Seal];

    /// The label that goes into the derivation, and the name for `omnivox secret`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pusher => "pusher",
            Self::Ably => "ably",
            Self::Supabase => "supabase",
            Self::Centrifugo => "centrifugo",
            Self::Mercure => "mercure",
            Self::PeerJs => "peerjs",
            Self::Webhook => "webhook",
            Self::Turn => "turn",
            Self::Seal => "seal",
        }
    }

    /// The purpose of that label.
    pub fn named(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.label() == label)
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char]).collect()
}

/// The bytes of hexadecimal digits of either case.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| <&[u8; 2]>::try_from(pair).ok().and_then(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_refused() {
        let check = |text: &str, expected: Option<WeakSecret>| assert_eq!(Secret::parse(text).err(), expected, "{text:?}");
        check("0123456789abcdef0123456789abcdef", None);
        check("0123456789abcdef0123456789abcde", Some(WeakSecret::Short { bytes: 31, min: 32 }));
        check("", Some(WeakSecret::Short { bytes: 0, min: 32 }));
        check(&"a".repeat(64), Some(WeakSecret::Monotonous(1)));
        check(&"abcdefgh".repeat(129), Some(WeakSecret::Long(1032)));
        check("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA", Some(WeakSecret::Pem));
        assert_eq!(Secret::imported("7ad3773142a6692b25b8").err(), None, "other products give 20 digits");
        assert_eq!(Secret::imported("short").err(), Some(WeakSecret::Short { bytes: 5, min: 16 }));
    }

    #[test]
    fn a_secret_is_itself_alone() {
        let secret = Secret::parse("an example secret that is long enough").unwrap();
        assert!(secret.is(b"an example secret that is long enough"));
        for other in ["", "an example secret that is long enougH", "an example secret that is long enough ", "an example"] {
            assert!(!secret.is(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn every_purpose_and_app_has_its_own_secret() {
        let secret = Secret::parse("an example secret that is long enough").unwrap();
        let mut seen = Vec::new();
        for app in ["shop", "sho", "news"] {
            for purpose in Purpose::ALL {
                let derived = secret.derive(&AppId::parse(app).unwrap(), purpose).expose().to_vec();
                assert!(!seen.contains(&derived), "{app} {purpose:?}");
                seen.push(derived);
                assert_eq!(Purpose::named(purpose.label()), Some(purpose));
            }
        }
    }

    /// Computed apart, with `openssl kdf`; a change here would break every SDK that has a derived secret typed in.
    #[test]
    fn derived_secrets_stay_the_same() {
        let secret = Secret::parse("an example secret that is long enough").unwrap();
        let derived = secret.derive(&AppId::parse("shop").unwrap(), Purpose::Pusher);
        assert_eq!(std::str::from_utf8(derived.expose()).unwrap(), "f59f6f2f897e04ff9477e08f4e2d3305fb613e941ed63161346648ab75080f29");
    }

    #[test]
    fn hexadecimal_digits_come_back() {
        assert_eq!(unhex(&hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        for wrong in ["0", "0g", "+1", "é"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
