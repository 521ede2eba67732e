//! Signatures over requests: what back ends send to us, and the webhooks that we send to them.
//!
//! A signed request carries, instead of the secret itself,
//!
//! ```text
//! Authorization: Omnivox-HMAC key=shop,t=1763840000123,n=8f1c2a,v1=5d41…
//! v1 = hex(HMAC-SHA256(secret, "v1\n" t "\n" n "\n" METHOD "\n" target "\n" hex(SHA-256(body))))
//! ```
//!
//! with the time in milliseconds and a nonce of 6 to 64 characters. Webhooks follow the *Standard Webhooks* convention, so that its
//! libraries verify them: `webhook-id`, `webhook-timestamp` (seconds), and `webhook-signature: v1,base64(HMAC-SHA256(secret, id.t.body))`.
//!
//! Invariant: within the window a signature is accepted once; outside of it never.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::AuthError;
use crate::secret::{Secret, hex, unhex};

/// The scheme of the `Authorization` header.
pub const SCHEME: &str = "Omnivox-HMAC";
/// How far the time of a signature may be from now, unless set otherwise.
pub const WINDOW_MS: u64 = 5 * 60 * 1000;
/// The longest `Authorization` header that is read.
const HEADER_BYTES_MAX: usize = 1024;

/// What of a request is signed.
#[derive(Clone, Copy, Debug)]
pub struct SignedParts<'a> {
    /// The method, such as `POST`.
    pub method: &'a str,
    /// Path and query as they are sent.
    pub target: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// The signature of a request, read but not verified.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestSignature {
    /// The API key that it claims.
    pub key_id: Box<str>,
    /// When it was made.
    pub at_ms: u64,
    nonce: Box<str>,
    tag: [u8; 32],
}

impl std::fmt::Debug for RequestSignature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestSignature").field("key_id", &self.key_id).field("at_ms", &self.at_ms).finish_non_exhaustive()
    }
}

impl RequestSignature {
    /// Signs a request; the nonce should be fresh for each.
    pub fn sign(secret: &Secret, key_id: &str, nonce: &str, parts: &SignedParts<'_>, now_ms: u64) -> Self {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&mac_key(secret), &signed_text(parts, nonce, now_ms)).as_ref());
        Self { key_id: key_id.into(), at_ms: now_ms, nonce: nonce.into(), tag }
    }

    /// The value of the `Authorization` header.
    pub fn header(&self) -> String {
        format!("{SCHEME} key={},t={},n={},v1={}", self.key_id, self.at_ms, self.nonce, hex(&self.tag))
    }

    /// Reads the value of an `Authorization` header.
    pub fn parse(header: &str) -> Result<Self, AuthError> {
        let wrong = AuthError::SignatureForm;
        if header.len() > HEADER_BYTES_MAX {
            return Err(wrong("its header is longer than 1024 bytes"));
        }
        let (scheme, rest) = header.split_once(' ').ok_or_else(|| wrong("write `Omnivox-HMAC key=…,t=…,n=…,v1=…`"))?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(wrong("the scheme is not `Omnivox-HMAC`"));
        }
        let mut fields = [None; 4];
        for field in rest.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or_else(|| wrong("a field has no `=`"))?;
            let place =
                ["key", "t", "n", "v1"].iter().position(|known| *known == name).ok_or_else(|| wrong("there are only key, t, n and v1"))?;
            if fields[place].replace(value).is_some() {
                return Err(wrong("a field comes twice"));
            }
        }
        let [Some(key_id), Some(at), Some(nonce), Some(tag)] = fields else { return Err(wrong("one of key, t, n and v1 is missing")) };
        if !(6..=64).contains(&nonce.len()) || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the nonce `n` does not have 6 to 64 printable characters"));
        }
        let digits = at.bytes().all(|byte| byte.is_ascii_digit());
        let at_ms = at.parse().ok().filter(|_| digits).ok_or_else(|| wrong("the time `t` is no number of milliseconds"))?;
        let tag = unhex(tag).and_then(|tag| tag.try_into().ok()).ok_or_else(|| wrong("`v1` is not 64 hexadecimal digits"))?;
        Ok(Self { key_id: key_id.into(), at_ms, nonce: nonce.into(), tag })
    }

    /// Whether the secret made it for this request, now and for the first time.
    pub fn verify(
        &self,
        secret: &Secret,
        parts: &SignedParts<'_>,
        window_ms: u64,
        seen: &SeenSignatures,
        now_ms: u64,
    ) -> Result<(), AuthError> {
        check_time(self.at_ms, window_ms, now_ms)?;
        hmac::verify(&mac_key(secret), &signed_text(parts, &self.nonce, self.at_ms), &self.tag).map_err(|_| AuthError::RequestSignature)?;
        seen.first(self.tag, self.at_ms, window_ms, now_ms)
    }
}

fn mac_key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose())
}

fn signed_text(parts: &SignedParts<'_>, nonce: &str, at_ms: u64) -> Vec<u8> {
    let body = hex(digest(&SHA256, parts.body).as_ref());
    format!("v1\n{at_ms}\n{nonce}\n{}\n{}\n{body}", parts.method, parts.target).into_bytes()
}

fn check_time(at_ms: u64, window_ms: u64, now_ms: u64) -> Result<(), AuthError> {
    let skew_ms = now_ms.abs_diff(at_ms);
    if skew_ms > window_ms {
        return Err(AuthError::SignatureTime { skew_s: skew_ms / 1000, window_s: window_ms / 1000 });
    }
    Ok(())
}

/// The good signatures of the last window, so that none works twice.
#[derive(Debug)]
pub struct SeenSignatures {
    count_max: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    tags: BTreeSet<[u8; 32]>,
    /// By arrival, with the moment after which the time check alone refuses it.
    order: VecDeque<(u64, [u8; 32])>,
}

impl SeenSignatures {
    /// None yet; at most `count_max` within a window.
    pub fn new(count_max: usize) -> Self {
        Self { count_max, seen: Mutex::default() }
    }

    fn first(&self, tag: [u8; 32], at_ms: u64, window_ms: u64, now_ms: u64) -> Result<(), AuthError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The order of arrival is not quite that of the ends, so an entry may stay up to one window longer than needed, never shorter.
        while let Some((end_ms, tag)) = seen.order.front().copied()
            && end_ms < now_ms
        {
            seen.tags.remove(&tag);
            seen.order.pop_front();
        }
        if seen.tags.contains(&tag) {
            return Err(AuthError::Replayed);
        }
        if seen.tags.len() >= self.count_max {
            return Err(AuthError::SignaturesFull(self.count_max));
        }
        seen.tags.insert(tag);
        seen.order.push_back((at_ms.saturating_add(window_ms), tag));
        Ok(())
    }
}

/// The three headers of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookHeaders {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`: one signature for each secret, so that a secret can be replaced without a gap.
    pub signature: String,
}

/// Signs a webhook with every secret that receivers may hold. `id` stays the same when it is sent again; dots in it become dashes.
pub fn sign_webhook(secrets: &[Secret], id: &str, body: &[u8], now_ms: u64) -> WebhookHeaders {
    let id = id.replace('.', "-");
    let timestamp = (now_ms / 1000).to_string();
    let signatures = secrets.iter().map(|secret| {
        let tag = hmac::sign(&mac_key(secret), &webhook_text(&id, &timestamp, body));
        format!("v1,{}", STANDARD.encode(tag))
    });
    let signature = signatures.collect::<Vec<_>>().join(" ");
    WebhookHeaders { id, timestamp, signature }
}

/// Verifies a webhook, for receivers that are written in Rust.
pub fn verify_webhook(secret: &Secret, headers: &WebhookHeaders, body: &[u8], window_ms: u64, now_ms: u64) -> Result<(), AuthError> {
    let digits = headers.timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: Option<u64> = headers.timestamp.parse().ok().filter(|_| digits);
    let seconds = seconds.ok_or(AuthError::SignatureForm("`webhook-timestamp` is no number of seconds"))?;
    check_time(seconds.saturating_mul(1000), window_ms, now_ms)?;
    let key = mac_key(secret);
    let text = webhook_text(&headers.id, &headers.timestamp, body);
    let good = headers.signature.split(' ').filter_map(|one| one.strip_prefix("v1,")).any(|tag| {
        let tag = STANDARD.decode(tag).unwrap_or_default();
        hmac::verify(&key, &text, &tag).is_ok()
    });
    if good { Ok(()) } else { Err(AuthError::RequestSignature) }
}

/// The secret as receivers' libraries want it: `whsec_` and base64.
pub fn webhook_secret_text(secret: &Secret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.expose()))
}

fn webhook_text(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_700_000_000_000;

    fn secret() -> Secret {
        Secret::parse("an example secret that is long enough").unwrap()
    }

    fn parts<'a>(method: &'a str, target: &'a str, body: &'a str) -> SignedParts<'a> {
        SignedParts { method, target, body: body.as_bytes() }
    }

    #[test]
    fn a_signature_is_for_one_request() {
        let signed = parts("POST", "/v1/publish?a=1", "{}");
        let header = RequestSignature::sign(&secret(), "shop", "nonce1", &signed, NOW_MS).header();
        let verify = |parts: &SignedParts<'_>, now_ms| {
            RequestSignature::parse(&header).unwrap().verify(&secret(), parts, WINDOW_MS, &SeenSignatures::new(9), now_ms).err()
        };
        let check = |parts: SignedParts<'_>, now_ms, expected: Option<AuthError>| assert_eq!(verify(&parts, now_ms), expected, "{parts:?}");
        let late = |skew_s| Some(AuthError::SignatureTime { skew_s, window_s: 300 });
        check(signed, NOW_MS, None);
        check(signed, NOW_MS + WINDOW_MS, None);
        check(signed, NOW_MS - WINDOW_MS, None);
        check(signed, NOW_MS + WINDOW_MS + 1000, late(301));
        check(signed, NOW_MS - WINDOW_MS - 1000, late(301));
        check(parts("PUT", "/v1/publish?a=1", "{}"), NOW_MS, Some(AuthError::RequestSignature));
        check(parts("POST", "/v1/publish?a=2", "{}"), NOW_MS, Some(AuthError::RequestSignature));
        check(parts("POST", "/v1/publish?a=1", "{ }"), NOW_MS, Some(AuthError::RequestSignature));
        check(parts("POST", "/v1/publish", "?a=1{}"), NOW_MS, Some(AuthError::RequestSignature));
    }

    /// Computed apart, with `openssl dgst -hmac`.
    #[test]
    fn the_text_that_is_signed_stays_the_same() {
        let header = RequestSignature::sign(&secret(), "shop", "nonce1", &parts("POST", "/v1/publish", "{}"), NOW_MS).header();
        assert_eq!(
            header,
            "Omnivox-HMAC key=shop,t=1700000000000,n=nonce1,v1=895852b5c047485d1dd3c79a4e3555e450d576fce1fd3019040d1af2e6be2267"
        );
        let webhook = sign_webhook(&[secret()], "m.1", b"{}", NOW_MS);
        assert_eq!((&*webhook.id, &*webhook.timestamp), ("m-1", "1700000000"));
        assert_eq!(webhook.signature, "v1,RFBVKX8p69LjObGyr72c7BZ/z+CZioIMYUjXkMcEDOs=");
    }

    #[test]
    fn a_signature_works_once() {
        let seen = SeenSignatures::new(2);
        let send = |nonce: &str, at_ms, now_ms| {
            let parts = parts("POST", "/", "");
            RequestSignature::sign(&secret(), "shop", nonce, &parts, at_ms).verify(&secret(), &parts, 1000, &seen, now_ms).err()
        };
        assert_eq!(send("nonce1", 5_000, 5_000), None);
        assert_eq!(send("nonce1", 5_000, 5_000), Some(AuthError::Replayed));
        assert_eq!(send("nonce1", 5_000, 6_000), Some(AuthError::Replayed), "the last moment of the window");
        assert_eq!(send("nonce2", 6_000, 6_000), None);
        assert_eq!(send("nonce3", 6_000, 6_000), Some(AuthError::SignaturesFull(2)));
        assert_eq!(send("nonce3", 6_000, 6_001), None, "the first one's window has passed");
        assert!(matches!(send("nonce1", 5_000, 6_001), Some(AuthError::SignatureTime { .. })));
    }

    #[test]
    fn headers_are_read_strictly() {
        let tag = "0".repeat(64);
        let check = |header: &str, expected: &str| {
            let found = RequestSignature::parse(header).map_or_else(|error| error.to_string(), |_| "fine".into());
            assert!(found.contains(expected), "{header}: {found}");
        };
        check(&format!("omnivox-hmac v1={tag}, n=123456, t=1, key=a"), "fine");
        check("Bearer x", "scheme");
        check("Omnivox-HMAC", "write");
        check("Omnivox-HMAC key", "no `=`");
        check("Omnivox-HMAC key=a", "missing");
        check("Omnivox-HMAC key=a,key=b", "twice");
        check("Omnivox-HMAC k=a", "only key");
        check(&format!("Omnivox-HMAC key=a,t=+1,n=123456,v1={tag}"), "no number");
        check(&format!("Omnivox-HMAC key=a,t=99999999999999999999,n=123456,v1={tag}"), "no number");
        check(&format!("Omnivox-HMAC key=a,t=1,n=12345,v1={tag}"), "nonce");
        check(&format!("Omnivox-HMAC key=a,t=1,n=123456,v1={}", &tag[1..]), "hexadecimal");
        check(&"x".repeat(2000), "longer than");
    }

    #[test]
    fn webhooks_verify_with_either_secret_while_one_is_replaced() {
        let old = Secret::parse("another secret that was there before").unwrap();
        let good = sign_webhook(&[old.clone(), secret()], "m1", b"{}", NOW_MS);
        let check = |secret: &Secret, headers: &WebhookHeaders, body: &str, now_ms, good: bool| {
            assert_eq!(verify_webhook(secret, headers, body.as_bytes(), WINDOW_MS, now_ms).is_ok(), good, "{headers:?} {body} {now_ms}");
        };
        check(&old, &good, "{}", NOW_MS, true);
        check(&secret(), &good, "{}", NOW_MS + WINDOW_MS, true);
        check(&secret(), &good, "{}", NOW_MS + WINDOW_MS + 1, false);
        check(&secret(), &good, "{ }", NOW_MS, false);
        check(&secret(), &WebhookHeaders { id: "m2".into(), ..good.clone() }, "{}", NOW_MS, false);
        check(&secret(), &WebhookHeaders { timestamp: "1700000001".into(), ..good.clone() }, "{}", NOW_MS, false);
        check(&secret(), &WebhookHeaders { timestamp: "soon".into(), ..good.clone() }, "{}", NOW_MS, false);
        check(&secret(), &WebhookHeaders { signature: "v1, v1,AAAA v2,x".into(), ..good.clone() }, "{}", NOW_MS, false);
        check(&Secret::parse("a third secret that nobody ever used").unwrap(), &good, "{}", NOW_MS, false);
        assert!(webhook_secret_text(&secret()).starts_with("whsec_YW4gZXhh"));
    }
}
