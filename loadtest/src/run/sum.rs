//! The report of a run, from all that was seen. It looks at nothing any more.

use super::{
    Config, place,
    watch::{Looks, held},
};
use crate::{
    figures::{Figures, HEAT_BOUNDS_US, Kind, Second, Set, Summary},
    ledger::{Account, Book, Counts, Findings, QueueRule},
    publish::Paced,
    quantity::Span,
    report::{Environment, Latency, Part, PhaseView, Report, SCHEMA_VERSION, SelfWatch, Throughput, Validity},
    target::Metrics,
};
use std::{collections::BTreeMap, time::Duration};

/// The tester is starved when it takes more than this share of all processors.
const CPU_SHARE_MAX: f64 = 0.8;
/// How far the wall clock may drift from the monotonic one: moments are promised in milliseconds.
const DRIFT_MAX_US: u64 = 20_000;

/// What was seen.
pub(super) struct Facts<'a> {
    pub(super) config: Config,
    pub(super) book: &'a Book,
    pub(super) looks: &'a Looks,
    pub(super) environment: Environment,
    pub(super) paced: Paced,
    /// How long the plan lasted.
    pub(super) plan: Duration,
    pub(super) at_end: Counts,
    pub(super) settle: Duration,
    pub(super) drift_us: i64,
    pub(super) peaks: Vec<u32>,
    pub(super) ended_well: bool,
    pub(super) found: Findings,
}

impl Facts<'_> {
    pub(super) fn report(self) -> Report {
        let verdict = self.book.judge(&self.found);
        let plan_s = self.plan.as_secs_f64().max(1e-3);
        let figures = self.book.figures(|figures| {
            figures.seconds();
            figures.clone()
        });
        let mut figures = figures;
        let start_lag = figures.total().get(Kind::StartLag).summary().unwrap_or_default();
        let tester = SelfWatch {
            start_lag,
            cpu_share: self.looks.own_cpu_share(place::cpus()),
            clock_drift_us: self.drift_us,
            refusals: self.paced.refusals.clone(),
        };
        let steady = self.book.steady();
        let mut report = Report {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: self.book.clock().start_epoch_ms(),
            environment: self.environment,
            profile: self.config.profile.without_secrets(),
            plan_s,
            settle_s: self.settle.as_secs_f64(),
            closed: self.config.arrivals.is_closed(),
            throughput: throughput(&self.at_end, plan_s, &self.book.counts()),
            latency: latencies(figures.total()),
            queues: queues(&self.config, &figures, &self.peaks),
            phases: phases(&self.config, &mut figures),
            steady,
            heat_bounds_us: HEAT_BOUNDS_US.to_vec(),
            seconds: figures.seconds().to_vec(),
            attempt_mean_us: attempt_mean_us(self.looks),
            processes: self.looks.processes(verdict.succeeded),
            tester,
            bottlenecks: self.looks.evidence.bottlenecks(),
            verdict,
            validity: Validity::default(),
            thresholds: Vec::new(),
            exit_code: 0,
        };
        report.validity = validity(&report, &self.config, self.ended_well);
        report.validity.warnings.extend(distrust(self.looks, &self.config));
        report.thresholds = self.config.thresholds.iter().map(|threshold| threshold.check(&report)).collect();
        report.exit_code = report.exit();
        report
    }
}

/// What an attempt took on average, by the dispatchers' own clocks.
fn attempt_mean_us(looks: &Looks) -> Option<f64> {
    let all = looks.last.iter().zip(&looks.first).map(|(last, first)| last.as_ref().zip(first.as_ref()));
    let all = all.collect::<Option<Vec<_>>>()?;
    let grown = |part: &str| {
        let name = format!("quebert_dispatch_duration_seconds_{part}");
        all.iter().map(|(last, first)| last.sum(&name, &[]) - first.sum(&name, &[])).sum::<f64>()
    };
    let (sum, count) = (grown("sum"), grown("count"));
    (count > 0.0).then(|| (sum / count * 1e7).round() / 10.0)
}

fn throughput(at_end: &Counts, plan_s: f64, all: &Counts) -> Throughput {
    let rate = |n: u64| n as f64 / plan_s;
    Throughput {
        offered_per_s: rate(at_end.offered),
        accepted_per_s: rate(at_end.confirmed),
        attempts_per_s: rate(at_end.attempts),
        done_per_s: rate(at_end.succeeded),
        attempts_per_task: if all.executed == 0 { 0.0 } else { all.attempts as f64 / all.executed as f64 },
    }
}

fn latencies(set: &Set) -> BTreeMap<String, Latency> {
    let of = |kind: Kind| {
        let hist = set.get(kind);
        Some((kind.name().to_owned(), Latency { summary: hist.summary()?, buckets: hist.buckets() }))
    };
    Kind::ALL.into_iter().filter_map(of).collect()
}

fn summaries(set: &Set) -> BTreeMap<String, Summary> {
    Kind::ALL.into_iter().filter_map(|kind| Some((kind.name().to_owned(), set.get(kind).summary()?))).collect()
}

fn queues(config: &Config, figures: &Figures, peaks: &[u32]) -> Vec<Part> {
    let all = config.rules.queues.iter().zip(figures.queues()).zip(peaks);
    let part = |((rule, set), peak): ((&QueueRule, &Set), &u32)| Part {
        name: rule.name.clone(),
        latency: summaries(set),
        under_way_max: *peak,
    };
    all.map(part).collect()
}

fn phases(config: &Config, figures: &mut Figures) -> Vec<PhaseView> {
    let seconds = figures.seconds().to_vec();
    let mut from = Duration::ZERO;
    let all = config.arrivals.phases.iter().zip(figures.phases());
    let view = |(phase, set): (&crate::arrivals::Phase, &Set)| {
        let until = from + phase.length;
        let rate = |of: fn(&Second) -> u32| rate_within(&seconds, from, until, of);
        let view = PhaseView {
            part: Part { name: phase.name.clone(), latency: summaries(set), under_way_max: 0 },
            from_s: from.as_secs_f64(),
            until_s: until.as_secs_f64(),
            offered_per_s: rate(|second| second.offered),
            done_per_s: rate(|second| second.succeeded),
        };
        from = until;
        view
    };
    all.map(view).collect()
}

/// From whole seconds: those at the edges count by their share.
fn rate_within(seconds: &[Second], from: Duration, until: Duration, of: fn(&Second) -> u32) -> f64 {
    let (from, until) = (from.as_secs_f64(), until.as_secs_f64());
    let share = |n: usize| (until.min(n as f64 + 1.0) - from.max(n as f64)).max(0.0);
    let sum = seconds.iter().enumerate().map(|(n, second)| f64::from(of(second)) * share(n)).sum::<f64>();
    sum / (until - from)
}

fn validity(report: &Report, config: &Config, ended_well: bool) -> Validity {
    let mut reasons = Vec::new();
    let mut warnings = Vec::new();
    let lag = Duration::from_micros(report.tester.start_lag.p99_us);
    let wait_us = report.latency.get(Kind::Wait.name()).map_or(0, |wait| wait.summary.p99_us);
    let wait = Duration::from_micros(wait_us);
    let late = format!("the tester was late by {} at the 99th percentile, and the waits' is {}", Span(lag), Span(wait));
    // A lag that is small beside what is measured does no harm, and neither does one that is small at all.
    match (lag > config.start_lag_max, lag * 10 > wait) {
        (true, true) => reasons.push(late),
        (false, false) => {}
        _ => warnings.push(late),
    }
    if report.tester.cpu_share > CPU_SHARE_MAX {
        reasons.push(format!("the tester took {:.0} % of all processors", report.tester.cpu_share * 100.0));
    }
    if report.tester.clock_drift_us.unsigned_abs() > DRIFT_MAX_US {
        reasons.push(format!("the wall clock went {} us off the monotonic one", report.tester.clock_drift_us));
    }
    if report.verdict.confirmed == 0 {
        reasons.push("no task was confirmed".to_owned());
    }
    if report.verdict.unconfirmed > 0 {
        let words = report.tester.refusals.first().map(String::as_str).unwrap_or_default();
        warnings.push(format!("{} tasks were not confirmed: {words}", report.verdict.unconfirmed));
    }
    if !ended_well {
        warnings.push("a dispatcher did not end well".to_owned());
    }
    match report.steady {
        Some(steady) if steady.reached => {}
        _ if config.profile.require_steady => {
            reasons.push("the run did not become steady in its first half".to_owned());
        }
        Some(_) => warnings.push("the run did not become steady in its first half".to_owned()),
        None => {}
    }
    Validity { valid: reasons.is_empty(), reasons, warnings }
}

/// What to keep in mind if dispatchers that run don't know who the executors are: nothing reaches these then.
fn distrust(looks: &Looks, config: &Config) -> Option<String> {
    let refused = |metrics: &Metrics| metrics.sum("quebert_dispatch_attempts_total", &[("outcome", "tls")]);
    let all = |looks: &[Option<Metrics>]| looks.iter().flatten().map(refused).sum::<f64>();
    let n = all(&looks.last) - all(&looks.first);
    let told = format!(
        "{n} attempts ended in the TLS handshake: is the authority of {} in the dispatchers' http.ca_file?",
        config.profile.tls_cert.as_deref().unwrap_or_default()
    );
    (config.profile.tls_cert.is_some() && n > 0.0).then_some(told)
}

/// The dispatchers' counters beside the ledger's. After a fault they don't compare: a killed dispatcher's are gone.
pub(super) fn accounts(looks: &Looks, book: &Book) -> Vec<Account> {
    let all = looks.last.iter().zip(&looks.first).map(|(last, first)| last.as_ref().zip(first.as_ref()));
    let Some(all) = all.collect::<Option<Vec<_>>>() else { return Vec::new() };
    if all.is_empty() || book.has_faults() {
        return Vec::new();
    }
    let grown = |of: &dyn Fn(&Metrics) -> f64| all.iter().map(|(last, first)| of(last) - of(first)).sum::<f64>();
    let counts = book.counts();
    let settled = |result: &str| grown(&|m: &Metrics| m.sum("quebert_settlements_total", &[("result", result)]));
    let attempts = |outcome: Option<&str>| {
        let labels = outcome.map(|outcome| ("outcome", outcome));
        grown(&|m: &Metrics| m.sum("quebert_dispatch_attempts_total", labels.as_slice()))
    };
    // What never reached an executor, and what may not have: an attempt can be cut off on its way.
    let never = ["dns", "connect", "tls", "forbidden"].map(|outcome| attempts(Some(outcome))).iter().sum::<f64>();
    let perhaps = ["timeout", "reset", "cancelled"].map(|outcome| attempts(Some(outcome))).iter().sum::<f64>();
    let unsettled =
        grown(&|m: &Metrics| m.sum("quebert_deliveries_total", &[]) - m.sum("quebert_settlements_total", &[]));
    let now_held = all.iter().map(|(last, _)| held(last)).sum::<f64>();
    let account = |name: &str, theirs, ours, slack| Account { name: name.to_owned(), theirs, ours, slack };
    vec![
        account("successes", settled("succeeded"), counts.successes as f64, 0.0),
        account("attempts", attempts(None) - never, counts.attempts as f64, perhaps),
        account("deliveries without settlement", unsettled, now_held, 0.0),
    ]
}
