//! The way of news to the shards: one bounded queue for each, which a publisher never waits for.
//!
//! What a full queue can't take is not lost: the channel is remembered, and the shard reads it again by position or tells its subscribers of
//! a gap; so are those whose sessions are to end. Messages to single sessions and
//! presence events are live alone; who is a member can be asked for.
//!
//! A shard that publishes rings for the others when its turn ends ([`Inboxes::end_turn`]): what it read in one go comes to them in one go, and they
//! are woken once for it.
//!
//! Invariant: once a queue was full, nothing more goes into it until the shard has emptied it and taken the list of channels to read again.
//! So the shard sees everything in order of stamps, and a client's cursor never passes something that is still to come.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use omnivox_core::engine::{Announcement, Announcer, ShardSet, Whom};
use omnivox_core::name::{AppId, ChannelKey};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

/// One shard's end of the queue that publishers fill.
#[derive(Debug)]
pub struct Inbox {
    news: mpsc::Receiver<Announcement>,
    overflow: Arc<Overflow>,
    bell: Arc<Bell>,
}

/// Wakes a shard that waits for news.
#[derive(Debug, Default)]
struct Bell {
    ring: Notify,
    /// There will be no more news.
    last: AtomicBool,
}

#[derive(Debug, Default)]
struct Overflow {
    any: AtomicBool,
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    channels: HashSet<ChannelKey>,
    up_to: BTreeMap<AppId, u64>,
    disconnects: HashSet<(AppId, Whom)>,
}

/// What could not be queued.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// The channels to read again.
    pub channels: Vec<ChannelKey>,
    up_to: BTreeMap<AppId, u64>,
    /// Whose sessions end.
    pub disconnects: Vec<(AppId, Whom)>,
}

impl Dropped {
    /// One channel of which something is missing.
    pub fn of(channel: ChannelKey) -> Self {
        Self { channels: vec![channel], ..Self::default() }
    }

    /// The last stamp of the app that was dropped, when that is known: whatever has a later one is queued.
    pub fn up_to(&self, app: &AppId) -> Option<u64> {
        self.up_to.get(app).copied()
    }
}

/// The publishers' end of all queues.
#[derive(Debug)]
pub struct Inboxes {
    senders: Box<[Sender]>,
    overflows: AtomicU64,
}

/// The publishers' end of one queue.
type Sender = (mpsc::Sender<Announcement>, Arc<Overflow>, Arc<Bell>);

/// A turn as its thread knows it.
#[derive(Clone, Copy, Default)]
struct Turn {
    /// The address of the inboxes whose turn it is; none have 0.
    whose: usize,
    /// The shards to ring for.
    shards: ShardSet,
    /// How much they have been told since they were rung for.
    news: usize,
}

thread_local! {
    static TURN: Cell<Turn> = const { Cell::new(Turn { whose: 0, shards: ShardSet(0), news: 0 }) };
}

/// Announcements after which a turn rings before it ends, so that the others don't sleep over a long one.
const TURN_NEWS_MAX: usize = 64;

impl Inboxes {
    /// As many queues as there are shards, each for at most `queue_max` news.
    pub fn new(shards: u16, queue_max: usize) -> (Arc<Self>, Vec<Inbox>) {
        let (senders, inboxes) = (0..shards)
            .map(|_| {
                let (sender, news) = mpsc::channel(queue_max.max(1));
                let (overflow, bell) = (Arc::new(Overflow::default()), Arc::new(Bell::default()));
                ((sender, overflow.clone(), bell.clone()), Inbox { news, overflow, bell })
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        (Arc::new(Self { senders: senders.into(), overflows: AtomicU64::new(0) }), inboxes)
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.senders.len() as u16
    }

    /// Begins a turn of a shard on the calling thread: until it ends nobody is woken for what the thread announces. Turns don't overlap.
    pub fn begin_turn(&self) {
        TURN.set(Turn { whose: self.address(), ..Turn::default() });
    }

    /// Ends the turn: now those are woken to whom something was announced in it.
    pub fn end_turn(&self) {
        self.ring_all(TURN.take().shards);
    }

    fn ring_all(&self, shards: ShardSet) {
        if shards.is_empty() {
            return;
        }
        for (index, (.., bell)) in self.senders.iter().enumerate() {
            if shards.contains(index as u16) {
                bell.ring.notify_one();
            }
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Wakes shards, at once or with what else the turn has for them.
    fn ring(&self, shards: ShardSet) {
        let turn = TURN.get();
        if turn.whose != self.address() {
            return self.ring_all(shards);
        }
        let turn = Turn { shards: turn.shards.union(shards), news: turn.news + 1, ..turn };
        if turn.news < TURN_NEWS_MAX {
            return TURN.set(turn);
        }
        self.ring_all(turn.shards);
        self.begin_turn();
    }

    /// How often a queue was full.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }
}

impl Announcer for Inboxes {
    fn announce(&self, shards: ShardSet, announcement: Announcement) {
        for (index, (sender, overflow, _)) in self.senders.iter().enumerate() {
            if !shards.contains(index as u16) {
                continue;
            }
            if overflow.any.load(Ordering::Acquire) && overflow.remember(&announcement, false) {
                continue;
            }
            if let Err(TrySendError::Full(announcement)) = sender.try_send(announcement.clone()) {
                self.overflows.fetch_add(1, Ordering::Relaxed);
                overflow.remember(&announcement, true);
            }
        }
        self.ring(shards);
    }
}

impl Drop for Inboxes {
    fn drop(&mut self) {
        for (.., bell) in &self.senders {
            bell.last.store(true, Ordering::Release);
            bell.ring.notify_one();
        }
    }
}

impl Overflow {
    /// Puts the announcement's channels on the list. Unless it `begins` the list that must be under way still: false when it is not.
    fn remember(&self, announcement: &Announcement, begins: bool) -> bool {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if !begins && !self.any.load(Ordering::Acquire) {
            return false;
        }
        match announcement {
            Announcement::Publication(publication) => {
                list.channels.extend(publication.places.iter().map(|place| ChannelKey::new(&publication.app, &place.channel)));
                let last = list.up_to.entry(publication.app.clone()).or_default();
                *last = publication.cursor.stamp.max(*last);
            }
            Announcement::Presence(app, event) => {
                list.channels.insert(ChannelKey::new(app, &event.channel));
            }
            Announcement::Disconnect(app, whom) => {
                list.disconnects.insert((app.clone(), whom.clone()));
            }
            // A message to one session has no log to read it from; it is live only, and its sender was promised no more.
            Announcement::Direct(_) => {}
        }
        self.any.store(true, Ordering::Release);
        true
    }
}

impl Inbox {
    /// Waits for news and moves up to `most` of them into `into`: none when there is only a list to take ([`Self::take_overflowed`]). False when there
    /// will be no more.
    pub async fn receive(&mut self, into: &mut Vec<Announcement>, most: usize) -> bool {
        let before = into.len();
        loop {
            // Read before the queue: what was announced before the end is in it by then.
            let last = self.bell.last.load(Ordering::Acquire);
            while into.len() - before < most
                && let Ok(announcement) = self.news.try_recv()
            {
                into.push(announcement);
            }
            // A publisher that met a full queue may have made its list only after the queue was read to its end.
            if into.len() > before || self.overflow.any.load(Ordering::Acquire) {
                return true;
            }
            if last {
                return false;
            }
            self.bell.ring.notified().await;
        }
    }

    /// Whether no news wait at the moment.
    pub fn is_empty(&self) -> bool {
        self.news.is_empty()
    }

    /// The channels whose news were dropped, once everything that was queued before is in `into`. To be called when that has been dealt with.
    pub fn take_overflowed(&mut self, into: &mut Vec<Announcement>) -> Dropped {
        if !self.overflow.any.load(Ordering::Acquire) {
            return Dropped::default();
        }
        while let Ok(announcement) = self.news.try_recv() {
            into.push(announcement);
        }
        if !into.is_empty() {
            return Dropped::default();
        }
        let mut list = self.overflow.list.lock().unwrap_or_else(PoisonError::into_inner);
        self.overflow.any.store(false, Ordering::Release);
        let List { channels, up_to, disconnects } = std::mem::take(&mut *list);
        Dropped { channels: channels.into_iter().collect(), up_to, disconnects: disconnects.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use omnivox_core::AppId;

    use super::*;

    /// A publisher meets a full queue, the shard empties it, and only then does the publisher make its list: the shard is woken for the list alone.
    #[test]
    fn a_list_that_is_made_late_is_taken() {
        let (inboxes, mut ends) = Inboxes::new(1, 1);
        let app = AppId::parse("one").unwrap();
        let late = Announcement::Disconnect(app.clone(), Whom::Token("t".into()));
        let mut news = Vec::new();
        let receive =
            |inbox: &mut Inbox, news: &mut Vec<_>| std::pin::pin!(inbox.receive(news, 9)).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(receive(&mut ends[0], &mut news), Poll::Pending);
        let (_, overflow, bell) = &inboxes.senders[0];
        overflow.remember(&late, true);
        bell.ring.notify_one();
        assert_eq!(receive(&mut ends[0], &mut news), Poll::Ready(true));
        assert_eq!(ends[0].take_overflowed(&mut news).disconnects, [(app, Whom::Token("t".into()))]);
        assert_eq!(receive(&mut ends[0], &mut news), Poll::Pending, "it was taken once");
        inboxes.announce(ShardSet::ALL, late);
        assert_eq!((receive(&mut ends[0], &mut news), news.len()), (Poll::Ready(true), 1), "and the queue is used again");
    }
}
