//! The driver: gives sessions their inputs, does their actions, runs their commands in order.
//!
//! Invariant: a session never waits and is never entered twice; what follows from an action comes to it as a later input of the same turn.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use omnivox_core::channel::Seating;
use omnivox_core::command::{
    CloseReason, Command, Control, Denied, Enter, Replay, Reply, Subscribe, Subscribed, SubscribedChannel, SubscribedPatterns, Ticket,
};
use omnivox_core::engine::Joined;
use omnivox_core::event::Event;
use omnivox_core::grants::Principal;
use omnivox_core::name::{ChannelKey, ChannelName, SessionId};
use omnivox_core::pattern_table::PatternKey;
use omnivox_core::room::SEAT_MARK;
use omnivox_core::session::{Action, Actions, CarrierId, Drain, ExchangeId, Heartbeat, Input, NewSession, Session};
use omnivox_core::{Frame, Outbox, Pattern, Publication};
use omnivox_hub::Hub;
use omnivox_hub::hub::{Caller, Outcome};
use smallvec::SmallVec;

use super::conn::{Mode, SlotRef};
use super::{Shard, fanout};
use crate::metrics::{add, sub};

/// A session and what the driver knows of it.
pub(super) struct Slot {
    pub generation: u32,
    /// Out while it handles an input.
    session: Option<Box<dyn Session>>,
    pub principal: Option<Arc<Principal>>,
    pub heartbeat: Heartbeat,
    message_bytes_max: Option<usize>,
    /// Its carriers, as connections.
    carriers: SmallVec<[u32; 1]>,
    /// The carrier that drains the outbox.
    pub promoted: Option<u32>,
    /// The exchange that opened it: if that becomes a carrier it is promoted by itself. `ANSWERED` once it has been answered otherwise.
    opened_by: Option<u32>,
    /// Connections whose requests it has not answered.
    pub exchanges: SmallVec<[u32; 1]>,
    pub hold: Option<Box<(u32, Drain)>>,
    pub outbox: Outbox,
    pub seats: Vec<Seating>,
    /// Its seats at patterns.
    #[expect(clippy::box_collection, reason = "few sessions have any, and every session pays for the field")]
    pattern_seats: Option<Box<Vec<Seating>>>,
    /// Its entries in presence sets.
    entries: Option<Box<Vec<(ChannelName, Arc<str>)>>>,
    commands: Option<Box<Commands>>,
    /// The time of its entry in the wheel; 0 for none.
    pub timer_ms: u64,
    /// Whether the wheel has an entry for the end of its credential.
    pub expiry_watched: bool,
    key: Option<Box<str>>,
    /// The stamp of the last publication that it was given in one of several channels.
    pub last_stamp: u64,
    pub dirty: bool,
    pub ending: bool,
    /// Whether it lost the right to be here, so that nothing is kept for its return.
    sent_away: bool,
}

/// No connection has this number.
const ANSWERED: u32 = u32::MAX;

/// Commands that wait for the one that is running.
#[derive(Default)]
struct Commands {
    running: bool,
    waiting: VecDeque<(Ticket, Command)>,
}

/// What remains to be done when a command is through.
pub(super) enum After {
    Nothing,
    Connect,
    Subscribe { subscribe: Box<Subscribe>, gates: Gates },
    Entered(ChannelName, Arc<str>),
    Left(ChannelName, Arc<str>),
    Seated(ChannelName),
}

/// Where a session waits until its subscribe is answered.
#[derive(Default)]
pub(super) struct Gates {
    channels: SmallVec<[u32; 1]>,
    patterns: SmallVec<[u32; 0]>,
}

/// Something that is still to be done in this turn.
pub(super) enum Work {
    Finished(SlotRef, Ticket, After, Result<Outcome, Denied>),
    Attached(SlotRef, ExchangeId, CarrierId),
    Detached(SlotRef, CarrierId),
    Answered(SlotRef, ExchangeId),
    Abandoned(SlotRef, ExchangeId),
    Event(SlotRef, Event),
    Control(SlotRef, Control),
    Timeout(SlotRef),
    /// The first frame of a session that wanted only one.
    Once(SlotRef, Frame),
}

impl Slot {
    pub(super) fn new(generation: u32, new: NewSession) -> Self {
        Self {
            generation,
            session: Some(new.session),
            principal: None,
            heartbeat: new.heartbeat,
            message_bytes_max: new.message_bytes_max,
            carriers: SmallVec::new(),
            promoted: None,
            opened_by: None,
            exchanges: SmallVec::new(),
            hold: None,
            outbox: Outbox::default(),
            seats: Vec::new(),
            pattern_seats: None,
            entries: None,
            commands: None,
            timer_ms: 0,
            expiry_watched: false,
            key: new.key,
            last_stamp: 0,
            dirty: false,
            ending: false,
            sent_away: false,
        }
    }

    /// The reference to this slot, given its place.
    pub(super) fn at(&self, slot: usize) -> SlotRef {
        SlotRef { slot: slot as u32, generation: self.generation }
    }

    /// Gives the session an input and takes its actions.
    pub(super) fn handle(&mut self, input: Input<'_>) -> Actions {
        let mut actions = Actions::default();
        if let Input::Exchange(exchange, _) = &input
            && self.opened_by.is_none()
        {
            self.opened_by = Some(exchange.0);
        }
        if let Some(session) = &mut self.session {
            session.handle(super::now(), input, &mut actions);
        }
        actions
    }

    /// How many channels and patterns it is subscribed to.
    fn subscriptions(&self) -> usize {
        self.seats.len() + self.pattern_seats.as_ref().map_or(0, |seats| seats.len())
    }

    /// Takes note of an entry in a presence set.
    fn keep_entry(&mut self, channel: ChannelName, key: Arc<str>) {
        let entries = self.entries.get_or_insert_default();
        if !entries.iter().any(|(known, entry)| *known == channel && *entry == key) {
            entries.push((channel, key));
        }
    }

    /// When the session wants to be woken.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.session.as_ref().and_then(|session| session.next_timeout())
    }
}

impl Shard {
    pub(super) fn slot(&mut self, at: SlotRef) -> Option<&mut Slot> {
        self.sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation)
    }

    fn session_id(&self, at: SlotRef) -> SessionId {
        SessionId { node: self.common.node, shard: self.id, slot: at.slot, generation: at.generation }
    }

    /// The slot of a session id, if it is one of this shard's.
    pub(super) fn local_session(&self, id: SessionId) -> Option<SlotRef> {
        let here = id.node == self.common.node && id.shard == self.id;
        let slot = self.sessions.get(id.slot as usize)?;
        (here && slot.generation == id.generation).then_some(SlotRef { slot: id.slot, generation: id.generation })
    }

    /// Gives a session an input and does what it wants done.
    pub(super) fn step(&mut self, at: SlotRef, input: Input<'_>) {
        let Some(slot) = self.slot(at) else { return };
        let actions = slot.handle(input);
        self.perform(at, actions);
    }

    /// Does what is left of this turn.
    pub(super) fn run_work(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Finished(at, ticket, after, result) => self.finish(at, ticket, after, result),
                Work::Attached(at, exchange, carrier) => self.step(at, Input::Attached(exchange, carrier)),
                Work::Detached(at, carrier) => self.step(at, Input::Detached(carrier)),
                Work::Answered(at, exchange) => self.step(at, Input::Answered(exchange)),
                Work::Abandoned(at, exchange) => self.step(at, Input::Abandoned(exchange)),
                Work::Event(at, event) => self.step(at, Input::Event(&event)),
                Work::Control(at, control) => self.step(at, Input::Control(control)),
                Work::Timeout(at) => self.step(at, Input::Timeout),
                Work::Once(at, frame) => self.answer_once(at, frame),
            }
        }
    }

    /// Does a session's actions, in order.
    pub(super) fn perform(&mut self, at: SlotRef, mut actions: Actions) {
        for action in actions.drain() {
            match action {
                Action::Send(carrier, frame) => self.send(carrier.0, frame),
                Action::Push(frame) => self.push(at, frame),
                Action::Respond(exchange, response) => {
                    if self.take_exchange(at, exchange) {
                        self.slot(at).into_iter().for_each(|slot| slot.opened_by = Some(ANSWERED));
                        self.respond(exchange.0, response);
                    }
                }
                Action::Upgrade(exchange, protocol) => {
                    let most = self.slot(at).and_then(|slot| slot.message_bytes_max).unwrap_or(self.common.hub.limits().message_bytes_max);
                    if self.take_exchange(at, exchange) && self.upgrade(exchange.0, protocol.as_deref(), most) {
                        self.attach(at, exchange);
                    }
                }
                Action::Stream(exchange, head) => {
                    if self.take_exchange(at, exchange) && self.stream(exchange.0, &head) {
                        self.attach(at, exchange);
                    }
                }
                Action::Hold(exchange, drain) => {
                    let Some(slot) = self.slot(at).filter(|slot| slot.exchanges.contains(&exchange.0)) else { continue };
                    slot.opened_by = Some(ANSWERED);
                    slot.hold = Some(Box::new((exchange.0, *drain)));
                    self.mark_dirty(at);
                }
                Action::Run(ticket, command) => self.run_command(at, ticket, command),
                Action::Promote(carrier) => {
                    if let Some(slot) = self.slot(at).filter(|slot| slot.carriers.contains(&carrier.0)) {
                        slot.promoted = Some(carrier.0);
                        self.mark_dirty(at);
                    }
                }
                Action::Close(carrier) => self.close_carrier(at, carrier.0),
                Action::End => {
                    self.end_session(at);
                    return;
                }
            }
        }
        self.schedule_session(at);
    }

    /// Takes an exchange out of the session's open ones, if it is one of them.
    fn take_exchange(&mut self, at: SlotRef, exchange: ExchangeId) -> bool {
        let Some(slot) = self.slot(at) else { return false };
        let Some(index) = slot.exchanges.iter().position(|open| *open == exchange.0) else { return false };
        slot.exchanges.swap_remove(index);
        if slot.hold.as_ref().is_some_and(|hold| hold.0 == exchange.0) {
            slot.hold = None;
        }
        true
    }

    fn attach(&mut self, at: SlotRef, exchange: ExchangeId) {
        let Some(slot) = self.slot(at) else { return };
        slot.carriers.push(exchange.0);
        if slot.opened_by == Some(exchange.0) && slot.promoted.is_none() {
            slot.promoted = Some(exchange.0);
        }
        self.work.push_back(Work::Attached(at, exchange, CarrierId(exchange.0)));
    }

    /// Sends a frame over a carrier: behind the outbox when the carrier drains it.
    pub(super) fn send(&mut self, key: u32, frame: Frame) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let at = conn.session;
        if let Some(at) = at
            && self.slot(at).is_some_and(|slot| slot.promoted == Some(key))
        {
            return self.push(at, frame);
        }
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if conn.is_carrier() {
            conn.push_direct(frame);
            self.flush(key);
        }
    }

    /// Puts a frame into a session's outbox.
    fn push(&mut self, at: SlotRef, frame: Frame) {
        let limits = self.common.outbox_limits;
        let Some(slot) = self.slot(at) else { return };
        if slot.outbox.push(frame, &limits).is_err() {
            self.slow.push(at);
        }
        self.mark_dirty(at);
    }

    pub(super) fn mark_dirty(&mut self, at: SlotRef) {
        let Some(slot) = self.slot(at) else { return };
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push(at.slot);
        }
    }

    fn close_carrier(&mut self, at: SlotRef, key: u32) {
        let Some(slot) = self.slot(at).filter(|slot| slot.carriers.contains(&key)) else { return };
        let outbox = (slot.promoted == Some(key)).then(|| std::mem::take(&mut slot.outbox));
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        if let Some(outbox) = outbox {
            conn.direct.get_or_insert_default().append(outbox);
        }
        conn.session = None;
        self.begin_close(key);
        self.detach(at, key);
    }

    /// A connection is no longer the session's.
    pub(super) fn detach(&mut self, at: SlotRef, key: u32) {
        let Some(slot) = self.slot(at) else { return };
        if slot.promoted == Some(key) {
            slot.promoted = None;
        }
        if slot.hold.as_ref().is_some_and(|hold| hold.0 == key) {
            slot.hold = None;
        }
        let (carriers, exchanges) = (slot.carriers.len(), slot.exchanges.len());
        slot.carriers.retain(|carrier| *carrier != key);
        slot.exchanges.retain(|exchange| *exchange != key);
        let (was_carrier, was_exchange) = (slot.carriers.len() < carriers, slot.exchanges.len() < exchanges);
        if slot.key.is_none() && slot.carriers.is_empty() && slot.exchanges.is_empty() {
            return self.end_session(at);
        }
        if was_carrier {
            self.work.push_back(Work::Detached(at, CarrierId(key)));
        }
        if was_exchange {
            self.work.push_back(Work::Abandoned(at, ExchangeId(key)));
        }
    }

    /// Lets a session say goodbye, and ends it.
    pub(super) fn close_session(&mut self, at: SlotRef, reason: CloseReason) {
        let Some(slot) = self.slot(at).filter(|slot| !slot.ending) else { return };
        slot.ending = true;
        slot.sent_away = matches!(reason, CloseReason::Kicked | CloseReason::Expired);
        self.metrics().count_close(reason.label());
        self.step(at, Input::Control(Control::Close(reason)));
        self.end_session(at);
    }

    /// A carrier was lost: the session goes on when its dialect can join it with another one, and ends otherwise.
    pub(super) fn close_session_or_carrier(&mut self, at: SlotRef, key: u32, reason: CloseReason) {
        if self.slot(at).is_some_and(|slot| slot.key.is_some()) {
            self.metrics().count_close(reason.label());
            self.close_carrier(at, key);
        } else {
            self.close_session(at, reason);
        }
    }

    /// Ends a session: nothing of it stays but what its carriers still have to write.
    pub(super) fn end_session(&mut self, at: SlotRef) {
        if self.slot(at).is_none() {
            return;
        }
        self.answer_hold(at.slot);
        let session_id = self.session_id(at);
        let slot = self.sessions.remove(at.slot as usize);
        sub(&self.metrics().sessions, 1);
        if let Some(key) = &slot.key {
            self.keys.remove(key);
        }
        for seat in &slot.seats {
            self.leave(*seat);
        }
        for seat in slot.pattern_seats.iter().flat_map(|seats| seats.iter()) {
            self.leave_pattern(*seat);
        }
        if let (Some(entries), Some(principal)) = (slot.entries, &slot.principal) {
            for (channel, key) in *entries {
                if key.starts_with(SEAT_MARK) {
                    let grace = if slot.sent_away { Duration::ZERO } else { self.common.hub.limits().seat_grace };
                    keep_seat(self.common.hub.clone(), principal.clone(), (channel, session_id, key), grace);
                    continue;
                }
                let leaving = self.common.hub.presence().leave(&ChannelKey::new(&principal.app, &channel), session_id, &key);
                background(leaving);
            }
        }
        if let Some(promoted) = slot.promoted.and_then(|key| self.conns.get_mut(key as usize)) {
            promoted.direct.get_or_insert_default().append(slot.outbox);
        }
        for key in slot.carriers.iter().chain(&slot.exchanges) {
            if let Some(conn) = self.conns.get_mut(*key as usize) {
                conn.session = None;
                self.begin_close(*key);
            }
        }
    }

    /// Gives up a seat; the last one of a channel tells the engine.
    fn leave(&mut self, seat: Seating) {
        let key = self.table.channel(seat.channel).key.clone();
        if self.table.leave(seat) {
            self.forget_channel(&key);
        }
    }

    fn leave_pattern(&mut self, seat: Seating) {
        if let Some(app) = self.patterns.leave(seat) {
            self.common.hub.log().unwatch(&app, self.id);
        }
    }

    fn forget_channel(&mut self, key: &ChannelKey) {
        sub(&self.metrics().local_channels, 1);
        self.common.hub.log().unsubscribe(key, self.id);
    }

    /// Runs a command, or lets it wait for those before it.
    fn run_command(&mut self, at: SlotRef, ticket: Ticket, command: Command) {
        let most = self.common.hub.limits().commands_in_flight_max;
        let Some(slot) = self.slot(at) else { return };
        if let Some(commands) = slot.commands.as_mut().filter(|commands| commands.running) {
            if commands.waiting.len() >= most {
                let words = format!("{most} commands of this connection wait already; wait for answers before you send more");
                let denied = Denied::Limit { setting: "commands_in_flight_max", words: words.into() };
                return self.work.push_back(Work::Finished(at, ticket, After::Nothing, Err(denied)));
            }
            commands.waiting.push_back((ticket, command));
            return;
        }
        self.start_command(at, ticket, command);
    }

    fn start_command(&mut self, at: SlotRef, ticket: Ticket, mut command: Command) {
        let session = self.session_id(at);
        let Some(slot) = self.slot(at) else { return };
        let caller = Caller { session, principal: slot.principal.clone(), subscriptions: slot.subscriptions() };
        let after = self.before(at, session, &mut command);
        let hub = self.common.hub.clone();
        let mut running = hub.run(&caller, command, self.id);
        match running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.work.push_back(Work::Finished(at, ticket, after, result)),
            Poll::Pending => {
                if let Some(slot) = self.slot(at) {
                    slot.commands.get_or_insert_default().running = true;
                }
                let this = self.this.clone();
                tokio::task::spawn_local(async move {
                    let result = running.await;
                    let Some(shard) = this.upgrade() else { return };
                    let mut shard = shard.borrow_mut();
                    shard.work.push_back(Work::Finished(at, ticket, after, result));
                    shard.settle();
                });
            }
        }
    }

    /// What the shard does before the hub runs a command, and what it must remember for afterwards.
    fn before(&mut self, at: SlotRef, session: SessionId, command: &mut Command) -> After {
        match command {
            Command::Connect(_) => After::Connect,
            Command::Subscribe(subscribe) => {
                let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return After::Nothing };
                let mut gates = Gates::default();
                for channel in &subscribe.channels {
                    let channels = self.table.len();
                    gates.channels.push(self.table.gate(&ChannelKey::new(&principal.app, channel), at.slot));
                    add(&self.metrics().local_channels, (self.table.len() - channels) as u64);
                }
                for pattern in &subscribe.patterns {
                    let key = PatternKey { app: principal.app.clone(), pattern: pattern.clone() };
                    gates.patterns.push(self.patterns.gate(&key, at.slot));
                }
                After::Subscribe { subscribe: subscribe.clone(), gates }
            }
            Command::Unsubscribe(channel) => {
                self.unsubscribe(at, channel);
                After::Nothing
            }
            Command::UnsubscribePattern(pattern) => {
                self.unsubscribe_pattern(at, pattern);
                After::Nothing
            }
            Command::Publish(drafts) => {
                drafts.iter_mut().for_each(|draft| draft.published_by(session));
                After::Nothing
            }
            Command::Enter(enter) | Command::Appear(enter) => {
                let Enter { channel, key, .. } = &**enter;
                After::Entered(channel.clone(), key.clone())
            }
            Command::Seat(seat) => After::Seated(seat.channel.clone()),
            Command::Leave(channel, key) => After::Left(channel.clone(), key.clone()),
            Command::Members(_)
            | Command::Present(_)
            | Command::Locate(_)
            | Command::History(..)
            | Command::Channels(_)
            | Command::Manage(_)
            | Command::Ticket
            | Command::Signal(_)
            | Command::Ice(_) => After::Nothing,
        }
    }

    fn unsubscribe(&mut self, at: SlotRef, channel: &ChannelName) {
        let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return };
        let Some(index) = self.table.find(&ChannelKey::new(&principal.app, channel)) else { return };
        self.give_up_seat(at, index);
    }

    fn unsubscribe_pattern(&mut self, at: SlotRef, pattern: &Pattern) {
        let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return };
        let key = PatternKey { app: principal.app.clone(), pattern: pattern.clone() };
        if let Some(index) = self.patterns.find(&key) {
            self.give_up_pattern(at, index);
        }
    }

    /// Takes the session's seat at a pattern away, if it has one.
    fn give_up_pattern(&mut self, at: SlotRef, pattern: u32) {
        let Some(seats) = self.slot(at).and_then(|slot| slot.pattern_seats.as_mut()) else { return };
        let Some(index) = seats.iter().position(|seat| seat.channel == pattern) else { return };
        let seat = seats.swap_remove(index);
        self.leave_pattern(seat);
    }

    /// Takes the session's seat in a channel away, if it has one.
    fn give_up_seat(&mut self, at: SlotRef, channel: u32) {
        let Some(slot) = self.slot(at) else { return };
        let Some(index) = slot.seats.iter().position(|seat| seat.channel == channel) else { return };
        let seat = slot.seats.swap_remove(index);
        self.leave(seat);
    }

    /// A command is through: the session gets its reply, behind what was missed and before what waited.
    fn finish(&mut self, at: SlotRef, ticket: Ticket, after: After, result: Result<Outcome, Denied>) {
        let was_waiting =
            self.slot(at).and_then(|slot| slot.commands.as_mut()).is_some_and(|commands| std::mem::take(&mut commands.running));
        match (after, result) {
            (After::Subscribe { subscribe, gates }, Ok(Outcome::Joined(joined))) => self.join(at, ticket, *subscribe, &gates, joined),
            (After::Subscribe { gates, .. }, Err(denied)) => {
                self.abandon(at, &gates);
                self.step(at, Input::Reply(ticket, Err(denied)));
            }
            (after, Ok(Outcome::Reply(reply))) => {
                self.remember(at, after, &reply);
                self.step(at, Input::Reply(ticket, Ok(reply)));
            }
            (_, Err(denied)) => self.step(at, Input::Reply(ticket, Err(denied))),
            (_, Ok(Outcome::Joined(_))) => debug_assert!(false, "only a subscribe joins"),
        }
        if was_waiting && let Some((ticket, command)) = self.slot(at).and_then(|slot| slot.commands.as_mut()?.waiting.pop_front()) {
            self.start_command(at, ticket, command);
        }
    }

    fn remember(&mut self, at: SlotRef, after: After, reply: &Reply) {
        let Some(slot) = self.slot(at) else { return };
        match (after, reply) {
            (After::Connect, Reply::Connected(principal)) => {
                slot.principal = Some(principal.clone());
                self.schedule_expiry(at);
            }
            (After::Entered(channel, key), _) => slot.keep_entry(channel, key),
            (After::Seated(channel), Reply::Seated(seated)) => slot.keep_entry(channel, seated.member.clone()),
            (After::Left(channel, key), _) => {
                if let Some(entries) = &mut slot.entries {
                    entries.retain(|(known, entry)| *known != channel || *entry != key);
                }
            }
            (After::Connect | After::Nothing | After::Subscribe { .. } | After::Seated(_), _) => {}
        }
    }

    fn abandon(&mut self, at: SlotRef, gates: &Gates) {
        for gate in &gates.channels {
            let key = self.table.channel(*gate).key.clone();
            if self.table.abandon(*gate, at.slot) {
                self.forget_channel(&key);
            }
        }
        for gate in &gates.patterns {
            if let Some(app) = self.patterns.abandon(*gate, at.slot) {
                self.common.hub.log().unwatch(&app, self.id);
            }
        }
    }

    /// Opens the gates of a subscribe.
    fn join(&mut self, at: SlotRef, ticket: Ticket, subscribe: Subscribe, gates: &Gates, mut joined: Joined) {
        if self.slot(at).is_none() {
            return self.abandon(at, gates);
        }
        let mut missed = std::mem::take(&mut joined.missed);
        missed.retain(|(publication, _)| publication.draft.audience.is_everyone() || self.is_meant(at, publication));
        let mut subscribed = subscribed(&subscribe, &joined, &missed);
        if subscribe.replay == Replay::InReply && (subscribed.gap() || !missed.is_empty()) {
            self.abandon(at, gates);
            subscribed.missed = missed;
            return self.step(at, Input::Reply(ticket, Ok(Reply::Subscribed(Box::new(subscribed)))));
        }
        if subscribe.replay == Replay::Deliver {
            self.replay(at, &subscribe, &mut subscribed, &missed);
        }
        let mut waited = self.open_gates(at, &subscribe, gates, &joined);
        self.run_events(at);
        self.step(at, Input::Reply(ticket, Ok(Reply::Subscribed(Box::new(subscribed)))));
        // What came in several channels, or to a pattern too, comes once.
        waited.publications.sort_by_key(|(publication, _)| publication.cursor.stamp);
        waited.publications.dedup_by_key(|(publication, _)| publication.cursor.stamp);
        for (publication, place) in &waited.publications {
            self.deliver_to(at, &subscribe.delivery, publication, *place);
        }
        for channel in waited.gaps {
            if self.slot(at).is_some() {
                self.deliver_event_to(at, &subscribe.delivery, &Event::Gap(channel));
            }
        }
    }

    /// Gives a session what it missed, as much as its outbox can take.
    fn replay(&mut self, at: SlotRef, subscribe: &Subscribe, subscribed: &mut Subscribed, missed: &[(Arc<Publication>, usize)]) {
        let start = fanout::fit(missed, self.common.outbox_limits.hard_bytes / 2);
        for (publication, _) in &missed[..start] {
            let mut named = false;
            for channel in subscribed.channels.iter_mut().filter(|channel| publication.place(&channel.channel).is_some()) {
                channel.gap = true;
                channel.recovered -= 1;
                named = true;
            }
            if let Some(patterns) = subscribed.patterns.as_mut().filter(|_| !named) {
                patterns.gap = true;
                patterns.recovered -= 1;
            }
        }
        // A gap is told before what follows it: a client that is cut off in the middle of the replay must not take the rest for all.
        for channel in subscribed.channels.iter().filter(|channel| channel.gap) {
            self.deliver_event_to(at, &subscribe.delivery, &Event::Gap(channel.channel.clone()));
        }
        if subscribed.patterns.is_some_and(|patterns| patterns.gap) {
            for pattern in &subscribe.patterns {
                self.deliver_event_to(at, &subscribe.delivery, &Event::Gap(pattern.label()));
            }
        }
        for (publication, place) in &missed[start..] {
            self.deliver_to(at, &subscribe.delivery, publication, *place);
        }
    }

    fn open_gates(&mut self, at: SlotRef, subscribe: &Subscribe, gates: &Gates, joined: &Joined) -> BehindGates {
        let mut waited = BehindGates::default();
        for (gate, state) in gates.channels.iter().zip(&joined.channels) {
            self.give_up_seat(at, *gate);
            let position = state.position;
            let (seat, behind) =
                self.table.open(*gate, at.slot, position.epoch, position.offset, subscribe.delivery.clone(), subscribe.presence);
            if let Some(slot) = self.slot(at) {
                slot.seats.push(seat);
            }
            waited.publications.extend(behind.publications);
            waited.gaps.extend(behind.gap.then(|| self.table.channel(*gate).key.channel.clone()));
        }
        for (gate, pattern) in gates.patterns.iter().zip(&subscribe.patterns) {
            self.give_up_pattern(at, *gate);
            let (seat, behind) = self.patterns.open(*gate, at.slot, joined.cursor, subscribe.delivery.clone(), subscribe.presence);
            if let Some(slot) = self.slot(at) {
                slot.pattern_seats.get_or_insert_default().push(seat);
            }
            let allowed = behind.publications.into_iter().filter(|(publication, place)| self.may_receive(at, publication, *place));
            waited.publications.extend(allowed);
            waited.gaps.extend(behind.gap.then(|| pattern.label()));
        }
        waited
    }

    /// Lets a stateful session handle what was queued for it before something else comes.
    fn run_events(&mut self, at: SlotRef) {
        let mut rest = VecDeque::new();
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Event(to, event) if to == at => self.step(at, Input::Event(&event)),
                other => rest.push_back(other),
            }
        }
        self.work = rest;
    }

    /// Answers the open request of a session that wanted one frame, and ends the session.
    fn answer_once(&mut self, at: SlotRef, frame: Frame) {
        let Some(slot) = self.slot(at) else { return };
        let Some(key) = slot.exchanges.pop() else { return };
        self.respond_with(key, frame);
        self.end_session(at);
    }

    /// Whether a connection may be closed for being silent: only one that is a carrier of a living session.
    pub(super) fn heartbeat_of(&self, key: u32) -> Option<(SlotRef, Heartbeat)> {
        let conn = self.conns.get(key as usize)?;
        let at = conn.session?;
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation)?;
        matches!(conn.mode, Mode::WebSocket(_) | Mode::Stream { .. }).then(|| (at, slot.heartbeat.clone()))
    }
}

/// What waited behind all gates of a subscribe.
#[derive(Default)]
struct BehindGates {
    publications: Vec<(Arc<Publication>, usize)>,
    gaps: Vec<ChannelName>,
}

/// The reply to a subscribe.
fn subscribed(subscribe: &Subscribe, joined: &Joined, missed: &[(Arc<Publication>, usize)]) -> Subscribed {
    let in_channel = |channel: &ChannelName| missed.iter().filter(|(publication, _)| publication.place(channel).is_some()).count();
    let channels = subscribe.channels.iter().zip(&joined.channels).map(|(channel, state)| SubscribedChannel {
        channel: channel.clone(),
        position: state.position,
        gap: state.gap,
        recovered: in_channel(channel),
    });
    let unnamed = |publication: &Publication| !publication.places.iter().any(|place| subscribe.channels.contains(&place.channel));
    let patterns = (!subscribe.patterns.is_empty()).then(|| SubscribedPatterns {
        gap: joined.watch_gap,
        recovered: missed.iter().filter(|(publication, _)| unnamed(publication)).count(),
    });
    Subscribed { channels: channels.collect(), patterns, cursor: joined.cursor, missed: Vec::new(), more: joined.more }
}

/// Keeps a seat for a while after its session was lost.
fn keep_seat(hub: Arc<Hub>, principal: Arc<Principal>, (channel, session, member): (ChannelName, SessionId, Arc<str>), grace: Duration) {
    if grace.is_zero() {
        return background(hub.unseat(&principal, &channel, session, &member));
    }
    tokio::task::spawn_local(async move {
        tokio::time::sleep(grace).await;
        if let Err(error) = hub.unseat(&principal, &channel, session, &member).await {
            tracing::warn!(%error, "the end of a seat could not be told to the engine");
        }
    });
}

/// Lets an engine finish something that nobody waits for.
fn background<T: 'static>(mut task: omnivox_core::engine::Task<T>) {
    if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::task::spawn_local(async move {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a session's end could not be told to the engine");
            }
        });
    }
}
