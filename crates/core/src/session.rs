//! Sessions and dialects: one client's conversation as a state machine without I/O.
//!
//! The driver feeds a [`Session`] one [`Input`] at a time and does the [`Action`]s that come out. A test is "feed this, expect that".
//!
//! A request that belongs to a session arrives as an *exchange*. The session answers it ([`Action::Respond`]), holds it until something waits
//! in the outbox ([`Action::Hold`]), or lets it become a *carrier*: a WebSocket ([`Action::Upgrade`]) or a streamed body ([`Action::Stream`]).
//! A session has one outbox; the promoted carrier drains it. The first carrier of a session is promoted without asking.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::command::{Command, Control, Denied, Reply, Ticket};
use crate::event::Event;
use crate::frame::{EncodingKey, Frame};
use crate::http::{Coding, Request, Response};
use crate::name::{AppId, SessionId};

/// A carrier of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CarrierId(pub u32);

/// An HTTP request of a session that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExchangeId(pub u32);

/// One client's conversation. It has no I/O, clock or randomness of its own and lives on one shard.
pub trait Session: Send {
    /// Takes note of what happened and says what to do about it.
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions);

    /// When [`Input::Timeout`] is due, if ever. Asked again after each input.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A request of this session arrived, the one that opened it included.
    Exchange(ExchangeId, &'a Request<'a>),
    /// The client gave up a request that was waiting.
    Abandoned(ExchangeId),
    /// A held request was answered with what was in the outbox.
    Answered(ExchangeId),
    /// An exchange has become a carrier.
    Attached(ExchangeId, CarrierId),
    /// A carrier is gone. A session without carriers goes on until it ends itself.
    Detached(CarrierId),
    /// A text message came.
    Text(CarrierId, &'a str),
    /// A binary message came.
    Binary(CarrierId, &'a [u8]),
    /// The answer to an [`Action::Run`].
    Reply(Ticket, Result<Reply, Denied>),
    /// An event of a stateful subscription.
    Event(&'a Event),
    /// The hub wants something.
    Control(Control),
    /// The time of [`Session::next_timeout`] has come.
    Timeout,
}

/// What a session wants done.
#[derive(Debug)]
pub enum Action {
    /// Send a frame over a carrier. For the promoted carrier it queues behind everything that waits in the outbox.
    Send(CarrierId, Frame),
    /// Put a frame into the outbox, whatever carrier drains it.
    Push(Frame),
    /// Answer a request.
    Respond(ExchangeId, Response),
    /// Let a request become a WebSocket.
    Upgrade(ExchangeId, Switch),
    /// Answer with this head and let the body become a carrier.
    Stream(ExchangeId, Response),
    /// Answer the request with all frames of the outbox as soon as there are any. What says how may be shared: a held request is to cost little.
    Hold(ExchangeId, Arc<Drain>),
    /// Run a command.
    Run(Ticket, Command),
    /// From now on this carrier drains the outbox.
    Promote(CarrierId),
    /// Write what waits, then close the carrier.
    Close(CarrierId),
    /// The session is over: its subscriptions and presence end, its carriers close when what waits has been written.
    End,
}

/// What the answer that turns a request into a WebSocket says beside the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    /// One of the subprotocols that the client offered.
    pub subprotocol: Option<Box<str>>,
    /// Further headers: names in lower case with their values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Switch {
    /// With that subprotocol, if any.
    pub fn to(subprotocol: Option<Box<str>>) -> Self {
        Self { subprotocol, headers: Vec::new() }
    }
}

/// How the outbox becomes the body of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// Status and headers; its body stands before the first frame.
    pub head: Response,
    /// Between two frames.
    pub separator: &'static [u8],
    /// Behind the last frame.
    pub end: Bytes,
    /// Binary payloads are written as base64 behind this prefix.
    pub binary_prefix: &'static str,
    /// How a body of at least so many bytes is compressed, which the client must take.
    pub compress: Option<(Coding, usize)>,
}

/// The actions of one step.
#[derive(Debug, Default)]
pub struct Actions(SmallVec<[Action; 4]>);

impl Actions {
    /// Appends an action.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Sends a frame over a carrier.
    pub fn send(&mut self, carrier: CarrierId, frame: Frame) {
        self.push(Action::Send(carrier, frame));
    }

    /// Runs a command.
    pub fn run(&mut self, ticket: Ticket, command: Command) {
        self.push(Action::Run(ticket, command));
    }

    /// Answers a request.
    pub fn respond(&mut self, exchange: ExchangeId, response: Response) {
        self.push(Action::Respond(exchange, response));
    }

    /// Takes all actions out.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.0.drain(..)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A client protocol.
pub trait Dialect: Send + Sync + 'static {
    /// Its name in logs, metrics and settings.
    fn name(&self) -> &'static str;

    /// The paths that it serves. A clash between dialects is an error at start.
    fn routes(&self) -> Vec<Route>;

    /// What to do with a request to one of its paths.
    fn open(&self, context: &OpenContext, request: &Request<'_>) -> Opening;

    /// The answer to a request whose session is not, or no longer, there.
    fn unknown_session(&self, _request: &Request<'_>) -> Response {
        Response::json(404, r#"{"error":{"code":"not_found","message":"the session is not known here; connect again"}}"#)
    }

    /// The apps whose back end answers events that the dialect has no handler for. Told at start, and again when it changes.
    fn application_answers(&self, _apps: &[AppId]) {}

    /// The session, by its shard and its key, that is over when the body of a request with this method and query breaks off midway. Without one
    /// it is nobody's loss.
    fn broken_off(&self, _method: &str, _query: &str) -> Option<(u16, Box<str>)> {
        None
    }

    /// Encodes an event for everyone who shares the key, or nothing when it can't be shown in this format.
    fn encode(&self, key: &EncodingKey, event: &Event, scratch: &mut BytesMut) -> Option<Frame>;

    /// Encodes publications that follow each other in one channel for those who wait for one frame ([`Delivery::Once`]), as many as fit
    /// into it, and says how many that are. Nothing when the key's frames hold one event.
    ///
    /// [`Delivery::Once`]: crate::command::Delivery::Once
    fn encode_run(&self, _key: &EncodingKey, _run: &[Event], _scratch: &mut BytesMut) -> Option<(Frame, usize)> {
        None
    }
}

/// One path of a dialect.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The path.
    pub path: Cow<'static, str>,
    /// Whether everything below it belongs to the dialect too.
    pub subtree: bool,
}

impl Route {
    /// Exactly this path.
    pub fn exact(path: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), subtree: false }
    }

    /// This path and everything below it; it ends with a slash.
    pub fn subtree(path: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), subtree: true }
    }
}

/// What a dialect may know when a request opens a session.
#[derive(Clone, Copy, Debug)]
pub struct OpenContext {
    /// The time.
    pub now: Instant,
    /// The time in milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Fresh randomness from the system.
    pub entropy: [u8; 32],
    /// The shard that will own the session.
    pub shard: u16,
    /// This dialect's index, for its encoding keys.
    pub dialect: u8,
    /// What the session is for the hub, if the request opens one.
    pub session: SessionId,
}

/// What becomes of a request.
pub enum Opening {
    /// A new session; its first input is the exchange.
    Session(NewSession),
    /// The request belongs to a session that lives on a shard of this node under that key.
    Join {
        /// The shard, as the dialect wrote it into the key.
        shard: u16,
        /// The key.
        key: Box<str>,
    },
    /// A plain answer.
    Respond(Response),
}

/// A session to be.
pub struct NewSession {
    /// The session.
    pub session: Box<dyn Session>,
    /// The key by which later requests join it, for dialects whose sessions outlive a carrier.
    pub key: Option<Box<str>>,
    /// How carriers are kept alive and found dead.
    pub heartbeat: Heartbeat,
    /// The largest message that it takes from a carrier, in bytes; the server's limit when `None`.
    pub message_bytes_max: Option<usize>,
    /// Whether the session may get another id, and its carrier too, before it has asked for anything: it keeps neither.
    pub movable: bool,
}

/// How the driver keeps a carrier alive.
#[derive(Clone, Debug, PartialEq)]
pub enum Heartbeat {
    /// The dialect does it itself.
    Dialect,
    /// The carrier's own: WebSocket pings; comments on a streamed body.
    Carrier {
        /// Time between two pings or comments.
        every: Duration,
        /// How long after a ping something must have come back.
        timeout: Duration,
    },
}
