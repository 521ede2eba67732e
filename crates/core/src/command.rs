//! Commands, replies and refusals: the one door between a session and the hub.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::call::{Call, Called};
use crate::engine::{ChannelSummary, HistoryPage, HistoryQuery, Published};
use crate::event::{Event, Member};
use crate::frame::EncodingKey;
use crate::grants::Principal;
use crate::mark::{Cursor, Mark, Position};
use crate::name::{ChannelName, SessionId, UserId};
use crate::pattern::Pattern;
use crate::publication::{Draft, Publication};
use crate::room::{IceServers, IceWish, Seat, Seated, Signal, Vacate};
use crate::webhook::{Attempt, AttemptQuery};

/// The number under which a session asked; the reply comes back with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u32);

/// What a session asks of the hub. Commands of one session are run in the order in which they were asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// Verify a credential. Until it is answered with [`Reply::Connected`] the session may do nothing else.
    Connect(Box<Connect>),
    /// Receive what is published in some channels.
    Subscribe(Box<Subscribe>),
    /// As `Subscribe`, but for these of its channels no grant is needed: the server lets the client in, whatever it may do by itself.
    Admit(Box<Subscribe>, Box<[ChannelName]>),
    /// Receive it no longer.
    Unsubscribe(ChannelName),
    /// Receive no longer what a pattern brought.
    UnsubscribePattern(Pattern),
    /// Publish one or several messages, each on its own.
    Publish(SmallVec<[Box<Draft>; 1]>),
    /// Appear in a channel's presence set, or change one's data there.
    Enter(Box<Enter>),
    /// Appear in a channel's presence set because the protocol says so: nobody asked for it, so no grant is needed.
    Appear(Box<Appear>),
    /// Leave the presence set; the key is that of the entry.
    Leave(ChannelName, Arc<str>),
    /// Who is in the channel.
    Members(ChannelName),
    /// Who is in the channels that a pattern means, as far as the session may know.
    Present(Pattern),
    /// Where in the log the publication is that its publisher gave this name.
    Locate(Arc<str>),
    /// What was published before.
    History(ChannelName, HistoryQuery),
    /// Which channels are in use whose names begin with the text.
    Channels(Box<str>),
    /// Act on other sessions of the app.
    Manage(Box<Manage>),
    /// Who is connected as the user.
    Connections(UserId),
    /// A single-use ticket for the session's principal, for clients that can't send a header.
    Ticket,
    /// Have a seat in a room. It ends with [`Command::Leave`], or some time after the session.
    Seat(Box<Seat>),
    /// Say something to one member of a room, from one's own seat.
    Signal(Box<Signal>),
    /// Servers that help two peers to connect.
    Ice(Box<IceWish>),
    /// Show up for a seat on lease, with the key of its inbox; then the session may subscribe to that inbox.
    Keep(Box<str>),
    /// Leave a seat on lease.
    Vacate(Box<Vacate>),
    /// Ask the application behind the hub.
    Call(Box<Call>),
}

/// Who the client says it is, and how it came.
#[derive(Clone, Debug)]
pub struct Connect {
    /// What it shows.
    pub credential: Credential,
    /// The `Host` it asked for: an app may be chosen by it.
    pub host: Option<Box<str>>,
    /// The browser's origin.
    pub origin: Option<Box<str>>,
}

/// What a client shows to be let in. Its text never appears in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// A signed token (JWT).
    Token(Box<str>),
    /// A single-use ticket from `POST /v1/ticket`.
    Ticket(Box<str>),
    /// A back end's key and secret.
    Key {
        /// The public half.
        id: Box<str>,
        /// The secret half.
        secret: Box<str>,
    },
    /// A token that a browser sent by itself, as a cookie: it counts only with a sign of the page that made the request.
    Cookie(Box<CookieToken>),
    /// A request that a back end signed instead of sending its secret.
    Signed(Box<SignedRequest>),
}

/// The beginning of every ticket.
pub const TICKET_PREFIX: &str = "ovt_";

impl Credential {
    /// A token or a ticket, by its look.
    pub fn bearer(text: &str) -> Self {
        if text.starts_with(TICKET_PREFIX) { Self::Ticket(text.into()) } else { Self::Token(text.into()) }
    }
}

/// A token in a cookie, with what the request says of the page that made it, beside its origin.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieToken {
    /// The token.
    pub token: Box<str>,
    /// `Referer`.
    pub referer: Option<Box<str>>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<Box<str>>,
    /// Whether the request came over TLS.
    pub secure: bool,
}

/// What a signature is over, and the header with it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The value of `Authorization`.
    pub authorization: Box<str>,
    /// The method.
    pub method: Box<str>,
    /// Path and query as they were sent.
    pub target: Box<str>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token(_) => "Token(redacted)",
            Self::Ticket(_) => "Ticket(redacted)",
            Self::Key { .. } => "Key(redacted)",
            Self::Cookie(_) => "Cookie(redacted)",
            Self::Signed(_) => "Signed(redacted)",
        })
    }
}

/// A wish to receive.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The channels; all of them or none.
    pub channels: SmallVec<[ChannelName; 1]>,
    /// Patterns: of the channels that they mean the session receives those that it may subscribe to, also when they come into being later.
    pub patterns: SmallVec<[Pattern; 0]>,
    /// What was seen last: a position means one channel, a cursor all of them.
    pub since: Option<Mark>,
    /// How events reach the session.
    pub delivery: Delivery,
    /// Whether presence events are wanted too.
    pub presence: bool,
    /// What becomes of the missed publications.
    pub replay: Replay,
}

/// How events reach a session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Delivery {
    /// The encoded frame goes straight to the outbox; the session never wakes.
    Shared(EncodingKey),
    /// As `Shared`, but only the first frame: then all subscriptions of the session end and its held exchange counts as answered.
    Once(EncodingKey),
    /// The session handles each event itself.
    Stateful,
}

/// Where missed publications go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    /// Into the outbox (or the session, when stateful), before the reply.
    Deliver,
    /// Into the reply. If there are any, or a gap, nothing is subscribed.
    InReply,
}

/// A wish to appear in a presence set.
#[derive(Clone, Debug)]
pub struct Enter {
    /// The channel.
    pub channel: ChannelName,
    /// The name of the entry within the session.
    pub key: Arc<str>,
    /// What the member says of itself: JSON.
    pub data: Option<Bytes>,
    /// Whether an entry must exist already.
    pub update_only: bool,
}

/// An entry of a presence set that a protocol makes, and what the channel's log tells of it.
#[derive(Clone, Debug)]
pub struct Appear {
    /// The entry.
    pub enter: Enter,
    /// What is published when it is there.
    pub coming: Draft,
    /// What is published when the session has ended, however it does.
    pub going: Box<Draft>,
}

/// An act on other sessions.
#[derive(Clone, Debug)]
pub enum Manage {
    /// End the connections of a user.
    DisconnectUser(UserId),
    /// End one session.
    DisconnectSession(SessionId),
    /// End the sessions of a user, and refuse every credential that it holds until now.
    RevokeUser(UserId),
    /// End one session, and refuse that it is taken up again.
    RevokeSession(SessionId),
    /// End the sessions that came with the token, and refuse it from now on.
    RevokeToken(Arc<str>),
    /// Give the sessions of its audience something in no channel; they get it as [`Control::Direct`].
    Tell(Box<Draft>),
    /// Nothing: the answer tells whether the session may manage at all.
    Look,
    /// How the latest deliveries to the app's webhooks went.
    Deliveries(AttemptQuery),
    /// Send a webhook an event that means nothing, to see whether it arrives.
    TestWebhook(Box<str>),
}

/// A session of a user, as back ends see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The session.
    pub session: SessionId,
    /// The protocol that it speaks.
    pub dialect: &'static str,
    /// How many channels and patterns it is subscribed to.
    pub subscriptions: usize,
    /// The id of the token that it came with.
    pub token_id: Option<Arc<str>>,
}

/// An answer of the hub.
#[derive(Debug)]
pub enum Reply {
    /// The credential is good.
    Connected(Arc<Principal>),
    /// The session receives what is published from now on.
    Subscribed(Box<Subscribed>),
    /// It receives it no longer.
    Unsubscribed,
    /// There was no such subscription to end.
    NotSubscribed,
    /// What became of each publication, in order.
    Published(Vec<Result<Published, Denied>>),
    /// The member is in.
    Entered,
    /// The member is out.
    Left,
    /// Who is there.
    Members(Vec<Member>),
    /// Who is where, in order of the channels' names.
    Present(Vec<(ChannelName, Vec<Member>)>),
    /// Where the publication is, if it is still known, and where the app stands.
    Located {
        /// The place of the publication.
        found: Option<Cursor>,
        /// The place of the app's last one.
        now: Cursor,
    },
    /// What was published.
    History(HistoryPage),
    /// Which channels are in use.
    Channels(Vec<ChannelSummary>),
    /// The act was done.
    Managed,
    /// Attempts to deliver to webhooks, the latest first.
    Deliveries(Vec<Attempt>),
    /// The webhook will get an event of this id.
    Tested(Arc<str>),
    /// Who is connected, and whether there are more than one answer holds.
    Connections(Vec<Connection>, bool),
    /// A ticket, and for how many milliseconds it can be used.
    Ticket(Box<str>, u64),
    /// The session has a seat.
    Seated(Box<Seated>),
    /// Somebody else has the seat.
    Taken,
    /// The signal is on its way to the session in the seat.
    Signalled,
    /// Servers and a credential for them.
    Ice(Box<IceServers>),
    /// The seat is kept: its inbox, and for how many milliseconds without another sign.
    Kept(ChannelName, u64),
    /// What the application wants done with the caller.
    Called(Box<Called>),
}

/// The state of a new subscription.
#[derive(Debug)]
pub struct Subscribed {
    /// One entry for each channel.
    pub channels: SmallVec<[SubscribedChannel; 1]>,
    /// What became of the patterns, when there are any.
    pub patterns: Option<SubscribedPatterns>,
    /// Where the app stands.
    pub cursor: Cursor,
    /// The missed publications in order of their stamps, when they were asked for in the reply; the index is that of the place.
    pub missed: Vec<(Arc<Publication>, usize)>,
    /// When more were missed than one answer holds, the last that was looked at: the next page begins behind it. It may have been for others.
    pub page_end: Option<(Arc<Publication>, usize)>,
}

impl Subscribed {
    /// Whether more were missed than one answer holds.
    pub fn more(&self) -> bool {
        self.page_end.is_some()
    }

    /// Whether anything may be missing from what was replayed.
    pub fn gap(&self) -> bool {
        self.channels.iter().any(|channel| channel.gap) || self.patterns.is_some_and(|patterns| patterns.gap)
    }
}

/// The state of new subscriptions to patterns, all of them together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubscribedPatterns {
    /// Whether publications since the mark may be gone.
    pub gap: bool,
    /// How many were replayed.
    pub recovered: usize,
}

/// The state of a new subscription to one channel.
#[derive(Clone, PartialEq, Debug)]
pub struct SubscribedChannel {
    /// The channel.
    pub channel: ChannelName,
    /// The place of its last publication.
    pub position: Position,
    /// Whether publications since the mark are gone.
    pub gap: bool,
    /// How many were replayed.
    pub recovered: usize,
}

/// A refusal: which rule, in words for whoever reads it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// The credential is missing or wrong.
    #[error("{0}")]
    Unauthorized(Box<str>),
    /// The credential was good once.
    #[error("{0}")]
    Expired(Box<str>),
    /// The credential does not allow it.
    #[error("{0}")]
    Forbidden(Box<str>),
    /// The request makes no sense as it is.
    #[error("{0}")]
    Invalid(Box<str>),
    /// What it is about does not exist.
    #[error("{0}")]
    NotFound(Box<str>),
    /// A limit is reached: its setting and the words.
    #[error("{words} (limits.{setting})")]
    Limit {
        /// The name of the setting.
        setting: &'static str,
        /// What was too much.
        words: Box<str>,
    },
    /// The server can't take it now; later it may.
    #[error("{0}")]
    Unavailable(Box<str>),
}

impl Denied {
    /// A stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::Expired(_) => "expired",
            Self::Forbidden(_) => "forbidden",
            Self::Invalid(_) => "invalid",
            Self::NotFound(_) => "not_found",
            Self::Limit { .. } => "limit_exceeded",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unauthorized(_) | Self::Expired(_) => 401,
            Self::Forbidden(_) => 403,
            Self::Invalid(_) => 400,
            Self::NotFound(_) => 404,
            Self::Limit { .. } => 429,
            Self::Unavailable(_) => 503,
        }
    }
}

/// What the hub wants of a session.
#[derive(Clone, Debug)]
pub enum Control {
    /// Say goodbye in the dialect's own words; the driver ends the session afterwards.
    Close(CloseReason),
    /// An event for this session alone, or for its user.
    Direct(Arc<Publication>),
    /// A subscription was ended by somebody else.
    Unsubscribed(ChannelName),
}

/// Why a session ends. Every dialect maps every reason to its own code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CloseReason {
    /// The node is going away; the client should come back, somewhere else if it can.
    Drain,
    /// The client takes too little: its outbox is over the limit.
    SlowConsumer,
    /// Nothing came back for too long.
    HeartbeatLost,
    /// The client broke the protocol.
    Protocol(&'static str),
    /// A message was larger than allowed.
    TooLarge,
    /// The credential is no longer valid.
    Expired,
    /// Somebody with the right to do so ended it.
    Kicked,
    /// A quota is used up: more than its connection, address, user or app may send or be sent; which one, in words.
    Quota(&'static str),
    /// The server has no room.
    Overloaded,
    /// The client said goodbye.
    Normal,
    /// A defect of the server.
    Internal,
}

impl CloseReason {
    /// A stable word for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::SlowConsumer => "slow_consumer",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::Protocol(_) => "protocol",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Kicked => "kicked",
            Self::Quota(_) => "quota",
            Self::Overloaded => "overloaded",
            Self::Normal => "normal",
            Self::Internal => "internal",
        }
    }
}

impl Event {
    /// The event of a publication in its place.
    pub fn publication(publication: &Arc<Publication>, place: usize) -> Self {
        Self::Publication(publication.clone(), place)
    }
}
