//! Cross-origin rules: polling is ordinary HTTP, so a browser asks whether a page of another site may read the answers.

use omnivox_core::{Request, Response};

use super::settings::CorsOrigins;

impl CorsOrigins {
    /// The origin that the answer to this request tells, which makes it unlike those of others.
    pub(super) fn told<'r>(&self, request: &Request<'r>) -> Option<&'r str> {
        match self {
            Self::None | Self::Any => None,
            Self::Listed(origins) => request.header("origin").filter(|origin| origins.iter().any(|known| known == origin)),
        }
    }

    /// Adds the headers that let the requesting page read the answer, if it may.
    pub(super) fn allow(&self, request: &Request<'_>, mut response: Response) -> Response {
        match self {
            Self::None => {}
            Self::Any => response = response.header("access-control-allow-origin", "*"),
            Self::Listed(_) => {
                if let Some(origin) = self.told(request) {
                    response = response
                        .header("access-control-allow-origin", origin.to_owned())
                        .header("access-control-allow-credentials", "true");
                }
                response = response.header("vary", "Origin");
            }
        }
        response
    }

    /// The answer to a preflight request.
    pub(super) fn preflight(&self, request: &Request<'_>) -> Response {
        let mut response = self.allow(request, Response::new(204));
        if response.headers.iter().any(|(name, _)| *name == "access-control-allow-origin") {
            response = response.header("access-control-allow-methods", "GET,POST");
            if let Some(wanted) = request.header("access-control-request-headers") {
                response = response.header("access-control-allow-headers", wanted.to_owned()).header("access-control-max-age", "600");
            }
        }
        response
    }
}
