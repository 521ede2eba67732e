//! What waits for one webhook, and what goes out together.
//!
//! A batch takes the events that have waited longest, at most so many, and none of a channel of which a batch is under way: so each channel's
//! events arrive in order, and a receiver that chokes on one holds up that batch's channels only.
//!
//! Invariant: pure; time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashSet;
use omnivox_core::name::ChannelName;
use tokio::time::Instant;

use crate::traces::Trace;

/// Bytes of events in one body.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;
/// How many waiting events one look for a batch passes over.
const LOOK_MAX: usize = 4_096;
/// What an event costs beside its text.
const ENTRY_BYTES: usize = 168;

/// An event that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its number in the outbox.
    pub(super) number: u64,
    /// What receivers tell it from others by.
    pub(super) id: Arc<str>,
    /// Its channel.
    pub(super) channel: ChannelName,
    /// The event as the receiver will see it.
    pub(super) event: Bytes,
    /// Since when it waits.
    pub(super) since: Instant,
    /// What led to it. Not stored: who comes back after a restart finds it in the event.
    pub(super) trace: Option<Box<Trace>>,
}

impl Entry {
    /// What it holds on to, roughly.
    pub(super) fn bytes(&self) -> usize {
        let traced =
            self.trace.as_ref().map_or(0, |trace| size_of::<Trace>() + trace.context.state.as_ref().map_or(0, |state| state.len()));
        ENTRY_BYTES + traced + self.event.len() + self.id.len() + self.channel.as_str().len()
    }
}

/// Events that go out together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    number: u64,
}

/// How batches are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) batch_max: usize,
    pub(super) batch_delay: Duration,
    pub(super) concurrency_max: usize,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Send this.
    Batch(Batch),
    /// Look again then.
    At(Instant),
    /// Look again when something has changed.
    Later,
}

/// The events that wait, and those under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Entry>,
    busy: HashSet<ChannelName, foldhash::fast::RandomState>,
    /// The number of each batch under way, and since when its first event waits.
    under_way: Vec<(u64, Instant)>,
    numbers: u64,
    bytes: usize,
    count: usize,
}

impl Queue {
    /// Adds an event at the end.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.count += 1;
        self.waiting.push_back(entry);
    }

    /// The batch that is due, if one is.
    pub(super) fn next(&mut self, rule: &Rule, now: Instant) -> Next {
        if self.under_way.len() >= rule.concurrency_max {
            return Next::Later;
        }
        let Some(first) = self.waiting.iter().take(LOOK_MAX).find(|entry| !self.busy.contains(&entry.channel)) else {
            return Next::Later;
        };
        let due = first.since + rule.batch_delay;
        if due > now && self.waiting.len() < rule.batch_max {
            return Next::At(due);
        }
        let entries = self.take(rule.batch_max);
        self.numbers += 1;
        let since = entries.first().map_or(now, |entry| entry.since);
        self.under_way.push((self.numbers, since));
        self.busy.extend(entries.iter().map(|entry| entry.channel.clone()));
        Next::Batch(Batch { entries, number: self.numbers })
    }

    fn take(&mut self, most: usize) -> Vec<Entry> {
        let (mut taken, mut passed, mut bytes) = (Vec::new(), Vec::new(), 0);
        for _ in 0..LOOK_MAX {
            if taken.len() >= most {
                break;
            }
            let Some(entry) = self.waiting.pop_front() else { break };
            if self.busy.contains(&entry.channel) {
                passed.push(entry);
                continue;
            }
            if !taken.is_empty() && bytes + entry.event.len() > BATCH_BYTES_MAX {
                passed.push(entry);
                break;
            }
            bytes += entry.event.len();
            taken.push(entry);
        }
        passed.into_iter().rev().for_each(|entry| self.waiting.push_front(entry));
        taken
    }

    /// The batch is through, one way or the other.
    pub(super) fn finish(&mut self, batch: &Batch) {
        for entry in &batch.entries {
            self.bytes -= entry.bytes();
            self.count -= 1;
            self.busy.remove(&entry.channel);
        }
        self.under_way.retain(|(number, _)| *number != batch.number);
    }

    /// Gives up everything that is not under way.
    pub(super) fn clear(&mut self) -> Vec<Entry> {
        let given_up: Vec<Entry> = self.waiting.drain(..).collect();
        self.count -= given_up.len();
        self.bytes -= given_up.iter().map(Entry::bytes).sum::<usize>();
        given_up
    }

    /// How many events there are, those under way included.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// What they hold on to.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let under_way = self.under_way.iter().map(|(_, since)| *since);
        under_way.chain(self.waiting.front().map(|entry| entry.since)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { batch_max: 3, batch_delay: Duration::from_millis(100), concurrency_max: 2 };

    fn queue(events: &str, now: Instant) -> Queue {
        let mut queue = Queue::default();
        for (number, event) in events.split_whitespace().enumerate() {
            let channel = ChannelName::parse(&event[..1]).unwrap();
            queue.push(Entry { number: number as u64, id: event.into(), channel, event: event.to_owned().into(), since: now, trace: None });
        }
        queue
    }

    fn ids(batch: &Batch) -> String {
        batch.entries.iter().map(|entry| &*entry.id).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_never_in_two_batches_at_once() {
        let now = Instant::now();
        let mut queue = queue("a1 a2 b1 a3 c1 b2", now);
        let Next::Batch(first) = queue.next(&RULE, now) else { panic!("as many as a batch holds wait") };
        assert_eq!(ids(&first), "a1 a2 b1");
        assert!(matches!(queue.next(&RULE, now), Next::Batch(batch) if ids(&batch) == "c1"), "a3 and b2 wait behind the first batch");
        assert!(matches!(queue.next(&RULE, now), Next::Later), "two are under way");
        queue.finish(&first);
        assert_eq!(queue.count(), 3);
        assert!(matches!(queue.next(&RULE, now), Next::At(due) if due == now + RULE.batch_delay));
        assert!(matches!(queue.next(&RULE, now + RULE.batch_delay), Next::Batch(batch) if ids(&batch) == "a3 b2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_bounded_and_what_is_held_is_counted() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for id in ["a1", "a2", "b1"] {
            let channel = ChannelName::parse(&id[..1]).unwrap();
            queue.push(Entry {
                number: 0,
                id: id.into(),
                channel,
                event: vec![b'x'; BATCH_BYTES_MAX / 2 + 1].into(),
                since: now,
                trace: None,
            });
        }
        let held = queue.bytes();
        let Next::Batch(first) = queue.next(&RULE, now) else { panic!("a full batch waits") };
        assert_eq!(ids(&first), "a1", "two would be too many bytes, and the next one must not overtake");
        assert_eq!(queue.bytes(), held);
        queue.finish(&first);
        assert!(queue.bytes() < held && queue.oldest() == Some(now));
        assert_eq!((queue.clear().len(), queue.bytes(), queue.count(), queue.oldest()), (2, 0, 0, None));
    }
}
