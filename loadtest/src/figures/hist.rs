//! Latencies in a histogram of three digits, in microseconds, up to a day. It keeps no single values.

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Values that are needed for one beyond the 99.99th percentile to mean something: ten of them.
const TAIL_SAMPLES: u64 = 100_000;
const DAY_US: u64 = 86_400_000_000;

/// A histogram.
#[derive(Debug, Clone)]
pub struct Hist(Histogram<u32>);

impl Default for Hist {
    fn default() -> Self {
        // It grows with its largest value, so that one that is never used costs little.
        Self(Histogram::new(3).expect("three digits are within what the crate takes"))
    }
}

/// A histogram's figures, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Values.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half of them are at most this.
    pub p50_us: u64,
    /// 75th percentile.
    pub p75_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// 99.99th percentile; only of 100,000 values and more.
    pub p9999_us: Option<u64>,
    /// The largest.
    pub max_us: u64,
}

impl Hist {
    /// Adds a value.
    pub fn record(&mut self, value: Duration) {
        let us = u64::try_from(value.as_micros()).unwrap_or(DAY_US).min(DAY_US);
        self.0.record(us).expect("it grows up to a day, and that is less than what the crate takes");
    }

    /// Adds all values of another.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("it grows up to a day, and the other has no more");
    }

    /// How many values it has.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that this share of all are at most; zero without values.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share) })
    }

    /// The largest value.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// Its mean in microseconds; 0 without values.
    pub fn mean_us(&self) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.mean() }
    }

    /// Its figures; `None` without values.
    pub fn summary(&self) -> Option<Summary> {
        let at = |share: f64| self.0.value_at_quantile(share);
        (!self.0.is_empty()).then(|| Summary {
            count: self.count(),
            mean_us: (self.0.mean() * 10.0).round() / 10.0,
            p50_us: at(0.5),
            p75_us: at(0.75),
            p90_us: at(0.9),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: (self.count() >= TAIL_SAMPLES).then(|| at(0.9999)),
            max_us: self.0.max(),
        })
    }

    /// Every bucket that has values: its highest value in microseconds, and how many. Enough to draw the curve, to add
    /// histograms up, and to compare them.
    pub fn buckets(&self) -> Vec<(u64, u64)> {
        self.0
            .iter_recorded()
            .map(|step| (self.0.highest_equivalent(step.value_iterated_to()), step.count_since_last_iteration()))
            .collect()
    }

    /// From buckets.
    pub fn from_buckets(buckets: &[(u64, u64)]) -> Self {
        let mut hist = Self::default();
        for (value, count) in buckets {
            let count = u32::try_from(*count).unwrap_or(u32::MAX);
            hist.0.record_n((*value).min(DAY_US), count).expect("it grows up to a day");
        }
        hist
    }

    /// Takes all values out.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_three_digits_and_buckets_keep_them() {
        let mut hist = Hist::default();
        assert_eq!((hist.summary(), hist.quantile(0.5)), (None, Duration::ZERO));
        for us in 1..=100_000 {
            hist.record(Duration::from_micros(us));
        }
        let summary = hist.summary().unwrap();
        let near = |got: u64, wanted: f64| (got as f64 / wanted - 1.0).abs() < 0.001;
        assert!(near(summary.p50_us, 50_000.0) && near(summary.p999_us, 99_900.0), "{summary:?}");
        assert!(summary.p9999_us.is_some_and(|us| near(us, 99_990.0)));
        let again = Hist::from_buckets(&hist.buckets()).summary().unwrap();
        assert_eq!((again.count, again.p50_us, again.p999_us), (summary.count, summary.p50_us, summary.p999_us));
    }

    #[test]
    fn a_tail_of_too_few_values_is_not_told() {
        let mut hist = Hist::default();
        for _ in 0..99_999 {
            hist.record(Duration::from_millis(1));
        }
        assert_eq!(hist.summary().unwrap().p9999_us, None);
        hist.record(Duration::from_secs(1_000_000));
        let max_s = hist.summary().unwrap().max_us / 1_000_000;
        assert!((86_400..86_500).contains(&max_s), "{max_s}");
    }
}
