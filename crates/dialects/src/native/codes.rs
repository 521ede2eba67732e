//! Refusals and goodbyes in the native protocol's words: stable codes, HTTP statuses, WebSocket close codes.
//!
//! Every match is total, so that a new reason can't be forgotten here.

use std::borrow::Cow;
use std::fmt;

use omnivox_core::mark::InvalidMark;
use omnivox_core::name::InvalidName;
use omnivox_core::{CloseReason, Denied};

/// Why a message or request was refused: a stable code, an HTTP status, and words for whoever reads them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// The code; it does not change between versions.
    pub(super) code: &'static str,
    /// The HTTP status that says the same.
    pub(super) status: u16,
    /// What was wrong and what mends it.
    pub(super) words: Cow<'static, str>,
}

impl Refusal {
    /// The request makes no sense; `code` says in which respect.
    pub(super) fn invalid(code: &'static str, words: impl Into<Cow<'static, str>>) -> Self {
        Self { code, status: 400, words: words.into() }
    }

    /// A field is missing or of the wrong kind.
    pub(super) fn message(words: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid("invalid_message", words)
    }

    /// A limit is reached; `setting` is its name.
    pub(super) fn limit(setting: &'static str, words: impl fmt::Display) -> Self {
        Self { code: "limit_exceeded", status: 429, words: format!("{words} (limits.{setting})").into() }
    }

    /// The client must show a credential first.
    pub(super) fn unauthorized(words: impl Into<Cow<'static, str>>) -> Self {
        Self { code: "unauthorized", status: 401, words: words.into() }
    }
}

impl From<&Denied> for Refusal {
    fn from(denied: &Denied) -> Self {
        Self { code: denied.code(), status: denied.status(), words: denied.to_string().into() }
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::invalid("invalid_channel", error.to_string())
    }
}

impl From<InvalidMark> for Refusal {
    fn from(error: InvalidMark) -> Self {
        Self::invalid("invalid_mark", error.to_string())
    }
}

/// Whether a refused stream should come back by itself: then it is told so on the stream, because a browser never comes back after a status.
pub(super) fn comes_back(denied: &Denied) -> bool {
    match denied {
        Denied::Limit { .. } | Denied::Unavailable(_) => true,
        Denied::Unauthorized(_) | Denied::Expired(_) | Denied::Forbidden(_) | Denied::Invalid(_) | Denied::NotFound(_) => false,
    }
}

/// The WebSocket close code of a refused connection.
pub(super) fn close_code_of(denied: &Denied) -> u16 {
    match denied {
        Denied::Unauthorized(_) | Denied::Expired(_) => CLOSE_UNAUTHORIZED,
        Denied::Forbidden(_) => CLOSE_FORBIDDEN,
        Denied::Invalid(_) | Denied::NotFound(_) => 1008,
        Denied::Limit { .. } | Denied::Unavailable(_) => 1013,
    }
}

/// The WebSocket close code of a goodbye.
pub(super) fn close_code(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::Drain => 1012,
        CloseReason::SlowConsumer => CLOSE_SLOW,
        CloseReason::HeartbeatLost => CLOSE_SILENT,
        CloseReason::Protocol(_) => 1002,
        CloseReason::TooLarge => 1009,
        CloseReason::Expired => CLOSE_UNAUTHORIZED,
        CloseReason::Kicked => CLOSE_FORBIDDEN,
        CloseReason::Quota(_) => CLOSE_QUOTA,
        CloseReason::Overloaded => 1013,
        CloseReason::Normal => 1000,
        CloseReason::Internal => 1011,
    }
}

/// The words of a goodbye.
pub(super) fn close_words(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Drain => "the server restarts; connect again and resume from the last id",
        CloseReason::SlowConsumer => "too much was waiting for this client; connect again and resume from the last id",
        CloseReason::HeartbeatLost => "nothing came back for too long; connect again and resume from the last id",
        CloseReason::TooLarge => "a message is larger than limits.message_bytes_max",
        CloseReason::Expired => "the credential has expired; connect with a new one",
        CloseReason::Kicked => "the connection was ended by an administrator or back end",
        CloseReason::Protocol(words) | CloseReason::Quota(words) => words,
        CloseReason::Overloaded => "the server has no room; come back later",
        CloseReason::Normal => "goodbye",
        CloseReason::Internal => "the server has a defect; connect again and resume from the last id",
    }
}

/// Whether a client that was told goodbye should come back at once, with what it has.
pub(super) fn goodbye_comes_back(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Drain
        | CloseReason::SlowConsumer
        | CloseReason::HeartbeatLost
        | CloseReason::Overloaded
        | CloseReason::Normal
        | CloseReason::Internal => true,
        CloseReason::Protocol(_) | CloseReason::TooLarge | CloseReason::Expired | CloseReason::Kicked | CloseReason::Quota(_) => false,
    }
}

/// The HTTP status of a goodbye to somebody whose request has no answer yet.
pub(super) fn goodbye_status(reason: CloseReason) -> u16 {
    match reason {
        CloseReason::Drain | CloseReason::SlowConsumer | CloseReason::HeartbeatLost | CloseReason::Overloaded | CloseReason::Normal => 503,
        CloseReason::Protocol(_) => 400,
        CloseReason::TooLarge => 413,
        CloseReason::Expired => 401,
        CloseReason::Kicked => 403,
        CloseReason::Quota(_) => 429,
        CloseReason::Internal => 500,
    }
}

/// Nothing came back for too long.
const CLOSE_SILENT: u16 = 4000;
/// Too much was waiting.
const CLOSE_SLOW: u16 = 4008;
/// The credential is missing, wrong or no longer valid.
pub(super) const CLOSE_UNAUTHORIZED: u16 = 4401;
/// More came from it, or went to it, than its quota allows.
const CLOSE_QUOTA: u16 = 4429;
/// It may not be here.
const CLOSE_FORBIDDEN: u16 = 4403;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every reason to close, so that documents and tables can be held against them.
    const REASONS: [CloseReason; 11] = [
        CloseReason::Drain,
        CloseReason::SlowConsumer,
        CloseReason::HeartbeatLost,
        CloseReason::Protocol("a rule"),
        CloseReason::TooLarge,
        CloseReason::Expired,
        CloseReason::Kicked,
        CloseReason::Quota("a quota"),
        CloseReason::Overloaded,
        CloseReason::Normal,
        CloseReason::Internal,
    ];

    /// Every error code, sorted.
    pub(in super::super) const EVERY_CODE: [&str; 20] = [
        "expired",
        "forbidden",
        "internal",
        "invalid",
        "invalid_channel",
        "invalid_escape",
        "invalid_json",
        "invalid_mark",
        "invalid_message",
        "invalid_pattern",
        "invalid_utf8",
        "limit_exceeded",
        "method_not_allowed",
        "not_a_websocket",
        "not_found",
        "not_subscribed",
        "reserved_type",
        "unauthorized",
        "unavailable",
        "unsupported_media_type",
    ];

    pub(in super::super) fn every_close_code() -> impl Iterator<Item = u16> {
        REASONS.into_iter().map(close_code).chain([CLOSE_UNAUTHORIZED, CLOSE_FORBIDDEN, 1008])
    }

    #[test]
    fn close_codes_may_be_sent_and_words_fit_a_close_frame() {
        for reason in REASONS {
            assert!(omnivox_wire::ws::is_close_code(close_code(reason)), "{reason:?}");
            assert!(close_words(reason).len() <= 123, "{reason:?}: a close frame has room for 123 bytes");
            assert!((400..600).contains(&goodbye_status(reason)), "{reason:?}");
        }
    }
}
