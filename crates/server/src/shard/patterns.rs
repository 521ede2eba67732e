//! Publications to those who asked by pattern.
//!
//! What a session may receive is decided for it and the channel at the moment of delivery, so that a renewed credential counts at once and a
//! pattern never tells of a channel that its subscriber may not know. Where a namespace lets everyone in, that is decided once for all.
//!
//! Invariant: the publications of an app come here in order of stamps, each once; a session that is in the channel too gets it once.

use std::sync::Arc;

use omnivox_core::command::Delivery;
use omnivox_core::event::{Event, PresenceEvent};
use omnivox_core::grants::{Permissions, Principal, decide};
use omnivox_core::name::{AppId, ChannelName};
use omnivox_core::{App, EncodingKey, Frame, Publication};
use smallvec::SmallVec;

use super::Shard;
use super::conn::SlotRef;
use super::fanout::{Chosen, Leavings, Parcel, encode};
use crate::metrics::add;

/// Who may do something with a channel.
enum Reach<'a> {
    Everyone,
    Authenticated(Permissions),
    /// It depends on the credential.
    Each(&'a App, &'a ChannelName, Permissions),
}

impl<'a> Reach<'a> {
    fn of(app: &'a App, channel: &'a ChannelName, wanted: Permissions) -> Self {
        let namespace = app.namespaces.of(channel);
        if namespace.anonymous.contains(wanted) {
            Self::Everyone
        } else if namespace.authenticated.contains(wanted) {
            Self::Authenticated(wanted)
        } else {
            Self::Each(app, channel, wanted)
        }
    }

    fn admits(&self, principal: Option<&Arc<Principal>>) -> bool {
        match self {
            Self::Everyone => true,
            Self::Authenticated(wanted) => principal.is_some_and(|principal| principal.authenticated_for(*wanted)),
            Self::Each(app, channel, wanted) => principal.is_some_and(|principal| decide(app, principal, channel, *wanted).allowed),
        }
    }
}

/// The frames of one event, made once for each key.
#[derive(Default)]
struct Frames(SmallVec<[(EncodingKey, Option<Frame>); 2]>);

impl Frames {
    fn of(&mut self, key: &EncodingKey, make: impl FnOnce() -> Option<Frame>) -> Option<Frame> {
        if let Some((_, frame)) = self.0.iter().find(|(known, _)| known == key) {
            return frame.clone();
        }
        let frame = make();
        self.0.push((key.clone(), frame.clone()));
        frame
    }
}

impl Shard {
    /// Delivers a publication to the patterns that mean one of its channels, if they have not been given it.
    pub(super) fn deliver_to_patterns(&mut self, publication: &Arc<Publication>) {
        if !self.patterns.watches(&publication.app) {
            return;
        }
        let app = &publication.app;
        if self.patterns.last(app).is_some_and(|last| last.epoch != publication.cursor.epoch) {
            self.tell_patterns_of_gap(app);
        }
        if self.patterns.advance(app, publication.cursor) {
            for place in 0..publication.places.len() {
                self.fan_out_to_patterns(publication, place);
            }
        }
    }

    pub(super) fn fan_out_to_patterns(&mut self, publication: &Arc<Publication>, place: usize) {
        let channel = &publication.places[place].channel;
        let found = self.patterns.matching(&publication.app, channel);
        let Some(entry) = (!found.is_empty()).then(|| self.common.hub.app(&publication.app)).flatten() else { return };
        let reach = Reach::of(&entry.app, channel, Permissions::SUBSCRIBE);
        let Self { table, patterns, sessions, common, dirty, slow, encoding, work, .. } = self;
        let metrics = &common.metrics[usize::from(self.id)];
        let chosen = Chosen::of(common, table, publication);
        let event = Event::publication(publication, place);
        let mut frames = Frames::default();
        let mut leavings = Leavings { limits: &common.outbox_limits, dirty, slow, work };
        let mut delivered = 0;
        for at in found {
            patterns.pattern_mut(at).hold(publication, place);
            for group in patterns.pattern(at).groups() {
                let parcel = Parcel::new(&group.delivery, &event, |key| {
                    frames.of(key, || encode(common, key, &event, encoding).inspect(|_| add(&metrics.encodings_total, 1)))
                });
                let Some(parcel) = parcel else { continue };
                for member in group.members_behind(publication.cursor.stamp) {
                    let Some(slot) = sessions.get_mut(member as usize) else { continue };
                    let meant = chosen.as_ref().is_none_or(|chosen| chosen.means(self.id, member, slot));
                    if !meant || slot.last_stamp == publication.cursor.stamp || !reach.admits(slot.principal.as_ref()) {
                        continue;
                    }
                    slot.last_stamp = publication.cursor.stamp;
                    delivered += 1;
                    leavings.give(member, slot, &parcel);
                }
            }
        }
        add(&metrics.deliveries_total, delivered);
    }

    /// Tells the patterns that asked for presence of somebody's coming and going; `local` is the channel here, whose own subscribers know.
    pub(super) fn tell_patterns_of_presence(&mut self, app: &AppId, local: Option<u32>, event: &Arc<PresenceEvent>) {
        let found = self.patterns.matching(app, &event.channel);
        let Some(entry) = (!found.is_empty()).then(|| self.common.hub.app(app)).flatten() else { return };
        let reach = Reach::of(&entry.app, &event.channel, Permissions::PRESENCE);
        let mut concerned: SmallVec<[(SlotRef, Delivery); 4]> = SmallVec::new();
        for at in found {
            for group in self.patterns.pattern(at).groups().filter(|group| group.presence) {
                for member in group.members() {
                    let Some(slot) = self.sessions.get(member as usize) else { continue };
                    let told = slot.seats.iter().any(|seat| Some(seat.channel) == local);
                    let at = slot.at(member as usize);
                    if !told && reach.admits(slot.principal.as_ref()) && !concerned.iter().any(|(known, _)| *known == at) {
                        concerned.push((at, group.delivery.clone()));
                    }
                }
            }
        }
        let event = Event::Presence(event.clone());
        concerned.into_iter().for_each(|(at, delivery)| self.deliver_event_to(at, &delivery, &event));
    }

    /// Tells the subscribers of all patterns of an app that something may be missing.
    fn tell_patterns_of_gap(&mut self, app: &AppId) {
        add(&self.metrics().gaps_total, 1);
        for at in self.patterns.of(app) {
            let label = self.patterns.pattern(at).key.pattern.label();
            self.tell_pattern(at, &Event::Gap(label));
        }
    }

    /// Tells the subscribers of those patterns that mean the channel, and who may receive it, that something of it is missing.
    pub(super) fn tell_patterns_of_lost(&mut self, app: &AppId, channel: &ChannelName) {
        for at in self.patterns.matching(app, channel) {
            self.tell_pattern(at, &Event::Gap(channel.clone()));
        }
    }

    fn tell_pattern(&mut self, at: u32, event: &Event) {
        let key = &self.patterns.pattern(at).key;
        let Some(entry) = self.common.hub.app(&key.app) else { return };
        // A pattern may be told of a loss in what it calls itself; in a channel, only if that may be received.
        let named = *event.channel() != key.pattern.label();
        let reach = if named { Reach::of(&entry.app, event.channel(), Permissions::SUBSCRIBE) } else { Reach::Everyone };
        let members = self.patterns.pattern(at).groups().flat_map(|group| group.members().map(|member| (member, group.delivery.clone())));
        let concerned: Vec<(SlotRef, Delivery)> = members
            .filter_map(|(member, delivery)| {
                let slot = self.sessions.get(member as usize)?;
                reach.admits(slot.principal.as_ref()).then(|| (slot.at(member as usize), delivery))
            })
            .collect();
        concerned.into_iter().for_each(|(at, delivery)| self.deliver_event_to(at, &delivery, event));
    }

    /// Whether a session may receive a publication in that place.
    pub(super) fn may_receive(&self, at: SlotRef, publication: &Publication, place: usize) -> bool {
        let Some(entry) = self.common.hub.app(&publication.app) else { return false };
        let Some(slot) = self.sessions.get(at.slot as usize).filter(|slot| slot.generation == at.generation) else { return false };
        Reach::of(&entry.app, &publication.places[place].channel, Permissions::SUBSCRIBE).admits(slot.principal.as_ref())
    }
}
