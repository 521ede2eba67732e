//! Cross-origin rules: polling is ordinary HTTP, so a browser asks whether a page of another site may read the answers.

use omnivox_core::origin::{Origins, Reader};
use omnivox_core::{Request, Response};

/// The origin that the answer to this request tells, which makes it unlike those of others.
pub(super) fn told<'r>(origins: &Origins, request: &Request<'r>) -> Option<&'r str> {
    let listed = origins.list().iter().any(|setting| setting != "*");
    request.header("origin").filter(|origin| listed && origins.reader(origin).is_some())
}

/// Adds the headers that let the requesting page read the answer, if it may.
pub(super) fn allow(origins: &Origins, request: &Request<'_>, response: Response) -> Response {
    let list = origins.list();
    if list.is_empty() {
        return response;
    }
    if list.iter().all(|setting| setting == "*") {
        return response.header("access-control-allow-origin", "*");
    }
    let response = response.header("vary", "Origin");
    let Some(origin) = request.header("origin") else { return response };
    match origins.reader(origin) {
        None => response,
        Some(Reader::Anyone) => response.header("access-control-allow-origin", "*"),
        Some(Reader::Page) => {
            response.header("access-control-allow-origin", origin.to_owned()).header("access-control-allow-credentials", "true")
        }
    }
}

/// The answer to a preflight request.
pub(super) fn preflight(origins: &Origins, request: &Request<'_>) -> Response {
    let mut response = allow(origins, request, Response::new(204));
    if response.headers.iter().any(|(name, _)| *name == "access-control-allow-origin") {
        response = response.header("access-control-allow-methods", "GET,POST");
        if let Some(wanted) = request.header("access-control-request-headers") {
            response = response.header("access-control-allow-headers", wanted.to_owned()).header("access-control-max-age", "600");
        }
    }
    response
}
