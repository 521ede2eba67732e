//! The driver: gives sessions their inputs, does their actions, ends them.
//!
//! Invariant: a session never waits and is never entered twice; what follows from an action comes to it as a later input of the same turn.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use omnivox_core::Frame;
use omnivox_core::channel::Seating;
use omnivox_core::command::{CloseReason, Control, Denied, Ticket};
use omnivox_core::event::Event;
use omnivox_core::grants::Principal;
use omnivox_core::name::{AppId, ChannelKey, ChannelName, SessionId};
use omnivox_core::room::SEAT_MARK;
use omnivox_core::session::{Action, Actions, CarrierId, ExchangeId, Heartbeat, Input};
use omnivox_hub::Hub;
use omnivox_hub::hub::Outcome;
use omnivox_hub::leases::Watched;
use smallvec::SmallVec;

use super::Shard;
use super::commands::After;
use super::conn::{Mode, SlotRef};
use super::slot::{ANSWERED, Entry, Slot};
use crate::metrics::sub;

/// Sessions that are answered and ended together.
const ANSWERED_TOGETHER: usize = 32;

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
    /// The first frame of sessions that wanted only one.
    Answer(Vec<SlotRef>, Frame),
}

impl Shard {
    pub(super) fn slot(&mut self, at: SlotRef) -> Option<&mut Slot> {
        self.sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation)
    }

    pub(super) fn session_id(&self, at: SlotRef) -> SessionId {
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
        let now = self.now;
        let Some(slot) = self.slot(at) else { return };
        let mut actions = Actions::default();
        slot.handle(now, input, &mut actions);
        self.perform(at, &mut actions);
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
                Work::Answer(waiting, frame) => self.answer_all(&waiting, &frame),
            }
        }
    }

    /// Does a session's actions, in order.
    pub(super) fn perform(&mut self, at: SlotRef, actions: &mut Actions) {
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
                Action::Upgrade(exchange, switch) => {
                    let most = self.slot(at).and_then(|slot| slot.message_bytes_max).unwrap_or(self.common.hub.limits().message_bytes_max);
                    if self.take_exchange(at, exchange) && self.upgrade(exchange.0, &switch, most) {
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
                    slot.hold = Some((exchange.0, drain));
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
            let grace = if slot.sent_away { Duration::ZERO } else { self.common.hub.limits().seat_grace };
            entries.into_iter().for_each(|entry| self.end_entry(session_id, principal, entry, grace));
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

    /// Takes a session's entry out of its presence set; a seat is kept for it for the time of `grace`.
    pub(super) fn end_entry(&self, session: SessionId, principal: &Arc<Principal>, entry: Entry, grace: Duration) {
        let (hub, Entry { channel, key, going }) = (&self.common.hub, entry);
        if key.starts_with(SEAT_MARK) {
            return keep_seat(hub.clone(), principal.clone(), (channel, session, key), grace);
        }
        let leaving = hub.presence().leave(&ChannelKey::new(&principal.app, &channel), session, &key);
        match going {
            Some(going) => background(hub.tell(&principal.app, leaving, *going)),
            None => background(leaving),
        }
    }

    /// Gives up a seat; the last one of a channel tells the engine.
    pub(super) fn leave(&mut self, seat: Seating) {
        if let Some(key) = self.table.leave(seat) {
            self.forget_channel(&key);
        }
    }

    pub(super) fn leave_pattern(&mut self, seat: Seating) {
        if let Some(app) = self.patterns.leave(seat) {
            self.common.hub.log().unwatch(&app, self.id);
        }
    }

    pub(super) fn forget_channel(&self, key: &ChannelKey) {
        sub(&self.metrics().local_channels, 1);
        self.common.hub.log().unsubscribe(key, self.id);
    }

    /// Answers the open requests of sessions that wanted one frame, and ends the sessions. One kind of work is done for some of them before the
    /// next begins: so the processor fetches what it has not seen for long (a slot, a connection) for several at a time.
    fn answer_all(&mut self, waiting: &[SlotRef], frame: &Frame) {
        for some in waiting.chunks(ANSWERED_TOGETHER) {
            let open = some.iter().filter_map(|at| Some((*at, self.slot(*at)?.exchanges.pop()?)));
            let open: SmallVec<[(SlotRef, u32); ANSWERED_TOGETHER]> = open.collect();
            let waits = |key: u32| self.conns.get(key as usize).is_some_and(|conn| matches!(conn.mode, Mode::Waiting(_)));
            let waiting: SmallVec<[bool; ANSWERED_TOGETHER]> = open.iter().map(|(_, key)| waits(*key)).collect();
            for ((_, key), _) in open.iter().zip(waiting).filter(|(_, waits)| *waits) {
                self.respond_with(*key, frame);
            }
            open.into_iter().for_each(|(at, _)| self.end_session(at));
        }
    }

    /// Whether a connection may be closed for being silent: only one that is a carrier of a living session.
    pub(super) fn heartbeat_of(&self, key: u32) -> Option<(SlotRef, Heartbeat)> {
        let conn = self.conns.get(key as usize)?;
        let at = conn.session?;
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation)?;
        matches!(conn.mode, Mode::WebSocket(_) | Mode::Stream { .. }).then(|| (at, slot.heartbeat.clone()))
    }
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

/// Gives a seat on lease back when it lapses.
pub(super) fn watch_lease(hub: Arc<Hub>, app: AppId, member: Arc<str>) {
    let Some(number) = hub.watch_lease(&app, &member) else { return };
    tokio::task::spawn_local(async move {
        loop {
            match hub.watched_lease(&app, &member, number) {
                Watched::Left(left) => tokio::time::sleep(left).await,
                Watched::Lapsed(unseating) => break background(unseating),
                Watched::Gone => break,
            }
        }
    });
}

/// Lets an engine finish something that nobody waits for.
pub(super) fn background<T: 'static>(mut task: omnivox_core::engine::Task<T>) {
    if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        tokio::task::spawn_local(async move {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a session's end could not be told to the engine");
            }
        });
    }
}
