//! How fast sessions may signal: so many at once, so many each second after that.
//!
//! One number per session says when its budget is whole again; a session whose budget is whole needs no entry, so the table holds only those
//! that signalled within the last seconds and forgets the others by itself.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use omnivox_core::{Limits, SessionId};

/// Entries from which on those that mean nothing any more are looked for.
const SWEEP_FROM: usize = 1024;

/// The budgets of the sessions that signal.
#[derive(Debug, Default)]
pub(crate) struct Bursts {
    budgets: Mutex<Budgets>,
}

#[derive(Debug, Default)]
struct Budgets {
    /// In microseconds: when the budget is whole again.
    whole_at_us: HashMap<SessionId, u64, foldhash::fast::RandomState>,
    sweep_at: usize,
}

impl Bursts {
    /// Whether the session may signal once more now.
    pub(crate) fn take(&self, session: SessionId, now_ms: u64, limits: &Limits) -> bool {
        let now_us = now_ms.saturating_mul(1000);
        let cost_us = 1_000_000 / limits.signals_per_second_max.max(1) as u64;
        let tolerance_us = cost_us.saturating_mul(limits.signals_burst_max as u64);
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.sweep(now_us);
        let whole_at_us = budgets.whole_at_us.entry(session).or_insert(now_us);
        let next_us = (*whole_at_us).max(now_us) + cost_us;
        let fits = next_us <= now_us + tolerance_us;
        if fits {
            *whole_at_us = next_us;
        }
        fits
    }
}

impl Budgets {
    fn sweep(&mut self, now_us: u64) {
        if self.whole_at_us.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.whole_at_us.retain(|_, whole_at_us| *whole_at_us > now_us);
            self.sweep_at = self.whole_at_us.len() * 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(slot: u32) -> SessionId {
        SessionId { node: 1, shard: 0, slot, generation: 0 }
    }

    #[test]
    fn a_burst_and_then_a_pace() {
        let limits = Limits { signals_burst_max: 3, signals_per_second_max: 2, ..Limits::default() };
        let bursts = Bursts::default();
        for (at_ms, who, fits) in [
            (1000, 1, true),
            (1000, 1, true),
            (1000, 1, true),
            (1000, 1, false),
            (1000, 2, true),
            (1499, 1, false),
            (1500, 1, true),
            (1500, 1, false),
            (9000, 1, true),
            (9000, 1, true),
            (9000, 1, true),
            (9000, 1, false),
        ] {
            assert_eq!(bursts.take(session(who), at_ms, &limits), fits, "session {who} at {at_ms}");
        }
    }

    #[test]
    fn sessions_that_are_quiet_are_forgotten() {
        let (limits, bursts) = (Limits::default(), Bursts::default());
        for slot in 0..5000_u32 {
            assert!(bursts.take(session(slot), u64::from(slot) * 1000, &limits));
        }
        assert!(bursts.budgets.lock().unwrap().whole_at_us.len() <= SWEEP_FROM + 1);
    }
}
