//! The ACME client's requests over the server's own HTTP client, with its deadlines and bounds.

use std::pin::Pin;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use omnivox_hub::outgoing::{Outgoing, Request, Url};

/// Carries requests to the authority.
pub(super) struct Transport(pub(super) Outgoing);

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl HttpClient for Transport {
    fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Answer {
        let outgoing = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let url = Url::parse(&parts.uri.to_string()).map_err(|error| Error::Other(Box::new(error)))?;
            let headers = parts.headers.iter().filter(|(name, _)| *name != http::header::USER_AGENT);
            let request = Request {
                method: parts.method,
                headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
                body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
                // A signed request holds a nonce that is good once.
                repeatable: false,
                ..Request::get(url)
            };
            let answer = outgoing.fetch(request).await.map_err(|error| Error::Other(Box::new(error)))?;
            let mut response = http::Response::new(Full::new(answer.body));
            *response.status_mut() = http::StatusCode::from_u16(answer.status).map_err(|error| Error::Other(Box::new(error)))?;
            *response.headers_mut() = answer.headers;
            Ok(response.into())
        })
    }
}
