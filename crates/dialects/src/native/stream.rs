//! Server-sent events: several channels on one stream, every event with a cursor that resumes all of them.
//!
//! What is refused for good gets a status, because a browser then stays away; what may be asked again later gets a stream that says so and
//! ends, because after any other status a browser never comes back (`docs/protocol-native.md`).
//!
//! Invariant: the head goes out only when the subscription stands; missed events come before everything else.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::command::{Delivery, Replay, Subscribe, Subscribed};
use omnivox_core::{
    Action, Actions, ChannelName, CloseReason, Command, Control, Cursor, Denied, EncodingKey, ExchangeId, Frame, Framing, Input, Mark,
    Pattern, Reply, Response, Session, Ticket,
};

use super::codes::{self, Refusal};
use super::render::{self, Object};
use super::request::{Channels, Connecting, Cors, Patterns, refused};
use super::rooms::Keeping;
use super::settings::Format;
use super::{NativeSettings, formats};

/// One event stream.
pub(super) struct StreamSession {
    settings: Arc<NativeSettings>,
    dialect: u8,
    framing: Framing,
    format: Format,
    /// A random number, so that clients don't come back all at once.
    spread: u8,
    state: State,
    /// The seat that the stream keeps, as long as it lives.
    kept: Option<Keeping>,
}

/// What the request asked for.
pub(super) struct Wanted {
    /// Who asks.
    pub(super) connecting: Connecting,
    /// Who may read the stream.
    pub(super) cors: Cors,
    /// Whether only the head is wanted.
    pub(super) head_only: bool,
    /// The channels, at least one.
    pub(super) channels: Channels,
    /// The patterns; often none.
    pub(super) patterns: Patterns,
    /// What was seen last.
    pub(super) since: Since,
    /// Whether presence events are wanted.
    pub(super) presence: bool,
    /// The key of an inbox.
    pub(super) inbox: Option<Box<str>>,
    /// How publications are shown.
    pub(super) format: Format,
}

/// What a client says it saw last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Since {
    /// Nothing.
    Nothing,
    /// This.
    Mark(Mark),
    /// Something that this server did not give out, or that means another set of channels.
    Unreadable,
}

impl Wanted {
    /// What the client calls its channels and patterns.
    fn names(&self) -> Vec<ChannelName> {
        self.channels.iter().cloned().chain(self.patterns.iter().map(Pattern::label)).collect()
    }
}

enum State {
    Asked(Box<Wanted>, Option<ExchangeId>),
    Streaming,
}

impl StreamSession {
    /// A session for a request.
    pub(super) fn new(settings: Arc<NativeSettings>, dialect: u8, framing: Framing, spread: u8, wanted: Wanted) -> Self {
        Self { settings, dialect, framing, format: wanted.format, spread, state: State::Asked(Box::new(wanted), None), kept: None }
    }

    fn on_reply(&mut self, now: Instant, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        match outcome {
            Ok(Reply::Kept(inbox, kept_ms)) => self.on_kept(now, inbox, kept_ms, actions),
            Err(denied) if matches!(self.state, State::Streaming) => {
                // The seat is not its client's any more.
                actions.push(Action::Push(self.frame(|into| error_event(None, &Refusal::from(&denied), into))));
                actions.push(Action::End);
            }
            outcome => self.on_answer(outcome, actions),
        }
    }

    /// The seat is kept: its inbox is one of the channels.
    fn on_kept(&mut self, now: Instant, inbox: ChannelName, kept_ms: u64, actions: &mut Actions) {
        if let Some(kept) = &mut self.kept {
            kept.shown(now, kept_ms);
        }
        if let State::Asked(wanted, _) = &mut self.state {
            wanted.channels.push(inbox);
        }
        if let State::Asked(wanted, _) = &self.state {
            actions.run(SUBSCRIBE, self.subscribe(wanted));
        }
    }

    fn on_answer(&mut self, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        let State::Asked(wanted, Some(exchange)) = &self.state else { return };
        match outcome {
            Ok(Reply::Connected(_)) if wanted.head_only => {
                actions.respond(*exchange, wanted.cors.on(head()));
                actions.push(Action::End);
            }
            Ok(Reply::Connected(_)) => match &wanted.inbox {
                Some(key) => {
                    actions.run(KEEP, Command::Keep(key.clone()));
                    self.kept = Some(Keeping::new(key.clone()));
                }
                None => actions.run(SUBSCRIBE, self.subscribe(wanted)),
            },
            Ok(Reply::Subscribed(subscribed)) => {
                let mut body = BytesMut::with_capacity(32);
                let _ = write!(body, ":ok\n\nretry: {}\n\n", self.settings.retry_ms);
                let unreadable = if wanted.since == Since::Unreadable { wanted.names() } else { Vec::new() };
                let mut response = wanted.cors.on(head());
                response.body = body.freeze();
                actions.push(Action::Stream(*exchange, response));
                self.state = State::Streaming;
                self.begin(&subscribed, &unreadable, actions);
            }
            Ok(_) => debug_assert!(false, "a reply of another kind than its command"),
            Err(denied) => {
                let response =
                    if codes::comes_back(&denied) { self.come_back(&Refusal::from(&denied)) } else { refused(&Refusal::from(&denied)) };
                actions.respond(*exchange, wanted.cors.on(response));
                actions.push(Action::End);
            }
        }
    }

    fn subscribe(&self, wanted: &Wanted) -> Command {
        let format = match wanted.format {
            Format::Envelope => formats::STREAM_ENVELOPE,
            Format::Data => formats::STREAM_DATA,
        };
        let key = EncodingKey { dialect: self.dialect, format, framing: self.framing, qualifier: None };
        let since = match wanted.since {
            Since::Mark(mark) => Some(mark),
            Since::Nothing | Since::Unreadable => None,
        };
        Command::Subscribe(Box::new(Subscribe {
            channels: wanted.channels.clone(),
            patterns: wanted.patterns.clone(),
            since,
            delivery: Delivery::Shared(key),
            presence: wanted.presence,
            replay: Replay::Deliver,
        }))
    }

    /// Says where the stream stands now, behind what was replayed. Gaps were told before the replay, so that a cut in it does not hide them;
    /// what is left to tell is a mark that could not be read.
    fn begin(&self, subscribed: &Subscribed, unreadable: &[ChannelName], actions: &mut Actions) {
        for channel in unreadable {
            actions.push(Action::Push(self.frame(|into| render::stream_gap(channel, into))));
        }
        actions.push(Action::Push(self.frame(|into| id_alone(subscribed.cursor, into))));
    }

    fn on_control(&self, control: Control, actions: &mut Actions) {
        match (control, &self.state) {
            (Control::Close(reason), State::Asked(wanted, Some(exchange))) => {
                let refusal = goodbye(reason);
                let response = if codes::goodbye_comes_back(reason) { self.come_back(&refusal) } else { refused(&refusal) };
                actions.respond(*exchange, wanted.cors.on(response));
                actions.push(Action::End);
            }
            (Control::Close(reason), State::Streaming) => {
                let retry_ms = codes::goodbye_comes_back(reason).then(|| self.spread_retry_ms());
                actions.push(Action::Push(self.frame(|into| error_event(retry_ms, &goodbye(reason), into))));
                actions.push(Action::End);
            }
            (Control::Direct(publication), State::Streaming) => {
                let mut scratch = BytesMut::new();
                render::begin(&mut scratch);
                if render::stream_publication(&publication, None, self.format == Format::Data, &mut scratch).is_some() {
                    actions.push(Action::Push(render::seal(self.framing, &mut scratch)));
                }
            }
            (Control::Unsubscribed(channel), State::Streaming) => {
                actions.push(Action::Push(self.frame(|into| unsubscribed(&channel, into))));
            }
            (_, State::Asked(..)) => {}
        }
    }

    /// A whole stream that only tells the client to come back.
    fn come_back(&self, refusal: &Refusal) -> Response {
        let mut body = BytesMut::with_capacity(128);
        error_event(Some(self.spread_retry_ms()), refusal, &mut body);
        let mut response = head();
        response.body = body.freeze();
        response
    }

    /// The setting and up to as much again.
    fn spread_retry_ms(&self) -> u64 {
        self.settings.retry_ms + self.settings.retry_ms * u64::from(self.spread) / 255
    }

    fn frame(&self, write: impl FnOnce(&mut BytesMut)) -> Frame {
        let mut scratch = BytesMut::with_capacity(128);
        render::begin(&mut scratch);
        write(&mut scratch);
        render::seal(self.framing, &mut scratch)
    }
}

impl Session for StreamSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                if let State::Asked(wanted, waiting) = &mut self.state {
                    *waiting = Some(exchange);
                    actions.run(CONNECT, wanted.connecting.command());
                }
            }
            Input::Reply(_, outcome) => self.on_reply(now, outcome, actions),
            Input::Timeout => {
                if let Some(command) = self.kept.as_mut().and_then(|kept| kept.due(now)) {
                    actions.run(KEEP, command);
                }
            }
            Input::Control(control) => self.on_control(control, actions),
            Input::Abandoned(_) | Input::Detached(_) => actions.push(Action::End),
            Input::Attached(..) | Input::Answered(_) | Input::Text(..) | Input::Binary(..) | Input::Event(_) => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.kept.as_ref().and_then(|kept| kept.next)
    }
}

/// The head of every event stream, without who may read it. Proxies are told not to keep, change or hold it.
fn head() -> Response {
    Response { status: 200, headers: Vec::new(), body: Bytes::new() }
        .header("content-type", "text/event-stream")
        .header("cache-control", "no-cache, no-transform")
        .header("x-accel-buffering", "no")
}

fn goodbye(reason: CloseReason) -> Refusal {
    Refusal { code: reason.label(), status: codes::goodbye_status(reason), words: codes::close_words(reason).into() }
}

fn id_alone(cursor: Cursor, into: &mut BytesMut) {
    let _ = write!(into, "id: {cursor}\n\n");
}

fn error_event(retry_ms: Option<u64>, refusal: &Refusal, into: &mut BytesMut) {
    into.put_slice(b"event: error\n");
    if let Some(retry_ms) = retry_ms {
        let _ = writeln!(into, "retry: {retry_ms}");
    }
    into.put_slice(b"data: ");
    let mut object = Object::begin(into);
    object.text("code", refusal.code);
    object.text("message", &refusal.words);
    object.end();
    into.put_slice(b"\n\n");
}

fn unsubscribed(channel: &ChannelName, into: &mut BytesMut) {
    into.put_slice(b"event: unsubscribed\ndata: ");
    let mut object = Object::message("unsubscribed", into);
    object.text("channel", channel.as_str());
    object.end();
    into.put_slice(b"\n\n");
}

const CONNECT: Ticket = Ticket(0);
const SUBSCRIBE: Ticket = Ticket(1);
const KEEP: Ticket = Ticket(2);
