//! Fan-out: each group of subscribers gets one frame, each member a pointer to it.
//!
//! The hot loop touches a member's slot and its outbox, nothing else: no allocation, no lock, no clock. Sockets are written afterwards, once for
//! everything that a turn put into an outbox.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::channel::{ChannelTable, Group};
use omnivox_core::command::Delivery;
use omnivox_core::engine::{Announcement, Whom};
use omnivox_core::event::Event;
use omnivox_core::grants::{Permissions, Principal, granted};
use omnivox_core::name::ChannelRef;
use omnivox_core::outbox::OutboxLimits;
use omnivox_core::{EncodingKey, Frame, Publication};
use omnivox_hub::AppEntry;
use omnivox_hub::inbox::Dropped;
use slab::Slab;
use smallvec::SmallVec;

use super::conn::SlotRef;
use super::driver::{Work, background};
use super::slot::Slot;
use super::{Common, Shard};
use crate::metrics::add;

/// Where a replay must begin so that what follows fits into `bytes_max`: 0 unless there is too much.
pub(super) fn fit(missed: &[(Arc<Publication>, usize)], bytes_max: usize) -> usize {
    let mut bytes = 0usize;
    let kept = missed.iter().rev().take_while(|(publication, _)| {
        bytes += publication.weight_bytes();
        bytes <= bytes_max
    });
    missed.len() - kept.count()
}

/// Frames of publications that many sessions resume over, so that each is encoded once and not once for each of them.
#[derive(Default)]
pub(super) struct ReplayCache {
    frames: hashbrown::HashMap<(u64, u64, u32), CachedFrames, foldhash::fast::RandomState>,
}

/// A publication, kept so that nothing else takes its place, and its frames.
type CachedFrames = Vec<(EncodingKey, Option<Frame>)>;

/// Frames that the cache holds before it begins anew.
const CACHED_MAX: usize = 4096;

impl ReplayCache {
    fn frame(
        &mut self,
        publication: &Arc<Publication>,
        place: usize,
        key: &EncodingKey,
        make: impl FnOnce() -> Option<Frame>,
    ) -> Option<Frame> {
        if self.frames.len() >= CACHED_MAX {
            self.frames.clear();
        }
        let id = (publication.cursor.epoch.0, publication.cursor.stamp, place as u32);
        let frames = self.frames.entry(id).or_default();
        if let Some((_, frame)) = frames.iter().find(|(known, _)| known == key) {
            return frame.clone();
        }
        let frame = make();
        frames.push((key.clone(), frame.clone()));
        frame
    }

    /// Forgets everything: called when the shard has been quiet for a moment.
    pub(super) fn clear(&mut self) {
        self.frames = hashbrown::HashMap::default();
    }
}

/// Bytes of frames that are joined into one.
const JOINED_BYTES_MAX: usize = 64 << 10;

/// What every member of a group gets.
pub(super) enum Parcel<'e> {
    /// A frame for the outbox.
    Frame(Frame),
    /// The one frame that the session waits for.
    Once(Frame),
    /// The event itself, for a session that handles each.
    Event(&'e Event),
}

impl<'e> Parcel<'e> {
    /// The event as a group asked for it; none when it can't be shown in the group's format.
    pub(super) fn new(delivery: &Delivery, event: &'e Event, encode: impl FnOnce(&EncodingKey) -> Option<Frame>) -> Option<Self> {
        match delivery {
            Delivery::Shared(key) => encode(key).map(Self::Frame),
            Delivery::Once(key) => encode(key).map(Self::Once),
            Delivery::Stateful => Some(Self::Event(event)),
        }
    }
}

/// What fan-out leaves to the rest of the turn: slots to write, clients to cut off, sessions to step.
pub(super) struct Leavings<'s> {
    pub limits: &'s OutboxLimits,
    pub dirty: &'s mut Vec<u32>,
    pub slow: &'s mut Vec<SlotRef>,
    pub work: &'s mut VecDeque<Work>,
}

impl Leavings<'_> {
    /// Gives a member its copy.
    pub(super) fn give(&mut self, member: u32, slot: &mut Slot, parcel: &Parcel<'_>) {
        slot.deliveries = slot.deliveries.wrapping_add(1);
        match parcel {
            Parcel::Frame(frame) => self.push(member, slot, frame.clone()),
            Parcel::Once(frame) => self.answer(slot.at(member as usize), frame),
            Parcel::Event(event) => self.work.push_back(Work::Event(slot.at(member as usize), (*event).clone())),
        }
    }

    /// Lets a session that waits for one frame be answered, together with the others that get the same one.
    pub(super) fn answer(&mut self, at: SlotRef, frame: &Frame) {
        match self.work.back_mut() {
            Some(Work::Answer(waiting, same)) if same.wire().as_ptr() == frame.wire().as_ptr() => waiting.push(at),
            _ => self.work.push_back(Work::Answer(vec![at], frame.clone())),
        }
    }

    /// Puts a frame into a member's outbox.
    pub(super) fn push(&mut self, member: u32, slot: &mut Slot, frame: Frame) {
        if slot.outbox.push(frame, self.limits).is_err() {
            self.slow.push(slot.at(member as usize));
        }
        if !std::mem::replace(&mut slot.dirty, true) {
            self.dirty.push(member);
        }
    }
}

impl Shard {
    /// Takes all news, in order. Publications that follow each other in one channel go out as one.
    pub(super) fn take_all(&mut self, news: &mut Vec<Announcement>) {
        let mut rest = news.drain(..).peekable();
        let mut run: Vec<Arc<Publication>> = Vec::new();
        while let Some(announcement) = rest.next() {
            let Announcement::Publication(publication) = announcement else {
                self.take(announcement);
                continue;
            };
            run.push(publication);
            let joins = |next: &Announcement| matches!(next, Announcement::Publication(next) if continues(&run[run.len() - 1], next));
            if rest.peek().is_some_and(joins) {
                continue;
            }
            match run.len() {
                1 => run.drain(..).for_each(|only| self.take(Announcement::Publication(only))),
                _ => self.take_run(&mut run),
            }
        }
    }

    /// Takes publications that follow each other in one channel: each group of subscribers gets them as one frame.
    fn take_run(&mut self, run: &mut Vec<Arc<Publication>>) {
        let place = &run[0].places[0];
        let key = ChannelRef::new(&run[0].app, &place.channel);
        let known = self.table.find(&key).filter(|channel| {
            let here = self.table.channel(*channel).last;
            let next =
                here.is_some_and(|(epoch, last)| epoch == place.position.epoch && last == place.previous && last < place.position.offset);
            // What patterns bring comes between, in order of stamps.
            next && !self.patterns.watches(&run[0].app)
        });
        let Some(channel) = known else {
            return run.drain(..).for_each(|publication| self.take(Announcement::Publication(publication)));
        };
        add(&self.metrics().publications_total, run.len() as u64);
        let local = self.table.channel_mut(channel);
        for publication in run.iter() {
            local.hold(publication, 0);
            local.last = Some((publication.places[0].position.epoch, publication.places[0].position.offset));
        }
        self.fan_out_run(channel, run);
        run.clear();
    }

    fn fan_out_run(&mut self, channel: u32, run: &[Arc<Publication>]) {
        let Self { table, sessions, common, dirty, slow, encoding, work, .. } = self;
        let metrics = &common.metrics[usize::from(self.id)];
        let mut leavings = Leavings { limits: &common.outbox_limits, dirty, slow, work };
        let offset_of = |publication: &Arc<Publication>| publication.places[0].position.offset;
        let (before, last) = (offset_of(&run[0]) - 1, offset_of(&run[run.len() - 1]));
        let events: Vec<Event> = run.iter().map(|publication| Event::publication(publication, 0)).collect();
        let mut delivered = 0;
        for group in table.channel(channel).groups() {
            if let Delivery::Once(key) = &group.delivery {
                let (given, encoded) = answer_run(common, key, (&events, run), group, sessions, encoding, &mut leavings);
                delivered += given;
                add(&metrics.encodings_total, encoded);
                continue;
            }
            let Delivery::Shared(key) = &group.delivery else {
                for (member, from) in group.members_and_marks() {
                    let Some(slot) = sessions.get_mut(member as usize) else { continue };
                    let at = SlotRef { slot: member, generation: slot.generation };
                    let missing = events.iter().zip(run).filter(|(_, publication)| offset_of(publication) > from);
                    slot.deliveries = slot.deliveries.wrapping_add(missing.clone().count() as u32);
                    leavings.work.extend(missing.map(|(event, _)| Work::Event(at, event.clone())));
                }
                continue;
            };
            let frames: Vec<(u64, Frame)> = events
                .iter()
                .zip(run)
                .filter_map(|(event, publication)| Some((offset_of(publication), encode(common, key, event, encoding)?)))
                .collect();
            add(&metrics.encodings_total, frames.len() as u64);
            let joined = join(&frames);
            for (member, from) in group.members_and_marks().filter(|(_, from)| *from < last) {
                let Some(slot) = sessions.get_mut(member as usize) else { continue };
                let single: &[(u64, Frame)] = if from <= before { &[] } else { &frames };
                let whole = if from <= before { &joined[..] } else { &[] };
                let missing = whole.iter().chain(single.iter().filter(|(offset, _)| *offset > from).map(|(_, frame)| frame));
                for frame in missing {
                    leavings.push(member, slot, frame.clone());
                }
                let count = frames.iter().filter(|(offset, _)| *offset > from).count();
                slot.deliveries = slot.deliveries.wrapping_add(count as u32);
                delivered += count as u64;
            }
        }
        add(&metrics.deliveries_total, delivered);
    }

    /// Takes one piece of news.
    pub(super) fn take(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Publication(publication) => {
                add(&self.metrics().publications_total, 1);
                for place in 0..publication.places.len() {
                    let key = ChannelRef::new(&publication.app, &publication.places[place].channel);
                    if let Some(channel) = self.table.find(&key) {
                        self.deliver(channel, &publication, place);
                    }
                }
                self.deliver_to_patterns(&publication);
            }
            Announcement::Presence(app, event) => {
                let channel = self.table.find(&ChannelRef::new(&app, &event.channel));
                if let Some(channel) = channel {
                    self.broadcast(channel, &Event::Presence(event.clone()), true);
                }
                self.tell_patterns_of_presence(&app, channel, &event);
            }
            Announcement::Direct(publication) => self.deliver_direct(&publication),
            Announcement::Disconnect(app, whom) => {
                let concerned: Vec<SlotRef> = self
                    .sessions
                    .iter()
                    .filter_map(|(at, slot)| Some((slot.at(at), slot.principal.as_ref()?)))
                    .filter(|(at, principal)| {
                        principal.app == app
                            && match &whom {
                                Whom::User(user) => principal.user.as_ref() == Some(user),
                                Whom::Session(session) => self.local_session(*session) == Some(*at),
                                Whom::Token(token) => principal.token_id.as_ref() == Some(token),
                            }
                    })
                    .map(|(at, _)| at)
                    .collect();
                for at in concerned {
                    self.close_session(at, omnivox_core::CloseReason::Kicked);
                }
                self.common.hub.end_leases(&app, &whom).into_iter().for_each(background);
            }
        }
    }

    /// Delivers a publication to the subscribers of one of its channels, if it is the next one.
    fn deliver(&mut self, channel: u32, publication: &Arc<Publication>, place: usize) {
        let position = publication.places[place].position;
        let local = self.table.channel_mut(channel);
        match local.last {
            Some((epoch, last)) if epoch == position.epoch && position.offset <= last => return,
            Some((epoch, last)) if epoch == position.epoch && publication.places[place].previous > last => {
                // Something between is missing here: read it all again from where the shard stands.
                let key = local.key.clone();
                return self.reread(&Dropped::of(key));
            }
            Some((epoch, _)) if epoch != position.epoch => {
                local.begin_epoch(position.epoch);
                let gap = Event::Gap(local.key.channel.clone());
                add(&self.common.metrics[usize::from(self.id)].gaps_total, 1);
                self.broadcast(channel, &gap, false);
            }
            Some(_) | None => {}
        }
        let local = self.table.channel_mut(channel);
        local.last = Some((position.epoch, position.offset));
        local.hold(publication, place);
        self.fan_out(channel, publication, place);
    }

    pub(super) fn fan_out(&mut self, channel: u32, publication: &Arc<Publication>, place: usize) {
        let several = publication.places.len() > 1 || self.patterns.watches(&publication.app);
        let Self { table, sessions, common, dirty, slow, encoding, work, .. } = self;
        let metrics = &common.metrics[usize::from(self.id)];
        let event = Event::publication(publication, place);
        let offset = publication.places[place].position.offset;
        let chosen = Chosen::of(common, table, publication);
        let mut leavings = Leavings { limits: &common.outbox_limits, dirty, slow, work };
        let mut delivered = 0;
        for group in table.channel(channel).groups() {
            let parcel = Parcel::new(&group.delivery, &event, |key| {
                encode(common, key, &event, encoding).inspect(|_| add(&metrics.encodings_total, 1))
            });
            let Some(parcel) = parcel else { continue };
            for member in group.members_behind(offset) {
                let Some(slot) = sessions.get_mut(member as usize) else { continue };
                if chosen.as_ref().is_some_and(|chosen| !chosen.means(self.id, member, slot)) {
                    continue;
                }
                if several && std::mem::replace(&mut slot.last_stamp, publication.cursor.stamp) == publication.cursor.stamp {
                    continue;
                }
                delivered += 1;
                leavings.give(member, slot, &parcel);
            }
        }
        add(&metrics.deliveries_total, delivered);
    }

    /// Tells all subscribers of a channel of something that is not a publication; only those who asked for presence when it is that.
    pub(super) fn broadcast(&mut self, channel: u32, event: &Event, presence: bool) {
        let Self { table, sessions, common, dirty, slow, encoding, work, .. } = self;
        let mut leavings = Leavings { limits: &common.outbox_limits, dirty, slow, work };
        for group in table.channel(channel).groups().filter(|group| group.presence || !presence) {
            let Some(parcel) = Parcel::new(&group.delivery, event, |key| encode(common, key, event, encoding)) else { continue };
            for member in group.members() {
                if let Some(slot) = sessions.get_mut(member as usize) {
                    leavings.give(member, slot, &parcel);
                }
            }
        }
    }

    /// Gives one session a publication that it missed.
    pub(super) fn deliver_to(&mut self, at: SlotRef, delivery: &Delivery, publication: &Arc<Publication>, place: usize) {
        if !publication.draft.audience.is_everyone() && !self.is_meant(at, publication) {
            return;
        }
        let Self { replays, common, encoding, .. } = self;
        let event = Event::publication(publication, place);
        match delivery {
            Delivery::Shared(key) | Delivery::Once(key) => {
                let frame = replays.frame(publication, place, key, || encode(common, key, &event, encoding));
                if let Some(frame) = frame {
                    self.deliver_frame(at, delivery, frame);
                }
            }
            Delivery::Stateful => self.work.push_back(Work::Event(at, event)),
        }
    }

    /// Gives one session an event.
    pub(super) fn deliver_event_to(&mut self, at: SlotRef, delivery: &Delivery, event: &Event) {
        match delivery {
            Delivery::Shared(key) | Delivery::Once(key) => {
                if let Some(frame) = encode(&self.common, key, event, &mut self.encoding) {
                    self.deliver_frame(at, delivery, frame);
                }
            }
            Delivery::Stateful => self.work.push_back(Work::Event(at, event.clone())),
        }
    }

    fn deliver_frame(&mut self, at: SlotRef, delivery: &Delivery, frame: Frame) {
        add(&self.metrics().deliveries_total, 1);
        if matches!(delivery, Delivery::Once(_)) {
            return self.work.push_back(Work::Answer(vec![at], frame));
        }
        self.push(at, frame);
    }

    /// Puts a frame into a session's outbox.
    pub(super) fn push(&mut self, at: SlotRef, frame: Frame) {
        let Self { sessions, common, dirty, slow, work, .. } = self;
        if let Some(slot) = sessions.get_mut(at.slot as usize).filter(|slot| slot.generation == at.generation) {
            Leavings { limits: &common.outbox_limits, dirty, slow, work }.push(at.slot, slot, frame);
        }
    }

    pub(super) fn is_meant(&self, at: SlotRef, publication: &Publication) -> bool {
        let Some(slot) = self.sessions.get(at.slot as usize) else { return false };
        Chosen::of(&self.common, &self.table, publication).is_none_or(|chosen| chosen.means(self.id, at.slot, slot))
    }

    /// Gives a message in no channel to the sessions and users that it names.
    fn deliver_direct(&mut self, publication: &Arc<Publication>) {
        let audience = &publication.draft.audience;
        let of_app = |slot: &Slot| slot.principal.as_ref().is_some_and(|principal| principal.app == publication.app);
        let concerned: Vec<SlotRef> = if audience.users.is_empty() && !audience.sessions.is_empty() {
            // Signals come in bursts and are for one session, and a list may name thousands: nobody else is looked at, and the list once.
            let named = audience.sessions.iter().filter(|session| !audience.except_sessions.contains(session));
            let named = named.filter_map(|session| self.local_session(*session));
            named.filter(|at| self.sessions.get(at.slot as usize).is_some_and(of_app)).collect()
        } else {
            let all = self.sessions.iter().filter(|(_, slot)| of_app(slot)).map(|(at, slot)| slot.at(at));
            all.filter(|at| self.is_meant(*at, publication)).collect()
        };
        for at in concerned {
            self.work.push_back(Work::Control(at, omnivox_core::Control::Direct(publication.clone())));
        }
    }
}

/// Whom the audience of a publication means on this shard, when that is not everyone.
pub(super) struct Chosen<'p> {
    publication: &'p Publication,
    node: u32,
    /// The channels whose subscribers are left out.
    excluded: SmallVec<[u32; 4]>,
    /// The app, when the credential must grant a channel.
    app: Option<Arc<AppEntry>>,
}

impl<'p> Chosen<'p> {
    pub(super) fn of(common: &Common, table: &ChannelTable, publication: &'p Publication) -> Option<Self> {
        let audience = &publication.draft.audience;
        if audience.is_everyone() {
            return None;
        }
        let excluded =
            audience.except_channels.iter().filter_map(|channel| table.find(&ChannelRef::new(&publication.app, channel))).collect();
        let app = if audience.granted_only { common.hub.app(&publication.app) } else { None };
        Some(Self { publication, node: common.node, excluded, app })
    }

    pub(super) fn means(&self, shard: u16, member: u32, slot: &Slot) -> bool {
        let audience = &self.publication.draft.audience;
        let id = omnivox_core::SessionId { node: self.node, shard, slot: member, generation: slot.generation };
        let shut_out = slot.seats.iter().any(|seat| self.excluded.contains(&seat.channel));
        let Some(principal) = &slot.principal else { return false };
        !shut_out && audience.admits(id, principal.user.as_ref()) && (!audience.granted_only || self.grants(principal))
    }

    fn grants(&self, principal: &Principal) -> bool {
        let channels = &self.publication.draft.channels;
        self.app.as_ref().is_some_and(|entry| granted(&entry.app, principal, channels, Permissions::SUBSCRIBE))
    }
}

/// An answer to those who wait for one frame, and how many publications it holds; none when there is nothing to show.
type Answer = Option<(Frame, usize)>;

/// Answers those who wait for one frame with what a run holds for them: the same answer for all that stand at the same place. Gives how many
/// publications that were for all of them together, and how many answers were made.
fn answer_run(
    common: &Common,
    key: &EncodingKey,
    (events, run): (&[Event], &[Arc<Publication>]),
    group: &Group,
    sessions: &mut Slab<Slot>,
    scratch: &mut BytesMut,
    leavings: &mut Leavings<'_>,
) -> (u64, u64) {
    let dialect = common.router.dialect(key.dialect);
    let mut answers: SmallVec<[(usize, Answer); 1]> = SmallVec::new();
    let mut delivered = 0;
    for (member, from) in group.members_and_marks() {
        let start = run.partition_point(|publication| publication.places[0].position.offset <= from);
        let (Some(slot), Some(first)) = (sessions.get_mut(member as usize), events.get(start)) else { continue };
        let known = answers.iter().position(|(known, _)| *known == start).unwrap_or_else(|| {
            let whole = dialect.encode_run(key, &events[start..], scratch);
            answers.push((start, whole.or_else(|| Some((dialect.encode(key, first, scratch)?, 1)))));
            answers.len() - 1
        });
        if let Some((frame, count)) = &answers[known].1 {
            delivered += *count as u64;
            slot.deliveries = slot.deliveries.wrapping_add(*count as u32);
            leavings.answer(slot.at(member as usize), frame);
        }
    }
    (delivered, answers.len() as u64)
}

/// Whether `next` follows `publication` in the same channel, for the same audience: everyone.
fn continues(publication: &Publication, next: &Publication) -> bool {
    let ([place], [follower]) = (&publication.places[..], &next.places[..]) else { return false };
    publication.app == next.app
        && place.channel == follower.channel
        && place.position.epoch == follower.position.epoch
        && follower.previous == place.position.offset
        && publication.draft.audience.is_everyone()
        && next.draft.audience.is_everyone()
}

/// The frames one behind the other, in as few as the limit allows: one push, one clone and one slice for each subscriber instead of many.
fn join(frames: &[(u64, Frame)]) -> Vec<Frame> {
    let mut joined = Vec::new();
    let mut bytes = BytesMut::new();
    for (_, frame) in frames {
        if !bytes.is_empty() && bytes.len() + frame.len() > JOINED_BYTES_MAX {
            joined.push(Frame::raw(bytes.split().freeze()));
        }
        bytes.extend_from_slice(frame.wire());
    }
    if !bytes.is_empty() {
        joined.push(Frame::raw(bytes.freeze()));
    }
    joined
}

/// Makes the frame of an event for a key.
pub(super) fn encode(common: &Common, key: &EncodingKey, event: &Event, scratch: &mut BytesMut) -> Option<Frame> {
    common.router.dialect(key.dialect).encode(key, event, scratch)
}
