//! Refusals and goodbyes in the words of Engine.IO and Socket.IO.

use omnivox_core::{CloseReason, Denied, Response};

/// Why a request is refused before it is a session's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TransportUnknown,
    SessionUnknown,
    BadHandshakeMethod,
    BadRequest,
    UnsupportedVersion,
}

impl Refused {
    fn code(self) -> u8 {
        match self {
            Self::TransportUnknown => 0,
            Self::SessionUnknown => 1,
            Self::BadHandshakeMethod => 2,
            Self::BadRequest => 3,
            Self::UnsupportedVersion => 5,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::TransportUnknown => "Transport unknown",
            Self::SessionUnknown => "Session ID unknown",
            Self::BadHandshakeMethod => "Bad handshake method",
            Self::BadRequest => "Bad request",
            Self::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The answer: the bare words to a WebSocket handshake, JSON to anything else.
    pub(super) fn response(self, websocket: bool) -> Response {
        if websocket {
            return Response::with_body(400, "text/html", self.message());
        }
        Response::json(400, format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message()))
    }
}

/// A connect error of protocol 5; `data.code` is for programs.
#[derive(serde::Serialize)]
pub(super) struct ConnectError {
    /// In words.
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<ConnectErrorData>,
}

#[derive(serde::Serialize)]
struct ConnectErrorData {
    code: &'static str,
}

impl ConnectError {
    /// The namespace does not exist, in the words of the reference.
    pub(super) fn invalid_namespace() -> Self {
        Self { message: "Invalid namespace".to_owned(), data: None }
    }

    /// There are too many on this connection.
    pub(super) fn too_many_namespaces(most: usize) -> Self {
        let message = format!("one connection has at most {most} namespaces (socketio.namespaces_max)");
        Self { message, data: Some(ConnectErrorData { code: "limit_exceeded" }) }
    }
}

impl From<&Denied> for ConnectError {
    fn from(denied: &Denied) -> Self {
        Self { message: denied.to_string(), data: Some(ConnectErrorData { code: denied.code() }) }
    }
}

/// How a client hears that something failed.
#[derive(serde::Serialize)]
pub(super) struct Failure<'a> {
    /// For programs.
    pub(super) code: &'static str,
    /// In words.
    pub(super) message: String,
    /// The event that failed, when it is not plain from an acknowledgement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<&'a str>,
}

impl<'a> Failure<'a> {
    /// A refusal.
    pub(super) fn of(denied: &Denied, event: Option<&'a str>) -> Self {
        Self { code: denied.code(), message: denied.to_string(), event }
    }
}

/// How a session says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// The transport ends; the client library comes back by itself.
    ComeBack,
    /// Each namespace is told to leave, after the reason; the client library stays away until the page asks for a connection.
    StayAway(&'static str),
}

/// The goodbye that says the same.
pub(super) fn goodbye(reason: CloseReason) -> Goodbye {
    match reason {
        CloseReason::Drain
        | CloseReason::SlowConsumer
        | CloseReason::HeartbeatLost
        | CloseReason::Protocol(_)
        | CloseReason::TooLarge
        | CloseReason::Overloaded
        | CloseReason::Normal
        | CloseReason::Internal => Goodbye::ComeBack,
        CloseReason::Expired => Goodbye::StayAway("the credential is no longer valid; connect with a new one"),
        CloseReason::Kicked => Goodbye::StayAway("the connection was ended by the operator"),
        CloseReason::Quota(words) => Goodbye::StayAway(words),
    }
}
