//! Predictions against reality: four workloads run for real, and again in virtual time with the same arrivals and fates. The
//! 99th percentiles must be within 25 % of each other. Services take tens of milliseconds, so that what the machine adds is
//! small beside them; and what it adds to each attempt is taken from the dispatcher's own metrics.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is the failure report, and figures are told")]

mod common;

use common::quebert;
use quebert_loadtest::{
    figures::Kind,
    report::Report,
    run::{Config, Profile, run},
    simulate::{Timing, model, world},
};
use std::time::{Duration, Instant};

/// How far a prediction may be off.
const TOLERANCE: f64 = 0.25;
/// Runs of a workload, as long as each is disturbed: the tester finds itself late or starved, or a dispatcher needs more than
/// this for an attempt, on average, beside the executor's work. A machine that is busy with something else says nothing of the
/// prediction, neither good nor bad: where all runs are disturbed, the workload is told as not judged.
const RUNS_MAX: u32 = 5;
const EXTRA_US_MAX: u64 = 4_000;

fn profile(arrivals: &str, executor: &str, queue: &str) -> Profile {
    Profile {
        arrivals: arrivals.into(),
        executors: vec![executor.into()],
        queues: vec![format!("name=load {queue}")],
        quebert: Some(quebert().to_str().unwrap().to_owned()),
        backoff_max: "1s".into(),
        late_grace: "5s".into(),
        settle: "2m".into(),
        // A fifth of the waits that are compared; whether that matters is what the comparison shows.
        start_lag_max: "50ms".into(),
        ..Profile::default()
    }
}

/// What was measured and what was predicted, in words, and whether each prediction is near enough.
fn compare(profile: &Profile, report: &Report, timing: &Timing) -> Vec<(String, bool)> {
    let config = Config::try_from(profile.clone()).unwrap();
    let (by_world, by_model) = (world::run(&config, timing), model(&config, timing).unwrap());
    assert!(by_world.verdict.as_ref().unwrap().ok);
    let mut compared = Vec::new();
    for kind in [Kind::Wait, Kind::Done] {
        let real = report.latency[kind.name()].summary.p99_us as f64 / 1e6;
        for (outcome, by) in [(&by_world, "the dispatcher in virtual time"), (&by_model, "the model")] {
            let predicted = outcome.quantile(kind, 0.99);
            let (off, name) = (predicted / real - 1.0, kind.name());
            let figures = format!("{name} p99 {real:.3} s, predicted {predicted:.3} s by {by} ({:+.0} %)", off * 100.0);
            compared.push((figures, off.abs() < TOLERANCE));
        }
    }
    compared
}

/// Waits until most timers are on time, as they are on a machine with a processor to spare; at most a minute or two.
async fn calm() {
    let tick = Duration::from_millis(20);
    for _ in 0..60 {
        let mut late = 0;
        for _ in 0..50 {
            let from = Instant::now();
            tokio::time::sleep(tick).await;
            late += u32::from(from.elapsed() > tick + tick / 4);
        }
        if late <= 5 {
            return;
        }
    }
}

/// Whether it could be judged; panics if a prediction is too far off.
#[track_caller]
fn holds(arrivals: &str, executor: &str, queue: &str) -> bool {
    let profile = profile(arrivals, executor, queue);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut told = Vec::new();
    for _ in 0..RUNS_MAX {
        runtime.block_on(calm());
        let report = runtime.block_on(run(Config::try_from(profile.clone()).unwrap(), |_| {}, None)).unwrap();
        assert!(report.verdict.ok, "{:#?}", report.verdict.findings);
        let timing = Timing::measured(&report).unwrap();
        let compared = compare(&profile, &report, &timing);
        let near = compared.iter().all(|(_, near)| *near);
        told.push(format!("{executor}, with {timing:?}, {:?}:", report.validity.reasons));
        told.extend(compared.into_iter().map(|(figures, _)| figures));
        if report.validity.valid && near {
            println!("{}", told.join("\n"));
            return true;
        }
        let disturbed = !report.validity.valid || timing.attempt_extra_us > EXTRA_US_MAX;
        assert!(disturbed, "a prediction is more than 25 % off:\n{}", told.join("\n"));
    }
    println!("NOT JUDGED, since the machine was too busy in each of {RUNS_MAX} runs:\n{}", told.join("\n"));
    false
}

#[test]
fn predictions_are_within_a_quarter_of_what_is_measured() {
    // Each with some 70 % of its slots busy, and a queue that grows and falls by chance.
    let judged = [
        ("poisson 42/s 12s", "latency=70ms"),
        ("poisson 45/s 12s", "latency=exp:60ms"),
        ("poisson 45/s 12s", "latency=lognormal:40ms,250ms"),
        ("poisson 36/s 12s", "latency=bimodal:40ms,320ms,10% status=503:5%"),
    ]
    .map(|(arrivals, executor)| holds(arrivals, executor, "slots=4 window=6"));
    assert!(judged.contains(&true), "nothing could be judged: this machine is too busy for it, see above");
}
