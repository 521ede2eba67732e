//! What clients say, parsed in one pass: JSON objects whose values stay raw slices of the input.
//!
//! [`Fields`] is one object: its members in order, names unescaped, values untouched. Where a name stands twice the last one counts, as
//! in every browser; the members that the server owns are taken out of application messages wherever and however often they stand.
//!
//! Invariant: a payload leaves here byte for byte as it came, and nests no deeper than [`DEPTH_MAX`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::engine::HistoryQuery;
use omnivox_core::publication::Form;
use omnivox_core::{ChannelName, Credential, Draft, Limits, Mark, Payload};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::codes::Refusal;
use super::render;

/// How deep a message may nest.
pub const DEPTH_MAX: usize = 128;

/// The longest `ref`, in bytes of JSON.
pub const REF_BYTES_MAX: usize = 256;

/// How many events `history` gives when nobody says.
pub const HISTORY_LIMIT_DEFAULT: usize = 100;

/// The message types that are the protocol's own, sorted; any other `type` is an application message.
pub const RESERVED_TYPES: [&str; 22] = [
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
    /// Receive it no longer.
    Unsubscribe { channel: ChannelName },
    /// Publish.
    Publish { draft: Box<Draft> },
    /// Publish what the next binary frame holds.
    PublishBinary { draft: Box<Draft> },
    /// Appear in a presence set, or change one's data there.
    Enter { channel: ChannelName, key: Arc<str>, data: Option<Bytes>, update_only: bool },
    /// Leave it.
    Leave { channel: ChannelName, key: Arc<str> },
    /// Who is there?
    Members { channel: ChannelName },
    /// What was published before?
    History { channel: ChannelName, query: HistoryQuery, order: Order },
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
pub(super) type Refused = (Origin, Refusal);

impl ClientMessage {
    /// Parses a text message.
    pub(super) fn parse(text: &str, limits: &Limits) -> Result<(Origin, Self), Refused> {
        let fields = Fields::parse(text.as_bytes()).map_err(|refusal| (Origin::default(), refusal))?;
        let (reference, unfit) = match fields.reference() {
            Ok(reference) => (reference, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let mut origin = Origin { kind: Cow::Borrowed(""), reference };
        let kind = match fields.text("type") {
            Ok(Some(kind)) => kind,
            Ok(None) => return Err((origin, Refusal::message("`type` is missing; every message is an object with a `type`"))),
            Err(refusal) => return Err((origin, refusal)),
        };
        let reserved = RESERVED_TYPES.binary_search(&&*kind).ok().map(|at| RESERVED_TYPES[at]);
        // An unknown type may be long; an error repeats only what fits.
        origin.kind = reserved.map_or_else(|| Cow::Owned(shortened(&kind, limits.event_name_bytes_max).to_owned()), Cow::Borrowed);
        // In an application message it belongs to the application.
        if let (Some(refusal), Some(_)) = (unfit, reserved) {
            return Err((origin, refusal));
        }
        let parsed = match reserved {
            Some(kind) => Self::parse_reserved(kind, &fields, limits),
            None => fields.application(&kind, limits).map(|draft| Self::Application { draft: Box::new(draft) }),
        };
        match parsed {
            Ok(message) => Ok((origin, message)),
            Err(refusal) => Err((origin, refusal)),
        }
    }

    fn parse_reserved(kind: &'static str, fields: &Fields<'_>, limits: &Limits) -> Result<Self, Refusal> {
        Ok(match kind {
            "connect" => Self::Connect { credential: fields.credential()? },
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

/// The members of one JSON object, in order.
pub(super) struct Fields<'a>(SmallVec<[(Cow<'a, str>, &'a RawValue); 8]>);

impl<'a> Fields<'a> {
    /// Parses one object that makes up the whole text.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        if nests_deeper(text, DEPTH_MAX) {
            return Err(Refusal::invalid("invalid_json", format!("the message nests deeper than {DEPTH_MAX} levels")));
        }
        serde_json::from_slice(text).map_err(|error| Refusal::invalid("invalid_json", format!("the message is not a JSON object: {error}")))
    }

    /// The raw value of a member; the last one of that name.
    pub(super) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let mut named = self.0.iter().rev().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| *value).filter(|value| value.get() != "null")
    }

    /// A text member.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.raw(name).map(|value| string(name, value)).transpose()
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.raw(name)
            .map(|value| match value.get() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(Refusal::message(format!("`{name}` is not true or false"))),
            })
            .transpose()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.raw(name)
            .map(|value| value.get().parse().map_err(|_| Refusal::message(format!("`{name}` is not a whole number from 0 up"))))
            .transpose()
    }

    /// A mark: text as it was given out, or a bare number.
    fn mark(&self, name: &str) -> Result<Option<Mark>, Refusal> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let mark = if value.get().starts_with('"') { Mark::parse(&string(name, value)?) } else { Mark::parse(value.get()) };
        Ok(Some(mark?))
    }

    /// The one channel that `channel` or `room` names.
    fn channel(&self) -> Result<ChannelName, Refusal> {
        self.named_channel()?.ok_or_else(|| Refusal::message("`channel` is missing; name the channel (`room` means the same)"))
    }

    fn named_channel(&self) -> Result<Option<ChannelName>, Refusal> {
        let name = match self.text("channel")? {
            Some(name) => Some(name),
            None => self.text("room")?,
        };
        Ok(name.map(|name| ChannelName::parse(&name)).transpose()?)
    }

    /// The channels of a publication: `channel`, `room`, or the list `channels`.
    fn channels(&self, limits: &Limits) -> Result<SmallVec<[ChannelName; 1]>, Refusal> {
        let Some(list) = self.raw("channels") else { return Ok(SmallVec::from_elem(self.channel()?, 1)) };
        let names: Vec<Cow<'_, str>> =
            serde_json::from_str(list.get()).map_err(|_| Refusal::message("`channels` is not a list of channel names"))?;
        if names.is_empty() {
            return Err(Refusal::message("`channels` is empty; name at least one"));
        }
        if names.len() > limits.channels_per_publication_max {
            let words = format!("one publication goes to at most {} channels", limits.channels_per_publication_max);
            return Err(Refusal::limit("channels_per_publication_max", words));
        }
        let mut channels = SmallVec::with_capacity(names.len());
        for name in names {
            let channel = ChannelName::parse(&name)?;
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        Ok(channels)
    }

    /// The name of a presence entry within its session.
    fn key(&self, limits: &Limits) -> Result<Arc<str>, Refusal> {
        let key = self.text("key")?.unwrap_or_default();
        bounded("key", &key, limits.event_name_bytes_max, "event_name_bytes_max")?;
        Ok(Arc::from(&*key))
    }

    /// The `ref`, whatever JSON it is.
    fn reference(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(value) = self.raw("ref") else { return Ok(None) };
        if value.get().len() > REF_BYTES_MAX {
            return Err(Refusal::message(format!("`ref` is longer than {REF_BYTES_MAX} bytes")));
        }
        Ok(Some(value.get().into()))
    }

    fn credential(&self) -> Result<Credential, Refusal> {
        if let Some(token) = self.text("token")? {
            return Ok(Credential::Token((*token).into()));
        }
        let ticket = self.text("ticket")?.ok_or_else(|| Refusal::message("`token` is missing; show a token or a `ticket`"))?;
        Ok(Credential::Ticket((*ticket).into()))
    }

    /// A publication as `publish` and `POST /v1/publish` write it.
    pub(super) fn draft(&self, limits: &Limits) -> Result<Draft, Refusal> {
        self.draft_of(self.payload(limits)?, limits)
    }

    fn draft_of(&self, payload: Payload, limits: &Limits) -> Result<Draft, Refusal> {
        let mut channels = self.channels(limits)?.into_iter();
        let first = channels.next().ok_or_else(|| Refusal::message("`channel` is missing"))?;
        let mut draft = Draft::new(first, payload);
        draft.channels.extend(channels);
        draft.event = self.event(limits)?;
        if let Some(id) = self.text("id")? {
            bounded("id", &id, limits.publication_id_bytes_max, "publication_id_bytes_max")?;
            draft.id = Some(Arc::from(&*id));
        }
        draft.audience.except_publisher = self.flag("exclude_sender")?.unwrap_or(false);
        Ok(draft)
    }

    fn event(&self, limits: &Limits) -> Result<Option<Arc<str>>, Refusal> {
        let Some(event) = self.text("event")? else { return Ok(None) };
        bounded("event", &event, limits.event_name_bytes_max, "event_name_bytes_max")?;
        Ok(Some(Arc::from(&*event)).filter(|_| event != "message"))
    }

    fn payload(&self, limits: &Limits) -> Result<Payload, Refusal> {
        let data = self.0.iter().rev().find(|(name, _)| name == "data").map(|(_, value)| value.get());
        let data = data.ok_or_else(|| Refusal::message("`data` is missing; it may be any JSON, `null` too"))?;
        let payload = match self.text("encoding")?.as_deref() {
            None => Payload::Json(Bytes::copy_from_slice(data.as_bytes())),
            Some("base64") => {
                let text = self.text("data")?.unwrap_or_default();
                let bytes = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
                Payload::Binary(Bytes::from(bytes.map_err(|_| Refusal::message("`data` is not base64 although `encoding` says so"))?))
            }
            Some(_) => return Err(Refusal::message("`encoding` is unknown; leave it out for JSON, or say `base64`")),
        };
        if payload.len() > limits.message_bytes_max {
            return Err(Refusal::limit("message_bytes_max", format!("`data` has more than {} bytes", limits.message_bytes_max)));
        }
        Ok(payload)
    }

    fn history(&self, limits: &Limits) -> Result<(HistoryQuery, Order), Refusal> {
        let order = if self.flag("newest_first")?.unwrap_or(false) { Order::NewestFirst } else { Order::OldestFirst };
        let most = self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((order.query(self.mark("since")?, self.before()?, most, limits), order))
    }

    /// `before` is an offset, or the id of an event.
    fn before(&self) -> Result<Option<u64>, Refusal> {
        self.mark("before")?.map(before_offset).transpose()
    }

    /// An application message: everything but what the server owns becomes the payload.
    fn application(&self, kind: &str, limits: &Limits) -> Result<Draft, Refusal> {
        bounded("type", kind, limits.event_name_bytes_max, "event_name_bytes_max")?;
        let mut payload = BytesMut::with_capacity(128);
        payload.put_u8(b'{');
        for (name, value) in self.0.iter().filter(|(name, _)| !SERVER_OWNED.contains(&&**name)) {
            if payload.len() > 1 {
                payload.put_u8(b',');
            }
            render::string(name, &mut payload);
            payload.put_u8(b':');
            payload.put_slice(value.get().as_bytes());
        }
        payload.put_u8(b'}');
        let channel = self.named_channel()?;
        Ok(Draft {
            channels: channel.into_iter().collect(),
            event: Some(Arc::from(kind)),
            payload: Payload::Json(payload.freeze()),
            id: None,
            audience: omnivox_core::Audience::default(),
            publisher: None,
            // With no channel named it goes to all that were joined, as far as the client may publish there.
            skip_forbidden: true,
            form: Form::Flat,
            tags: None,
        })
    }
}

/// The members of an application message that clients can't set.
pub(super) const SERVER_OWNED: [&str; 4] = ["type", "channel", "room", "id"];

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
    pub(super) fn query(self, since: Option<Mark>, before: Option<u64>, most: Option<usize>, limits: &Limits) -> HistoryQuery {
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

/// The offset that `before` means.
pub(super) fn before_offset(mark: Mark) -> Result<u64, Refusal> {
    match mark {
        Mark::Offset(offset) => Ok(offset),
        Mark::Position(position) => Ok(position.offset),
        Mark::Cursor(_) | Mark::Earliest => Err(Refusal::invalid("invalid_mark", "`before` is the `id` of an event, or its number")),
    }
}

fn string<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>, Refusal> {
    serde_json::from_str::<Text<'a>>(value.get()).map(|text| text.0).map_err(|_| Refusal::message(format!("`{name}` is not text")))
}

/// Names of events, keys and ids: bounded, and without control characters, so that every transport can carry them.
fn bounded(name: &'static str, text: &str, most: usize, setting: &'static str) -> Result<(), Refusal> {
    if text.is_empty() && name != "key" {
        return Err(Refusal::message(format!("`{name}` is empty")));
    }
    if text.len() > most {
        return Err(Refusal::limit(setting, format!("`{name}` has more than {most} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Refusal::message(format!("`{name}` has a control character")));
    }
    Ok(())
}

fn shortened(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Whether JSON text nests deeper than `most`; what is not JSON is the parser's to refuse.
pub(super) fn nests_deeper(text: &[u8], most: usize) -> bool {
    // An opening and a closing bracket for each level.
    if text.len() <= 2 * most {
        return false;
    }
    let mut depth = 0_usize;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'"' => break,
                        b'\\' => {
                            bytes.next();
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// Text that is borrowed unless it has escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = SmallVec::new();
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    members.push((name.0, map.next_value::<&'de RawValue>()?));
                }
                Ok(Fields(members))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
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

    fn visit_seq<S: serde::de::SeqAccess<'de>>(self, mut list: S) -> Result<Self::Value, S::Error> {
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
