//! The ports: what an engine implements. Memory lives in the hub; disk, Redis and NATS are crates of their own.
//!
//! All keys are `(app, channel)` by type. Every method answers with a [`Task`] that never borrows; the memory engine's are ready at once, and
//! the driver polls a task before it parks it, so that a single node pays for no wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::app::Retentions;
use crate::event::{Member, PresenceEvent};
use crate::mark::{Cursor, Mark, Position};
use crate::name::{AppId, ChannelKey, ChannelName, ChannelRef, SessionId, UserId};
use crate::pattern::Pattern;
use crate::publication::{Draft, Place, Publication};

/// The answer of an engine, now or later.
pub type Task<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send>>;

/// An answer that is known already.
pub fn ready<T: Send + 'static>(answer: Result<T, EngineError>) -> Task<T> {
    Box::pin(std::future::ready(answer))
}

/// Why an engine can't.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EngineError {
    /// The broker does not answer.
    #[error("{0}")]
    Unavailable(Box<str>),
    /// A limit of the engine is reached: the setting and the words.
    #[error("{words} (limits.{setting})")]
    Limit {
        /// The name of the setting.
        setting: &'static str,
        /// What was too much.
        words: Box<str>,
    },
    /// What it is about does not exist.
    #[error("{0}")]
    NotFound(Box<str>),
}

/// Shards that have an interest, one bit each; a node has at most 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// The largest number of shards.
    pub const MAX: u16 = 64;

    /// All shards.
    pub const ALL: Self = Self(u64::MAX);

    /// Adds a shard.
    pub fn insert(&mut self, shard: u16) {
        self.0 |= 1 << shard;
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: u16) {
        self.0 &= !(1 << shard);
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The shard, when there is one and no more.
    pub fn only(self) -> Option<u16> {
        (self.0.count_ones() == 1).then_some(self.0.trailing_zeros() as u16)
    }

    /// Whether the shard is in it.
    pub fn contains(self, shard: u16) -> bool {
        self.0 & (1 << shard) != 0
    }

    /// Both together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// News for the shards of this node.
#[derive(Clone, Debug)]
pub enum Announcement {
    /// Something was published.
    Publication(Arc<Publication>),
    /// Somebody came, changed or went.
    Presence(AppId, Arc<PresenceEvent>),
    /// A message for sessions or users, in no channel.
    Direct(Arc<Publication>),
    /// End sessions of the app.
    Disconnect(AppId, Whom),
}

/// Whose sessions end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whom {
    /// All of a user.
    User(UserId),
    /// One.
    Session(SessionId),
    /// All that came with a token.
    Token(Arc<str>),
}

/// Takes news from an engine to the shards of this node. It never blocks: what a shard can't take, it reads again by position.
pub trait Announcer: Send + Sync + 'static {
    /// Queues the news for each of the shards.
    ///
    /// The order of calls is the order of delivery: an engine calls it in order of stamps, and in order of offsets for a channel.
    fn announce(&self, shards: ShardSet, announcement: Announcement);
}

/// Is told what happens in an app as a whole, whoever is there to receive it: what webhooks are made of.
///
/// An engine tells it on one node only, once for each, and in order within a channel. It never blocks, and never calls the engine.
pub trait Witness: Send + Sync + 'static {
    /// Something was published, and it is no repetition.
    fn published(&self, publication: &Arc<Publication>);

    /// The first subscriber of a channel came, or its last one went. One that comes by a pattern is none of the channel's.
    fn occupied(&self, key: &ChannelKey, occupied: bool);

    /// Somebody came, changed or went.
    fn appeared(&self, app: &AppId, event: &Arc<PresenceEvent>);
}

/// A log of publications.
pub trait Log: Send + Sync + 'static {
    /// Numbers a draft in all its channels, keeps it, and announces it, all at once for each channel; a repeated id is answered with the first place.
    /// A channel that is named twice is meant once.
    fn publish(&self, app: &AppId, draft: Draft, retentions: Retentions) -> Task<Published>;

    /// From now on announces the channels to the shard, and gives what was missed: atomic, so that nothing falls between the two. With a
    /// [`Watch`] everything in the app is announced to the shard, which picks out what its patterns mean.
    fn subscribe(&self, app: &AppId, joining: Joining<'_>) -> Task<Joined>;

    /// The same for an engine that never waits: held polls subscribe thousands of times a second, and go without a box for the answer.
    fn subscribe_now(&self, _app: &AppId, _joining: &Joining<'_>) -> Option<Result<Joined, EngineError>> {
        None
    }

    /// The shards of this node that have subscribers of the channel, or are about to.
    fn shards(&self, key: ChannelRef<'_>) -> ShardSet;

    /// The shard has no more subscribers of the channel.
    fn unsubscribe(&self, key: &ChannelKey, shard: u16);

    /// The shard has no more patterns of the app.
    fn unwatch(&self, app: &AppId, shard: u16);

    /// Where the earliest publication is that its publisher gave the name ([`NAME_TAG`](crate::publication::NAME_TAG)), if that is still
    /// known, and where the app stands.
    fn locate(&self, app: &AppId, name: &str) -> Task<(Option<Cursor>, Cursor)>;

    /// Reads what was published.
    fn history(&self, key: &ChannelKey, query: HistoryQuery) -> Task<HistoryPage>;

    /// Lists channels in use whose names begin with the text.
    fn channels(&self, app: &AppId, prefix: &str, most: usize) -> Task<Vec<ChannelSummary>>;

    /// Sends a message to sessions and users of the app, outside all channels.
    fn direct(&self, app: &AppId, draft: Draft) -> Task<()>;

    /// Ends sessions, wherever they are.
    fn disconnect(&self, app: &AppId, whom: Whom) -> Task<()>;

    /// A probe message that really goes through the broker and comes back.
    fn probe(&self) -> Task<Duration>;
}

/// The presence sets of channels.
pub trait Presence: Send + Sync + 'static {
    /// Adds or changes an entry and announces it.
    fn enter(&self, key: &ChannelKey, member: Member, update_only: bool, most: usize) -> Task<()>;

    /// Takes an entry out and announces it; an entry that is not there is no error.
    fn leave(&self, key: &ChannelKey, session: SessionId, member: &str) -> Task<()>;

    /// All entries.
    fn members(&self, key: &ChannelKey) -> Task<Vec<Member>>;

    /// The entries of a session, and those that bear a name.
    fn find(&self, key: &ChannelKey, session: SessionId, name: Arc<str>) -> Task<Vec<Member>> {
        let members = self.members(key);
        Box::pin(async move {
            let mut members = members.await?;
            members.retain(|member| member.session == session || member.key == name);
            Ok(members)
        })
    }

    /// All entries of the channels that a watch means, in order of their names, of at most so many channels.
    fn present(&self, app: &AppId, watch: &Watch, most: usize) -> Task<Vec<(ChannelName, Vec<Member>)>>;
}

/// What a shard wants to be told of.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    /// The channels.
    pub channels: &'a [ChannelName],
    /// The patterns, if any.
    pub watch: Option<&'a Watch>,
    /// The shard.
    pub shard: u16,
    /// What was seen last: a position means one channel, a cursor all of them.
    pub since: Option<Mark>,
    /// At most so many missed publications.
    pub most: usize,
}

/// Patterns, and which of the channels that they mean may be read.
#[derive(Clone)]
pub struct Watch {
    /// The patterns.
    pub patterns: SmallVec<[Pattern; 0]>,
    /// Whether a channel may be read by whoever asks.
    pub readable: Arc<dyn Fn(&ChannelName) -> bool + Send + Sync>,
}

impl Watch {
    /// Whether the channel is meant and may be read.
    pub fn admits(&self, channel: &ChannelName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(channel.as_str())) && (self.readable)(channel)
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.patterns).finish()
    }
}

/// What became of a publication.
#[derive(Clone, PartialEq, Debug)]
pub struct Published {
    /// Its places.
    pub places: SmallVec<[Place; 1]>,
    /// Its stamp.
    pub cursor: Cursor,
    /// Whether it had been published before under the same id.
    pub duplicate: bool,
}

/// The state of channels at the moment when a shard joined them.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Where the app stood: everything up to this stamp is in `missed` or had been seen, everything behind it will be announced.
    pub cursor: Cursor,
    /// The channels, in the order in which they were asked for.
    pub channels: SmallVec<[JoinedChannel; 1]>,
    /// Whether publications in channels that the patterns mean may be gone since the mark.
    pub watch_gap: bool,
    /// What was published since the mark, in order of stamps; the index is that of the place.
    pub missed: Vec<(Arc<Publication>, usize)>,
    /// Whether more was missed than asked for: the rest follows behind the last one.
    pub more: bool,
}

/// The state of one channel at that moment.
#[derive(Clone, PartialEq, Debug)]
pub struct JoinedChannel {
    /// The place of its last publication up to the cursor.
    pub position: Position,
    /// Whether publications since the mark are gone.
    pub gap: bool,
}

/// Which part of a channel's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Only what came after this mark.
    pub since: Option<Mark>,
    /// Only what came before this position or offset.
    pub before: Option<Mark>,
    /// At most so many.
    pub most: usize,
    /// The newest first.
    pub newest_first: bool,
}

/// A part of a channel's history.
#[derive(Clone, Debug)]
pub struct HistoryPage {
    /// The publications; the index is that of the place.
    pub publications: Vec<(Arc<Publication>, usize)>,
    /// The place of the channel's last publication.
    pub position: Position,
    /// Whether publications since the mark are gone.
    pub gap: bool,
    /// Whether there are more in that direction.
    pub more: bool,
}

/// A channel in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelSummary {
    /// The channel.
    pub channel: ChannelName,
    /// The place of its last publication.
    pub position: Position,
    /// Members in its presence set.
    pub members: usize,
}
