//! Publishing: one form, one update in one or several topics, one id back.
//!
//! Invariant: an update is refused as a whole unless its token covers every topic.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use omnivox_core::pattern::Base;
use omnivox_core::publication::{NAME_TAG, Tags};
use omnivox_core::{
    Action, Actions, ChannelName, Command, Control, Denied, Draft, ExchangeId, Input, Limits, Payload, Reply, Response, Session, Ticket,
};
use smallvec::SmallVec;

use super::cors::Cors;
use super::credential::Who;
use super::form::{Form, has_controls};
use super::refusal::Refusal;
use super::{HUB, id};

/// The tag under which the time to wait before a reconnect stands.
pub(super) const RETRY_TAG: &str = "retry";

/// One request to publish.
pub(super) struct PublishSession {
    who: Who,
    cors: Cors,
    metadata: Arc<str>,
    draft: Option<Box<Draft>>,
    name: Option<Arc<str>>,
    exchange: Option<ExchangeId>,
}

impl PublishSession {
    /// A session for a request that could be read.
    pub(super) fn new(who: Who, cors: Cors, metadata: Arc<str>, draft: Draft) -> Self {
        let name = draft.tags.iter().flat_map(|tags| tags.iter()).find(|(key, _)| *key == NAME_TAG).map(|(_, name)| name.clone());
        Self { who, cors, metadata, draft: Some(Box::new(draft)), name, exchange: None }
    }

    fn respond(&mut self, response: Response, actions: &mut Actions) {
        if let Some(exchange) = self.exchange.take() {
            actions.respond(exchange, self.cors.on(response));
        }
        actions.push(Action::End);
    }

    fn on_reply(&mut self, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        let denied = match outcome {
            Ok(Reply::Connected(_)) => {
                if let Some(draft) = self.draft.take() {
                    actions.run(PUBLISH, Command::Publish(SmallVec::from_elem(draft, 1)));
                }
                return;
            }
            Ok(Reply::Published(results)) => match results.into_iter().next() {
                Some(Ok(published)) => {
                    let id = self.name.as_deref().map_or_else(|| id::of_cursor(published.cursor), str::to_owned);
                    let response = Response::with_body(200, "text/plain; charset=utf-8", id);
                    return self.respond(response.header("x-content-type-options", "nosniff").header("cache-control", "no-store"), actions);
                }
                Some(Err(denied)) => denied,
                None => Denied::Unavailable("the hub gave no answer".into()),
            },
            Ok(_) => return debug_assert!(false, "a reply of another kind than its command"),
            Err(denied) => denied,
        };
        let response = Refusal::of(&denied, &self.who).response(&self.metadata);
        self.respond(response, actions);
    }
}

impl Session for PublishSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                actions.run(CONNECT, self.who.command());
            }
            Input::Reply(_, outcome) => self.on_reply(outcome, actions),
            Input::Control(Control::Close(reason)) => {
                let response = Refusal::status(503, format!("the server ends the request: {}", reason.label())).response(&self.metadata);
                self.respond(response, actions);
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

/// Reads an update. `first` tells whether the first generation asks, whose rules are laxer.
pub(super) fn draft(form: &Form<'_>, limits: &Limits, base: &Base, first: bool) -> Result<Draft, Refusal> {
    let mut channels: SmallVec<[ChannelName; 1]> = SmallVec::new();
    for topic in form.all("topic") {
        let channel = self::topic(topic, base, first)?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
        if channels.len() > limits.channels_per_publication_max {
            let most = limits.channels_per_publication_max;
            return Err(Refusal::bad(format!("an update has at most {most} topics (limits.channels_per_publication_max)")));
        }
    }
    if channels.is_empty() {
        return Err(Refusal::bad("Missing \"topic\" parameter"));
    }
    let data = form.all("data").next().unwrap_or_default();
    let mut draft = Draft::new(channels[0].clone(), payload(data));
    draft.channels = channels;
    draft.audience.granted_only = form.all("private").next().is_some();
    draft.event = form.first("type").map(|event| event_type(event, first)).transpose()?;
    draft.tags = tags(form, limits)?;
    Ok(draft)
}

/// JSON stays JSON for other dialects; subscribers of this one get the bytes as they came.
fn payload(data: &str) -> Payload {
    let bytes = Bytes::copy_from_slice(data.as_bytes());
    match serde_json::from_str::<serde::de::IgnoredAny>(data) {
        Ok(_) => Payload::Json(bytes),
        Err(_) => Payload::Text(bytes),
    }
}

fn topic(topic: &str, base: &Base, first: bool) -> Result<ChannelName, Refusal> {
    if has_controls(topic) {
        return Err(Refusal::bad("a topic has control characters"));
    }
    if topic == "*" {
        return Err(Refusal::bad("the topic `*` stands for all and can't be published to"));
    }
    let channel = ChannelName::parse(topic).map_err(|error| Refusal::bad(format!("a topic is no channel: {error}")))?;
    let reserved = |path: &str| path == HUB || path.strip_prefix(HUB).is_some_and(|rest| rest.starts_with('/'));
    if base.path(topic).is_some_and(|path| reserved(&path)) {
        return Err(Refusal::status(if first { 403 } else { 400 }, "topics at and below the hub's own URL are the hub's"));
    }
    Ok(channel)
}

fn event_type(event: &str, first: bool) -> Result<Arc<str>, Refusal> {
    if has_controls(event) {
        return Err(Refusal::bad("the type has control characters"));
    }
    if event == "mercure" && !first {
        return Err(Refusal::bad("the type `mercure` is the hub's"));
    }
    Ok(event.into())
}

fn tags(form: &Form<'_>, limits: &Limits) -> Result<Tags, Refusal> {
    let mut tags: Vec<(&'static str, Arc<str>)> = Vec::new();
    if let Some(name) = form.first("id") {
        if has_controls(name) || name.starts_with('#') || name == id::EARLIEST {
            return Err(Refusal::bad("an id has no control characters, does not begin with `#` and is not `earliest`"));
        }
        if name.len() > limits.publication_id_bytes_max {
            let most = limits.publication_id_bytes_max;
            return Err(Refusal::bad(format!("an id has at most {most} bytes (limits.publication_id_bytes_max)")));
        }
        tags.push((NAME_TAG, name.into()));
    }
    if let Some(retry) = form.first("retry") {
        let good = retry.len() <= 18 && retry.bytes().all(|byte| byte.is_ascii_digit());
        let milliseconds: u64 = if good { retry.parse().unwrap_or(0) } else { return Err(Refusal::bad("Invalid \"retry\" parameter")) };
        if milliseconds > 0 {
            tags.push((RETRY_TAG, milliseconds.to_string().into()));
        }
    }
    Ok((!tags.is_empty()).then(|| tags.into()))
}

const CONNECT: Ticket = Ticket(0);
const PUBLISH: Ticket = Ticket(1);
