//! Request heads: owned, compact, and free of anything that two servers could understand in two ways.

use std::fmt;
use std::ops::Range;

use super::fields::{Extent, Fields, HeadRoom, find_extent, parse_fields};
use super::{HeadError, HeadLimits, has_token, is_token_byte};

/// The head of one HTTP/1.1 or 1.0 request, checked in full.
#[derive(Clone)]
pub struct RequestHead {
    fields: Fields,
    method: Range<u16>,
    path: Range<u16>,
    /// Empty with `start == path.end` when there is no `?`; else it starts one byte later.
    query: Range<u16>,
    authority: Option<Range<u16>>,
    version: Version,
    framing: Framing,
    keep_alive: bool,
}

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the end of a request's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has so many bytes.
    Length(u64),
    /// The body comes in chunks.
    Chunked,
}

impl RequestHead {
    /// Parses the head at the start of `buf` and says how many bytes it took; `None` while it is incomplete.
    ///
    /// Strange bytes and passed limits are errors as soon as they are seen, not only at the end of the head.
    pub fn parse(buf: &[u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        Self::parse_in(&mut HeadRoom::default(), buf, limits)
    }

    /// The same with room that is there already, for those who read one head after the other.
    pub fn parse_in(room: &mut HeadRoom, buf: &[u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        let (first_line, end) = match find_extent(buf, limits) {
            Ok(Some(Extent { first_line, end })) => (first_line, end),
            Ok(None) => return check_unfinished_line(buf, limits).map(|()| None),
            Err(HeadError::TooLarge) => {
                return check_unfinished_line(buf, limits).and(Err(HeadError::TooLarge));
            }
            Err(error) => return Err(error),
        };
        let head = &buf[..end];
        let line = RequestLine::parse(&head[first_line.clone()], first_line.start, limits)?;
        let mut fields = parse_fields(head, first_line.end + 2..end - 2, limits, room)?;
        fields.lower_names();
        let authority = check_host(&fields, &line)?;
        let framing = read_framing(&fields, line.version)?;
        let keep_alive = match line.version {
            Version::Http11 => !connection_has(&fields, "close"),
            Version::Http10 => connection_has(&fields, "keep-alive") && !connection_has(&fields, "close"),
        };
        let RequestLine { method, path, query, version, .. } = line;
        Ok(Some((Self { fields, method, path, query, authority, version, framing, keep_alive }, end)))
    }

    /// Ends the head; its room can take the next one.
    pub fn into_room(self) -> HeadRoom {
        self.fields.into_room()
    }

    /// The method, as it came: methods are case-sensitive.
    pub fn method(&self) -> &str {
        self.fields.text(&self.method)
    }

    /// The path, still percent-encoded; `*` for `OPTIONS *`. See [`super::path`] before routing by it.
    pub fn path(&self) -> &str {
        let path = self.fields.text(&self.path);
        if path.is_empty() { "/" } else { path }
    }

    /// What follows the `?`, still percent-encoded; `None` without one.
    pub fn query(&self) -> Option<&str> {
        (self.query.start > self.path.end).then(|| self.fields.text(&self.query))
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first field called `name`, letter case aside, without the white space around it.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.values(name).next()
    }

    /// The same as text, when it is UTF-8.
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.fields.value_text(name)
    }

    /// Every field called `name`.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields.values(name)
    }

    /// All fields in order, names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter()
    }

    /// `name[:port]` of an absolute target or the `Host` field; `None` only in HTTP/1.0.
    pub fn host(&self) -> Option<&str> {
        self.authority.as_ref().map(|range| self.fields.text(range)).or_else(|| self.header_text("host"))
    }

    /// Whether another request may follow on this connection.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// How the end of the body is known.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11
            && self.framing != Framing::None
            && self.headers("expect").any(|value| value.eq_ignore_ascii_case(b"100-continue"))
    }

    /// Whether a `Connection` field names `token`.
    pub fn connection_has(&self, token: &str) -> bool {
        connection_has(&self.fields, token)
    }
}

/// Method and path only: queries and fields may hold secrets.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHead({} {})", self.method(), self.path())
    }
}

struct RequestLine {
    method: Range<u16>,
    authority: Option<Range<u16>>,
    path: Range<u16>,
    query: Range<u16>,
    version: Version,
}

impl RequestLine {
    fn parse(line: &[u8], start: usize, limits: &HeadLimits) -> Result<Self, HeadError> {
        let mut parts = memchr::memchr_iter(b' ', line);
        let (Some(first), Some(second), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(HeadError::RequestLine);
        };
        let (method, target, version) = (&line[..first], &line[first + 1..second], &line[second + 1..]);
        if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(|byte| is_token_byte(*byte)) {
            return Err(HeadError::Method);
        }
        let version = match parse_version(version) {
            Some(version) => version,
            None if version.starts_with(b"HTTP/") => return Err(HeadError::Version),
            None => return Err(HeadError::RequestLine),
        };
        if target.len() > limits.target_bytes_max {
            return Err(HeadError::TargetTooLong);
        }
        if method == b"CONNECT" {
            return Err(HeadError::ConnectMethod);
        }
        // Numbers instead of booleans and no early return: so it becomes vector instructions.
        let strange = |byte: u8| u8::from(!matches!(byte, 0x21..=0x7e)) | u8::from(byte == b'#');
        if target.iter().fold(0, |found, byte| found | strange(*byte)) != 0 {
            return Err(HeadError::TargetByte);
        }
        let target_start = start + method.len() + 1;
        let (authority_len, path_start) = split_target(method, target)?;
        let path_end = memchr::memchr(b'?', &target[path_start..]).map_or(target.len(), |at| path_start + at);
        let query_start = (path_end + 1).min(target.len());
        let at = |offset: usize| u16::try_from(target_start + offset).map_err(|_| HeadError::TooLarge);
        let range = |range: Range<usize>| Ok(at(range.start)?..at(range.end)?);
        Ok(Self {
            method: u16::try_from(start).map_err(|_| HeadError::TooLarge)?..at(0)? - 1,
            authority: match authority_len {
                0 => None,
                len => Some(range(path_start - len..path_start)?),
            },
            path: range(path_start..path_end)?,
            query: range(query_start..target.len())?,
            version,
        })
    }
}

/// The length of the authority (0 in the usual form) and where the path starts.
fn split_target(method: &[u8], target: &[u8]) -> Result<(usize, usize), HeadError> {
    if target.starts_with(b"/") || target == b"*" && method == b"OPTIONS" {
        return Ok((0, 0));
    }
    let scheme = target.windows(3).position(|window| window == b"://").ok_or(HeadError::Target)?;
    if !(target[..scheme].eq_ignore_ascii_case(b"http") || target[..scheme].eq_ignore_ascii_case(b"https")) {
        return Err(HeadError::Target);
    }
    let rest = &target[scheme + 3..];
    let len = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if !is_authority(&rest[..len]) {
        return Err(HeadError::Target);
    }
    Ok((len, scheme + 3 + len))
}

/// The rules about `Host`, and the authority that counts.
fn check_host(fields: &Fields, line: &RequestLine) -> Result<Option<Range<u16>>, HeadError> {
    let host = fields.single("host", HeadError::RepeatedHost)?;
    match host {
        None if line.version == Version::Http11 => return Err(HeadError::MissingHost),
        None => {}
        Some(host) if !is_authority(host) => return Err(HeadError::InvalidHost),
        Some(host) => {
            if let Some(authority) = &line.authority
                && !fields.slice(authority).eq_ignore_ascii_case(host)
            {
                return Err(HeadError::HostMismatch);
            }
        }
    }
    Ok(line.authority.clone())
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`; never user names, lists or paths.
fn is_authority(text: &[u8]) -> bool {
    let (name, port) = match text.strip_prefix(b"[") {
        Some(rest) => match memchr::memchr(b']', rest) {
            Some(end) if end > 0 && rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(byte)) => {
                (&rest[..end], &rest[end + 1..])
            }
            _ => return false,
        },
        None => text.split_at(memchr::memchr(b':', text).unwrap_or(text.len())),
    };
    let port_is_valid = match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    !name.is_empty() && name.iter().all(|byte| AUTHORITY_BYTES[usize::from(*byte)]) && port_is_valid
}

/// A table, for every request names its host.
static AUTHORITY_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&')
            || matches!(byte as u8, b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' | b':');
        byte += 1;
    }
    table
};

/// How the body ends, by rules that leave no second reading.
fn read_framing(fields: &Fields, version: Version) -> Result<Framing, HeadError> {
    let encoding = fields.single("transfer-encoding", HeadError::RepeatedEncoding);
    let length = fields.single("content-length", HeadError::RepeatedLength);
    if !matches!(encoding, Ok(None)) && !matches!(length, Ok(None)) {
        return Err(HeadError::LengthAndEncoding);
    }
    match (encoding?, length?) {
        (Some(_), _) if version == Version::Http10 => Err(HeadError::EncodingInHttp10),
        (Some(encoding), _) if encoding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        (Some(_), _) => Err(HeadError::TransferEncoding),
        (None, Some(length)) => parse_length(length).map(Framing::Length),
        (None, None) => Ok(Framing::None),
    }
}

pub(super) fn parse_length(digits: &[u8]) -> Result<u64, HeadError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::InvalidLength);
    }
    digits
        .iter()
        .try_fold(0u64, |length, digit| length.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(HeadError::LengthTooLarge)
}

pub(super) fn parse_version(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        _ => None,
    }
}

fn connection_has(fields: &Fields, token: &str) -> bool {
    fields.values("connection").any(|value| has_token(value, token))
}

/// What can be wrong with a first line before its head is complete; a long target is told from a long head by it.
fn check_unfinished_line(buf: &[u8], limits: &HeadLimits) -> Result<(), HeadError> {
    let line = buf.strip_prefix(b"\r\n").unwrap_or(buf);
    let mut parts = line[..memchr::memchr(b'\r', line).unwrap_or(line.len())].split(|byte| *byte == b' ');
    if parts.next().is_some_and(|method| method.len() > METHOD_BYTES_MAX) {
        return Err(HeadError::Method);
    }
    match parts.next() {
        Some(target) if target.len() > limits.target_bytes_max => Err(HeadError::TargetTooLong),
        _ => Ok(()),
    }
}

const METHOD_BYTES_MAX: usize = 32;
