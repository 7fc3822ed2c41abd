//! What is looked at once a second while a run goes on: the processes, the dispatchers' metrics, the queues. It keeps what
//! a report needs, and tells whoever watches.

use super::{attribution::Cpu, evidence::Evidence};
use crate::{
    figures::{Kind, Summary},
    ledger::{Book, Counts},
    report::{ProcessView, Report},
    target::{
        Metrics, Target, process,
        process::{Look, Machine},
    },
};
use std::{collections::BTreeMap, time::Duration};

/// One second of a run, for whoever watches.
#[derive(Debug, Clone)]
pub struct Live {
    /// Since the start of the run.
    pub at: Duration,
    /// The phase of the plan; empty after it.
    pub phase: String,
    /// What has happened so far.
    pub counts: Counts,
    /// What has happened since the last look.
    pub since: Counts,
    /// Seconds since the last look.
    pub seconds: f64,
    /// Corrected waits so far.
    pub wait: Summary,
    /// How late the tester is: 99th percentile so far.
    pub start_lag: Duration,
    /// Ready in work queues, if anybody told.
    pub ready: Option<u64>,
    /// Held by dispatchers, if they told.
    pub held: Option<u64>,
}

/// The looks of a run.
#[derive(Debug, Default)]
pub(super) struct Looks {
    processes: BTreeMap<String, Vec<(f64, Look)>>,
    pub(super) first: Vec<Option<Metrics>>,
    pub(super) last: Vec<Option<Metrics>>,
    pub(super) evidence: Evidence,
    before: Counts,
    before_at: Duration,
    /// At the start of the run, and at the last look.
    machine: Option<(Machine, Machine)>,
}

/// The name of this process in reports.
const TESTER: &str = "tester";
/// And that of a broker that was started.
const BROKER: &str = "rabbitmq";

impl Looks {
    /// With what the dispatchers said before the run.
    pub(super) fn new(first: Vec<Option<Metrics>>) -> Self {
        Self { first, machine: process::machine().map(|now| (now, now)), ..Self::default() }
    }

    /// Looks, and tells.
    pub(super) async fn look(&mut self, target: &Target, book: &Book, phase: &str) -> Live {
        let at = book.clock().now().run;
        let own = process::look(std::process::id()).map(|look| (TESTER.to_owned(), look));
        for (name, look) in target.looks().into_iter().chain(own) {
            self.processes.entry(name).or_default().push((at.as_secs_f64(), look));
        }
        let cpu = self.cpu(process::machine());
        let metrics = target.metrics().await;
        let left = target.left().await;
        let ready = left.map(|left| left.ready);
        let all =
            |of: &dyn Fn(&Metrics) -> f64| metrics.iter().flatten().map(of).reduce(|a, b| a + b).map(|n| n as u64);
        let (held, in_flight) = (all(&held), all(&|metrics| metrics.sum("quebert_tasks_in_flight", &[])));
        let slots = all(&|metrics| metrics.sum("quebert_queue_concurrency_limit", &[])).filter(|slots| *slots > 0);
        let counts = book.counts();
        let (wait, start_lag) = book.figures(|figures| {
            let second = figures.second(at);
            (second.ready, second.held) = (ready, held);
            (second.in_flight, second.slots) = (in_flight, slots);
            let wait = figures.total().get(Kind::Wait).summary().unwrap_or_default();
            (wait, figures.total().get(Kind::StartLag).quantile(0.99))
        });
        let seconds = at.saturating_sub(self.before_at).as_secs_f64().max(1e-3);
        let since = difference(&counts, &self.before);
        self.evidence.look(&metrics, &self.last, ready, seconds, &since, cpu.as_ref());
        self.last = metrics;
        (self.before, self.before_at) = (counts, at);
        Live { at, phase: phase.to_owned(), counts, since, seconds, wait, start_lag, ready, held }
    }

    /// Who has taken the processors since the last look; `None` if that can't be told yet.
    fn cpu(&mut self, machine: Option<Machine>) -> Option<Cpu> {
        let (now, (_, before)) = (machine?, self.machine.as_mut()?);
        let all_s = now.all_s - before.all_s;
        let busy = (now.busy_s - before.busy_s) / all_s;
        *before = now;
        let share = |looks: &[(f64, Look)]| match looks {
            // One that was started again begins at 0.
            [.., (_, before), (_, now)] => Some((now.cpu_s - before.cpu_s).max(0.0) / all_s),
            _ => None,
        };
        let tester = share(self.processes.get(TESTER)?)?;
        let mut cpu = Cpu { all: Some(busy), tester, ..Cpu::default() };
        for (name, looks) in &self.processes {
            match &**name {
                TESTER => {}
                BROKER => cpu.broker += share(looks).unwrap_or(0.0),
                _ => cpu.dispatchers += share(looks).unwrap_or(0.0),
            }
        }
        (all_s > 0.0).then_some(cpu)
    }

    /// The share of the machine's processors that was busy during the run, for whomever.
    pub(super) fn machine_cpu_share(&self) -> Option<f64> {
        let (first, last) = self.machine?;
        let all_s = last.all_s - first.all_s;
        (all_s > 0.0).then(|| (last.busy_s - first.busy_s) / all_s)
    }

    /// What each process took, for `done` tasks.
    pub(super) fn processes(&self, done: u64) -> Vec<ProcessView> {
        self.processes.iter().map(|(name, looks)| view(name, looks, done)).collect()
    }

    /// The tester's own share of all processors.
    pub(super) fn own_cpu_share(&self, cpus: u64) -> f64 {
        let Some([(from, first), .., (until, last)]) = self.processes.get(TESTER).map(Vec::as_slice) else {
            return 0.0;
        };
        (last.cpu_s - first.cpu_s) / ((until - from) * cpus.max(1) as f64)
    }
}

/// Deliveries that a dispatcher holds.
pub(super) fn held(metrics: &Metrics) -> f64 {
    metrics.sum("quebert_tasks_in_flight", &[]) + metrics.sum("quebert_tasks_buffered", &[])
}

fn difference(now: &Counts, before: &Counts) -> Counts {
    Counts {
        offered: now.offered - before.offered,
        published: now.published - before.published,
        confirmed: now.confirmed - before.confirmed,
        attempts: now.attempts - before.attempts,
        succeeded: now.succeeded - before.succeeded,
        failures: now.failures - before.failures,
        ..*now
    }
}

fn view(name: &str, looks: &[(f64, Look)], done: u64) -> ProcessView {
    let (Some((_, first)), Some((_, last))) = (looks.first(), looks.last()) else { return ProcessView::default() };
    // A process that was started again begins at 0.
    let steps = looks.windows(2).map(|pair| (pair[1].1.cpu_s - pair[0].1.cpu_s).max(0.0));
    let cpu_s = steps.clone().sum::<f64>();
    let max = |of: fn(&Look) -> u64| looks.iter().map(|(_, look)| of(look)).max().unwrap_or(0);
    ProcessView {
        name: name.to_owned(),
        cpu_s,
        cpu_per_1k_s: if done == 0 { 0.0 } else { cpu_s * 1000.0 / done as f64 },
        rss_start_bytes: first.rss_bytes,
        rss_peak_bytes: max(|look| look.rss_peak_bytes.max(look.rss_bytes)),
        rss_slope_bytes_per_s: slope(&looks[looks.len() / 2..]),
        fds_max: max(|look| look.fds),
        voluntary_switches: last.voluntary_switches.saturating_sub(first.voluntary_switches),
        cpu_by_s: steps.map(|s| (s * 1000.0).round() / 1000.0).collect(),
        looks_s: looks.iter().map(|(at, _)| (at * 1000.0).round() / 1000.0).collect(),
        rss_by_s: looks.iter().map(|(_, look)| look.rss_bytes).collect(),
    }
}

/// Bytes a second, by least squares; 0 of fewer than three looks.
fn slope(looks: &[(f64, Look)]) -> f64 {
    let n = looks.len() as f64;
    let mean = |of: &dyn Fn(&(f64, Look)) -> f64| looks.iter().map(of).sum::<f64>() / n;
    let (t, y) = (mean(&|(t, _)| *t), mean(&|(_, look)| look.rss_bytes as f64));
    let covariance = looks.iter().map(|(at, look)| (at - t) * (look.rss_bytes as f64 - y)).sum::<f64>();
    let variance = looks.iter().map(|(at, _)| (at - t).powi(2)).sum::<f64>();
    if looks.len() < 3 || variance == 0.0 { 0.0 } else { covariance / variance }
}

impl Report {
    /// The tester's own process.
    pub fn tester_process(&self) -> Option<&ProcessView> {
        self.processes.iter().find(|process| process.name == TESTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_has_a_slope_and_a_restart_costs_no_cpu() {
        let look = |cpu_s, rss_bytes| Look { cpu_s, rss_bytes, ..Look::default() };
        let looks = [
            (0.0, look(1.0, 0)),
            (1.0, look(2.0, 0)),
            (2.0, look(0.5, 100)),
            (3.0, look(1.0, 200)),
            (4.0, look(1.5, 300)),
        ];
        let view = view("d", &looks, 1000);
        assert_eq!((view.looks_s.len(), view.rss_by_s.len(), view.cpu_by_s.len()), (5, 5, 4));
        assert_eq!((view.cpu_s, view.cpu_per_1k_s, view.rss_peak_bytes), (2.0, 2.0, 300));
        assert!((view.rss_slope_bytes_per_s - 100.0).abs() < 1e-6, "{view:?}");
    }
}
