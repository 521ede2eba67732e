//! A subscriber: one event stream over all that its selectors mean.
//!
//! Invariant: the head goes out only when the subscription stands and says from which event on; missed events come before everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnivox_core::command::{Delivery, Replay, Subscribe, Subscribed};
use omnivox_core::pattern::Base;
use omnivox_core::{
    Action, Actions, ChannelName, Command, Control, Denied, EncodingKey, ExchangeId, Framing, Input, Mark, Pattern, Reply, Response,
    Session, Ticket,
};
use smallvec::SmallVec;

use super::cors::Cors;
use super::credential::Who;
use super::id::{EARLIEST, LastId};
use super::refusal::Refusal;
use super::selector::{Kind, Selector};
use super::{MercureSettings, formats, render, subscriptions};

/// One subscriber.
pub(super) struct StreamSession {
    settings: Arc<MercureSettings>,
    dialect: u8,
    framing: Framing,
    /// What is only needed until the stream begins.
    asked: Option<Box<Asked>>,
    exchange: Option<ExchangeId>,
    /// How long the stream may live, and until when it does.
    time_max: Option<Duration>,
    until: Option<Instant>,
}

/// What the request asked for.
pub(super) struct Asked {
    pub(super) who: Who,
    pub(super) cors: Cors,
    pub(super) metadata: Arc<str>,
    pub(super) head_only: bool,
    pub(super) selectors: Vec<Selector>,
    pub(super) base: Base,
    /// What was seen last, as the client said it.
    pub(super) last: Option<Box<str>>,
    /// The name of the subscriber in the subscription API.
    pub(super) subscriber: String,
    /// Where the stream is to begin, once that is known.
    pub(super) since: Option<Mark>,
}

impl StreamSession {
    /// A session for a request that could be read. `spread` is a random byte.
    pub(super) fn new(settings: Arc<MercureSettings>, dialect: u8, framing: Framing, spread: u8, asked: Asked) -> Self {
        // Between 80 and 100 % of the time, so that not all come back at once.
        let time_max = settings.connection_time_max.map(|most| most - most * u32::from(spread) / (5 * 255));
        Self { settings, dialect, framing, asked: Some(Box::new(asked)), exchange: None, time_max, until: None }
    }

    fn on_reply(&mut self, now: Instant, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        match outcome {
            Ok(Reply::Connected(_)) => self.on_connected(actions),
            Ok(Reply::Located { found, .. }) => {
                if let Some(asked) = &mut self.asked {
                    asked.since = found.map(Mark::Cursor);
                }
                self.subscribe(actions);
            }
            Ok(Reply::Subscribed(subscribed)) => self.on_subscribed(now, &subscribed, actions),
            Ok(_) => {}
            Err(denied) => self.on_denied(&denied, actions),
        }
    }

    fn on_connected(&mut self, actions: &mut Actions) {
        let Some(asked) = &mut self.asked else { return };
        if asked.head_only {
            return self.respond(head(&None), actions);
        }
        match asked.last.as_deref().map(LastId::parse) {
            Some(LastId::Name(name)) => return actions.run(LOCATE, Command::Locate(name.into())),
            Some(LastId::Place(cursor)) => asked.since = Some(Mark::Cursor(cursor)),
            Some(LastId::Earliest) => asked.since = Some(Mark::Earliest),
            None => {}
        }
        self.subscribe(actions);
    }

    fn subscribe(&mut self, actions: &mut Actions) {
        let Some(asked) = &self.asked else { return };
        let (mut channels, mut patterns) = (SmallVec::<[ChannelName; 1]>::new(), SmallVec::<[Pattern; 0]>::new());
        let (mut first, mut second) = (false, false);
        for selector in &asked.selectors {
            first |= selector.kind == Kind::Topic;
            second |= selector.kind != Kind::Topic;
            match selector.pattern(&asked.base) {
                Ok(Pattern::Exact(channel)) => {
                    if !channels.contains(&channel) {
                        channels.push(channel);
                    }
                }
                Ok(pattern) if !patterns.contains(&pattern) => patterns.push(pattern),
                Ok(_) => {}
                Err(refusal) => return self.refuse(&refusal, actions),
            }
        }
        let format = match (first, second) {
            (true, true) => formats::BOTH,
            (_, false) => formats::FIRST,
            (false, true) => formats::SECOND,
        };
        let key = EncodingKey { dialect: self.dialect, format, framing: self.framing, qualifier: None };
        let delivery = Delivery::Shared(key);
        let subscribe = Subscribe { channels, patterns, since: asked.since, delivery, presence: false, replay: Replay::Deliver };
        actions.run(SUBSCRIBE, Command::Subscribe(Box::new(subscribe)));
    }

    fn on_denied(&mut self, denied: &Denied, actions: &mut Actions) {
        let Some(asked) = &mut self.asked else { return };
        // Whoever may receive, but not read what was, begins now; a browser would never come back after a refusal.
        if matches!(denied, Denied::Forbidden(_)) && asked.since.take().is_some() {
            return self.subscribe(actions);
        }
        let refusal = Refusal::of(denied, &asked.who);
        self.refuse(&refusal, actions);
    }

    fn refuse(&mut self, refusal: &Refusal, actions: &mut Actions) {
        let Some(asked) = &self.asked else { return };
        let response = refusal.response(&asked.metadata);
        self.respond(response, actions);
    }

    fn respond(&mut self, response: Response, actions: &mut Actions) {
        if let (Some(exchange), Some(asked)) = (self.exchange.take(), self.asked.take()) {
            actions.respond(exchange, asked.cors.on(response));
        }
        actions.push(Action::End);
    }

    fn on_subscribed(&mut self, now: Instant, subscribed: &Subscribed, actions: &mut Actions) {
        let (Some(exchange), Some(asked)) = (self.exchange.take(), self.asked.take()) else { return };
        let resumed = matches!(asked.since, Some(Mark::Cursor(_))) && !subscribed.gap();
        let preceding = asked.last.as_ref().map(|last| if resumed { last.to_string() } else { EARLIEST.to_owned() });
        let mut head = head(&preceding);
        head.body = Bytes::from_static(b":\n");
        actions.push(Action::Stream(exchange, asked.cors.on(head)));
        self.until = self.time_max.map(|most| now + most);
        if self.settings.subscriptions {
            self.appear(&asked, actions);
        }
    }

    /// Shows the subscriptions to those who may see them, in the shapes of both generations.
    fn appear(&self, asked: &Asked, actions: &mut Actions) {
        for selector in &asked.selectors {
            let payload = asked.who.payload(&selector.text);
            for appear in subscriptions::appearances(selector, &asked.subscriber, payload.as_deref()) {
                actions.run(APPEAR, Command::Appear(Box::new(appear)));
            }
        }
    }

    fn on_control(&mut self, control: Control, actions: &mut Actions) {
        match control {
            Control::Close(reason) => {
                let refusal = Refusal::status(503, format!("the server ends the stream: {}", reason.label()));
                if self.exchange.is_some() {
                    self.refuse(&refusal, actions);
                } else {
                    // A clean end: the client comes back with the id of the last event.
                    actions.push(Action::End);
                }
            }
            Control::Direct(publication) => {
                let mut scratch = render::scratch();
                if self.asked.is_none() && render::publication(&publication, &mut scratch).is_some() {
                    actions.push(Action::Push(render::seal(self.framing, &mut scratch)));
                }
            }
            Control::Unsubscribed(_) => {}
        }
    }
}

impl Session for StreamSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                if let Some(asked) = &self.asked {
                    self.exchange = Some(exchange);
                    actions.run(CONNECT, asked.who.command());
                }
            }
            Input::Reply(APPEAR, _) => {}
            Input::Reply(_, outcome) => self.on_reply(now, outcome, actions),
            Input::Control(control) => self.on_control(control, actions),
            Input::Timeout if self.until.is_some_and(|until| until <= now) => actions.push(Action::End),
            Input::Abandoned(_) | Input::Detached(_) => actions.push(Action::End),
            Input::Timeout | Input::Attached(..) | Input::Answered(_) | Input::Text(..) | Input::Binary(..) | Input::Event(_) => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.until
    }
}

/// The head of every stream, with the id of the event before the first one when the client asked to resume.
fn head(preceding: &Option<String>) -> Response {
    let response = Response::new(200)
        .header("content-type", "text/event-stream")
        .header("cache-control", "private, no-cache, no-store, must-revalidate, max-age=0")
        .header("pragma", "no-cache")
        .header("expire", "0")
        .header("x-accel-buffering", "no");
    match preceding {
        Some(id) => response.header("last-event-id", id.clone()).header("mercure-last-event-id", id.clone()),
        None => response,
    }
}

const CONNECT: Ticket = Ticket(0);
const LOCATE: Ticket = Ticket(1);
const SUBSCRIBE: Ticket = Ticket(2);
const APPEAR: Ticket = Ticket(3);
