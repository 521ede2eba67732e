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

    /// The value of the cookie of that name; an empty one is none. Of several, one may come from a page that a stranger controls, so they are
    /// refused instead of one being chosen.
    pub fn cookie(&self, name: &str) -> Result<Option<&'a str>, SeveralCookies> {
        let pairs = self.header_values("cookie").flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
            let (key, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            let value = value.trim_ascii();
            (key.trim_ascii() == name).then(|| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
        });
        let mut values = pairs.filter(|value| !value.is_empty());
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(SeveralCookies),
            (value, None) => Ok(value),
        }
    }

    /// Whether the client asks for a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.upgrade, Upgrade::WebSocket { .. })
    }
}

/// A request has more than one cookie of a name that can be a credential.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the request has several cookies of the same name; remove those that other paths or parent domains set")]
pub struct SeveralCookies;

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Coding {
    /// gzip.
    Gzip,
    /// zlib, which HTTP calls deflate.
    Deflate,
}

impl Coding {
    /// As it is written in `content-encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// The one that the client likes best, of several the one that it names first. Wildcards are not taken for a wish.
    pub fn accepted(request: &Request<'_>) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for entry in request.header("accept-encoding").unwrap_or_default().split(',') {
            let (name, weight) = entry.split_once(';').unwrap_or((entry, ""));
            let named = [Self::Gzip, Self::Deflate].into_iter().find(|coding| name.trim().eq_ignore_ascii_case(coding.name()));
            let weight = weight.trim().strip_prefix("q=").map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0));
            if let Some(coding) = named
                && weight > best.map_or(0.0, |(known, _)| known)
            {
                best = Some((weight, coding));
            }
        }
        best.map(|(_, coding)| coding)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cookie_of_a_name() {
        let check = |lines: &[&[u8]], expected: Result<Option<&str>, SeveralCookies>| {
            let headers: Vec<(&str, &[u8])> = lines.iter().map(|line| ("cookie", *line)).collect();
            let request = Request {
                method: "GET",
                path: "/",
                query: "",
                headers: &headers,
                body: b"",
                remote: IpAddr::from([127, 0, 0, 1]),
                secure: false,
                upgrade: Upgrade::None,
                stream_framing: crate::frame::Framing::Chunk,
            };
            assert_eq!(request.cookie("sid"), expected, "{lines:?}");
        };
        check(&[b"sid=abc"], Ok(Some("abc")));
        check(&[b"a=1; sid=a=b; c"], Ok(Some("a=b")));
        check(&[b"sid=\"abc\""], Ok(Some("abc")));
        check(&[b"sid=\"abc"], Ok(Some("\"abc")));
        check(&[b"xsid=1; SID=2"], Ok(None));
        check(&[b""], Ok(None));
        check(&[], Ok(None));
        check(&[b"sid=; sid=1"], Ok(Some("1")));
        check(&[b"other=\xff; sid=1"], Ok(Some("1")));
        check(&[b"sid=1; sid=2"], Err(SeveralCookies));
        check(&[b"sid=1;sid =1"], Err(SeveralCookies));
        check(&[b"sid=1", b"other=\xff; sid=2"], Err(SeveralCookies));
    }
}
