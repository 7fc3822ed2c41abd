//! Histograms that remember, for each bucket, a task that was counted there: an exemplar. An observation is two atomic
//! additions, and rarely more; what is exposed is made when somebody asks.
//!
//! `_count` is the sum of the buckets, so the two never disagree. The sum may be an observation ahead or behind.

use prometheus::{
    core::{Collector, Desc},
    proto::{Bucket, Histogram as Sampled, LabelPair, Metric, MetricFamily, MetricType},
};
use quebert_dispatcher::trace::TraceId;
use quebert_wire::TaskId;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// One whom a bucket counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    pub(crate) task: TaskId,
    pub(crate) trace: Option<TraceId>,
    pub(crate) value: f64,
}

/// One series. Whole numbers are counted as such, and time in nanoseconds, so that a sum is one addition.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// Upper bounds in counted units, ascending.
    bounds: Vec<u64>,
    /// One more than bounds: the last takes what is beyond.
    buckets: Vec<Cell>,
    sum: AtomicU64,
    /// Counted units in one of the unit that is exposed.
    scale: f64,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    /// How much the kept exemplar is worth: nothing since it was exposed, or there is none.
    worth: AtomicU8,
    kept: Mutex<Option<Exemplar>>,
}

const NANOS: f64 = 1e9;

impl Histogram {
    fn new(bounds: &[f64], scale: f64) -> Self {
        Self {
            bounds: bounds.iter().map(|bound| (bound * scale).round() as u64).collect(),
            buckets: (0..=bounds.len()).map(|_| Cell::default()).collect(),
            sum: AtomicU64::new(0),
            scale,
        }
    }

    pub(crate) fn time(&self, time: Duration) {
        self.count(nanos(time));
    }

    /// Time that was spent on a task.
    pub(crate) fn time_of(&self, time: Duration, task: &TaskId, trace: Option<TraceId>) {
        self.count_of(nanos(time), task, trace);
    }

    /// A number that tells of a task.
    pub(crate) fn count_of(&self, n: u64, task: &TaskId, trace: Option<TraceId>) {
        let cell = self.count(n);
        // The first one since the last exposition is kept, but a task with a trace takes the place of one without.
        let worth = 1 + u8::from(trace.is_some());
        if cell.worth.load(Relaxed) < worth {
            cell.worth.store(worth, Relaxed);
            let exemplar = Exemplar { task: task.clone(), trace, value: n as f64 / self.scale };
            *cell.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(exemplar);
        }
    }

    fn count(&self, n: u64) -> &Cell {
        let at = self.bounds.iter().position(|bound| n <= *bound).unwrap_or(self.bounds.len());
        let cell = &self.buckets[at];
        cell.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(n, Relaxed);
        cell
    }

    /// Of each bucket, the one beyond the bounds last. From now on others are wanted.
    fn exemplars(&self) -> Vec<Option<Exemplar>> {
        let take = |cell: &Cell| {
            cell.worth.store(0, Relaxed);
            cell.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.buckets.iter().map(take).collect()
    }

    fn sample(&self) -> Sampled {
        let mut so_far = 0;
        let mut count = |cell: &Cell| {
            so_far += cell.count.load(Relaxed);
            so_far
        };
        let bucket = |(bound, n): (&u64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / self.scale);
            bucket.set_cumulative_count(n);
            bucket
        };
        let counts: Vec<u64> = self.buckets.iter().map(&mut count).collect();
        let mut sampled = Sampled::default();
        sampled.set_bucket(self.bounds.iter().zip(counts).map(bucket).collect());
        sampled.set_sample_count(so_far);
        sampled.set_sample_sum(self.sum.load(Relaxed) as f64 / self.scale);
        sampled
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The series of one metric, by the values of its labels.
#[derive(Clone)]
pub(crate) struct Histograms(Arc<Family>);

struct Family {
    desc: Desc,
    /// In the order in which values are given.
    labels: Vec<&'static str>,
    bounds: Vec<f64>,
    scale: f64,
    series: Mutex<BTreeMap<Vec<String>, Arc<Histogram>>>,
}

impl Histograms {
    /// `seconds` says that time is counted, and else whole numbers are.
    pub(crate) fn new(desc: Desc, labels: Vec<&'static str>, bounds: Vec<f64>, seconds: bool) -> Self {
        let scale = if seconds { NANOS } else { 1.0 };
        Self(Arc::new(Family { desc, labels, bounds, scale, series: Mutex::default() }))
    }

    pub(crate) fn of(&self, values: &[&str]) -> Arc<Histogram> {
        let key: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        let new = || Arc::new(Histogram::new(&self.0.bounds, self.0.scale));
        self.0.lock().entry(key).or_insert_with(new).clone()
    }

    /// The exemplars of the series with these labels, by bucket.
    pub(crate) fn exemplars(&self, labels: &[LabelPair]) -> Vec<Option<Exemplar>> {
        let value = |name: &&'static str| labels.iter().find(|l| l.name() == *name).map(|l| l.value().to_owned());
        let key: Option<Vec<String>> = self.0.labels.iter().map(value).collect();
        let series = key.and_then(|key| self.0.lock().get(&key).cloned());
        series.map(|series| series.exemplars()).unwrap_or_default()
    }
}

impl Family {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vec<String>, Arc<Histogram>>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metric(&self, values: &[String], histogram: &Histogram) -> Metric {
        let pair = |(name, value): (&&str, &String)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.clone());
            pair
        };
        let mut pairs: Vec<LabelPair> = self.labels.iter().zip(values).map(pair).collect();
        pairs.sort_by(|a, b| a.name().cmp(b.name()));
        let mut metric = Metric::from_label(pairs);
        metric.set_histogram(histogram.sample());
        metric
    }
}

impl Collector for Histograms {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.0.desc.fq_name.clone());
        family.set_help(self.0.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(self.0.lock().iter().map(|(values, series)| self.0.metric(values, series)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(n: u8) -> Option<TraceId> {
        Some(TraceId([n; 16]))
    }

    #[test]
    fn a_bucket_holds_what_is_not_above_its_bound() {
        let histogram = Histogram::new(&[0.001, 0.25], NANOS);
        for time in [0, 1, 250, 251] {
            histogram.time(Duration::from_millis(time));
        }
        let sampled = histogram.sample();
        let counts: Vec<_> = sampled.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        assert_eq!(counts, [(0.001, 2), (0.25, 3)]);
        assert_eq!((sampled.get_sample_count(), sampled.get_sample_sum()), (4, 0.502));
    }

    #[test]
    fn the_first_since_the_last_look_is_kept_and_one_with_a_trace_before_one_without() {
        let histogram = Histogram::new(&[10.0], 1.0);
        let task = |id| TaskId::new(id).unwrap();
        let kept = |histogram: &Histogram| histogram.exemplars()[0].as_ref().map(|e| e.task.to_string());
        assert_eq!(kept(&histogram), None);
        histogram.count_of(1, &task("plain"), None);
        histogram.count_of(2, &task("traced"), trace(1));
        histogram.count_of(3, &task("late"), trace(2));
        assert_eq!(kept(&histogram).unwrap(), "traced");
        assert_eq!(kept(&histogram).unwrap(), "traced", "it stays until there is another one");
        histogram.count_of(4, &task("next"), None);
        assert_eq!(kept(&histogram).unwrap(), "next");
        assert_eq!(histogram.exemplars()[1], None, "nothing was beyond the bounds");
    }
}
