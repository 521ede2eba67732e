//! Fan-out: each group of subscribers gets one frame, each member a pointer to it.
//!
//! The hot loop touches a member's slot and its outbox, nothing else: no allocation, no lock, no clock. Sockets are written afterwards, once for
//! everything that a turn put into an outbox.

use std::sync::Arc;

use bytes::BytesMut;
use omnivox_core::command::Delivery;
use omnivox_core::engine::{Announcement, HistoryPage, HistoryQuery, Whom};
use omnivox_core::event::Event;
use omnivox_core::mark::{Mark, Position};
use omnivox_core::name::ChannelKey;
use omnivox_core::{EncodingKey, Frame, Publication};

use super::Shard;
use super::conn::SlotRef;
use super::driver::Work;
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

impl Shard {
    /// Takes one piece of news.
    pub(super) fn take(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Publication(publication) => {
                add(&self.metrics().publications_total, 1);
                for place in 0..publication.places.len() {
                    let key = ChannelKey::new(&publication.app, &publication.places[place].channel);
                    if let Some(channel) = self.table.find(&key) {
                        self.deliver(channel, &publication, place);
                    }
                }
            }
            Announcement::Presence(app, event) => {
                if let Some(channel) = self.table.find(&ChannelKey::new(&app, &event.channel)) {
                    self.broadcast(channel, &Event::Presence(event), true);
                }
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
                return self.reread(vec![key]);
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

    fn fan_out(&mut self, channel: u32, publication: &Arc<Publication>, place: usize) {
        let Self { table, sessions, common, dirty, slow, encoding, work, .. } = self;
        let metrics = &common.metrics[usize::from(self.id)];
        let everyone = publication.draft.audience.is_everyone();
        let several = publication.places.len() > 1;
        let event = Event::publication(publication, place);
        let offset = publication.places[place].position.offset;
        let audience = (!everyone).then(|| Excluded::of(table, publication));
        let mut delivered = 0;
        for group in table.channel(channel).groups() {
            let frame = match &group.delivery {
                Delivery::Shared(key) | Delivery::Once(key) => {
                    let Some(frame) = encode(common, key, &event, encoding) else { continue };
                    add(&metrics.encodings_total, 1);
                    Some(frame)
                }
                Delivery::Stateful => None,
            };
            let once = matches!(group.delivery, Delivery::Once(_));
            for member in group.members_behind(offset) {
                let Some(slot) = sessions.get_mut(member as usize) else { continue };
                if let Some(audience) = &audience {
                    let id = omnivox_core::SessionId { node: common.node, shard: self.id, slot: member, generation: slot.generation };
                    let user = slot.principal.as_ref().and_then(|principal| principal.user.as_ref());
                    let shut_out = slot.seats.iter().any(|seat| audience.channels.contains(&seat.channel));
                    if shut_out || !publication.draft.audience.admits(id, user) {
                        continue;
                    }
                }
                if several && std::mem::replace(&mut slot.last_stamp, publication.cursor.stamp) == publication.cursor.stamp {
                    continue;
                }
                delivered += 1;
                let at = SlotRef { slot: member, generation: slot.generation };
                match &frame {
                    Some(frame) if once => work.push_back(Work::Once(at, frame.clone())),
                    Some(frame) => {
                        if slot.outbox.push(frame.clone(), &common.outbox_limits).is_err() {
                            slow.push(at);
                        }
                        if !std::mem::replace(&mut slot.dirty, true) {
                            dirty.push(member);
                        }
                    }
                    None => work.push_back(Work::Event(at, event.clone())),
                }
            }
        }
        add(&metrics.deliveries_total, delivered);
    }

    /// Tells all subscribers of a channel of something that is not a publication; only those who asked for presence when it is that.
    fn broadcast(&mut self, channel: u32, event: &Event, presence: bool) {
        let Self { table, sessions, common, dirty, slow, encoding, work, .. } = self;
        for group in table.channel(channel).groups().filter(|group| group.presence || !presence) {
            let (frame, once) = match &group.delivery {
                Delivery::Shared(key) => (encode(common, key, event, encoding), false),
                Delivery::Once(key) => (encode(common, key, event, encoding), true),
                Delivery::Stateful => (None, false),
            };
            for member in group.members() {
                let Some(slot) = sessions.get_mut(member as usize) else { continue };
                let at = SlotRef { slot: member, generation: slot.generation };
                match &frame {
                    Some(frame) if once => work.push_back(Work::Once(at, frame.clone())),
                    Some(frame) => {
                        if slot.outbox.push(frame.clone(), &common.outbox_limits).is_err() {
                            slow.push(at);
                        }
                        if !std::mem::replace(&mut slot.dirty, true) {
                            dirty.push(member);
                        }
                    }
                    None if group.delivery == Delivery::Stateful => work.push_back(Work::Event(at, event.clone())),
                    None => {}
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
            return self.work.push_back(Work::Once(at, frame));
        }
        let limits = self.common.outbox_limits;
        let Some(slot) = self.slot(at) else { return };
        if slot.outbox.push(frame, &limits).is_err() {
            self.slow.push(at);
        }
        self.mark_dirty(at);
    }

    fn is_meant(&self, at: SlotRef, publication: &Publication) -> bool {
        let Some(slot) = self.sessions.get(at.slot as usize) else { return false };
        let id = omnivox_core::SessionId { node: self.common.node, shard: self.id, slot: at.slot, generation: at.generation };
        let excluded = Excluded::of(&self.table, publication);
        let shut_out = slot.seats.iter().any(|seat| excluded.channels.contains(&seat.channel));
        !shut_out && publication.draft.audience.admits(id, slot.principal.as_ref().and_then(|principal| principal.user.as_ref()))
    }

    /// Gives a message in no channel to the sessions and users that it names.
    fn deliver_direct(&mut self, publication: &Arc<Publication>) {
        let concerned: Vec<SlotRef> = self
            .sessions
            .iter()
            .filter(|(_, slot)| slot.principal.as_ref().is_some_and(|principal| principal.app == publication.app))
            .map(|(at, slot)| slot.at(at))
            .filter(|at| self.is_meant(*at, publication))
            .collect();
        for at in concerned {
            self.work.push_back(Work::Control(at, omnivox_core::Control::Direct(publication.clone())));
        }
    }

    /// Reads channels again from where the shard stands, because news of them were dropped, and delivers what it finds in order of stamps.
    pub(super) fn reread(&mut self, keys: Vec<ChannelKey>) {
        let mut pages: Vec<(ChannelKey, HistoryPage)> = Vec::new();
        for key in keys {
            let Some(channel) = self.table.find(&key) else { continue };
            add(&self.metrics().rereads_total, 1);
            let since = self.table.channel(channel).last.map(|(epoch, offset)| Mark::Position(Position { epoch, offset }));
            let query = HistoryQuery { since, before: None, most: usize::MAX, newest_first: false };
            let mut reading = self.common.hub.log().history(&key, query);
            match reading.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
                std::task::Poll::Ready(Ok(page)) => pages.push((key, page)),
                std::task::Poll::Ready(Err(error)) => tracing::warn!(%error, "a channel could not be read again"),
                std::task::Poll::Pending => {
                    let this = self.this.clone();
                    tokio::task::spawn_local(async move {
                        let page = reading.await;
                        let Some(shard) = this.upgrade() else { return };
                        let mut shard = shard.borrow_mut();
                        match page {
                            Ok(page) => shard.catch_up(vec![(key, page)]),
                            Err(error) => tracing::warn!(%error, "a channel could not be read again"),
                        }
                        shard.settle();
                    });
                }
            }
        }
        self.catch_up(pages);
    }

    fn catch_up(&mut self, pages: Vec<(ChannelKey, HistoryPage)>) {
        let mut missed: Vec<(u32, Arc<Publication>, usize)> = Vec::new();
        let mut tops = Vec::new();
        for (key, page) in pages {
            let Some(channel) = self.table.find(&key) else { continue };
            if page.gap {
                add(&self.metrics().gaps_total, 1);
                self.broadcast(channel, &Event::Gap(key.channel.clone()), false);
            }
            missed.extend(page.publications.into_iter().map(|(publication, place)| (channel, publication, place)));
            tops.push((channel, page.position));
        }
        missed.sort_by_key(|(_, publication, _)| publication.cursor.stamp);
        for (channel, publication, place) in missed {
            let position = publication.places[place].position;
            let local = self.table.channel_mut(channel);
            match local.last {
                Some((epoch, last)) if epoch == position.epoch && position.offset <= last => continue,
                Some((epoch, _)) if epoch != position.epoch => local.begin_epoch(position.epoch),
                Some(_) | None => {}
            }
            local.last = Some((position.epoch, position.offset));
            local.hold(&publication, place);
            self.fan_out(channel, &publication, place);
        }
        for (channel, top) in tops {
            let local = self.table.channel_mut(channel);
            if local.last.is_none_or(|(epoch, last)| epoch != top.epoch || last < top.offset) {
                local.last = Some((top.epoch, top.offset));
            }
        }
    }
}

/// The channels of this shard whose subscribers an audience leaves out.
struct Excluded {
    channels: smallvec::SmallVec<[u32; 4]>,
}

impl Excluded {
    fn of(table: &omnivox_core::channel::ChannelTable, publication: &Publication) -> Self {
        let excepted = publication.draft.audience.except_channels.iter();
        Self { channels: excepted.filter_map(|channel| table.find(&ChannelKey::new(&publication.app, channel))).collect() }
    }
}

/// Makes the frame of an event for a key.
fn encode(common: &super::Common, key: &EncodingKey, event: &Event, scratch: &mut BytesMut) -> Option<Frame> {
    common.router.dialect(key.dialect).encode(key, event, scratch)
}
