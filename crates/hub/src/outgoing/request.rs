//! What is asked of a back end, and what it answers.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};

use super::url::Url;

/// How long a request may take, unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// The largest answer, unless the request says otherwise.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Which addresses a URL may reach: it depends on who wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reach {
    /// The operator, in the settings: any address.
    Operator,
    /// Somebody else, through an API, a token or a console: public addresses, and those that the operator listed.
    Public,
}

/// A request to a back end. `Debug` shows of headers and body how much there is: they hold credentials, and what clients sent.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers beside `host`, `user-agent` and `content-length`, which are always sent. They may hold secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Who wrote the URL.
    pub reach: Reach,
    /// How long everything may take, from the name's lookup to the last byte of the answer.
    pub deadline: Duration,
    /// The largest body of an answer.
    pub body_bytes_max: usize,
    /// Whether it may be sent a second time when a kept connection breaks under it.
    pub repeatable: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (headers, body_bytes) = (self.headers.len(), self.body.len());
        let mut shown = f.debug_struct("Request");
        shown.field("method", &self.method).field("url", &self.url).field("headers", &headers).field("body_bytes", &body_bytes);
        shown.finish_non_exhaustive()
    }
}

impl Request {
    /// Asks for what the URL names.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Bytes::new(),
            reach: Reach::Operator,
            deadline: DEADLINE,
            body_bytes_max: BODY_BYTES_MAX,
            repeatable: true,
        }
    }

    /// Posts a JSON body.
    pub fn post_json(url: Url, body: Bytes) -> Self {
        let json = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, headers: vec![json], body, repeatable: false, ..Self::get(url) }
    }
}

/// The answer of a back end.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// Whether the status says that all is well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_credential() {
        let mut request = Request::post_json(Url::parse("https://a.example/b?key=hunter2").unwrap(), Bytes::from_static(b"hunter3"));
        request.headers.push((http::header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter4")));
        let shown = format!("{request:?}");
        assert!(shown.contains("https://a.example/b?…") && !shown.contains("hunter"), "{shown}");
    }
}
