//! Response heads, for our own clients: the load tool, the command line and the tests.

use std::fmt;
use std::ops::Range;

use super::fields::{Extent, Fields, HeadRoom, find_extent, parse_fields};
use super::head::{parse_length, parse_version};
use super::{HeadError, HeadLimits, Version, has_token};

/// The head of one response.
#[derive(Clone)]
pub struct ResponseHead {
    fields: Fields,
    version: Version,
    status: u16,
    reason: Range<u16>,
    body: ResponseBody,
}

/// How the end of a response's body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// There is no body.
    None,
    /// The body has so many bytes.
    Length(u64),
    /// The body comes in chunks.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

impl ResponseHead {
    /// Parses the head at the start of `buf` and says how many bytes it took; `None` while it is incomplete.
    pub fn parse(buf: &[u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, HeadError> {
        let Some(Extent { first_line, end }) = find_extent(buf, limits)? else { return Ok(None) };
        let head = &buf[..end];
        let line = &head[first_line.clone()];
        let (version, rest) = line.split_at_checked(8).ok_or(HeadError::StatusLine)?;
        let version = parse_version(version).ok_or(HeadError::StatusLine)?;
        let (digits, reason) = match rest {
            [b' ', digits @ ..] if digits.len() >= 3 => digits.split_at(3),
            _ => return Err(HeadError::StatusLine),
        };
        if !digits.iter().all(u8::is_ascii_digit) || digits[0] == b'0' || !matches!(reason, [] | [b' ', ..]) {
            return Err(HeadError::StatusLine);
        }
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        let reason_start = (first_line.end - reason.len() + 1).min(first_line.end);
        let offset = |at: usize| u16::try_from(at).map_err(|_| HeadError::TooLarge);
        let reason = offset(reason_start)?..offset(first_line.end)?;
        let fields = parse_fields(head, first_line.end + 2..end - 2, limits, &mut HeadRoom::default())?;
        let body = read_body(&fields, status)?;
        Ok(Some((Self { fields, version, status, reason, body }, end)))
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The words after the status code.
    pub fn reason(&self) -> &str {
        self.fields.text(&self.reason)
    }

    /// The HTTP version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The first field called `name`, letter case aside.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.fields.values(name).next()
    }

    /// Every field called `name`.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields.values(name)
    }

    /// All fields in order, names as they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter()
    }

    /// How the end of the body is known; the answer to a HEAD request has none whatever this says.
    pub fn body(&self) -> ResponseBody {
        self.body
    }

    /// Whether the connection can carry another request.
    pub fn keep_alive(&self) -> bool {
        let names = |token| self.headers("connection").any(|value| has_token(value, token));
        self.body != ResponseBody::UntilClose && !names("close") && (self.version == Version::Http11 || names("keep-alive"))
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseHead({} {})", self.status, self.reason())
    }
}

fn read_body(fields: &Fields, status: u16) -> Result<ResponseBody, HeadError> {
    if matches!(status, 100..=199 | 204 | 304) {
        return Ok(ResponseBody::None);
    }
    let encoding = fields.single("transfer-encoding", HeadError::RepeatedEncoding)?;
    let length = fields.single("content-length", HeadError::RepeatedLength)?;
    match (encoding, length) {
        (Some(_), Some(_)) => Err(HeadError::LengthAndEncoding),
        (Some(encoding), None) if encoding.eq_ignore_ascii_case(b"chunked") => Ok(ResponseBody::Chunked),
        (Some(_), None) => Err(HeadError::TransferEncoding),
        (None, Some(length)) => parse_length(length).map(ResponseBody::Length),
        (None, None) => Ok(ResponseBody::UntilClose),
    }
}
