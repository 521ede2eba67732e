//! Credentials as requests present them: the `Authorization` header.
//!
//! Invariant: a header that is there but can't be read is an error and never "no credential".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use omnivox_core::Credential;

use crate::error::AuthError;

/// Reads `Bearer` (a token or a ticket) and `Basic` (an API key's id and secret).
pub fn authorization(header: &str) -> Result<Credential, AuthError> {
    let (scheme, rest) = header.trim_ascii().split_once(' ').ok_or(AuthError::Authorization("has no credential behind its scheme"))?;
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(bearer(rest));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(rest).ok_or(AuthError::Authorization("is not `Basic` with base64 of `id:secret`"));
    }
    Err(AuthError::Authorization("has a scheme other than `Bearer`, `Basic` and `Omnivox-HMAC`"))
}

/// A token or a ticket, by its look.
pub fn bearer(text: &str) -> Credential {
    Credential::bearer(text)
}

fn basic(text: &str) -> Option<Credential> {
    let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some(Credential::Key { id: id.into(), secret: secret.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_credentials() {
        let check = |header: &str, expected: Option<Credential>| assert_eq!(authorization(header).ok(), expected, "{header}");
        check("Bearer a.b.c", Some(Credential::Token("a.b.c".into())));
        check(" bearer  a.b.c ", Some(Credential::Token("a.b.c".into())));
        check("BEARER ovt_x", Some(Credential::Ticket("ovt_x".into())));
        check("Basic c2hvcDpzOmVjcmV0", Some(Credential::Key { id: "shop".into(), secret: "s:ecret".into() }));
        for wrong in ["", "Bearer", "Basic", "Basic !", "Basic c2hvcA==", "Basic /w==", "Digest x", "a.b.c"] {
            check(wrong, None);
        }
    }
}
