//! What a back end is asked: one JSON object, the same for every protocol.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use omnivox_auth::secret::fingerprint;
use omnivox_core::call::Call;
use omnivox_core::command::{Connect, Credential};
use omnivox_core::grants::Principal;
use omnivox_core::{Draft, Payload};
use serde::Serialize;
use serde_json::value::RawValue;

use super::HookEvent;
use super::cache::Key;
use crate::hub::Caller;

/// A question, before it has an id.
#[derive(Serialize, Clone, Default)]
pub(crate) struct Question {
    event: &'static str,
    app: String,
    who: Who,
    #[serde(flatten)]
    about: About,
    /// What answers are remembered by, if they may be.
    #[serde(skip)]
    pub(crate) key: Option<Key>,
}

/// Who asks.
#[derive(Serialize, Clone, Default)]
struct Who {
    session: String,
    dialect: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    authenticated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
}

/// What it is about; a question has the members of its event.
#[derive(Serialize, Clone, Default)]
struct About {
    /// Connect: what the client shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<bool>,
    /// Subscribe.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// Subscribe and publish: what holds without an opinion.
    #[serde(skip_serializing_if = "Option::is_none")]
    granted: Option<bool>,
    /// Publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publication_id: Option<String>,
    /// The name of what is published, called or emitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Event.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Box<RawValue>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wants_answer: Option<bool>,
}

/// The credential of a connect. The token itself is shown only when nobody here could verify it and the operator wants that.
#[derive(Serialize, Clone)]
struct Shown {
    kind: &'static str,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// A question on its way.
#[derive(Serialize)]
struct Asked<'a> {
    id: &'a str,
    hook: &'a str,
    at_ms: u64,
    #[serde(flatten)]
    question: &'a Question,
}

impl Question {
    /// The body of the request.
    pub(crate) fn body(&self, id: &str, hook: &str, at_ms: u64) -> Bytes {
        serde_json::to_vec(&Asked { id, hook, at_ms, question: self }).unwrap_or_default().into()
    }

    /// May somebody come in? `token` is what nobody here could verify.
    pub(crate) fn connect(caller: &Caller, principal: &Principal, connect: &Connect, verified: bool, token: Option<&str>) -> Self {
        let kind = kind(&connect.credential);
        let about = About {
            credential: Some(Shown { kind, verified, token: token.map(str::to_owned) }),
            origin: connect.origin.as_deref().map(str::to_owned),
            host: connect.host.as_deref().map(str::to_owned),
            refresh: Some(caller.principal.is_some()),
            ..About::default()
        };
        let mut question = Self::new(HookEvent::Connect, caller, principal, about);
        // A single-use ticket or a signature never comes a second time.
        let shown = match &connect.credential {
            Credential::Token(token) => Some(&**token),
            Credential::Cookie(cookie) => Some(&*cookie.token),
            Credential::Anonymous => Some(""),
            Credential::Ticket(_) | Credential::Key { .. } | Credential::Signed(_) => None,
        };
        question.key = shown.map(|shown| question.fingerprint(shown));
        question
    }

    /// May somebody receive what is published in a channel?
    pub(crate) fn subscribe(caller: &Caller, principal: &Principal, channel: &str, granted: bool) -> Self {
        let about = About { channel: Some(channel.to_owned()), granted: Some(granted), ..About::default() };
        let mut question = Self::new(HookEvent::Subscribe, caller, principal, about);
        question.key = Some(question.fingerprint(channel));
        question
    }

    /// May somebody receive what is published in the channels that a pattern means?
    pub(crate) fn pattern(caller: &Caller, principal: &Principal, pattern: &str) -> Self {
        let about = About { pattern: Some(pattern.to_owned()), ..About::default() };
        let mut question = Self::new(HookEvent::Subscribe, caller, principal, about);
        question.key = Some(question.fingerprint(pattern));
        question
    }

    /// May somebody publish that?
    pub(crate) fn publish(caller: &Caller, principal: &Principal, draft: &Draft, granted: bool) -> Self {
        let mut about = About {
            channels: Some(draft.channels.iter().map(|channel| channel.as_str().to_owned()).collect()),
            publication_id: draft.id.as_deref().map(str::to_owned),
            name: draft.event.as_deref().map(str::to_owned),
            granted: Some(granted),
            ..About::default()
        };
        match &draft.payload {
            Payload::Json(json) => match raw(json) {
                Some(json) => about.data = Some(json),
                None => about.text = Some(String::from_utf8_lossy(json).into_owned()),
            },
            Payload::Text(text) => about.text = Some(String::from_utf8_lossy(text).into_owned()),
            Payload::Binary(binary) => about.base64 = Some(STANDARD.encode(binary)),
        }
        Self::new(HookEvent::Publish, caller, principal, about)
    }

    /// What is to be done for a call, or for an event of a socket?
    pub(crate) fn call(caller: &Caller, principal: &Principal, call: &Call) -> Self {
        let values = call.arguments.iter().filter_map(raw);
        let mut about = About { name: Some(call.method.to_string()), ..About::default() };
        let Some(scope) = &call.scope else {
            about.data = values.last();
            return Self::new(HookEvent::Call, caller, principal, about);
        };
        about.args = Some(values.collect());
        about.namespace = Some(scope.namespace.to_string());
        about.socket = Some(scope.socket.to_string());
        about.rooms = Some(scope.rooms.iter().map(ToString::to_string).collect());
        about.wants_answer = Some(call.wants_answer);
        Self::new(HookEvent::Event, caller, principal, about)
    }

    fn new(event: HookEvent, caller: &Caller, principal: &Principal, about: About) -> Self {
        let who = Who {
            session: caller.session.to_string(),
            dialect: caller.dialect,
            address: caller.remote.map(|address| address.to_string()),
            authenticated: principal.authenticated,
            user: principal.user.as_ref().map(|user| user.as_str().to_owned()),
            info: principal.info.as_deref().and_then(|info| RawValue::from_string(info.to_owned()).ok()),
            token_id: principal.token_id.as_deref().map(str::to_owned),
        };
        Self { event: event.name(), app: principal.app.as_str().to_owned(), who, about, key: None }
    }

    /// What the answer may depend on: who it is, not which of its sessions; of those without a name, from where they come.
    fn fingerprint(&self, what: &str) -> Key {
        let same = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let who = &self.who;
        let nameless = who.user.is_none().then_some(who.address.as_deref()).flatten();
        let info = who.info.as_deref().map(RawValue::get);
        let origin = self.about.origin.as_deref();
        let optional = [who.user.as_deref(), who.token_id.as_deref(), nameless, info, origin].map(same);
        let flags = [u8::from(who.authenticated), u8::from(self.about.granted == Some(true)), u8::from(self.about.pattern.is_some())];
        let mut parts: Vec<&[u8]> = vec![self.event.as_bytes(), self.app.as_bytes(), what.as_bytes(), &flags];
        parts.extend(optional.iter().map(String::as_bytes));
        fingerprint(&parts)
    }
}

fn kind(credential: &Credential) -> &'static str {
    match credential {
        Credential::Anonymous => "none",
        Credential::Token(_) => "token",
        Credential::Ticket(_) => "ticket",
        Credential::Key { .. } => "key",
        Credential::Cookie(_) => "cookie",
        Credential::Signed(_) => "signed",
    }
}

/// The bytes as JSON, if they are.
fn raw(json: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(json).ok()
}
