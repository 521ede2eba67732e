//! From arguments to packets: what subscribers receive, and what a session itself emits and acknowledges.
//!
//! A publication of a Socket.IO client comes back as the arguments that it was emitted with. One of another dialect is an event with its
//! payload as the only argument; its name is `message` when it has none. With recovery on, the cursor follows as a further argument, for
//! the client library to send back.
//!
//! Invariant: no packet has a reserved event name or more attachments than a client takes; what can't be shown is left out.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;
use omnivox_core::{Cursor, Event, Frame, MemberAction, Payload, PresenceEvent, Publication};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::channel::room_of;
use super::engine::{Outgoing, frames};
use super::packet::{self, Kind};
use super::value::{BinaryForm, Value, write_json_as};
use super::{msgpack, tags};

/// How packets are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parser {
    /// The default: text, and binary attachments behind it.
    Text,
    /// `socket.io-msgpack-parser`: one binary message.
    Msgpack,
}

/// What decides a frame besides the namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) parser: Parser,
    /// Whether the cursor is appended.
    pub(super) offset: bool,
}

impl Format {
    /// Its number in an encoding key.
    pub(super) fn number(self) -> u8 {
        u8::from(self.offset) | u8::from(self.parser == Parser::Msgpack) << 1
    }

    /// The format with that number.
    pub(super) fn numbered(number: u8) -> Self {
        Self { parser: if number & 2 == 0 { Parser::Text } else { Parser::Msgpack }, offset: number & 1 != 0 }
    }
}

/// One argument of an event or an acknowledgement.
#[derive(Debug)]
pub(super) enum Argument<'a> {
    /// JSON.
    Json(Cow<'a, str>),
    /// JSON in which binary data is inlined.
    Inline(Cow<'a, str>),
    /// Binary data.
    Binary(Bytes),
}

/// An event or an acknowledgement, without its arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline<'a> {
    pub(super) namespace: &'a str,
    /// `None` is an acknowledgement.
    pub(super) name: Option<&'a str>,
    pub(super) id: Option<u64>,
}

/// A packet, ready for Engine.IO.
#[derive(Debug, PartialEq)]
pub(super) enum Rendered {
    Text(Vec<u8>),
    /// Text, and the attachments that follow it.
    Attached(Vec<u8>, Vec<Bytes>),
    Binary(Vec<u8>),
}

impl Rendered {
    /// One frame for everyone.
    pub(super) fn into_frame(self) -> Frame {
        match self {
            Self::Text(text) => frames::text(&text),
            Self::Attached(text, attachments) => frames::row(&text, &attachments),
            Self::Binary(data) => frames::binary(&data),
        }
    }

    /// The Engine.IO packets one by one.
    pub(super) fn into_packets(self) -> SmallVec<[Outgoing; 1]> {
        match self {
            Self::Text(text) => SmallVec::from_elem(Outgoing::Text(text.into()), 1),
            Self::Attached(text, attachments) => {
                std::iter::once(Outgoing::Text(text.into())).chain(attachments.into_iter().map(Outgoing::Binary)).collect()
            }
            Self::Binary(data) => SmallVec::from_elem(Outgoing::Binary(data.into()), 1),
        }
    }
}

/// An event of a channel as subscribers in the namespace receive it.
pub(super) fn event(format: Format, namespace: &str, event: &Event, attachments_max: usize) -> Option<Rendered> {
    let own = |name, json: String| {
        let outline = Outline { namespace, name: Some(name), id: None };
        render(format.parser, outline, &[Argument::Json(json.into())], None, attachments_max)
    };
    match event {
        Event::Publication(publication, _) => {
            let offset = format.offset.then_some(Tail::Offset(publication.cursor));
            self::publication(format.parser, namespace, publication, offset, attachments_max)
        }
        Event::Presence(event) => own("presence", presence(event)),
        Event::Gap(channel) => {
            let room = Gap { room: &room_of(channel.as_str()).1 };
            own("gap", serde_json::to_string(&room).unwrap_or_default())
        }
    }
}

/// What follows the arguments so that the client library remembers the right thing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tail {
    /// The place to resume from.
    Offset(Cursor),
    /// No place: this keeps a last argument that is a string from being taken for one.
    Nothing,
}

/// A publication as an event.
pub(super) fn publication(
    parser: Parser,
    namespace: &str,
    publication: &Publication,
    tail: Option<Tail>,
    attachments_max: usize,
) -> Option<Rendered> {
    question(parser, Outline { namespace, name: None, id: None }, publication, tail, attachments_max)
}

/// The arguments of a publication as an acknowledgement.
pub(super) fn acknowledgement(parser: Parser, outline: Outline<'_>, publication: &Publication, attachments_max: usize) -> Option<Rendered> {
    render(parser, outline, &arguments(publication)?, None, attachments_max)
}

/// A publication as an event that may ask for an acknowledgement; the name is the publication's.
pub(super) fn question(
    parser: Parser,
    outline: Outline<'_>,
    publication: &Publication,
    tail: Option<Tail>,
    attachments_max: usize,
) -> Option<Rendered> {
    let name = publication.draft.event.as_deref().unwrap_or("message");
    if packet::is_reserved(name) {
        return None;
    }
    let outline = Outline { name: Some(name), ..outline };
    render(parser, outline, &arguments(publication)?, tail, attachments_max)
}

fn arguments(publication: &Publication) -> Option<SmallVec<[Argument<'_>; 1]>> {
    let inline = publication.tag(tags::ATTACHMENTS).is_some();
    let json = |text| if inline { Argument::Inline(text) } else { Argument::Json(text) };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some(match &publication.draft.payload {
        Payload::Json(bytes) => match publication.tag(tags::ARGUMENTS) {
            Some(tags::ARGUMENTS_NONE) => SmallVec::new(),
            Some(_) => {
                let items: Vec<&RawValue> = serde_json::from_slice(bytes).ok()?;
                items.into_iter().map(|item| json(Cow::Borrowed(item.get()))).collect()
            }
            None => SmallVec::from_iter([json(Cow::Borrowed(text(bytes)?))]),
        },
        Payload::Text(bytes) => {
            let mut quoted = Vec::with_capacity(bytes.len() + 2);
            write_json_as(text(bytes)?, &mut quoted);
            SmallVec::from_iter([Argument::Json(Cow::Owned(String::from_utf8(quoted).ok()?))])
        }
        Payload::Binary(bytes) => SmallVec::from_iter([Argument::Binary(bytes.clone())]),
    })
}

/// A member's coming and going as JSON.
fn presence(event: &PresenceEvent) -> String {
    let action = match event.action {
        MemberAction::Enter => "enter",
        MemberAction::Update => "update",
        MemberAction::Leave => "leave",
    };
    let (_, room) = room_of(event.channel.as_str());
    let shown = PresenceShown { action, room: &room, member: MemberShown::of(&event.member) };
    serde_json::to_string(&shown).unwrap_or_default()
}

#[derive(serde::Serialize)]
struct Gap<'a> {
    room: &'a str,
}

#[derive(serde::Serialize)]
struct PresenceShown<'a> {
    action: &'static str,
    room: &'a str,
    member: MemberShown<'a>,
}

/// A member as clients see it.
#[derive(serde::Serialize)]
pub(super) struct MemberShown<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl<'a> MemberShown<'a> {
    pub(super) fn of(member: &'a omnivox_core::event::Member) -> Self {
        let data = member.data.as_ref().and_then(|data| serde_json::from_slice(data).ok());
        Self { id: &member.key, user: member.user.as_ref().map(|user| user.as_str()), data }
    }
}

/// An event or an acknowledgement as a packet.
pub(super) fn render(
    parser: Parser,
    outline: Outline<'_>,
    arguments: &[Argument<'_>],
    tail: Option<Tail>,
    attachments_max: usize,
) -> Option<Rendered> {
    match parser {
        Parser::Text => render_text(outline, arguments, tail, attachments_max),
        Parser::Msgpack => Some(render_msgpack(outline, arguments, tail)),
    }
}

fn render_text(outline: Outline<'_>, arguments: &[Argument<'_>], tail: Option<Tail>, attachments_max: usize) -> Option<Rendered> {
    let (plain, binary) = match outline.name {
        Some(_) => (Kind::Event, Kind::BinaryEvent),
        None => (Kind::Ack, Kind::BinaryAck),
    };
    if arguments.iter().all(|argument| matches!(argument, Argument::Json(_))) {
        let bytes = arguments.iter().map(|argument| if let Argument::Json(json) = argument { json.len() + 1 } else { 0 }).sum::<usize>();
        let mut text = Vec::with_capacity(64 + outline.namespace.len() + outline.name.map_or(0, str::len) + bytes);
        packet::write_head(plain, 0, outline.namespace, outline.id, &mut text);
        write_list(outline.name, arguments, tail, &mut Vec::new(), &mut text)?;
        return Some(Rendered::Text(text));
    }
    let (mut list, mut attachments) = (Vec::new(), Vec::new());
    write_list(outline.name, arguments, tail, &mut attachments, &mut list)?;
    if attachments.len() > attachments_max {
        return None;
    }
    let mut text = Vec::with_capacity(32 + outline.namespace.len() + list.len());
    let kind = if attachments.is_empty() { plain } else { binary };
    packet::write_head(kind, attachments.len(), outline.namespace, outline.id, &mut text);
    text.extend_from_slice(&list);
    Some(if attachments.is_empty() { Rendered::Text(text) } else { Rendered::Attached(text, attachments) })
}

/// Appends the JSON array of a packet; `None` when an argument is not what it should be.
fn write_list(
    name: Option<&str>,
    arguments: &[Argument<'_>],
    tail: Option<Tail>,
    attachments: &mut Vec<Bytes>,
    into: &mut Vec<u8>,
) -> Option<()> {
    into.push(b'[');
    let start = into.len();
    let separate = |into: &mut Vec<u8>| {
        if into.len() > start {
            into.push(b',');
        }
    };
    if let Some(name) = name {
        write_json_as(name, into);
    }
    for argument in arguments {
        separate(into);
        match argument {
            Argument::Json(json) => into.extend_from_slice(json.as_bytes()),
            Argument::Inline(json) => Value::parse_inline(json)?.write_json(&mut BinaryForm::Attached(attachments), into),
            Argument::Binary(bytes) => Value::Binary(bytes.clone()).write_json(&mut BinaryForm::Attached(attachments), into),
        }
    }
    if let Some(tail) = tail {
        separate(into);
        match tail {
            Tail::Offset(cursor) => write!(into, "\"{cursor}\"").ok()?,
            Tail::Nothing => into.extend_from_slice(b"null"),
        }
    }
    into.push(b']');
    Some(())
}

fn render_msgpack(outline: Outline<'_>, arguments: &[Argument<'_>], tail: Option<Tail>) -> Rendered {
    let mut packet = Vec::new();
    let kind = if outline.name.is_some() { 2 } else { 3 };
    write_msgpack_head(kind, outline.namespace, 1 + usize::from(outline.id.is_some()), &mut packet);
    msgpack::write_text("data", &mut packet);
    msgpack::write_list_head(usize::from(outline.name.is_some()) + arguments.len() + usize::from(tail.is_some()), &mut packet);
    if let Some(name) = outline.name {
        msgpack::write_text(name, &mut packet);
    }
    for argument in arguments {
        let value = match argument {
            Argument::Json(json) => Value::parse(json).unwrap_or(Value::Null),
            Argument::Inline(json) => Value::parse_inline(json).unwrap_or(Value::Null),
            Argument::Binary(bytes) => Value::Binary(bytes.clone()),
        };
        msgpack::encode(&value, &mut packet);
    }
    match tail {
        Some(Tail::Offset(cursor)) => msgpack::write_text(&cursor.to_string(), &mut packet),
        Some(Tail::Nothing) => msgpack::encode(&Value::Null, &mut packet),
        None => {}
    }
    if let Some(id) = outline.id {
        msgpack::write_text("id", &mut packet);
        msgpack::write_unsigned(id, &mut packet);
    }
    Rendered::Binary(packet)
}

/// Appends what every MessagePack packet begins with; so many further fields follow.
fn write_msgpack_head(kind: u64, namespace: &str, further: usize, packet: &mut Vec<u8>) {
    msgpack::write_map_head(2 + further, packet);
    msgpack::write_text("type", packet);
    msgpack::write_unsigned(kind, packet);
    msgpack::write_text("nsp", packet);
    msgpack::write_text(namespace, packet);
}

/// A connect, disconnect or connect-error packet, with its payload as JSON.
pub(super) fn control(parser: Parser, kind: Kind, namespace: &str, payload: Option<&str>) -> Rendered {
    match parser {
        Parser::Text => {
            let mut text = Vec::new();
            packet::write_head(kind, 0, namespace, None, &mut text);
            text.extend_from_slice(payload.unwrap_or_default().as_bytes());
            Rendered::Text(text)
        }
        Parser::Msgpack => {
            let number = match kind {
                Kind::Connect => 0,
                Kind::Disconnect => 1,
                Kind::Event | Kind::BinaryEvent => 2,
                Kind::Ack | Kind::BinaryAck => 3,
                Kind::ConnectError => 4,
            };
            let mut packet = Vec::new();
            write_msgpack_head(number, namespace, usize::from(payload.is_some()), &mut packet);
            if let Some(payload) = payload {
                msgpack::write_text("data", &mut packet);
                msgpack::encode(&Value::parse(payload).unwrap_or(Value::Null), &mut packet);
            }
            Rendered::Binary(packet)
        }
    }
}
