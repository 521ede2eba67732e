//! Socket.IO over one Engine.IO session: namespaces, and in each of them a socket with its rooms.
//!
//! A CONNECT packet asks the hub who the client is; what follows are events, most of which are commands of the hub in disguise
//! ([`handlers`]). Every command has a [`Pending`] entry that knows who waits for the answer.
//!
//! Invariant: a packet for a namespace that is not connected ends the session, and an event that wants an acknowledgement gets exactly one.

mod application;
mod connect;
mod errands;
mod handlers;
pub(super) mod requests;
mod restore;
mod seats;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use omnivox_core::command::{Delivery, Enter};
use omnivox_core::session::OpenContext;
use omnivox_core::{
    ChannelName, CloseReason, Command, Control, Denied, EncodingKey, Event, Framing, Principal, Publication, Reply, Request, SessionId,
    Ticket,
};
use smallvec::SmallVec;

use self::connect::{Arrival, Guarded, Waiting};
pub(super) use self::errands::LastTold;
use self::handlers::{Answer, Asker};
use self::requests::Joining;
use self::restore::Restore;
use super::Shared;
use super::codes::{self, Failure, Goodbye};
use super::delivery::{self, Argument, Format, MemberShown, Outline, Rendered, Tail};
use super::directory::{Kept, Presence, Record, Room};
use super::engine::packet::Message;
use super::engine::{Over, Revision};
use super::identity::Identities;
use super::incoming::{Incoming, Reader};
use super::line::Line;
use super::packet::{Acknowledgement, Broken, Kind, Wish};
use super::program::Member;
use super::settings::Application;
use super::tags;

/// The Socket.IO state of a session.
pub(super) struct Sockets {
    shared: Arc<Shared>,
    /// This dialect's index, for encoding keys.
    dialect: u8,
    /// What this session is for the hub.
    session: SessionId,
    revision: Revision,
    reader: Reader,
    identities: Identities,
    /// How the client came.
    arrival: Box<Arrival>,
    principal: Option<Arc<Principal>>,
    /// Namespaces whose connect packet waits for the hub.
    waiting: Vec<Waiting>,
    /// Namespaces whose connect packet waits for the program around the server.
    guarded: Vec<Guarded>,
    sockets: SmallVec<[Socket; 1]>,
    /// Why the session ends, for the program around the server.
    gone: &'static str,
    pending: Vec<(Ticket, Pending)>,
    tickets: u32,
    /// Until a namespace is connected.
    connect_by: Option<Instant>,
}

/// A client in a namespace.
struct Socket {
    kept: Kept,
}

impl Socket {
    fn record(&self) -> &Arc<Record> {
        self.kept.record()
    }
}

/// What is to be done when a command is answered.
enum Pending {
    Connect,
    Restore(Box<Restore>),
    Join(Asker, Box<Joining>),
    Leave(Asker),
    Publish(Asker),
    Members(Asker, Box<str>),
    Seat(Asker, ChannelName),
    Application(Asker),
    /// Nobody waits, but a refusal is reported.
    Enter(Asker),
    /// Nobody waits.
    Quiet,
}

impl Sockets {
    pub(super) fn new(shared: Arc<Shared>, revision: Revision, context: &OpenContext) -> Self {
        let connect_by = Some(context.now + shared.settings.connect_timeout);
        Self {
            shared,
            dialect: context.dialect,
            session: context.session,
            revision,
            reader: Reader::default(),
            identities: Identities::new(&context.entropy),
            arrival: Box::default(),
            principal: None,
            waiting: Vec::new(),
            guarded: Vec::new(),
            gone: "transport close",
            sockets: SmallVec::new(),
            pending: Vec::new(),
            tickets: 0,
            connect_by,
        }
    }

    /// When the client must have connected a namespace.
    pub(super) fn connect_by(&self) -> Option<Instant> {
        self.connect_by
    }

    /// Looks at the opening request. Clients of protocol 4 are in `/` without asking.
    pub(super) fn opened(&mut self, request: &Request<'_>, line: &mut Line<'_>) {
        *self.arrival = Arrival::of(request, self.revision);
        if self.revision == Revision::Three {
            self.connect("/".into(), None, line);
        }
    }

    /// Takes a message of the client.
    pub(super) fn message(&mut self, message: Message<'_>, line: &mut Line<'_>) -> Result<(), Broken> {
        let Some(Incoming { namespace, wish }) = self.reader.take(message, &self.shared.settings)? else { return Ok(()) };
        let index = self.sockets.iter().position(|socket| *socket.record().namespace == *namespace);
        match (wish, index) {
            (Wish::Connect(auth), None) => self.connect_packet(&namespace, auth.as_deref(), line),
            (Wish::Connect(_), Some(_)) => Err(Broken("the namespace is connected already")),
            (_, None) => Err(Broken("the namespace is not connected")),
            (Wish::Event(call), Some(index)) => {
                let record = self.sockets[index].record().clone();
                self.event(&record, call, line);
                Ok(())
            }
            (Wish::Disconnect, Some(index)) => {
                self.disconnect(index, "client namespace disconnect", line);
                Ok(())
            }
            (Wish::Ack(ack), Some(index)) => {
                self.acknowledged(index, ack);
                Ok(())
            }
        }
    }

    /// Takes the hub's answer.
    pub(super) fn reply(&mut self, ticket: Ticket, outcome: Result<Reply, Denied>, line: &mut Line<'_>) {
        let Some(at) = self.pending.iter().position(|(known, _)| *known == ticket) else { return };
        // Answers come in order, so that this is nearly always the first.
        let (_, pending) = self.pending.remove(at);
        if self.pending.is_empty() {
            // An idle socket holds no buffer.
            self.pending = Vec::new();
        }
        match (pending, outcome) {
            (Pending::Connect, Ok(Reply::Connected(principal))) => self.let_in(principal, line),
            (Pending::Connect, Err(denied)) => self.turn_away(&denied, line),
            (Pending::Restore(restore), Ok(Reply::Subscribed(subscribed))) => self.restored(*restore, &subscribed, line),
            (Pending::Restore(restore), _) => self.not_restored(*restore, line),
            (Pending::Join(asker, joining), Ok(Reply::Subscribed(subscribed))) => self.joined(&asker, &joining, &subscribed, line),
            (Pending::Publish(asker), Ok(Reply::Published(published))) => self.published(&asker, published, line),
            (Pending::Members(asker, room), Ok(Reply::Members(members))) => {
                let members = members.iter().map(MemberShown::of).collect();
                self.answer(&asker, &Answer { room: Some(&room), members: Some(members), ..Answer::ok() }, line);
            }
            (Pending::Seat(asker, room), Ok(Reply::Seated(seated))) => self.seated(&asker, &room, &seated, line),
            (Pending::Application(asker), Ok(Reply::Called(called))) => self.called(asker, *called, line),
            (Pending::Leave(asker), Ok(_)) => self.answer(&asker, &Answer::ok(), line),
            (Pending::Join(asker, _) | Pending::Publish(asker) | Pending::Members(asker, _) | Pending::Leave(asker), Err(denied)) => {
                self.fail(&asker, &denied, line);
            }
            (Pending::Enter(asker) | Pending::Seat(asker, _) | Pending::Application(asker), Err(denied)) => {
                self.fail(&asker, &denied, line);
            }
            (
                Pending::Connect
                | Pending::Join(..)
                | Pending::Publish(_)
                | Pending::Members(..)
                | Pending::Seat(..)
                | Pending::Application(_),
                Ok(_),
            ) => {
                debug_assert!(false, "a command gets its own kind of reply");
            }
            (Pending::Enter(_) | Pending::Quiet, _) => {}
        }
    }

    /// An event of a room, for a client whose packets are not shared.
    pub(super) fn room_event(&self, event: &Event, line: &mut Line<'_>) {
        let (namespace, _) = super::channel::room_of(event.channel().as_str());
        if let Some(packet) = delivery::event(self.format(), &namespace, event, self.shared.settings.attachments_max) {
            line.send(packet);
        }
    }

    /// The hub wants something. The session ends when it says so.
    pub(super) fn control(&mut self, control: &Control, line: &mut Line<'_>) -> Result<(), Over> {
        match control {
            Control::Direct(publication) => match publication.tag(tags::ERRAND) {
                Some(errand) => return self.errand(errand, publication, line),
                None => self.direct(publication, line),
            },
            Control::Unsubscribed(channel) => {
                for socket in &self.sockets {
                    socket.record().rooms().retain(|room| room.channel != *channel);
                }
            }
            Control::Close(reason) => {
                self.goodbye(*reason, line);
                return Err(Over::ByServer);
            }
        }
        Ok(())
    }

    /// A message for this session alone: to `/` if it is there, else to the namespace that it connected first.
    fn direct(&self, publication: &Publication, line: &mut Line<'_>) {
        let root = self.sockets.iter().find(|socket| &*socket.record().namespace == "/");
        let Some(socket) = root.or_else(|| self.sockets.first()) else { return };
        let format = self.format();
        let tail = format.offset.then_some(Tail::Nothing);
        let namespace = &socket.record().namespace;
        if let Some(packet) = delivery::publication(format.parser, namespace, publication, tail, self.shared.settings.attachments_max) {
            line.send(packet);
        }
    }

    fn goodbye(&mut self, reason: CloseReason, line: &mut Line<'_>) {
        self.gone = if reason == CloseReason::Drain { "server shutting down" } else { "forced server close" };
        let Goodbye::StayAway(words) = codes::goodbye(reason) else { return };
        for socket in std::mem::take(&mut self.sockets) {
            let namespace = &socket.record().namespace.clone();
            self.emit(namespace, "error", &Failure { code: reason.label(), message: words.to_owned(), event: None }, line);
            line.send(delivery::control(self.reader.parser(), Kind::Disconnect, namespace, None));
            self.tell_gone(socket.record(), "server namespace disconnect");
            socket.kept.dismiss();
        }
    }

    /// Every namespace is told to leave, without a reason, as a server's own `disconnect(true)` does.
    fn goodbye_to_all(&mut self, line: &mut Line<'_>) {
        for socket in std::mem::take(&mut self.sockets) {
            line.send(delivery::control(self.reader.parser(), Kind::Disconnect, &socket.record().namespace, None));
            self.tell_gone(socket.record(), "server namespace disconnect");
            socket.kept.dismiss();
        }
    }

    /// The client leaves a namespace for good.
    fn disconnect(&mut self, index: usize, reason: &'static str, line: &mut Line<'_>) {
        let socket = self.sockets.remove(index);
        self.tell_gone(socket.record(), reason);
        let rooms = std::mem::take(&mut *socket.record().rooms());
        for room in rooms {
            self.part(socket.record(), room, line);
        }
        socket.kept.dismiss();
    }

    /// Leaves a room, without waiting for the answers, and without hearing of its own going.
    fn part(&mut self, record: &Record, room: Room, line: &mut Line<'_>) {
        let ticket = self.ticket(Pending::Quiet);
        line.run(ticket, Command::Unsubscribe(room.channel.clone()));
        if room.presence.is_some() {
            let ticket = self.ticket(Pending::Quiet);
            line.run(ticket, Command::Leave(room.channel, record.id.clone()));
        }
    }

    /// Appears in a room's presence set.
    fn enter(&mut self, asker: Asker, channel: &ChannelName, presence: Presence, line: &mut Line<'_>) {
        let enter = Enter { channel: channel.clone(), key: asker.record.id.clone(), data: presence.data, update_only: false };
        let ticket = self.ticket(Pending::Enter(asker));
        line.run(ticket, Command::Enter(Box::new(enter)));
    }

    fn ticket(&mut self, pending: Pending) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        self.pending.push((ticket, pending));
        ticket
    }

    /// Whether the socket is still connected.
    fn is_connected(&self, record: &Arc<Record>) -> bool {
        self.sockets.iter().any(|socket| Arc::ptr_eq(socket.record(), record))
    }

    fn format(&self) -> Format {
        Format { parser: self.reader.parser(), offset: self.recovers() }
    }

    /// Whether lost connections of this client can be taken up again.
    fn recovers(&self) -> bool {
        self.revision == Revision::Four && self.shared.directory.remembers()
    }

    /// How events of rooms reach this client.
    fn delivery(&self, namespace: &Arc<str>) -> Delivery {
        match self.revision {
            Revision::Three => Delivery::Stateful,
            Revision::Four => Delivery::Shared(EncodingKey {
                dialect: self.dialect,
                format: self.format().number(),
                framing: Framing::WebSocket,
                qualifier: (&**namespace != "/").then(|| namespace.clone()),
            }),
        }
    }

    /// Emits an event of the server's own. Its argument is an object, which no client library takes for an offset.
    fn emit(&self, namespace: &str, name: &str, argument: &impl serde::Serialize, line: &mut Line<'_>) {
        let argument = Argument::Json(serde_json::to_string(argument).unwrap_or_default().into());
        self.send(Outline { namespace, name: Some(name), id: None }, &[argument], line);
    }

    fn send(&self, outline: Outline<'_>, arguments: &[Argument<'_>], line: &mut Line<'_>) {
        let packet = delivery::render(self.reader.parser(), outline, arguments, None, self.shared.settings.attachments_max);
        if let Some(packet) = packet {
            line.send(packet);
        }
    }

    fn send_control(&self, kind: Kind, namespace: &str, payload: Option<&str>, line: &mut Line<'_>) {
        let packet: Rendered = delivery::control(self.reader.parser(), kind, namespace, payload);
        line.send(packet);
    }

    fn is_suite(&self) -> bool {
        self.shared.settings.application == Application::Suite
    }

    /// The session ends: tells the time to those who count how long it is gone.
    pub(super) fn ending(&self, now: Instant) {
        self.shared.directory.note(now);
    }

    /// The session ends, and why, in the words of the reference.
    pub(super) fn ending_because(&mut self, reason: &'static str) {
        self.gone = reason;
    }

    fn tell_gone(&self, record: &Arc<Record>, reason: &'static str) {
        if let Some(program) = &self.shared.program
            && record.goes()
        {
            program.gone(&Member(record.clone()), reason);
        }
    }

    /// A client answered what the program asked it. One that nobody waits for is ignored, as in the reference.
    fn acknowledged(&self, index: usize, ack: Acknowledgement<'_>) {
        if let (Some(program), Some(number)) = (&self.shared.program, ack.id) {
            let member = Member(self.sockets[index].record().clone());
            program.answered(number, &member, ack.arguments.into_iter().map(Cow::into_owned).collect());
        }
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for socket in &self.sockets {
            self.tell_gone(socket.record(), self.gone);
        }
    }
}
