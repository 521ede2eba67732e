//! One JSON object of a client: its members in order, names unescaped, values untouched slices of the input.
//!
//! Where a name stands twice the last one counts, as in every browser. The members that the server owns are taken out of application
//! messages wherever, however often and however escaped they stand.
//!
//! Invariant: a payload leaves here byte for byte as it came, and nests no deeper than [`DEPTH_MAX`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::engine::HistoryQuery;
use omnivox_core::mark::InvalidMark;
use omnivox_core::publication::Form;
use omnivox_core::room::{Claim, Seat, Signal};
use omnivox_core::{ChannelName, Credential, Draft, Limits, Mark, Pattern, Payload};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::codes::Refusal;
use super::message::{Order, before};
use super::{render, request};

/// How deep a message may nest.
pub const DEPTH_MAX: usize = 128;

/// The longest `ref`, in bytes of JSON.
pub const REF_BYTES_MAX: usize = 256;

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

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.raw(name)
            .map(|value| match value.get() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(Refusal::message(format!("`{name}` is not true or false"))),
            })
            .transpose()
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.raw(name)
            .map(|value| value.get().parse().map_err(|_| Refusal::message(format!("`{name}` is not a whole number from 0 up"))))
            .transpose()
    }

    /// A mark: text as it was given out, or a bare number.
    pub(super) fn mark(&self, name: &str) -> Result<Option<Mark>, Refusal> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        if value.get().starts_with('"') {
            return Ok(Some(Mark::parse(&string(name, value)?)?));
        }
        // As a number `1.5` would look like a cursor.
        match Mark::parse(value.get())? {
            mark @ Mark::Offset(_) => Ok(Some(mark)),
            _ => Err(InvalidMark.into()),
        }
    }

    /// The pattern that `pattern` names, where no channel may stand beside it.
    pub(super) fn pattern(&self) -> Result<Pattern, Refusal> {
        if self.raw("channel").is_some() || self.raw("room").is_some() {
            return Err(Refusal::message("the message has both `channel` and `pattern`; send one message for each"));
        }
        request::pattern(&self.text("pattern")?.unwrap_or_default())
    }

    /// The one channel that `channel` or `room` names.
    pub(super) fn channel(&self) -> Result<ChannelName, Refusal> {
        self.named_channel()?.ok_or_else(|| Refusal::message("`channel` is missing; name the channel (`room` means the same)"))
    }

    /// The channel that `channel` or `room` names; both may stand there when they say the same.
    pub(super) fn named_channel(&self) -> Result<Option<ChannelName>, Refusal> {
        let name = match (self.text("channel")?, self.text("room")?) {
            (Some(channel), Some(room)) if channel != room => {
                return Err(Refusal::message("`channel` and `room` mean the same, and here they name two channels; send one of them"));
            }
            (channel, room) => channel.or(room),
        };
        Ok(name.map(|name| ChannelName::parse(&name)).transpose()?)
    }

    /// The channels of a publication: `channel`, `room`, or the list `channels`.
    fn channels(&self, limits: &Limits) -> Result<SmallVec<[ChannelName; 1]>, Refusal> {
        let Some(list) = self.raw("channels") else { return Ok(SmallVec::from_elem(self.channel()?, 1)) };
        if let Some(beside) = ["channel", "room"].into_iter().find(|name| self.raw(name).is_some()) {
            return Err(Refusal::message(format!("`{beside}` beside `channels` would be lost; name all of them in `channels`")));
        }
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
    pub(super) fn key(&self, limits: &Limits) -> Result<Arc<str>, Refusal> {
        let key = self.text("key")?.unwrap_or_default();
        bounded("key", &key, limits.event_name_bytes_max, "event_name_bytes_max")?;
        Ok(Arc::from(&*key))
    }

    /// What proves a seat: its secret, and the seat that one had before.
    pub(super) fn claim(&self) -> Result<Claim, Refusal> {
        let secret = self.text("seat")?.ok_or_else(|| Refusal::message("`seat` is missing; it is a secret of your own"))?;
        Ok(Claim::Secret { secret: (*secret).into(), member: self.text("member")?.map(|member| (*member).into()) })
    }

    /// A seat in a room.
    pub(super) fn seat(&self, leased: bool) -> Result<Seat, Refusal> {
        let claim = self.claim()?;
        let data = self.raw("data").map(|data| Bytes::copy_from_slice(data.get().as_bytes()));
        Ok(Seat { channel: self.channel()?, claim, data, leased })
    }

    /// Something for one member of a room.
    pub(super) fn signal(&self, limits: &Limits) -> Result<Signal, Refusal> {
        let to = self.text("to")?.ok_or_else(|| Refusal::message("`to` is missing; name the member that it is for"))?;
        bounded("to", &to, limits.event_name_bytes_max, "event_name_bytes_max")?;
        let data = self.raw("data").map_or(Bytes::from_static(b"null"), |data| Bytes::copy_from_slice(data.get().as_bytes()));
        Ok(Signal { channel: self.channel()?, from: None, to: Arc::from(&*to), data })
    }

    /// The `ref`, whatever JSON it is.
    pub(super) fn reference(&self) -> Result<Option<Box<str>>, Refusal> {
        let Some(value) = self.raw("ref") else { return Ok(None) };
        if value.get().len() > REF_BYTES_MAX {
            return Err(Refusal::message(format!("`ref` is longer than {REF_BYTES_MAX} bytes")));
        }
        Ok(Some(value.get().into()))
    }

    pub(super) fn credential(&self) -> Result<Credential, Refusal> {
        if let Some(token) = self.text("token")? {
            return Ok(Credential::bearer(&token));
        }
        let ticket = self.text("ticket")?.ok_or_else(|| Refusal::message("`token` is missing; show a token or a `ticket`"))?;
        Ok(Credential::Ticket((*ticket).into()))
    }

    /// A publication as `publish` and `POST /v1/publish` write it.
    pub(super) fn draft(&self, limits: &Limits) -> Result<Draft, Refusal> {
        self.draft_of(self.payload(limits)?, limits)
    }

    pub(super) fn draft_of(&self, payload: Payload, limits: &Limits) -> Result<Draft, Refusal> {
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

    pub(super) fn history(&self, limits: &Limits) -> Result<(HistoryQuery, Order), Refusal> {
        let order = if self.flag("newest_first")?.unwrap_or(false) { Order::NewestFirst } else { Order::OldestFirst };
        let most = self.number("limit")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((order.query(self.mark("since")?, self.before()?, most, limits), order))
    }

    /// `before` is an offset, or the id of an event.
    fn before(&self) -> Result<Option<Mark>, Refusal> {
        self.mark("before")?.map(before).transpose()
    }

    /// An application message: everything but what the server owns becomes the payload.
    pub(super) fn application(&self, kind: &str, limits: &Limits) -> Result<Draft, Refusal> {
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
            author: None,
            // With no channel named it goes to all that were joined, as far as the client may publish there.
            skip_forbidden: true,
            form: Form::Flat,
            tags: None,
        })
    }
}

/// The members of an application message that clients can't set.
const SERVER_OWNED: [&str; 4] = ["type", "channel", "room", "id"];

fn string<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>, Refusal> {
    serde_json::from_str::<Text<'a>>(value.get()).map(|text| text.0).map_err(|_| Refusal::message(format!("`{name}` is not text")))
}

/// Names of events, keys and ids: bounded, and without control characters, so that every transport can carry them.
pub(super) fn bounded(name: &'static str, text: &str, most: usize, setting: &'static str) -> Result<(), Refusal> {
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

pub(super) fn shortened(text: &str, most: usize) -> &str {
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
