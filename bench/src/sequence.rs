//! Did one subscriber get every message once and in order?
//!
//! The publisher numbers the messages of a channel from 1; each subscriber feeds the numbers that it sees to its own [`Sequence`].
//! A hole counts as lost until its number turns up late, which makes it *reordered* instead; a number seen before is *doubled*.
//!
//! Invariant: `delivered + lost == next - 1`, and a run without faults keeps `holes` empty and unallocated.

use serde::Serialize;

/// The numbers that one subscriber has seen of one channel.
#[derive(Debug)]
pub(crate) struct Sequence {
    next: u64,
    /// Missing ranges `from..to`, ascending.
    holes: Vec<(u64, u64)>,
    faults: Faults,
}

/// What went wrong, as counts of messages; all zero is a clean run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Never delivered.
    pub lost: u64,
    /// Delivered more than once.
    pub doubled: u64,
    /// Delivered after a later message.
    pub reordered: u64,
}

impl Faults {
    /// Whether nothing was lost, doubled or reordered.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

impl Sequence {
    pub(crate) fn new() -> Self {
        Self { next: 1, holes: Vec::new(), faults: Faults::default() }
    }

    /// Takes the next number; true when it had not been seen before.
    pub(crate) fn see(&mut self, seq: u64) -> bool {
        if seq == self.next {
            self.next += 1;
            return true;
        }
        if seq > self.next {
            self.holes.push((self.next, seq));
            self.faults.lost += seq - self.next;
            self.next = seq + 1;
            return true;
        }
        if self.fill(seq) {
            self.faults.lost -= 1;
            self.faults.reordered += 1;
            return true;
        }
        self.faults.doubled += 1;
        false
    }

    /// The highest number up to which nothing is missing.
    pub(crate) fn contiguous(&self) -> u64 {
        self.holes.first().map_or(self.next - 1, |(from, _)| from - 1)
    }

    /// The verdict when the publisher's last number was `last`: what never came is lost.
    pub(crate) fn finish(&self, last: u64) -> Faults {
        let mut faults = self.faults;
        faults.lost += (last + 1).saturating_sub(self.next);
        faults
    }

    /// Takes `seq` out of the hole that it lies in.
    fn fill(&mut self, seq: u64) -> bool {
        let Some(at) = self.holes.iter().position(|&(from, to)| (from..to).contains(&seq)) else {
            return false;
        };
        let (from, to) = self.holes[at];
        let rest = [(from, seq), (seq + 1, to)];
        self.holes.splice(at..=at, rest.into_iter().filter(|&(from, to)| from < to));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: &[u64], last: u64, lost: u64, doubled: u64, reordered: u64, contiguous: u64) {
        let mut sequence = Sequence::new();
        for &seq in seen {
            sequence.see(seq);
        }
        let expected = Faults { lost, doubled, reordered };
        assert_eq!(sequence.finish(last), expected, "seen {seen:?} of {last}");
        assert_eq!(sequence.contiguous(), contiguous, "seen {seen:?}");
    }

    #[test]
    fn every_kind_of_fault_is_told_apart() {
        //     seen                 last lost doubled reordered contiguous
        check(&[1, 2, 3], 3, 0, 0, 0, 3);
        check(&[], 0, 0, 0, 0, 0);
        check(&[], 4, 4, 0, 0, 0);
        check(&[1, 2], 4, 2, 0, 0, 2);
        check(&[1, 3], 3, 1, 0, 0, 1);
        check(&[2, 3], 3, 1, 0, 0, 0);
        check(&[1, 1, 2], 2, 0, 1, 0, 2);
        check(&[1, 2, 1, 2], 2, 0, 2, 0, 2);
        check(&[2, 1], 2, 0, 0, 1, 2);
        check(&[1, 5, 3, 3], 5, 2, 1, 1, 1);
        check(&[1, 5, 3, 2, 4], 5, 0, 0, 3, 5);
        check(&[1, 9, 5, 4, 6], 10, 5, 0, 3, 1);
    }

    #[test]
    fn a_number_counts_as_new_once() {
        let mut sequence = Sequence::new();
        let news: Vec<bool> = [1, 1, 3, 2, 2, 3].map(|seq| sequence.see(seq)).into();
        assert_eq!(news, [true, false, true, true, false, false]);
    }
}
