//! What the server says, written straight into a buffer: no tree is built, payloads are spliced in as they are.
//!
//! An application message is shown as `{"type":…,"channel":…,"id":…` followed by the members of its payload. Those members were taken from
//! the client without any that the server owns, so neither channel nor id can be forged.
//!
//! Invariant: every name and text that came from outside goes through [`string`].

use std::fmt::{self, Write as _};
use std::sync::Arc;

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use omnivox_core::event::Member;
use omnivox_core::publication::Form;
use omnivox_core::{
    ChannelName, Cursor, Event, Frame, FrameKind, Framing, Limits, Mark, MemberAction, Pattern, Payload, PresenceEvent, Publication,
    Response,
};
use omnivox_wire::{http1, sse, ws};

use super::codes::Refusal;
use super::message::Origin;

/// A publication and the index of its place.
pub(super) type Placed = (Arc<Publication>, usize);

/// Appends a JSON string.
pub(super) fn string(text: &str, into: &mut BytesMut) {
    into.reserve(text.len() + 2);
    into.put_u8(b'"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        into.put_slice(&text.as_bytes()[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => into.put_slice(b"\\\""),
            b'\\' => into.put_slice(b"\\\\"),
            b'\n' => into.put_slice(b"\\n"),
            b'\r' => into.put_slice(b"\\r"),
            b'\t' => into.put_slice(b"\\t"),
            control => {
                let digits = b"0123456789abcdef";
                into.put_slice(b"\\u00");
                into.put_u8(digits[usize::from(control >> 4)]);
                into.put_u8(digits[usize::from(control & 15)]);
            }
        }
    }
    into.put_slice(&text.as_bytes()[plain..]);
    into.put_u8(b'"');
}

/// One JSON object on its way into a buffer. Names are the protocol's own.
pub(super) struct Object<'b> {
    into: &'b mut BytesMut,
    first: bool,
}

impl<'b> Object<'b> {
    /// Opens an object.
    pub(super) fn begin(into: &'b mut BytesMut) -> Self {
        into.put_u8(b'{');
        Self { into, first: true }
    }

    /// Opens a message of that type.
    pub(super) fn message(kind: &str, into: &'b mut BytesMut) -> Self {
        let mut object = Self::begin(into);
        object.text("type", kind);
        object
    }

    /// Writes a member's name and gives the buffer for its value.
    pub(super) fn name(&mut self, name: &str) -> &mut BytesMut {
        if !self.first {
            self.into.put_u8(b',');
        }
        self.first = false;
        self.into.put_u8(b'"');
        self.into.put_slice(name.as_bytes());
        self.into.put_slice(b"\":");
        self.into
    }

    /// A text member.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        string(value, self.name(name));
    }

    /// A member that is JSON already.
    pub(super) fn raw(&mut self, name: &str, json: &[u8]) {
        self.name(name).put_slice(json);
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str, value: usize) {
        let into = self.name(name);
        into.put_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// True or false.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.raw(name, if value { b"true" } else { b"false" });
    }

    /// A mark, which needs no escapes.
    pub(super) fn mark(&mut self, name: &str, mark: impl fmt::Display) {
        let into = self.name(name);
        // Writing into a buffer that grows can't fail.
        let _ = write!(into, "\"{mark}\"");
    }

    /// Repeats what the client called its message.
    pub(super) fn reference(&mut self, origin: &Origin) {
        if let Some(reference) = &origin.reference {
            self.raw("ref", reference.as_bytes());
        }
    }

    /// A list member, each item written by `each`.
    pub(super) fn list<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, mut each: impl FnMut(T, &mut BytesMut)) {
        let into = self.name(name);
        into.put_u8(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                into.put_u8(b',');
            }
            each(item, into);
        }
        into.put_u8(b']');
    }

    /// Closes the object.
    pub(super) fn end(self) {
        self.into.put_u8(b'}');
    }
}

/// How a binary payload is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    /// As base64 text.
    Base64,
    /// In the frame behind.
    Follows,
}

/// Appends a publication as clients see it; without a place it is a message for the client alone.
pub(super) fn publication(publication: &Publication, place: Option<usize>, binary: Binary, into: &mut BytesMut) {
    publication_at(publication, place, None, binary, into);
}

/// The same with a cursor. Then it is always in the envelope: in its own shape a publisher could forge the cursor.
fn publication_at(publication: &Publication, place: Option<usize>, cursor: Option<Cursor>, binary: Binary, into: &mut BytesMut) {
    let draft = &publication.draft;
    let event = draft.event.as_deref().unwrap_or("message");
    let flat = draft.form == Form::Flat && cursor.is_none();
    let mut object = Object::message(if flat { event } else { "message" }, into);
    // What an inbox brings says by itself which room it is about.
    if let Some(place) = place.and_then(|place| publication.places.get(place)).filter(|place| !place.channel.is_inbox()) {
        object.text("channel", place.channel.as_str());
        object.mark("id", place.position);
    }
    if let Some(cursor) = cursor {
        object.mark("cursor", cursor);
    }
    match &draft.payload {
        Payload::Json(json) if flat => {
            let rest = json.trim_ascii_start().strip_prefix(b"{").unwrap_or(b"}").trim_ascii_start();
            object.end_with(rest);
            return;
        }
        _ => object.text("event", event),
    }
    match &draft.payload {
        Payload::Json(json) => object.raw("data", json),
        Payload::Text(text) => object.text("data", &String::from_utf8_lossy(text)),
        Payload::Binary(bytes) => binary_data(bytes, binary, &mut object),
    }
    object.end();
}

impl Object<'_> {
    /// Closes the object with the rest of another one: its members and its closing brace.
    fn end_with(self, rest: &[u8]) {
        if !self.first && rest != b"}" {
            self.into.put_u8(b',');
        }
        self.into.put_slice(rest);
    }
}

fn binary_data(bytes: &Bytes, binary: Binary, object: &mut Object<'_>) {
    match binary {
        Binary::Base64 => {
            object.text("data", &base64::engine::general_purpose::STANDARD.encode(bytes));
            object.text("encoding", "base64");
        }
        Binary::Follows => {
            object.flag("binary", true);
            object.number("bytes", bytes.len());
        }
    }
}

/// Appends a presence event.
pub(super) fn presence(event: &PresenceEvent, into: &mut BytesMut) {
    let mut object = Object::message("presence", into);
    object.text("channel", event.channel.as_str());
    object.text(
        "action",
        match event.action {
            MemberAction::Enter => "enter",
            MemberAction::Update => "update",
            MemberAction::Leave => "leave",
        },
    );
    member(&event.member, object.name("member"));
    object.end();
}

/// Appends a member.
pub(super) fn member(member: &Member, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.mark("session", member.session);
    object.text("key", &member.key);
    match &member.user {
        Some(user) => object.text("user", user.as_str()),
        None => object.raw("user", b"null"),
    }
    object.raw("data", member.data.as_deref().unwrap_or(b"null"));
    object.end();
}

/// Appends the news that something was lost.
pub(super) fn gap(channel: &ChannelName, into: &mut BytesMut) {
    let mut object = Object::message("gap", into);
    place_of_gap(channel, &mut object);
    object.end();
}

fn place_of_gap(channel: &ChannelName, object: &mut Object<'_>) {
    if channel.is_inbox() {
        object.flag("inbox", true);
    } else {
        object.text("channel", channel.as_str());
    }
}

/// What a message is about, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    /// No channel, or none that could be read.
    Nothing,
    /// One channel.
    Channel(&'a ChannelName),
    /// What a pattern means.
    Pattern(&'a Pattern),
}

impl<'a> From<Option<&'a ChannelName>> for About<'a> {
    fn from(channel: Option<&'a ChannelName>) -> Self {
        channel.map_or(Self::Nothing, Self::Channel)
    }
}

/// Appends an error that names the message it answers.
pub(super) fn error(origin: &Origin, about: About<'_>, refusal: &Refusal, into: &mut BytesMut) {
    let mut object = Object::message("error", into);
    object.text("code", refusal.code);
    object.text("message", &refusal.words);
    if !origin.kind.is_empty() {
        object.text("for", &origin.kind);
    }
    match about {
        About::Nothing => {}
        About::Channel(channel) => object.text("channel", channel.as_str()),
        About::Pattern(pattern) => object.text("pattern", &pattern.to_string()),
    }
    object.reference(origin);
    object.end();
}

/// Appends `{"error":{"code","message"}}`.
pub(super) fn error_body(refusal: &Refusal, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    let mut inner = Object::begin(object.name("error"));
    inner.text("code", refusal.code);
    inner.text("message", &refusal.words);
    inner.end();
    object.end();
}

/// What a page of events says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Whether something before it is gone.
    pub(super) gap: bool,
    /// Whether there is more behind it.
    pub(super) more: bool,
}

/// How many of the publications fit into one answer of about `bytes_max`; at least one, so that a client always gets on.
pub(super) fn fitting(publications: &[Placed], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = publications.iter().take_while(|(publication, _)| {
        bytes += publication.weight_bytes();
        bytes <= bytes_max
    });
    fits.count().max(1).min(publications.len())
}

/// Appends the answer of a poll.
pub(super) fn poll(events: &[Placed], last: Option<Mark>, page: Page, into: &mut BytesMut) {
    let mut object = Object::begin(into);
    object.list("events", events, |(event, place), into| publication(event, Some(*place), Binary::Base64, into));
    match last {
        Some(mark) => object.mark("last", mark),
        None => object.raw("last", b"null"),
    }
    object.flag("gap", page.gap);
    object.flag("more", page.more);
    object.end();
}

/// Starts a frame: room for its header in an empty buffer.
pub(super) fn begin(scratch: &mut BytesMut) {
    scratch.clear();
    scratch.put_bytes(0, HEADROOM);
}

/// Makes the frame of what was written behind [`begin`]: one text message or one chunk, of exactly the bytes that it needs.
pub(super) fn seal(framing: Framing, scratch: &mut BytesMut) -> Frame {
    let len = scratch.len() - HEADROOM;
    match framing {
        Framing::WebSocketDeflate if len >= ws::deflate::WORTH_BYTES_MIN => {
            Frame::raw(ws::deflate::message(ws::DataKind::Text, &scratch[HEADROOM..], ws::deflate::WINDOW_BITS_MAX))
        }
        Framing::WebSocket | Framing::WebSocketDeflate => {
            let header = ws::header(ws::DataKind::Text, true, false, len);
            let bytes = copied(&header, scratch);
            Frame::framed(FrameKind::Text, bytes, header.len() as u16, 0)
        }
        Framing::Chunk => {
            let header = http1::chunk_header(len);
            scratch.put_slice(b"\r\n");
            let bytes = copied(&header, scratch);
            Frame::framed(FrameKind::Raw, bytes, header.len() as u16, 2)
        }
        Framing::Bare | Framing::Answer => Frame::raw(Bytes::copy_from_slice(&scratch[HEADROOM..])),
    }
}

/// Writes the header right in front of the payload and copies both: the scratch buffer stays, the frame holds no spare byte.
fn copied(header: &[u8], scratch: &mut BytesMut) -> Bytes {
    let start = HEADROOM - header.len();
    scratch[start..HEADROOM].copy_from_slice(header);
    Bytes::copy_from_slice(&scratch[start..])
}

/// A text message on a WebSocket.
pub(super) fn text_frame(write: impl FnOnce(&mut BytesMut)) -> Frame {
    let mut scratch = BytesMut::with_capacity(HEADROOM + 128);
    begin(&mut scratch);
    write(&mut scratch);
    seal(Framing::WebSocket, &mut scratch)
}

/// An event as messages on a WebSocket.
pub(super) fn websocket_event(event: &Event, cursors: bool, framing: Framing, scratch: &mut BytesMut) -> Frame {
    begin(scratch);
    match event {
        Event::Publication(published, place) => {
            return websocket_message(published, Some(*place), cursors.then_some(published.cursor), framing, scratch);
        }
        Event::Presence(event) => presence(event, scratch),
        Event::Gap(channel) => gap(channel, scratch),
    }
    seal(framing, scratch)
}

/// A publication as a message on a WebSocket; a binary one is a header and a binary message right behind it.
pub(super) fn websocket_publication(published: &Publication, place: Option<usize>, framing: Framing, scratch: &mut BytesMut) -> Frame {
    websocket_message(published, place, None, framing, scratch)
}

fn websocket_message(
    published: &Publication,
    place: Option<usize>,
    cursor: Option<Cursor>,
    framing: Framing,
    scratch: &mut BytesMut,
) -> Frame {
    begin(scratch);
    publication_at(published, place, cursor, Binary::Follows, scratch);
    let Payload::Binary(bytes) = &published.draft.payload else { return seal(framing, scratch) };
    let header = ws::header(ws::DataKind::Text, true, false, scratch.len() - HEADROOM);
    if framing == Framing::WebSocketDeflate && bytes.len() >= ws::deflate::WORTH_BYTES_MIN {
        scratch.put_slice(&ws::deflate::message(ws::DataKind::Binary, bytes, ws::deflate::WINDOW_BITS_MAX));
    } else {
        ws::encode(ws::DataKind::Binary, bytes, scratch);
    }
    Frame::framed(FrameKind::Raw, copied(&header, scratch), 0, 0)
}

/// A close frame.
pub(super) fn close_frame(code: u16, words: &str) -> Frame {
    let mut bytes = BytesMut::with_capacity(32);
    ws::close(code, words, &mut bytes);
    Frame::raw(bytes.freeze())
}

/// An event on a stream, in the envelope or as its payload alone; nothing when it can't be shown.
pub(super) fn stream_event(event: &Event, payload_alone: bool, framing: Framing, scratch: &mut BytesMut) -> Option<Frame> {
    begin(scratch);
    match event {
        Event::Publication(published, place) => stream_publication(published, Some(*place), payload_alone, scratch)?,
        Event::Presence(event) => {
            scratch.put_slice(b"event: presence\ndata: ");
            presence(event, scratch);
            scratch.put_slice(b"\n\n");
        }
        Event::Gap(channel) => {
            stream_gap(channel, scratch);
        }
    }
    Some(seal(framing, scratch))
}

/// Appends the news that something was lost: an error that the stream survives.
pub(super) fn stream_gap(channel: &ChannelName, into: &mut BytesMut) {
    into.put_slice(b"event: error\ndata: ");
    let mut object = Object::begin(into);
    object.text("code", "gap");
    object.text("message", "events of the channel are missing; load again what you show of it");
    place_of_gap(channel, &mut object);
    object.end();
    into.put_slice(b"\n\n");
}

/// Appends a publication as an event of a stream. Its id is the cursor, because that resumes all channels of the stream.
pub(super) fn stream_publication(published: &Publication, place: Option<usize>, payload_alone: bool, into: &mut BytesMut) -> Option<()> {
    let event = published.draft.event.as_deref().filter(|_| payload_alone);
    if event.is_some_and(|event| event.contains(['\r', '\n', '\0'])) {
        return None;
    }
    let start = into.len();
    if place.is_some() {
        let _ = writeln!(into, "id: {}", published.cursor);
    }
    if let Some(event) = event {
        let _ = writeln!(into, "event: {event}");
    }
    into.put_slice(b"data: ");
    let data = into.len();
    match (payload_alone, &published.draft.payload) {
        (false, _) => publication(published, place, Binary::Base64, into),
        (true, Payload::Json(bytes) | Payload::Text(bytes)) => into.put_slice(bytes),
        (true, Payload::Binary(bytes)) => {
            let mut object = Object::begin(into);
            binary_data(bytes, Binary::Base64, &mut object);
            object.end();
        }
    }
    if into[data..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        // Rare: line ends inside the payload begin further `data` lines.
        let text = String::from_utf8_lossy(&into[data..]).into_owned();
        into.truncate(start);
        let cursor = published.cursor.to_string();
        let id = place.map(|_| cursor.as_str());
        return sse::Event { id, event, retry_ms: None, data: Some(&text) }.encode(into).ok();
    }
    into.put_slice(b"\n\n");
    Some(())
}

/// A whole answer to everyone who waits for the channel in a poll.
pub(super) fn poll_answer(event: &Event, cursors: bool, allowed_origin: Option<&str>, scratch: &mut BytesMut) -> Option<Frame> {
    scratch.clear();
    match event {
        Event::Publication(published, place) => {
            let placed = (published.clone(), *place);
            poll(std::slice::from_ref(&placed), Some(mark(&placed, cursors)?), Page { gap: false, more: false }, scratch);
        }
        Event::Gap(_) => poll(&[], None, Page { gap: true, more: false }, scratch),
        Event::Presence(_) => return None,
    }
    Some(whole_answer(allowed_origin, scratch))
}

/// The same with all that came at once, as much as one answer holds: how much that is stands beside it.
pub(super) fn poll_answer_of_run(
    run: &[Event],
    cursors: bool,
    limits: &Limits,
    allowed_origin: Option<&str>,
    scratch: &mut BytesMut,
) -> Option<(Frame, usize)> {
    let placed = run.iter().take(limits.history_page_max).map(|event| match event {
        Event::Publication(published, place) => Some((published.clone(), *place)),
        Event::Presence(_) | Event::Gap(_) => None,
    });
    let placed: Vec<Placed> = placed.collect::<Option<_>>()?;
    let placed = &placed[..fitting(&placed, limits.outbox_bytes_soft)];
    let last = mark(placed.last()?, cursors)?;
    scratch.clear();
    poll(placed, Some(last), Page { gap: false, more: placed.len() < run.len() }, scratch);
    Some((whole_answer(allowed_origin, scratch), placed.len()))
}

/// Where a poll goes on behind a publication.
fn mark((published, place): &Placed, cursors: bool) -> Option<Mark> {
    if cursors { Some(Mark::Cursor(published.cursor)) } else { Some(Mark::Position(published.places.get(*place)?.position)) }
}

fn whole_answer(allowed_origin: Option<&str>, scratch: &BytesMut) -> Frame {
    let mut answer = BytesMut::with_capacity(256 + scratch.len());
    let origin = allowed_origin.map(|origin| ("access-control-allow-origin", origin));
    let credentials = allowed_origin.filter(|origin| *origin != "*").map(|_| ("access-control-allow-credentials", "true"));
    let headers = POLL_HEADERS.into_iter().chain(origin).chain(credentials);
    http1::write_head(&mut answer, 200, headers, http1::Body::Length(scratch.len() as u64));
    answer.put_slice(scratch);
    Frame::raw(answer.freeze())
}

/// The headers of every answer to a poll.
pub(super) const POLL_HEADERS: [(&str, &str); 3] =
    [("content-type", "application/json"), ("cache-control", "no-store"), ("vary", "Origin, Authorization")];

/// A JSON answer that no cache keeps.
pub(super) fn json(status: u16, write: impl FnOnce(&mut BytesMut)) -> Response {
    let mut body = BytesMut::with_capacity(256);
    write(&mut body);
    Response::json(status, body.freeze()).header("cache-control", "no-store")
}

/// Room in front of a payload for the largest header.
const HEADROOM: usize = 20;
