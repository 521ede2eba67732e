//! An event stream as a client reads it, by the rules of the WHATWG HTML standard, fed with pieces of any size.
//!
//! It serves the command line, the load tool and the tests; a property test holds it against the encoder.

use std::fmt;

/// Reads a stream piece by piece.
#[derive(Clone, Debug)]
pub struct Parser {
    event_bytes_max: usize,
    line: Vec<u8>,
    data: String,
    event: String,
    /// The id that the next dispatch makes the last one.
    pending_id: String,
    last_id: String,
    retry_ms: Option<u64>,
    /// A CR ended the last line: an LF that follows belongs to it.
    after_cr: bool,
    at_start: bool,
}

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The event's name, `message` when the stream gave none.
    pub event: String,
    /// The data lines, joined by line feeds.
    pub data: String,
    /// The last id at this event.
    pub id: String,
}

/// An event, or one line of it, beyond the limit of the parser; the stream can't be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge;

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event is larger than the limit of the parser")
    }
}

impl std::error::Error for EventTooLarge {}

impl Parser {
    /// A parser at the start of a stream, for events of at most `event_bytes_max`.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            line: Vec::new(),
            data: String::new(),
            event: String::new(),
            pending_id: String::new(),
            last_id: String::new(),
            retry_ms: None,
            after_cr: false,
            at_start: true,
        }
    }

    /// Reads `bytes` on and gives every event that they complete to `dispatch`.
    pub fn feed(&mut self, mut bytes: &[u8], mut dispatch: impl FnMut(Received)) -> Result<(), EventTooLarge> {
        if std::mem::take(&mut self.after_cr) {
            match bytes.first() {
                Some(b'\n') => bytes = &bytes[1..],
                Some(_) => {}
                None => self.after_cr = true,
            }
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) {
            self.take(&bytes[..end])?;
            let line = std::mem::take(&mut self.line);
            self.end_line(&line, &mut dispatch)?;
            self.line = line;
            self.line.clear();
            let is_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            match bytes.first() {
                Some(b'\n') if is_cr => bytes = &bytes[1..],
                None if is_cr => self.after_cr = true,
                _ => {}
            }
        }
        self.take(bytes)
    }

    /// The id to send as `Last-Event-ID` when connecting again; empty means none.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The reconnection time that the server asked for, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Bytes of a line that has not ended.
    fn take(&mut self, part: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + part.len() > self.event_bytes_max {
            return Err(EventTooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], dispatch: &mut impl FnMut(Received)) -> Result<(), EventTooLarge> {
        let line = match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
            false => line,
        };
        if line.is_empty() {
            self.dispatch(dispatch);
            return Ok(());
        }
        let colon = memchr::memchr(b':', line);
        let value = colon.map_or(&[][..], |colon| &line[colon + 1..]);
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match &line[..colon.unwrap_or(line.len())] {
            b"data" => {
                if self.data.len() + value.len() >= self.event_bytes_max {
                    return Err(EventTooLarge);
                }
                self.data.push_str(&value);
                self.data.push('\n');
            }
            b"event" => self.event = value.into_owned(),
            b"id" if !value.contains('\0') => self.pending_id = value.into_owned(),
            b"retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry_ms = value.parse().ok().or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, dispatch: &mut impl FnMut(Received)) {
        self.last_id.clone_from(&self.pending_id);
        let event = std::mem::take(&mut self.event);
        let mut data = std::mem::take(&mut self.data);
        // The line feed after the last data line does not count; without any data line there is no event.
        if data.pop().is_some() {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            dispatch(Received { event, data, id: self.last_id.clone() });
        }
    }
}
