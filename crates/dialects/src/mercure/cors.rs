//! What pages of other origins may read.

use omnivox_core::origin::{Origins, Reader};
use omnivox_core::{Request, Response};

/// The origin that is told so, when there is one.
#[derive(Clone, Debug)]
pub(super) struct Cors(Option<Box<str>>);

impl Cors {
    /// Looks the request's origin up.
    pub(super) fn of(request: &Request<'_>, allowed: &Origins) -> Self {
        let Some(origin) = request.header("origin") else { return Self(None) };
        Self(allowed.reader(origin).map(|reader| match reader {
            Reader::Page => origin.into(),
            Reader::Anyone => "*".into(),
        }))
    }

    /// Adds the headers to an answer. An origin that is named may send credentials, `*` may not.
    pub(super) fn on(&self, response: Response) -> Response {
        let response = response.header("vary", "Origin, Authorization, Cookie");
        let Some(origin) = &self.0 else { return response };
        let response = response
            .header("access-control-allow-origin", origin.to_string())
            .header("access-control-expose-headers", "Link, Last-Event-ID, Mercure-Last-Event-ID");
        if &**origin == "*" { response } else { response.header("access-control-allow-credentials", "true") }
    }

    /// The answer to the question that a browser asks before the request itself.
    pub(super) fn preflight(&self, methods: &'static str) -> Response {
        let response = Response::new(204).header("allow", methods);
        if self.0.is_none() {
            return self.on(response);
        }
        self.on(response
            .header("access-control-allow-methods", methods)
            .header("access-control-allow-headers", "Authorization, Cache-Control, Content-Type, Last-Event-ID, If-None-Match")
            .header("access-control-max-age", "7200"))
    }
}
