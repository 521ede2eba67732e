//! What happens in an app, before anybody decides how a receiver is told of it.
//!
//! Invariant: nothing here knows how a body looks; [`format`](super::format) does.

use std::sync::Arc;

use omnivox_core::event::PresenceEvent;
use omnivox_core::name::{AppId, ChannelName, SessionId, UserId};
use omnivox_core::publication::Publication;

use crate::traces::{self, Trace};

/// Something that happened in a channel of an app.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub what: What,
    /// The span of the command that led to it, when its trace is made.
    pub trace: Option<Trace>,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// The channel's first subscriber came.
    Occupied,
    /// Its last one went.
    Vacated,
    /// The first entry of a user, or an entry without a user, is in the presence set.
    MemberAdded(Arc<PresenceEvent>),
    /// The last one of the user is out.
    MemberRemoved(Arc<PresenceEvent>),
    /// Something was published; the index is that of its place in the channel.
    Message(Arc<Publication>, usize),
    /// Somebody wants to see whether the webhook works.
    Test,
}

impl Occurrence {
    /// Something that happens now, as a part of what runs.
    pub(super) fn now(app: &AppId, channel: &ChannelName, at_ms: u64, what: What) -> Self {
        let trace = traces::current().filter(|trace| trace.context.sampled);
        Self { app: app.clone(), channel: channel.clone(), at_ms, what, trace }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match &self.what {
            What::Occupied => Kind::Occupied,
            What::Vacated => Kind::Vacated,
            What::MemberAdded(_) => Kind::MemberAdded,
            What::MemberRemoved(_) => Kind::MemberRemoved,
            What::Message(publication, _) if publication.draft.author.is_some() => Kind::ClientEvent,
            What::Message(..) => Kind::Message,
            What::Test => Kind::Test,
        }
    }

    /// What it begins or ends, if it does: a stay that a later occurrence may take back.
    pub(super) fn stay(&self) -> Option<Stay> {
        let stay = match &self.what {
            What::Occupied | What::Vacated => Stay::Channel(self.channel.clone()),
            What::MemberAdded(event) | What::MemberRemoved(event) => match &event.member.user {
                Some(user) => Stay::User(self.channel.clone(), user.clone()),
                None => Stay::Entry(self.channel.clone(), event.member.session, event.member.key.clone()),
            },
            What::Message(..) | What::Test => return None,
        };
        Some(stay)
    }

    /// Whether it ends a stay.
    pub(super) fn is_end(&self) -> bool {
        matches!(self.what, What::Vacated | What::MemberRemoved(_))
    }
}

/// What begins and ends.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Stay {
    /// A channel has subscribers.
    Channel(ChannelName),
    /// A user is in a channel.
    User(ChannelName, UserId),
    /// An entry without a user is in a channel.
    Entry(ChannelName, SessionId, Arc<str>),
}

/// The kinds of occurrences that a webhook may ask for, and the one that it may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A channel has its first subscriber.
    Occupied,
    /// A channel has none any more.
    Vacated,
    /// A user came.
    MemberAdded,
    /// A user went.
    MemberRemoved,
    /// A back end, or the server itself, published.
    Message,
    /// A client published.
    ClientEvent,
    /// A test.
    Test,
}

impl Kind {
    /// The word for it in bodies and settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Occupied => "occupied",
            Self::Vacated => "vacated",
            Self::MemberAdded => "member_added",
            Self::MemberRemoved => "member_removed",
            Self::Message => "message",
            Self::ClientEvent => "client_event",
            Self::Test => "test",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kinds(u8);

impl Kinds {
    /// Whether the kind is in it.
    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// With those as well whose coming takes back, or is taken back by, one that is in it.
    #[must_use]
    pub(super) fn with_counterparts(self) -> Self {
        let pairs = [[Kind::Occupied, Kind::Vacated], [Kind::MemberAdded, Kind::MemberRemoved]];
        let paired = pairs.into_iter().filter(|pair| pair.iter().any(|kind| self.contains(*kind))).flatten();
        paired.fold(self, |all, kind| Self(all.0 | 1 << kind as u8))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), |all, kind| Self(all.0 | 1 << kind as u8))
    }
}
