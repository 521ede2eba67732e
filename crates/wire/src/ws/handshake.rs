//! The opening handshake over HTTP/1.1 and extended CONNECT: check a request, build the answer, and the client's side of both.
//!
//! Invariant: a request is refused for the first rule that it breaks, in a fixed order, each with its own status and text.
//!
//! ```
//! use omnivox_wire::http1::{HeadLimits, RequestHead};
//! use omnivox_wire::ws::handshake;
//!
//! let request = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\r\n";
//! let (head, _) = RequestHead::parse(request, &HeadLimits::default()).unwrap().unwrap();
//! let accept = handshake::check(&head).unwrap();
//!
//! let mut response = bytes::BytesMut::new();
//! handshake::respond(&accept, None, None, [("Server", "omnivox")], &mut response);
//! assert!(response.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
//! assert_eq!(accept.key.as_str(), "HSmrc0sMlYUkAGmm5OPpG2HaGWk=");
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::deflate::{Agreement, Offers};
use super::extensions::is_token;
use crate::http1::{Framing, RequestHead, ResponseHead, Version, has_token};

/// A request that may become a WebSocket: what it offers, and the key that proves the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept<'h> {
    /// The value for `Sec-WebSocket-Accept`.
    pub key: AcceptKey,
    /// The sub-protocols that the client speaks, in its order.
    pub protocols: Vec<&'h str>,
    /// The extensions that the client offers; [`Offers::accept`] chooses.
    pub extensions: Offers<'h>,
}

/// The value for `Sec-WebSocket-Accept`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AcceptKey([u8; 28]);

impl AcceptKey {
    /// The answer to the `Sec-WebSocket-Key` header `key`, which is taken as it is.
    pub fn answer(key: &[u8]) -> Self {
        let mut digest = sha1_smol::Sha1::new();
        digest.update(key);
        digest.update(GUID);
        let mut text = [0; 28];
        let written = STANDARD.encode_slice(digest.digest().bytes(), &mut text);
        debug_assert_eq!(written, Ok(28));
        Self(text)
    }

    /// The header value.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for AcceptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request can't become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a GET.
    Method,
    /// No `Upgrade: websocket`.
    Upgrade,
    /// `Connection` does not name `upgrade`.
    Connection,
    /// `Sec-WebSocket-Key` is missing, repeated, or not base64 of 16 bytes.
    Key,
    /// `Sec-WebSocket-Version` is not 13.
    Version,
    /// HTTP/1.0.
    HttpVersion,
    /// The request has a body, which a proxy before us would not take for frames.
    Body,
    /// `Sec-WebSocket-Protocol` is not a list of different tokens.
    Protocols,
    /// `Sec-WebSocket-Extensions` has a syntax error.
    Extensions,
}

impl Refusal {
    /// The HTTP status to answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Version => 426,
            Self::Upgrade | Self::Connection | Self::Key | Self::HttpVersion | Self::Body | Self::Protocols | Self::Extensions => 400,
        }
    }

    /// A stable code for the error body.
    pub fn code(self) -> &'static str {
        match self {
            Self::Method => "websocket_method",
            Self::Upgrade => "websocket_upgrade",
            Self::Connection => "websocket_connection",
            Self::Key => "websocket_key",
            Self::Version => "websocket_version",
            Self::HttpVersion => "websocket_http_version",
            Self::Body => "websocket_body",
            Self::Protocols => "websocket_protocols",
            Self::Extensions => "websocket_extensions",
        }
    }

    /// What is wrong with the request, for its sender.
    pub fn message(self) -> &'static str {
        match self {
            Self::Method => "a WebSocket handshake must be a GET request",
            Self::Upgrade => "this address speaks WebSocket: the header `Upgrade: websocket` is missing",
            Self::Connection => "the `Connection` header must contain `Upgrade`",
            Self::Key => "`Sec-WebSocket-Key` must be one base64 value of 16 bytes",
            Self::Version => "`Sec-WebSocket-Version` must be 13",
            Self::HttpVersion => "a WebSocket handshake needs HTTP/1.1",
            Self::Body => "a WebSocket handshake has no body",
            Self::Protocols => "`Sec-WebSocket-Protocol` must be a list of different tokens",
            Self::Extensions => "`Sec-WebSocket-Extensions` has a syntax error",
        }
    }

    /// The header that this refusal's status asks for.
    pub fn header(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Method => Some(("Allow", "GET")),
            Self::Version => Some(("Sec-WebSocket-Version", "13")),
            Self::Upgrade | Self::Connection | Self::Key | Self::HttpVersion | Self::Body | Self::Protocols | Self::Extensions => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Refusal {}

/// Whether a request asks for a WebSocket at all: a front door routes by it before [`check`] judges.
pub fn is_upgrade(head: &RequestHead) -> bool {
    head.headers("upgrade").any(|value| has_token(value, "websocket"))
}

/// Checks an HTTP/1.1 request. The origin and the credentials are the caller's to check after it.
pub fn check(head: &RequestHead) -> Result<Accept<'_>, Refusal> {
    if head.method() != "GET" {
        return Err(Refusal::Method);
    }
    if !is_upgrade(head) {
        return Err(Refusal::Upgrade);
    }
    if !head.connection_has("upgrade") {
        return Err(Refusal::Connection);
    }
    let mut keys = head.headers("sec-websocket-key");
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_nonce(key) => AcceptKey::answer(key),
        _ => return Err(Refusal::Key),
    };
    let mut versions = head.headers("sec-websocket-version");
    if versions.next() != Some(b"13") || versions.next().is_some() {
        return Err(Refusal::Version);
    }
    if head.version() != Version::Http11 {
        return Err(Refusal::HttpVersion);
    }
    if !matches!(head.framing(), Framing::None | Framing::Length(0)) {
        return Err(Refusal::Body);
    }
    let protocols = parse_protocols(head.headers("sec-websocket-protocol")).ok_or(Refusal::Protocols)?;
    let extensions = Offers::parse(head.headers("sec-websocket-extensions"))?;
    Ok(Accept { key, protocols, extensions })
}

/// The same for an extended CONNECT of HTTP/2 or HTTP/3, where version, protocols and extensions are all there is.
pub fn check_connect<'h>(
    version: Option<&[u8]>,
    protocols: impl IntoIterator<Item = &'h [u8]>,
    extensions: impl IntoIterator<Item = &'h [u8]>,
) -> Result<(Vec<&'h str>, Offers<'h>), Refusal> {
    if version != Some(b"13") {
        return Err(Refusal::Version);
    }
    let protocols = parse_protocols(protocols).ok_or(Refusal::Protocols)?;
    Ok((protocols, Offers::parse(extensions)?))
}

/// Appends the 101 answer. `protocol` must be one of the accepted request's; `headers` are more of them, a cookie perhaps.
pub fn respond<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    accept: &Accept<'_>,
    protocol: Option<&str>,
    deflate: Option<Agreement>,
    headers: impl IntoIterator<Item = (N, V)>,
    into: &mut BytesMut,
) {
    into.put_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    crate::http1::write_header(into, b"Sec-WebSocket-Accept", accept.key.as_str().as_bytes());
    if let Some(protocol) = protocol {
        debug_assert!(accept.protocols.contains(&protocol), "a browser refuses a protocol that it did not offer");
        crate::http1::write_header(into, b"Sec-WebSocket-Protocol", protocol.as_bytes());
    }
    if let Some(agreement) = deflate {
        crate::http1::write_header(into, b"Sec-WebSocket-Extensions", agreement.to_string().as_bytes());
    }
    for (name, value) in headers {
        crate::http1::write_header(into, name.as_ref(), value.as_ref());
    }
    into.put_slice(b"\r\n");
}

/// A client's handshake, for load tools and tests.
#[derive(Clone, Copy, Debug)]
pub struct ClientHandshake<'a> {
    /// `host[:port]`.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Sixteen unpredictable bytes.
    pub nonce: [u8; 16],
    /// Sub-protocols to offer.
    pub protocols: &'a [&'a str],
    /// Whether to offer permessage-deflate.
    pub deflate: bool,
}

/// What a server's 101 settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The chosen sub-protocol.
    pub protocol: Option<String>,
    /// The compression agreed on.
    pub deflate: Option<Agreement>,
}

/// Why a server's answer opens no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerRefused {
    /// Another status than 101.
    Status(u16),
    /// `Upgrade` or `Connection` is missing.
    NotUpgraded,
    /// `Sec-WebSocket-Accept` does not belong to the key.
    WrongAccept,
    /// A sub-protocol that was not offered.
    Protocol,
    /// An extension that was not offered.
    Extension,
}

impl fmt::Display for AnswerRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server answered status {status} instead of 101"),
            Self::NotUpgraded => f.write_str("the server's 101 does not upgrade to WebSocket"),
            Self::WrongAccept => f.write_str("the server's `Sec-WebSocket-Accept` does not belong to our key"),
            Self::Protocol => f.write_str("the server chose a sub-protocol that was not offered"),
            Self::Extension => f.write_str("the server chose an extension that was not offered"),
        }
    }
}

impl std::error::Error for AnswerRefused {}

impl ClientHandshake<'_> {
    /// Appends the request.
    pub fn request<N: AsRef<[u8]>, V: AsRef<[u8]>>(&self, headers: impl IntoIterator<Item = (N, V)>, into: &mut BytesMut) {
        into.put_slice(b"GET ");
        into.put_slice(self.target.as_bytes());
        into.put_slice(b" HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
        crate::http1::write_header(into, b"Host", self.host.as_bytes());
        crate::http1::write_header(into, b"Sec-WebSocket-Key", self.key().as_bytes());
        if !self.protocols.is_empty() {
            crate::http1::write_header(into, b"Sec-WebSocket-Protocol", self.protocols.join(", ").as_bytes());
        }
        if self.deflate {
            crate::http1::write_header(into, b"Sec-WebSocket-Extensions", super::deflate::OFFER.as_bytes());
        }
        for (name, value) in headers {
            crate::http1::write_header(into, name.as_ref(), value.as_ref());
        }
        into.put_slice(b"\r\n");
    }

    /// Checks the server's answer.
    pub fn check(&self, head: &ResponseHead) -> Result<Opened, AnswerRefused> {
        if head.status() != 101 {
            return Err(AnswerRefused::Status(head.status()));
        }
        let upgrades = head.headers("upgrade").any(|value| value.eq_ignore_ascii_case(b"websocket"));
        if !upgrades || !head.headers("connection").any(|value| has_token(value, "upgrade")) {
            return Err(AnswerRefused::NotUpgraded);
        }
        let expected = AcceptKey::answer(self.key().as_bytes());
        if head.header("sec-websocket-accept") != Some(expected.as_str().as_bytes()) {
            return Err(AnswerRefused::WrongAccept);
        }
        let protocol = match head.header("sec-websocket-protocol").map(str::from_utf8) {
            None => None,
            Some(Ok(protocol)) if self.protocols.contains(&protocol) => Some(protocol.to_owned()),
            Some(_) => return Err(AnswerRefused::Protocol),
        };
        let answer = Offers::parse(head.headers("sec-websocket-extensions")).map_err(|_| AnswerRefused::Extension)?;
        match answer.read_answer() {
            Ok(deflate) if deflate.is_none() || self.deflate => Ok(Opened { protocol, deflate }),
            _ => Err(AnswerRefused::Extension),
        }
    }

    fn key(&self) -> String {
        STANDARD.encode(self.nonce)
    }
}

/// `^[+/0-9A-Za-z]{22}==$`
fn is_nonce(key: &[u8]) -> bool {
    key.strip_suffix(b"==")
        .is_some_and(|digits| digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
}

/// The offered sub-protocols; `None` when one is no token or comes twice.
fn parse_protocols<'h>(values: impl IntoIterator<Item = &'h [u8]>) -> Option<Vec<&'h str>> {
    let mut protocols = Vec::new();
    for value in values {
        for protocol in str::from_utf8(value).ok()?.split(',') {
            let protocol = protocol.trim_matches([' ', '\t']);
            if !is_token(protocol) || protocols.contains(&protocol) || protocols.len() == PROTOCOLS_MAX {
                return None;
            }
            protocols.push(protocol);
        }
    }
    Some(protocols)
}

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const PROTOCOLS_MAX: usize = 64;
