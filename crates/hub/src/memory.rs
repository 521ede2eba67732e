//! The memory engine: a node's own log and presence, gone with the process.
//!
//! Channels lie in stripes, each behind a mutex that is held for a few hundred nanoseconds and never across an await. A publication takes the
//! stripes of its channels in order, then the app's sequencer; while it has both it is numbered, kept and announced. So the order of offsets,
//! of stamps and of the shards' queues is the same one.
//!
//! Invariant: whatever has a stamp up to `n` is in its channel's history before anyone who reads stamp `n` can take that channel's stripe.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use omnivox_core::Limits;
use omnivox_core::app::{Retention, Retentions};
use omnivox_core::engine::{
    Announcement, Announcer, ChannelSummary, EngineError, HistoryPage, HistoryQuery, Joined, JoinedChannel, Joining, Log, Presence,
    Published, ShardSet, Task, Watch, Whom, Witness, ready,
};
use omnivox_core::event::Member;
use omnivox_core::history::History;
use omnivox_core::mark::{Cursor, Epoch, Mark, Position};
use omnivox_core::name::{AppId, ChannelKey, ChannelName, ChannelRef, SessionId};
use omnivox_core::presence::PresenceSet;
use omnivox_core::publication::{Audience, Draft, NAME_TAG, Place, Publication};
use smallvec::SmallVec;

const STRIPES: usize = 256;

/// Milliseconds since the Unix epoch; tests give a clock of their own.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Logs and presence sets in memory.
pub struct MemoryEngine {
    stripes: Box<[Mutex<Stripe>]>,
    apps: ArcSwap<Apps>,
    hasher: foldhash::fast::RandomState,
    announcer: Arc<dyn Announcer>,
    witness: Option<Arc<dyn Witness>>,
    clock: Clock,
    limits: Arc<Limits>,
    epochs: Epochs,
    channels: AtomicUsize,
}

#[derive(Default)]
struct Stripe {
    channels: HashMap<ChannelKey, Channel, foldhash::fast::RandomState>,
}

struct Channel {
    history: History,
    retention: Retention,
    shards: ShardSet,
    presence: PresenceSet,
    recent_ids: Option<Box<RecentIds>>,
    /// When something was last published, or somebody last left.
    touched_ms: u64,
}

/// The apps that have been heard of. Few come, and none goes, so the whole is replaced when one comes.
#[derive(Clone, Default)]
struct Apps {
    places: HashMap<AppId, usize, foldhash::fast::RandomState>,
    logs: Vec<Arc<AppLog>>,
}

/// An app's log, held without counting a reference: shards that subscribe at the same time would take that count from each other.
struct AppRef {
    apps: Guard<Arc<Apps>>,
    place: usize,
}

impl Deref for AppRef {
    type Target = AppLog;

    fn deref(&self) -> &AppLog {
        &self.apps.logs[self.place]
    }
}

/// What all channels of an app share.
struct AppLog {
    epoch: Epoch,
    /// Held while a publication is numbered, kept and announced.
    sequencer: Mutex<()>,
    /// The stamp of the last publication, from before anyone hears of it; whoever holds the sequencer changes it.
    stamp: AtomicU64,
    /// The largest stamp that a forgotten channel held.
    forgotten_stamp: AtomicU64,
    /// The shards that have patterns.
    watchers: AtomicU64,
    /// Where publications are that their publishers named.
    names: Mutex<Names>,
}

/// What publishers called their latest publications: the earliest stamp of each name.
#[derive(Default)]
struct Names {
    order: VecDeque<Arc<str>>,
    stamps: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
}

/// Names remembered for one app.
const NAMES_MAX: usize = 65_536;

impl Names {
    fn remember(&mut self, name: &Arc<str>, stamp: u64) {
        if self.stamps.contains_key(name) {
            return;
        }
        if self.order.len() >= NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.stamps.remove(&oldest);
        }
        self.order.push_back(name.clone());
        self.stamps.insert(name.clone(), stamp);
    }
}

impl AppLog {
    /// The stamp of the last publication. Its publisher may be at it still, and then holds the stripes of its channels.
    fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    /// Where the app stands when nobody is in the midst of a publication.
    fn cursor(&self) -> Cursor {
        let _nobody = lock(&self.sequencer);
        Cursor { epoch: self.epoch, stamp: self.stamp() }
    }

    fn watchers(&self) -> ShardSet {
        ShardSet(self.watchers.load(Ordering::SeqCst))
    }
}

/// The ids that publishers chose lately, and what became of them.
#[derive(Default)]
struct RecentIds {
    order: VecDeque<(u64, Arc<str>)>,
    known: HashMap<Arc<str>, Published, foldhash::fast::RandomState>,
}

/// Epochs that never repeat: a counter, scattered by a bijection, from a start that was drawn at random.
struct Epochs(AtomicU64);

impl Epochs {
    fn next(&self) -> Epoch {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Epoch(z ^ (z >> 31))
    }
}

impl MemoryEngine {
    /// An empty engine that announces to `announcer`. `seed` is from the system's randomness: it keeps the epochs of two lives apart.
    pub fn new(announcer: Arc<dyn Announcer>, limits: Arc<Limits>, clock: Clock, seed: u64) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            apps: ArcSwap::default(),
            hasher: foldhash::fast::RandomState::default(),
            announcer,
            witness: None,
            clock,
            limits,
            epochs: Epochs(AtomicU64::new(seed)),
            channels: AtomicUsize::new(0),
        }
    }

    /// The same engine, with somebody who is told what happens in it.
    #[must_use]
    pub fn witnessed_by(self, witness: Arc<dyn Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// Forgets what is too old, and channels that nobody needs any more. Called every few seconds.
    pub fn sweep(&self) {
        let now_ms = (self.clock)();
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            stripe.channels.retain(|key, channel| {
                let retention = channel.retention;
                channel.history.evict(now_ms, &retention);
                if let Some(ids) = &mut channel.recent_ids {
                    ids.forget(now_ms, &self.limits);
                }
                let keep = !channel.shards.is_empty()
                    || !channel.presence.is_empty()
                    || !channel.history.is_empty()
                    || channel.touched_ms + millis(self.limits.idempotency_time).max(millis(retention.age_max)) > now_ms;
                if !keep {
                    self.app(&key.app).forgotten_stamp.fetch_max(channel.history.last_stamp(), Ordering::Relaxed);
                    self.channels.fetch_sub(1, Ordering::Relaxed);
                }
                keep
            });
        }
    }

    /// How many channels there are.
    pub fn channel_count(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }

    /// The log of an app; the first time it is made.
    fn app(&self, id: &AppId) -> AppRef {
        loop {
            let apps = self.apps.load();
            if let Some(place) = apps.places.get(id).copied() {
                return AppRef { apps, place };
            }
            let fresh = Arc::new(AppLog {
                epoch: self.epochs.next(),
                sequencer: Mutex::default(),
                stamp: AtomicU64::new(0),
                forgotten_stamp: AtomicU64::new(0),
                watchers: AtomicU64::new(0),
                names: Mutex::default(),
            });
            self.apps.rcu(|apps| {
                let mut apps = Apps::clone(apps);
                if !apps.places.contains_key(id) {
                    apps.places.insert(id.clone(), apps.logs.len());
                    apps.logs.push(fresh.clone());
                }
                apps
            });
        }
    }

    fn stripe_index(&self, key: ChannelRef<'_>) -> usize {
        self.hasher.hash_one(key) as usize % STRIPES
    }

    fn stripe<'k>(&self, key: impl Into<ChannelRef<'k>>) -> MutexGuard<'_, Stripe> {
        lock(&self.stripes[self.stripe_index(key.into())])
    }

    fn channel<'a>(&self, stripe: &'a mut Stripe, key: ChannelRef<'_>, app: &AppLog) -> Result<&'a mut Channel, EngineError> {
        let vacant = match stripe.channels.entry_ref(&key) {
            EntryRef::Occupied(known) => return Ok(known.into_mut()),
            EntryRef::Vacant(vacant) => vacant,
        };
        if self.channels.fetch_add(1, Ordering::Relaxed) >= self.limits.channels_max {
            self.channels.fetch_sub(1, Ordering::Relaxed);
            let words = format!("the server has {} channels already; raise the limit or let channels expire", self.limits.channels_max);
            return Err(EngineError::Limit { setting: "channels_max", words: words.into() });
        }
        let fresh = Channel {
            history: History::new(self.epochs.next(), app.forgotten_stamp.load(Ordering::Relaxed)),
            retention: Retention::default(),
            shards: ShardSet::default(),
            presence: PresenceSet::default(),
            recent_ids: None,
            touched_ms: (self.clock)(),
        };
        Ok(vacant.insert_with_key(key.into(), fresh))
    }

    fn publish_now(&self, app_id: &AppId, mut draft: Draft, retentions: Retentions) -> Result<Published, EngineError> {
        let app = self.app(app_id);
        let retentions = name_once(&mut draft, retentions);
        let keys: SmallVec<[ChannelRef<'_>; 1]> = draft.channels.iter().map(|channel| ChannelRef::new(app_id, channel)).collect();
        let mut guards = self.lock_all(&keys);
        let now_ms = (self.clock)();
        for (at, key) in keys.iter().enumerate() {
            let channel = self.channel(guards.of(self.stripe_index(*key)), *key, &app)?;
            channel.retention = retentions.of(at);
            if at == 0
                && let Some(id) = &draft.id
                && let Some(ids) = &mut channel.recent_ids
            {
                ids.forget(now_ms, &self.limits);
                if let Some(first) = ids.known.get(id) {
                    return Ok(Published { duplicate: true, ..first.clone() });
                }
            }
        }
        let mut places: SmallVec<[Place; 1]> = SmallVec::with_capacity(keys.len());
        let mut shards = ShardSet::default();
        for key in &keys {
            let channel = self.channel(guards.of(self.stripe_index(*key)), *key, &app)?;
            let top = channel.history.top();
            shards = shards.union(channel.shards);
            places.push(Place {
                channel: key.channel.clone(),
                position: Position { epoch: top.epoch, offset: top.offset + 1 },
                previous: top.offset,
            });
        }
        drop(keys);
        let sequencer = lock(&app.sequencer);
        let cursor = Cursor { epoch: app.epoch, stamp: app.stamp() + 1 };
        // Before anyone hears of it, so that nobody's mark is ahead of the log.
        app.stamp.store(cursor.stamp, Ordering::Release);
        let publication = Arc::new(Publication { app: app_id.clone(), draft, places, cursor, at_ms: now_ms });
        let keys = || publication.places.iter().map(|place| ChannelRef::new(app_id, &place.channel));
        for (place, key) in keys().enumerate() {
            let channel = self.channel(guards.of(self.stripe_index(key)), key, &app)?;
            channel.touched_ms = now_ms;
            channel.history.push(publication.clone(), place, &retentions.of(place));
        }
        let published = Published { places: publication.places.clone(), cursor, duplicate: false };
        if let Some(id) = &publication.draft.id {
            let first = ChannelRef::new(app_id, &publication.places[0].channel);
            let channel = self.channel(guards.of(self.stripe_index(first)), first, &app)?;
            channel.recent_ids.get_or_insert_default().remember(id.clone(), now_ms, published.clone(), &self.limits);
        }
        if let Some((_, name)) = publication.draft.tags.as_deref().and_then(|tags| tags.iter().find(|(key, _)| *key == NAME_TAG)) {
            lock(&app.names).remember(name, cursor.stamp);
        }
        if let Some(witness) = &self.witness {
            witness.published(&publication);
        }
        // Read while the sequencer is held: whoever begins to watch later begins behind this stamp.
        let shards = shards.union(app.watchers());
        if !shards.is_empty() {
            self.announcer.announce(shards, Announcement::Publication(publication));
        }
        drop(sequencer);
        Ok(published)
    }

    /// Takes the stripes of all keys, in order of their numbers so that two publishers never wait for each other in a circle.
    fn lock_all(&self, keys: &[ChannelRef<'_>]) -> Guards<'_> {
        let mut indices: SmallVec<[usize; 1]> = keys.iter().map(|key| self.stripe_index(*key)).collect();
        indices.sort_unstable();
        indices.dedup();
        Guards(indices.into_iter().map(|index| (index, lock(&self.stripes[index]))).collect())
    }

    fn join(&self, app_id: &AppId, joining: &Joining<'_>) -> Result<Joined, EngineError> {
        let Joining { channels, watch, shard, since, most } = *joining;
        let app = self.app(app_id);
        let keys: SmallVec<[ChannelRef<'_>; 1]> = channels.iter().map(|channel| ChannelRef::new(app_id, channel)).collect();
        let mut floors: SmallVec<[Position; 1]> = SmallVec::with_capacity(keys.len());
        // Which of them the shard was in already: a join that fails takes it out of the others.
        let mut joined_before: SmallVec<[bool; 1]> = SmallVec::with_capacity(keys.len());
        // The stripe of an only channel is held for all of it.
        let mut held = None;
        for (at, key) in keys.iter().enumerate() {
            let mut stripe = self.stripe(*key);
            match self.channel(&mut stripe, *key, &app) {
                Ok(channel) => {
                    joined_before.push(self.occupy(*key, channel, shard));
                    floors.push(channel.history.top());
                    held = (keys.len() == 1).then_some(stripe);
                }
                Err(error) => {
                    drop(stripe);
                    let fresh = keys[..at].iter().zip(joined_before).filter(|(_, before)| !before);
                    fresh.for_each(|(key, _)| self.vacate(*key, shard));
                    return Err(error);
                }
            }
        }
        // Everything that gets a later stamp will be announced to the shard, because its interest is known by now: whoever publishes to a channel
        // learns of it with the stripe, and of a watch with the sequencer.
        let cursor = if watch.is_some() {
            app.watchers.fetch_or(1 << shard, Ordering::SeqCst);
            app.cursor()
        } else {
            Cursor { epoch: app.epoch, stamp: app.stamp() }
        };
        let mut joined = Joined { cursor, channels: SmallVec::new(), watch_gap: false, missed: Vec::new(), more: false };
        for (key, floor) in keys.into_iter().zip(floors) {
            let mut stripe = held.take().unwrap_or_else(|| self.stripe(key));
            let channel = self.channel(&mut stripe, key, &app)?;
            let mut gap = false;
            if let Some(mark) = since.filter(|mark| !channel.history.ends_at(*mark)) {
                let retention = channel.retention;
                channel.history.evict((self.clock)(), &retention);
                let behind = channel.history.since(mark, cursor, most);
                gap = behind.gap;
                joined.more |= behind.more;
                joined.missed.extend(behind.publications.into_iter().filter(|(publication, _)| publication.cursor.stamp <= cursor.stamp));
            }
            joined.channels.push(JoinedChannel { position: channel.history.top_at(cursor.stamp, floor), gap });
        }
        if let Some(watch) = watch {
            self.catch_up(app_id, &app, joining, watch, &mut joined);
        }
        if channels.len() > 1 || watch.is_some() {
            joined.missed.sort_by_key(|(publication, _)| publication.cursor.stamp);
            joined.missed.dedup_by_key(|(publication, _)| publication.cursor.stamp);
        }
        if joined.missed.len() > most {
            joined.missed.truncate(most);
            joined.more = true;
        }
        Ok(joined)
    }

    /// Adds what was missed in the channels that a watch means. It looks at every channel there is, a stripe at a time.
    fn catch_up(&self, app_id: &AppId, app: &AppLog, joining: &Joining<'_>, watch: &Watch, joined: &mut Joined) {
        let Some(mark) = joining.since else { return };
        let (cursor, now_ms) = (joined.cursor, (self.clock)());
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            let meant = stripe.channels.iter_mut().filter(|(key, _)| key.app == *app_id && watch.admits(&key.channel));
            for (_, channel) in meant {
                let retention = channel.retention;
                channel.history.evict(now_ms, &retention);
                let behind = channel.history.since(mark, cursor, joining.most);
                joined.watch_gap |= behind.gap && !channel.history.never_held();
                joined.more |= behind.more;
                joined.missed.extend(behind.publications.into_iter().filter(|(publication, _)| publication.cursor.stamp <= cursor.stamp));
            }
        }
        // Which channels were forgotten is not known any more, so any of them may have been meant. Read behind the channels themselves.
        joined.watch_gap |= match mark {
            Mark::Cursor(mark) => {
                mark.epoch != cursor.epoch || mark.stamp > cursor.stamp || mark.stamp < app.forgotten_stamp.load(Ordering::SeqCst)
            }
            Mark::Position(_) | Mark::Offset(_) => true,
            Mark::Earliest => false,
        };
    }

    /// The entries of channels that a watch means.
    fn present_now(&self, app: &AppId, watch: &Watch, most: usize) -> Vec<(ChannelName, Vec<Member>)> {
        let mut found = Vec::new();
        for stripe in &self.stripes {
            let stripe = lock(stripe);
            let meant = stripe
                .channels
                .iter()
                .filter(|(key, channel)| key.app == *app && !channel.presence.is_empty() && watch.admits(&key.channel));
            found.extend(meant.map(|(key, channel)| (key.channel.clone(), channel.presence.members())));
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found.truncate(most);
        found
    }

    fn history_now(&self, key: &ChannelKey, query: HistoryQuery) -> HistoryPage {
        let app = self.app(&key.app);
        let mut stripe = self.stripe(key);
        let cursor = app.cursor();
        let Some(channel) = stripe.channels.get_mut(key) else {
            // It may have been forgotten.
            return History::new(Epoch(0), app.forgotten_stamp.load(Ordering::SeqCst)).page(&query, cursor);
        };
        let retention = channel.retention;
        channel.history.evict((self.clock)(), &retention);
        channel.history.page(&query, cursor)
    }

    fn announce_presence(&self, app: &AppId, shards: ShardSet, event: omnivox_core::PresenceEvent) {
        let event = Arc::new(event);
        if let Some(witness) = &self.witness {
            witness.appeared(app, &event);
        }
        if !shards.is_empty() {
            self.announcer.announce(shards, Announcement::Presence(app.clone(), event));
        }
    }

    /// A shard has subscribers of the channel, perhaps the first. Tells whether it had some before.
    fn occupy(&self, key: ChannelRef<'_>, channel: &mut Channel, shard: u16) -> bool {
        if let Some(witness) = self.witness.as_ref().filter(|_| channel.shards.is_empty()) {
            witness.occupied(&ChannelKey::from(key), true);
        }
        let before = channel.shards.contains(shard);
        channel.shards.insert(shard);
        before
    }

    /// A shard has no more subscribers of the channel.
    fn vacate(&self, key: ChannelRef<'_>, shard: u16) {
        if let Some(channel) = self.stripe(key).channels.get_mut(&key) {
            let was_occupied = !channel.shards.is_empty();
            channel.shards.remove(shard);
            channel.touched_ms = (self.clock)();
            if let Some(witness) = self.witness.as_ref().filter(|_| was_occupied && channel.shards.is_empty()) {
                witness.occupied(&ChannelKey::from(key), false);
            }
        }
    }
}

/// Leaves each channel of a draft in its first place only, with its retention.
fn name_once(draft: &mut Draft, retentions: Retentions) -> Retentions {
    if draft.channels.len() < 2 {
        return retentions;
    }
    let named = std::mem::take(&mut draft.channels);
    let mut kept = Vec::with_capacity(named.len());
    for (place, channel) in named.into_iter().enumerate() {
        if !draft.channels.contains(&channel) {
            draft.channels.push(channel);
            kept.push(retentions.of(place));
        }
    }
    kept.into_iter().collect()
}

/// The stripes that one publication holds.
struct Guards<'a>(SmallVec<[(usize, MutexGuard<'a, Stripe>); 1]>);

impl Guards<'_> {
    fn of(&mut self, index: usize) -> &mut Stripe {
        let found = self.0.iter_mut().find(|(known, _)| *known == index);
        &mut found.expect("the stripe is held: locked for all keys of the draft").1
    }
}

impl RecentIds {
    fn remember(&mut self, id: Arc<str>, now_ms: u64, published: Published, limits: &Limits) {
        self.known.insert(id.clone(), published);
        self.order.push_back((now_ms, id));
        self.forget(now_ms, limits);
    }

    fn forget(&mut self, now_ms: u64, limits: &Limits) {
        let window = millis(limits.idempotency_time);
        while let Some((at_ms, _)) = self.order.front() {
            if self.order.len() <= limits.idempotency_ids_max && at_ms + window > now_ms {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.known.remove(&id);
            }
        }
    }
}

impl Log for MemoryEngine {
    fn publish(&self, app: &AppId, draft: Draft, retentions: Retentions) -> Task<Published> {
        ready(self.publish_now(app, draft, retentions))
    }

    fn subscribe(&self, app: &AppId, joining: Joining<'_>) -> Task<Joined> {
        ready(self.join(app, &joining))
    }

    fn subscribe_now(&self, app: &AppId, joining: &Joining<'_>) -> Option<Result<Joined, EngineError>> {
        Some(self.join(app, joining))
    }

    fn unwatch(&self, app: &AppId, shard: u16) {
        self.app(app).watchers.fetch_and(!(1 << shard), Ordering::SeqCst);
    }

    fn locate(&self, app: &AppId, name: &str) -> Task<(Option<Cursor>, Cursor)> {
        let log = self.app(app);
        let found = lock(&log.names).stamps.get(name).map(|stamp| Cursor { epoch: log.epoch, stamp: *stamp });
        ready(Ok((found, log.cursor())))
    }

    fn shards(&self, key: ChannelRef<'_>) -> ShardSet {
        self.stripe(key).channels.get(&key).map_or_else(ShardSet::default, |channel| channel.shards)
    }

    fn unsubscribe(&self, key: &ChannelKey, shard: u16) {
        self.vacate(key.into(), shard);
    }

    fn history(&self, key: &ChannelKey, query: HistoryQuery) -> Task<HistoryPage> {
        ready(Ok(self.history_now(key, query)))
    }

    fn channels(&self, app: &AppId, prefix: &str, most: usize) -> Task<Vec<ChannelSummary>> {
        let mut found = Vec::new();
        for stripe in &self.stripes {
            let stripe = lock(stripe);
            let matching = stripe.channels.iter().filter(|(key, channel)| {
                key.app == *app
                    && key.channel.as_str().starts_with(prefix)
                    && (!channel.shards.is_empty() || !channel.presence.is_empty() || !channel.history.is_empty())
            });
            found.extend(matching.map(|(key, channel)| ChannelSummary {
                channel: key.channel.clone(),
                position: channel.history.top(),
                members: channel.presence.len(),
            }));
        }
        found.sort_by(|a, b| a.channel.cmp(&b.channel));
        found.truncate(most);
        ready(Ok(found))
    }

    fn direct(&self, app: &AppId, draft: Draft) -> Task<()> {
        let log = self.app(app);
        let cursor = log.cursor();
        let publication = Publication { app: app.clone(), draft, places: SmallVec::new(), cursor, at_ms: (self.clock)() };
        self.announcer.announce(concerned_by(&publication.draft.audience), Announcement::Direct(Arc::new(publication)));
        ready(Ok(()))
    }

    fn disconnect(&self, app: &AppId, whom: Whom) -> Task<()> {
        self.announcer.announce(ShardSet::ALL, Announcement::Disconnect(app.clone(), whom));
        ready(Ok(()))
    }

    fn probe(&self) -> Task<Duration> {
        // There is no broker to lose: the answer is the proof.
        ready(Ok(Duration::ZERO))
    }
}

impl Presence for MemoryEngine {
    fn enter(&self, key: &ChannelKey, member: Member, update_only: bool, most: usize) -> Task<()> {
        let app = self.app(&key.app);
        let mut stripe = self.stripe(key);
        let channel = match self.channel(&mut stripe, key.into(), &app) {
            Ok(channel) => channel,
            Err(error) => return ready(Err(error)),
        };
        let known = channel.presence.contains(member.session, &member.key);
        if update_only && !known {
            return ready(Err(EngineError::NotFound("there is no such member to update; enter first".into())));
        }
        if !known && channel.presence.len() >= most {
            let words = format!("the channel has {most} members already");
            return ready(Err(EngineError::Limit { setting: "members_per_channel_max", words: words.into() }));
        }
        let shards = channel.shards.union(app.watchers());
        if let Some(event) = channel.presence.enter(&key.channel, member) {
            self.announce_presence(&key.app, shards, event);
        }
        ready(Ok(()))
    }

    fn leave(&self, key: &ChannelKey, session: SessionId, member: &str) -> Task<()> {
        let mut stripe = self.stripe(key);
        if let Some(channel) = stripe.channels.get_mut(key) {
            channel.touched_ms = (self.clock)();
            let shards = channel.shards.union(self.app(&key.app).watchers());
            if let Some(event) = channel.presence.leave(&key.channel, session, member) {
                self.announce_presence(&key.app, shards, event);
            }
        }
        ready(Ok(()))
    }

    fn find(&self, key: &ChannelKey, session: SessionId, name: Arc<str>) -> Task<Vec<Member>> {
        ready(Ok(self.stripe(key).channels.get(key).map_or_else(Vec::new, |channel| channel.presence.find(session, &name))))
    }

    fn members(&self, key: &ChannelKey) -> Task<Vec<Member>> {
        let members = self.stripe(key).channels.get(key).map_or_else(Vec::new, |channel| channel.presence.members());
        ready(Ok(members))
    }

    fn present(&self, app: &AppId, watch: &Watch, most: usize) -> Task<Vec<(ChannelName, Vec<Member>)>> {
        ready(Ok(self.present_now(app, watch, most)))
    }
}

/// The shards that a direct message has to go to: those of its sessions, or all because a user may be anywhere.
fn concerned_by(audience: &Audience) -> ShardSet {
    if audience.sessions.is_empty() || !audience.users.is_empty() {
        return ShardSet::ALL;
    }
    let mut shards = ShardSet::default();
    for session in audience.sessions.iter().filter(|session| session.shard < ShardSet::MAX) {
        shards.insert(session.shard);
    }
    shards
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic inside a critical section is a defect that was reported; the data is numbers and queues and stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
