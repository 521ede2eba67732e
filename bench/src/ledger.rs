//! What all subscribers of a run got: each one's sequence, the latencies, the counts.

use anyhow::Result;

use crate::clock::Clock;
use crate::fleet::Listener;
use crate::latency::Latency;
use crate::payload::stamps;
use crate::publisher::Published;
use crate::sequence::{Faults, Sequence};

/// The books of one fleet that listens to numbered messages. Subscriber `i` listens to channel `i % channels`.
pub(crate) struct Ledger {
    pub(crate) sequences: Vec<Sequence>,
    pub(crate) latency: Latency,
    /// Messages that a subscriber saw for the first time.
    pub(crate) delivered: u64,
    pub(crate) gaps: u64,
    clock: Clock,
}

impl Ledger {
    pub(crate) fn new(subscribers: usize, clock: Clock) -> Self {
        Self { sequences: (0..subscribers).map(|_| Sequence::new()).collect(), latency: Latency::new(), delivered: 0, gaps: 0, clock }
    }

    /// All faults of all subscribers, now that publishing is over.
    pub(crate) fn faults(&self, published: &Published) -> Faults {
        let mut sum = Faults::default();
        for (member, sequence) in self.sequences.iter().enumerate() {
            sum.add(sequence.finish(published.last[member % published.last.len()]));
        }
        sum
    }
}

impl Listener for Ledger {
    fn text(&mut self, member: usize, text: &[u8], _now_ns: u64) -> Result<()> {
        // The time is taken per text, not per turn: a turn that reads a thousand sockets takes milliseconds.
        let now_ns = self.clock.now_ns();
        let sequence = &mut self.sequences[member];
        let (latency, delivered) = (&mut self.latency, &mut self.delivered);
        stamps(text, |stamp| {
            if sequence.see(stamp.seq) {
                *delivered += 1;
                latency.record(now_ns.saturating_sub(stamp.sent_ns));
            }
        })?;
        Ok(())
    }

    fn gap(&mut self, _member: usize) {
        self.gaps += 1;
    }
}
