//! Thresholds, the summary and the exit codes, over a report made by hand.

use super::*;
use crate::{
    figures::{Second, Summary},
    ledger::Verdict,
    quantity::Unclear,
    run::Profile,
};
use std::collections::BTreeMap;

pub(crate) fn report() -> Report {
    let summary = Summary {
        count: 1000,
        mean_us: 2500.5,
        p50_us: 2000,
        p75_us: 3000,
        p90_us: 5000,
        p95_us: 7000,
        p99_us: 20_000,
        p999_us: 90_000,
        p9999_us: None,
        max_us: 120_000,
    };
    let latency = Latency { summary, buckets: vec![(2000, 500), (120_000, 500)] };
    let part = Part { name: "high".into(), latency: BTreeMap::from([("wait".into(), summary)]), under_way_max: 8 };
    let dispatcher = |n: u32| ProcessView {
        name: format!("dispatcher {n}"),
        cpu_s: 1.0,
        cpu_per_1k_s: 0.2,
        rss_peak_bytes: 64 << 20,
        ..ProcessView::default()
    };
    Report {
        schema_version: SCHEMA_VERSION,
        version: "0.1.0".into(),
        started_at_ms: 1_795_424_400_250,
        environment: Environment::default(),
        profile: Profile::default(),
        plan_s: 10.0,
        settle_s: 0.5,
        closed: false,
        throughput: Throughput { offered_per_s: 100.0, done_per_s: 99.0, ..Throughput::default() },
        latency: BTreeMap::from([("wait".into(), latency)]),
        queues: vec![part.clone()],
        phases: vec![PhaseView { part, from_s: 0.0, until_s: 10.0, ..PhaseView::default() }],
        steady: None,
        heat_bounds_us: crate::figures::HEAT_BOUNDS_US.to_vec(),
        seconds: vec![Second { offered: 100, ready: Some(3), ..Second::default() }],
        attempt_mean_us: None,
        processes: vec![dispatcher(1), dispatcher(2)],
        tester: SelfWatch::default(),
        bottlenecks: vec![Bottleneck { name: "concurrency".into(), share: 0.5, evidence: "in 5 of 10 seconds".into() }],
        verdict: Verdict { ok: true, confirmed: 1000, succeeded: 998, duplicates: 2, ..Verdict::default() },
        validity: Validity { valid: true, ..Validity::default() },
        thresholds: Vec::new(),
        exit_code: 0,
    }
}

/// One series of six numbers of slots, each below and above what it can do, and one of which only a rate is known.
pub(crate) fn sweep() -> Sweep {
    let point = |slots: u32, rate: f64, most: f64| SweepPoint {
        series: format!("slots={slots}"),
        offered_per_s: rate,
        achieved_per_s: rate.min(most),
        p50_us: 2_000,
        p99_us: if rate > most { 900_000 } else { 10_000 },
        p99_low_us: Some(8_000),
        p99_high_us: Some(1_000_000),
        utilisation: Some((rate / most).min(1.0)),
        ok: rate <= most,
        valid: true,
        bottleneck: if rate > most { "concurrency".into() } else { String::new() },
        dispatchers: Some(1),
        slots: Some(slots),
        window: Some(0),
        saturated: rate > most,
    };
    let most = |slots: u32| {
        20.0 * f64::from(slots) / (1.0 + 0.02 * f64::from(slots - 1) + 0.001 * f64::from(slots * (slots - 1)))
    };
    let both =
        |slots: u32| [point(slots, most(slots) / 2.0, most(slots)), point(slots, most(slots) * 1.5, most(slots))];
    let points = [1, 2, 4, 8, 16, 24].into_iter().flat_map(both).collect::<Vec<_>>();
    let Report { version, started_at_ms, environment, profile, .. } = report();
    Sweep {
        schema_version: SWEEP_SCHEMA_VERSION,
        version,
        started_at_ms,
        environment,
        profile,
        demands: vec!["wait.p99<500ms".into(), "lost==0".into()],
        scaling: crate::scaling::scalings(&points),
        points,
        notes: vec!["the knee is between 100/s and 400/s".into()],
    }
}

#[track_caller]
fn found(text: &str, value: Option<f64>, ok: bool) {
    let view = text.parse::<Threshold>().unwrap_or_else(|e| panic!("{text}: {e}")).check(&report());
    assert_eq!((view.found, view.ok, &*view.text), (value, ok, text));
}

#[test]
fn thresholds_are_read_and_checked() {
    found("wait.p99<500ms", Some(0.02), true);
    found("wait.p99<=20ms", Some(0.02), true);
    found("wait.p99 < 20ms", Some(0.02), false);
    found("wait@high.p99.9<0.1", Some(0.09), true);
    found("lost==0", Some(0.0), true);
    found("duplicates/tasks<0.1%", Some(0.002), false);
    found("duplicates/tasks<=0.2%", Some(0.002), true);
    found("throughput>=99/s", Some(99.0), true);
    found("cpu_per_1k<0.4s", Some(0.4), false);
    found("rss_max<=64MiB", Some((64 << 20) as f64), true);
    found("succeeded!=1000", Some(998.0), true);
}

#[test]
fn what_can_not_be_measured_is_missed() {
    found("wait.p99.99<1h", None, false);
    found("wait@low.p50<1h", None, false);
    found("done.p50<1h", None, false);
    found("lost/dead<1", None, false);
}

#[test]
fn thresholds_that_are_unclear_are_refused() {
    let unclear = |text: &str| text.parse::<Threshold>().map(|_| ()).map_err(|Unclear { at, .. }| at).unwrap_err();
    assert_eq!(unclear("wait.p99"), "wait.p99");
    assert_eq!(unclear("wait.p98<1s"), "wait.p98");
    assert_eq!(unclear("weight.p99<1s"), "weight.p99");
    assert_eq!(unclear("lost==none"), "none");
}

#[test]
fn a_broken_promise_outweighs_an_invalid_run_and_that_a_threshold() {
    let missed = ThresholdView { text: "lost==1".into(), found: Some(0.0), ok: false };
    let mut report = Report { thresholds: vec![missed], ..report() };
    assert_eq!(report.exit(), exit::THRESHOLD);
    report.validity.valid = false;
    assert_eq!(report.exit(), exit::INVALID);
    report.verdict.ok = false;
    assert_eq!(report.exit(), exit::VERIFICATION);
}

#[test]
fn the_summary_tells_what_counts() {
    let text = markdown(&report());
    for part in [
        "## Load test: all promises kept",
        "| wait | 1000 | 2.0 ms |",
        "Bottleneck: concurrency (in 5 of 10 seconds)",
        "| dispatcher 1 | 1.00 | 0.200 | 64 MiB |",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_name_does_not_end_its_cell_of_the_summary() {
    let mut report = report();
    report.thresholds = vec![ThresholdView { text: "wait@a|b\nc.p99<1s".into(), found: None, ok: false }];
    assert!(markdown(&report).contains("| `wait@a\\|b c.p99<1s` | nothing | **missed** |"), "{}", markdown(&report));
}
