//! Nonces that the server need not remember.
//!
//! A nonce is `cookie? | seconds (24 bits) | tag (66 bits)` in base64, where the tag is an HMAC-SHA256 over the client's
//! address, its port and the seconds. Checking one costs a digest and no memory, so a flood of forged requests stores
//! nothing, and a restart or another node with the same key accepts what was given out before.
//!
//! The cookie `obMatJos2` and four characters of feature bits stand in front only when PASSWORD-ALGORITHMS or USERHASH is
//! offered; without it the nonce is 15 characters long, with it 28.

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

const COOKIE: &[u8] = b"obMatJos2";
const TAG_CHARACTERS: usize = 11;
const TIME_CHARACTERS: usize = 4;
const WRAP: u64 = 1 << 24;
/// Nodes' clocks may differ by this much.
const SKEW_SECONDS: u64 = 5;

/// The STUN security features that a nonce's cookie announces, numbered from the least significant bit (erratum 6290).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features {
    /// Bit 0: PASSWORD-ALGORITHMS is offered.
    pub algorithms: bool,
    /// Bit 1: USERHASH is understood.
    pub anonymity: bool,
}

impl Features {
    fn bits(self) -> u8 {
        u8::from(self.algorithms) | (u8::from(self.anonymity) << 1)
    }
}

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, for this client, young enough.
    Fresh,
    /// Too old, for another client, or not ours: the client gets a new one with 438.
    Stale,
}

/// The keys that sign nonces: the current one and the one before it, so that a change of keys disturbs nobody.
pub struct NonceKeys {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl std::fmt::Debug for NonceKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("NonceKeys(…)")
    }
}

impl NonceKeys {
    /// Starts with one key; nodes that share clients share it. It must not be a credential secret.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { current: hmac::Key::new(hmac::HMAC_SHA256, key), previous: None }
    }

    /// Signs with a new key from now on and still accepts the old one.
    pub fn rotate(&mut self, key: &[u8; 32]) {
        let new = hmac::Key::new(hmac::HMAC_SHA256, key);
        self.previous = Some(std::mem::replace(&mut self.current, new));
    }

    /// Appends a nonce for this client.
    pub fn issue(&self, features: Features, client: SocketAddr, unix: u64, into: &mut Vec<u8>) {
        if features != Features::default() {
            into.extend_from_slice(COOKIE);
            into.extend_from_slice(&encode::<4>(&[0, 0, features.bits()]));
        }
        let seconds = seconds_of(unix);
        into.extend_from_slice(&encode::<TIME_CHARACTERS>(&seconds));
        into.extend_from_slice(&tag(&self.current, client, seconds));
    }

    /// Judges a nonce that this client sent back.
    #[must_use]
    pub fn check(&self, nonce: &[u8], client: SocketAddr, unix: u64, lifetime_seconds: u64) -> Verdict {
        self.fresh(nonce, client, unix, lifetime_seconds).map_or(Verdict::Stale, |()| Verdict::Fresh)
    }

    fn fresh(&self, nonce: &[u8], client: SocketAddr, unix: u64, lifetime_seconds: u64) -> Option<()> {
        let body = nonce.strip_prefix(COOKIE).and_then(|rest| rest.get(4..)).unwrap_or(nonce);
        let (time, given) = body.split_at_checked(TIME_CHARACTERS)?;
        let mut seconds = [0; 3];
        BASE64.decode_slice(time, &mut seconds).ok()?;
        let matches = |key| constant_time::verify_slices_are_equal(&tag(key, client, seconds), given).is_ok();
        if !matches(&self.current) && !self.previous.as_ref().is_some_and(matches) {
            return None;
        }
        let issued = u64::from(u32::from_be_bytes([0, seconds[0], seconds[1], seconds[2]]));
        let age = (unix % WRAP + WRAP - issued) % WRAP;
        (age <= lifetime_seconds || age >= WRAP - SKEW_SECONDS).then_some(())
    }
}

/// Whether the nonce that a client echoes carries the cookie with the algorithms bit.
#[must_use]
pub fn offers_algorithms(nonce: &[u8]) -> bool {
    let mut bits = [0; 3];
    nonce
        .strip_prefix(COOKIE)
        .and_then(|rest| rest.get(..4))
        .is_some_and(|text| BASE64.decode_slice(text, &mut bits).is_ok() && bits[2] & 1 == 1)
}

fn seconds_of(unix: u64) -> [u8; 3] {
    let [.., a, b, c] = unix.to_be_bytes();
    [a, b, c]
}

fn tag(key: &hmac::Key, client: SocketAddr, seconds: [u8; 3]) -> [u8; TAG_CHARACTERS] {
    let mut context = hmac::Context::with_key(key);
    match client.ip() {
        IpAddr::V4(ip) => context.update(&ip.octets()),
        IpAddr::V6(ip) => context.update(&ip.octets()),
    }
    context.update(&client.port().to_be_bytes());
    context.update(&seconds);
    let tag = context.sign();
    let mut text = [0; 12];
    let head = tag.as_ref().first_chunk::<9>().expect("SHA-256 has 32 bytes");
    text.copy_from_slice(&encode::<12>(head));
    let mut short = [0; TAG_CHARACTERS];
    short.copy_from_slice(&text[..TAG_CHARACTERS]);
    short
}

fn encode<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'A'; N];
    // N is four characters for each three bytes at every call, so it fits.
    let _ = BASE64.encode_slice(bytes, &mut text);
    text
}

/// Makes a key of any secret text, for nodes that share it.
#[must_use]
pub fn key_of(secret: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
