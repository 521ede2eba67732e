//! How a receiver is told: the body, and the headers that prove who sent it.
//!
//! A webhook's [`BodyFormat`] shows each occurrence as it is taken in, joins what goes out together, and signs that. [`Standard`] is ours; a
//! dialect whose users know another body brings its own, and everything else (the outbox, retries, the order) stays the same.
//!
//! ```text
//! {"app":"shop","webhook":"audit","events":[{"id":"5f…-1","type":"occupied","channel":"chat","at":1700000000000}]}
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use omnivox_auth::secret::Secret;
use omnivox_auth::signature::sign_webhook;
use omnivox_core::event::Member;
use omnivox_core::name::AppId;
use omnivox_core::payload::Payload;
use omnivox_core::publication::Publication;

use super::occurrence::{Occurrence, What};

/// How a webhook's receiver is told of things.
pub trait BodyFormat: Send + Sync + fmt::Debug + 'static {
    /// An occurrence; none when the format has no word for it.
    fn event(&self, id: &str, occurrence: &Occurrence) -> Option<Bytes>;

    /// The body of a request for some of them.
    fn body(&self, app: &AppId, webhook: &str, events: &[Bytes]) -> Bytes;

    /// The headers of the request beside its content type.
    fn headers(&self, signing: &Signing<'_>) -> Vec<(HeaderName, HeaderValue)>;
}

/// What a signature is over.
#[derive(Debug)]
pub struct Signing<'a> {
    /// The webhook's secrets: one, and another one while it is replaced.
    pub secrets: &'a [Secret],
    /// The batch.
    pub id: &'a str,
    /// The body, to the byte.
    pub body: &'a [u8],
    /// When it is sent, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// JSON, signed as *Standard Webhooks* describes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standard;

impl BodyFormat for Standard {
    fn event(&self, id: &str, occurrence: &Occurrence) -> Option<Bytes> {
        let mut object = Object::new();
        object.text("id", id);
        object.text("type", occurrence.kind().word());
        if !matches!(occurrence.what, What::Test) {
            object.text("channel", occurrence.channel.as_str());
        }
        object.raw("at", &occurrence.at_ms.to_string());
        match &occurrence.what {
            What::Occupied | What::Vacated | What::Test => {}
            What::MemberAdded(event) | What::MemberRemoved(event) => object.raw("member", &member(&event.member)),
            What::Message(publication, place) => {
                object.raw("message", &message(publication, *place));
                if let Some(author) = &publication.draft.author {
                    let mut publisher = Object::new();
                    if let Some(session) = publication.draft.publisher {
                        publisher.text("session", &session.to_string());
                    }
                    if let Some(user) = &author.user {
                        publisher.text("user", user.as_str());
                    }
                    object.raw("publisher", &publisher.end());
                }
            }
        }
        if let Some(trace) = &occurrence.trace {
            object.text("traceparent", &trace.context.to_string());
            trace.context.state.iter().for_each(|state| object.text("tracestate", state));
        }
        Some(object.end().into())
    }

    fn body(&self, app: &AppId, webhook: &str, events: &[Bytes]) -> Bytes {
        let mut object = Object::new();
        object.text("app", app.as_str());
        object.text("webhook", webhook);
        object.key("events");
        let mut body = object.0.into_bytes();
        body.push(b'[');
        for (at, event) in events.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event);
        }
        body.extend_from_slice(b"]}");
        body.into()
    }

    fn headers(&self, signing: &Signing<'_>) -> Vec<(HeaderName, HeaderValue)> {
        let signed = sign_webhook(signing.secrets, signing.id, signing.body, signing.now_ms);
        let header = |name: &'static str, value: String| Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?));
        [header("webhook-id", signed.id), header("webhook-timestamp", signed.timestamp), header("webhook-signature", signed.signature)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// A member as the native protocol shows it.
fn member(member: &Member) -> String {
    let mut object = Object::new();
    object.text("session", &member.session.to_string());
    object.text("key", &member.key);
    if let Some(user) = &member.user {
        object.text("user", user.as_str());
    }
    if let Some(data) = member.data.as_deref().and_then(|data| std::str::from_utf8(data).ok()) {
        object.raw("data", data);
    }
    object.end()
}

fn message(publication: &Publication, place: usize) -> String {
    let mut object = Object::new();
    if let Some(place) = publication.places.get(place) {
        object.text("id", &place.position.to_string());
    }
    object.text("event", publication.draft.event.as_deref().unwrap_or("message"));
    match &publication.draft.payload {
        Payload::Json(json) => object.raw("data", &String::from_utf8_lossy(json)),
        Payload::Text(text) => object.text("data", &String::from_utf8_lossy(text)),
        Payload::Binary(bytes) => {
            object.text("data", &STANDARD.encode(bytes));
            object.text("encoding", "base64");
        }
    }
    object.end()
}

/// A JSON object that is being written.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    fn key(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.key(name);
        self.0.push_str(&serde_json::Value::from(text).to_string());
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.key(name);
        self.0.push_str(json);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
