//! From the samples of some dispatchers at two moments to the figures that are shown. It reads no clock and asks nobody.

use super::text::{Sample, Samples};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Of all dispatchers together.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Figures {
    pub(super) queues: Vec<Queue>,
    pub(super) destinations: Vec<Destination>,
    /// Dispatchers that say that they are ready.
    pub(super) ready: usize,
    /// Dispatchers that answered.
    pub(super) answered: usize,
    /// Their CPU, in cores.
    pub(super) cores: f64,
    pub(super) resident_bytes: f64,
}

/// Of one queue. Rates are per second; what is not known yet is `None`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) waiting: f64,
    pub(super) head_age: Duration,
    pub(super) delivered: f64,
    pub(super) succeeded: f64,
    pub(super) retried: f64,
    pub(super) dead: f64,
    pub(super) in_flight: f64,
    pub(super) limit: f64,
    pub(super) wait_p50: Option<f64>,
    pub(super) wait_p99: Option<f64>,
    pub(super) dead_letters: f64,
}

/// Of one destination.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) attempts: f64,
    pub(super) errors: f64,
    pub(super) p99: Option<f64>,
    pub(super) in_flight: f64,
    pub(super) limit: f64,
    pub(super) silent: bool,
}

/// The samples of each dispatcher before and now.
pub(super) type Pairs<'a> = &'a [(&'a Samples, &'a Samples)];

impl Figures {
    /// `over` lies between the two moments.
    pub(super) fn of(pairs: Pairs<'_>, over: Duration) -> Self {
        let view = View { pairs, seconds: over.as_secs_f64().max(0.001) };
        let queues = view.values("quebert_queue_concurrency_limit", "queue");
        let destinations = view.values("quebert_destination_in_flight", "destination");
        let mut destinations: Vec<_> = destinations.iter().map(|name| view.destination(name)).collect();
        // Those that fail come first, then those that get most.
        destinations.sort_by(|a, b| {
            let key = |d: &Destination| (d.silent, d.errors, d.attempts);
            key(b).partial_cmp(&key(a)).unwrap_or(std::cmp::Ordering::Equal)
        });
        Self {
            queues: queues.iter().map(|name| view.queue(name)).collect(),
            destinations,
            ready: pairs.iter().filter(|(_, now)| now.sum("quebert_ready", |_| true) > 0.0).count(),
            answered: pairs.len(),
            cores: view.rate("process_cpu_seconds_total", |_| true),
            resident_bytes: view.sum("process_resident_memory_bytes", |_| true),
        }
    }
}

struct View<'a> {
    pairs: Pairs<'a>,
    seconds: f64,
}

impl View<'_> {
    fn queue(&self, name: &str) -> Queue {
        let of = |s: &Sample| s.label("queue") == name;
        let settled = |result: &'static str| {
            self.rate("quebert_settlements_total", move |s| of(s) && s.label("result") == result)
        };
        let wait = self.buckets("quebert_task_wait_seconds_bucket", of);
        Queue {
            name: name.to_owned(),
            // Every dispatcher says the same of what lies in the broker.
            waiting: self.max("quebert_queue_ready_messages", of),
            head_age: Duration::try_from_secs_f64(self.max("quebert_queue_head_age_seconds", of)).unwrap_or_default(),
            dead_letters: self.max("quebert_dead_letter_messages", of),
            delivered: self.rate("quebert_deliveries_total", of),
            succeeded: settled("succeeded"),
            dead: settled("dead_lettered"),
            retried: self.rate("quebert_retries_scheduled_total", of),
            in_flight: self.sum("quebert_tasks_in_flight", of),
            limit: self.sum("quebert_queue_concurrency_limit", of),
            wait_p50: quantile(&wait, 0.5),
            wait_p99: quantile(&wait, 0.99),
        }
    }

    fn destination(&self, name: &str) -> Destination {
        let of = |s: &Sample| s.label("destination") == name;
        let attempts = "quebert_dispatch_attempts_total";
        Destination {
            name: name.to_owned(),
            attempts: self.rate(attempts, of),
            errors: self.rate(attempts, |s| of(s) && s.label("outcome") != "2xx"),
            p99: quantile(&self.buckets("quebert_dispatch_duration_seconds_bucket", of), 0.99),
            in_flight: self.sum("quebert_destination_in_flight", of),
            limit: self.sum("quebert_destination_concurrency_limit", of),
            silent: self.max("quebert_destination_circuit_open", of) > 0.0,
        }
    }

    fn values(&self, name: &str, label: &str) -> BTreeSet<String> {
        let samples = self.pairs.iter().flat_map(|(_, now)| now.of(name));
        samples.map(|sample| sample.label(label).to_owned()).collect()
    }

    fn sum(&self, name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
        self.pairs.iter().map(|(_, now)| now.sum(name, &fits)).sum()
    }

    fn max(&self, name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
        let samples = self.pairs.iter().flat_map(|(_, now)| now.of(name)).filter(|sample| fits(sample));
        samples.map(|sample| sample.value).fold(0.0, f64::max)
    }

    /// A second. A counter that fell was begun anew, and all of it is new.
    fn rate(&self, name: &str, fits: impl Fn(&Sample) -> bool) -> f64 {
        let grown = |(before, now): &(&Samples, &Samples)| grown(before.sum(name, &fits), now.sum(name, &fits));
        self.pairs.iter().map(grown).sum::<f64>() / self.seconds
    }

    /// What was counted in each bucket and those below it, between the two moments, by upper bound.
    fn buckets(&self, name: &str, fits: impl Fn(&Sample) -> bool) -> Vec<(f64, f64)> {
        let mut all: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for (before, now) in self.pairs {
            for sample in now.of(name).iter().filter(|sample| fits(sample)) {
                let le = sample.label("le");
                let was: f64 =
                    before.of(name).iter().filter(|old| old.labels == sample.labels).map(|old| old.value).sum();
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap_or(f64::INFINITY) };
                all.entry(le.to_owned()).or_insert((bound, 0.0)).1 += grown(was, sample.value);
            }
        }
        let mut buckets: Vec<(f64, f64)> = all.into_values().collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

fn grown(before: f64, now: f64) -> f64 {
    if now >= before { now - before } else { now }
}

/// As Prometheus' `histogram_quantile` says it: linear within a bucket; what is beyond the last bound counts as that.
fn quantile(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, n)| *n).filter(|n| *n > 0.0)?;
    let rank = q * total;
    let at = buckets.iter().position(|(_, n)| *n >= rank)?;
    let (low, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (high, n) = buckets[at];
    if high.is_infinite() {
        return Some(low);
    }
    Some(low + (high - low) * (rank - below) / (n - below).max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_linear_within_its_bucket() {
        let buckets = [(1.0, 50.0), (2.0, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(&buckets, 0.5), Some(1.0));
        assert_eq!(quantile(&buckets, 0.75), Some(1.5));
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 10.0)], 0.99), Some(1.0));
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_dispatcher_that_was_restarted_counts_afresh() {
        assert_eq!((grown(10.0, 15.0), grown(10.0, 3.0)), (5.0, 3.0));
    }

    #[test]
    fn what_lies_in_the_broker_is_said_by_all_and_what_is_in_hand_by_each() {
        let text = |n: u32| {
            format!(
                "quebert_queue_concurrency_limit{{queue=\"a\"}} 8\nquebert_queue_ready_messages{{queue=\"a\"}} 40\n\
                 quebert_tasks_in_flight{{queue=\"a\"}} 3\nquebert_ready {n}\n\
                 quebert_settlements_total{{queue=\"a\",result=\"succeeded\"}} {}\n",
                n * 20
            )
        };
        let (before, now) = (Samples::read(&text(0)), Samples::read(&text(1)));
        let figures = Figures::of(&[(&before, &now), (&before, &before)], Duration::from_secs(2));
        let queue = &figures.queues[0];
        assert_eq!((queue.waiting, queue.in_flight, queue.limit, queue.succeeded), (40.0, 6.0, 16.0, 10.0));
        assert_eq!((figures.ready, figures.answered, queue.wait_p50), (1, 2, None));
    }
}
