//! Why a credential was refused: the rule that was broken and the setting that mends it.
//!
//! Every variant says what was wrong in words that its reader can act on, and [`AuthError::setting`] names the setting. What a variant
//! carries comes from the settings, or from a token whose signature was good, and is shortened.
//!
//! Invariant: no variant carries a secret, a token, a ticket or a signature.

use omnivox_core::Denied;

use crate::key::Algorithm;

/// A refused credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no credential and the app wants one.
    #[error("a credential is needed: send a token, a ticket or an API key, or set `app.open` to let clients come without one")]
    Missing,
    /// The token is larger than allowed; nothing of it was read.
    #[error(
        "the token has {bytes} bytes and at most {max} are read; grant patterns instead of single channels, or raise `limits.token_bytes_max`"
    )]
    Oversize {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// The text is no signed token.
    #[error("this is not a signed token (JWT): {0}")]
    Malformed(&'static str),
    /// The token says that it is not signed.
    #[error("the token has `alg` \"none\": unsigned tokens are never accepted; sign it with one of `app.token_algorithms`")]
    Unsigned,
    /// The algorithm is none that is spoken here.
    #[error("the token's `alg` is not one of HS256, HS384, HS512, RS256, ES256, EdDSA; sign it with one of `app.token_algorithms`")]
    AlgorithmUnknown,
    /// No key that could have signed the token may be used with its algorithm.
    #[error(
        "no key of the app may be used with {0}: each key is pinned to its algorithms; sign with another or change `app.token_algorithms`"
    )]
    AlgorithmNotAllowed(Algorithm),
    /// The header demands something that is not understood.
    #[error("the token's header has `crit`, which demands an extension that is not spoken here; leave it out")]
    Critical,
    /// No key has the id that the token names.
    #[error(
        "no key has the `kid` that the token names; publish the key in the set of `app.token_key_set`, which is fetched again now and then"
    )]
    UnknownKey,
    /// The key set was not fetched yet, or not for too long.
    #[error("the keys of `app.token_key_set` could not be fetched yet; try again in some seconds")]
    KeysUnavailable,
    /// The signature is wrong.
    #[error(
        "the token's signature is wrong: it was signed with another key, or changed; compare the signer's key with `app.secret` or `app.token_keys`"
    )]
    BadSignature,
    /// The time of the token is over.
    #[error("the token expired {ago_s} s ago; fetch a new one, and check both clocks (`app.token_leeway_ms`)")]
    Expired {
        /// For how many seconds.
        ago_s: u64,
    },
    /// The time of the token has not begun.
    #[error("the token is not valid for another {in_s} s (`nbf`); check both clocks (`app.token_leeway_ms`)")]
    NotYetValid {
        /// In how many seconds it begins.
        in_s: u64,
    },
    /// The token says that it was made later than now, and a revocation of its user would not concern it.
    #[error("the token was made {in_s} s from now (`iat`); check both clocks (`app.token_leeway_ms`)")]
    MadeLater {
        /// In how many seconds.
        in_s: u64,
    },
    /// The token never expires.
    #[error("the token has no `exp`; give it one, or switch off `app.token_expiry_required` (access tokens always need one)")]
    NoExpiry,
    /// The token lasts longer than allowed.
    #[error("the token lasts longer than {max_s} s; make shorter ones or raise `app.token_lifetime_max_ms`")]
    LivesTooLong {
        /// How many seconds a token may last from now.
        max_s: u64,
    },
    /// The token is from somebody else.
    #[error("the token's `iss` is {found}, which is not in `app.token_issuers`")]
    Issuer {
        /// What the token says, quoted and shortened.
        found: Box<str>,
    },
    /// The token is for somebody else.
    #[error("the token's `aud` is {found}, which is not in `app.token_audiences` (the app's id when that is unset)")]
    Audience {
        /// What the token says, quoted and shortened.
        found: Box<str>,
    },
    /// The token is of another kind than the key may sign.
    #[error("the token's `typ` is not `at+jwt`, which `app.token_access_only` demands")]
    NotAccessToken,
    /// A claim does not have the shape that it should.
    #[error("the token's claim `{claim}` {problem}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What is wrong with it.
        problem: Box<str>,
    },
    /// The user, session or token was revoked.
    #[error("the {0} was revoked; sign in again")]
    Revoked(&'static str),
    /// A refreshed credential is for somebody else.
    #[error("the new token is for another user than the connection; open a new connection for them")]
    OtherUser,
    /// The list of revocations is full.
    #[error("{0} revocations are in force; raise `limits.revocations_max`, or change `app.secret` to revoke everything")]
    RevocationsFull(usize),
    /// Key and secret do not belong together. Which of them is wrong isn't said.
    #[error("no API key has this id and secret; compare them with `app.key` and `app.secret`, or with those of `[[api_key]]`")]
    ApiKey,
    /// The ticket is no good. Why isn't known: a used ticket leaves no trace.
    #[error("the ticket is unknown, was used before, or is older than {ttl_s} s; get a new one for each connection with `POST /v1/ticket`")]
    Ticket {
        /// How many seconds a ticket lasts.
        ttl_s: u64,
    },
    /// A ticket was shown for another: one that leaked would be as good as the credential behind it.
    #[error("a ticket buys no other ticket; send the token or key itself to `POST /v1/ticket` (`Authorization: Bearer …`)")]
    TicketForTicket,
    /// Too many tickets wait to be used.
    #[error("{0} tickets wait to be used; raise `limits.tickets_max`")]
    TicketsFull(usize),
    /// The signature of a request or a webhook can't be read.
    #[error("the request's signature can't be read: {0}")]
    SignatureForm(&'static str),
    /// The signature of a request or a webhook is wrong.
    #[error(
        "the request's signature is wrong: sign exactly the method, target and body that are sent, with the secret of `[[api_key]]` or of the app"
    )]
    RequestSignature,
    /// The signature is older or newer than allowed.
    #[error("the request was signed {skew_s} s from now and {window_s} s are allowed; check both clocks (`app.signature_window_ms`)")]
    SignatureTime {
        /// How far away it is.
        skew_s: u64,
        /// How far it may be.
        window_s: u64,
    },
    /// The same signature came before.
    #[error("this signed request came before; give each its own nonce")]
    Replayed,
    /// Too many signatures are remembered.
    #[error("{0} signed requests came within the window; raise `limits.signatures_max`")]
    SignaturesFull(usize),
    /// A relay name is no good.
    #[error("the relay user name {0}; get a new credential with `POST /v1/turn`")]
    RelayName(&'static str),
    /// A web page of this origin may not come.
    #[error("the origin {0} is not allowed; add it to `app.allowed_origins`")]
    Origin(Box<str>),
    /// A cookie without a sign of the page that sent it.
    #[error(
        "a cookie counts only with an `Origin`, `Referer` or `Sec-Fetch-Site` that shows an allowed page (`app.allowed_origins`); send a token instead"
    )]
    CookieWithoutOrigin,
}

impl AuthError {
    /// The setting that mends it, where it is one.
    pub const fn setting(&self) -> Option<&'static str> {
        Some(match self {
            Self::Missing => "app.open",
            Self::Oversize { .. } => "limits.token_bytes_max",
            Self::Unsigned | Self::AlgorithmUnknown | Self::AlgorithmNotAllowed(_) => "app.token_algorithms",
            Self::UnknownKey | Self::KeysUnavailable => "app.token_key_set",
            Self::BadSignature | Self::ApiKey => "app.secret",
            Self::Expired { .. } | Self::NotYetValid { .. } | Self::MadeLater { .. } => "app.token_leeway_ms",
            Self::NoExpiry => "app.token_expiry_required",
            Self::LivesTooLong { .. } => "app.token_lifetime_max_ms",
            Self::Issuer { .. } => "app.token_issuers",
            Self::Audience { .. } => "app.token_audiences",
            Self::NotAccessToken => "app.token_access_only",
            Self::RevocationsFull(_) => "limits.revocations_max",
            Self::TicketsFull(_) => "limits.tickets_max",
            Self::RequestSignature => "[[api_key]]",
            Self::SignatureTime { .. } => "app.signature_window_ms",
            Self::SignaturesFull(_) => "limits.signatures_max",
            Self::Origin(_) | Self::CookieWithoutOrigin => "app.allowed_origins",
            Self::Malformed(_)
            | Self::Critical
            | Self::Claim { .. }
            | Self::Revoked(_)
            | Self::OtherUser
            | Self::Ticket { .. }
            | Self::TicketForTicket
            | Self::SignatureForm(_)
            | Self::Replayed
            | Self::RelayName(_) => return None,
        })
    }

    /// Of the refusals of two apps the one of the app that the credential was probably meant for: whose key it is comes first.
    #[must_use]
    pub fn more_telling(self, other: Self) -> Self {
        /// How much a refusal says that the credential was not meant for the app at all.
        const fn rank(error: &AuthError) -> u8 {
            match error {
                AuthError::AlgorithmNotAllowed(_) => 0,
                AuthError::UnknownKey | AuthError::ApiKey | AuthError::Ticket { .. } | AuthError::Missing => 1,
                AuthError::BadSignature | AuthError::RequestSignature => 2,
                _ => 3,
            }
        }
        if rank(&self) < rank(&other) { other } else { self }
    }

    /// A stable word for logs and metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Oversize { .. } => "oversize",
            Self::Malformed(_) => "malformed",
            Self::Unsigned => "unsigned",
            Self::AlgorithmUnknown => "algorithm_unknown",
            Self::AlgorithmNotAllowed(_) => "algorithm_not_allowed",
            Self::Critical => "critical",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::BadSignature => "bad_signature",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::MadeLater { .. } => "made_later",
            Self::NoExpiry => "no_expiry",
            Self::LivesTooLong { .. } => "lives_too_long",
            Self::Issuer { .. } => "issuer",
            Self::Audience { .. } => "audience",
            Self::NotAccessToken => "not_access_token",
            Self::Claim { .. } => "claim",
            Self::Revoked(_) => "revoked",
            Self::OtherUser => "other_user",
            Self::RevocationsFull(_) => "revocations_full",
            Self::ApiKey => "api_key",
            Self::Ticket { .. } => "ticket",
            Self::TicketForTicket => "ticket_for_ticket",
            Self::TicketsFull(_) => "tickets_full",
            Self::SignatureForm(_) => "signature_form",
            Self::RequestSignature => "request_signature",
            Self::SignatureTime { .. } => "signature_time",
            Self::Replayed => "replayed",
            Self::SignaturesFull(_) => "signatures_full",
            Self::RelayName(_) => "relay_name",
            Self::Origin(_) => "origin",
            Self::CookieWithoutOrigin => "cookie_without_origin",
        }
    }
}

impl From<AuthError> for Denied {
    fn from(error: AuthError) -> Self {
        let words = error.to_string().into();
        match error {
            AuthError::Expired { .. } => Self::Expired(words),
            AuthError::Origin(_) | AuthError::CookieWithoutOrigin => Self::Forbidden(words),
            AuthError::SignatureForm(_) => Self::Invalid(words),
            AuthError::TicketsFull(_) => Self::Limit { setting: "tickets_max", words: "too many tickets wait to be used".into() },
            AuthError::RevocationsFull(_) => Self::Limit { setting: "revocations_max", words: "too many revocations are in force".into() },
            AuthError::SignaturesFull(_) => {
                Self::Limit { setting: "signatures_max", words: "too many signed requests came at once".into() }
            }
            AuthError::KeysUnavailable => Self::Unavailable(words),
            AuthError::Missing
            | AuthError::Oversize { .. }
            | AuthError::Malformed(_)
            | AuthError::Unsigned
            | AuthError::AlgorithmUnknown
            | AuthError::AlgorithmNotAllowed(_)
            | AuthError::Critical
            | AuthError::UnknownKey
            | AuthError::BadSignature
            | AuthError::NotYetValid { .. }
            | AuthError::MadeLater { .. }
            | AuthError::NoExpiry
            | AuthError::LivesTooLong { .. }
            | AuthError::Issuer { .. }
            | AuthError::Audience { .. }
            | AuthError::NotAccessToken
            | AuthError::Claim { .. }
            | AuthError::Revoked(_)
            | AuthError::OtherUser
            | AuthError::ApiKey
            | AuthError::Ticket { .. }
            | AuthError::TicketForTicket
            | AuthError::RequestSignature
            | AuthError::SignatureTime { .. }
            | AuthError::Replayed
            | AuthError::RelayName(_) => Self::Unauthorized(words),
        }
    }
}

/// A text of the peer, for a message: quoted, without control characters, shortened.
pub(crate) fn quoted(text: &str) -> Box<str> {
    const SHOWN_MAX: usize = 64;
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
    if text.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    format!("\"{shown}\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<AuthError> {
        vec![
            AuthError::Missing,
            AuthError::Oversize { bytes: 2, max: 1 },
            AuthError::Malformed("it is empty"),
            AuthError::Unsigned,
            AuthError::AlgorithmUnknown,
            AuthError::AlgorithmNotAllowed(Algorithm::HS256),
            AuthError::Critical,
            AuthError::UnknownKey,
            AuthError::KeysUnavailable,
            AuthError::BadSignature,
            AuthError::Expired { ago_s: 1 },
            AuthError::NotYetValid { in_s: 1 },
            AuthError::MadeLater { in_s: 1 },
            AuthError::NoExpiry,
            AuthError::LivesTooLong { max_s: 1 },
            AuthError::Issuer { found: "x".into() },
            AuthError::Audience { found: "x".into() },
            AuthError::NotAccessToken,
            AuthError::Claim { claim: "exp", problem: "is no number".into() },
            AuthError::Revoked("user"),
            AuthError::OtherUser,
            AuthError::RevocationsFull(1),
            AuthError::ApiKey,
            AuthError::Ticket { ttl_s: 30 },
            AuthError::TicketForTicket,
            AuthError::TicketsFull(1),
            AuthError::SignatureForm("it is empty"),
            AuthError::RequestSignature,
            AuthError::SignatureTime { skew_s: 1, window_s: 1 },
            AuthError::Replayed,
            AuthError::SignaturesFull(1),
            AuthError::RelayName("is empty"),
            AuthError::Origin("x".into()),
            AuthError::CookieWithoutOrigin,
        ]
    }

    #[test]
    fn the_words_name_the_setting() {
        let mut labels = Vec::new();
        for error in all() {
            if let Some(setting) = error.setting() {
                assert!(error.to_string().contains(setting), "{error}: {setting}");
                let denied = Denied::from(error.clone()).to_string();
                assert!(denied.contains(setting), "{denied}: {setting}");
            }
            assert!(!labels.contains(&error.label()), "{} twice", error.label());
            labels.push(error.label());
        }
    }

    #[test]
    fn the_page_for_users_has_every_refusal() {
        let page = include_str!("../../../docs/credentials.md");
        for error in all() {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{}` |", error.label())));
            let row = row.unwrap_or_else(|| panic!("docs/credentials.md has no row for `{}`", error.label()));
            assert!(row.contains(&format!("| `{}` |", Denied::from(error.clone()).code())), "{row}");
            assert!(error.setting().is_none_or(|setting| row.contains(&format!("`{setting}`"))), "{row}: {:?}", error.setting());
        }
    }

    #[test]
    fn what_a_peer_wrote_is_shortened() {
        assert_eq!(&*quoted("a\nb"), "\"ab\"");
        assert_eq!(quoted(&"é".repeat(1000)).chars().count(), 67);
    }
}
