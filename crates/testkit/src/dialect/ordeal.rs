//! Garbage: clients that say anything at any time, and a driver that counts what becomes of their requests.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use omnivox_core::command::{Delivery, Subscribed, SubscribedChannel, SubscribedPatterns};
use omnivox_core::engine::Published;
use omnivox_core::http::Upgrade;
use omnivox_core::publication::Place;
use omnivox_core::session::{NewSession, OpenContext};
use omnivox_core::{
    Action, Actions, AppId, CarrierId, CloseReason, Command, Control, Cursor, Denied, Dialect, Draft, Epoch, Event, ExchangeId, Frame,
    Framing, Input, Opening, Position, Principal, Publication, Reply, Request, Response, Session, SessionId, Ticket,
};
use omnivox_wire::ws::{Decoder, Role};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::Conversations;

/// Random clients do random things to the dialect; fails when it panics, writes an illegal frame, or leaves a request without its answer.
#[track_caller]
pub fn endures(dialect: &dyn Dialect, conversations: &Conversations) {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(300) });
    let steps = prop::collection::vec(step(conversations), 1..25);
    let outcome = runner.run(&steps, |steps| {
        let mut ordeal = Ordeal::new(dialect);
        steps.iter().for_each(|step| ordeal.take(step));
        ordeal.finish();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{}: {error}", dialect.name());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Request {
        door: &'static str,
        tail: String,
        body: String,
    },
    Text(Index, String),
    Binary(Index, Vec<u8>),
    Gone(Index),
    Wait(u64),
    /// Whether the hub refuses from now on.
    Refuse(bool),
    /// Whether replies wait from now on.
    Hold(bool),
}

fn step(conversations: &Conversations) -> impl Strategy<Value = Step> + use<> {
    let word = prop::sample::select(conversations.words);
    let changed = (word.clone(), any::<Index>(), any::<char>(), any::<bool>()).prop_map(|(word, at, c, cut)| {
        let mut letters: Vec<char> = word.chars().collect();
        if !letters.is_empty() {
            let at = at.index(letters.len());
            letters[at] = c;
            letters.truncate(if cut { at } else { letters.len() });
        }
        letters.into_iter().collect()
    });
    let text = prop_oneof![4 => word.prop_map(str::to_owned), 2 => changed, 1 => any::<String>()].boxed();
    let bytes = prop_oneof![text.clone().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..40)];
    let tail = prop_oneof![4 => Just(String::new()), 1 => "[!-~]{0,12}"];
    prop_oneof![
        4 => (prop::sample::select(conversations.doors), tail, text.clone()).prop_map(|(door, tail, body)| Step::Request { door, tail, body }),
        8 => (any::<Index>(), text).prop_map(|(to, text)| Step::Text(to, text)),
        2 => (any::<Index>(), bytes).prop_map(|(to, bytes)| Step::Binary(to, bytes)),
        1 => any::<Index>().prop_map(Step::Gone),
        1 => (0..40u64).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Refuse),
        1 => any::<bool>().prop_map(Step::Hold),
    ]
}

struct Ordeal<'d> {
    dialect: &'d dyn Dialect,
    now: Instant,
    opened: u8,
    stamp: u64,
    refusing: bool,
    holding: bool,
    clients: Vec<Client>,
}

/// A session and what the driver knows of it.
struct Client {
    session: Option<Box<dyn Session>>,
    key: Option<Box<str>>,
    exchanges: Vec<Exchange>,
    carriers: Vec<Carrier>,
    promoted: Option<usize>,
    outbox: usize,
    deliveries: Vec<Delivery>,
    asked: VecDeque<(Ticket, Command)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Exchange {
    Waits,
    Held,
    Over,
}

enum Carrier {
    WebSocket(Box<Decoder>),
    Stream,
    Gone,
}

impl<'d> Ordeal<'d> {
    fn new(dialect: &'d dyn Dialect) -> Self {
        Self { dialect, now: Instant::now(), opened: 0, stamp: 0, refusing: false, holding: false, clients: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Request { door, tail, body } => self.request(door, tail, body.as_bytes()),
            Step::Text(to, text) => self.say(to, |carrier| Input::Text(carrier, text)),
            Step::Binary(to, bytes) => self.say(to, |carrier| Input::Binary(carrier, bytes)),
            Step::Gone(who) => self.gone(who),
            Step::Wait(time_s) => self.wait(Duration::from_secs(*time_s)),
            Step::Refuse(refusing) => self.refusing = *refusing,
            Step::Hold(holding) => self.holding = *holding,
        }
        self.reply();
    }

    /// Time goes on until nothing more happens by itself; then the server goes. By then every request must have been answered.
    fn finish(&mut self) {
        self.holding = false;
        self.reply();
        self.wait(Duration::from_secs(600));
        for client in 0..self.clients.len() {
            self.input(client, Input::Control(Control::Close(CloseReason::Drain)));
            self.end(client);
        }
    }

    // What clients do.

    fn request(&mut self, door: &str, tail: &str, body: &[u8]) {
        let key = self.clients.iter().rev().find_map(|client| client.key.clone()).unwrap_or_else(|| "none".into());
        let door = door.replace("$key", &key);
        let mut lines = door.lines();
        let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("a method and a target");
        let target = format!("{target}{tail}");
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let headers: Vec<(&str, &[u8])> =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name, value.as_bytes())).collect();
        let websocket = method == "WS";
        let request = Request {
            method: if websocket { "GET" } else { method },
            path,
            query,
            headers: &headers,
            body: if websocket { &[] } else { body },
            remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
            secure: false,
            upgrade: if websocket { Upgrade::WebSocket { deflate: false } } else { Upgrade::None },
            stream_framing: Framing::Chunk,
        };
        self.opened = self.opened.wrapping_add(1);
        let session = SessionId { node: 1, shard: 0, slot: number(self.clients.len()), generation: 0 };
        let context = OpenContext { now: self.now, unix_ms: 1_700_000_000_000, entropy: [self.opened; 32], shard: 0, dialect: 7, session };
        let client = match self.dialect.open(&context, &request) {
            Opening::Respond(response) => return is_answer(&response),
            Opening::Session(new) => self.admit(new),
            Opening::Join { key, .. } => {
                let found = self.clients.iter().position(|client| client.session.is_some() && client.key.as_ref() == Some(&key));
                match found {
                    Some(client) => client,
                    None => return is_answer(&self.dialect.unknown_session(&request)),
                }
            }
        };
        let exchanges = &mut self.clients[client].exchanges;
        exchanges.push(Exchange::Waits);
        let exchange = ExchangeId(number(exchanges.len() - 1));
        self.input(client, Input::Exchange(exchange, &request));
    }

    fn admit(&mut self, new: NewSession) -> usize {
        self.clients.push(Client {
            session: Some(new.session),
            key: new.key,
            exchanges: Vec::new(),
            carriers: Vec::new(),
            promoted: None,
            outbox: 0,
            deliveries: Vec::new(),
            asked: VecDeque::new(),
        });
        self.clients.len() - 1
    }

    fn say<'i>(&mut self, to: &Index, input: impl FnOnce(CarrierId) -> Input<'i>) {
        let open = |carrier: &Carrier| matches!(carrier, Carrier::WebSocket(_));
        if let Some((client, carrier)) = self.pick(to, open) {
            self.input(client, input(carrier));
        }
    }

    fn gone(&mut self, who: &Index) {
        if let Some((client, carrier)) = self.pick(who, |carrier| !matches!(carrier, Carrier::Gone)) {
            self.detach(client, carrier.0 as usize);
        }
    }

    /// One of the carriers that are such.
    fn pick(&self, which: &Index, such: impl Fn(&Carrier) -> bool) -> Option<(usize, CarrierId)> {
        let all =
            self.clients.iter().enumerate().flat_map(|(client, known)| known.carriers.iter().enumerate().map(move |found| (client, found)));
        let found: Vec<_> =
            all.filter(|(_, (_, carrier))| such(carrier)).map(|(client, (at, _))| (client, CarrierId(number(at)))).collect();
        (!found.is_empty()).then(|| found[which.index(found.len())])
    }

    fn detach(&mut self, client: usize, carrier: usize) {
        let known = &mut self.clients[client];
        known.carriers[carrier] = Carrier::Gone;
        known.promoted.take_if(|promoted| *promoted == carrier);
        self.input(client, Input::Detached(CarrierId(number(carrier))));
        let known = &self.clients[client];
        let alone = known.carriers.iter().all(|carrier| matches!(carrier, Carrier::Gone))
            && known.exchanges.iter().all(|state| *state == Exchange::Over);
        if known.key.is_none() && alone {
            self.end(client);
        }
    }

    // What sessions do.

    fn input(&mut self, client: usize, input: Input<'_>) {
        let Some(session) = self.clients[client].session.as_mut() else { return };
        let mut actions = Actions::default();
        session.handle(self.now, input, &mut actions);
        for action in actions.drain().collect::<Vec<_>>() {
            self.act(client, action);
        }
        self.flush(client);
    }

    fn act(&mut self, client: usize, action: Action) {
        let known = &mut self.clients[client];
        if known.session.is_none() {
            return;
        }
        match action {
            Action::Send(carrier, frame) => known.receive(Some(carrier.0 as usize), &frame),
            Action::Push(frame) => known.receive(known.promoted, &frame),
            Action::Respond(exchange, response) => {
                is_answer(&response);
                known.answer(exchange);
            }
            Action::Upgrade(exchange, _) => {
                self.attach(client, exchange, Carrier::WebSocket(Box::new(Decoder::new(Role::Client, 64 << 20, None))));
            }
            Action::Stream(exchange, head) => {
                is_answer(&head);
                self.attach(client, exchange, Carrier::Stream);
            }
            Action::Hold(exchange, _) => {
                let state = &mut known.exchanges[exchange.0 as usize];
                assert_ne!(*state, Exchange::Over, "{exchange:?} is held after its answer");
                *state = Exchange::Held;
            }
            Action::Run(ticket, command) => known.asked.push_back((ticket, command)),
            Action::Promote(carrier) => known.promoted = Some(carrier.0 as usize),
            Action::Close(carrier) if !matches!(known.carriers.get(carrier.0 as usize), None | Some(Carrier::Gone)) => {
                self.detach(client, carrier.0 as usize);
            }
            Action::Close(_) => {}
            Action::End => self.end(client),
        }
    }

    fn attach(&mut self, client: usize, exchange: ExchangeId, carrier: Carrier) {
        let known = &mut self.clients[client];
        known.answer(exchange);
        known.carriers.push(carrier);
        let carrier = known.carriers.len() - 1;
        if exchange.0 == 0 {
            known.promoted = Some(carrier);
        }
        self.input(client, Input::Attached(exchange, CarrierId(number(carrier))));
    }

    /// A held request takes what waits in the outbox.
    fn flush(&mut self, client: usize) {
        let known = &mut self.clients[client];
        let held = known.exchanges.iter().position(|state| *state == Exchange::Held);
        if let Some(exchange) = held.filter(|_| known.outbox > 0) {
            known.outbox = 0;
            known.exchanges[exchange] = Exchange::Over;
            self.input(client, Input::Answered(ExchangeId(number(exchange))));
        }
    }

    fn end(&mut self, client: usize) {
        self.flush(client);
        let known = &mut self.clients[client];
        if known.session.take().is_none() {
            return;
        }
        known.carriers.clear();
        let left: Vec<_> = (0..).zip(&known.exchanges).filter(|(_, state)| **state != Exchange::Over).collect();
        assert!(left.is_empty(), "session {client} ended without an answer to its requests {left:?}");
    }

    // What the hub and the clock do.

    fn reply(&mut self) {
        while let Some(client) = (0..self.clients.len()).find(|client| !self.holding && !self.clients[*client].asked.is_empty()) {
            let Some((ticket, command)) = self.clients[client].asked.pop_front() else { return };
            let answer = if self.refusing { Err(Denied::Forbidden("no".into())) } else { self.run(client, command) };
            self.input(client, Input::Reply(ticket, answer));
        }
    }

    fn run(&mut self, client: usize, command: Command) -> Result<Reply, Denied> {
        let position = Position { epoch: Epoch(1), offset: self.stamp };
        let cursor = Cursor { epoch: Epoch(1), stamp: self.stamp };
        Ok(match command {
            Command::Connect(_) => Reply::Connected(Arc::new(Principal::anonymous(app()))),
            Command::Subscribe(wish) => {
                let state = |channel| SubscribedChannel { channel, position, gap: false, recovered: 0 };
                let patterns = (!wish.patterns.is_empty()).then_some(SubscribedPatterns { gap: false, recovered: 0 });
                self.clients[client].deliveries.push(wish.delivery);
                let channels = wish.channels.into_iter().map(state).collect();
                Reply::Subscribed(Box::new(Subscribed { channels, patterns, cursor, missed: Vec::new(), page_end: None }))
            }
            Command::Publish(drafts) => Reply::Published(drafts.into_iter().map(|draft| Ok(self.publish(*draft))).collect()),
            Command::Enter(_) => Reply::Entered,
            Command::Leave(..) => Reply::Left,
            Command::Unsubscribe(_) => Reply::Unsubscribed,
            _ => return Err(Denied::NotFound("it is not there".into())),
        })
    }

    /// Numbers a publication and shows it to everyone, in every way that anybody asked for.
    fn publish(&mut self, draft: Draft) -> Published {
        self.stamp += 1;
        let position = Position { epoch: Epoch(1), offset: self.stamp };
        let place = |channel: &omnivox_core::ChannelName| Place { channel: channel.clone(), position, previous: self.stamp - 1 };
        let places = draft.channels.iter().map(place).collect();
        let cursor = Cursor { epoch: Epoch(1), stamp: self.stamp };
        let publication = Arc::new(Publication { app: app(), draft, places, cursor, at_ms: 0 });
        let event = Event::Publication(publication.clone(), 0);
        for client in 0..self.clients.len() {
            for delivery in self.clients[client].deliveries.clone() {
                self.give(client, &delivery, &event);
            }
        }
        Published { places: publication.places.clone(), cursor, duplicate: false }
    }

    fn give(&mut self, client: usize, delivery: &Delivery, event: &Event) {
        let known = &mut self.clients[client];
        match delivery {
            Delivery::Stateful => self.input(client, Input::Event(event)),
            Delivery::Shared(key) => {
                if let Some(frame) = self.dialect.encode(key, event, &mut BytesMut::new()) {
                    known.receive(known.promoted, &frame);
                    self.flush(client);
                }
            }
            Delivery::Once(key) => {
                if self.dialect.encode(key, event, &mut BytesMut::new()).is_some() {
                    known.exchanges.fill(Exchange::Over);
                    self.end(client);
                }
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        for round in 0.. {
            assert!(round < 100_000, "a session's timeout never ends");
            let due = self.clients.iter().enumerate().filter_map(|(client, known)| Some((known.session.as_ref()?.next_timeout()?, client)));
            let Some((at, client)) = due.filter(|(at, _)| *at <= until).min() else { break };
            self.now = self.now.max(at);
            self.input(client, Input::Timeout);
            self.reply();
        }
        self.now = until;
    }
}

impl Client {
    fn answer(&mut self, exchange: ExchangeId) {
        let state = &mut self.exchanges[exchange.0 as usize];
        assert_ne!(*state, Exchange::Over, "{exchange:?} is answered twice");
        *state = Exchange::Over;
    }

    /// What goes out over a WebSocket must be whole, legal frames.
    fn receive(&mut self, carrier: Option<usize>, frame: &Frame) {
        match carrier.and_then(|carrier| self.carriers.get_mut(carrier)) {
            Some(Carrier::WebSocket(decoder)) => {
                let mut bytes = frame.wire().to_vec();
                let mut at = 0;
                loop {
                    let step = decoder.step(&mut bytes[at..]).expect("what we send is legal");
                    at += step.consumed;
                    if step.message.is_none() {
                        break;
                    }
                }
                assert_eq!(at, bytes.len(), "a frame is whole");
            }
            Some(Carrier::Stream) => assert!(!frame.wire().is_empty(), "an empty chunk would end the stream"),
            Some(Carrier::Gone) => {}
            None => self.outbox += 1,
        }
    }
}

fn is_answer(response: &Response) {
    assert!((200..600).contains(&response.status), "no status of an answer: {}", response.status);
    let broken = response.headers.iter().find(|(_, value)| value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f));
    assert!(broken.is_none(), "a header that breaks out of its line: {broken:?}");
}

fn app() -> AppId {
    AppId::parse("demo").expect("a name")
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 of anything")
}
