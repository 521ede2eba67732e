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

/// The payload of a connect error for clients of protocol 5; `data.code` is for programs.
pub(super) fn connect_error(denied: &Denied) -> String {
    serde_json::json!({ "message": denied.to_string(), "data": { "code": denied.code() } }).to_string()
}

/// How a client hears that a command failed: `{"code":"forbidden","message":"…"}`.
pub(super) fn error(denied: &Denied) -> serde_json::Value {
    serde_json::json!({ "code": denied.code(), "message": denied.to_string() })
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
    }
}
