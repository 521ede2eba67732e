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

/// The pairs of a query string or form, decoded one by one; a copy is made only of what has escapes.
#[derive(Clone, Debug)]
pub struct Query<'q> {
    rest: Option<&'q [u8]>,
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
        Self { rest: Some(text.as_ref()) }
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
            let rest = self.rest?;
            let end = memchr::memchr(b'&', rest);
            self.rest = end.map(|end| &rest[end + 1..]);
            let pair = &rest[..end.unwrap_or(rest.len())];
            if pair.is_empty() {
                continue;
            }
            let equals = memchr::memchr(b'=', pair);
            let name = &pair[..equals.unwrap_or(pair.len())];
            let value = equals.map_or(&[][..], |equals| &pair[equals + 1..]);
            return Some(decode(name, true).and_then(|name| Ok((name, decode(value, true)?))));
        }
    }
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
