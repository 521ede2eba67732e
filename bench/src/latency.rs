//! Latencies in a histogram, and the percentiles that a table shows.
//!
//! Coordinated omission: at a fixed rate each message carries the time at which it was *due*, not the time at which the publisher got round to sending it,
//! so a stall of the server or of the publisher is charged to every message that it delayed. At saturation there is no schedule, and the times are plain.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies of one kind, recorded in nanoseconds with three significant digits.
#[derive(Debug, Clone)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
}

/// What is shown of a histogram, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: f64,
    /// Nine in ten were faster.
    pub p90: f64,
    /// 99 % were faster.
    pub p99: f64,
    /// 99.9 % were faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are constants that the histogram accepts");
        Self { histogram }
    }

    /// Records one latency; what is longer than two minutes counts as two minutes.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.histogram.max() as f64 / 1_000.0 }
    }
}

/// The median of some measurements, `None` of none. Of an even count the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

const LONGEST_NS: u64 = 120_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_three_digits() {
        let mut latency = Latency::new();
        for microseconds in 1..=10_000_u64 {
            latency.record(microseconds * 1_000);
        }
        let shown = latency.percentiles();
        for (got, wanted) in
            [(shown.p50, 5_000.0), (shown.p90, 9_000.0), (shown.p99, 9_900.0), (shown.p999, 9_990.0), (shown.max, 10_000.0)]
        {
            assert!((got - wanted).abs() / wanted < 0.002, "{got} for {wanted}");
        }
    }

    #[test]
    fn merged_histograms_hold_both_and_the_longest_is_capped() {
        let mut quick = Latency::new();
        quick.record(1_000);
        let mut slow = Latency::new();
        slow.record(u64::MAX);
        quick.merge(&slow);
        let shown = quick.percentiles();
        assert!((shown.p50 - 1.0).abs() < 0.01, "{shown:?}");
        assert!((shown.max / 120e6 - 1.0).abs() < 0.01, "{shown:?}");
        assert_eq!(Latency::new().percentiles(), Percentiles::default());
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
