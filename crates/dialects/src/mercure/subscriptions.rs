//! Active subscriptions: entries of presence sets, one set for each subscription, shown as the documents and events of both generations.
//!
//! ```text
//!   /.well-known/mercure/subscriptions/{topic}/{subscriber}                    first:  "Subscription" in JSON-LD
//!   /.well-known/mercure/subscriptions/{match_type}/{match}/{subscriber}       second: "subscription" in JSON
//! ```
//!
//! The channel of the set has the document's URL for its name, so that whoever may subscribe to that topic sees the entry: grants, patterns
//! and leases are the hub's own. A session that is lost leaves its sets as any other. Its coming and going are private updates in the same
//! channel, with ids and history as any other's.
//!
//! Invariant: what is shown of a subscriber is what its dialect wrote; other entries of such a set are passed over.

use std::sync::Arc;
use std::time::Instant;

use omnivox_core::command::{Appear, Enter};
use omnivox_core::event::Member;
use omnivox_core::{
    Action, Actions, ChannelName, Command, Control, Denied, Draft, ExchangeId, Input, Pattern, Payload, Permissions, Reply, Request,
    Response, Session, Ticket,
};
use omnivox_wire::http1::path;
use serde_json::{Map, Value, json};

use super::cors::Cors;
use super::credential::Who;
use super::form::segment;
use super::refusal::Refusal;
use super::selector::Selector;
use super::{formats, id};

/// What the names of all subscriptions begin with.
pub(super) const SUBSCRIPTIONS: &str = "/.well-known/mercure/subscriptions";
const CONTEXT: &str = "https://mercure.rocks/";
/// The type of the second generation's events.
const EVENT: &str = "mercure";

/// What a subscription runs to be seen, once for each generation that can name it; a name that would be too long is not shown.
pub(super) fn appearances(selector: &Selector, subscriber: &str, payload: Option<&str>) -> impl Iterator<Item = Appear> {
    let (text, kind) = (&*selector.text, selector.kind.match_type());
    let mut first = json!({"subscriber": subscriber, "topic": text});
    let mut second = json!({"subscriber": subscriber, "match": text, "match_type": kind});
    if let Some(payload) = payload.and_then(|payload| serde_json::from_str::<Value>(payload).ok()) {
        first["payload"] = payload.clone();
        second["payload"] = payload;
    }
    let shapes = [
        (format!("{SUBSCRIPTIONS}/{}/{}", segment(text), segment(subscriber)), first),
        (format!("{SUBSCRIPTIONS}/{kind}/{}/{}", segment(text), segment(subscriber)), second),
    ];
    let key: Arc<str> = subscriber.into();
    shapes.into_iter().filter_map(move |(name, entry)| {
        let channel = ChannelName::parse(&name).ok()?;
        let data = Some(entry.to_string().into_bytes().into());
        let (coming, going) = (update(&channel, &entry, true)?, update(&channel, &entry, false)?);
        let enter = Enter { channel, key: key.clone(), data, update_only: false };
        Some(Appear { enter, coming, going: Box::new(going) })
    })
}

/// The private update that tells of a subscription.
fn update(channel: &ChannelName, entry: &Value, active: bool) -> Option<Draft> {
    let (shape, document) = document(channel, entry.as_object()?.clone(), active)?;
    let text = with_context(shape, document).to_string();
    let mut draft = Draft::new(channel.clone(), Payload::Json(text.into_bytes().into()));
    draft.audience.granted_only = true;
    draft.event = (shape == formats::SECOND).then(|| EVENT.into());
    Some(draft)
}

/// The document of a member, if the channel and the member are those of a subscription.
fn shown(channel: &ChannelName, member: &Member) -> Option<(u8, Map<String, Value>)> {
    let Ok(Value::Object(entry)) = serde_json::from_slice(member.data.as_deref()?) else { return None };
    let own = entry.get("subscriber").is_some_and(|subscriber| *subscriber == *member.key);
    own.then(|| document(channel, entry, true)).flatten()
}

fn document(channel: &ChannelName, entry: Map<String, Value>, active: bool) -> Option<(u8, Map<String, Value>)> {
    let shape = shape_of(channel.as_str())?;
    // An entry that somebody else made does not have the name that its text stands for.
    let text = entry.get(if shape == formats::FIRST { "topic" } else { "match" })?.as_str()?;
    let subscriber = entry.get("subscriber")?.as_str()?;
    if !channel.as_str().ends_with(&format!("/{}/{}", segment(text), segment(subscriber))) {
        return None;
    }
    let mut document = Map::new();
    document.insert("id".to_owned(), channel.as_str().into());
    document.insert("type".to_owned(), if shape == formats::FIRST { "Subscription" } else { "subscription" }.into());
    document.extend(entry);
    document.insert("active".to_owned(), active.into());
    Some((shape, document))
}

fn with_context(shape: u8, mut document: Map<String, Value>) -> Value {
    if shape == formats::FIRST {
        document.insert("@context".to_owned(), CONTEXT.into());
    }
    Value::Object(document)
}

/// The shape of a subscription's name, by the number of its segments.
pub(super) fn shape_of(name: &str) -> Option<u8> {
    let rest = name.strip_prefix(SUBSCRIPTIONS)?.strip_prefix('/')?;
    match rest.split('/').count() {
        2 => Some(formats::FIRST),
        3 => Some(formats::SECOND),
        _ => None,
    }
}

/// A request for one subscription or several.
pub(super) struct ListSession {
    who: Who,
    cors: Cors,
    metadata: Arc<str>,
    /// The path in the one way that names are written in.
    path: String,
    /// The path as the client wrote it.
    asked: Box<str>,
    shape: u8,
    single: bool,
    if_none_match: Option<Box<str>>,
    last_id: String,
    exchange: Option<ExchangeId>,
}

impl ListSession {
    /// A session for a path at or below [`SUBSCRIPTIONS`].
    pub(super) fn new(request: &Request<'_>, who: Who, cors: Cors, metadata: Arc<str>) -> Result<Self, Refusal> {
        let below = request.path.strip_prefix(SUBSCRIPTIONS).unwrap_or_default();
        let unreadable = || Refusal::bad("the path can't be decoded");
        let segments: Vec<String> = match below {
            "" | "/" => Vec::new(),
            below => path::segments(below).map_err(|_| unreadable())?.map(|segment| segment.into_owned()).collect(),
        };
        let first = who.is_first();
        let most = if first { 2 } else { 3 };
        if segments.len() > most {
            return Err(Refusal::status(404, "no subscription is at this path"));
        }
        if !first && segments.first().is_some_and(|kind| kind != "exact" && kind != "urlpattern") {
            return Err(Refusal::bad("the matcher types are `exact` and `urlpattern`"));
        }
        let path = segments.iter().fold(SUBSCRIPTIONS.to_owned(), |path, part| format!("{path}/{}", segment(part)));
        Ok(Self {
            who,
            cors,
            metadata,
            path,
            asked: request.path.into(),
            shape: if first { formats::FIRST } else { formats::SECOND },
            single: segments.len() == most,
            if_none_match: request.header("if-none-match").map(Into::into),
            last_id: String::new(),
            exchange: None,
        })
    }

    fn respond(&mut self, response: Response, actions: &mut Actions) {
        if let Some(exchange) = self.exchange.take() {
            actions.respond(exchange, self.cors.on(response));
        }
        actions.push(Action::End);
    }

    fn refuse(&mut self, refusal: &Refusal, actions: &mut Actions) {
        let response = refusal.response(&self.metadata);
        self.respond(response, actions);
    }

    fn on_reply(&mut self, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        match outcome {
            Ok(Reply::Connected(principal)) => {
                let covers = |grant: &omnivox_core::Grant| {
                    grant.permissions.contains(Permissions::SUBSCRIBE)
                        && (grant.pattern.matches(&self.asked) || grant.pattern.matches(&self.path))
                };
                if principal.grants.iter().any(covers) {
                    return actions.run(LOCATE, Command::Locate("".into()));
                }
                let words = "the token does not grant to subscribe to this path";
                let denied = Denied::Forbidden(words.into());
                self.refuse(&Refusal::of(&denied, &self.who), actions);
            }
            Ok(Reply::Located { now, .. }) => {
                self.last_id = if now.stamp == 0 { id::EARLIEST.to_owned() } else { id::of_cursor(now) };
                actions.run(PRESENT, Command::Present(Pattern::Prefix(format!("{SUBSCRIPTIONS}/").into())));
            }
            Ok(Reply::Present(present)) => self.answer(&present, actions),
            Ok(_) => debug_assert!(false, "a reply of another kind than its command"),
            Err(denied) => self.refuse(&Refusal::of(&denied, &self.who), actions),
        }
    }

    fn answer(&mut self, present: &[(ChannelName, Vec<Member>)], actions: &mut Actions) {
        let below = format!("{}/", self.path);
        let meant = present.iter().filter(|(channel, _)| channel.as_str() == self.path || channel.as_str().starts_with(&below));
        let documents = meant.flat_map(|(channel, members)| members.iter().filter_map(move |member| shown(channel, member)));
        let documents: Vec<Map<String, Value>> =
            documents.filter(|(shape, _)| *shape == self.shape).map(|(_, document)| document).collect();
        let mut answer = if self.single {
            let Some(document) = documents.into_iter().next() else {
                return self.refuse(&Refusal::status(404, "there is no such subscription"), actions);
            };
            document
        } else {
            let kind = if self.shape == formats::FIRST { "Subscriptions" } else { "subscriptions" };
            let list = documents.into_iter().map(Value::Object).collect();
            Map::from_iter([
                ("id".to_owned(), Value::from(&*self.asked)),
                ("type".to_owned(), kind.into()),
                ("subscriptions".to_owned(), Value::Array(list)),
            ])
        };
        let etag = format!("\"{}\"", self.last_id);
        if self.if_none_match.as_deref() == Some(&*etag) {
            return self.respond(Response::new(304).header("etag", etag), actions);
        }
        let content_type = if self.shape == formats::FIRST {
            answer.insert("lastEventID".to_owned(), self.last_id.as_str().into());
            "application/ld+json"
        } else {
            "application/json"
        };
        let link = format!(
            "<{}>; rel=\"mercure\"; last-event-id=\"{}\"; type=\"mercure\"; content-type=\"application/json\"",
            super::HUB,
            self.last_id
        );
        let response = Response::with_body(200, content_type, with_context(self.shape, answer).to_string());
        let response = response.header("etag", etag).header("link", link).header("cache-control", "private, no-cache");
        self.respond(response, actions);
    }
}

impl Session for ListSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                actions.run(CONNECT, self.who.command());
            }
            Input::Reply(_, outcome) => self.on_reply(outcome, actions),
            Input::Control(Control::Close(reason)) => {
                self.refuse(&Refusal::status(503, format!("the server ends the request: {}", reason.label())), actions);
            }
            Input::Abandoned(_) => actions.push(Action::End),
            Input::Control(Control::Direct(_) | Control::Unsubscribed(_))
            | Input::Answered(_)
            | Input::Attached(..)
            | Input::Detached(_)
            | Input::Text(..)
            | Input::Binary(..)
            | Input::Event(_)
            | Input::Timeout => {}
        }
    }
}

const CONNECT: Ticket = Ticket(0);
const LOCATE: Ticket = Ticket(1);
const PRESENT: Ticket = Ticket(2);
