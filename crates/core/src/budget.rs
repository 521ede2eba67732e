//! How fast something may go on: so much at once, so much each second after that.
//!
//! One number says when a budget is whole again (GCRA), so that a budget costs eight bytes and time fills it by itself.
//!
//! ```
//! use omnivox_core::budget::{Budget, Rate};
//! let (mut budget, two_a_second) = (Budget::default(), Rate::per_second(2));
//! assert!(budget.take(0, two_a_second, 2));
//! assert!(!budget.take(0, two_a_second, 1), "a second's worth is gone");
//! assert!(budget.take(500_000_000, two_a_second, 1), "half a second later there is one more");
//! ```
//!
//! Invariant: what is refused costs nothing, and no clock that is set back locks anybody out for more than a minute.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

const SECOND_NS: u64 = 1_000_000_000;
/// The largest debt beyond what may go at once, in time. Whatever is further ahead was written by a clock that has been set back since.
const DEBT_MAX_NS: u64 = 60 * SECOND_NS;

/// So much at once, so much each second after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What comes back in a second; at least 1.
    pub per_second: u64,
    /// What may go at once.
    pub burst: u64,
}

impl Rate {
    /// A second's worth may go at once.
    pub fn per_second(per_second: u64) -> Self {
        Self { per_second, burst: per_second }
    }

    fn cost_ns(self, count: u64) -> u64 {
        SECOND_NS.saturating_mul(count) / self.per_second.max(1)
    }

    /// How far ahead the end of a debt may be.
    fn horizon_ns(self, now_ns: u64) -> u64 {
        now_ns.saturating_add(self.cost_ns(self.burst)).saturating_add(DEBT_MAX_NS)
    }
}

/// What is left of a rate: the time, in nanoseconds, at which all of it is there again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// Takes `count`, if so much is left. More than goes at once goes when nothing else went, and is paid for afterwards.
    pub fn take(&mut self, now_ns: u64, rate: Rate, count: u64) -> bool {
        let cost_ns = rate.cost_ns(count);
        let whole_at_ns = self.debt_from(now_ns, rate).saturating_add(cost_ns);
        let fits = whole_at_ns <= now_ns.saturating_add(rate.cost_ns(rate.burst).max(cost_ns));
        if fits {
            self.0 = whole_at_ns.min(rate.horizon_ns(now_ns));
        }
        fits
    }

    /// Takes `count` that went already, and says whether so much was left. What was too much is owed, for a second at most.
    pub fn spend(&mut self, now_ns: u64, rate: Rate, count: u64) -> bool {
        let fits = self.take(now_ns, rate, count);
        if !fits {
            let (known_ns, second_ns) = (self.debt_from(now_ns, rate), now_ns.saturating_add(rate.cost_ns(rate.burst)) + SECOND_NS);
            self.0 = known_ns.saturating_add(rate.cost_ns(count)).min(second_ns).max(known_ns);
        }
        fits
    }

    /// Whether more was spent than there was.
    pub fn is_overdrawn(self, now_ns: u64, rate: Rate) -> bool {
        self.debt_from(now_ns, rate) > now_ns.saturating_add(rate.cost_ns(rate.burst))
    }

    /// Whether all of it is there.
    pub fn is_whole(self, now_ns: u64) -> bool {
        self.0 <= now_ns
    }

    fn debt_from(self, now_ns: u64, rate: Rate) -> u64 {
        if self.0 > rate.horizon_ns(now_ns) { now_ns } else { self.0.max(now_ns) }
    }
}

/// A budget that several threads draw on.
#[derive(Debug, Default)]
pub struct SharedBudget(AtomicU64);

impl SharedBudget {
    /// As [`Budget::take`].
    pub fn take(&self, now_ns: u64, rate: Rate, count: u64) -> bool {
        self.change(|budget| budget.take(now_ns, rate, count))
    }

    /// As [`Budget::spend`].
    pub fn spend(&self, now_ns: u64, rate: Rate, count: u64) -> bool {
        self.change(|budget| budget.spend(now_ns, rate, count))
    }

    /// Puts back what was taken, because something else said no.
    pub fn put_back(&self, rate: Rate, count: u64) {
        self.change(|budget| budget.0 = budget.0.saturating_sub(rate.cost_ns(count)));
    }

    /// As it is now.
    pub fn now(&self) -> Budget {
        Budget(self.0.load(Ordering::Relaxed))
    }

    fn change<T>(&self, mut change: impl FnMut(&mut Budget) -> T) -> T {
        let mut known = self.0.load(Ordering::Relaxed);
        loop {
            let mut budget = Budget(known);
            let result = change(&mut budget);
            match self.0.compare_exchange_weak(known, budget.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return result,
                Err(other) => known = other,
            }
        }
    }
}

/// A budget for each of many; who is quiet is forgotten.
#[derive(Debug)]
pub struct Budgets<K> {
    of: HashMap<K, Budget, foldhash::fast::RandomState>,
    sweep_at: usize,
}

/// Entries from which on those that mean nothing any more are looked for.
const SWEEP_FROM: usize = 1024;

impl<K> Default for Budgets<K> {
    fn default() -> Self {
        Self { of: HashMap::default(), sweep_at: SWEEP_FROM }
    }
}

impl<K: Eq + Hash> Budgets<K> {
    /// Takes `count` of somebody's budget, if so much is left.
    pub fn take(&mut self, whose: K, now_ns: u64, rate: Rate, count: u64) -> bool {
        if self.of.len() >= self.sweep_at {
            self.of.retain(|_, budget| !budget.is_whole(now_ns));
            self.sweep_at = SWEEP_FROM.max(self.of.len() * 2);
        }
        self.of.entry(whose).or_default().take(now_ns, rate, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_and_then_a_pace_for_each() {
        let rate = Rate { per_second: 2, burst: 3 };
        let mut budgets = Budgets::default();
        for (at_ms, who, count, fits) in [
            (1000, 1, 1, true),
            (1000, 1, 2, true),
            (1000, 1, 1, false),
            (1000, 2, 1, true),
            (1499, 1, 1, false),
            (1500, 1, 1, true),
            (1500, 1, 1, false),
            (9000, 1, 3, true),
            (9000, 1, 1, false),
            // More than a burst goes when nothing else went, and is paid for.
            (19_000, 1, 5, true),
            (19_500, 1, 1, false),
            (20_000, 1, 1, false),
            (20_500, 1, 1, true),
        ] {
            assert_eq!(budgets.take(who, at_ms * MS, rate, count), fits, "{who} at {at_ms}");
        }
    }

    /// So many at once, then so many a second, and never more over any time.
    #[test]
    fn a_rate_holds_over_any_time() {
        let (mut budget, shared, rate) = (Budget::default(), SharedBudget::default(), Rate::per_second(5));
        let taken = (0..10_000_u64).filter(|step| budget.take(step * MS, rate, 1)).count();
        assert_eq!(taken, 5 + 5 * 10 - 1, "a burst of 5, and 5 in each of 10 seconds");
        assert_eq!((0..10_000_u64).filter(|step| shared.take(step * MS, rate, 1)).count(), taken);
    }

    #[test]
    fn what_went_already_is_owed_but_not_for_ever() {
        let (budget, rate) = (SharedBudget::default(), Rate::per_second(100));
        assert!(budget.spend(0, rate, 100));
        assert!(!budget.now().is_overdrawn(0, rate));
        for _ in 0..1000 {
            assert!(!budget.spend(0, rate, 100));
        }
        assert!(budget.now().is_overdrawn(0, rate));
        assert!(budget.now().is_overdrawn(999 * MS, rate));
        assert!(!budget.now().is_overdrawn(1000 * MS, rate), "a second later it is at its end, no longer beyond it");
        assert!(budget.take(1010 * MS, rate, 1));
        budget.put_back(rate, 1);
        assert!(budget.take(1010 * MS, rate, 1));
        assert!(!budget.take(1010 * MS, rate, 1));
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let (mut budget, rate) = (Budget::default(), Rate::per_second(1));
        assert!(budget.take(3_600 * SECOND_NS, rate, 1));
        assert!(budget.take(0, rate, 1) && !budget.take(0, rate, 1), "an hour back it is whole");
        assert!(budget.take(3_600 * SECOND_NS, rate, 1_000_000), "a huge one is not owed for ever either");
        assert!(!budget.take(3_660 * SECOND_NS, rate, 1));
        assert!(budget.take(3_661 * SECOND_NS, rate, 1));
    }

    #[test]
    fn the_quiet_are_forgotten() {
        let mut budgets = Budgets::default();
        for who in 0..5000_u64 {
            assert!(budgets.take(who, who * 2 * SECOND_NS, Rate::per_second(1), 1));
        }
        assert!(budgets.of.len() <= SWEEP_FROM + 1);
    }
}
