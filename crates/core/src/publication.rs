//! Publications: one message, numbered once, shared by everyone who receives it.
//!
//! A [`Draft`] is what a client asks to publish. The engine numbers it and makes a [`Publication`] out of it, which is never changed again
//! and lives in an `Arc`: history, shards and sessions all hold the same one.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::mark::{Cursor, Position};
use crate::name::{AppId, ChannelName, SessionId, UserId};
use crate::payload::Payload;

/// A publication that has not been numbered.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// The channels, at least one; a connection that is in several of them receives the publication once.
    pub channels: SmallVec<[ChannelName; 1]>,
    /// The event name; `None` is the plain `message`.
    pub event: Option<Arc<str>>,
    /// The bytes.
    pub payload: Payload,
    /// The id that the publisher chose. Within its window a second publication with the same id in the same channel is the first one again.
    pub id: Option<Arc<str>>,
    /// Who of the channels' subscribers receives it.
    pub audience: Audience,
    /// The session that publishes, when it is one.
    pub publisher: Option<SessionId>,
    /// The client who publishes, and no back end; the hub writes it where a webhook wants to know.
    pub author: Option<Author>,
    /// Channels that the publisher may not publish to are passed over, instead of refusing the whole; it is refused when none is left.
    pub skip_forbidden: bool,
    /// How the native dialect shows it.
    pub form: Form,
    /// Further facts that one dialect keeps for its own clients (`private`, `retry`, a client id), as sorted pairs.
    pub tags: Tags,
}

impl Draft {
    /// A plain publication of `payload` to one channel.
    pub fn new(channel: ChannelName, payload: Payload) -> Self {
        Self::to(SmallVec::from_elem(channel, 1), payload)
    }

    /// A plain publication of `payload` to several channels.
    pub fn to(channels: SmallVec<[ChannelName; 1]>, payload: Payload) -> Self {
        Self {
            channels,
            event: None,
            payload,
            id: None,
            audience: Audience::default(),
            publisher: None,
            author: None,
            skip_forbidden: false,
            form: Form::Enveloped,
            tags: Tags::default(),
        }
    }

    /// Takes note of the session that publishes, and leaves it out of the audience when that was asked for.
    pub fn published_by(&mut self, session: SessionId) {
        self.publisher = Some(session);
        if self.audience.except_publisher {
            self.audience.except_sessions.push(session);
        }
    }
}

/// A client who publishes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Author {
    /// Its user, when its credential names one.
    pub user: Option<UserId>,
}

/// How the native dialect shows a publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// `{"type":"message","channel":…,"id":…,"event":…,"data":…}`.
    #[default]
    Enveloped,
    /// An application message: a JSON object that is shown as itself, with `type` being the event.
    Flat,
}

/// The tag under which stands what the publisher calls its publication. Unlike an id it need not be unique; an engine finds the earliest
/// publication of that name, so that a client can resume from it.
pub const NAME_TAG: &str = "name";

/// Tags that say how a dialect reads the payload: whoever puts another payload in its place drops them.
pub const SHAPE_TAGS: [&str; 2] = ["args", "attachments"];

/// Facts of one dialect about a publication, such as Mercure's `retry`.
pub type Tags = Option<Arc<[(&'static str, Arc<str>)]>>;

/// Who receives a publication: everyone in its channels, narrowed or cut.
///
/// The default is everyone. A connection receives it once however many of the lists it matches.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Audience {
    /// Only these users, if any are named.
    pub users: SmallVec<[UserId; 0]>,
    /// Only these sessions, if any are named.
    pub sessions: SmallVec<[SessionId; 0]>,
    /// Not these sessions.
    pub except_sessions: SmallVec<[SessionId; 1]>,
    /// Not the sessions that are subscribed to any of these channels.
    pub except_channels: SmallVec<[ChannelName; 0]>,
    /// Not these users.
    pub except_users: SmallVec<[UserId; 0]>,
    /// Only sessions whose credential grants one of the channels by name or pattern; what a namespace gives to everyone does not count.
    pub granted_only: bool,
    /// Not the session that publishes; [`Draft::published_by`] makes it one of `except_sessions`, since sessions do not know their own id.
    pub except_publisher: bool,
}

impl Audience {
    /// Whether everyone in the channels receives it.
    pub fn is_everyone(&self) -> bool {
        self.users.is_empty()
            && self.sessions.is_empty()
            && self.except_sessions.is_empty()
            && self.except_channels.is_empty()
            && self.except_users.is_empty()
            && !self.granted_only
            && !self.except_publisher
    }

    /// Whether a session of `user` belongs to it; the channels of `except_channels` and the grants of `granted_only` are the caller's to look
    /// up.
    pub fn admits(&self, session: SessionId, user: Option<&UserId>) -> bool {
        let named = self.users.is_empty() && self.sessions.is_empty();
        (named || self.sessions.contains(&session) || user.is_some_and(|user| self.users.contains(user)))
            && !self.except_sessions.contains(&session)
            && !user.is_some_and(|user| self.except_users.contains(user))
    }
}

/// A publication's place in one of its channels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The channel.
    pub channel: ChannelName,
    /// The place.
    pub position: Position,
    /// The offset of the publication before it in the channel; a hole between the two is a loss.
    pub previous: u64,
}

/// A numbered message.
#[derive(Debug)]
pub struct Publication {
    /// The app that it belongs to.
    pub app: AppId,
    /// What was asked for.
    pub draft: Draft,
    /// One place for each channel, in the order of the draft's channels.
    pub places: SmallVec<[Place; 1]>,
    /// The stamp among all publications of the app.
    pub cursor: Cursor,
    /// When it was numbered, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Publication {
    /// The place in `channel`, if the publication is in it.
    pub fn place(&self, channel: &ChannelName) -> Option<&Place> {
        self.places.iter().find(|place| place.channel == *channel)
    }

    /// The value of a tag.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tags = self.draft.tags.as_deref()?;
        tags.iter().find(|(key, _)| *key == name).map(|(_, value)| &**value)
    }

    /// The bytes that it holds on to, roughly: what a limit on history memory counts.
    pub fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.draft.payload.len() + self.draft.event.as_ref().map_or(0, |event| event.len())
    }
}
