//! Comparisons whose answer is known, since the runs are made: each from a distribution of waits, times a factor of its own, as
//! real runs have one.

use super::*;
use crate::{
    draw::Draw,
    figures::Hist,
    report::{Latency, fixture},
};
use std::time::Duration;

/// The wait, in milliseconds, at a share of all.
type Waits = fn(f64) -> f64;

/// Log-logistic: median 20 ms, 99th percentile 100 ms.
fn usual(share: f64) -> f64 {
    20.0 * (share / (1.0 - share)).powf(0.35)
}

/// Of these, a fifth takes three times as long; the slowest don't.
fn humped(share: f64) -> f64 {
    if share < 0.4 && (share * 1e3) % 2.0 < 1.0 { usual(share) * 3.0 } else { usual(share) }
}

/// The standard normal distribution, by Box and Muller (1958).
fn normal(draw: Draw) -> f64 {
    let [a, b] = ["a", "b"].map(|of| draw.of(of).unit());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// A run with these waits, in milliseconds.
fn run(waits: impl Iterator<Item = f64>) -> Report {
    let mut hist = Hist::default();
    waits.for_each(|ms| hist.record(Duration::from_secs_f64(ms / 1e3)));
    let mut report = fixture();
    let latency = Latency { summary: hist.summary().unwrap(), buckets: hist.buckets() };
    report.latency.insert("wait".into(), latency);
    report
}

/// Runs that are all alike but for a factor: `noise` is the standard deviation of its logarithm.
fn runs(side: &str, count: u64, waits: Waits, factor: f64, noise: f64) -> Vec<Report> {
    let own = |i: u64| factor * (noise * normal(Draw::new(7).of(side).at(i))).exp();
    (0..count).map(own).map(|own| run((0..2_000).map(|i| own * waits((f64::from(i) + 0.5) / 2_000.0)))).collect()
}

#[track_caller]
fn check(count: u64, waits: Waits, factor: f64, noise: f64, wanted: [Answer; 3]) -> Comparison {
    let before = runs("before", count, usual, 1.0, noise);
    let after = runs("after", count, waits, factor, noise);
    let told = compare(&before, &after, Kind::Wait, 0.1, false).unwrap();
    assert_eq!([told.answer, told.p99.answer, told.shape.answer], wanted, "{}", lines(&told).join("\n"));
    told
}

#[test]
fn what_is_slower_by_a_third_is_worse_and_the_other_way_round_better() {
    let told = check(5, usual, 1.33, 0.03, [Answer::Worse; 3]);
    assert!((1.25..1.4).contains(&told.p99.factor) && told.p99.superiority == 1.0, "{told:?}");
    assert_eq!(lines(&told).last().unwrap(), "worse: the 99th percentile grew by more than 10 %");
    let told = check(5, usual, 1.0 / 1.33, 0.03, [Answer::Better; 3]);
    assert!(told.p99.superiority == 0.0 && told.shape.faster > 0.05, "{told:?}");
}

#[test]
fn a_difference_within_the_tolerance_is_none_however_sure_it_is() {
    let told = check(6, usual, 1.05, 0.005, [Answer::Same; 3]);
    assert!(told.p99.p_slower < 0.01 && told.shape.p_distance < 0.01, "{told:?}");
    check(6, usual, 1.0, 0.02, [Answer::Same; 3]);
}

#[test]
fn a_second_hump_is_worse_though_the_99th_percentile_is_the_same() {
    let told = check(6, humped, 1.0, 0.01, [Answer::Worse, Answer::Same, Answer::Worse]);
    assert!(told.shape.slower > 0.1, "{told:?}");
    assert!(lines(&told).last().unwrap().contains("of all tasks are slower"), "{told:?}");
}

#[test]
fn too_few_runs_and_runs_that_differ_by_themselves_prove_nothing() {
    let told = check(1, usual, 2.0, 0.0, [Answer::Inconclusive; 3]);
    assert!(lines(&told).last().unwrap().contains("too few runs"), "{told:?}");
    check(3, usual, 2.0, 0.02, [Answer::Inconclusive; 3]);
    let told = check(5, usual, 1.3, 0.5, [Answer::Inconclusive; 3]);
    assert!(lines(&told).last().unwrap().contains("make more or longer runs"), "{told:?}");
}

/// Without tolerance only chance is left. Of 4 and 4 runs, each test is wrong in one split of 70 at most, both together in 2.9 %:
/// that is in 4.3 of 150 comparisons, and in more than 10 with a probability below 1 %.
#[test]
fn without_a_difference_worse_and_better_are_as_rare_as_promised() {
    let drawn = |draw: Draw| {
        let own = (0.1 * normal(draw)).exp();
        run((0..100).map(|task| own * usual(draw.of("task").at(task).unit().max(1e-3))))
    };
    let mut counts = [0; 2];
    for seed in 0..150 {
        let side = |side: &str| (0..4).map(|i| drawn(Draw::new(seed).of(side).at(i))).collect::<Vec<_>>();
        let told = compare(&side("before"), &side("after"), Kind::Wait, 0.0, false).unwrap();
        counts[0] += u32::from(told.answer == Answer::Worse);
        counts[1] += u32::from(told.answer == Answer::Better);
    }
    assert!(counts.iter().all(|count| *count <= 10), "{counts:?}");
    // And not for being blind: chance does happen.
    assert!(counts.iter().sum::<u32>() > 0, "{counts:?}");
}

#[test]
fn what_can_not_be_compared_is_refused_unless_forced() {
    let runs = || runs("before", 1, usual, 1.0, 0.0);
    let refused = |change: fn(&mut Report)| {
        let mut after = runs();
        change(&mut after[0]);
        let forced = compare(&runs(), &after, Kind::Wait, 0.1, true).unwrap();
        assert_eq!(forced.notes.len(), 1, "{:?}", forced.notes);
        assert!(lines(&forced).contains(&format!("forced {}", forced.notes[0])));
        compare(&runs(), &after, Kind::Wait, 0.1, false).unwrap_err().to_string()
    };
    assert_eq!(refused(|report| report.environment.cpus = 64), "the number of processors differs: 0 and 64");
    assert!(refused(|report| report.environment.broker = "rabbitmq".into()).contains("broker differs"));
    let other = refused(|report| report.profile.executors = vec!["latency=1s".into()]);
    assert_eq!(other, "the profiles differ in executors: [] and [\"latency=1s\"]");
    assert!(refused(|report| report.validity.valid = false).contains("invalid"));
    assert!(refused(|report| report.verdict.ok = false).contains("broke a promise"));
    // Neither seed nor program nor demands make a run another one.
    let mut after = runs();
    after[0].profile.seed = 9;
    after[0].profile.quebert = Some("other".into());
    after[0].profile.thresholds = vec!["lost==0".into()];
    after[0].environment.quebert = "2.0.0".into();
    assert_eq!(compare(&runs(), &after, Kind::Wait, 0.1, false).unwrap().notes, Vec::<String>::new());
    assert_eq!(compare(&[], &after, Kind::Wait, 0.1, false).unwrap_err(), CompareError::Runs(0));
    assert_eq!(
        compare(&after, &after, Kind::RetryLag, 0.1, false).unwrap_err(),
        CompareError::Nothing("retry_lag".into())
    );
}
