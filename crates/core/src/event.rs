//! Events: what the hub tells the subscribers of a channel.

use std::sync::Arc;

use bytes::Bytes;

use crate::name::{ChannelName, SessionId, UserId};
use crate::publication::Publication;

/// Something that happened in a channel.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message, as it appears in one of its channels: the index is that of its place.
    Publication(Arc<Publication>, usize),
    /// Somebody came, changed or went.
    Presence(Arc<PresenceEvent>),
    /// Messages of this channel were lost for this node; subscribers should reload what they show.
    Gap(ChannelName),
}

impl Event {
    /// The channel that it happened in.
    pub fn channel(&self) -> &ChannelName {
        match self {
            Self::Publication(publication, place) => &publication.places[*place].channel,
            Self::Presence(event) => &event.channel,
            Self::Gap(channel) => channel,
        }
    }
}

/// A member's coming, change or going.
#[derive(Debug, PartialEq)]
pub struct PresenceEvent {
    /// The channel.
    pub channel: ChannelName,
    /// What happened.
    pub action: MemberAction,
    /// The member, as it is after the event (for a leave: as it was before).
    pub member: Member,
    /// Whether the member's user has no other entry in the channel: its first came, or its last went.
    pub only_of_user: bool,
}

/// What happened to a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemberAction {
    /// It came.
    Enter,
    /// Its data changed.
    Update,
    /// It went, or its lease ended.
    Leave,
}

/// One entry of a channel's presence set.
#[derive(Clone, PartialEq, Debug)]
pub struct Member {
    /// The session that entered it.
    pub session: SessionId,
    /// The name of the entry within its session; sessions may hold several.
    pub key: Arc<str>,
    /// The user, when the session has one.
    pub user: Option<UserId>,
    /// What the member says of itself: JSON.
    pub data: Option<Bytes>,
}
