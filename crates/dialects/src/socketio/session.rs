//! One Engine.IO session with what is spoken over it.
//!
//! The session hands every input first to [`Engine`], which knows carriers and polls, and what comes out of it as a message to the
//! application: Socket.IO, or an echo for the protocol's test suite.

use std::sync::Arc;
use std::time::{Duration, Instant};

use omnivox_core::session::OpenContext;
use omnivox_core::{Actions, Control, ExchangeId, Input, Request, Session};

use super::Shared;
use super::engine::packet::{BadPacket, Message, Packet};
use super::engine::{Brought, Engine, Outgoing, Over, Revision};
use super::line::Line;
use super::packet::Broken;
use super::settings::Application;
use super::sockets::Sockets;

/// One client's session.
pub(super) struct SocketIoSession {
    engine: Engine,
    /// `None` is the echo.
    sockets: Option<Box<Sockets>>,
    state: State,
}

/// Whether the session goes on.
#[derive(Clone, Copy)]
enum State {
    Live,
    /// The client said goodbye; a poll that it sent at the same time is answered until then.
    Leaving(Instant),
    Over,
}

/// How long a poll may be behind the goodbye that was sent beside it.
const LEAVING_TIME: Duration = Duration::from_millis(100);

impl SocketIoSession {
    pub(super) fn new(shared: Arc<Shared>, revision: Revision, sid: Box<str>, context: &OpenContext) -> Self {
        let sockets = match shared.settings.application {
            Application::Echo => None,
            Application::Hub | Application::Suite => Some(Box::new(Sockets::new(shared.clone(), revision, context))),
        };
        Self { engine: Engine::new(shared, revision, sid, context.now), sockets, state: State::Live }
    }

    fn exchange(&mut self, now: Instant, exchange: ExchangeId, request: &Request<'_>, actions: &mut Actions) -> Result<(), Over> {
        if self.engine.is_fresh() {
            self.engine.open(exchange, request, actions);
            if let Some(sockets) = &mut self.sockets {
                sockets.opened(request, &mut Line { now, engine: &mut self.engine, actions });
            }
            return Ok(());
        }
        match self.engine.request(now, exchange, request, actions) {
            Brought::Nothing => Ok(()),
            Brought::Over(over) => Err(over),
            Brought::Packets(packets) => {
                let outcome = packets.into_iter().try_for_each(|packet| self.packet(now, packet, actions));
                let good = !matches!(outcome, Err(Over::ByServer));
                self.engine.posted(exchange, request, good, actions);
                outcome
            }
        }
    }

    fn packet(&mut self, now: Instant, packet: Result<Packet<'_>, BadPacket>, actions: &mut Actions) -> Result<(), Over> {
        match packet {
            Ok(Packet::Message(message)) => self.message(now, message, actions),
            Ok(Packet::Ping(_)) => self.engine.ping(now, actions),
            Ok(Packet::Pong) => {
                self.engine.pong(now);
                Ok(())
            }
            Ok(Packet::Close) => Err(Over::ByClient),
            // Without a meaning from a client at this point, and ignored by the reference.
            Ok(Packet::Open | Packet::Upgrade | Packet::Noop) => Ok(()),
            Err(BadPacket) => Err(self.broken()),
        }
    }

    fn message(&mut self, now: Instant, message: Message<'_>, actions: &mut Actions) -> Result<(), Over> {
        let mut line = Line { now, engine: &mut self.engine, actions };
        match &mut self.sockets {
            Some(sockets) => match sockets.message(message, &mut line) {
                Ok(()) => Ok(()),
                Err(Broken(_)) => Err(self.broken()),
            },
            None => {
                let echo = match message {
                    Message::Text(text) => Outgoing::Text(format!("4{text}").into()),
                    Message::Binary(data) => Outgoing::Binary(data.into_owned().into()),
                };
                line.engine.send(echo, line.actions);
                Ok(())
            }
        }
    }

    fn input(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) -> Result<(), Over> {
        match input {
            Input::Exchange(exchange, request) => self.exchange(now, exchange, request, actions)?,
            Input::Abandoned(exchange) => self.engine.abandoned(exchange)?,
            Input::Answered(exchange) => self.engine.answered(exchange),
            Input::Attached(exchange, carrier) => self.engine.attached(exchange, carrier, actions),
            Input::Detached(carrier) => self.engine.detached(carrier)?,
            Input::Text(carrier, text) if self.engine.is_transport(carrier) => {
                self.packet(now, Packet::from_text(text, self.engine.revision), actions)?;
            }
            Input::Binary(carrier, data) if self.engine.is_transport(carrier) => {
                self.packet(now, Packet::from_binary(data, self.engine.revision), actions)?;
            }
            Input::Text(carrier, text) => self.engine.probe(carrier, Some(text), actions),
            Input::Binary(carrier, _) => self.engine.probe(carrier, None, actions),
            Input::Timeout => self.timeout(now, actions)?,
            Input::Reply(ticket, outcome) => {
                if let Some(sockets) = &mut self.sockets {
                    sockets.reply(ticket, outcome, &mut Line { now, engine: &mut self.engine, actions });
                }
            }
            Input::Event(event) => {
                if let Some(sockets) = &mut self.sockets {
                    sockets.room_event(event, &mut Line { now, engine: &mut self.engine, actions });
                }
            }
            Input::Control(control) => {
                let outcome = match &mut self.sockets {
                    Some(sockets) => sockets.control(&control, &mut Line { now, engine: &mut self.engine, actions }),
                    None if matches!(control, Control::Close(_)) => Err(Over::ByServer),
                    None => Ok(()),
                };
                return self.engine.flush(actions).and(outcome);
            }
        }
        self.engine.flush(actions)
    }

    /// The client broke the protocol.
    fn broken(&mut self) -> Over {
        self.because("parse error");
        Over::ByServer
    }

    fn because(&mut self, reason: &'static str) {
        if let Some(sockets) = &mut self.sockets {
            sockets.ending_because(reason);
        }
    }

    fn timeout(&mut self, now: Instant, actions: &mut Actions) -> Result<(), Over> {
        if let Some(sockets) = &self.sockets {
            sockets.ending(now);
            if sockets.connect_by().is_some_and(|connect_by| connect_by <= now) {
                return Err(Over::ByServer);
            }
        }
        let outcome = self.engine.timeout(now, actions);
        if outcome.is_err() {
            self.because("ping timeout");
        }
        outcome
    }
}

impl SocketIoSession {
    fn end(&mut self, now: Instant, over: Over, actions: &mut Actions) {
        if let Some(sockets) = &self.sockets {
            sockets.ending(now);
        }
        if over == Over::ByClient && self.engine.is_polling() && !self.engine.is_polled() {
            // Requests travel on connections of their own: the poll may come right behind.
            self.state = State::Leaving(now + LEAVING_TIME);
            return;
        }
        self.state = State::Over;
        self.engine.end(over, actions);
    }

    /// An input for a session whose client said goodbye.
    fn leaving(&mut self, input: &Input<'_>, actions: &mut Actions) {
        match input {
            Input::Exchange(exchange, request) if request.method == "GET" && !request.is_websocket() => {
                self.engine.last_poll(*exchange, request, actions);
            }
            Input::Exchange(exchange, request) => self.engine.too_late(*exchange, request, actions),
            Input::Timeout => {}
            _ => return,
        }
        self.state = State::Over;
        self.engine.end(Over::Lost, actions);
    }
}

impl Session for SocketIoSession {
    fn handle(&mut self, now: Instant, input: Input<'_>, actions: &mut Actions) {
        match (self.state, &input) {
            (State::Over, _) => {}
            (State::Leaving(_), _) => self.leaving(&input, actions),
            (State::Live, Input::Exchange(exchange, request)) if self.engine.is_overdue(now) => {
                self.engine.too_late(*exchange, request, actions);
                self.end(now, Over::ByServer, actions);
            }
            (State::Live, _) => {
                if let Err(over) = self.input(now, input, actions) {
                    self.end(now, over, actions);
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Live => {
                let engine = self.engine.next_timeout();
                let connect_by = self.sockets.as_ref().and_then(|sockets| sockets.connect_by());
                Some(connect_by.map_or(engine, |connect_by| connect_by.min(engine)))
            }
            State::Leaving(until) => Some(until),
            State::Over => None,
        }
    }
}
