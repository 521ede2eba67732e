//! What clients say: messages on a WebSocket, and bodies of publish requests, each parsed once into what it means.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use omnivox_core::call::Call;
use omnivox_core::engine::HistoryQuery;
use omnivox_core::room::{Seat, Signal};
use omnivox_core::{ChannelName, Credential, Draft, Limits, Mark, Pattern, Payload};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::codes::Refusal;
use super::fields::{Fields, shortened};
use super::render::About;
use super::{call, request};

/// How many events `history` gives when nobody says.
pub const HISTORY_LIMIT_DEFAULT: usize = 100;

/// The message types that are the protocol's own, sorted; any other `type` is an application message.
pub const RESERVED_TYPES: [&str; 25] = [
    "call",
    "called",
    "connect",
    "connected",
    "enter",
    "entered",
    "error",
    "gap",
    "history",
    "leave",
    "left",
    "members",
    "message",
    "ping",
    "pong",
    "presence",
    "publish",
    "published",
    "signal",
    "subscribe",
    "subscribed",
    "unsubscribe",
    "unsubscribed",
    "update",
    "updated",
];

/// A client's message on a WebSocket.
#[derive(Debug)]
pub(super) enum ClientMessage {
    /// Show a credential.
    Connect { credential: Credential },
    /// Receive a channel.
    Subscribe { channel: ChannelName, since: Option<Mark>, presence: bool },
    /// Receive what a pattern means.
    SubscribePattern { pattern: Pattern, since: Option<Mark>, presence: bool },
    /// Receive it no longer.
    Unsubscribe { channel: ChannelName },
    /// Receive no longer what the pattern brings.
    UnsubscribePattern { pattern: Pattern },
    /// Publish.
    Publish { draft: Box<Draft> },
    /// Publish what the next binary frame holds.
    PublishBinary { draft: Box<Draft> },
    /// Appear in a presence set, or change one's data there.
    Enter { channel: ChannelName, key: Arc<str>, data: Option<Bytes>, update_only: bool },
    /// Have a seat in a room.
    Seat { seat: Box<Seat> },
    /// Say something to one member of a room.
    Signal { signal: Box<Signal> },
    /// Leave it.
    Leave { channel: ChannelName, key: Arc<str> },
    /// Who is there?
    Members { channel: ChannelName },
    /// What was published before?
    History { channel: ChannelName, query: HistoryQuery, order: Order },
    /// Ask the application.
    Call { call: Box<Call> },
    /// Are you there?
    Ping,
    /// An application message: to the named channels, or to all that the connection is in when none is named.
    Application { draft: Box<Draft> },
}

/// What an answer repeats, so that the client knows which message it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The `type` of the message.
    pub(super) kind: Cow<'static, str>,
    /// Its `ref`, as JSON.
    pub(super) reference: Option<Box<str>>,
}

/// A refused message and what is known of it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) origin: Origin,
    pub(super) channel: Option<ChannelName>,
    pub(super) refusal: Refusal,
}

impl ClientMessage {
    /// Parses a text message.
    pub(super) fn parse(text: &str, limits: &Limits) -> Result<(Origin, Self), Refused> {
        let fields = Fields::parse(text.as_bytes()).map_err(|refusal| Refused { origin: Origin::default(), channel: None, refusal })?;
        let mut origin = Origin::default();
        match Self::parse_fields(&fields, &mut origin, limits) {
            Ok(message) => Ok((origin, message)),
            Err(refusal) => Err(Refused { origin, channel: fields.named_channel().ok().flatten(), refusal }),
        }
    }

    /// The message, and in `origin` as much as could be read of what an answer repeats.
    fn parse_fields(fields: &Fields<'_>, origin: &mut Origin, limits: &Limits) -> Result<Self, Refusal> {
        let (reference, unfit) = match fields.reference() {
            Ok(reference) => (reference, None),
            Err(refusal) => (None, Some(refusal)),
        };
        origin.reference = reference;
        let kind = fields.text("type")?;
        let kind = kind.ok_or_else(|| Refusal::message("`type` is missing; every message is an object with a `type`"))?;
        let reserved = RESERVED_TYPES.binary_search(&&*kind).ok().map(|at| RESERVED_TYPES[at]);
        // An unknown type may be long; an error repeats only what fits.
        origin.kind = reserved.map_or_else(|| Cow::Owned(shortened(&kind, limits.event_name_bytes_max).to_owned()), Cow::Borrowed);
        // In an application message it belongs to the application.
        if let (Some(refusal), Some(_)) = (unfit, reserved) {
            return Err(refusal);
        }
        match reserved {
            Some(kind) => Self::parse_reserved(kind, fields, limits),
            None => Ok(Self::Application { draft: Box::new(fields.application(&kind, limits)?) }),
        }
    }

    /// What it is about.
    pub(super) fn about(&self) -> About<'_> {
        match self {
            Self::Connect { .. } | Self::Call { .. } | Self::Ping => About::Nothing,
            Self::SubscribePattern { pattern, .. } | Self::UnsubscribePattern { pattern } => About::Pattern(pattern),
            Self::Publish { draft } | Self::PublishBinary { draft } | Self::Application { draft } => draft.channels.first().into(),
            Self::Subscribe { channel, .. }
            | Self::Unsubscribe { channel }
            | Self::Enter { channel, .. }
            | Self::Leave { channel, .. }
            | Self::Members { channel }
            | Self::History { channel, .. } => About::Channel(channel),
            Self::Seat { seat } => About::Channel(&seat.channel),
            Self::Signal { signal } => About::Channel(&signal.channel),
        }
    }

    fn parse_reserved(kind: &'static str, fields: &Fields<'_>, limits: &Limits) -> Result<Self, Refusal> {
        Ok(match kind {
            "connect" => Self::Connect { credential: fields.credential()? },
            "subscribe" if fields.raw("pattern").is_some() => Self::SubscribePattern {
                pattern: fields.pattern()?,
                since: fields.mark("since")?.map(|mark| request::fitting_mark(mark, &[], &[Pattern::All])).transpose()?,
                presence: fields.flag("presence")?.unwrap_or(false),
            },
            "unsubscribe" if fields.raw("pattern").is_some() => Self::UnsubscribePattern { pattern: fields.pattern()? },
            "subscribe" => Self::Subscribe {
                channel: fields.channel()?,
                since: fields.mark("since")?,
                presence: fields.flag("presence")?.unwrap_or(false),
            },
            "unsubscribe" => Self::Unsubscribe { channel: fields.channel()? },
            "publish" if fields.flag("binary")?.unwrap_or(false) => {
                Self::PublishBinary { draft: Box::new(fields.draft_of(Payload::Binary(Bytes::new()), limits)?) }
            }
            "publish" => Self::Publish { draft: Box::new(fields.draft(limits)?) },
            "enter" if fields.raw("seat").is_some() => Self::Seat { seat: Box::new(fields.seat(false)?) },
            "signal" => Self::Signal { signal: Box::new(fields.signal(limits)?) },
            "enter" | "update" => Self::Enter {
                channel: fields.channel()?,
                key: fields.key(limits)?,
                data: fields.raw("data").map(|data| Bytes::copy_from_slice(data.get().as_bytes())),
                update_only: kind == "update",
            },
            "leave" => Self::Leave { channel: fields.channel()?, key: fields.key(limits)? },
            "presence" => Self::Members { channel: fields.channel()? },
            "history" => {
                let (query, order) = fields.history(limits)?;
                Self::History { channel: fields.channel()?, query, order }
            }
            "call" => Self::Call { call: Box::new(call::parse(fields, limits)?) },
            "ping" => Self::Ping,
            _ => {
                return Err(Refusal::invalid(
                    "reserved_type",
                    format!("`{kind}` is a type that only the server sends; give an application message another type"),
                ));
            }
        })
    }
}

/// In which order a page of history is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// As they were published.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

impl Order {
    /// The query for a page: what follows `since`, or else the newest ones, whatever order they are shown in.
    pub(super) fn query(self, since: Option<Mark>, before: Option<Mark>, most: Option<usize>, limits: &Limits) -> HistoryQuery {
        let newest_first = self == Self::NewestFirst || since.is_none();
        HistoryQuery { since, before, most: most.unwrap_or(HISTORY_LIMIT_DEFAULT).min(limits.history_page_max), newest_first }
    }

    /// Puts a page that was read by that query into this order.
    pub(super) fn arrange<T>(self, page: &mut [T], read_newest_first: bool) {
        if read_newest_first && self == Self::OldestFirst {
            page.reverse();
        }
    }
}

/// A mark that may stand in `before`.
pub(super) fn before(mark: Mark) -> Result<Mark, Refusal> {
    match mark {
        Mark::Offset(_) | Mark::Position(_) => Ok(mark),
        Mark::Cursor(_) | Mark::Earliest => Err(Refusal::invalid("invalid_mark", "`before` is the `id` of an event, or its number")),
    }
}

/// The publications of a request body: one object, or `{"messages":[…]}`.
pub(super) enum Body {
    /// One.
    One(Box<Draft>),
    /// Several, each on its own.
    Batch(Vec<Result<Box<Draft>, Refusal>>),
}

impl Body {
    /// Parses the body of a publish request.
    pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Self, Refusal> {
        let fields = Fields::parse(body)?;
        let Some(messages) = fields.raw("messages") else { return Ok(Self::One(Box::new(fields.draft(limits)?))) };
        if let Some(beside) = ["channel", "room", "channels", "rooms", "data"].into_iter().find(|name| fields.raw(name).is_some()) {
            return Err(Refusal::message(format!("`{beside}` beside `messages` would be lost: each of `messages` has its own")));
        }
        let mut batch = serde_json::Deserializer::from_str(messages.get());
        let seed = Batch { most: limits.batch_publications_max };
        let items = seed.deserialize(&mut batch).map_err(|error| {
            if error.to_string().starts_with(TOO_MANY) {
                let words = format!("a batch has at most {} messages", limits.batch_publications_max);
                return Refusal::limit("batch_publications_max", words);
            }
            Refusal::message("`messages` is not a list")
        })?;
        let drafts = items.iter().map(|item| {
            let fields = Fields::parse(item.get().as_bytes())?;
            fields.draft(limits).map(Box::new)
        });
        Ok(Self::Batch(drafts.collect()))
    }
}

/// Reads a list of raw values, at most so many.
struct Batch {
    most: usize,
}

const TOO_MANY: &str = "too many";

impl<'de> DeserializeSeed<'de> for Batch {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.most {
                return Err(serde::de::Error::custom(TOO_MANY));
            }
            items.push(item);
        }
        Ok(items)
    }
}
