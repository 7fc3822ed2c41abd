//! The pages that are not of a run or of a sweep: comparisons and plans.

use super::{HOSTILE, attribute, check, classed, full, parse};
use crate::{
    compare::{self, compare},
    figures::{Hist, Kind},
    plan::{Measured, Question, plan},
    report::{Latency, Report, html_compare, html_plan},
    run::Profile,
    simulate::Timing,
};
use std::time::Duration;

/// The same runs, each a little slower than the one before.
fn sides(reports: u32) -> [Vec<Report>; 2] {
    let run = |factor: u64| {
        let mut report = full();
        let buckets = report.latency["wait"].buckets.iter().map(|(us, n)| (us * factor / 100, *n)).collect::<Vec<_>>();
        let summary = Hist::from_buckets(&buckets).summary().unwrap();
        report.latency.insert("wait".into(), Latency { summary, buckets });
        report
    };
    [100, 150].map(|from| (0..u64::from(reports)).map(|i| run(from + i)).collect())
}

#[test]
fn a_comparison_shows_both_sides_their_runs_and_what_the_tests_say() {
    let [before, after] = sides(4);
    let told = compare(&before, &after, Kind::Wait, 0.1, false).unwrap();
    let page = html_compare(&told, &before, &after);
    check(&page);
    let document = parse(&page);
    // Each run, pale; what is tolerated; and both sides, each with its end faint.
    assert_eq!(classed(&document, "path", "run").len(), 16);
    assert_eq!((classed(&document, "path", "dashed").len(), classed(&document, "path", "s3").len()), (2, 10));
    let places = classed(&document, "circle", "mark").iter().map(|dot| attribute(*dot, "cx")).collect::<Vec<_>>();
    assert!(places.len() == 8 && places[..4].iter().all(|x| *x < places[4]), "{places:?}");
    let tolerated = classed(&document, "rect", "tolerated")[0];
    let until = attribute(tolerated, "x") + attribute(tolerated, "width");
    assert!(places[0] > attribute(tolerated, "x") && places[0] < until && places[4] > until, "{places:?}");
    assert!(page.contains("Comparison: worse") && page.contains("95 % interval +"), "{page}");
    let text = compare::markdown(&told);
    assert!(text.starts_with("## Compare: worse\n") && text.contains("| 99th percentiles | **worse** | +"), "{text}");
    assert!(text.contains("| shape | **worse** | 90.0 % of all tasks slower"), "{text}");
}

#[test]
fn a_comparison_by_force_of_hostile_runs_is_well_formed_and_says_what_was_overlooked() {
    let [mut before, after] = sides(1);
    before[0].environment.cpu = HOSTILE.into();
    before[0].environment.quebert = HOSTILE.into();
    before[0].validity.valid = false;
    let told = compare(&before, &after, Kind::Wait, 0.1, true).unwrap();
    let page = html_compare(&told, &before, &after);
    check(&page);
    assert!(page.contains("Comparison: inconclusive") && page.contains("Compared by force"), "{page}");
    assert!(compare::markdown(&told).contains("- **Forced:** a run is invalid"));
}

#[test]
fn a_plan_shows_what_each_resource_lets_through_and_what_speaks_against_its_run() {
    let profile = Profile { executors: vec!["latency=50ms workers=40".into()], ..Profile::default() };
    let mut question = Question {
        profile,
        rate: 100.0,
        slo: "wait.p99<500ms".parse().unwrap(),
        timing: Timing::default(),
        dispatchers_max: 1,
        busy_max: 0.8,
        spare: false,
        outage: Duration::from_secs(60),
        tasks: 1_000,
        measured: None,
    };
    let page = html_plan(&plan(&question).unwrap());
    check(&page);
    let bars = classed(&parse(&page), "rect", "bar").iter().map(|bar| attribute(*bar, "width")).collect::<Vec<_>>();
    assert!(bars.len() == 3 && bars.is_sorted() && page.contains("executor's workers 800/s"), "{bars:?}");
    let mut measured = Measured::new(&full_and_timed()).unwrap();
    measured.doubts.push(HOSTILE.into());
    question.measured = Some(measured);
    let page = html_plan(&plan(&question).unwrap());
    check(&page);
    assert!(page.contains("the run behind it says nothing") && page.contains("calibrated by"), "{page}");
}

fn full_and_timed() -> Report {
    let mut report = full();
    report.attempt_mean_us = Some(12_000.0);
    report.latency.insert("confirm_uncorrected".into(), report.latency["wait"].clone());
    report
}
