//! A hashed timer wheel: one for each shard, for pings, idle times and everything else that is rarely due.
//!
//! Time is counted in ticks that the caller chooses. An entry goes into the slot of its tick modulo the number of slots; a slot that comes
//! round gives up the entries that are due and keeps those of later rounds. Scheduling is a push; there is no cancelling: an entry that is
//! no longer wanted is recognised by its owner when it fires, and an owner keeps at most one entry.

/// Entries of type `T` by their tick.
#[derive(Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    /// The next tick to look at.
    next: u64,
    len: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel with that many slots, standing before tick 0.
    pub fn new(slots: usize) -> Self {
        Self { slots: (0..slots.max(1)).map(|_| Vec::new()).collect(), next: 0, len: 0 }
    }

    /// Puts an entry in. One whose tick has passed fires with the next tick.
    pub fn schedule(&mut self, tick: u64, entry: T) {
        let tick = tick.max(self.next);
        let slot = self.slot(tick);
        self.slots[slot].push((tick, entry));
        self.len += 1;
    }

    /// Takes out all entries that are due up to and with `tick`, in no particular order within one turn of the wheel.
    pub fn advance(&mut self, tick: u64, due: &mut Vec<T>) {
        if tick < self.next {
            return;
        }
        let slots = self.slots.len() as u64;
        for step in 0..(tick - self.next + 1).min(slots) {
            let slot = self.slot(self.next + step);
            let entries = &mut self.slots[slot];
            let mut index = 0;
            while index < entries.len() {
                if entries[index].0 <= tick {
                    due.push(entries.swap_remove(index).1);
                    self.len -= 1;
                } else {
                    index += 1;
                }
            }
            if entries.is_empty() && entries.capacity() > 64 {
                *entries = Vec::new();
            }
        }
        self.next = tick + 1;
    }

    /// The next tick at which something may be due: exact within one turn, else the end of the turn.
    pub fn next_tick(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        let slots = self.slots.len() as u64;
        let found = (self.next..self.next + slots).find(|tick| self.slots[self.slot(*tick)].iter().any(|(due, _)| due == tick));
        Some(found.unwrap_or(self.next + slots))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot(&self, tick: u64) -> usize {
        (tick % self.slots.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every entry fires once, at the first advance that reaches its tick; waking only at `next_tick` misses none.
        #[test]
        fn entries_fire_when_due(entries in prop::collection::vec(0u64..200, 0..50), slots in 1usize..40) {
            let mut wheel = Wheel::new(slots);
            for tick in &entries {
                wheel.schedule(*tick, *tick);
            }
            let mut fired = Vec::new();
            while let Some(tick) = wheel.next_tick() {
                let before = fired.len();
                wheel.advance(tick, &mut fired);
                prop_assert!(fired[before..].iter().all(|due| *due == tick), "woke late for {:?} at {tick}", &fired[before..]);
            }
            let mut expected = entries;
            expected.sort_unstable();
            prop_assert_eq!(fired, expected);
            prop_assert!(wheel.is_empty());
        }
    }
}
