//! Refusals in Mercure's words: a status, and since the second generation the header of RFC 6750 that says why.
//!
//! The first generation knows 401 for everything that a token does not allow; the second tells 401 (no or a bad token) from 403.

use omnivox_core::{Denied, Response};

use super::credential::Who;

/// Why a request is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The code of RFC 6750, when the credential is the matter.
    pub(super) bearer: Option<Bearer>,
    pub(super) words: Box<str>,
}

/// What is wrong with a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bearer {
    /// There is none.
    Missing,
    InvalidRequest,
    InvalidToken,
    InsufficientScope,
}

impl Refusal {
    pub(super) fn bad(words: impl Into<Box<str>>) -> Self {
        Self { status: 400, bearer: None, words: words.into() }
    }

    pub(super) fn status(status: u16, words: impl Into<Box<str>>) -> Self {
        Self { status, bearer: None, words: words.into() }
    }

    pub(super) fn invalid_request(words: impl Into<Box<str>>) -> Self {
        Self { status: 400, bearer: Some(Bearer::InvalidRequest), words: words.into() }
    }

    /// The same for a request of the first generation, which answers 401 to every credential that is no good.
    pub(super) fn in_first(self) -> Self {
        if self.bearer.is_some() { Self { status: 401, words: status_words(401).into(), ..self } } else { self }
    }

    /// What the hub refused.
    pub(super) fn of(denied: &Denied, who: &Who) -> Self {
        let credential = |bearer, status| Self { status, bearer: Some(bearer), words: status_words(status).into() };
        match denied {
            Denied::Unauthorized(_) | Denied::Expired(_) if who.is_anonymous() => credential(Bearer::Missing, 401),
            Denied::Unauthorized(_) | Denied::Expired(_) => credential(Bearer::InvalidToken, 401),
            Denied::Forbidden(_) if who.is_anonymous() => credential(Bearer::Missing, 401),
            Denied::Forbidden(_) => credential(Bearer::InsufficientScope, if who.is_first() { 401 } else { 403 }),
            Denied::Limit { setting: "message_bytes_max", .. } => Self::status(413, denied.to_string()),
            Denied::Limit { setting, .. } if setting.ends_with("_bytes_max") || setting.starts_with("channels_per_") => {
                Self::bad(denied.to_string())
            }
            Denied::Invalid(_) | Denied::NotFound(_) | Denied::Limit { .. } | Denied::Unavailable(_) => {
                Self::status(denied.status(), denied.to_string())
            }
        }
    }

    /// As an answer; `metadata` is the URL of the metadata document.
    pub(super) fn response(&self, metadata: &str) -> Response {
        let response = Response::with_body(self.status, "text/plain; charset=utf-8", format!("{}\n", self.words));
        let response = response.header("x-content-type-options", "nosniff").header("cache-control", "no-store");
        let Some(bearer) = self.bearer else { return response };
        let code = match bearer {
            Bearer::Missing => "",
            Bearer::InvalidRequest => "error=\"invalid_request\", ",
            Bearer::InvalidToken => "error=\"invalid_token\", ",
            Bearer::InsufficientScope => "error=\"insufficient_scope\", ",
        };
        response.header("www-authenticate", format!("Bearer {code}resource_metadata=\"{metadata}\""))
    }
}

fn status_words(status: u16) -> &'static str {
    match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        _ => "Bad Request",
    }
}
