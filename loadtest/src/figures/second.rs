//! What happened in each second of a run: counts, and the corrected waits that ended in it, as percentiles and as a row of
//! a heat map. Bounded: a run has an end, and a second some hundred bytes.

use super::Hist;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The upper bounds of a row's cells in microseconds: five a decade from 100 µs to 1,000 s. What is longer is in a last one.
pub const HEAT_BOUNDS_US: [u64; 36] = [
    100,
    158,
    251,
    398,
    631,
    1_000,
    1_585,
    2_512,
    3_981,
    6_310,
    10_000,
    15_849,
    25_119,
    39_811,
    63_096,
    100_000,
    158_489,
    251_189,
    398_107,
    630_957,
    1_000_000,
    1_584_893,
    2_511_886,
    3_981_072,
    6_309_573,
    10_000_000,
    15_848_932,
    25_118_864,
    39_810_717,
    63_095_734,
    100_000_000,
    158_489_319,
    251_188_643,
    398_107_171,
    630_957_344,
    1_000_000_000,
];

/// One second of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Second {
    /// Tasks that the plan has for it.
    pub offered: u32,
    /// Tasks handed to the broker's client.
    pub published: u32,
    /// Tasks confirmed by the broker.
    pub confirmed: u32,
    /// Requests that arrived at executors.
    pub attempts: u32,
    /// Requests answered with success.
    pub succeeded: u32,
    /// Requests answered otherwise.
    pub failed: u32,
    /// First attempts, whose waits the following tell.
    pub first: u32,
    /// Median of the waits.
    pub wait_p50_us: u64,
    /// Their 99th percentile.
    pub wait_p99_us: u64,
    /// The longest.
    pub wait_max_us: u64,
    /// How many waits were within each bound (see `heat_bounds_us`); the last are longer than all. Cells at the end that
    /// are 0 are left out.
    pub heat: Vec<u32>,
    /// Tasks that wait in work queues, as the dispatchers say; `null` if nobody was asked.
    pub ready: Option<u64>,
    /// Tasks that dispatchers hold, under way or not.
    pub held: Option<u64>,
    /// Of these, those that have a slot.
    #[serde(default)]
    pub in_flight: Option<u64>,
    /// Slots of all dispatchers together.
    #[serde(default)]
    pub slots: Option<u64>,
}

/// Seconds, with the histogram of the current one.
#[derive(Debug, Clone, Default)]
pub(super) struct Seconds {
    all: Vec<Second>,
    current: usize,
    waits: Hist,
}

impl Seconds {
    pub(super) fn all(&self) -> &[Second] {
        &self.all
    }

    pub(super) fn at(&mut self, at: Duration) -> &mut Second {
        let n = usize::try_from(at.as_secs()).unwrap_or(0);
        if n >= self.all.len() {
            self.all.resize_with(n + 1, Second::default);
        }
        &mut self.all[n]
    }

    /// A wait that ends now. Time does not go back by more than what is under way, so an older second just counts on.
    pub(super) fn wait(&mut self, now: Duration, value: Duration) {
        let n = usize::try_from(now.as_secs()).unwrap_or(0);
        if n > self.current {
            self.read();
            self.waits.reset();
            self.current = n;
        }
        self.waits.record(value);
        let cell = HEAT_BOUNDS_US.partition_point(|bound| *bound < us(value));
        let second = self.at(now);
        second.first += 1;
        second.wait_max_us = second.wait_max_us.max(us(value));
        if second.heat.len() <= cell {
            second.heat.resize(cell + 1, 0);
        }
        second.heat[cell] += 1;
    }

    /// Reads the percentiles of the current second: at its end, and whenever somebody looks.
    pub(super) fn read(&mut self) {
        if self.waits.count() == 0 {
            return;
        }
        let (p50, p99) = (self.waits.quantile(0.5), self.waits.quantile(0.99));
        if let Some(second) = self.all.get_mut(self.current) {
            (second.wait_p50_us, second.wait_p99_us) = (us(p50), us(p99));
        }
    }
}

fn us(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
