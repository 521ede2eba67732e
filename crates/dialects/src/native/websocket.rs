//! One client on a WebSocket: JSON messages in, commands out; replies and everything that is delivered back.
//!
//! A client that shows a credential with its request is refused with a status when it is not good. One that shows none is let in when the
//! app allows it, and else may say `connect` first; what it says behind that waits until the credential was looked at.
//!
//! Invariant: nothing is sent for a message before those before it were answered, except what the hub answers late.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use omnivox_core::call::Called;
use omnivox_core::command::{Connect, Delivery, Enter, Replay, Subscribe};
use omnivox_core::http::Upgrade;
use omnivox_core::{
    Action, Actions, ChannelName, CloseReason, Command, Control, Credential, Denied, Draft, EncodingKey, ExchangeId, Framing, Input, Mark,
    Pattern, Payload, Reply, Request, Session, Switch, Ticket,
};
use smallvec::SmallVec;

use super::answers::{close, send, send_about, send_connected, send_error, send_pong, subscribed_message, subscribed_pattern_message};
use super::codes::{self, CLOSE_UNAUTHORIZED, Refusal};
use super::message::{ClientMessage, Order, Origin, Refused};
use super::render::{self, About, Object};
use super::request::{Channels, Connecting, Cors, SUBPROTOCOL, refused, subprotocols};
use super::{NativeSettings, api, call, formats, rooms};

/// One client on a WebSocket.
pub(super) struct WebSocketSession {
    settings: Arc<NativeSettings>,
    dialect: u8,
    /// How what is published comes to it: compressed when that was agreed.
    framing: Framing,
    state: State,
    /// What is only needed until the first answer.
    opening: Option<Box<OpeningWith>>,
    /// The host that it asked for, and the origin of its page: a further credential is judged with them.
    host: Option<Box<str>>,
    origin: Option<Box<str>>,
    /// The channels that it is in or asked to be in.
    joined: SmallVec<[ChannelName; 1]>,
    pending: Vec<Pending>,
    next_ticket: u32,
    /// A publication whose payload comes with the next binary message.
    header: Option<Box<(Origin, Box<Draft>)>>,
}

/// What the request that becomes a WebSocket said.
pub(super) struct OpeningWith {
    /// Who asks.
    pub(super) connecting: Connecting,
    /// Who may read a refusal.
    pub(super) cors: Cors,
    /// The subprotocol that was chosen.
    pub(super) subprotocol: Option<Box<str>>,
    /// The channels to begin with; often none.
    pub(super) channels: Channels,
    /// What was seen last in them.
    pub(super) since: Option<Mark>,
}

enum State {
    /// The request waits for its answer.
    Opening(Option<ExchangeId>),
    /// The client has to say `connect`.
    Unknown(Box<Unknown>),
    /// The client may do what it is allowed to.
    Open,
}

/// A client whose credential is still to come.
struct Unknown {
    until: Instant,
    /// Whether a credential is being looked at; then what comes behind it waits here.
    verifying: bool,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
}

enum Waiting {
    Text(Box<str>),
    Binary(Box<[u8]>),
}

/// A command that was asked and what its answer needs.
struct Pending {
    ticket: Ticket,
    origin: Origin,
    asked: Asked,
}

enum Asked {
    /// The credential of the request, or of the first message.
    FirstConnect,
    /// A new credential.
    Connect,
    /// The channels that the request named.
    SubscribeFirst,
    /// A channel, and whether it is a new one.
    Subscribe(ChannelName, bool),
    SubscribePattern(Pattern),
    Unsubscribe(ChannelName),
    UnsubscribePattern(Pattern),
    Publish(ChannelName),
    Application(ChannelName),
    Enter(ChannelName, &'static str),
    Leave(ChannelName),
    Seat(ChannelName),
    Signal(ChannelName),
    Call(Arc<str>),
    Members(ChannelName),
    /// A page of a channel's history, how it is shown, and whether it was read newest first.
    History(ChannelName, Order, bool),
}

impl WebSocketSession {
    /// A session for a request that can become a WebSocket.
    pub(super) fn new(settings: Arc<NativeSettings>, dialect: u8, upgrade: Upgrade, opening: OpeningWith) -> Self {
        let deflate = upgrade == Upgrade::WebSocket { deflate: true };
        Self {
            settings,
            dialect,
            framing: if deflate { Framing::WebSocketDeflate } else { Framing::WebSocket },
            state: State::Opening(None),
            host: opening.connecting.0.host.clone(),
            origin: opening.connecting.0.origin.clone(),
            opening: Some(Box::new(opening)),
            joined: SmallVec::new(),
            pending: Vec::new(),
            next_ticket: 0,
            header: None,
        }
    }

    // The way in.

    fn on_exchange(&mut self, exchange: ExchangeId, actions: &mut Actions) {
        let Some(opening) = &self.opening else { return };
        let command = opening.connecting.command();
        self.state = State::Opening(Some(exchange));
        self.run(Origin::default(), Asked::FirstConnect, command, actions);
    }

    fn on_first_connect(&mut self, now: Instant, outcome: Result<Reply, Denied>, origin: &Origin, actions: &mut Actions) {
        match std::mem::replace(&mut self.state, State::Open) {
            State::Opening(Some(exchange)) => self.on_request_credential(now, exchange, outcome, actions),
            State::Unknown(unknown) => self.on_message_credential(*unknown, outcome, origin, actions),
            State::Opening(None) | State::Open => {}
        }
    }

    fn on_request_credential(&mut self, now: Instant, exchange: ExchangeId, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        let Some(opening) = &mut self.opening else { return };
        let subprotocol = opening.subprotocol.take();
        match outcome {
            Ok(_) => actions.push(Action::Upgrade(exchange, Switch::to(subprotocol))),
            Err(Denied::Unauthorized(_)) if !opening.connecting.has_credential() => {
                self.state = State::Unknown(Box::new(Unknown {
                    until: now + self.settings.connect_time_max,
                    verifying: false,
                    waiting: Vec::new(),
                    waiting_bytes: 0,
                }));
                actions.push(Action::Upgrade(exchange, Switch::to(subprotocol)));
            }
            Err(denied) => {
                actions.respond(exchange, opening.cors.on(refused(&Refusal::from(&denied))));
                actions.push(Action::End);
            }
        }
    }

    fn on_message_credential(&mut self, unknown: Unknown, outcome: Result<Reply, Denied>, origin: &Origin, actions: &mut Actions) {
        match outcome {
            Ok(reply) => {
                send_connected(&reply, origin, actions);
                self.subscribe_first(actions);
                for waiting in unknown.waiting {
                    match waiting {
                        Waiting::Text(text) => self.on_text(&text, actions),
                        Waiting::Binary(bytes) => self.on_binary(&bytes, actions),
                    }
                }
            }
            Err(denied) => {
                let refusal = Refusal::from(&denied);
                send_error(origin, About::Nothing, &refusal, actions);
                close(codes::close_code_of(&denied), &refusal.words, actions);
            }
        }
    }

    /// Subscribes to what the request named, once the client is known.
    fn subscribe_first(&mut self, actions: &mut Actions) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let Some(opening) = self.opening.take() else { return };
        if !opening.channels.is_empty() {
            self.joined.extend(opening.channels.iter().cloned());
            let command = self.subscribe_command(opening.channels, opening.since, false);
            self.run(Origin { kind: "subscribe".into(), reference: None }, Asked::SubscribeFirst, command, actions);
        }
    }

    // What the client says.

    fn on_text(&mut self, text: &str, actions: &mut Actions) {
        if let Some(header) = self.header.take() {
            let words = "a text message came where the binary one of this `publish` was expected";
            send_error(&header.0, header.1.channels.first().into(), &Refusal::message(words), actions);
        }
        if self.wait_behind_credential(|| Waiting::Text(text.into()), text.len(), actions) {
            return;
        }
        match ClientMessage::parse(text, &self.settings.limits) {
            Ok((origin, message)) if matches!(self.state, State::Open) => self.on_message(origin, message, actions),
            Ok((origin, ClientMessage::Connect { credential })) => self.on_first_message(origin, credential, actions),
            Ok((origin, ClientMessage::Ping)) => send_pong(&origin, actions),
            Ok((origin, message)) => {
                let words = "this app wants a credential; send `{\"type\":\"connect\",\"token\":…}` first";
                send_error(&origin, message.about(), &Refusal::unauthorized(words), actions);
            }
            Err(Refused { origin, channel, refusal }) => send_error(&origin, channel.as_ref().into(), &refusal, actions),
        }
    }

    fn on_first_message(&mut self, origin: Origin, credential: Credential, actions: &mut Actions) {
        let State::Unknown(unknown) = &mut self.state else { return };
        unknown.verifying = true;
        let command = self.connect_command(credential);
        self.run(origin, Asked::FirstConnect, command, actions);
    }

    /// Keeps a message that came behind a credential which is still being looked at.
    fn wait_behind_credential(&mut self, waiting: impl FnOnce() -> Waiting, len: usize, actions: &mut Actions) -> bool {
        let State::Unknown(unknown) = &mut self.state else { return false };
        if !unknown.verifying {
            return false;
        }
        let limits = &self.settings.limits;
        unknown.waiting_bytes += len;
        if unknown.waiting.len() >= limits.commands_in_flight_max || unknown.waiting_bytes > 2 * limits.message_bytes_max {
            let words = "too much was sent before the credential was looked at; wait for `connected`";
            close(codes::close_code(CloseReason::Protocol(words)), words, actions);
        } else {
            unknown.waiting.push(waiting());
        }
        true
    }

    fn on_binary(&mut self, bytes: &[u8], actions: &mut Actions) {
        if self.wait_behind_credential(|| Waiting::Binary(bytes.into()), bytes.len(), actions) {
            return;
        }
        let Some(header) = self.header.take() else {
            let words = "a binary message must follow a `publish` with `\"binary\":true`, which names its channel";
            return send_error(&Origin::default(), About::Nothing, &Refusal::message(words), actions);
        };
        let (origin, mut draft) = *header;
        draft.payload = Payload::Binary(Bytes::copy_from_slice(bytes));
        let asked = Asked::Publish(draft.channels[0].clone());
        self.run(origin, asked, Command::Publish(SmallVec::from_elem(draft, 1)), actions);
    }

    fn on_message(&mut self, origin: Origin, message: ClientMessage, actions: &mut Actions) {
        let (asked, command) = match message {
            ClientMessage::Ping => return send_pong(&origin, actions),
            ClientMessage::PublishBinary { draft } => {
                self.header = Some(Box::new((origin, draft)));
                return;
            }
            ClientMessage::Connect { credential } => (Asked::Connect, self.connect_command(credential)),
            ClientMessage::Subscribe { channel, since, presence } => {
                let new = self.join(&channel);
                let command = self.subscribe_command(SmallVec::from_elem(channel.clone(), 1), since, presence);
                (Asked::Subscribe(channel, new), command)
            }
            ClientMessage::SubscribePattern { pattern, since, presence } => {
                let command = self.pattern_command(pattern.clone(), since, presence);
                (Asked::SubscribePattern(pattern), command)
            }
            ClientMessage::UnsubscribePattern { pattern } => {
                (Asked::UnsubscribePattern(pattern.clone()), Command::UnsubscribePattern(pattern))
            }
            ClientMessage::Unsubscribe { channel } => {
                self.part(&channel);
                (Asked::Unsubscribe(channel.clone()), Command::Unsubscribe(channel))
            }
            ClientMessage::Publish { draft } => {
                (Asked::Publish(draft.channels[0].clone()), Command::Publish(SmallVec::from_elem(draft, 1)))
            }
            ClientMessage::Application { mut draft } => {
                if let Err(refusal) = self.address(&mut draft) {
                    return send_error(&origin, About::Nothing, &refusal, actions);
                }
                (Asked::Application(draft.channels[0].clone()), Command::Publish(SmallVec::from_elem(draft, 1)))
            }
            ClientMessage::Enter { channel, key, data, update_only } => {
                let answer = if update_only { "updated" } else { "entered" };
                let enter = Enter { channel: channel.clone(), key, data, update_only };
                (Asked::Enter(channel, answer), Command::Enter(Box::new(enter)))
            }
            ClientMessage::Seat { seat } => (Asked::Seat(seat.channel.clone()), Command::Seat(seat)),
            ClientMessage::Signal { signal } => (Asked::Signal(signal.channel.clone()), Command::Signal(signal)),
            ClientMessage::Leave { channel, key } => (Asked::Leave(channel.clone()), Command::Leave(channel, key)),
            ClientMessage::Call { call } => (Asked::Call(call.method.clone()), Command::Call(call)),
            ClientMessage::Members { channel } => (Asked::Members(channel.clone()), Command::Members(channel)),
            ClientMessage::History { channel, query, order } => {
                (Asked::History(channel.clone(), order, query.newest_first), Command::History(channel, query))
            }
        };
        self.run(origin, asked, command, actions);
    }

    /// Gives an application message that names no channel those that the connection is in.
    fn address(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if !draft.channels.is_empty() {
            return Ok(());
        }
        if self.joined.is_empty() {
            let words = "the message names no `channel` and this connection has subscribed to none; do one of the two";
            return Err(Refusal::invalid("invalid_channel", words));
        }
        let most = self.settings.limits.channels_per_publication_max;
        if self.joined.len() > most {
            let words = format!("this connection is in more than {most} channels; name the one that the message is for");
            return Err(Refusal::limit("channels_per_publication_max", words));
        }
        draft.channels.extend(self.joined.iter().cloned());
        Ok(())
    }

    /// Takes note that the client wants to be in a channel; true when it was not before.
    fn join(&mut self, channel: &ChannelName) -> bool {
        let new = !self.joined.contains(channel);
        if new {
            self.joined.push(channel.clone());
        }
        new
    }

    fn part(&mut self, channel: &ChannelName) {
        self.joined.retain(|known| known != channel);
    }

    /// A further credential of the same client, who came to the same host from the same origin.
    fn connect_command(&self, credential: Credential) -> Command {
        Command::Connect(Box::new(Connect { credential, host: self.host.clone(), origin: self.origin.clone() }))
    }

    fn subscribe_command(&self, channels: Channels, since: Option<Mark>, presence: bool) -> Command {
        let key = EncodingKey { dialect: self.dialect, format: formats::MESSAGES, framing: self.framing, qualifier: None };
        let delivery = Delivery::Shared(key);
        Command::Subscribe(Box::new(Subscribe { channels, patterns: SmallVec::new(), since, delivery, presence, replay: Replay::Deliver }))
    }

    fn pattern_command(&self, pattern: Pattern, since: Option<Mark>, presence: bool) -> Command {
        let format = formats::MESSAGES_AND_CURSORS;
        let delivery = Delivery::Shared(EncodingKey { dialect: self.dialect, format, framing: self.framing, qualifier: None });
        let (channels, patterns) = (SmallVec::new(), SmallVec::from_elem(pattern, 1));
        Command::Subscribe(Box::new(Subscribe { channels, patterns, since, delivery, presence, replay: Replay::Deliver }))
    }

    fn run(&mut self, origin: Origin, asked: Asked, command: Command, actions: &mut Actions) {
        let most = self.settings.limits.commands_in_flight_max;
        if self.pending.len() >= most {
            let words = format!("more than {most} messages wait for their answers; wait for some of them");
            self.take_back(&asked);
            return send_error(&origin, asked.about(), &Refusal::limit("commands_in_flight_max", words), actions);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.pending.push(Pending { ticket, origin, asked });
        actions.run(ticket, command);
    }

    /// Undoes what was noted for a command that came to nothing.
    fn take_back(&mut self, asked: &Asked) {
        match asked {
            Asked::Subscribe(channel, true) => self.part(channel),
            Asked::SubscribeFirst => self.joined.clear(),
            _ => {}
        }
    }

    // What the hub says.

    fn on_reply(&mut self, now: Instant, ticket: Ticket, outcome: Result<Reply, Denied>, actions: &mut Actions) {
        let Some(at) = self.pending.iter().position(|pending| pending.ticket == ticket) else { return };
        let Pending { origin, asked, .. } = self.pending.remove(at);
        if self.pending.is_empty() && self.pending.capacity() > 16 {
            self.pending = Vec::new();
        }
        match (outcome, asked) {
            (outcome, Asked::FirstConnect) => self.on_first_connect(now, outcome, &origin, actions),
            (Err(denied), asked) => {
                self.take_back(&asked);
                send_error(&origin, asked.about(), &Refusal::from(&denied), actions);
            }
            (Ok(reply), Asked::Connect) => send_connected(&reply, &origin, actions),
            (Ok(Reply::Subscribed(subscribed)), Asked::Subscribe(..) | Asked::SubscribeFirst) => {
                for channel in &subscribed.channels {
                    send(actions, |into| subscribed_message(channel, subscribed.more(), &origin, into));
                }
            }
            (Ok(Reply::Subscribed(subscribed)), Asked::SubscribePattern(pattern)) => {
                send(actions, |into| subscribed_pattern_message(&pattern, &subscribed, &origin, into));
            }
            (Ok(Reply::NotSubscribed), asked @ (Asked::Unsubscribe(_) | Asked::UnsubscribePattern(_))) => {
                let refusal =
                    Refusal::invalid("not_subscribed", "there is no such subscription to end: this connection is not subscribed to it");
                send_error(&origin, asked.about(), &refusal, actions);
            }
            (Ok(_), Asked::UnsubscribePattern(pattern)) => send(actions, |into| {
                let mut object = Object::message("unsubscribed", into);
                object.text("pattern", &pattern.to_string());
                object.reference(&origin);
                object.end();
            }),
            (Ok(_), Asked::Unsubscribe(channel)) => send_about(&channel, "unsubscribed", &origin, actions),
            (Ok(_), Asked::Enter(channel, answer)) => send_about(&channel, answer, &origin, actions),
            (Ok(Reply::Seated(seated)), Asked::Seat(channel)) => {
                send(actions, |into| rooms::seated_message(&channel, &seated, &origin, into));
            }
            // What was said to a member is answered by that member, if at all.
            (Ok(_), Asked::Signal(_)) => {}
            (Ok(_), Asked::Leave(channel)) => send_about(&channel, "left", &origin, actions),
            (Ok(Reply::Published(results)), Asked::Publish(channel)) => {
                for outcome in results {
                    match outcome {
                        Ok(published) => send(actions, |into| {
                            let mut object = Object::message("published", into);
                            api::published_members(&channel, &published, &mut object);
                            object.reference(&origin);
                            object.end();
                        }),
                        Err(denied) => send_error(&origin, About::Channel(&channel), &Refusal::from(&denied), actions),
                    }
                }
            }
            (Ok(Reply::Published(results)), Asked::Application(channel)) => {
                for denied in results.iter().filter_map(|outcome| outcome.as_ref().err()) {
                    send_error(&origin, About::Channel(&channel), &Refusal::from(denied), actions);
                }
            }
            (Ok(Reply::Called(called)), Asked::Call(method)) => self.on_called(&method, *called, &origin, actions),
            // What no connection may have waiting would only cut off whoever asked.
            (Ok(Reply::Members(members)), Asked::Members(channel))
                if api::members_bytes(&members) > self.settings.limits.outbox_bytes_soft =>
            {
                let words = "the list of members is larger than what may wait for a WebSocket; ask for it with GET /v1/presence";
                send_error(&origin, About::Channel(&channel), &Refusal::limit("outbox_bytes_soft", words), actions);
            }
            (Ok(Reply::Members(members)), Asked::Members(channel)) => send(actions, |into| {
                let mut object = Object::message("members", into);
                api::members_members(&channel, &members, &mut object);
                object.reference(&origin);
                object.end();
            }),
            (Ok(Reply::History(page)), Asked::History(channel, order, newest_first)) => {
                let bytes_max = self.settings.limits.outbox_bytes_soft;
                send(actions, |into| {
                    let mut object = Object::message("history", into);
                    api::history_members(&channel, page, (order, newest_first), bytes_max, &mut object);
                    object.reference(&origin);
                    object.end();
                });
            }
            (Ok(_), _) => debug_assert!(false, "a reply of another kind than its command"),
        }
    }

    /// Does what the application wants done with its caller, and gives its answer.
    fn on_called(&mut self, method: &str, called: Called, origin: &Origin, actions: &mut Actions) {
        for channel in called.leave.iter().filter(|channel| self.joined.contains(channel)).cloned().collect::<Channels>() {
            self.part(&channel);
            let asked = Asked::Unsubscribe(channel.clone());
            self.run(Origin { kind: "unsubscribe".into(), reference: None }, asked, Command::Unsubscribe(channel), actions);
        }
        for channel in &called.join {
            let new = self.join(channel);
            let command = self.subscribe_command(SmallVec::from_elem(channel.clone(), 1), None, false);
            let asked = Asked::Subscribe(channel.clone(), new);
            self.run(Origin { kind: "subscribe".into(), reference: None }, asked, command, actions);
        }
        called.emits.iter().for_each(|emit| actions.push(Action::Push(call::emit_frame(emit))));
        send(actions, |into| call::called_message(method, &called, origin, into));
        if called.disconnect {
            close(codes::close_code(CloseReason::Kicked), codes::close_words(CloseReason::Kicked), actions);
        }
    }

    fn on_control(&mut self, control: Control, actions: &mut Actions) {
        match control {
            Control::Close(reason) => {
                if let (State::Opening(Some(exchange)), Some(opening)) = (&self.state, &self.opening) {
                    let refusal = Refusal::from(&Denied::Unavailable(codes::close_words(reason).into()));
                    actions.respond(*exchange, opening.cors.on(refused(&refusal)));
                    actions.push(Action::End);
                } else {
                    close(codes::close_code(reason), codes::close_words(reason), actions);
                }
            }
            Control::Direct(publication) => {
                actions.push(Action::Push(render::websocket_publication(&publication, None, self.framing, &mut BytesMut::new())));
            }
            Control::Unsubscribed(channel) => {
                self.part(&channel);
                send_about(&channel, "unsubscribed", &Origin::default(), actions);
            }
        }
    }
}

impl Session for WebSocketSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, _) => self.on_exchange(exchange, actions),
            Input::Attached(..) => self.subscribe_first(actions),
            Input::Text(_, text) => self.on_text(text, actions),
            Input::Binary(_, bytes) => self.on_binary(bytes, actions),
            Input::Reply(ticket, outcome) => self.on_reply(now, ticket, outcome, actions),
            Input::Control(control) => self.on_control(control, actions),
            Input::Timeout => {
                if self.next_timeout().is_some_and(|until| until <= now) {
                    close(CLOSE_UNAUTHORIZED, "no credential came; send `connect` with a token", actions);
                }
            }
            Input::Abandoned(_) | Input::Detached(_) => actions.push(Action::End),
            Input::Answered(_) | Input::Event(_) => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Unknown(unknown) => Some(unknown.until),
            State::Opening(_) | State::Open => None,
        }
    }
}

impl Asked {
    /// What it is about.
    fn about(&self) -> About<'_> {
        match self {
            Self::FirstConnect | Self::Connect | Self::SubscribeFirst | Self::Call(_) => About::Nothing,
            Self::SubscribePattern(pattern) | Self::UnsubscribePattern(pattern) => About::Pattern(pattern),
            Self::Subscribe(channel, _)
            | Self::Unsubscribe(channel)
            | Self::Publish(channel)
            | Self::Application(channel)
            | Self::Enter(channel, _)
            | Self::Leave(channel)
            | Self::Seat(channel)
            | Self::Signal(channel)
            | Self::Members(channel)
            | Self::History(channel, ..) => About::Channel(channel),
        }
    }
}

/// The subprotocol of the native dialect, for clients that want to name one.
pub(super) fn subprotocol(request: &Request<'_>) -> Option<Box<str>> {
    subprotocols(request).any(|name| name == SUBPROTOCOL).then(|| SUBPROTOCOL.into())
}
