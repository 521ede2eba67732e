//! The model driver: sessions, carriers and exchanges as the real driver treats them, in one thread and in written time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use omnivox_core::command::{Delivery, Enter, Replay, Subscribe, Subscribed};
use omnivox_core::event::Member;
use omnivox_core::http::Upgrade;
use omnivox_core::room::{Claim, Peer, SEAT_MARK, Seat, Seated, Signal, is_polite};
use omnivox_core::session::{Drain, NewSession, OpenContext};
use omnivox_core::{
    Action, Actions, CarrierId, ChannelName, Command, Control, Denied, Dialect, Event, ExchangeId, Frame, Framing, Grant, Input, Opening,
    Pattern, Permissions, PresenceEvent, Principal, Publication, Reply, Request, Session, SessionId, Ticket, UserId,
};
use omnivox_wire::ws::{Decoder, Role};

use super::connection::{Connection, State, drained};
use super::hub::{self, Hub};
use super::notation::{self, Kind, Step, Written};
use super::words::{came, close_reason, described};
use super::{Seen, fits, shown};

/// A dialect under test with everything around it.
pub struct Stage<'d> {
    dialect: &'d dyn Dialect,
    began: Instant,
    now: Instant,
    shard: u16,
    stream_framing: Framing,
    missed_max: usize,
    opened: u8,
    hub: Hub,
    actors: Vec<Actor>,
    connections: BTreeMap<String, Connection>,
    /// Replies on their way: the actor, the ticket and the answer.
    replies: VecDeque<(usize, Ticket, Result<Reply, Denied>)>,
    holding: bool,
    ran: VecDeque<String>,
}

/// A session and what the driver keeps for it.
struct Actor {
    session: Option<Box<dyn Session>>,
    key: Option<Box<str>>,
    id: SessionId,
    principal: Option<Principal>,
    outbox: VecDeque<Frame>,
    promoted: Option<CarrierId>,
    /// By number: the connection's label, while the carrier lives.
    carriers: Vec<Option<String>>,
    exchanges: Vec<Option<String>>,
    hold: Option<(ExchangeId, Box<Drain>)>,
    subscriptions: Vec<Subscription>,
}

#[derive(Clone)]
struct Subscription {
    /// One channel, or a real pattern.
    meant: Pattern,
    delivery: Delivery,
    presence: bool,
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

    fn play_step(&mut self, step: Step) {
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

    fn request(&mut self, label: &str, written: Written) {
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
        let context = OpenContext { now: self.now, unix_ms: self.unix_ms(), entropy: [self.opened; 32], shard: self.shard, dialect: 7 };
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

    fn admit(&mut self, new: NewSession) -> usize {
        let slot = self.actors.len();
        self.actors.push(Actor {
            session: Some(new.session),
            key: new.key,
            id: SessionId { node: 1, shard: self.shard, slot: index(slot), generation: 0 },
            principal: None,
            outbox: VecDeque::new(),
            promoted: None,
            carriers: Vec::new(),
            exchanges: Vec::new(),
            hold: None,
            subscriptions: Vec::new(),
        });
        slot
    }

    fn actor_with_key(&self, shard: u16, key: &str) -> Option<usize> {
        let live = |actor: &Actor| actor.session.is_some() && actor.key.as_deref() == Some(key);
        self.actors.iter().position(live).filter(|_| shard == self.shard)
    }

    fn carrier(&self, label: &str, line: usize) -> (usize, CarrierId) {
        match self.connections.get(label).map(|connection| &connection.state) {
            Some(State::WebSocket(actor, carrier, _) | State::Stream(actor, carrier)) => (*actor, *carrier),
            _ => panic!("line {line}: connection {label:?} is no WebSocket"),
        }
    }

    fn gone(&mut self, label: &str) {
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

    fn detach(&mut self, actor: usize, carrier: CarrierId) {
        let known = &mut self.actors[actor];
        known.carriers[carrier.0 as usize] = None;
        if known.promoted == Some(carrier) {
            known.promoted = None;
        }
        self.input(actor, Input::Detached(carrier));
        self.end_without_key(actor);
    }

    /// A session that nobody can find again ends with its last carrier.
    fn end_without_key(&mut self, actor: usize) {
        let known = &self.actors[actor];
        let alone = known.carriers.iter().chain(&known.exchanges).all(Option::is_none);
        if known.key.is_none() && alone {
            self.end(actor);
        }
    }

    // What the session does.

    fn input(&mut self, actor: usize, input: Input<'_>) {
        let Some(session) = self.actors[actor].session.as_mut() else { return };
        let mut actions = Actions::default();
        session.handle(self.now, input, &mut actions);
        let actions: Vec<Action> = actions.drain().collect();
        for action in actions {
            self.act(actor, action);
        }
    }

    fn act(&mut self, actor: usize, action: Action) {
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
            Action::Upgrade(exchange, subprotocol) => {
                let label = self.take_exchange(actor, exchange);
                let headers = subprotocol.map(|name| ("sec-websocket-protocol".to_owned(), name.to_string()));
                let seen = Seen { line: "101".to_owned(), headers: headers.into_iter().collect() };
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

    fn take_exchange(&mut self, actor: usize, exchange: ExchangeId) -> String {
        let slot = self.actors[actor].exchanges.get_mut(exchange.0 as usize);
        slot.and_then(Option::take).unwrap_or_else(|| panic!("{exchange:?} is answered twice or never was"))
    }

    /// A carrier of the session; the one that the opening request became is promoted by itself.
    fn attach(&mut self, actor: usize, exchange: ExchangeId, label: &str) -> CarrierId {
        let known = &mut self.actors[actor];
        let carrier = CarrierId(index(known.carriers.len()));
        known.carriers.push(Some(label.to_owned()));
        if exchange.0 == 0 {
            known.promoted = Some(carrier);
        }
        carrier
    }

    fn send(&mut self, actor: usize, carrier: CarrierId, frame: Frame) {
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
    fn flush(&mut self, actor: usize) {
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

    fn close_carrier(&mut self, actor: usize, carrier: CarrierId) {
        self.flush(actor);
        if let Some(label) = self.actors[actor].carriers.get(carrier.0 as usize).cloned().flatten() {
            self.connection(&label).close();
            self.detach(actor, carrier);
        }
    }

    fn end(&mut self, actor: usize) {
        self.flush(actor);
        let known = &mut self.actors[actor];
        if known.session.take().is_none() {
            return;
        }
        known.subscriptions.clear();
        let labels: Vec<String> = known.carriers.iter_mut().chain(&mut known.exchanges).filter_map(Option::take).collect();
        let id = known.id;
        for label in labels {
            self.connection(&label).close();
        }
        for event in self.hub.leave_all(id) {
            self.announce_presence(event);
        }
    }

    // What the hub does.

    fn run(&mut self, actor: usize, ticket: Ticket, command: Command) {
        let (kind, words) = described(&command);
        self.ran.push_back(words);
        self.ran.extend(came(&command));
        let answer = match self.hub.refusal(kind) {
            Some(denied) => Err(denied),
            None => self.execute(actor, command),
        };
        self.replies.push_back((actor, ticket, answer));
    }

    fn execute(&mut self, actor: usize, command: Command) -> Result<Reply, Denied> {
        assert!(
            self.actors[actor].principal.is_some() || matches!(command, Command::Connect(_)),
            "nothing may be run before the session is connected: {command:?}"
        );
        let id = self.actors[actor].id;
        Ok(match command {
            Command::Connect(connect) => {
                let principal = self.hub.connect(&connect);
                self.actors[actor].principal = Some(principal.clone());
                Reply::Connected(Arc::new(principal))
            }
            Command::Subscribe(subscribe) => self.subscribe(actor, *subscribe),
            Command::Unsubscribe(channel) => {
                self.unsubscribe(actor, &Pattern::Exact(channel));
                Reply::Unsubscribed
            }
            Command::UnsubscribePattern(pattern) => {
                self.unsubscribe(actor, &pattern);
                Reply::Unsubscribed
            }
            Command::Appear(enter) => return self.enter(actor, *enter),
            Command::Present(pattern) => Reply::Present(self.hub.present(&pattern)),
            Command::Locate(name) => Reply::Located { found: self.hub.locate(&name), now: self.hub.cursor() },
            Command::Publish(drafts) => {
                let mut results = Vec::new();
                for mut draft in drafts {
                    draft.published_by(id);
                    results.push(match self.hub.refusal("item") {
                        Some(denied) => Err(denied),
                        None => Ok(self.publish(*draft)),
                    });
                }
                Reply::Published(results)
            }
            Command::Enter(enter) => return self.enter(actor, *enter),
            Command::Leave(channel, key) => {
                if let Some(event) = self.hub.leave(&channel, id, &key) {
                    self.announce_presence(event);
                }
                Reply::Left
            }
            Command::Members(channel) => Reply::Members(self.hub.members(&channel)),
            Command::History(channel, query) => Reply::History(self.hub.history(&channel, &query)),
            Command::Channels(prefix) => Reply::Channels(self.hub.channels(&prefix)),
            Command::Manage(_) => Reply::Managed,
            Command::Ticket => Reply::Ticket("ticket".into(), 30_000),
            Command::Seat(seat) => self.seat(actor, *seat),
            Command::Signal(signal) => return self.signal(actor, &signal),
            Command::Ice(_) => Reply::Ice(Box::new(hub::ice())),
        })
    }

    fn unsubscribe(&mut self, actor: usize, meant: &Pattern) {
        self.actors[actor].subscriptions.retain(|known| known.meant != *meant);
    }

    fn subscribe(&mut self, actor: usize, subscribe: Subscribe) -> Reply {
        // A replay goes on until it is complete, an answer holds a page.
        let most = if subscribe.replay == Replay::InReply { self.missed_max } else { usize::MAX - 1 };
        let found = self.hub.subscribe(&subscribe.channels, &subscribe.patterns, subscribe.since, most.saturating_add(1));
        let hub::Found { states, patterns, app: cursor, mut missed } = found;
        missed.retain(|(publication, _)| self.is_meant(actor, publication));
        let more = missed.len() > most;
        missed.truncate(most);
        let mut subscribed = Subscribed { channels: states.into(), patterns, cursor, missed: Vec::new(), more };
        if subscribe.replay == Replay::InReply {
            subscribed.missed = missed;
            if subscribed.gap() || !subscribed.missed.is_empty() {
                return Reply::Subscribed(Box::new(subscribed));
            }
        } else {
            // A gap is told before what follows it, so that a cut in the replay does not hide it.
            for channel in subscribed.channels.iter().filter(|channel| channel.gap) {
                self.give(actor, &subscribe.delivery, &Event::Gap(channel.channel.clone()));
            }
            if patterns.is_some_and(|patterns| patterns.gap) {
                for pattern in &subscribe.patterns {
                    self.give(actor, &subscribe.delivery, &Event::Gap(pattern.label()));
                }
            }
            for (publication, place) in missed {
                self.give(actor, &subscribe.delivery, &Event::Publication(publication, place));
            }
        }
        for meant in subscribe.channels.into_iter().map(Pattern::Exact).chain(subscribe.patterns) {
            self.unsubscribe(actor, &meant);
            let subscription = Subscription { meant, delivery: subscribe.delivery.clone(), presence: subscribe.presence };
            self.actors[actor].subscriptions.push(subscription);
        }
        Reply::Subscribed(Box::new(subscribed))
    }

    fn publish(&mut self, draft: omnivox_core::Draft) -> omnivox_core::engine::Published {
        let at_ms = self.unix_ms();
        let (published, fresh) = self.hub.publish(draft, at_ms);
        if let Some(publication) = fresh {
            self.announce(&publication);
        }
        published
    }

    /// Whether a session belongs to the audience of a publication.
    fn is_meant(&self, actor: usize, publication: &Publication) -> bool {
        let (known, draft) = (&self.actors[actor], &publication.draft);
        let Some(principal) = &known.principal else { return false };
        let covers = |grant: &Grant| draft.channels.iter().any(|channel| grant.pattern.matches(channel.as_str()));
        let granted = principal.grants.iter().any(|grant| grant.permissions.contains(Permissions::SUBSCRIBE) && covers(grant));
        let excluded = |channel: &ChannelName| known.subscriptions.iter().any(|known| known.meant == Pattern::Exact(channel.clone()));
        !draft.audience.except_channels.iter().any(excluded)
            && draft.audience.admits(known.id, principal.user.as_ref())
            && (!draft.audience.granted_only || granted)
    }

    /// Gives a publication once to every session that is in one of its channels and in its audience.
    fn announce(&mut self, publication: &Arc<Publication>) {
        for actor in 0..self.actors.len() {
            if !self.is_meant(actor, publication) {
                continue;
            }
            let known = &self.actors[actor];
            let found = publication.places.iter().enumerate().find_map(|(index, place)| {
                let subscription = known.subscriptions.iter().find(|known| known.meant.matches(place.channel.as_str()))?;
                Some((index, subscription.delivery.clone()))
            });
            if let Some((place, delivery)) = found {
                self.give(actor, &delivery, &Event::Publication(publication.clone(), place));
            }
        }
    }

    fn announce_presence(&mut self, event: PresenceEvent) {
        let event = Event::Presence(Arc::new(event));
        self.tell_subscribers(&event, |subscription| subscription.presence);
    }

    fn tell_subscribers(&mut self, event: &Event, wanted: impl Fn(&Subscription) -> bool) {
        for actor in 0..self.actors.len() {
            let mut subscriptions = self.actors[actor].subscriptions.iter();
            let found = subscriptions.find(|known| known.meant.matches(event.channel().as_str()) && wanted(known)).cloned();
            if let Some(subscription) = found {
                self.give(actor, &subscription.delivery, event);
            }
        }
    }

    fn give(&mut self, actor: usize, delivery: &Delivery, event: &Event) {
        match delivery {
            Delivery::Stateful => self.input(actor, Input::Event(event)),
            Delivery::Shared(key) => {
                if let Some(frame) = self.dialect.encode(key, event, &mut BytesMut::new()) {
                    self.actors[actor].outbox.push_back(frame);
                }
            }
            Delivery::Once(key) => {
                let Some(frame) = self.dialect.encode(key, event, &mut BytesMut::new()) else { return };
                let known = &mut self.actors[actor];
                known.subscriptions.clear();
                if let Some(label) = known.exchanges.iter_mut().find_map(Option::take) {
                    self.connection(&label).answer_bytes(frame.wire());
                }
                self.end(actor);
            }
        }
    }

    fn enter(&mut self, actor: usize, enter: Enter) -> Result<Reply, Denied> {
        let known = &self.actors[actor];
        if enter.update_only && !self.hub.is_in(&enter.channel, known.id, &enter.key) {
            return Err(Denied::NotFound("there is no such entry in the presence set".into()));
        }
        let user = known.principal.as_ref().and_then(|principal| principal.user.clone());
        let member = Member { session: known.id, key: enter.key, user, data: enter.data };
        if let Some(event) = self.hub.enter(&enter.channel, member) {
            self.announce_presence(event);
        }
        Ok(Reply::Entered)
    }

    /// Gives a seat: `~N` for the Nth secret that was ever shown, `~NAME` for a name that nobody else has.
    fn seat(&mut self, actor: usize, seat: Seat) -> Reply {
        let id = self.actors[actor].id;
        let Some((key, data)) = self.hub.claim(&seat) else { return Reply::Taken };
        let key: Arc<str> = key.into();
        let members = self.hub.members(&seat.channel);
        if members.iter().any(|other| other.key == key && other.session != id && other.data != data) {
            return Reply::Taken;
        }
        let user = self.actors[actor].principal.as_ref().and_then(|principal| principal.user.clone());
        let own = Member { session: id, key: key.clone(), user, data };
        let entered = self.hub.enter(&seat.channel, own);
        let old = members.iter().filter(|other| other.key == key && other.session != id);
        let left: Vec<_> = old.filter_map(|old| self.hub.leave(&seat.channel, old.session, &old.key)).collect();
        entered.into_iter().chain(left).for_each(|event| self.announce_presence(event));
        let others = members.into_iter().filter(|other| other.key != key && other.key.starts_with(SEAT_MARK));
        let peers = others.map(|member| Peer { polite: is_polite(&key, &member.key), member }).collect();
        let ice = matches!(seat.claim, Claim::Secret { .. }).then(|| Box::new(hub::ice()));
        Reply::Seated(Box::new(Seated { member: key, peers, ice }))
    }

    fn signal(&mut self, actor: usize, signal: &Signal) -> Result<Reply, Denied> {
        let members = self.hub.members(&signal.channel);
        let own = members.iter().find(|member| member.session == self.actors[actor].id && member.key.starts_with(SEAT_MARK));
        let from = own.ok_or_else(|| Denied::Forbidden("take a seat first".into()))?;
        let to: Vec<SessionId> = members.iter().filter(|member| member.key == signal.to).map(|member| member.session).collect();
        if to.is_empty() {
            return Err(Denied::NotFound("that member is not in the room, or no longer".into()));
        }
        let publication = self.hub.direct(signal.draft(&from.key, to.iter().copied()), self.unix_ms());
        for other in 0..self.actors.len() {
            if to.contains(&self.actors[other].id) && self.actors[other].session.is_some() {
                self.input(other, Input::Control(Control::Direct(publication.clone())));
            }
        }
        Ok(Reply::Signalled)
    }

    fn hub_words(&mut self, line: usize, label: &str, words: &str) {
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
    fn somebody(&mut self, verb: &str, rest: &str) {
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

    fn control(&mut self, label: &str, control: impl Fn(usize) -> Control, ends: bool) {
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

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from((self.now - self.began).as_millis()).unwrap_or_default()
    }

    fn wait(&mut self, time: Duration) {
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

    fn deliver_replies(&mut self) {
        while !self.holding {
            self.settle();
            let Some((actor, ticket, answer)) = self.replies.pop_front() else { return };
            self.input(actor, Input::Reply(ticket, answer));
        }
    }

    fn settle(&mut self) {
        for actor in 0..self.actors.len() {
            self.flush(actor);
        }
    }

    // What was expected.

    fn expect(&mut self, line: usize, label: &str, pattern: &str, headers: &[(String, String)], without: &[String]) {
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

    fn expect_silence(&self, line: usize, what: &str) {
        for (label, connection) in &self.connections {
            let seen: String = connection.seen.iter().map(|seen| format!("\n  {label}< {}", seen.line)).collect();
            assert!(seen.is_empty(), "line {line}: before {what} this came unexpectedly{seen}");
        }
    }

    fn expect_ran(&mut self, line: usize, pattern: &str) {
        let ran: Vec<String> = self.ran.iter().cloned().collect();
        while let Some(command) = self.ran.pop_front() {
            if fits(pattern, &command) {
                return;
            }
        }
        panic!("line {line}: no command like\n  ? {pattern}\nwas run, but\n  {}", ran.join("\n  "));
    }

    fn connection(&mut self, label: &str) -> &mut Connection {
        self.connections.entry(label.to_owned()).or_default()
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 of anything")
}
