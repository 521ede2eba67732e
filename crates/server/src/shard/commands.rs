//! Commands: one at a time for each session, in the order in which they were asked, whether the hub answers at once or later.
//!
//! A subscribe waits behind the gates of its channels; when the hub has answered, what was missed goes out first, then the reply, then what
//! arrived meanwhile.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use omnivox_core::command::{Command, Denied, Enter, Replay, Reply, Subscribe, Subscribed, SubscribedChannel, SubscribedPatterns, Ticket};
use omnivox_core::engine::Joined;
use omnivox_core::event::Event;
use omnivox_core::grants::Principal;
use omnivox_core::name::{ChannelName, ChannelRef, SessionId};
use omnivox_core::pattern_table::PatternKey;
use omnivox_core::session::Input;
use omnivox_core::{Cursor, Pattern, Publication};
use omnivox_hub::hub::Outcome;
use omnivox_hub::traces;
use smallvec::SmallVec;

use super::conn::SlotRef;
use super::driver::{Work, watch_lease};
use super::slot::Entry;
use super::{Shard, fanout};
use crate::metrics::add;
use crate::traces::{Span, Trace, Tracer};

/// Commands that wait for the one that is running.
#[derive(Default)]
pub(super) struct Commands {
    pub running: bool,
    pub waiting: VecDeque<(Ticket, Command)>,
}

/// What remains to be done when a command is through.
pub(super) enum After {
    Nothing,
    Connect,
    Subscribe(Gates),
    /// Whether there was a subscription to end.
    Unsubscribed(bool),
    /// With who enters, for a session that has ended by then.
    Entered(Option<Arc<Principal>>, Entry),
    Left(ChannelName, Arc<str>),
    Seated(Option<Arc<Principal>>, ChannelName),
}

/// Where a session waits until its subscribe is answered.
#[derive(Default)]
pub(super) struct Gates {
    pub channels: SmallVec<[u32; 1]>,
    pub patterns: SmallVec<[u32; 0]>,
}

impl Shard {
    /// Runs a command, or lets it wait for those before it.
    pub(super) fn run_command(&mut self, at: SlotRef, ticket: Ticket, command: Command) {
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
        let first = !matches!(command, Command::Connect(_)) && std::mem::take(&mut slot.movable);
        if first && let Some(shard) = self.better_shard(at, &command) {
            return self.prepare_to_move(at, shard, ticket, command);
        }
        self.start_command(at, ticket, command);
    }

    /// Begins with the command that a session waited with, and goes on with those behind it.
    pub(super) fn begin_with(&mut self, at: SlotRef, ticket: Ticket, command: Command) {
        if let Some(slot) = self.slot(at) {
            slot.commands.take_if(|commands| commands.waiting.is_empty());
            slot.commands.iter_mut().for_each(|commands| commands.running = false);
        }
        self.start_command(at, ticket, command);
        self.run_work();
        self.run_waiting(at);
    }

    fn start_command(&mut self, at: SlotRef, ticket: Ticket, mut command: Command) {
        let session = self.session_id(at);
        let (span, trace) = self.span_of(at, &command).unwrap_or_default();
        let _entered = trace.clone().map(traces::enter);
        let after = self.before(at, session, &mut command);
        let Self { sessions, common, id, .. } = self;
        let Some(slot) = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation) else { return };
        let caller = slot.lend_caller(session, common.router.dialect(slot.dialect).name());
        let mut running = common.hub.run(&caller, command, *id);
        slot.take_back(caller);
        match Pin::new(&mut running).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                span.into_iter().for_each(|span| Tracer::conclude(span, &result));
                self.work.push_back(Work::Finished(at, ticket, after, result));
            }
            Poll::Pending => {
                if let Some(slot) = self.slot(at) {
                    slot.commands.get_or_insert_default().running = true;
                }
                let this = self.this.clone();
                tokio::task::spawn_local(async move {
                    let result = traces::within(trace, running).await;
                    span.into_iter().for_each(|span| Tracer::conclude(span, &result));
                    let Some(shard) = this.upgrade() else { return };
                    let mut shard = super::turn(&shard);
                    shard.go_on(at, ticket, after, result);
                    shard.settle();
                    shard.wake_carriers(at);
                });
            }
        }
    }

    /// Where traces are made, the span of a command, when its own is: below that of the request that led to it, or of its own when it came over a
    /// carrier; and what follows from the command is a part of.
    fn span_of(&mut self, at: SlotRef, command: &Command) -> Option<(Option<Span>, Option<Trace>)> {
        let tracer = self.common.tracer.clone()?;
        let slot = self.slot(at)?;
        let (request, dialect, over_carrier) = (slot.request_span.clone(), slot.dialect, !slot.carriers.is_empty());
        let (request, dialect) = (request.as_deref(), self.common.router.dialect(dialect).name());
        if over_carrier {
            let span = tracer.command_of_carrier(request, command, dialect);
            let trace = tracer.trace(span.as_ref(), None);
            return Some((span, Some(trace)));
        }
        let span = request.and_then(|request| tracer.command_of_request(request, command, dialect));
        let trace = tracer.trace(span.as_ref(), request);
        Some((span, Some(trace)))
    }

    /// Lets the connections of a session go on: what became of a command may have made carriers of them, with a head to write and bytes that came
    /// before.
    fn wake_carriers(&self, at: SlotRef) {
        let slot = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation);
        slot.iter().flat_map(|slot| &slot.carriers).for_each(|carrier| self.wake(*carrier));
    }

    /// What the shard does before the hub runs a command, and what it must remember for afterwards.
    fn before(&mut self, at: SlotRef, session: SessionId, command: &mut Command) -> After {
        match command {
            Command::Connect(_) => After::Connect,
            Command::Subscribe(subscribe) => self.gate(at, subscribe),
            Command::Admit(subscribe, admitted) => {
                if let Some(slot) = self.slot(at) {
                    slot.admitted.get_or_insert_default().extend(admitted.iter().cloned());
                }
                self.gate(at, subscribe)
            }
            Command::Unsubscribe(channel) => After::Unsubscribed(self.unsubscribe(at, channel)),
            Command::UnsubscribePattern(pattern) => After::Unsubscribed(self.unsubscribe_pattern(at, pattern)),
            Command::Publish(drafts) => {
                drafts.iter_mut().for_each(|draft| draft.published_by(session));
                After::Nothing
            }
            Command::Enter(enter) => {
                let Enter { channel, key, .. } = &**enter;
                After::Entered(self.principal(at), Entry { channel: channel.clone(), key: key.clone(), going: None })
            }
            Command::Appear(appear) => {
                let Enter { channel, key, .. } = &appear.enter;
                let going = Some(appear.going.clone());
                After::Entered(self.principal(at), Entry { channel: channel.clone(), key: key.clone(), going })
            }
            Command::Seat(seat) => After::Seated(self.principal(at), seat.channel.clone()),
            Command::Leave(channel, key) => After::Left(channel.clone(), key.clone()),
            Command::Members(_)
            | Command::Present(_)
            | Command::Locate(_)
            | Command::History(..)
            | Command::Channels(_)
            | Command::Manage(_)
            | Command::Connections(_)
            | Command::Ticket
            | Command::Signal(_)
            | Command::Ice(_)
            | Command::Keep(_)
            | Command::Vacate(_)
            | Command::Call(_) => After::Nothing,
        }
    }

    /// Puts a session behind the gates of what it wants to receive.
    fn gate(&mut self, at: SlotRef, subscribe: &Subscribe) -> After {
        let Self { sessions, table, patterns, common, id, .. } = self;
        let slot = sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation);
        let Some(principal) = slot.and_then(|slot| slot.principal.as_ref()) else { return After::Nothing };
        let mut gates = Gates::default();
        let channels = table.len();
        for channel in &subscribe.channels {
            let key = ChannelRef::new(&principal.app, channel);
            gates.channels.push(table.gate(&key, || key.into(), at.slot));
        }
        if table.len() > channels {
            add(&common.metrics[usize::from(*id)].local_channels, (table.len() - channels) as u64);
        }
        for pattern in &subscribe.patterns {
            let key = PatternKey { app: principal.app.clone(), pattern: pattern.clone() };
            gates.patterns.push(patterns.gate(&key, at.slot));
        }
        After::Subscribe(gates)
    }

    /// Ends the subscription to a channel; false when there is none.
    fn unsubscribe(&mut self, at: SlotRef, channel: &ChannelName) -> bool {
        let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return false };
        let Some(index) = self.table.find(&ChannelRef::new(&principal.app, channel)) else { return false };
        self.give_up_seat(at, index)
    }

    fn unsubscribe_pattern(&mut self, at: SlotRef, pattern: &Pattern) -> bool {
        let Some(principal) = self.slot(at).and_then(|slot| slot.principal.clone()) else { return false };
        let key = PatternKey { app: principal.app.clone(), pattern: pattern.clone() };
        let Some(index) = self.patterns.find(&key) else { return false };
        self.give_up_pattern(at, index)
    }

    /// Takes the session's seat at a pattern away; false when it has none.
    fn give_up_pattern(&mut self, at: SlotRef, pattern: u32) -> bool {
        let Some(seats) = self.slot(at).and_then(|slot| slot.pattern_seats.as_mut()) else { return false };
        let Some(index) = seats.iter().position(|seat| seat.channel == pattern) else { return false };
        let seat = seats.swap_remove(index);
        self.leave_pattern(seat);
        self.count_subscriptions(at);
        true
    }

    /// Takes the session's seat in a channel away; false when it has none.
    pub(super) fn give_up_seat(&mut self, at: SlotRef, channel: u32) -> bool {
        let Some(slot) = self.slot(at) else { return false };
        let Some(index) = slot.seats.iter().position(|seat| seat.channel == channel) else { return false };
        let seat = slot.seats.swap_remove(index);
        self.forget_admission(at, channel);
        self.leave(seat);
        self.count_subscriptions(at);
        true
    }

    /// Who left a channel that the application let it into needs to be let in again.
    fn forget_admission(&mut self, at: SlotRef, channel: u32) {
        let Self { sessions, table, .. } = self;
        let slot = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation);
        if let Some(admitted) = slot.and_then(|slot| slot.admitted.as_mut()) {
            admitted.remove(&table.channel(channel).key.channel);
        }
    }

    /// A command that kept others waiting is through: they come next, each when the one before is done, up to one that keeps them waiting again.
    fn go_on(&mut self, at: SlotRef, ticket: Ticket, after: After, result: Result<Outcome, Denied>) {
        if let Some(commands) = self.slot(at).and_then(|slot| slot.commands.as_mut()) {
            commands.running = false;
        }
        self.finish(at, ticket, after, result);
        self.run_work();
        self.run_waiting(at);
    }

    fn run_waiting(&mut self, at: SlotRef) {
        while let Some(commands) = self.slot(at).and_then(|slot| slot.commands.as_mut()).filter(|commands| !commands.running)
            && let Some((ticket, command)) = commands.waiting.pop_front()
        {
            self.start_command(at, ticket, command);
            self.run_work();
        }
    }

    /// A command is through: the session gets its reply, behind what was missed.
    pub(super) fn finish(&mut self, at: SlotRef, ticket: Ticket, after: After, result: Result<Outcome, Denied>) {
        match (after, result) {
            (After::Subscribe(gates), Ok(Outcome::Joined(subscribe, joined))) => {
                self.join(at, ticket, &subscribe, &gates, joined);
                self.count_subscriptions(at);
            }
            (after, Ok(Outcome::Granted(principal, outcome))) => {
                // What the application gave it is its own from now on.
                if let Some(slot) = self.slot(at) {
                    slot.principal = Some(principal);
                }
                self.finish(at, ticket, after, Ok(*outcome));
            }
            (After::Connect, Ok(Outcome::Reply(Reply::Connected(principal)))) => self.connected(at, ticket, principal),
            (After::Subscribe(gates), Err(denied)) => {
                self.abandon(at, &gates);
                self.count_subscriptions(at);
                self.step(at, Input::Reply(ticket, Err(denied)));
            }
            (After::Unsubscribed(false), Ok(Outcome::Reply(_))) => self.step(at, Input::Reply(ticket, Ok(Reply::NotSubscribed))),
            (after, Ok(Outcome::Reply(reply))) => {
                if let Reply::Published(results) = &reply {
                    let accepted = results.iter().flatten().filter(|published| !published.duplicate).count();
                    add(&self.metrics().published_total, accepted as u64);
                }
                self.remember(at, after, &reply);
                self.step(at, Input::Reply(ticket, Ok(reply)));
            }
            (_, Err(denied)) => self.step(at, Input::Reply(ticket, Err(denied))),
            (_, Ok(Outcome::Joined(..))) => debug_assert!(false, "only a subscribe joins"),
        }
    }

    /// Lets a session in as far as its user and app may have one more.
    fn connected(&mut self, at: SlotRef, ticket: Ticket, principal: Arc<Principal>) {
        let Self { sessions, common, .. } = self;
        let Some(slot) = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation) else { return };
        if slot.quota.counts()
            && let Err(denied) = slot.quota.admit(&principal, common.hub.now_ms())
        {
            return self.step(at, Input::Reply(ticket, Err(denied)));
        }
        let refreshed = slot.principal.replace(principal.clone()).is_some();
        self.schedule_expiry(at);
        if refreshed {
            self.review(at);
        }
        self.step(at, Input::Reply(ticket, Ok(Reply::Connected(principal))));
    }

    fn principal(&mut self, at: SlotRef) -> Option<Arc<Principal>> {
        self.slot(at)?.principal.clone()
    }

    fn remember(&mut self, at: SlotRef, after: After, reply: &Reply) {
        match (after, reply) {
            (After::Entered(principal, entry), _) => self.keep_entry(at, principal, entry),
            (After::Seated(principal, channel), Reply::Seated(seated)) if seated.inbox.is_none() => {
                self.keep_entry(at, principal, Entry { channel, key: seated.member.clone(), going: None });
            }
            (After::Seated(Some(principal), _), Reply::Seated(seated)) => {
                watch_lease(self.common.hub.clone(), principal.app.clone(), seated.member.clone());
            }
            (After::Left(channel, key), _) => {
                if let Some(entries) = self.slot(at).and_then(|slot| slot.entries.as_mut()) {
                    entries.retain(|entry| entry.channel != channel || entry.key != key);
                }
            }
            (After::Connect | After::Nothing | After::Subscribe(_) | After::Unsubscribed(_) | After::Seated(..), _) => {}
        }
    }

    /// An entry is its session's, which takes it out when it ends. A session that has ended already leaves at once, as if it had been there.
    fn keep_entry(&mut self, at: SlotRef, principal: Option<Arc<Principal>>, entry: Entry) {
        let session = self.session_id(at);
        match (self.slot(at), principal) {
            (Some(slot), _) => slot.keep_entry(entry),
            (None, Some(principal)) => self.end_entry(session, &principal, entry, self.common.hub.limits().seat_grace),
            (None, None) => {}
        }
    }

    fn abandon(&mut self, at: SlotRef, gates: &Gates) {
        for gate in &gates.channels {
            if let Some(key) = self.table.abandon(*gate, at.slot) {
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
    fn join(&mut self, at: SlotRef, ticket: Ticket, subscribe: &Subscribe, gates: &Gates, mut joined: Joined) {
        if self.slot(at).is_none() {
            return self.abandon(at, gates);
        }
        let mut missed = std::mem::take(&mut joined.missed);
        let page_end = missed.last().cloned().filter(|_| joined.more);
        missed.retain(|(publication, _)| publication.draft.audience.is_everyone() || self.is_meant(at, publication));
        let from = self.go_on_from_seats(at, subscribe, gates, &mut joined);
        let mut subscribed = Subscribed { page_end, ..subscribed(subscribe, &joined, &missed) };
        if subscribe.replay == Replay::InReply && (subscribed.gap() || subscribed.more() || !missed.is_empty()) {
            self.abandon(at, gates);
            subscribed.missed = missed;
            return self.step(at, Input::Reply(ticket, Ok(Reply::Subscribed(Box::new(subscribed)))));
        }
        if subscribe.replay == Replay::Deliver {
            self.replay(at, subscribe, &mut subscribed, &missed);
        }
        let mut waited = self.open_gates(at, subscribe, gates, &joined, &from);
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

    /// Who subscribes again without a mark goes on behind what it was given: what has been numbered since may still be on its way here. Gives where
    /// each pattern begins.
    fn go_on_from_seats(&self, at: SlotRef, subscribe: &Subscribe, gates: &Gates, joined: &mut Joined) -> SmallVec<[Cursor; 0]> {
        let begin = joined.cursor;
        let Some(slot) = self.sessions.get(at.slot as usize).filter(|_| subscribe.since.is_none()) else {
            return gates.patterns.iter().map(|_| begin).collect();
        };
        for (gate, state) in gates.channels.iter().zip(&mut joined.channels) {
            let seat = slot.seats.iter().find(|seat| seat.channel == *gate);
            let given = seat.and_then(|seat| self.table.given(*seat)).filter(|(epoch, _)| *epoch == state.position.epoch);
            state.position.offset = given.map_or(state.position.offset, |(_, offset)| offset);
        }
        let mut from = SmallVec::new();
        for gate in &gates.patterns {
            let seat = slot.pattern_seats.iter().flat_map(|seats| seats.iter()).find(|seat| seat.channel == *gate);
            let given = seat.and_then(|seat| self.patterns.given(*seat)).filter(|given| given.epoch == begin.epoch).unwrap_or(begin);
            joined.cursor.stamp = joined.cursor.stamp.min(given.stamp);
            from.push(given);
        }
        from
    }

    fn open_gates(&mut self, at: SlotRef, subscribe: &Subscribe, gates: &Gates, joined: &Joined, from: &[Cursor]) -> BehindGates {
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
        for ((gate, pattern), from) in gates.patterns.iter().zip(&subscribe.patterns).zip(from) {
            self.give_up_pattern(at, *gate);
            let (seat, behind) = self.patterns.open(*gate, at.slot, *from, subscribe.delivery.clone(), subscribe.presence);
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
        if !self.work.iter().any(|work| matches!(work, Work::Event(to, _) if *to == at)) {
            return;
        }
        let mut rest = VecDeque::new();
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Event(to, event) if to == at => self.step(at, Input::Event(&event)),
                other => rest.push_back(other),
            }
        }
        self.work = rest;
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
    Subscribed { channels: channels.collect(), patterns, cursor: joined.cursor, missed: Vec::new(), page_end: None }
}
