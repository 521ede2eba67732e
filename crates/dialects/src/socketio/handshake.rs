//! The query of a request, and everything that is checked before a session sees it, in the order of the reference.

use std::borrow::Cow;

use omnivox_core::Request;
use omnivox_wire::http1::Query;

use super::codes::Refused;
use super::engine::Revision;
use super::identity::Key;
use super::settings::SocketIoSettings;

/// What Engine.IO reads of a query. Pairs that are not its own, or that no one can decode, are the application's.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a> {
    transport: Option<Cow<'a, str>>,
    version: Option<Cow<'a, str>>,
    pub(super) sid: Option<Cow<'a, str>>,
    /// The index of the page's JSONP callback.
    pub(super) callback: Option<Cow<'a, str>>,
    /// Whether the client can't take binary bodies.
    pub(super) base64: bool,
    /// A token, for clients whose protocol has no other place for it.
    pub(super) token: Option<Cow<'a, str>>,
}

impl<'a> Parameters<'a> {
    /// Reads a query; the first value of a name counts.
    pub(super) fn parse(query: &'a str) -> Self {
        let mut parameters = Self::default();
        for (name, value) in Query::new(query).flatten() {
            match &*name {
                "transport" => parameters.transport.get_or_insert(value),
                "EIO" => parameters.version.get_or_insert(value),
                "sid" => parameters.sid.get_or_insert(value),
                "j" => parameters.callback.get_or_insert(value),
                "token" => parameters.token.get_or_insert(value),
                "b64" => {
                    parameters.base64 = !value.is_empty();
                    continue;
                }
                _ => continue,
            };
        }
        parameters
    }
}

/// A transport of Engine.IO, as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Polling,
    WebSocket,
}

/// A request that passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted<'a> {
    /// It opens a session.
    New(Revision),
    /// It belongs to a session.
    Existing { shard: u16, sid: Cow<'a, str> },
}

/// Checks a request. The order decides which of several mistakes is named.
pub(super) fn admit<'a>(
    request: &Request<'a>,
    parameters: Parameters<'a>,
    settings: &SocketIoSettings,
    key: Option<&Key>,
) -> Result<Admitted<'a>, Refused> {
    let transport = match parameters.transport.as_deref() {
        Some("polling") if settings.transports.polling => Transport::Polling,
        Some("websocket") if settings.transports.websocket => Transport::WebSocket,
        Some(_) | None => return Err(Refused::TransportUnknown),
    };
    if request.header_values("origin").flatten().any(|byte| !is_header_byte(*byte)) {
        return Err(Refused::BadRequest);
    }
    // A plain request can't become a WebSocket, and a WebSocket handshake is no poll.
    let mismatch = (transport == Transport::WebSocket) != request.is_websocket();
    if let Some(sid) = parameters.sid {
        // Before the first session there is no key, and no id that could be good.
        let shard = key.and_then(|key| key.shard_of(&sid)).ok_or(Refused::SessionUnknown)?;
        return if mismatch { Err(Refused::BadRequest) } else { Ok(Admitted::Existing { shard, sid }) };
    }
    if request.method != "GET" {
        return Err(Refused::BadHandshakeMethod);
    }
    if mismatch {
        return Err(Refused::BadRequest);
    }
    match parameters.version.as_deref() {
        Some("4") => Ok(Admitted::New(Revision::Four)),
        Some("3") if settings.allow_eio3 => Ok(Admitted::New(Revision::Three)),
        Some(_) | None => Err(Refused::UnsupportedVersion),
    }
}

/// The transport that an admitted request of a session uses.
pub(super) fn transport_of(request: &Request<'_>) -> Transport {
    if request.is_websocket() { Transport::WebSocket } else { Transport::Polling }
}

/// What a header may hold: printable bytes and tabs.
fn is_header_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}
