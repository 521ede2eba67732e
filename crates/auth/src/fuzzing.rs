//! The body of the fuzz target for credentials, beside the code so that it is built with the tests.

use crate::key::{Algorithm, VerificationKey};
use crate::key_set::{KeySet, KeySetPolicy};
use crate::secret::Secret;
use crate::signature::RequestSignature;
use crate::token::{Keys, TokenRules, Trust, verify};
use omnivox_core::Permissions;

/// What a stranger shows: the first byte chooses a token, a signed request's header, or the text of a key set. Fails when one panics, when a token that
/// nobody signed is good, or when a header does not survive being written again.
pub fn credential(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind % 3 {
        0 => {
            let secret = Secret::parse("nobody who fuzzes knows this secret of the test").expect("long enough");
            let key = VerificationKey::of_secret(&secret, &[Algorithm::HS256]).expect("a key");
            let trust = Trust { keys: Keys::Pinned(vec![key]), rules: TokenRules::new("demo"), ceiling: Permissions::NONE };
            assert!(verify(&[trust], text, 4096, NOW_MS).is_err(), "nobody signed it");
        }
        1 => {
            let Ok(signature) = RequestSignature::parse(text) else { return };
            let again = RequestSignature::parse(&signature.header()).expect("what is written can be read");
            assert!(again == signature, "it means the same");
        }
        _ => {
            let set = KeySet::new(KeySetPolicy::default());
            let usable = set.replace(text, NOW_MS).map_or(0, |replaced| replaced.usable);
            assert_eq!(set.len(), usable, "what is usable is there, and nothing else");
        }
    }
}

const NOW_MS: u64 = 1_700_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What `cargo fuzz run credential` does for longer.
        #[test]
        fn smoke(kind in 0_u8..3, text in "[A-Za-z0-9_-]{0,12}\\.[A-Za-z0-9_-]{0,12}\\.[A-Za-z0-9_-]{0,43}|Omnivox-HMAC key=[a-z]{0,2},t=[0-9]{1,13},n=[a-z]{6},v1=[0-9a-f]{64}|\\{\"keys\":\\[(\\{\"kty\":\"(EC|RSA|OKP|oct)\",\"crv\":\"P-256\",\"x\":\"[A-Za-z0-9]{0,4}\",\"y\":\"AQAB\",\"n\":\"AQAB\",\"e\":\"AQAB\"\\})?\\]\\}") {
            credential(&[&[kind], text.as_bytes()].concat());
        }
    }
}
