//! Events on their way out.

use std::fmt;

use bytes::{BufMut, BytesMut};

/// The media type of an event stream.
pub const CONTENT_TYPE: &str = "text/event-stream";

/// One event. Without data it is not dispatched by the client, but its id and retry time still count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// The mark that a client gives back as `Last-Event-ID`; `Some("")` resets it.
    pub id: Option<&'a str>,
    /// The event's name; a client calls an event without one `message`.
    pub event: Option<&'a str>,
    /// How long the client shall wait before it connects again, in milliseconds.
    pub retry_ms: Option<u64>,
    /// The payload; `None` leaves the data field out, `Some("")` sends an empty one.
    pub data: Option<&'a str>,
}

/// An id or event name that can't be written: it has a line end or NUL in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// In the id.
    Id,
    /// In the event name.
    Event,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "an event id must not have line ends or NUL",
            Self::Event => "an event name must not have line ends or NUL",
        })
    }
}

impl std::error::Error for FieldError {}

impl Event<'_> {
    /// Appends the event with its closing empty line; nothing is appended when it is refused.
    pub fn encode(&self, into: &mut BytesMut) -> Result<(), FieldError> {
        if self.id.is_some_and(breaks_line) {
            return Err(FieldError::Id);
        }
        if self.event.is_some_and(breaks_line) {
            return Err(FieldError::Event);
        }
        let text = self.data.map_or(0, str::len) + self.id.map_or(0, str::len) + self.event.map_or(0, str::len);
        into.reserve(text + FIELD_NAMES_BYTES);
        if let Some(id) = self.id {
            line(b"id: ", id.as_bytes(), into);
        }
        if let Some(event) = self.event {
            line(b"event: ", event.as_bytes(), into);
        }
        if let Some(retry_ms) = self.retry_ms {
            line(b"retry: ", itoa::Buffer::new().format(retry_ms).as_bytes(), into);
        }
        if let Some(data) = self.data {
            for_each_line(data.as_bytes(), |part| line(b"data: ", part, into));
        }
        into.put_u8(b'\n');
        Ok(())
    }
}

/// Appends a comment, which a client ignores and a proxy counts as life; `""` is the shortest keep-alive.
pub fn comment(text: &str, into: &mut BytesMut) {
    for_each_line(text.as_bytes(), |part| line(b":", part, into));
    into.put_u8(b'\n');
}

/// Appends a reconnection time alone.
pub fn retry(retry_ms: u64, into: &mut BytesMut) {
    line(b"retry: ", itoa::Buffer::new().format(retry_ms).as_bytes(), into);
    into.put_u8(b'\n');
}

fn line(field: &[u8], value: &[u8], into: &mut BytesMut) {
    into.put_slice(field);
    into.put_slice(value);
    into.put_u8(b'\n');
}

/// Splits at CRLF, CR and LF, the three line ends of the format.
fn for_each_line(mut text: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some(end) = memchr::memchr2(b'\r', b'\n', text) {
        each(&text[..end]);
        let crlf = text[end..].starts_with(b"\r\n");
        text = &text[end + 1 + usize::from(crlf)..];
    }
    each(text);
}

fn breaks_line(text: &str) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some()
}

const FIELD_NAMES_BYTES: usize = 64;
