//! The circuit breaker: a back end that fails again and again is left alone for a while, then tried with one request.
//!
//! ```text
//! closed ── failures in a row ──> open ── pause over ──> half-open (one request)
//!    ^                              ^                        │
//!    └──────── it succeeds ─────────┼────────────────────────┤
//!                                   └────── it fails ────────┘
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The breaker of one back end.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(State::Closed { failures: 0 }))
    }
}

impl Breaker {
    /// Whether a request would be refused now.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        match *self.lock() {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::HalfOpen => true,
        }
    }

    /// Lets a request through, or not. Whoever is let through says later how it went.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => true,
            State::Open { until } if now >= until => {
                *state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => false,
        }
    }

    /// A request was answered. Whether that closed the breaker.
    pub(crate) fn succeeded(&self) -> bool {
        let mut state = self.lock();
        // What was sent before it opened says nothing of how the back end is now.
        if matches!(*state, State::Open { .. }) {
            return false;
        }
        let closed = matches!(*state, State::HalfOpen);
        *state = State::Closed { failures: 0 };
        closed
    }

    /// A request failed. Whether that opened the breaker.
    pub(crate) fn failed(&self, now: Instant, failures_max: u32, pause: Duration) -> bool {
        let mut state = self.lock();
        let failures = match *state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen => failures_max,
            State::Open { .. } => return false,
        };
        let opens = failures >= failures_max;
        *state = if opens { State::Open { until: now + pause } } else { State::Closed { failures } };
        opens
    }

    /// 0 closed, 1 half-open, 2 open.
    pub(crate) fn state(&self) -> u64 {
        match *self.lock() {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_by_one_success() {
        let start = Instant::now();
        let breaker = Breaker::default();
        // At each second: what happens, whether a request is let through before it, the state after it.
        let check = |second: u64, what: &str, admitted: bool, state: u64| {
            let now = start + Duration::from_secs(second);
            assert_eq!(breaker.admits(now), admitted, "{what} at {second} s");
            match what {
                "fails" => drop(breaker.failed(now, 3, Duration::from_secs(5))),
                "succeeds" => drop(breaker.succeeded()),
                _ => {}
            }
            assert_eq!(breaker.state(), state, "{what} at {second} s");
        };
        check(0, "fails", true, 0);
        check(0, "fails", true, 0);
        check(1, "succeeds", true, 0);
        check(2, "fails", true, 0);
        check(2, "fails", true, 0);
        check(2, "fails", true, 2);
        check(3, "", false, 2);
        // One that was sent before.
        check(4, "succeeds", false, 2);
        check(4, "fails", false, 2);
        check(7, "", true, 1);
        check(7, "", false, 1);
        // A third one is refused while the probe is out, then the probe fails.
        check(8, "fails", false, 2);
        check(13, "succeeds", true, 0);
        check(13, "", true, 0);
    }
}
