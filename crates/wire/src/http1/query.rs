//! Query strings and form bodies: `name=value&name=value`, percent-encoded UTF-8 with `+` for a space.
//!
//! ```
//! use omnivox_wire::http1::Query;
//!
//! let query = Query::new("channel=general&channel=n%C3%A9ws&flag");
//! let channels: Result<Vec<_>, _> = query.all("channel").collect();
//! assert_eq!(channels.unwrap(), ["general", "néws"]);
//! assert_eq!(query.first("flag").unwrap().as_deref(), Some(""));
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// The pairs of a query string or form, decoded one by one; a copy is made only of what has escapes.
#[derive(Clone, Debug)]
pub struct Query<'q> {
    bytes: &'q [u8],
    /// The same, when it is known to be text.
    text: Option<&'q str>,
    /// Where the next pair begins; behind the end when there is none.
    at: usize,
}

/// A name or value that can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// A `%` that two hexadecimal digits don't follow.
    Escape,
    /// Bytes that are not UTF-8 when decoded.
    NotUtf8,
}

impl QueryError {
    /// A stable code for the error body.
    pub fn code(self) -> &'static str {
        match self {
            Self::Escape => "invalid_escape",
            Self::NotUtf8 => "invalid_utf8",
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Escape => "a `%` must be followed by two hexadecimal digits",
            Self::NotUtf8 => "percent-encoded text must be UTF-8",
        })
    }
}

impl std::error::Error for QueryError {}

impl<'q> Query<'q> {
    /// The pairs of `text`: what follows a `?`, or the body of a form.
    pub fn new<T: AsRef<[u8]> + ?Sized>(text: &'q T) -> Self {
        Self { bytes: text.as_ref(), text: None, at: 0 }
    }

    /// The pairs of what follows a `?`, which is text already: what has no escapes need not be checked again.
    pub fn of_text(text: &'q str) -> Self {
        Self { bytes: text.as_bytes(), text: Some(text), at: 0 }
    }

    fn decode(&self, range: Range<usize>) -> Result<Cow<'q, str>, QueryError> {
        match self.text.and_then(|text| text.get(range.clone())) {
            Some(plain) if !has_escape(plain.as_bytes()) => Ok(Cow::Borrowed(plain)),
            _ => decode(&self.bytes[range], true),
        }
    }

    /// The first value called `name`.
    ///
    /// A pair that can't be decoded is an error wherever it stands before: nobody knows what its name was to be.
    pub fn first(&self, name: &str) -> Result<Option<Cow<'q, str>>, QueryError> {
        self.all(name).next().transpose()
    }

    /// Every value called `name`.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = Result<Cow<'q, str>, QueryError>> + use<'q, 'n> {
        self.clone().filter_map(move |pair| match pair {
            Ok((found, value)) => (found == name).then_some(Ok(value)),
            Err(error) => Some(Err(error)),
        })
    }
}

impl<'q> Iterator for Query<'q> {
    type Item = Result<(Cow<'q, str>, Cow<'q, str>), QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.at;
            let rest = self.bytes.get(start..)?;
            let end = start + find(b'&', rest).unwrap_or(rest.len());
            self.at = end + 1;
            if start == end {
                continue;
            }
            let equals = find(b'=', &self.bytes[start..end]).map_or(end, |equals| start + equals);
            let name = self.decode(start..equals);
            return Some(name.and_then(|name| Ok((name, self.decode((equals + 1).min(end)..end)?))));
        }
    }
}

/// Looks for a byte. Most pairs are short, and there a plain loop takes fewer instructions than the way into a vectorised search.
fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    let near = &bytes[..bytes.len().min(NEAR_BYTES)];
    let found = near.iter().position(|byte| *byte == wanted);
    found.or_else(|| memchr::memchr(wanted, &bytes[near.len()..]).map(|at| near.len() + at))
}

/// Bytes that are looked at one by one.
const NEAR_BYTES: usize = 24;

/// Whether there is anything to decode.
fn has_escape(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'%' | b'+'))
}

/// Decodes `%xx` escapes to UTF-8 text; a `+` stays what it is, as paths want it.
pub fn percent_decode(bytes: &[u8]) -> Result<Cow<'_, str>, QueryError> {
    decode(bytes, false)
}

fn decode(bytes: &[u8], plus_is_space: bool) -> Result<Cow<'_, str>, QueryError> {
    let first = if plus_is_space { memchr::memchr2(b'%', b'+', bytes) } else { memchr::memchr(b'%', bytes) };
    let Some(first) = first else {
        return str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| QueryError::NotUtf8);
    };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return Err(QueryError::Escape) };
                rest = after;
                hex(*high)? << 4 | hex(*low)?
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| QueryError::NotUtf8)
}

fn hex(digit: u8) -> Result<u8, QueryError> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or(QueryError::Escape)
}
