//! Mercure, both generations on one URL: 0.x (`topic`, the `mercure` claim) and 1.0 (`match`, `authorization_details`).
//!
//! Which generation a request speaks is seen from its parameters and its token, never from a setting. A topic is a channel and any other
//! dialect's channel of that name is the same one. The wire is described in `docs/mercure.md`.
//!
//! ```text
//!   /.well-known/mercure ─┬─ GET, QUERY   selectors ── stream ────────┐
//!                         └─ POST         publish                     ├── render ── one chunk for all subscribers
//!   …/subscriptions[/…]   ── GET          subscriptions (presence) ───┘
//!   /.well-known/oauth-protected-resource/.well-known/mercure   metadata of RFC 9728
//! ```
//!
//! Invariant: a request is parsed before there is a session for it; a private update goes to nobody whose token does not cover it.

mod cors;
mod credential;
mod form;
pub mod fuzzing;
mod id;
mod publish;
mod refusal;
mod render;
mod selector;
mod settings;
mod stream;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::pattern::Base;
use omnivox_core::session::{Heartbeat, NewSession, OpenContext, Route};
use omnivox_core::{Dialect, EncodingKey, Event, Frame, Opening, Request, Response, Session};

use cors::Cors;
use credential::Who;
use form::Form;
use refusal::Refusal;

pub use settings::MercureSettings;

/// Where the hub is.
pub const HUB: &str = "/.well-known/mercure";
/// The channels that say who is subscribed to what: only a credential may allow to see them.
pub const SUBSCRIPTIONS_PATTERN: &str = "/.well-known/mercure/subscriptions/*";
/// Where its metadata is (RFC 9728).
const METADATA: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

/// The formats of encoding keys: whose shape of subscription events is sent.
mod formats {
    /// That of the first generation.
    pub(super) const FIRST: u8 = 0;
    /// That of the second.
    pub(super) const SECOND: u8 = 1;
    /// Both.
    pub(super) const BOTH: u8 = 2;
}

/// The dialect.
pub struct Mercure {
    settings: Arc<MercureSettings>,
}

impl Mercure {
    /// The dialect with these settings.
    pub fn new(settings: MercureSettings) -> Self {
        Self { settings: Arc::new(settings) }
    }

    /// The scheme and host of the server, as clients write them.
    fn origin(&self, request: &Request<'_>) -> String {
        self.settings.public_origin.clone().unwrap_or_else(|| {
            let scheme = if request.secure { "https" } else { "http" };
            format!("{scheme}://{}", request.header("host").unwrap_or("localhost"))
        })
    }

    fn base(&self, request: &Request<'_>) -> Base {
        Base::parse(&format!("{}{HUB}", self.origin(request))).unwrap_or_default()
    }

    fn metadata(&self, request: &Request<'_>) -> Arc<str> {
        format!("{}{METADATA}", self.origin(request)).into()
    }

    fn open_hub(&self, context: &OpenContext, request: &Request<'_>, cors: Cors) -> Result<NewSession, Refusal> {
        let query = Form::of_query(request)?;
        match request.method {
            "POST" => {
                let who = Who::of(request, &query, &self.settings)?;
                let draft = publish::draft(&Form::of_body(request)?, &self.settings.limits, &self.base(request), who.is_first())?;
                Ok(one_shot(Box::new(publish::PublishSession::new(who, cors, self.metadata(request), draft))))
            }
            "QUERY" => {
                let form = query.and(Form::of_body(request)?);
                self.open_stream(context, request, &form, cors)
            }
            _ => self.open_stream(context, request, &query, cors),
        }
    }

    fn open_stream(&self, context: &OpenContext, request: &Request<'_>, form: &Form<'_>, cors: Cors) -> Result<NewSession, Refusal> {
        let selectors = selector::selectors(form, self.settings.limits.channels_per_connection_max)?;
        let first = selectors.iter().all(|selector| selector.kind == selector::Kind::Topic);
        let who = Who::of(request, form, &self.settings).map_err(|refusal| if first { refusal.in_first() } else { refusal })?;
        let base = self.base(request);
        selectors.iter().try_for_each(|selector| selector.pattern(&base).map(|_| ()))?;
        let asked = stream::Asked {
            who,
            cors,
            metadata: self.metadata(request),
            head_only: request.method == "HEAD",
            selectors,
            base,
            last: last_event_id(request, form)?,
            subscriber: subscriber(&context.entropy),
            since: None,
        };
        let session =
            stream::StreamSession::new(self.settings.clone(), context.dialect, request.stream_framing, context.entropy[16], asked);
        let every = self.settings.heartbeat;
        let heartbeat = if every.is_zero() { Heartbeat::Dialect } else { Heartbeat::Carrier { every, timeout: every } };
        Ok(NewSession { heartbeat, ..one_shot(Box::new(session)) })
    }

    fn open_list(&self, request: &Request<'_>, cors: Cors) -> Result<NewSession, Refusal> {
        let who = Who::of(request, &Form::of_query(request)?, &self.settings)?;
        Ok(one_shot(Box::new(subscriptions::ListSession::new(request, who, cors, self.metadata(request))?)))
    }

    /// The metadata document, which tells clients where tokens come from.
    fn document(&self, request: &Request<'_>) -> Response {
        let mut document = serde_json::json!({
            "resource": format!("{}{HUB}", self.origin(request)),
            "bearer_methods_supported": ["header"],
            "authorization_details_types_supported": ["https://mercure.rocks/authorization-detail"],
            "mercure_matcher_types_supported": ["exact", "urlpattern"],
            "mercure_cookie": self.settings.cookie_name,
        });
        if !self.settings.authorization_servers.is_empty() {
            document["authorization_servers"] = self.settings.authorization_servers.clone().into();
        }
        if self.settings.subscriptions {
            document["mercure_subscriptions"] = true.into();
        }
        Response::json(200, document.to_string())
    }
}

impl Dialect for Mercure {
    fn name(&self) -> &'static str {
        "mercure"
    }

    fn routes(&self) -> Vec<Route> {
        let mut routes = vec![Route::exact(HUB), Route::exact(METADATA)];
        if self.settings.subscriptions {
            routes.push(Route::exact(subscriptions::SUBSCRIPTIONS));
            routes.push(Route::subtree(format!("{}/", subscriptions::SUBSCRIPTIONS)));
        }
        routes
    }

    fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening {
        let cors = Cors::of(request, &self.settings.cors_origins);
        let methods = if request.path == HUB { "GET, HEAD, POST, QUERY, OPTIONS" } else { "GET, HEAD, OPTIONS" };
        if request.method == "OPTIONS" {
            return Opening::Respond(cors.preflight(methods));
        }
        if !methods.split(", ").any(|known| known == request.method) {
            let refusal = Refusal::status(405, format!("this path answers {methods}"));
            return Opening::Respond(cors.on(refusal.response(&self.metadata(request)).header("allow", methods)));
        }
        let opened = match request.path {
            HUB => self.open_hub(context, request, cors.clone()),
            METADATA => return Opening::Respond(cors.on(self.document(request))),
            _ => self.open_list(request, cors.clone()),
        };
        match opened {
            Ok(session) => Opening::Session(session),
            Err(refusal) => Opening::Respond(cors.on(refusal.response(&self.metadata(request)))),
        }
    }

    fn encode(&self, key: &EncodingKey, event: &Event, scratch: &mut BytesMut) -> Option<Frame> {
        render::event(event, key.format, key.framing, scratch)
    }
}

/// A session that ends with its request or carrier and has no heartbeat.
fn one_shot(session: Box<dyn Session>) -> NewSession {
    NewSession { session, key: None, heartbeat: Heartbeat::Dialect, message_bytes_max: None, movable: false }
}

/// The longest `Last-Event-ID`: any id that a publisher may choose.
const LAST_ID_BYTES_MAX: usize = 1024;

/// What was seen last: the header, else the parameter of either generation, else that of the oldest one.
fn last_event_id(request: &Request<'_>, form: &Form<'_>) -> Result<Option<Box<str>>, Refusal> {
    const PARAMETERS: [&str; 3] = ["last_event_id", "lastEventID", "Last-Event-ID"];
    let header = request.header("last-event-id");
    let parameter = || PARAMETERS.into_iter().find_map(|name| form.first(name));
    // One that is empty names no event, but its sender wants to know from which one on the stream goes.
    let empty = || header.or_else(|| PARAMETERS.into_iter().find_map(|name| form.all(name).next()));
    let Some(last) = header.filter(|text| !text.is_empty()).or_else(parameter).or_else(empty) else { return Ok(None) };
    if last.len() > LAST_ID_BYTES_MAX || form::has_controls(last) {
        return Err(Refusal::bad(format!("the last event id has more than {LAST_ID_BYTES_MAX} bytes or control characters")));
    }
    Ok(Some(last.into()))
}

/// A name for a subscriber: a random UUID.
fn subscriber(entropy: &[u8; 32]) -> String {
    let number = u128::from_be_bytes(entropy[..16].try_into().unwrap_or_default());
    let number = number & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let digits = format!("{number:032x}");
    format!("urn:uuid:{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}
