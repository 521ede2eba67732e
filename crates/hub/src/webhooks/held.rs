//! The ends of stays, held back for a moment: a client that comes right back was never gone.
//!
//! ```text
//! vacated ──3 s──> told           vacated ──1 s── occupied: neither is told
//! ```
//!
//! Invariant: pure; time is an argument.

use std::collections::VecDeque;
use std::hash::Hash;

use hashbrown::HashMap;
use tokio::time::Instant;

/// What is held back, by what it ends.
#[derive(Debug)]
pub(super) struct Held<K, T> {
    by_key: HashMap<K, (u64, T), foldhash::fast::RandomState>,
    /// In the order in which they were held; what was taken back in the meantime is passed over.
    order: VecDeque<(Instant, K, u64)>,
    numbers: u64,
}

impl<K, T> Default for Held<K, T> {
    fn default() -> Self {
        Self { by_key: HashMap::default(), order: VecDeque::new(), numbers: 0 }
    }
}

impl<K: Eq + Hash + Clone, T> Held<K, T> {
    /// Holds an end until then. One that is held for the same stay already makes room for it and is given back.
    pub(super) fn hold(&mut self, key: K, due: Instant, end: T) -> Option<T> {
        self.numbers += 1;
        self.order.push_back((due, key.clone(), self.numbers));
        let before = self.by_key.insert(key, (self.numbers, end));
        self.tidy();
        before.map(|(_, end)| end)
    }

    /// Takes an end back because the stay goes on.
    pub(super) fn take_back(&mut self, key: &K) -> Option<T> {
        let (_, end) = self.by_key.remove(key)?;
        self.tidy();
        Some(end)
    }

    /// What is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<T> {
        let mut ends = Vec::new();
        while let Some((_, key, number)) = self.order.pop_front_if(|(due, ..)| *due <= now) {
            if self.is_live(&key, number) {
                ends.extend(self.by_key.remove(&key).map(|(_, end)| end));
            }
        }
        ends
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.front().map(|(due, ..)| *due)
    }

    /// Everything, due or not.
    pub(super) fn all(&mut self) -> Vec<T> {
        let order = std::mem::take(&mut self.order);
        let live = order.into_iter().filter_map(|(_, key, number)| match self.by_key.get(&key) {
            Some((known, _)) if *known == number => self.by_key.remove(&key).map(|(_, end)| end),
            _ => None,
        });
        live.collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn is_live(&self, key: &K, number: u64) -> bool {
        self.by_key.get(key).is_some_and(|(known, _)| *known == number)
    }

    /// Channels that come and go all the time leave no more behind than there are ends.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.by_key.len() + 64 {
            let by_key = &self.by_key;
            self.order.retain(|(_, key, number)| by_key.get(key).is_some_and(|(known, _)| known == number));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_end_is_told_when_the_stay_did_not_go_on_in_time() {
        // `-a` ends a stay, `+a` goes on with it, a number is where the clock stands; what is told there comes behind `:`.
        let check = |story: &str| {
            let begin = Instant::now();
            let (mut held, mut now) = (Held::<String, String>::default(), begin);
            for word in story.split(' ') {
                match word.split_at(1) {
                    ("-", key) => drop(held.hold(key.into(), now + Duration::from_secs(3), key.into())),
                    ("+", key) => assert_eq!(held.take_back(&key.into()).as_deref(), Some(key), "{story}"),
                    ("/", key) => assert_eq!(held.take_back(&key.into()), None, "{story}"),
                    _ => {
                        let (at, told) = word.split_once(':').unwrap();
                        now = begin + Duration::from_millis(at.parse().unwrap());
                        assert_eq!(held.due(now).join(","), told, "{story}");
                    }
                }
            }
        };
        check("-a 2999: 3000:a 9000:");
        check("-a 2000: +a 3000: 9000:");
        check("-a 2000: +a -a 3000: 4999: 5000:a");
        check("-a 1000: -b 3000:a 4000:b");
        check("-a -b +a 3000:b");
        check("-a 1000: -a 3999: 4000:a 9000:");
        check("/a -a 3000:a /a");
    }

    #[tokio::test(start_paused = true)]
    async fn coming_and_going_leaves_nothing_behind() {
        let mut held = Held::default();
        for _ in 0..10_000 {
            held.hold("a", Instant::now() + Duration::from_secs(3), ());
            held.take_back(&"a");
        }
        assert!(held.len() == 0 && held.order.len() <= 64, "{}", held.order.len());
        held.hold("a", Instant::now(), ());
        assert_eq!((held.all().len(), held.len(), held.next_due()), (1, 0, None));
    }
}
