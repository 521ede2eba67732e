//! One peer on a WebSocket, and the one request that lists peers.
//!
//! A peer is let in before its id is looked at, because the client reads only messages, never the status of the handshake. What it sends to a
//! peer that is not there waits here, in order, and is tried again until it gets through or its time is over.
//!
//! Invariant: messages to one peer keep their order: while some wait, later ones wait behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use omnivox_core::room::{Claim, SEAT_MARK, Seat, Signal};
use omnivox_core::{Action, Actions, Command, Control, Denied, ExchangeId, Frame, Input, Reply, Response, Session, Switch, Ticket};
use omnivox_wire::ws;

use super::message::{self, Incoming};
use super::settings::PeerJsSettings;

/// One peer.
pub(super) struct PeerSession {
    settings: Arc<PeerJsSettings>,
    connect: Option<Command>,
    greeting: Greeting,
    state: State,
    /// Messages on their way to the hub, in the order of their tickets.
    sent: VecDeque<(Ticket, Sent)>,
    /// Messages for peers that are not there.
    waiting: VecDeque<Waiting>,
    next_ticket: u32,
    next_look: Option<Instant>,
    heard: Option<Instant>,
}

/// What the address of the WebSocket said.
pub(super) enum Greeting {
    /// An id and the proof that it is one's own.
    Claim {
        /// The id.
        id: Box<str>,
        /// The proof.
        token: Box<str>,
    },
    /// A key that is not the endpoint's.
    WrongKey,
    /// Something is missing.
    Incomplete,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waits for the handshake and the hub.
    Opening,
    /// The seat is asked for.
    Claiming,
    /// The peer is there.
    Open,
    /// It was sent away, or left.
    Closed,
}

/// A message that the hub has.
struct Sent {
    to: Arc<str>,
    data: Bytes,
    /// Until when it waits when the peer is not there; nothing for what does not wait.
    until: Option<Instant>,
}

struct Waiting {
    to: Arc<str>,
    data: Bytes,
    until: Instant,
}

const CONNECT: Ticket = Ticket(0);
const SEAT: Ticket = Ticket(1);
const FIRST_SIGNAL: u32 = 2;

impl PeerSession {
    /// A session for a request that can become a WebSocket.
    pub(super) fn new(settings: Arc<PeerJsSettings>, connect: Command, greeting: Greeting) -> Self {
        Self {
            settings,
            connect: Some(connect),
            greeting,
            state: State::Opening,
            sent: VecDeque::new(),
            waiting: VecDeque::new(),
            next_ticket: FIRST_SIGNAL,
            next_look: None,
            heard: None,
        }
    }

    fn own_id(&self) -> &str {
        match &self.greeting {
            Greeting::Claim { id, .. } => id,
            Greeting::WrongKey | Greeting::Incomplete => "",
        }
    }

    /// The handshake is done: now the client hears what is wrong with it, if anything.
    fn on_attached(&mut self, now: Instant, actions: &mut Actions) {
        self.heard = Some(now);
        match &self.greeting {
            Greeting::Incomplete => self.refuse("ERROR", "No id, token, or key supplied to websocket server", actions),
            Greeting::WrongKey => self.refuse("ERROR", "Invalid key provided", actions),
            Greeting::Claim { .. } => {
                if let Some(connect) = self.connect.take() {
                    actions.run(CONNECT, connect);
                }
            }
        }
    }

    fn on_connected(&mut self, actions: &mut Actions) {
        if let Greeting::Claim { id, token } = &self.greeting {
            let claim = Claim::Name { name: id.clone(), token: token.clone() };
            self.state = State::Claiming;
            actions.run(SEAT, Command::Seat(Box::new(Seat { channel: self.settings.channel.clone(), claim, data: None, leased: false })));
        }
    }

    /// Says what is wrong and ends the connection.
    fn refuse(&mut self, kind: &str, words: &str, actions: &mut Actions) {
        self.state = State::Closed;
        actions.push(Action::Push(message::trouble(kind, words)));
        actions.push(Action::Push(close_frame()));
        actions.push(Action::End);
    }

    fn on_text(&mut self, now: Instant, text: &str, actions: &mut Actions) {
        self.heard = Some(now);
        let Some(incoming) = Incoming::parse(text).filter(|incoming| self.state == State::Open && incoming.is_relayed()) else { return };
        match incoming.dst.as_deref().filter(|dst| !dst.is_empty()) {
            Some(dst) => {
                let to: Arc<str> = format!("{SEAT_MARK}{dst}").into();
                let until = incoming.waits().then(|| now + self.settings.wait_time_max);
                let data = incoming.to_data();
                match until {
                    Some(until) if self.waiting.iter().any(|waiting| waiting.to == to) => {
                        self.wait(now, Waiting { to, data, until }, actions);
                    }
                    until => self.signal(Sent { to, data, until }, actions),
                }
            }
            None if &*incoming.kind == "LEAVE" => {
                self.state = State::Closed;
                let own: Arc<str> = format!("{SEAT_MARK}{}", self.own_id()).into();
                let ticket = self.ticket();
                actions.run(ticket, Command::Leave(self.settings.channel.clone(), own));
            }
            None => {}
        }
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.checked_add(1).unwrap_or(FIRST_SIGNAL);
        ticket
    }

    fn signal(&mut self, sent: Sent, actions: &mut Actions) {
        let ticket = self.ticket();
        let signal = Signal { channel: self.settings.channel.clone(), from: None, to: sent.to.clone(), data: sent.data.clone() };
        self.sent.push_back((ticket, sent));
        actions.run(ticket, Command::Signal(Box::new(signal)));
    }

    fn wait(&mut self, now: Instant, waiting: Waiting, actions: &mut Actions) {
        if self.waiting.len() >= self.settings.waiting_messages_max {
            return self.expire(&waiting.to, actions);
        }
        self.waiting.push_back(waiting);
        self.next_look.get_or_insert(now + self.settings.wait_look);
    }

    fn on_signalled(&mut self, now: Instant, ticket: Ticket, outcome: &Result<Reply, Denied>, actions: &mut Actions) {
        let Some(at) = self.sent.iter().position(|(known, _)| *known == ticket) else { return };
        let Some((_, Sent { to, data, until })) = self.sent.remove(at) else { return };
        match (outcome, until) {
            (Err(Denied::NotFound(_) | Denied::Limit { .. } | Denied::Unavailable(_)), Some(until)) if until > now => {
                self.wait(now, Waiting { to, data, until }, actions);
            }
            (Err(Denied::NotFound(_)), Some(_)) => self.expire(&to, actions),
            (Err(Denied::NotFound(_)), None) | (Ok(_), _) => {}
            (Err(denied), _) => actions.push(Action::Push(message::trouble("ERROR", &denied.to_string()))),
        }
    }

    /// Tells the client that the peer never came; it looks as if that peer had said so.
    fn expire(&self, to: &str, actions: &mut Actions) {
        let peer = to.strip_prefix(SEAT_MARK).unwrap_or(to);
        actions.push(Action::Push(message::message("EXPIRE", Some((peer, self.own_id())), None)));
    }

    fn on_timeout(&mut self, now: Instant, actions: &mut Actions) {
        if self.silent_until().is_some_and(|until| until <= now) {
            actions.push(Action::Push(close_frame()));
            return self.end(actions);
        }
        if self.next_look.is_none_or(|look| look > now) {
            return;
        }
        self.next_look = None;
        let mut expired: Vec<Arc<str>> = Vec::new();
        for Waiting { to, data, until } in std::mem::take(&mut self.waiting) {
            if until > now {
                self.signal(Sent { to, data, until: Some(until) }, actions);
            } else if !expired.contains(&to) {
                expired.push(to);
            }
        }
        for to in expired {
            self.expire(&to, actions);
        }
    }

    /// The peer is gone, and its id is free at once: whoever comes back shows the same token and has it again.
    fn end(&mut self, actions: &mut Actions) {
        if matches!(self.state, State::Claiming | State::Open) {
            let seat = Arc::from(format!("{SEAT_MARK}{}", self.own_id()));
            let ticket = self.ticket();
            actions.run(ticket, Command::Leave(self.settings.channel.clone(), seat));
        }
        self.state = State::Closed;
        actions.push(Action::End);
    }

    fn silent_until(&self) -> Option<Instant> {
        self.heard.map(|heard| heard + self.settings.alive_time_max)
    }

    fn on_reply(&mut self, now: Instant, ticket: Ticket, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        match (ticket, outcome) {
            (CONNECT, Ok(_)) => self.on_connected(actions),
            (SEAT, Ok(Reply::Seated(_))) => {
                self.state = State::Open;
                actions.push(Action::Push(message::message("OPEN", None, None)));
            }
            (SEAT, Ok(_)) => self.refuse("ID-TAKEN", "ID is taken", actions),
            (SEAT, Err(Denied::Limit { .. })) => self.refuse("ERROR", "Server has reached its concurrent user limit", actions),
            (CONNECT | SEAT, Err(denied)) => self.refuse("ERROR", &denied.to_string(), actions),
            (ticket, outcome) => self.on_signalled(now, ticket, &outcome, actions),
        }
    }

    fn on_control(&mut self, control: Control, actions: &mut Actions) {
        match control {
            Control::Close(_) => {
                self.state = State::Closed;
                actions.push(Action::Push(close_frame()));
                actions.push(Action::End);
            }
            Control::Direct(publication) if self.state == State::Open => {
                if let Some(frame) = message::from_signal(publication.draft.payload.bytes(), self.own_id()) {
                    actions.push(Action::Push(frame));
                }
            }
            Control::Direct(_) | Control::Unsubscribed(_) => {}
        }
    }
}

impl Session for PeerSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => actions.push(Action::Upgrade(exchange, Switch::default())),
            Input::Attached(..) => self.on_attached(now, actions),
            Input::Text(_, text) => self.on_text(now, text, actions),
            Input::Reply(ticket, outcome) => self.on_reply(now, ticket, outcome, actions),
            Input::Control(control) => self.on_control(control, actions),
            Input::Timeout => self.on_timeout(now, actions),
            Input::Abandoned(_) | Input::Detached(_) => self.end(actions),
            Input::Binary(..) | Input::Answered(_) | Input::Event(_) => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.silent_until().into_iter().chain(self.next_look).min()
    }
}

/// A close frame without a code, as the client's authors send it.
fn close_frame() -> Frame {
    // A code that may not be on the wire means that there is none.
    let mut bytes = BytesMut::with_capacity(2);
    ws::close(1005, "", &mut bytes);
    Frame::raw(bytes.freeze())
}

/// A request that lists the peers.
pub(super) struct PeersSession {
    settings: Arc<PeerJsSettings>,
    connect: Option<Command>,
    answer: Response,
    exchange: Option<ExchangeId>,
}

impl PeersSession {
    /// A session for the request; `answer` has the headers of its answer.
    pub(super) fn new(settings: Arc<PeerJsSettings>, connect: Command, answer: Response) -> Self {
        Self { settings, connect: Some(connect), answer, exchange: None }
    }

    fn on_reply(&self, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        let Some(exchange) = self.exchange else { return };
        let (status, body) = match outcome {
            Ok(Reply::Connected(_)) => return actions.run(SEAT, Command::Members(self.settings.channel.clone())),
            Ok(Reply::Members(members)) => {
                let ids: Vec<&str> = members.iter().filter_map(|member| member.key.strip_prefix(SEAT_MARK)).collect();
                (200, serde_json::to_string(&ids).unwrap_or_default())
            }
            Ok(_) => return debug_assert!(false, "a reply of another kind than its command"),
            Err(denied) => (denied.status(), format!("{{\"msg\":{}}}", serde_json::Value::from(denied.to_string()))),
        };
        let mut response = Response { status, body: body.into(), ..self.answer.clone() };
        response = response.header("content-type", "application/json").header("cache-control", "no-store");
        actions.respond(exchange, response);
        actions.push(Action::End);
    }
}

impl Session for PeersSession {
    fn handle(&mut self, _now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => {
                self.exchange = Some(exchange);
                if let Some(connect) = self.connect.take() {
                    actions.run(CONNECT, connect);
                }
            }
            Input::Reply(_, outcome) => self.on_reply(outcome, actions),
            Input::Control(Control::Close(_)) | Input::Abandoned(_) => actions.push(Action::End),
            _ => {}
        }
    }
}
