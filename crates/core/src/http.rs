//! HTTP requests and answers as dialects see them: no socket, no version quirks.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;

/// One HTTP request, read whole.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, ….
    pub method: &'a str,
    /// The path, percent-encoded as it came, without the query.
    pub path: &'a str,
    /// The query, without `?`; empty when there is none.
    pub query: &'a str,
    /// Header names in lower case with their values, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: &'a [u8],
    /// The client's address, behind trusted proxies the one that they report.
    pub remote: IpAddr,
    /// Whether the client came over TLS.
    pub secure: bool,
    /// What the client asks its connection to become.
    pub upgrade: Upgrade,
    /// How a streamed body is framed on this connection.
    pub stream_framing: crate::frame::Framing,
}

/// Whether the connection can become a WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// An ordinary request.
    None,
    /// A valid WebSocket handshake.
    WebSocket {
        /// Frames may be [`crate::frame::Framing::WebSocketDeflate`]: permessage-deflate will be agreed, and with the largest window, so that
        /// one compressed frame fits every such client.
        deflate: bool,
    },
}

impl<'a> Request<'a> {
    /// The first header of that name (lower case) as text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| *known == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All values of that header.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The value of a cookie, the first of that name.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies(name).next()
    }

    /// The values of all cookies of that name. Of several, one may come from a page that a stranger controls.
    pub fn cookies(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let lines = self.headers.iter().filter(|(known, _)| *known == "cookie").filter_map(|(_, value)| std::str::from_utf8(value).ok());
        lines.flat_map(|line| line.split(';')).filter_map(move |pair| {
            let (key, value) = pair.split_once('=')?;
            (key.trim() == name).then(|| value.trim().trim_matches('"'))
        })
    }

    /// Whether the client asks for a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.upgrade, Upgrade::WebSocket { .. })
    }
}

/// One HTTP answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case with their values; `content-length` and `connection` are the server's.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// An answer without a body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// An answer with a body of that type.
    pub fn with_body(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type", Cow::Borrowed(content_type))], body: body.into() }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with_body(status, "application/json", body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
