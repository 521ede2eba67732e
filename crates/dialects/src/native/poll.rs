//! Long and short polling: the mark is in the request, so no session outlives an answer.
//!
//! A poll with news is answered at once, one without is held. Everybody who waits for the same channel gets the same bytes, made once.
//!
//! Invariant: an answer's `last` is such that asking again with it loses nothing and repeats nothing.

use std::time::{Duration, Instant};

use omnivox_core::command::{Delivery, Replay, Subscribe, Subscribed};
use omnivox_core::{
    Action, Actions, CloseReason, Command, Control, Denied, EncodingKey, ExchangeId, Framing, Input, Mark, Reply, Request, Response,
    Session, Ticket,
};

use super::codes::{self, Refusal};
use super::render::{self, Page, Placed};
use super::request::{Channels, Connecting, Cors, Parameters, Patterns, refused};
use super::rooms::Keeping;
use super::{NativeSettings, formats};

/// One poll.
pub(super) struct PollSession {
    dialect: u8,
    wanted: Wanted,
    /// Whether only a cursor says where the client stands.
    several: bool,
    /// At most so many events in an answer.
    events_max: usize,
    /// And about so many bytes.
    bytes_max: usize,
    exchange: Option<ExchangeId>,
    /// Until when it is held, once it is.
    until: Option<Instant>,
    /// The seat that it keeps, as long as it is held.
    kept: Option<Keeping>,
    /// Where the client stands, as far as it is known.
    last: Option<Mark>,
}

/// What the request asked for.
pub(super) struct Wanted {
    /// Who asks; given to the hub at once, so that a held poll does not keep it.
    pub(super) connecting: Option<Connecting>,
    /// Who may read the answer.
    pub(super) cors: Cors,
    /// The channels; at least one of these three.
    pub(super) channels: Channels,
    /// The patterns; often none.
    pub(super) patterns: Patterns,
    /// The key of an inbox.
    pub(super) inbox: Option<Box<str>>,
    /// What was seen last; without it the answer only tells where the channels stand.
    pub(super) last: Option<Mark>,
    /// How long to wait for news.
    pub(super) hold: Duration,
    /// At most so many events.
    pub(super) limit: usize,
}

impl Wanted {
    /// Whether only a cursor says where the client stands.
    fn several(&self) -> bool {
        self.channels.len() != 1 || !self.patterns.is_empty() || self.channels[0].is_inbox()
    }
}

impl PollSession {
    /// A session for a request.
    pub(super) fn new(settings: &NativeSettings, dialect: u8, wanted: Wanted) -> Self {
        let (events_max, bytes_max) = (settings.limits.history_page_max, settings.limits.outbox_bytes_soft);
        Self { dialect, several: false, events_max, bytes_max, exchange: None, until: None, kept: None, last: wanted.last, wanted }
    }

    /// The subscribe takes the names along; a poll that is held keeps none of them.
    fn subscribe(&mut self) -> Command {
        let wanted = &mut self.wanted;
        self.several = wanted.several();
        let format = match (self.several, wanted.limit < self.events_max) {
            (false, false) => formats::POLL_POSITIONS,
            (true, false) => formats::POLL_CURSORS,
            (false, true) => formats::POLL_POSITION,
            (true, true) => formats::POLL_CURSOR,
        };
        let qualifier = wanted.cors.allowed_origin().cloned();
        let key = EncodingKey { dialect: self.dialect, format, framing: Framing::Answer, qualifier };
        Command::Subscribe(Box::new(Subscribe {
            channels: std::mem::take(&mut wanted.channels),
            patterns: std::mem::take(&mut wanted.patterns),
            since: wanted.last,
            delivery: Delivery::Once(key),
            presence: false,
            replay: Replay::InReply,
        }))
    }

    fn on_subscribed(&mut self, now: Instant, mut subscribed: Subscribed, actions: &mut Actions) {
        let several = self.several;
        let mark = |(publication, place): &Placed| {
            if several { Mark::Cursor(publication.cursor) } else { Mark::Position(publication.places[*place].position) }
        };
        let top = if several { Mark::Cursor(subscribed.cursor) } else { Mark::Position(subscribed.channels[0].position) };
        let gap = subscribed.gap();
        if self.wanted.last.is_some() && (gap || subscribed.more() || !subscribed.missed.is_empty()) {
            let most = self.wanted.limit.min(render::fitting(&subscribed.missed, self.bytes_max));
            let cut = subscribed.missed.len() > most;
            subscribed.missed.truncate(most);
            let end = if cut { subscribed.missed.last() } else { subscribed.page_end.as_ref() };
            self.last = Some(end.map_or(top, mark));
            let more = cut || subscribed.more();
            return self.answer(&subscribed.missed, Page { gap, more }, actions);
        }
        self.last = Some(top);
        if self.wanted.last.is_none() || self.wanted.hold.is_zero() {
            self.answer(&[], Page { gap: false, more: false }, actions);
        } else {
            self.until = Some(now + self.wanted.hold);
        }
    }

    fn answer(&mut self, events: &[Placed], page: Page, actions: &mut Actions) {
        self.respond(render::json(200, |into| render::poll(events, self.last, page, into)), actions);
    }

    fn refuse(&mut self, refusal: &Refusal, actions: &mut Actions) {
        self.respond(refused(refusal), actions);
    }

    fn respond(&mut self, response: Response, actions: &mut Actions) {
        if let Some(exchange) = self.exchange.take() {
            actions.respond(exchange, self.wanted.cors.on(response));
        }
        actions.push(Action::End);
    }

    /// A poll that is held is answered with nothing new, so that the client asks again, elsewhere if need be.
    fn on_close(&mut self, reason: CloseReason, actions: &mut Actions) {
        if codes::goodbye_comes_back(reason) && self.until.is_some() {
            self.answer(&[], Page { gap: false, more: false }, actions);
        } else {
            self.refuse(
                &Refusal { code: reason.label(), status: codes::goodbye_status(reason), words: codes::close_words(reason).into() },
                actions,
            );
        }
    }

    fn on_reply(&mut self, now: Instant, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        match outcome {
            Ok(Reply::Connected(_)) => match self.wanted.inbox.take() {
                Some(key) => actions.run(KEEP, Command::Keep(self.kept.insert(Keeping::new(key)).key.clone())),
                None => actions.run(SUBSCRIBE, self.subscribe()),
            },
            Ok(Reply::Kept(inbox, kept_ms)) => {
                if let Some(kept) = &mut self.kept {
                    kept.shown(now, kept_ms);
                }
                // A poll that is held shows up again; the first time it is not subscribed yet.
                if self.until.is_none() {
                    self.wanted.channels.push(inbox);
                    actions.run(SUBSCRIBE, self.subscribe());
                }
            }
            Ok(Reply::Subscribed(subscribed)) => self.on_subscribed(now, *subscribed, actions),
            Ok(_) => debug_assert!(false, "a reply of another kind than its command"),
            Err(denied) => self.refuse(&Refusal::from(&denied), actions),
        }
    }
}

impl Session for PollSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                if let Some(connecting) = self.wanted.connecting.take() {
                    actions.run(CONNECT, Command::Connect(connecting.0));
                }
            }
            Input::Reply(_, outcome) => self.on_reply(now, outcome, actions),
            Input::Timeout => {
                if self.until.is_some_and(|until| until <= now) {
                    self.answer(&[], Page { gap: false, more: false }, actions);
                } else if let Some(command) = self.kept.as_mut().and_then(|kept| kept.due(now)) {
                    actions.run(KEEP, command);
                }
            }
            Input::Control(Control::Close(reason)) => self.on_close(reason, actions),
            // What it waits for will not come any more; asking again tells why.
            Input::Control(Control::Unsubscribed(_)) => self.answer(&[], Page { gap: false, more: false }, actions),
            Input::Abandoned(_) => {
                self.exchange = None;
                actions.push(Action::End);
            }
            Input::Control(Control::Direct(_))
            | Input::Answered(_)
            | Input::Attached(..)
            | Input::Detached(_)
            | Input::Text(..)
            | Input::Binary(..)
            | Input::Event(_) => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let keep = self.kept.as_ref().and_then(|kept| kept.next);
        self.until.into_iter().chain(keep).min()
    }
}

/// How long to hold a poll: what the client asks for within the limit, a little less at random so that clients don't ask all at once.
pub(super) fn hold(request: &Request<'_>, parameters: &Parameters<'_>, most: Duration, random: u8) -> Result<Duration, Refusal> {
    let asked = match parameters.seconds("timeout")? {
        Some(asked) => Some(asked),
        None => preferred_wait(request),
    };
    let hold = asked.unwrap_or(most).min(most);
    Ok(hold - hold * u32::from(random) / (10 * 255))
}

/// `Prefer: wait=N` (RFC 7240).
fn preferred_wait(request: &Request<'_>) -> Option<Duration> {
    let preferences = request.header("prefer")?.split([',', ';']);
    let wait =
        preferences.filter_map(|preference| preference.trim().split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"));
    Some(Duration::from_secs(wait?.1.trim().trim_matches('"').parse().ok()?))
}

const CONNECT: Ticket = Ticket(0);
const SUBSCRIBE: Ticket = Ticket(1);
const KEEP: Ticket = Ticket(2);
