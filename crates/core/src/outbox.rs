//! The outbox: the frames that one client has not taken yet, bounded in bytes.
//!
//! Two limits, as in Redis's client output buffers: beyond the hard one the client is cut off at once, beyond the soft one when it stays
//! there for too long. Either way it resumes from its mark; it never slows another client.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// The limits of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Cut off at once when more bytes than this wait.
    pub hard_bytes: usize,
    /// Cut off when more bytes than this wait for longer than `soft_for`.
    pub soft_bytes: usize,
    /// How long the soft limit may be passed.
    pub soft_for: Duration,
}

/// Frames that wait for a client.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// How much of the first frame has been written.
    written: usize,
    soft_since: Option<Instant>,
}

/// The client takes too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Outbox {
    /// Appends a frame. The frame is taken in any case; an overflow asks the caller to close the client.
    pub fn push(&mut self, frame: Frame, limits: &OutboxLimits) -> Result<(), Overflow> {
        self.bytes += frame.len();
        self.frames.push_back(frame);
        if self.bytes > limits.hard_bytes { Err(Overflow) } else { Ok(()) }
    }

    /// Whether the soft limit has been passed for too long. Called when a flush left something behind, and by the timer.
    pub fn check_soft(&mut self, now: Instant, limits: &OutboxLimits) -> Result<(), Overflow> {
        if self.bytes <= limits.soft_bytes {
            self.soft_since = None;
            return Ok(());
        }
        let since = *self.soft_since.get_or_insert(now);
        if now.saturating_duration_since(since) > limits.soft_for { Err(Overflow) } else { Ok(()) }
    }

    /// The bytes to write next, into as many slices as fit: the rest of the first frame, then whole frames.
    pub fn slices<'a>(&'a self, into: &mut smallvec::SmallVec<[std::io::IoSlice<'a>; 64]>, most: usize) {
        for (index, frame) in self.frames.iter().take(most).enumerate() {
            let bytes = if index == 0 { &frame.wire()[self.written..] } else { &frame.wire()[..] };
            into.push(std::io::IoSlice::new(bytes));
        }
    }

    /// Takes note that `count` bytes went out.
    pub fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while count > 0 {
            let Some(first) = self.frames.front() else { return };
            let rest = first.len() - self.written;
            if count < rest {
                self.written += count;
                return;
            }
            count -= rest;
            self.written = 0;
            self.frames.pop_front();
        }
        while self.frames.front().is_some_and(Frame::is_empty) {
            self.frames.pop_front();
        }
        if self.frames.is_empty() && self.frames.capacity() > 8 {
            // An idle client holds no buffer.
            self.frames = VecDeque::new();
        }
    }

    /// Takes all frames out, for a carrier that answers with everything that waits.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.bytes = 0;
        self.written = 0;
        self.soft_since = None;
        self.frames.drain(..)
    }

    /// Puts everything of another outbox behind what waits here. Of the other one nothing may be half written, unless nothing waits here.
    pub fn append(&mut self, mut other: Self) {
        if self.frames.is_empty() {
            *self = other;
            return;
        }
        debug_assert!(other.written == 0, "an outbox is not written while another one goes before it");
        self.bytes += other.bytes;
        self.frames.append(&mut other.frames);
    }

    /// Drops everything but the frame that is half written, so that the stream of bytes stays whole.
    pub fn shed(&mut self) {
        self.frames.truncate(usize::from(self.written > 0));
        self.bytes = self.frames.front().map_or(0, |first| first.len() - self.written);
        self.soft_since = None;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// How many frames wait.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    const LIMITS: OutboxLimits = OutboxLimits { hard_bytes: 100, soft_bytes: 10, soft_for: Duration::from_secs(1) };

    fn frame(len: usize) -> Frame {
        Frame::raw(Bytes::from(vec![7; len]))
    }

    #[test]
    fn the_hard_limit_counts_bytes() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(frame(100), &LIMITS), Ok(()));
        assert_eq!(outbox.push(frame(1), &LIMITS), Err(Overflow));
    }

    #[test]
    fn the_soft_limit_counts_time() {
        let start = Instant::now();
        let mut outbox = Outbox::default();
        outbox.push(frame(11), &LIMITS).unwrap();
        assert_eq!(outbox.check_soft(start, &LIMITS), Ok(()));
        assert_eq!(outbox.check_soft(start + Duration::from_millis(1001), &LIMITS), Err(Overflow));
        outbox.advance(1);
        assert_eq!(outbox.check_soft(start + Duration::from_millis(1002), &LIMITS), Ok(()), "back under the limit");
        assert_eq!(outbox.soft_since, None);
    }

    proptest! {
        /// However the writes are cut, the bytes come out once and in order.
        #[test]
        fn partial_writes_lose_nothing(sizes in prop::collection::vec(0usize..40, 1..20), cuts in prop::collection::vec(1usize..50, 1..100)) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (index, size) in sizes.iter().enumerate() {
                let bytes = vec![index as u8; *size];
                expected.extend_from_slice(&bytes);
                let _ = outbox.push(Frame::raw(Bytes::from(bytes)), &LIMITS);
            }
            let mut got = Vec::new();
            for cut in cuts.iter().cycle().take(2000) {
                let mut slices = smallvec::SmallVec::new();
                outbox.slices(&mut slices, 16);
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let count = all.len().min(*cut);
                got.extend_from_slice(&all[..count]);
                drop(slices);
                if count == 0 { break; }
                outbox.advance(count);
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(outbox.bytes(), 0);
        }
    }
}
