//! Rates without locks: one 64-bit number per bucket (the generic cell rate algorithm).
//!
//! The number is the time at which the bucket would be empty again. Several threads may draw from one bucket.
//!
//! Example: with 1,000 units a second and a burst of 2,000, a bucket at rest gives 2,000 units at once and then 1,000 each second.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::FixedState;

/// A rate and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per second; zero means no limit.
    pub per_second: u64,
    /// Units that may come at once after a rest.
    pub burst: u64,
}

impl Rate {
    /// A rate whose burst is what comes in half a second, but never less than one large datagram.
    #[must_use]
    pub const fn bytes(per_second: u64) -> Self {
        let half = per_second / 2;
        Self { per_second, burst: if half < 65_536 { 65_536 } else { half } }
    }

    /// A rate of answers; twice a second's worth may come at once.
    #[must_use]
    pub const fn twice(per_second: u64) -> Self {
        Self { per_second, burst: per_second.saturating_mul(2) }
    }
}

/// One bucket; the time unit is the nanosecond.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

impl Bucket {
    /// Takes `units` if they are there.
    pub fn take(&self, millis: u64, units: u64, rate: Rate) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        let cost = units.saturating_mul(1_000_000_000) / rate.per_second;
        let window = rate.burst.saturating_mul(1_000_000_000) / rate.per_second;
        let now = millis.saturating_mul(1_000_000);
        let draw = |empty_at: u64| {
            let after = empty_at.max(now).saturating_add(cost);
            (after <= now.saturating_add(window)).then_some(after)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, draw).is_ok()
    }
}

/// A fixed number of buckets for sources that anyone can forge: unauthenticated answers per IP address.
///
/// The port doesn't count, and of an IPv6 address only the /64. Two sources may share a bucket; the seed of the hash is
/// drawn at start, so nobody can choose whom he shares with.
#[derive(Debug)]
pub struct SourceBudget {
    buckets: Box<[Bucket]>,
    hasher: FixedState,
    rate: Rate,
}

impl SourceBudget {
    /// Buckets of a budget.
    pub const BUCKETS: usize = 4096;

    /// An empty table; draw the seed at start.
    #[must_use]
    pub fn new(rate: Rate, seed: u64) -> Self {
        let buckets = (0..Self::BUCKETS).map(|_| Bucket::default()).collect();
        Self { buckets, hasher: FixedState::with_seed(seed), rate }
    }

    /// Whether one more answer may go to this source.
    pub fn take(&self, millis: u64, source: IpAddr) -> bool {
        let key = match source {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        };
        #[expect(clippy::cast_possible_truncation, reason = "any bits of the hash will do")]
        let slot = self.hasher.hash_one(key) as usize % Self::BUCKETS;
        self.buckets[slot].take(millis, 1, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 20 };
        let bucket = Bucket::default();
        let taken = |millis| (0..100).filter(|_| bucket.take(millis, 1, rate)).count();
        assert_eq!(taken(1_000), 20);
        assert_eq!(taken(1_000), 0);
        assert_eq!(taken(2_000), 10);
        assert_eq!(taken(60_000), 20, "a long rest gives no more than the burst");
        assert!(Bucket::default().take(0, u64::MAX, Rate { per_second: 0, burst: 0 }), "zero is no limit");
    }

    #[test]
    fn ports_and_interface_ids_do_not_multiply_a_source() {
        let budget = SourceBudget::new(Rate { per_second: 1, burst: 4 }, 7);
        let answers = (0..64u128).filter(|host| budget.take(0, IpAddr::V6(((0x2607_u128 << 112) | host).into()))).count();
        assert_eq!(answers, 4);
    }
}
