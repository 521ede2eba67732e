//! The part that request and response heads share: find the end, refuse strange bytes, split the field lines.
//!
//! A head is kept as one copy of its bytes and a table of ranges, so it is cheap to move and to hold.

use std::ops::Range;

use super::HeadError;

/// How large a head may be. Sizes beyond 65,535 bytes are cut to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The whole head with its empty line.
    pub head_bytes_max: usize,
    /// The request target.
    pub target_bytes_max: usize,
    /// The number of field lines.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 16 * 1024, target_bytes_max: 8 * 1024, headers_max: 100 }
    }
}

/// Room for a head, to be used for one after the other: a head that has done its work gives it back ([`RequestHead::into_room`]).
///
/// [`RequestHead::into_room`]: super::RequestHead::into_room
#[derive(Default)]
pub struct HeadRoom {
    text: String,
    table: Vec<Field>,
}

/// What of a large head is not kept as room for others.
const ROOM_BYTES_MAX: usize = 4096;

/// A head's bytes and where its fields lie in them.
#[derive(Clone)]
pub(super) struct Fields {
    bytes: HeadBytes,
    table: Vec<Field>,
}

/// The bytes of a head. One that is UTF-8 as a whole, as nearly every one is, is checked once and not for each part that is asked for.
#[derive(Clone)]
enum HeadBytes {
    Text(String),
    Other(Box<[u8]>),
}

/// Offsets of one field line: its name starts at `start`, the trimmed value is `value_start..value_end`.
#[derive(Clone, Copy)]
struct Field {
    start: u16,
    name_end: u16,
    value_start: u16,
    value_end: u16,
}

impl Fields {
    /// The room that they took.
    pub(super) fn into_room(self) -> HeadRoom {
        let text = match self.bytes {
            HeadBytes::Text(text) if text.capacity() <= ROOM_BYTES_MAX => text,
            HeadBytes::Text(_) | HeadBytes::Other(_) => String::new(),
        };
        HeadRoom { text, table: self.table }
    }

    /// The bytes of the whole head, for ranges into the first line.
    pub(super) fn slice(&self, range: &Range<u16>) -> &[u8] {
        let bytes = match &self.bytes {
            HeadBytes::Text(text) => text.as_bytes(),
            HeadBytes::Other(bytes) => bytes,
        };
        &bytes[usize::from(range.start)..usize::from(range.end)]
    }

    /// The same as text; first lines are ASCII once they are parsed.
    pub(super) fn text(&self, range: &Range<u16>) -> &str {
        match &self.bytes {
            HeadBytes::Text(text) => text.get(usize::from(range.start)..usize::from(range.end)).unwrap_or_default(),
            HeadBytes::Other(_) => str::from_utf8(self.slice(range)).unwrap_or_default(),
        }
    }

    /// Writes all names in lower case.
    pub(super) fn lower_names(&mut self) {
        let Self { bytes, table } = self;
        for field in table {
            let name = usize::from(field.start)..usize::from(field.name_end);
            match bytes {
                HeadBytes::Text(text) => text[name].make_ascii_lowercase(),
                HeadBytes::Other(bytes) => bytes[name].make_ascii_lowercase(),
            }
        }
    }

    /// All fields in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.table.iter().map(|field| {
            let value = self.slice(&(field.value_start..field.value_end));
            (self.text(&(field.start..field.name_end)), value)
        })
    }

    /// The values of the fields called `name`, letter case aside.
    pub(super) fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.named(name).map(|field| self.slice(&(field.value_start..field.value_end)))
    }

    /// The first value of `name`, when it is UTF-8.
    pub(super) fn value_text(&self, name: &str) -> Option<&str> {
        let range = self.named(name).next().map(|field| field.value_start..field.value_end)?;
        match &self.bytes {
            HeadBytes::Text(text) => text.get(usize::from(range.start)..usize::from(range.end)),
            HeadBytes::Other(_) => str::from_utf8(self.slice(&range)).ok(),
        }
    }

    fn named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Field> + use<'a, 'n> {
        self.table.iter().filter(move |field| {
            usize::from(field.name_end - field.start) == name.len()
                && self.slice(&(field.start..field.name_end)).eq_ignore_ascii_case(name.as_bytes())
        })
    }

    /// The only value of `name`; an error when there are two.
    pub(super) fn single(&self, name: &str, repeated: HeadError) -> Result<Option<&[u8]>, HeadError> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(repeated),
        }
    }
}

/// The range of the first line and the end of the head; `None` while the head is incomplete.
pub(super) struct Extent {
    pub(super) first_line: Range<usize>,
    pub(super) end: usize,
}

/// Looks for the empty line and refuses every control byte on the way, also in a head that is still incomplete.
///
/// One empty line before the head is skipped: old clients send one after a request body.
pub(super) fn find_extent(buf: &[u8], limits: &HeadLimits) -> Result<Option<Extent>, HeadError> {
    let limit = limits.head_bytes_max.min(usize::from(u16::MAX));
    let window = &buf[..buf.len().min(limit)];
    let mut first_line = None;
    let mut line_start = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    loop {
        let Some(rest) = window.get(line_start..) else { return Err(HeadError::TooLarge) };
        let Some(offset) = memchr::memchr2(b'\r', b'\n', rest) else {
            check_bytes(rest)?;
            break;
        };
        let line_end = line_start + offset;
        check_bytes(&rest[..offset])?;
        match (window[line_end], buf.get(line_end + 1)) {
            (b'\n', _) => return Err(HeadError::BareLf),
            (_, Some(b'\n')) => {}
            (_, Some(_)) => return Err(HeadError::BareCr),
            (_, None) => break,
        }
        if offset == 0 {
            let first_line = first_line.ok_or(HeadError::LeadingEmptyLine)?;
            let end = line_end + 2;
            return if end > limit { Err(HeadError::TooLarge) } else { Ok(Some(Extent { first_line, end })) };
        }
        first_line.get_or_insert(line_start..line_end);
        line_start = line_end + 2;
    }
    if buf.len() >= limit { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// Splits the field lines in `lines`, and keeps a copy of the head they belong to.
pub(super) fn parse_fields(head: &[u8], lines: Range<usize>, limits: &HeadLimits, room: &mut HeadRoom) -> Result<Fields, HeadError> {
    let mut table = std::mem::take(&mut room.table);
    table.clear();
    table.reserve(16);
    let mut start = lines.start;
    while start < lines.end {
        if table.len() == limits.headers_max {
            return Err(HeadError::TooManyHeaders);
        }
        // The lines were found before, each ends with CRLF.
        let line = &head[start..lines.end];
        let line = &line[..memchr::memchr(b'\r', line).unwrap_or(line.len())];
        table.push(parse_field(line, start)?);
        start += line.len() + 2;
    }
    let bytes = match str::from_utf8(head) {
        Ok(text) => {
            let mut bytes = std::mem::take(&mut room.text);
            bytes.clear();
            bytes.push_str(text);
            HeadBytes::Text(bytes)
        }
        Err(_) => HeadBytes::Other(head.into()),
    };
    Ok(Fields { bytes, table })
}

fn parse_field(line: &[u8], start: usize) -> Result<Field, HeadError> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(HeadError::Folding);
    }
    let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0).ok_or(HeadError::HeaderName)?;
    if let Some(byte) = line[..colon].iter().find(|byte| !super::is_token_byte(**byte)) {
        return Err(if is_blank(*byte) { HeadError::SpaceInName } else { HeadError::HeaderName });
    }
    let raw = &line[colon + 1..];
    let leading = raw.iter().take_while(|byte| is_blank(**byte)).count();
    let trailing = raw[leading..].iter().rev().take_while(|byte| is_blank(**byte)).count();
    let offset = |at: usize| u16::try_from(start + at).map_err(|_| HeadError::TooLarge);
    Ok(Field {
        start: offset(0)?,
        name_end: offset(colon)?,
        value_start: offset(colon + 1 + leading)?,
        value_end: offset(line.len() - trailing)?,
    })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Refuses control bytes except the tab; bytes of 128 and more pass, a rule about them belongs to the part that holds them.
fn check_bytes(line: &[u8]) -> Result<(), HeadError> {
    // Numbers instead of booleans and no early return: so it becomes vector instructions.
    let control = |byte: u8| u8::from(byte < 0x20) & u8::from(byte != b'\t') | u8::from(byte == 0x7f);
    match line.iter().fold(0, |found, byte| found | control(*byte)) {
        0 => Ok(()),
        _ => Err(HeadError::ControlByte),
    }
}
