//! Engine.IO: one session over changing carriers.
//!
//! ```text
//!   GET ─┐                      ┌─ held until the outbox has something
//!   POST ┴─ Polling ── 2probe/3probe ── 5 ──> WebSocket
//!            └ a candidate WebSocket beside it; nothing of the application goes there before its `5`
//! ```
//!
//! Revision 4 puts every packet into the session's outbox as a WebSocket frame, so that frames made once for all subscribers serve polls
//! and sockets alike. Revision 3 counts its packets in a way that no shared frame can know; its sessions keep a queue of their own.
//!
//! Invariant: packets leave in the order in which they were made, each once: until the `5` by polls, from then on by the socket.

mod drains;
pub(super) mod frames;
pub(super) mod packet;
pub(super) mod payload;
mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use omnivox_core::session::Drain;
use omnivox_core::{Action, Actions, CarrierId, Coding, ExchangeId, Request, Response, Switch};

pub(super) use self::drains::Drains;
use self::packet::{BadPacket, Packet};
pub(super) use self::queue::Outgoing;
use self::queue::{Queue, Style};
use super::Shared;
use super::codes::Refused;
use super::cors;
use super::handshake::{Parameters, Transport, transport_of};

/// The version of Engine.IO that a client speaks; it decides the version of Socket.IO too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Revision {
    /// Socket.IO 1 and 2.
    Three,
    /// Socket.IO 3 and 4.
    Four,
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// The client said so.
    ByClient,
    /// The client broke the protocol, or was silent for too long, or the server ends it.
    ByServer,
    /// The transport is gone: there is nobody to tell.
    Lost,
}

/// What a request of a living session brought.
pub(super) enum Brought<'a> {
    Nothing,
    /// A body with packets; the request is answered when they have been heeded.
    Packets(Vec<Result<Packet<'a>, BadPacket>>),
    Over(Over),
}

/// The state of one session.
pub(super) struct Engine {
    shared: Arc<Shared>,
    pub(super) revision: Revision,
    current: Current,
    poll: Option<Poll>,
    /// WebSockets that came at the wrong moment: taken, and closed as soon as that is possible.
    unwanted: Vec<ExchangeId>,
    beat: Beat,
    /// Revision 3, while polling.
    queue: Option<Box<Queue>>,
    /// The client said at its opening that it can't take binary bodies.
    base64: bool,
}

enum Current {
    /// The opening request is not answered yet, and will be with this session id.
    Fresh(Box<str>),
    Polling(Option<Box<Candidate>>),
    WebSocket(Option<CarrierId>),
}

/// A WebSocket that wants to become the session's transport.
struct Candidate {
    exchange: ExchangeId,
    carrier: Option<CarrierId>,
    probed: bool,
    deadline: Instant,
}

/// The GET that waits.
struct Poll {
    exchange: ExchangeId,
    /// Revision 3 makes its answers itself.
    style: Option<Box<Style>>,
}

/// The next moment of the heartbeat: a ping is due, or what answers it is overdue.
struct Beat {
    at: Instant,
    expecting: bool,
}

/// How many unwanted WebSockets are politely closed at once; more are refused.
const UNWANTED_MAX: usize = 4;

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, revision: Revision, sid: Box<str>, now: Instant) -> Self {
        let settings = &shared.settings;
        let beat = match revision {
            Revision::Four => Beat { at: now + settings.ping_interval, expecting: false },
            Revision::Three => Beat { at: now + settings.ping_interval + settings.ping_timeout, expecting: true },
        };
        let queue = (revision == Revision::Three).then(Box::default);
        Self { shared, revision, current: Current::Fresh(sid), poll: None, unwanted: Vec::new(), beat, queue, base64: false }
    }

    /// Whether the opening request has not been handled yet.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.current, Current::Fresh(_))
    }

    /// Whether a packet would go out now: over the WebSocket, or with the poll that waits.
    pub(super) fn is_writable(&self) -> bool {
        match &self.current {
            Current::Fresh(_) => false,
            Current::Polling(_) => self.poll.is_some(),
            Current::WebSocket(socket) => socket.is_some(),
        }
    }

    /// When something is due.
    pub(super) fn next_timeout(&self) -> Instant {
        match &self.current {
            Current::Polling(Some(candidate)) => self.beat.at.min(candidate.deadline),
            Current::Fresh(_) | Current::Polling(None) | Current::WebSocket(_) => self.beat.at,
        }
    }

    /// Answers the opening request.
    pub(super) fn open(&mut self, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) {
        let transport = transport_of(request);
        let next = if transport == Transport::WebSocket { Current::WebSocket(None) } else { Current::Polling(None) };
        let Current::Fresh(sid) = std::mem::replace(&mut self.current, next) else { return };
        let packet = self.open_packet(&sid, transport);
        let cookie = self.shared.settings.cookie.as_ref();
        let cookie = cookie.map(|name| ("set-cookie", format!("{name}={sid}; Path=/; HttpOnly; SameSite=Lax").into()));
        if transport == Transport::WebSocket {
            self.queue = None;
            actions.push(Action::Upgrade(exchange, Switch { subprotocol: None, headers: cookie.into_iter().collect() }));
            actions.push(Action::Push(frames::text(packet.as_bytes())));
            return;
        }
        self.base64 = Parameters::parse(request.query).base64;
        let mut head = self.head(request);
        head.headers.extend(cookie);
        let response = match self.revision {
            Revision::Four => {
                head.body = packet.into();
                head.header("content-type", POLL_TYPE)
            }
            Revision::Three => queue::answer(&[Outgoing::Text(packet.into())], self.style(request, head)),
        };
        actions.respond(exchange, response);
    }

    fn open_packet(&self, sid: &str, transport: Transport) -> String {
        let settings = &self.shared.settings;
        let offered = settings.transports.upgrades && settings.transports.websocket && transport == Transport::Polling;
        format!(
            r#"0{{"sid":"{sid}","upgrades":[{}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            if offered { r#""websocket""# } else { "" },
            settings.ping_interval.as_millis(),
            settings.ping_timeout.as_millis(),
            settings.max_payload
        )
    }

    /// Status and headers of every poll's answer.
    fn head(&self, request: &Request<'_>) -> Response {
        let head = Response::new(200).header("cache-control", "no-store");
        cors::allow(&self.shared.settings.cors_origins, request, head)
    }

    /// How the answer to a poll of revision 3 has to look.
    fn style(&self, request: &Request<'_>, head: Response) -> Style {
        let callback = Parameters::parse(request.query).callback;
        let callback = callback.map(|index| index.chars().filter(char::is_ascii_digit).collect());
        Style { head, callback, base64: self.base64, compress: self.compression(request) }
    }

    /// How an answer may be compressed, and from how many bytes up.
    fn compression(&self, request: &Request<'_>) -> Option<(Coding, usize)> {
        Coding::accepted(request).zip(self.shared.settings.compress_from)
    }

    fn refuse(&self, exchange: ExchangeId, status: u16, request: &Request<'_>, actions: &mut Actions) {
        actions.respond(exchange, cors::allow(&self.shared.settings.cors_origins, request, Response::new(status)));
    }

    /// A further request of the session.
    pub(super) fn request<'a>(&mut self, now: Instant, exchange: ExchangeId, request: &Request<'a>, actions: &mut Actions) -> Brought<'a> {
        if request.is_websocket() {
            self.candidate(now, exchange, request, actions);
            return Brought::Nothing;
        }
        if let Current::WebSocket(_) = self.current {
            let response = cors::allow(&self.shared.settings.cors_origins, request, Refused::BadRequest.response(false));
            actions.respond(exchange, response);
            return Brought::Nothing;
        }
        match request.method {
            "GET" => self.poll(exchange, request, actions),
            "POST" => self.post(exchange, request, actions),
            _ => {
                self.refuse(exchange, 500, request, actions);
                Brought::Nothing
            }
        }
    }

    /// A WebSocket for a living session: a candidate for the upgrade, or one too many.
    fn candidate(&mut self, now: Instant, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) {
        let settings = &self.shared.settings;
        let wanted = settings.transports.upgrades && matches!(self.current, Current::Polling(None));
        if wanted {
            let deadline = now + settings.upgrade_timeout;
            self.current = Current::Polling(Some(Box::new(Candidate { exchange, carrier: None, probed: false, deadline })));
        } else if self.unwanted.len() < UNWANTED_MAX {
            self.unwanted.push(exchange);
        } else {
            actions.respond(exchange, Refused::BadRequest.response(request.is_websocket()));
            return;
        }
        actions.push(Action::Upgrade(exchange, Switch::default()));
    }

    fn poll<'a>(&mut self, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) -> Brought<'a> {
        if self.poll.is_some() {
            // Two polls at once: the client is out of order, and nobody could say which answer comes first.
            self.refuse(exchange, 400, request, actions);
            return Brought::Over(Over::ByServer);
        }
        let upgrading = matches!(&self.current, Current::Polling(Some(candidate)) if candidate.probed);
        match self.revision {
            Revision::Four => {
                self.poll = Some(Poll { exchange, style: None });
                if upgrading {
                    actions.push(Action::Push(self.shared.noop.clone()));
                }
                actions.push(Action::Hold(exchange, self.drain(request)));
            }
            Revision::Three => {
                self.poll = Some(Poll { exchange, style: Some(Box::new(self.style(request, self.head(request)))) });
                if upgrading {
                    self.release(NOOP, actions);
                }
            }
        }
        Brought::Nothing
    }

    /// How the poll is answered: one value for all that come from the same origin and take the same coding.
    fn drain(&self, request: &Request<'_>) -> Arc<Drain> {
        let origin = cors::told(&self.shared.settings.cors_origins, request);
        let compress = self.compression(request);
        self.shared.drains.take(origin, compress.map(|(coding, _)| coding), || {
            let head = self.head(request).header("content-type", POLL_TYPE);
            Drain { head, separator: b"\x1e", end: Bytes::new(), binary_prefix: "b", compress }
        })
    }

    fn post<'a>(&self, exchange: ExchangeId, request: &Request<'a>, actions: &mut Actions) -> Brought<'a> {
        if request.body.len() > self.shared.settings.max_payload {
            self.refuse(exchange, 413, request, actions);
            return Brought::Nothing;
        }
        let packets = match self.revision {
            Revision::Four if is_binary(request) => None,
            Revision::Three if is_binary(request) => Some(payload::decode_binary(request.body)),
            Revision::Three if Parameters::parse(request.query).callback.is_some() => payload::from_jsonp(request.body).map(|body| {
                let packets = payload::decode_text(&body, Revision::Three);
                packets.into_iter().map(|packet| packet.map(Packet::into_owned)).collect()
            }),
            Revision::Three | Revision::Four => {
                std::str::from_utf8(request.body).ok().map(|body| payload::decode_text(body, self.revision))
            }
        };
        match packets {
            Some(packets) => Brought::Packets(packets),
            None => {
                self.refuse(exchange, 400, request, actions);
                Brought::Over(Over::ByServer)
            }
        }
    }

    /// Answers a POST whose packets were heeded.
    pub(super) fn posted(&self, exchange: ExchangeId, request: &Request<'_>, good: bool, actions: &mut Actions) {
        if good {
            let mut response = self.head(request).header("content-type", "text/html");
            response.body = Bytes::from_static(b"ok");
            actions.respond(exchange, response);
        } else {
            self.refuse(exchange, 400, request, actions);
        }
    }

    /// An exchange became a WebSocket.
    pub(super) fn attached(&mut self, exchange: ExchangeId, carrier: CarrierId, actions: &mut Actions) {
        if let Some(at) = self.unwanted.iter().position(|unwanted| *unwanted == exchange) {
            self.unwanted.swap_remove(at);
            close(carrier, actions);
            return;
        }
        match &mut self.current {
            Current::Polling(Some(candidate)) if candidate.exchange == exchange => candidate.carrier = Some(carrier),
            Current::WebSocket(socket @ None) => *socket = Some(carrier),
            Current::Fresh(_) | Current::Polling(_) | Current::WebSocket(_) => close(carrier, actions),
        }
    }

    /// A carrier is gone; whether the session is over with it.
    pub(super) fn detached(&mut self, carrier: CarrierId) -> Result<(), Over> {
        match &mut self.current {
            Current::WebSocket(Some(socket)) if *socket == carrier => Err(Over::Lost),
            Current::Polling(candidate) if candidate.as_ref().is_some_and(|candidate| candidate.carrier == Some(carrier)) => {
                *candidate = None;
                Ok(())
            }
            Current::Fresh(_) | Current::Polling(_) | Current::WebSocket(_) => Ok(()),
        }
    }

    /// The client gave up a request.
    pub(super) fn abandoned(&mut self, exchange: ExchangeId) -> Result<(), Over> {
        self.unwanted.retain(|unwanted| *unwanted != exchange);
        match &self.poll {
            Some(poll) if poll.exchange == exchange => {
                self.poll = None;
                Err(Over::Lost)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The held poll was answered.
    pub(super) fn answered(&mut self, exchange: ExchangeId) {
        if self.poll.as_ref().is_some_and(|poll| poll.exchange == exchange) {
            self.poll = None;
        }
    }

    /// Whether the carrier is the session's transport. What comes on another one is part of an upgrade.
    pub(super) fn is_transport(&self, carrier: CarrierId) -> bool {
        matches!(&self.current, Current::WebSocket(Some(socket)) if *socket == carrier)
    }

    /// A message on a WebSocket that is not the session's transport: `2probe`, then `5`, and nothing else.
    pub(super) fn probe(&mut self, carrier: CarrierId, text: Option<&str>, actions: &mut Actions) {
        let Current::Polling(slot) = &mut self.current else { return };
        let Some(candidate) = slot.as_mut().filter(|candidate| candidate.carrier == Some(carrier)) else { return };
        match text {
            Some("2probe") if !candidate.probed => {
                candidate.probed = true;
                actions.send(carrier, self.shared.probe.clone());
                // The client pauses its polling when the one that waits comes back.
                self.release(NOOP, actions);
            }
            Some("5") if candidate.probed => self.upgrade(carrier, actions),
            Some(_) | None => {
                *slot = None;
                close(carrier, actions);
            }
        }
    }

    fn upgrade(&mut self, carrier: CarrierId, actions: &mut Actions) {
        self.current = Current::WebSocket(Some(carrier));
        match self.poll.take() {
            // The outbox is the socket's from here on, so that the poll gets its noop by itself.
            Some(Poll { exchange, style: None }) => {
                actions.respond(exchange, Response::with_body(200, POLL_TYPE, NOOP).header("cache-control", "no-store"));
            }
            held => {
                self.poll = held;
                self.release(NOOP, actions);
            }
        }
        actions.push(Action::Promote(carrier));
        if let Some(mut queue) = self.queue.take() {
            for packet in queue.drain() {
                self.send(packet, actions);
            }
        }
    }

    /// Lets the poll that waits, if any, go with one packet.
    fn release(&mut self, packet: &'static str, actions: &mut Actions) {
        match self.poll.take() {
            Some(Poll { exchange, style: Some(style) }) => {
                let mut queue = self.queue.as_mut().map(|queue| queue.drain()).unwrap_or_default();
                queue.push(Outgoing::Text(Bytes::from_static(packet.as_bytes())));
                actions.respond(exchange, queue::answer(&queue, *style));
            }
            Some(poll) => {
                let frame = if packet == NOOP { self.shared.noop.clone() } else { self.shared.close.clone() };
                actions.push(Action::Push(frame));
                self.poll = Some(poll);
            }
            None => {}
        }
    }

    /// Sends a packet: now, or with the next poll.
    pub(super) fn send(&mut self, packet: Outgoing, actions: &mut Actions) {
        match (&mut self.queue, self.revision, packet) {
            (Some(queue), _, packet) => queue.push(packet),
            (None, _, Outgoing::Text(text)) => actions.push(Action::Push(frames::text(&text))),
            (None, Revision::Four, Outgoing::Binary(data)) => actions.push(Action::Push(frames::binary(&data))),
            (None, Revision::Three, Outgoing::Binary(data)) => actions.push(Action::Push(frames::typed_binary(&data))),
        }
    }

    /// Answers the poll that waits with what has gathered; an error when the client takes too little.
    pub(super) fn flush(&mut self, actions: &mut Actions) -> Result<(), Over> {
        let Some(queue) = self.queue.as_mut().filter(|queue| !queue.is_empty()) else { return Ok(()) };
        if let Some(Poll { exchange, style: Some(style) }) = self.poll.take() {
            actions.respond(exchange, queue.answer(*style));
        }
        if queue.bytes() > self.shared.settings.queue_bytes_max { Err(Over::ByServer) } else { Ok(()) }
    }

    /// The client answered a ping.
    pub(super) fn pong(&mut self, now: Instant) {
        if self.revision == Revision::Four && self.beat.expecting {
            self.beat = Beat { at: now + self.shared.settings.ping_interval, expecting: false };
        }
    }

    /// The client sent a ping, which is its part in revision 3 only.
    pub(super) fn ping(&mut self, now: Instant, actions: &mut Actions) -> Result<(), Over> {
        if self.revision == Revision::Four {
            return Err(Over::ByServer);
        }
        self.beat.at = now + self.shared.settings.ping_interval + self.shared.settings.ping_timeout;
        self.send(Outgoing::Text(Bytes::from_static(b"3")), actions);
        Ok(())
    }

    /// Does what is due.
    pub(super) fn timeout(&mut self, now: Instant, actions: &mut Actions) -> Result<(), Over> {
        if let Current::Polling(slot) = &mut self.current
            && let Some(candidate) = slot.take_if(|candidate| candidate.deadline <= now)
        {
            match candidate.carrier {
                Some(carrier) => close(carrier, actions),
                None => self.unwanted.push(candidate.exchange),
            }
        }
        if now < self.beat.at {
            return Ok(());
        }
        if self.beat.expecting {
            return Err(Over::ByServer);
        }
        // A ping that is a little late leaves the client's time as it was announced; one that is very late gives it anew.
        let due = if now - self.beat.at < PING_LATE_MAX { self.beat.at } else { now };
        self.beat = Beat { at: due + self.shared.settings.ping_timeout, expecting: true };
        actions.push(Action::Push(self.shared.ping.clone()));
        Ok(())
    }

    /// Whether the client is overdue, even when the timer has not noticed yet.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.beat.expecting && self.beat.at <= now
    }

    /// Answers a request of a session that is over.
    pub(super) fn too_late(&self, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) {
        let refused = Refused::SessionUnknown.response(request.is_websocket());
        actions.respond(exchange, cors::allow(&self.shared.settings.cors_origins, request, refused));
    }

    /// Whether a poll waits.
    pub(super) fn is_polled(&self) -> bool {
        self.poll.is_some()
    }

    /// Whether the client polls.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.current, Current::Polling(_))
    }

    /// Answers a poll that crossed the client's goodbye.
    pub(super) fn last_poll(&self, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) {
        let mut head = self.head(request);
        let response = match self.revision {
            Revision::Four => {
                head.body = Bytes::from_static(NOOP.as_bytes());
                head.header("content-type", POLL_TYPE)
            }
            Revision::Three => queue::answer(&[Outgoing::Text(Bytes::from_static(NOOP.as_bytes()))], self.style(request, head)),
        };
        actions.respond(exchange, response);
    }

    /// Ends the session: a poll that waits is told, a WebSocket just closes.
    pub(super) fn end(&mut self, over: Over, actions: &mut Actions) {
        match over {
            Over::ByClient => self.release(NOOP, actions),
            Over::ByServer => self.release(CLOSE, actions),
            Over::Lost => {}
        }
        let socket = match &self.current {
            Current::WebSocket(socket) if over != Over::Lost => *socket,
            Current::Polling(candidate) => candidate.as_ref().and_then(|candidate| candidate.carrier),
            Current::Fresh(_) | Current::WebSocket(_) => None,
        };
        if let Some(carrier) = socket {
            actions.send(carrier, frames::goodbye());
        }
        actions.push(Action::End);
    }
}

/// Closes a WebSocket, and says so.
fn close(carrier: CarrierId, actions: &mut Actions) {
    actions.send(carrier, frames::goodbye());
    actions.push(Action::Close(carrier));
}

/// How late a ping may be without giving the client more time.
const PING_LATE_MAX: Duration = Duration::from_millis(100);
const POLL_TYPE: &str = "text/plain; charset=UTF-8";
const NOOP: &str = "6";
const CLOSE: &str = "1";

fn is_binary(request: &Request<'_>) -> bool {
    request.header("content-type").is_some_and(|value| value.trim().eq_ignore_ascii_case("application/octet-stream"))
}
