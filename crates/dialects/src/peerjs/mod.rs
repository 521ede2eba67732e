//! PeerJS: the signalling server that the unmodified `peerjs` client expects.
//!
//! ```text
//!   GET  {path}            who we are             GET {path}{key}/id     a fresh id
//!   GET  {path}{key}/peers who is here            WS  {path}peerjs?key&id&token
//!
//!   WebSocket ── id and token claim a seat ── OFFER, ANSWER, CANDIDATE ── signals from seat to seat ([`omnivox_core::room`])
//! ```
//!
//! All peers of an endpoint have their seats in one channel, so that they are in its presence set for every other dialect too. What is for
//! a peer that is not there yet waits with its sender, for a few seconds, and is then answered with `EXPIRE`.
//!
//! Invariant: `src` is the sender's seat as the hub gives it; what a client writes there is never passed on.

#[doc(hidden)]
pub mod fuzzing;
mod message;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::command::Connect;
use omnivox_core::session::{Heartbeat, NewSession, OpenContext, Route};
use omnivox_core::{Command, Credential, Dialect, EncodingKey, Event, Frame, Opening, Request, Response, Session};
use omnivox_wire::http1::Query;

use self::session::{Greeting, PeerSession, PeersSession};
pub use self::settings::PeerJsSettings;

/// One PeerJS endpoint.
pub struct PeerJs {
    settings: Arc<PeerJsSettings>,
}

/// What a path under the mount means.
enum Service {
    Root,
    Socket,
    Id,
    Peers,
    Nothing,
}

impl PeerJs {
    /// An endpoint with these settings.
    pub fn new(settings: PeerJsSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    fn service(&self, path: &str) -> Service {
        let mut parts = path.strip_prefix(&*self.settings.path).unwrap_or_default().split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(""), None, None) if path == self.settings.path => Service::Root,
            (Some("peerjs"), None, None) => Service::Socket,
            (Some(key), Some("id"), None) if !key.is_empty() => Service::Id,
            (Some(key), Some("peers"), None) if !key.is_empty() => Service::Peers,
            _ => Service::Nothing,
        }
    }

    fn open_socket(&self, request: &Request<'_>) -> Opening {
        if !request.is_websocket() {
            return Opening::Respond(
                self.allow(request, Response::with_body(426, TEXT, "this path is a WebSocket").header("upgrade", "websocket")),
            );
        }
        let greeting = self.greeting(request);
        let session = PeerSession::new(self.settings.clone(), connect(request), greeting);
        // PeerJS has a heartbeat of its own, and its clients answer no pings that a browser would not answer for them.
        Opening::Session(NewSession {
            session: Box::new(session),
            key: None,
            heartbeat: Heartbeat::Dialect,
            message_bytes_max: Some(self.settings.message_bytes_max),
            movable: false,
        })
    }

    /// Who the client says it is, checked in the order of the reference server.
    fn greeting(&self, request: &Request<'_>) -> Greeting {
        let value = |name: &str| {
            let pair = Query::new(request.query).find_map(|pair| pair.ok().filter(|(known, _)| known == name));
            pair.map(|(_, value)| value.into_owned()).filter(|value| !value.is_empty())
        };
        match (value("id"), value("token"), value("key")) {
            (Some(id), Some(token), Some(key)) if key == self.settings.key => Greeting::Claim { id: id.into(), token: token.into() },
            (Some(_), Some(_), Some(_)) => Greeting::WrongKey,
            _ => Greeting::Incomplete,
        }
    }

    /// A random id in the form of a UUID, version 4.
    fn fresh_id(entropy: &[u8; 32]) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&entropy[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]].map(hex).join("-")
    }

    /// Lets pages of other origins read the answer, as far as they may.
    fn allow(&self, request: &Request<'_>, response: Response) -> Response {
        let response = response.header("vary", "Origin");
        let Some(origin) = request.header("origin") else { return response };
        let allowed = self.settings.cors_origins.reader(origin).is_some();
        if allowed { response.header("access-control-allow-origin", origin.to_owned()) } else { response }
    }

    fn preflight(&self, request: &Request<'_>) -> Response {
        let wanted = request.header("access-control-request-headers").unwrap_or("content-type").to_owned();
        self.allow(request, Response::new(204))
            .header("access-control-allow-methods", "GET, HEAD")
            .header("access-control-allow-headers", wanted)
            .header("access-control-max-age", "7200")
    }
}

const TEXT: &str = "text/html; charset=utf-8";
/// What the client's authors show at the root; some deployments look for it.
const ROOT: &str = r#"{"name":"PeerJS Server","description":"A server side element to broker connections between PeerJS clients.","website":"https://peerjs.com/"}"#;

impl Dialect for PeerJs {
    fn name(&self) -> &'static str {
        "peerjs"
    }

    fn routes(&self) -> Vec<Route> {
        vec![Route::subtree(self.settings.path.clone())]
    }

    fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening {
        if request.method == "OPTIONS" {
            return Opening::Respond(self.preflight(request));
        }
        if !matches!(request.method, "GET" | "HEAD") {
            let response = Response::with_body(405, TEXT, "only GET is answered here").header("allow", "GET, HEAD, OPTIONS");
            return Opening::Respond(self.allow(request, response));
        }
        let response = match self.service(request.path) {
            Service::Socket => return self.open_socket(request),
            Service::Peers if self.settings.discovery => {
                let cors = self.allow(request, Response::new(200));
                let session = PeersSession::new(self.settings.clone(), connect(request), cors);
                return Opening::Session(one_shot(Box::new(session)));
            }
            Service::Root => Response::json(200, ROOT),
            Service::Id => Response::with_body(200, TEXT, Self::fresh_id(&context.entropy)),
            Service::Peers => Response::with_body(401, TEXT, "Unauthorized"),
            Service::Nothing => {
                Response::with_body(404, TEXT, "nothing is at this path; a PeerJS client needs `path` to be the mount of this endpoint")
            }
        };
        Opening::Respond(self.allow(request, response.header("cache-control", "no-store")))
    }

    fn encode(&self, _key: &EncodingKey, _event: &Event, _scratch: &mut BytesMut) -> Option<Frame> {
        // Peers are not subscribed to anything: signals come to their sessions one by one.
        None
    }
}

/// PeerJS clients have no credential but the endpoint's key; what they may do is what everybody may in the peers' channel.
fn connect(request: &Request<'_>) -> Command {
    let host = request.header("host").map(Into::into);
    let origin = request.header("origin").map(Into::into);
    Command::Connect(Box::new(Connect { credential: Credential::Anonymous, host, origin }))
}

fn one_shot(session: Box<dyn Session>) -> NewSession {
    NewSession { session, key: None, heartbeat: Heartbeat::Dialect, message_bytes_max: None, movable: false }
}
