//! Event ids: what the publisher chose, else a UUID that says where in the log the publication is.
//!
//! ```text
//!   urn:uuid:EEEEEEEE-EEEE-8EEE-[10EE EESS]SSS-SSSSSSSSSSSS      E the log's epoch (64 bits), S the stamp (58 bits)
//! ```
//!
//! So every publication has an id that can be resumed from, whatever dialect it came from, and nothing has to be remembered for it.
//!
//! Invariant: an id that was given out is never read as another place.

use omnivox_core::mark::Epoch;
use omnivox_core::publication::NAME_TAG;
use omnivox_core::{Cursor, Mark, Publication};

/// What a client says it saw last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum LastId {
    /// Everything that is kept is wanted.
    Earliest,
    /// A place in the log.
    Place(Cursor),
    /// What the publisher called it.
    Name(Box<str>),
}

/// The word for the beginning of what is kept.
pub(super) const EARLIEST: &str = "earliest";

const STAMP_BITS: u32 = 58;
const PREFIX: &str = "urn:uuid:";

/// The id of a place in the log.
pub(super) fn of_cursor(cursor: Cursor) -> String {
    let (epoch, stamp) = (cursor.epoch.0, cursor.stamp & ((1 << STAMP_BITS) - 1));
    let low = (0b10 << 62) | ((epoch & 0xf) << STAMP_BITS) | stamp;
    format!(
        "{PREFIX}{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        epoch >> 32,
        (epoch >> 16) & 0xffff,
        (epoch >> 4) & 0xfff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The place that an id names, if it is one of ours.
fn cursor_of(id: &str) -> Option<Cursor> {
    let digits: String = id.strip_prefix(PREFIX)?.split('-').collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten()?;
    let (high, low) = ((number >> 64) as u64, number as u64);
    if (high >> 12) & 0xf != 8 || low >> 62 != 0b10 {
        return None;
    }
    let epoch = (high >> 16 << 16) | ((high & 0xfff) << 4) | ((low >> STAMP_BITS) & 0xf);
    let cursor = Cursor { epoch: Epoch(epoch), stamp: low & ((1 << STAMP_BITS) - 1) };
    (of_cursor(cursor) == id).then_some(cursor)
}

/// The id of a publication.
pub(super) fn of_publication(publication: &Publication) -> String {
    publication.tag(NAME_TAG).map_or_else(|| of_cursor(publication.cursor), str::to_owned)
}

impl LastId {
    /// Reads what a client sends back.
    pub(super) fn parse(text: &str) -> Self {
        if text == EARLIEST {
            return Self::Earliest;
        }
        if let Some(cursor) = cursor_of(text) {
            return Self::Place(cursor);
        }
        match Mark::parse(text) {
            Ok(Mark::Cursor(cursor)) => Self::Place(cursor),
            _ => Self::Name(text.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_where_they_are() {
        for (epoch, stamp) in [(35, 0), (u64::MAX, 1), (0x0123_4567_89ab_cdef, (1 << 58) - 1), (0, 77)] {
            let cursor = Cursor { epoch: Epoch(epoch), stamp };
            let id = of_cursor(cursor);
            assert_eq!(id.len(), 45);
            assert_eq!(LastId::parse(&id), LastId::Place(cursor), "{id}");
        }
        assert_eq!(LastId::parse("z.4"), LastId::Place(Cursor { epoch: Epoch(35), stamp: 4 }), "the native one");
        assert_eq!(LastId::parse("earliest"), LastId::Earliest);
        for name in ["urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb", "a", "https://example.com/1", "urn:uuid:", "7"] {
            assert_eq!(LastId::parse(name), LastId::Name(name.into()));
        }
    }
}
