//! The ring of a channel's latest publications, kept by count, age and bytes.
//!
//! Invariant: what is not in the ring is known to be gone: [`History::since`] says *gap* unless everything after the mark is there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::app::Retention;
use crate::engine::{HistoryPage, HistoryQuery};
use crate::mark::{Cursor, Epoch, Mark, Position};
use crate::publication::Publication;

/// The kept publications of one channel and the numbers of those that are gone.
#[derive(Debug)]
pub struct History {
    entries: VecDeque<(Arc<Publication>, usize)>,
    bytes: usize,
    /// The place of the last publication, kept or not.
    top: Position,
    /// The offset of the last publication that is gone.
    gone_offset: u64,
    /// The stamp of the last publication that is gone.
    gone_stamp: u64,
}

/// What lies behind a mark.
#[derive(Debug)]
pub struct Since {
    /// The publications, oldest first.
    pub publications: Vec<(Arc<Publication>, usize)>,
    /// Whether some are gone.
    pub gap: bool,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl History {
    /// An empty log. `gone_stamp` covers what an earlier life of the channel may have held.
    pub fn new(epoch: Epoch, gone_stamp: u64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, top: Position { epoch, offset: 0 }, gone_offset: 0, gone_stamp }
    }

    /// The place of the last publication.
    pub fn top(&self) -> Position {
        self.top
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether nothing was ever published in this life of the log, so that nothing can be missing of it.
    pub fn never_held(&self) -> bool {
        self.top.offset == 0
    }

    /// The stamp of the last publication, kept or gone.
    pub fn last_stamp(&self) -> u64 {
        self.entries.back().map_or(self.gone_stamp, |(publication, _)| publication.cursor.stamp)
    }

    /// Appends the next publication of the channel (its place has the next offset) and forgets what the retention no longer keeps.
    pub fn push(&mut self, publication: Arc<Publication>, place: usize, retention: &Retention) {
        self.top = publication.places[place].position;
        self.bytes += publication.weight_bytes();
        let now_ms = publication.at_ms;
        self.entries.push_back((publication, place));
        self.evict(now_ms, retention);
    }

    /// Forgets what is too old, too many or too large.
    pub fn evict(&mut self, now_ms: u64, retention: &Retention) {
        let oldest_ms = now_ms.saturating_sub(u64::try_from(retention.age_max.as_millis()).unwrap_or(u64::MAX));
        while let Some((first, place)) = self.entries.front() {
            let kept = self.entries.len() <= retention.count_max && self.bytes <= retention.bytes_max && first.at_ms >= oldest_ms;
            if kept {
                break;
            }
            self.bytes -= first.weight_bytes();
            self.gone_offset = first.places[*place].position.offset;
            self.gone_stamp = self.gone_stamp.max(first.cursor.stamp);
            self.entries.pop_front();
        }
        if self.entries.is_empty() && self.entries.capacity() > 64 {
            self.entries = VecDeque::new();
        }
    }

    /// Whether the mark is the place of the last publication, so that nothing lies behind it. Who asks again and again mostly stands there.
    pub fn ends_at(&self, mark: Mark) -> bool {
        mark == Mark::Position(self.top)
    }

    /// What lies behind a mark, at most `most` publications, oldest first. `app` is where the app stands.
    pub fn since(&self, mark: Mark, app: Cursor, most: usize) -> Since {
        let (start, gap) = self.behind(mark, app);
        let publications: Vec<_> = self.entries.iter().skip(start).take(most).cloned().collect();
        Since { gap, more: self.entries.len() - start > publications.len(), publications }
    }

    /// The page that a query asks for. `app` is where the app stands.
    pub fn page(&self, query: &HistoryQuery, app: Cursor) -> HistoryPage {
        let (start, gap) = self.behind(query.since.unwrap_or(Mark::Earliest), app);
        let below = |before: u64| self.after(|publication, place| publication.places[place].position.offset < before);
        let end = match query.before {
            None => self.entries.len(),
            Some(Mark::Offset(offset)) => below(offset),
            Some(Mark::Position(Position { epoch, offset })) if epoch == self.top.epoch => below(offset),
            // What came before a place of another epoch is gone.
            Some(_) => return HistoryPage { publications: Vec::new(), position: self.top, gap: true, more: false },
        };
        let range = self.entries.range(start..end.max(start));
        let found = range.len();
        let publications: Vec<_> =
            if query.newest_first { range.rev().take(query.most).cloned().collect() } else { range.take(query.most).cloned().collect() };
        HistoryPage { more: found > publications.len(), publications, position: self.top, gap }
    }

    /// Where what lies behind a mark begins, and whether something of it is gone.
    fn behind(&self, mark: Mark, app: Cursor) -> (usize, bool) {
        match mark {
            Mark::Earliest => (0, false),
            // The place of a channel that nobody has used yet.
            Mark::Position(Position { epoch: Epoch(0), offset: 0 }) => (0, self.gone_stamp > 0),
            Mark::Position(position) if position.epoch != self.top.epoch => (0, true),
            Mark::Position(Position { offset, .. }) | Mark::Offset(offset) => {
                let gone = offset < self.gone_offset || offset > self.top.offset;
                (
                    if offset > self.top.offset {
                        0
                    } else {
                        self.after(|publication, place| publication.places[place].position.offset <= offset)
                    },
                    gone,
                )
            }
            Mark::Cursor(cursor) if cursor.epoch != app.epoch || cursor.stamp > app.stamp => (0, true),
            Mark::Cursor(cursor) => (self.after(|publication, _| publication.cursor.stamp <= cursor.stamp), cursor.stamp < self.gone_stamp),
        }
    }

    /// The place of the last publication with a stamp up to `stamp`. `floor` is a place known to be that old, for a log that keeps too little
    /// to tell.
    pub fn top_at(&self, stamp: u64, floor: Position) -> Position {
        let end = self.after(|publication, _| publication.cursor.stamp <= stamp);
        match end.checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some((publication, place)) => publication.places[*place].position,
            None if self.gone_stamp <= stamp => Position { epoch: self.top.epoch, offset: self.gone_offset },
            None => floor,
        }
    }

    /// Where what `before` says begins to be false. Who asks mostly has all of it, so the last one is looked at first.
    fn after(&self, before: impl Fn(&Publication, usize) -> bool) -> usize {
        if self.entries.back().is_none_or(|(publication, place)| before(publication, *place)) {
            return self.entries.len();
        }
        self.entries.partition_point(|(publication, place)| before(publication, *place))
    }
}
