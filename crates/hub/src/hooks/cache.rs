//! Answers that are good for a while, for whoever asks the same.
//!
//! Invariant: there are never more than allowed; a key is a fingerprint, so that no credential is kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use super::verdict::Verdict;

/// What stands for a question.
pub(crate) type Key = [u8; 32];

/// The answers of one hook.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, (Instant, Arc<Verdict>), foldhash::fast::RandomState>,
    /// In the order in which they came.
    order: VecDeque<(Instant, Key)>,
}

impl Cache {
    /// The answer to that question, if one is known and still good.
    pub(crate) fn find(&self, key: &Key, now: Instant) -> Option<Arc<Verdict>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.answers.get(key).filter(|(until, _)| now < *until).map(|(_, verdict)| verdict.clone())
    }

    /// Keeps an answer; the oldest make room.
    pub(crate) fn keep(&self, key: Key, verdict: Arc<Verdict>, now: Instant, good_for: Duration, entries_max: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + good_for;
        kept.answers.insert(key, (until, verdict));
        kept.order.push_back((until, key));
        while let Some((end, oldest)) = kept.order.front().copied()
            && (end <= now || kept.order.len() > entries_max)
        {
            kept.order.pop_front();
            // It may have been replaced by a later answer, which has its own place in the order.
            if kept.answers.get(&oldest).is_some_and(|(until, _)| *until == end) {
                kept.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_and_make_room() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let cache = Cache::default();
        let keep = |key: u8, now, seconds| cache.keep([key; 32], Arc::new(Verdict::default()), now, Duration::from_secs(seconds), 3);
        let check = |now, expected: &[u8]| {
            let found: Vec<u8> = (0..9).filter(|key| cache.find(&[*key; 32], now).is_some()).collect();
            assert_eq!(found, expected);
        };
        keep(1, at(0), 10);
        keep(2, at(1), 10);
        check(at(1), &[1, 2]);
        check(at(10), &[2]);
        keep(3, at(1), 100);
        keep(4, at(1), 100);
        check(at(1), &[2, 3, 4]);
        // A later answer to the same question lives as long as it says.
        keep(2, at(2), 100);
        keep(5, at(3), 100);
        check(at(20), &[2, 4, 5]);
        assert!(cache.0.lock().unwrap().answers.len() <= 3);
    }
}
