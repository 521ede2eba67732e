//! The pairs of a query or a form body, decoded and bounded.

use std::borrow::Cow;

use omnivox_core::Request;
use omnivox_wire::http1::{Query, QueryError};

use super::refusal::Refusal;

/// The most pairs of one request.
const PAIRS_MAX: usize = 4096;

/// Decoded pairs, in order.
#[derive(Debug)]
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// The query of a request.
    pub(super) fn of_query(request: &Request<'a>) -> Result<Self, Refusal> {
        Self::parse(request.query.as_bytes())
    }

    /// The body of a request, which must say that it is a form.
    pub(super) fn of_body(request: &Request<'a>) -> Result<Self, Refusal> {
        let kind = request.header("content-type").unwrap_or_default();
        if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::bad("the body must be a form: send it with `Content-Type: application/x-www-form-urlencoded`"));
        }
        Self::parse(request.body)
    }

    fn parse(text: &'a [u8]) -> Result<Self, Refusal> {
        let pairs: Vec<_> =
            Query::new(text).take(PAIRS_MAX + 1).collect::<Result<_, QueryError>>().map_err(|error| Refusal::bad(error.to_string()))?;
        if pairs.len() > PAIRS_MAX {
            return Err(Refusal::bad(format!("more than {PAIRS_MAX} parameters")));
        }
        Ok(Self(pairs))
    }

    /// The pairs of both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The first value of that name that is not empty.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(known, value)| *known == name && !value.is_empty()).map(|(_, value)| value)
    }

    /// All values of that name.
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.pairs().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All pairs.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Whether a text has control or format characters, which no topic, id or type may have.
pub(super) fn has_controls(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || is_format(c))
}

/// Unicode's general category `Cf`.
fn is_format(c: char) -> bool {
    matches!(
        u32::from(c),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
            | 0x2060..=0x2064 | 0x2066..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F
    )
}

/// A text as one segment of a path: everything but unreserved characters is percent-encoded.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
