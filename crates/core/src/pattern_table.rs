//! A shard's pattern subscribers, found by the names that their patterns match.
//!
//! A pattern's subscribers are kept as a channel's are (groups, seats, gates), but what they have been sent is a stamp of the app and not an
//! offset of a channel: a pattern brings channels that nobody here had heard of.
//!
//! Invariant: a publication goes to the patterns of its app once, in order of stamps.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::channel::{ChannelTable, LocalChannel, MemberSlot, Seating, Waited};
use crate::command::Delivery;
use crate::mark::Cursor;
use crate::name::{AppId, ChannelName};
use crate::pattern::{Pattern, PatternIndex};

/// The patterns of a shard that have subscribers.
#[derive(Debug, Default)]
pub struct PatternTable {
    table: ChannelTable<PatternKey>,
    apps: HashMap<AppId, AppPatterns, foldhash::fast::RandomState>,
}

/// A pattern of an app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PatternKey {
    /// The app.
    pub app: AppId,
    /// The pattern.
    pub pattern: Pattern,
}

#[derive(Debug, Default)]
struct AppPatterns {
    index: PatternIndex<u32>,
    /// The last publication that went to the patterns' subscribers.
    last: Option<Cursor>,
}

impl PatternTable {
    /// Puts a member behind the pattern's gate and gives the pattern's place.
    pub fn gate(&mut self, key: &PatternKey, member: MemberSlot) -> u32 {
        let new = self.table.find(key).is_none();
        let at = self.table.gate(key, || key.clone(), member);
        if new {
            self.apps.entry(key.app.clone()).or_default().index.insert(&key.pattern, at);
        }
        at
    }

    /// Opens the gate for a member that has been sent everything up to the cursor.
    pub fn open(&mut self, at: u32, member: MemberSlot, from: Cursor, delivery: Delivery, presence: bool) -> (Seating, Waited) {
        if let Some(app) = self.apps.get_mut(&self.table.channel(at).key.app)
            && app.last.is_none_or(|last| last.epoch != from.epoch)
        {
            app.last = Some(from);
        }
        self.table.open_at_stamp(at, member, from, delivery, presence)
    }

    /// Takes a member away from the gate. Gives the app when that was its last pattern here.
    pub fn abandon(&mut self, at: u32, member: MemberSlot) -> Option<AppId> {
        self.table.abandon(at, member).and_then(|key| self.forget(&key, at))
    }

    /// Takes a member's seat away. Gives the app when that was its last pattern here.
    pub fn leave(&mut self, seating: Seating) -> Option<AppId> {
        self.table.leave(seating).and_then(|key| self.forget(&key, seating.channel))
    }

    fn forget(&mut self, key: &PatternKey, at: u32) -> Option<AppId> {
        let app = self.apps.get_mut(&key.app)?;
        app.index.remove(&key.pattern, &at);
        if !app.index.is_empty() {
            return None;
        }
        self.apps.remove(&key.app);
        Some(key.app.clone())
    }

    /// The patterns of the app that mean the channel. None means the inbox of a seat, not even the one that means everything.
    pub fn matching(&self, app: &AppId, channel: &ChannelName) -> SmallVec<[u32; 4]> {
        let mut found = SmallVec::new();
        if channel.is_inbox() {
            return found;
        }
        if let Some(app) = self.apps.get(app) {
            app.index.matches(channel.as_str(), |at| found.push(*at));
        }
        found
    }

    /// All patterns of the app.
    pub fn of(&self, app: &AppId) -> Vec<u32> {
        self.table.keys().filter(|key| key.app == *app).filter_map(|key| self.table.find(key)).collect()
    }

    /// Whether the app has any patterns here.
    pub fn watches(&self, app: &AppId) -> bool {
        !self.apps.is_empty() && self.apps.contains_key(app)
    }

    /// Where the app's patterns stand.
    pub fn last(&self, app: &AppId) -> Option<Cursor> {
        self.apps.get(app).and_then(|app| app.last)
    }

    /// Up to where whoever has that seat was given everything.
    pub fn given(&self, seating: Seating) -> Option<Cursor> {
        let last = self.last(&self.pattern(seating.channel).key.app)?;
        Some(Cursor { stamp: last.stamp.max(self.table.seat_from(seating)), ..last })
    }

    /// Takes note that a publication goes to the app's patterns; false when it, or a later one, has been there before.
    pub fn advance(&mut self, app: &AppId, cursor: Cursor) -> bool {
        let Some(app) = self.apps.get_mut(app) else { return false };
        let new = app.last.is_none_or(|last| last.epoch != cursor.epoch || last.stamp < cursor.stamp);
        if new {
            app.last = Some(cursor);
        }
        new
    }

    /// A pattern and its subscribers.
    pub fn pattern(&self, at: u32) -> &LocalChannel<PatternKey> {
        self.table.channel(at)
    }

    /// A pattern, to be changed.
    pub fn pattern_mut(&mut self, at: u32) -> &mut LocalChannel<PatternKey> {
        self.table.channel_mut(at)
    }

    /// The place of a pattern that somebody here is subscribed to.
    pub fn find(&self, key: &PatternKey) -> Option<u32> {
        self.table.find(key)
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::mark::{Epoch, Position};
    use crate::{Draft, Payload, Place, Publication};

    fn publication(app: &AppId, stamp: u64) -> Arc<Publication> {
        let channel = ChannelName::parse("chat:a").unwrap();
        let place = Place { channel: channel.clone(), position: Position { epoch: Epoch(9), offset: stamp }, previous: stamp - 1 };
        let draft = Draft::new(channel, Payload::Text(Bytes::new()));
        let cursor = Cursor { epoch: Epoch(1), stamp };
        Arc::new(Publication { app: app.clone(), draft, places: SmallVec::from_elem(place, 1), cursor, at_ms: 0 })
    }

    #[test]
    fn no_pattern_means_an_inbox() {
        let app = AppId::parse("demo").unwrap();
        let mut table = PatternTable::default();
        let at = table.gate(&PatternKey { app: app.clone(), pattern: Pattern::All }, 7);
        assert_eq!(table.matching(&app, &ChannelName::parse("~a").unwrap()).as_slice(), [at]);
        assert!(table.matching(&app, &ChannelName::inbox("~a")).is_empty());
    }

    #[test]
    fn what_waits_behind_the_gate_is_cut_by_stamp_and_nothing_comes_twice() {
        let app = AppId::parse("demo").unwrap();
        let key = PatternKey { app: app.clone(), pattern: Pattern::parse("chat:*").unwrap() };
        let mut table = PatternTable::default();
        let at = table.gate(&key, 7);
        let channel = ChannelName::parse("chat:a").unwrap();
        assert_eq!(table.matching(&app, &channel).as_slice(), [at]);
        assert!(table.matching(&AppId::parse("other").unwrap(), &channel).is_empty());
        for stamp in 1..=4 {
            assert!(table.advance(&app, Cursor { epoch: Epoch(1), stamp }));
            table.pattern_mut(at).hold(&publication(&app, stamp), 0);
        }
        assert!(!table.advance(&app, Cursor { epoch: Epoch(1), stamp: 4 }));
        let (seat, waited) = table.open(at, 7, Cursor { epoch: Epoch(1), stamp: 2 }, Delivery::Stateful, false);
        let stamps: Vec<u64> = waited.publications.iter().map(|(publication, _)| publication.cursor.stamp).collect();
        assert_eq!((stamps, waited.gap), (vec![3, 4], false));
        let group = table.pattern(at).groups().next().unwrap();
        assert_eq!((group.members_behind(2).count(), group.members_behind(3).count()), (0, 1));
        let second = table.gate(&key, 8);
        assert_eq!((second, table.leave(seat)), (at, None), "somebody is behind the gate still");
        assert_eq!(table.abandon(at, 8), Some(app.clone()));
        assert!(table.is_empty() && !table.watches(&app));
    }
}
