//! Marks: where in the log a client stands.
//!
//! A [`Position`] is a place in one channel, written `EPOCH-OFFSET`; a [`Cursor`] is one stamp that can be compared across all channels
//! of an app, written `EPOCH.STAMP`. Both are short and use only `[A-Za-z0-9_.-]`, because a browser sends any other `Last-Event-ID`
//! with a preflight (`protocols/websocket-sse-longpoll.md` §4). A bare number is a place in the channel's current epoch.
//!
//! ```
//! use omnivox_core::mark::{Epoch, Mark, Position};
//! let position = Position { epoch: Epoch(35), offset: 42 };
//! assert_eq!(position.to_string(), "z-42");
//! assert_eq!(Mark::parse("z-42"), Ok(Mark::Position(position)));
//! assert_eq!(Mark::parse("42"), Ok(Mark::Offset(42)));
//! ```
//!
//! Invariant: the same `(epoch, offset)` never names two messages; whoever loses data starts a new epoch.

use std::fmt;

/// The longest mark that a client may send, in bytes.
pub const MARK_BYTES_MAX: usize = 128;

/// One life of a log: drawn at random when the log is begun, so that places of an earlier life are recognised as gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A place in one channel: the offset of the publication that the client has seen last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// The life of the channel's log.
    pub epoch: Epoch,
    /// 1 for the first publication of the epoch; 0 stands before it.
    pub offset: u64,
}

/// A place in the whole app: every publication of every channel has a stamp, and stamps grow in the order of delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cursor {
    /// The life of the engine's log.
    pub epoch: Epoch,
    /// The stamp of the publication that the client has seen last; 0 stands before all.
    pub stamp: u64,
}

/// What a client may resume from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mark {
    /// A place in one channel.
    Position(Position),
    /// A place in the app.
    Cursor(Cursor),
    /// An offset in the channel's current epoch, written as a bare number.
    Offset(u64),
    /// The beginning of what is kept (`earliest`).
    Earliest,
}

/// A mark that no omnivox ever gave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the mark is not one that this server gave out; send the `id` of the last event as it came, a number, or `earliest`")]
pub struct InvalidMark;

impl Mark {
    /// Parses the text that a client sends back.
    pub fn parse(text: &str) -> Result<Self, InvalidMark> {
        if text.len() > MARK_BYTES_MAX {
            return Err(InvalidMark);
        }
        if text == "earliest" {
            return Ok(Self::Earliest);
        }
        let Some(at) = text.bytes().position(|byte| matches!(byte, b'-' | b'.')) else {
            return number::<10>(text).map(Self::Offset);
        };
        let (epoch, count) = (Epoch(number::<36>(&text[..at])?), number::<10>(&text[at + 1..])?);
        Ok(match text.as_bytes()[at] {
            b'-' => Self::Position(Position { epoch, offset: count }),
            _ => Self::Cursor(Cursor { epoch, stamp: count }),
        })
    }
}

impl Epoch {
    /// Writes the epoch in base 36 into the end of `buffer` and gives the written part.
    fn render(self, buffer: &mut [u8; 13]) -> &str {
        let mut value = self.0;
        let mut at = buffer.len();
        loop {
            at -= 1;
            buffer[at] = b"0123456789abcdefghijklmnopqrstuvwxyz"[(value % 36) as usize];
            value /= 36;
            if value == 0 {
                break;
            }
        }
        std::str::from_utf8(&buffer[at..]).unwrap_or_default()
    }
}

/// A number in base 10 or 36, of digits and small letters alone.
fn number<const RADIX: u64>(text: &str) -> Result<u64, InvalidMark> {
    // So many digits fit, whatever they are.
    let (safe, rest) = text.as_bytes().split_at(text.len().min(12));
    let digit = |byte: &u8| Some(u64::from(DIGITS[usize::from(*byte)])).filter(|digit| *digit < RADIX).ok_or(InvalidMark);
    let mut sum = 0u64;
    for byte in safe {
        sum = sum * RADIX + digit(byte)?;
    }
    for byte in rest {
        sum = sum.checked_mul(RADIX).and_then(|sum| sum.checked_add(digit(byte).ok()?)).ok_or(InvalidMark)?;
    }
    if safe.is_empty() { Err(InvalidMark) } else { Ok(sum) }
}

/// What each byte is worth as a digit, 255 for none: a table, because every poll brings a mark.
static DIGITS: [u8; 256] = {
    let mut table = [u8::MAX; 256];
    let mut value = 0;
    while value < 36 {
        table[if value < 10 { b'0' + value } else { b'a' + value - 10 } as usize] = value;
        value += 1;
    }
    table
};

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(&mut [0; 13]))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.stamp)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => position.fmt(f),
            Self::Cursor(cursor) => cursor.fmt(f),
            Self::Offset(offset) => offset.fmt(f),
            Self::Earliest => f.write_str("earliest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strange_marks_are_refused() {
        for text in
            ["", "-", "a-", "-1", "a-b", "a-1-2", "a.", ".1", "+1", "a-+1", "A-1", "x y", "99999999999999999999", "zzzzzzzzzzzzzz-1"]
        {
            assert_eq!(Mark::parse(text), Err(InvalidMark), "{text:?}");
        }
        assert_eq!(Mark::parse(&"1".repeat(129)), Err(InvalidMark));
    }

    proptest! {
        #[test]
        fn marks_survive_the_round_trip(epoch: u64, number: u64) {
            for mark in [
                Mark::Position(Position { epoch: Epoch(epoch), offset: number }),
                Mark::Cursor(Cursor { epoch: Epoch(epoch), stamp: number }),
                Mark::Offset(number),
            ] {
                let text = mark.to_string();
                prop_assert!(text.len() <= MARK_BYTES_MAX);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)));
                prop_assert_eq!(Mark::parse(&text), Ok(mark));
            }
        }
    }
}
