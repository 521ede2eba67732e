//! A shard's subscribers, grouped by what they receive, and the gate that keeps live messages from overtaking recovered ones.
//!
//! ```text
//!   channel ──┬─ group (encoding key A) ── member, member, (free), member …
//!             ├─ group (encoding key B) ── member
//!             ├─ group (stateful)       ── member, member
//!             └─ gated: a member whose subscribe is not answered yet, with what arrived meanwhile
//! ```
//!
//! Invariant: the gate opens only after the missed publications and the subscribe reply were queued, and nothing at or below the offset
//! that the reply covers passes it. A member's place in its group never moves while it is subscribed, so leaving costs no search.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use slab::Slab;

use crate::command::Delivery;
use crate::mark::{Cursor, Epoch};
use crate::name::ChannelKey;
use crate::publication::Publication;

/// A session's slot on its shard.
pub type MemberSlot = u32;

/// How many publications may wait behind one gate; beyond, the member is told of a gap.
pub const GATE_MAX: usize = 1024;

/// The channels of a shard that have subscribers. With another kind of key, whatever else has subscribers.
#[derive(Debug)]
pub struct ChannelTable<K = ChannelKey> {
    channels: Slab<LocalChannel<K>>,
    by_key: HashMap<K, u32, foldhash::fast::RandomState>,
}

impl<K> Default for ChannelTable<K> {
    fn default() -> Self {
        Self { channels: Slab::new(), by_key: HashMap::default() }
    }
}

/// One channel and its subscribers on this shard.
#[derive(Debug)]
pub struct LocalChannel<K = ChannelKey> {
    /// The channel.
    pub key: K,
    /// Where the shard stands: the last offset that it delivered, once it is known.
    pub last: Option<(Epoch, u64)>,
    groups: Vec<Group>,
    gated: Vec<Gated>,
    members: usize,
}

/// The members that receive the same thing.
#[derive(Debug)]
pub struct Group {
    /// How they receive it.
    pub delivery: Delivery,
    /// Whether they receive presence events.
    pub presence: bool,
    slots: Vec<Seat>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    /// `MemberSlot::MAX` marks a free seat.
    member: MemberSlot,
    /// Publications up to this offset came with the subscribe reply.
    from: u64,
}

const FREE: MemberSlot = MemberSlot::MAX;

#[derive(Debug)]
struct Gated {
    member: MemberSlot,
    waiting: Vec<(Arc<Publication>, usize)>,
    overflowed: bool,
}

/// A member's place in a channel: kept by its session, given back to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seating {
    /// The channel in the shard's table.
    pub channel: u32,
    group: u32,
    seat: u32,
}

/// What waited behind a gate.
#[derive(Debug, Default)]
pub struct Waited {
    /// The publications that came behind the reply.
    pub publications: Vec<(Arc<Publication>, usize)>,
    /// Whether some were dropped.
    pub gap: bool,
}

impl<K: Clone + Eq + Hash> ChannelTable<K> {
    /// Puts a member behind the channel's gate and gives the channel. The key is made when nobody is in the channel yet.
    pub fn gate<Q: Hash + Equivalent<K>>(&mut self, key: &Q, make: impl FnOnce() -> K, member: MemberSlot) -> u32 {
        let index = match self.by_key.get(key) {
            Some(index) => *index,
            None => {
                let key = make();
                let fresh = LocalChannel { key: key.clone(), last: None, groups: Vec::new(), gated: Vec::new(), members: 0 };
                let index = u32::try_from(self.channels.insert(fresh)).expect("fewer than 2^32 channels fit in memory");
                self.by_key.insert(key, index);
                index
            }
        };
        let channel = &mut self.channels[index as usize];
        channel.members += 1;
        channel.gated.push(Gated { member, waiting: Vec::new(), overflowed: false });
        index
    }

    /// Opens the gate for a member that has been sent everything up to `from`: seats it and gives what waited behind the gate.
    pub fn open(
        &mut self,
        channel: u32,
        member: MemberSlot,
        epoch: Epoch,
        from: u64,
        delivery: Delivery,
        presence: bool,
    ) -> (Seating, Waited) {
        let local = &mut self.channels[channel as usize];
        if local.last.is_none_or(|(known, _)| known != epoch) {
            local.last = Some((epoch, from));
        }
        let behind = |publication: &Publication, place: usize| {
            let position = publication.places[place].position;
            position.epoch != epoch || position.offset > from
        };
        self.open_behind(channel, Seat { member, from }, behind, delivery, presence)
    }

    /// As [`open`](Self::open), for members that have been sent everything up to a stamp of the app.
    pub(crate) fn open_at_stamp(
        &mut self,
        channel: u32,
        member: MemberSlot,
        from: Cursor,
        delivery: Delivery,
        presence: bool,
    ) -> (Seating, Waited) {
        let behind = |publication: &Publication, _| publication.cursor.epoch != from.epoch || publication.cursor.stamp > from.stamp;
        self.open_behind(channel, Seat { member, from: from.stamp }, behind, delivery, presence)
    }

    /// Seats a member; of what waited behind the gate it gives what `behind` says came later.
    fn open_behind(
        &mut self,
        channel: u32,
        seat: Seat,
        behind: impl Fn(&Publication, usize) -> bool,
        delivery: Delivery,
        presence: bool,
    ) -> (Seating, Waited) {
        let local = &mut self.channels[channel as usize];
        let mut waited = local
            .take_gated(seat.member)
            .map_or_else(Waited::default, |gated| Waited { publications: gated.waiting, gap: gated.overflowed });
        waited.publications.retain(|(publication, place)| behind(publication, *place));
        let (group, seat) = local.seat(seat, delivery, presence);
        (Seating { channel, group, seat }, waited)
    }

    /// Takes a member away from the gate: its subscribe was refused, or it is gone. Gives the channel's key when it has no more members and
    /// was forgotten.
    pub fn abandon(&mut self, channel: u32, member: MemberSlot) -> Option<K> {
        let local = self.channels.get_mut(channel as usize)?;
        if local.take_gated(member).is_some() {
            local.members -= 1;
        }
        self.forget_if_empty(channel)
    }

    /// Takes a member's seat away. Gives the channel's key when it has no more members and was forgotten.
    pub fn leave(&mut self, seating: Seating) -> Option<K> {
        let local = self.channels.get_mut(seating.channel as usize)?;
        let group = &mut local.groups[seating.group as usize];
        group.slots[seating.seat as usize].member = FREE;
        group.free.push(seating.seat);
        if group.free.len() == group.slots.len() {
            group.slots = Vec::new();
            group.free = Vec::new();
        }
        local.members -= 1;
        self.forget_if_empty(seating.channel)
    }

    /// The epoch and the offset up to which whoever has that seat was given everything.
    pub fn given(&self, seating: Seating) -> Option<(Epoch, u64)> {
        let (epoch, last) = self.channels[seating.channel as usize].last?;
        Some((epoch, last.max(self.seat_from(seating))))
    }

    /// Where the seat began.
    pub(crate) fn seat_from(&self, seating: Seating) -> u64 {
        self.channels[seating.channel as usize].groups[seating.group as usize].slots[seating.seat as usize].from
    }

    /// Whether whoever has that seat receives presence events.
    pub fn sees_presence(&self, seating: Seating) -> bool {
        self.channels[seating.channel as usize].groups[seating.group as usize].presence
    }

    /// The channel with that key, if somebody here is subscribed to it.
    pub fn find<Q: Hash + Equivalent<K>>(&self, key: &Q) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// A channel.
    pub fn channel(&self, index: u32) -> &LocalChannel<K> {
        &self.channels[index as usize]
    }

    /// A channel, to be changed.
    pub fn channel_mut(&mut self, index: u32) -> &mut LocalChannel<K> {
        &mut self.channels[index as usize]
    }

    /// The keys of all channels.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.by_key.keys()
    }

    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    fn forget_if_empty(&mut self, channel: u32) -> Option<K> {
        if self.channels[channel as usize].members > 0 {
            return None;
        }
        let local = self.channels.remove(channel as usize);
        self.by_key.remove(&local.key);
        Some(local.key)
    }
}

impl<K> LocalChannel<K> {
    /// Keeps a publication for those behind the gate.
    pub fn hold(&mut self, publication: &Arc<Publication>, place: usize) {
        for gated in &mut self.gated {
            // A publication in several channels comes to a pattern once for each that it means.
            if gated.waiting.last().is_some_and(|(last, _)| Arc::ptr_eq(last, publication)) {
                continue;
            }
            if gated.waiting.len() < GATE_MAX {
                gated.waiting.push((publication.clone(), place));
            } else {
                gated.overflowed = true;
            }
        }
    }

    /// The groups that have members.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.free.len() < group.slots.len())
    }

    /// A new life of the log began: what earlier replies covered means nothing any more.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.last = Some((epoch, 0));
        for seat in self.groups.iter_mut().flat_map(|group| &mut group.slots) {
            seat.from = 0;
        }
    }

    /// How many members there are, those behind the gate included.
    pub fn members(&self) -> usize {
        self.members
    }

    fn take_gated(&mut self, member: MemberSlot) -> Option<Gated> {
        let at = self.gated.iter().position(|gated| gated.member == member)?;
        Some(self.gated.swap_remove(at))
    }

    fn seat(&mut self, seat: Seat, delivery: Delivery, presence: bool) -> (u32, u32) {
        let found = self.groups.iter().position(|group| group.presence == presence && group.delivery == delivery);
        let index = found.unwrap_or_else(|| {
            let fresh = Group { delivery, presence, slots: Vec::new(), free: Vec::new() };
            match self.groups.iter().position(|group| group.slots.is_empty()) {
                Some(empty) => {
                    self.groups[empty] = fresh;
                    empty
                }
                None => {
                    self.groups.push(fresh);
                    self.groups.len() - 1
                }
            }
        });
        let group = &mut self.groups[index];
        let at = match group.free.pop() {
            Some(at) => {
                group.slots[at as usize] = seat;
                at
            }
            None => {
                group.slots.push(seat);
                (group.slots.len() - 1) as u32
            }
        };
        (index as u32, at)
    }
}

impl Group {
    /// The members that have not been sent the publication at `offset` yet.
    pub fn members_behind(&self, offset: u64) -> impl Iterator<Item = MemberSlot> + '_ {
        self.slots.iter().filter(move |seat| seat.member != FREE && seat.from < offset).map(|seat| seat.member)
    }

    /// All members, each with the offset up to which it has been sent everything by the reply to its subscribe.
    pub fn members_and_marks(&self) -> impl Iterator<Item = (MemberSlot, u64)> + '_ {
        self.slots.iter().filter(|seat| seat.member != FREE).map(|seat| (seat.member, seat.from))
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = MemberSlot> + '_ {
        self.slots.iter().filter(|seat| seat.member != FREE).map(|seat| seat.member)
    }
}
