//! What can go wrong between a client command and a server, by what is to be done about it.

use std::fmt;

use crate::exit::{self, Code};

/// Why a request or a stream came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No connection, or it was lost; trying again may help.
    Unreachable(String),
    /// The server has no room now, or is about to go; trying again later will help.
    Busy(String),
    /// The server said no; asking again gives the same answer.
    Refused(String),
    /// What answered is no omnivox, or speaks another version of its protocol.
    Protocol(String),
}

impl Trouble {
    /// Whether a subscriber tries again.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Busy(_) => true,
            Self::Refused(_) | Self::Protocol(_) => false,
        }
    }

    /// The trouble that an HTTP status and the body of its answer tell of.
    pub(crate) fn from_status(status: u16, path: &str, body: &[u8]) -> Self {
        let words = format!("{path} was answered {status}: {}", explanation(body));
        match status {
            429 | 502..=504 => Self::Busy(words),
            400..=499 => Self::Refused(words),
            _ => Self::Protocol(words),
        }
    }
}

/// The words of an error body: its `message`, alone or inside `error`, else its first line.
fn explanation(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|body| {
        let inner = body.get("error").unwrap_or(body);
        inner.as_str().or_else(|| inner.get("message")?.as_str())
    });
    match message {
        Some(message) => message.to_owned(),
        None => {
            let text = String::from_utf8_lossy(body);
            let line: String = text.lines().next().unwrap_or("").chars().filter(|c| !c.is_control()).take(LINE_MAX).collect();
            if line.is_empty() { "no explanation".to_owned() } else { line }
        }
    }
}

/// More of a foreign answer is not shown.
const LINE_MAX: usize = 200;

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(words) | Self::Busy(words) | Self::Refused(words) | Self::Protocol(words) => formatter.write_str(words),
        }
    }
}

impl From<Trouble> for anyhow::Error {
    fn from(trouble: Trouble) -> Self {
        let code = match trouble {
            Trouble::Unreachable(_) => Code::Unreachable,
            Trouble::Busy(_) | Trouble::Refused(_) => Code::Refused,
            Trouble::Protocol(_) => Code::Protocol,
        };
        exit::error(code, trouble.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again_and_the_body_why() {
        let check = |status: u16, body: &str, expected: Trouble| {
            assert_eq!(Trouble::from_status(status, "/p", body.as_bytes()), expected);
        };
        check(403, r#"{"error":{"code":"forbidden","message":"no grant"}}"#, Trouble::Refused("/p was answered 403: no grant".into()));
        check(401, r#"{"code":"expired","message":"too late"}"#, Trouble::Refused("/p was answered 401: too late".into()));
        check(503, r#"{"error":"draining"}"#, Trouble::Busy("/p was answered 503: draining".into()));
        check(404, "not\u{1b}[31m here\nsecond", Trouble::Refused("/p was answered 404: not[31m here".into()));
        check(500, "", Trouble::Protocol("/p was answered 500: no explanation".into()));
        check(302, "", Trouble::Protocol("/p was answered 302: no explanation".into()));
    }
}
