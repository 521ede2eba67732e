//! The model driver: sessions, carriers and exchanges as the real driver treats them, in one thread and in written time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnivox_core::command::Delivery;
use omnivox_core::event::Member;
use omnivox_core::http::Upgrade;
use omnivox_core::session::{Drain, NewSession, OpenContext};
use omnivox_core::{
    Action, Actions, CarrierId, Control, Denied, Dialect, Event, ExchangeId, Frame, Framing, Input, Opening, Pattern, Principal, Reply,
    Request, Session, SessionId, Ticket, UserId,
};
use omnivox_wire::ws::{Decoder, Role};

use super::connection::{Connection, State, drained};
use super::hub::{self, Hub};
use super::notation::{self, Kind, Step, Written};
use super::words::close_reason;
use super::{Seen, fits, shown};

/// A dialect under test with everything around it.
pub struct Stage<'d> {
    pub(super) dialect: &'d dyn Dialect,
    pub(super) began: Instant,
    pub(super) now: Instant,
    pub(super) shard: u16,
    pub(super) stream_framing: Framing,
    pub(super) missed_max: usize,
    pub(super) opened: u8,
    pub(super) hub: Hub,
    pub(super) actors: Vec<Actor>,
    pub(super) connections: BTreeMap<String, Connection>,
    /// Replies on their way: the actor, the ticket and the answer.
    pub(super) replies: VecDeque<(usize, Ticket, Result<Reply, Denied>)>,
    pub(super) holding: bool,
    pub(super) ran: VecDeque<String>,
}

/// A session and what the driver keeps for it.
pub(super) struct Actor {
    pub(super) session: Option<Box<dyn Session>>,
    pub(super) key: Option<Box<str>>,
    pub(super) id: SessionId,
    pub(super) principal: Option<Principal>,
    pub(super) outbox: VecDeque<Frame>,
    pub(super) promoted: Option<CarrierId>,
    /// By number: the connection's label, while the carrier lives.
    pub(super) carriers: Vec<Option<String>>,
    pub(super) exchanges: Vec<Option<String>>,
    pub(super) hold: Option<(ExchangeId, Arc<Drain>)>,
    pub(super) subscriptions: Vec<Subscription>,
    /// What is published when the session has ended.
    pub(super) going: Vec<omnivox_core::Draft>,
}

#[derive(Clone)]
pub(super) struct Subscription {
    /// One channel, or a real pattern.
    pub(super) meant: Pattern,
    pub(super) delivery: Delivery,
    pub(super) presence: bool,
}

impl<'d> Stage<'d> {
    /// A stage with shard 0, chunked streams and the first time of day that comes to mind.
    pub fn new(dialect: &'d dyn Dialect) -> Self {
        let now = Instant::now();
        Self {
            dialect,
            began: now,
            now,
            shard: 0,
            stream_framing: Framing::Chunk,
            missed_max: 1000,
            opened: 0,
            hub: Hub::new(),
            actors: Vec::new(),
            connections: BTreeMap::new(),
            replies: VecDeque::new(),
            holding: false,
            ran: VecDeque::new(),
        }
    }

    /// Sessions live on this shard.
    #[must_use]
    pub fn shard(mut self, shard: u16) -> Self {
        self.shard = shard;
        self
    }

    /// How streamed bodies are framed; `Chunk` unless said otherwise.
    #[must_use]
    pub fn stream_framing(mut self, framing: Framing) -> Self {
        self.stream_framing = framing;
        self
    }

    /// How many missed publications an answer gives at most; the rest is `more`.
    #[must_use]
    pub fn missed_max(mut self, most: usize) -> Self {
        self.missed_max = most;
        self
    }

    /// Plays a transcript; panics where it and the dialect differ. May be called again to go on.
    #[track_caller]
    pub fn play(&mut self, text: &str) {
        for step in notation::parse(text) {
            self.play_step(step);
        }
        self.expect_silence(0, "the end");
    }

    pub(super) fn play_step(&mut self, step: Step) {
        let Step { line, label, kind } = step;
        if !matches!(kind, Kind::Expect { .. } | Kind::Ran(_)) {
            self.expect_silence(line, "this step");
        }
        match kind {
            Kind::Request(request) => self.request(&label, request),
            Kind::Text(text) => {
                let (actor, carrier) = self.carrier(&label, line);
                self.input(actor, Input::Text(carrier, &text));
            }
            Kind::Binary(bytes) => {
                let (actor, carrier) = self.carrier(&label, line);
                self.input(actor, Input::Binary(carrier, &bytes));
            }
            Kind::Gone => self.gone(&label),
            Kind::Expect { pattern, headers, without } => self.expect(line, &label, &pattern, &headers, &without),
            Kind::Wait(time) => self.wait(time),
            Kind::Hub(words) => self.hub_words(line, &label, &words),
            Kind::Ran(pattern) => self.expect_ran(line, &pattern),
        }
        self.deliver_replies();
        self.settle();
    }

    // What the client does.

    pub(super) fn request(&mut self, label: &str, written: Written) {
        let websocket = written.method == "WS";
        let method = if websocket { "GET" } else { &written.method };
        let (path, query) = written.target.split_once('?').unwrap_or((&written.target, ""));
        let headers: Vec<(&str, &[u8])> = written.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = Request {
            method,
            path,
            query,
            headers: &headers,
            body: &written.body,
            remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
            secure: false,
            upgrade: if websocket { Upgrade::WebSocket { deflate: false } } else { Upgrade::None },
            stream_framing: self.stream_framing,
        };
        self.opened += 1;
        let session = self.session_id(self.actors.len());
        let context =
            OpenContext { now: self.now, unix_ms: self.unix_ms(), entropy: [self.opened; 32], shard: self.shard, dialect: 7, session };
        let connection = self.connections.entry(label.to_owned()).or_default();
        connection.state = State::Idle;
        connection.head_only = method == "HEAD";
        let actor = match self.dialect.open(&context, &request) {
            Opening::Session(new) => self.admit(new),
            Opening::Join { shard, key } => match self.actor_with_key(shard, &key) {
                Some(actor) => actor,
                None => {
                    let response = self.dialect.unknown_session(&request);
                    return self.connection(label).answer(&response);
                }
            },
            Opening::Respond(response) => return self.connection(label).answer(&response),
        };
        let exchange = ExchangeId(index(self.actors[actor].exchanges.len()));
        self.actors[actor].exchanges.push(Some(label.to_owned()));
        self.connection(label).state = State::Exchange(actor, exchange);
        self.input(actor, Input::Exchange(exchange, &request));
    }

    pub(super) fn admit(&mut self, new: NewSession) -> usize {
        let slot = self.actors.len();
        self.actors.push(Actor {
            session: Some(new.session),
            key: new.key,
            id: self.session_id(slot),
            principal: None,
            outbox: VecDeque::new(),
            promoted: None,
            carriers: Vec::new(),
            exchanges: Vec::new(),
            hold: None,
            subscriptions: Vec::new(),
            going: Vec::new(),
        });
        slot
    }

    fn session_id(&self, slot: usize) -> SessionId {
        SessionId { node: 1, shard: self.shard, slot: index(slot), generation: 0 }
    }

    pub(super) fn actor_with_key(&self, shard: u16, key: &str) -> Option<usize> {
        let live = |actor: &Actor| actor.session.is_some() && actor.key.as_deref() == Some(key);
        self.actors.iter().position(live).filter(|_| shard == self.shard)
    }

    pub(super) fn carrier(&self, label: &str, line: usize) -> (usize, CarrierId) {
        match self.connections.get(label).map(|connection| &connection.state) {
            Some(State::WebSocket(actor, carrier, _) | State::Stream(actor, carrier)) => (*actor, *carrier),
            _ => panic!("line {line}: connection {label:?} is no WebSocket"),
        }
    }

    pub(super) fn gone(&mut self, label: &str) {
        let state = std::mem::take(&mut self.connection(label).state);
        match state {
            State::Idle => {}
            State::Exchange(actor, exchange) => {
                self.actors[actor].exchanges[exchange.0 as usize] = None;
                if self.actors[actor].hold.as_ref().is_some_and(|(held, _)| *held == exchange) {
                    self.actors[actor].hold = None;
                }
                self.input(actor, Input::Abandoned(exchange));
                self.end_without_key(actor);
            }
            State::WebSocket(actor, carrier, _) | State::Stream(actor, carrier) => self.detach(actor, carrier),
        }
    }

    pub(super) fn detach(&mut self, actor: usize, carrier: CarrierId) {
        let known = &mut self.actors[actor];
        known.carriers[carrier.0 as usize] = None;
        if known.promoted == Some(carrier) {
            known.promoted = None;
        }
        self.input(actor, Input::Detached(carrier));
        self.end_without_key(actor);
    }

    /// A session that nobody can find again ends with its last carrier.
    pub(super) fn end_without_key(&mut self, actor: usize) {
        let known = &self.actors[actor];
        let alone = known.carriers.iter().chain(&known.exchanges).all(Option::is_none);
        if known.key.is_none() && alone {
            self.end(actor);
        }
    }

    // What the session does.

    pub(super) fn input(&mut self, actor: usize, input: Input<'_>) {
        let Some(session) = self.actors[actor].session.as_mut() else { return };
        let mut actions = Actions::default();
        session.handle(self.now, input, &mut actions);
        let actions: Vec<Action> = actions.drain().collect();
        for action in actions {
            self.act(actor, action);
        }
    }

    pub(super) fn act(&mut self, actor: usize, action: Action) {
        if self.actors[actor].session.is_none() {
            return;
        }
        match action {
            Action::Send(carrier, frame) => self.send(actor, carrier, frame),
            Action::Push(frame) => self.actors[actor].outbox.push_back(frame),
            Action::Respond(exchange, response) => {
                let label = self.take_exchange(actor, exchange);
                self.actors[actor].hold.take_if(|(held, _)| *held == exchange);
                self.connection(&label).answer(&response);
            }
            Action::Upgrade(exchange, switch) => {
                let label = self.take_exchange(actor, exchange);
                let protocol = switch.subprotocol.map(|name| ("sec-websocket-protocol".to_owned(), name.to_string()));
                let headers = switch.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned()));
                let seen = Seen { line: "101".to_owned(), headers: protocol.into_iter().chain(headers).collect() };
                self.connection(&label).seen.push_back(seen);
                let carrier = self.attach(actor, exchange, &label);
                let decoder = Box::new(Decoder::new(Role::Client, 64 << 20, None));
                self.connection(&label).state = State::WebSocket(actor, carrier, decoder);
                self.input(actor, Input::Attached(exchange, carrier));
            }
            Action::Stream(exchange, head) => {
                let label = self.take_exchange(actor, exchange);
                let carrier = self.attach(actor, exchange, &label);
                let connection = self.connection(&label);
                connection.see_head(&head, "");
                if !head.body.is_empty() {
                    connection.seen.push_back(Seen::line(shown(&head.body)));
                }
                connection.state = State::Stream(actor, carrier);
                self.input(actor, Input::Attached(exchange, carrier));
            }
            Action::Hold(exchange, drain) => self.actors[actor].hold = Some((exchange, drain)),
            Action::Run(ticket, command) => self.run(actor, ticket, command),
            Action::Promote(carrier) => self.actors[actor].promoted = Some(carrier),
            Action::Close(carrier) => self.close_carrier(actor, carrier),
            Action::End => self.end(actor),
        }
    }

    pub(super) fn take_exchange(&mut self, actor: usize, exchange: ExchangeId) -> String {
        let slot = self.actors[actor].exchanges.get_mut(exchange.0 as usize);
        slot.and_then(Option::take).unwrap_or_else(|| panic!("{exchange:?} is answered twice or never was"))
    }

    /// A carrier of the session; the one that the opening request became is promoted by itself.
    pub(super) fn attach(&mut self, actor: usize, exchange: ExchangeId, label: &str) -> CarrierId {
        let known = &mut self.actors[actor];
        let carrier = CarrierId(index(known.carriers.len()));
        known.carriers.push(Some(label.to_owned()));
        if exchange.0 == 0 {
            known.promoted = Some(carrier);
        }
        carrier
    }

    pub(super) fn send(&mut self, actor: usize, carrier: CarrierId, frame: Frame) {
        let known = &mut self.actors[actor];
        if known.promoted == Some(carrier) {
            known.outbox.push_back(frame);
            return;
        }
        if let Some(label) = known.carriers.get(carrier.0 as usize).cloned().flatten() {
            self.connection(&label).receive(&frame);
        }
    }

    /// Writes what waits in the outbox, to the promoted carrier or as the answer of a held request.
    pub(super) fn flush(&mut self, actor: usize) {
        let known = &mut self.actors[actor];
        if known.outbox.is_empty() {
            return;
        }
        if let Some((exchange, drain)) = known.hold.take() {
            let frames: Vec<Frame> = known.outbox.drain(..).collect();
            let label = self.take_exchange(actor, exchange);
            self.connection(&label).answer(&drained(&drain, &frames));
            self.input(actor, Input::Answered(exchange));
            return;
        }
        let carrier = known.promoted.and_then(|carrier| known.carriers.get(carrier.0 as usize).cloned().flatten());
        if let Some(label) = carrier {
            let frames: Vec<Frame> = known.outbox.drain(..).collect();
            for frame in frames {
                self.connection(&label).receive(&frame);
            }
        }
    }

    pub(super) fn close_carrier(&mut self, actor: usize, carrier: CarrierId) {
        self.flush(actor);
        if let Some(label) = self.actors[actor].carriers.get(carrier.0 as usize).cloned().flatten() {
            self.connection(&label).close();
            self.detach(actor, carrier);
        }
    }

    pub(super) fn end(&mut self, actor: usize) {
        self.flush(actor);
        let known = &mut self.actors[actor];
        if known.session.take().is_none() {
            return;
        }
        known.subscriptions.clear();
        let going = std::mem::take(&mut known.going);
        let labels: Vec<String> = known.carriers.iter_mut().chain(&mut known.exchanges).filter_map(Option::take).collect();
        let id = known.id;
        for label in labels {
            self.connection(&label).close();
        }
        for event in self.hub.leave_all(id) {
            self.announce_presence(event);
        }
        for draft in going {
            self.publish(draft);
        }
    }

    pub(super) fn hub_words(&mut self, line: usize, label: &str, words: &str) {
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        match verb {
            "user" => self.hub.set_user(rest),
            "deny" => self.hub.deny(rest),
            "grant" => self.hub.grant(rest),
            "publish" => {
                self.publish(hub::draft(rest));
            }
            "enter" | "leave" => self.somebody(verb, rest),
            "keep" => self.hub.keep(rest.parse().unwrap_or_else(|_| panic!("line {line}: no count: {rest}")), self.unix_ms()),
            "gap" => self.tell_subscribers(&Event::Gap(hub::name(rest)), |_| true),
            "epoch" => self.hub.begin_epoch(rest),
            "close" => {
                let reason = close_reason(rest).unwrap_or_else(|| panic!("line {line}: no reason to close: {rest}"));
                self.control(label, |_| Control::Close(reason), true);
            }
            "direct" => {
                let publication = self.hub.direct(hub::draft(&format!("direct {rest}")), self.unix_ms());
                self.control(label, |_| Control::Direct(publication.clone()), false);
            }
            "unsubscribed" => {
                let channel = hub::name(rest);
                for actor in &mut self.actors {
                    actor.subscriptions.retain(|known| known.meant != Pattern::Exact(channel.clone()));
                }
                self.control(label, |_| Control::Unsubscribed(channel.clone()), false);
            }
            "hold" => self.holding = true,
            "release" => self.holding = false,
            other => panic!("line {line}: the hub knows no {other:?}"),
        }
    }

    /// Somebody else comes to or goes from a presence set.
    pub(super) fn somebody(&mut self, verb: &str, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let channel = hub::name(words.next().unwrap_or_default());
        let user = words.next().expect("a user");
        let data = words.next().map(|data| Bytes::from(data.to_owned()));
        let session = SessionId { node: 9, shard: 0, slot: 0, generation: 0 };
        let event = match verb {
            "enter" => {
                let member = Member { session, key: user.into(), user: Some(UserId::parse(user).expect("a user name")), data };
                self.hub.enter(&channel, member)
            }
            _ => self.hub.leave(&channel, session, user),
        };
        if let Some(event) = event {
            self.announce_presence(event);
        }
    }

    pub(super) fn control(&mut self, label: &str, control: impl Fn(usize) -> Control, ends: bool) {
        let only = self.connections.get(label).and_then(Connection::actor).filter(|_| !label.is_empty());
        for actor in 0..self.actors.len() {
            if only.is_none_or(|only| only == actor) && self.actors[actor].session.is_some() {
                self.input(actor, Input::Control(control(actor)));
                if ends {
                    self.end(actor);
                }
            }
        }
    }

    // Time and order.

    pub(super) fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from((self.now - self.began).as_millis()).unwrap_or_default()
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for round in 0.. {
            assert!(round < 10_000, "a session's timeout never ends");
            let due = self.actors.iter().enumerate().filter_map(|(index, actor)| {
                let at = actor.session.as_ref()?.next_timeout()?;
                (at <= until).then_some((at, index))
            });
            let Some((at, actor)) = due.min() else { break };
            self.now = self.now.max(at);
            self.input(actor, Input::Timeout);
            self.deliver_replies();
            self.settle();
        }
        self.now = until;
    }

    pub(super) fn deliver_replies(&mut self) {
        while !self.holding {
            self.settle();
            let Some((actor, ticket, answer)) = self.replies.pop_front() else { return };
            self.input(actor, Input::Reply(ticket, answer));
        }
    }

    pub(super) fn settle(&mut self) {
        for actor in 0..self.actors.len() {
            self.flush(actor);
        }
    }

    // What was expected.

    pub(super) fn expect(&mut self, line: usize, label: &str, pattern: &str, headers: &[(String, String)], without: &[String]) {
        let Some(seen) = self.connection(label).seen.pop_front() else {
            panic!("line {line}: expected, but nothing came\n  {label}< {pattern}");
        };
        assert!(fits(pattern, &seen.line), "line {line}: expected\n  {label}< {pattern}\ncame\n  {label}< {}", seen.line);
        for (name, value) in headers {
            let found = seen.headers.iter().any(|(known, text)| known == name && fits(value, text));
            assert!(found, "line {line}: no header `{name}: {value}` in {:#?}", seen.headers);
        }
        for name in without {
            assert!(!seen.headers.iter().any(|(known, _)| known == name), "line {line}: header `{name}` in {:#?}", seen.headers);
        }
    }

    pub(super) fn expect_silence(&self, line: usize, what: &str) {
        for (label, connection) in &self.connections {
            let seen: String = connection.seen.iter().map(|seen| format!("\n  {label}< {}", seen.line)).collect();
            assert!(seen.is_empty(), "line {line}: before {what} this came unexpectedly{seen}");
        }
    }

    pub(super) fn expect_ran(&mut self, line: usize, pattern: &str) {
        let ran: Vec<String> = self.ran.iter().cloned().collect();
        while let Some(command) = self.ran.pop_front() {
            if fits(pattern, &command) {
                return;
            }
        }
        panic!("line {line}: no command like\n  ? {pattern}\nwas run, but\n  {}", ran.join("\n  "));
    }

    pub(super) fn connection(&mut self, label: &str) -> &mut Connection {
        self.connections.entry(label.to_owned()).or_default()
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 of anything")
}
