//! Message integrity and fingerprint: HMAC-SHA1, HMAC-SHA256, CRC-32, and the keys they use.
//!
//! Digests come from `aws-lc-rs`, the one crypto provider of the project (TLS uses it too); MD5, which exists there for no
//! one, from `md-5`.
//!
//! Invariant: tags are compared in constant time, and a [`Key`] never shows in `Debug`.

use aws_lc_rs::{constant_time, digest, hmac};
use md5::{Digest as _, Md5};

use super::attribute;

/// Which integrity attribute a message carries; answers use the one of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256.
    Sha256,
}

impl Integrity {
    pub(crate) const fn tag_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(crate) const fn attribute(self) -> u16 {
        match self {
            Self::Sha1 => attribute::MESSAGE_INTEGRITY,
            Self::Sha256 => attribute::MESSAGE_INTEGRITY_SHA256,
        }
    }

    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }
}

/// How a long-term password becomes a key: PASSWORD-ALGORITHM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Number 1: MD5 of `user:realm:password`.
    Md5,
    /// Number 2: SHA-256 of the same text.
    Sha256,
}

impl Algorithm {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }
}

/// The value of PASSWORD-ALGORITHMS: both algorithms, the stronger one first, without parameters.
pub const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// The HMAC key of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(smallvec::SmallVec<[u8; 32]>);

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(…)")
    }
}

impl Key {
    /// The key of a long-term credential. Names and passwords are taken byte for byte: prepare non-ASCII text with
    /// OpaqueString (RFC 8265) before it comes here.
    #[must_use]
    pub fn long_term(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Self {
        let text = [user, realm, password].join(":");
        match algorithm {
            Algorithm::Md5 => Self(Md5::digest(text.as_bytes()).as_slice().into()),
            Algorithm::Sha256 => Self(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().into()),
        }
    }

    /// The key of a short-term credential: the password itself.
    #[must_use]
    pub fn short_term(password: &str) -> Self {
        Self(password.as_bytes().into())
    }

    /// A key that was computed elsewhere.
    #[must_use]
    pub fn precomputed(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// USERHASH: SHA-256 of `user:realm`.
#[must_use]
pub fn userhash(user: &str, realm: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(user.as_bytes());
    context.update(b":");
    context.update(realm.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The tag of `message`, whose header length already includes the integrity attribute.
pub(crate) fn compute(kind: Integrity, key: &Key, message: &[u8], into: &mut [u8; 32]) {
    let tag = hmac::sign(&hmac::Key::new(kind.algorithm(), &key.0), message);
    into[..kind.tag_bytes()].copy_from_slice(tag.as_ref());
}

/// Checks a tag over `before`, the message up to the integrity attribute; truncated SHA-256 tags are fine.
pub(crate) fn verify(kind: Integrity, key: &Key, before: &[u8], tag: &[u8]) -> bool {
    // Both lengths are bounded by the message's own 16-bit length.
    let length = before.len() - super::message::HEADER_BYTES + 4 + tag.len();
    let Ok(length) = u16::try_from(length) else { return false };
    let mut context = hmac::Context::with_key(&hmac::Key::new(kind.algorithm(), &key.0));
    context.update(&before[..2]);
    context.update(&length.to_be_bytes());
    context.update(&before[4..]);
    let right = context.sign();
    right.as_ref().get(..tag.len()).is_some_and(|right| constant_time::verify_slices_are_equal(right, tag).is_ok())
}

/// FINGERPRINT's value for a message whose length already includes it.
pub(crate) fn fingerprint(message: &[u8]) -> u32 {
    crc32fast::hash(message) ^ 0x5354_554E
}

/// Whether the last eight bytes are the right FINGERPRINT.
pub(crate) fn fingerprint_holds(message: &[u8]) -> bool {
    let Some((before, attribute)) = message.split_last_chunk::<8>() else { return false };
    attribute[4..] == fingerprint(before).to_be_bytes()
}
