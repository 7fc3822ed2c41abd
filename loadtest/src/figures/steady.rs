//! When a run has become steady, and how sure its figures are. Both are drawn from the ledger after the run: the warm-up
//! by MSER-5 (White, 1997: the cut that makes the standard error of the rest the smallest), intervals by batch means.

use super::Hist;
use crate::ledger::Record;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Observations in the smallest batch.
const FIVE: usize = 5;
/// Batches at most: two are made one when there are more.
const BATCHES_MAX: usize = 8192;
/// Batches that an interval is made from.
const GROUPS: usize = 20;
/// The 97.5th percentile of Student's distribution with 19 degrees of freedom.
const T_19: f64 = 2.093;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The figure.
    pub value_us: f64,
    /// The lower end of the interval.
    pub low_us: f64,
    /// Its upper end.
    pub high_us: f64,
}

/// What the run came to when it was steady.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steady {
    /// Tasks before it was.
    pub warm_up_tasks: u64,
    /// The intended moment of the first task after them.
    pub warm_up_s: f64,
    /// Whether the warm-up ended in the first half. If not, the run was too short, or never became steady.
    pub reached: bool,
    /// Tasks after the warm-up.
    pub tasks: u64,
    /// The mean corrected wait of these.
    pub wait_mean: Option<Estimate>,
    /// The 99th percentile of their corrected waits.
    pub wait_p99: Option<Estimate>,
}

/// Means of batches whose size doubles when there are too many: what MSER-5 looks at, in bounded memory.
#[derive(Debug, Clone)]
struct Batches {
    size: usize,
    means: Vec<f64>,
    sum: f64,
    in_hand: usize,
}

impl Batches {
    fn new() -> Self {
        Self { size: FIVE, means: Vec::new(), sum: 0.0, in_hand: 0 }
    }

    fn push(&mut self, value: f64) {
        self.sum += value;
        self.in_hand += 1;
        if self.in_hand < self.size {
            return;
        }
        self.means.push(self.sum / self.size as f64);
        (self.sum, self.in_hand) = (0.0, 0);
        if self.means.len() == BATCHES_MAX {
            self.means = self.means.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            self.size *= 2;
        }
    }

    /// Batches that belong to the warm-up: the d for which the variance of the rest over (n - d)^2 is least. Looked for in
    /// all but the last five batches, where a handful of values would look steady by chance.
    fn cut(&self) -> usize {
        let n = self.means.len();
        let (mut sum, mut squares) = (0.0, 0.0);
        let mut best = (f64::INFINITY, 0);
        for (d, mean) in self.means.iter().enumerate().rev() {
            sum += mean;
            squares += mean * mean;
            let rest = (n - d) as f64;
            if n - d <= FIVE {
                continue;
            }
            let statistic = (squares - sum * sum / rest).max(0.0) / (rest * rest);
            if statistic <= best.0 {
                best = (statistic, d);
            }
        }
        best.1
    }
}

/// The corrected wait of a task that was not delayed and has been seen.
fn wait(record: &Record) -> Option<Duration> {
    let wait = record.first.get()?.saturating_sub(record.intended.get()?);
    (!record.is_delayed()).then_some(wait)
}

/// Looks at all tasks in their order. `each` must give the same ones each time; `None` if there are too few.
pub fn steady<'a, I: Iterator<Item = &'a Record>>(each: impl Fn() -> I) -> Option<Steady> {
    let waits = || each().filter_map(|record| Some((record, wait(record)?)));
    let mut batches = Batches::new();
    for (_, wait) in waits() {
        batches.push(wait.as_secs_f64() * 1e6);
    }
    let n = batches.means.len();
    if n < 2 * GROUPS {
        return None;
    }
    let cut = batches.cut();
    let skipped = cut * batches.size;
    let start = waits().nth(skipped).and_then(|(record, _)| record.intended.get()).unwrap_or_default();
    let rest = waits().count() - skipped;
    let size = rest / GROUPS;
    let mut groups = vec![Hist::default(); GROUPS];
    let mut all = Hist::default();
    for (i, (_, wait)) in waits().skip(skipped).enumerate() {
        all.record(wait);
        if let Some(group) = i.checked_div(size).and_then(|g| groups.get_mut(g)) {
            group.record(wait);
        }
    }
    let us = |d: Duration| d.as_secs_f64() * 1e6;
    let estimate = |value: f64, of: &dyn Fn(&Hist) -> f64| interval(value, &groups.iter().map(of).collect::<Vec<_>>());
    // A p99 of a batch needs some values beyond it.
    let p99 = (size >= 500).then(|| estimate(us(all.quantile(0.99)), &|hist| us(hist.quantile(0.99))));
    Some(Steady {
        warm_up_tasks: skipped as u64,
        warm_up_s: start.as_secs_f64(),
        reached: cut <= n / 2,
        tasks: rest as u64,
        wait_mean: (size > 0).then(|| estimate(all.mean_us(), &Hist::mean_us)),
        wait_p99: p99,
    })
}

/// The 95 % interval around a figure, from the same figure of 20 batches.
fn interval(value: f64, batches: &[f64]) -> Estimate {
    let n = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / n;
    let variance = batches.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = T_19 * (variance / n).sqrt();
    Estimate { value_us: value, low_us: (value - half).max(0.0), high_us: value + half }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{draw::Draw, ledger::Tick};

    /// Waits of `later` ms on average, with a warm-up of `first` ms for so many tasks.
    fn records(n: u64, warm: u64, first: f64, later: f64) -> Vec<Record> {
        let draw = Draw::new(9);
        let record = |i: u64| {
            let mean = if i < warm { first } else { later };
            let wait = -mean * (1.0 - draw.at(i).unit()).ln();
            let intended = Duration::from_millis(i);
            Record {
                intended: Tick::at(intended),
                first: Tick::at(intended + Duration::from_secs_f64(wait / 1e3)),
                ..Record::default()
            }
        };
        (0..n).map(record).collect()
    }

    #[test]
    fn a_warm_up_is_found_and_left_out() {
        let records = records(20_000, 2_000, 500.0, 10.0);
        let steady = steady(|| records.iter()).unwrap();
        assert!((1_900..2_300).contains(&steady.warm_up_tasks), "{steady:?}");
        assert!(steady.reached && (1.9..2.3).contains(&steady.warm_up_s), "{steady:?}");
        let mean = steady.wait_mean.unwrap();
        assert!(mean.low_us < 10_000.0 && 10_000.0 < mean.high_us && mean.high_us - mean.low_us < 1_000.0, "{mean:?}");
        // The p99 of an exponential distribution is ln 100 times its mean.
        let p99 = steady.wait_p99.unwrap();
        assert!(p99.low_us < 46_052.0 && 46_052.0 < p99.high_us, "{p99:?}");
    }

    #[test]
    fn a_steady_run_has_no_warm_up_to_speak_of() {
        let records = records(200_000, 0, 0.0, 10.0);
        let steady = steady(|| records.iter()).unwrap();
        assert!(steady.reached && steady.warm_up_tasks < 40_000, "{steady:?}");
    }

    #[test]
    fn a_queue_that_only_grows_is_never_steady() {
        let grow = |i: u64| Record {
            intended: Tick::at(Duration::from_millis(i)),
            first: Tick::at(Duration::from_millis(2 * i)),
            ..Record::default()
        };
        let records = (0..10_000).map(grow).collect::<Vec<_>>();
        assert!(!steady(|| records.iter()).unwrap().reached);
        assert!(steady(|| records.iter().take(100)).is_none());
    }
}
