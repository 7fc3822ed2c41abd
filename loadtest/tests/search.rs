//! Searches from end to end, with short probes on the embedded broker. What is judged holds on any machine: executors with
//! one worker can't be faster than they are.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::{
    run::Profile,
    schema::Written,
    search::{
        DrainSpec, FindMax, FindSpec, Limits, ProbeLength, Reason, SweepSpec, Verdict, drain, find_max, is_broken,
        sweep,
    },
};
use std::time::Duration;

/// What is written fits the schema that is told of it.
#[track_caller]
fn fits(of: Written, document: &impl serde::Serialize) {
    let validator = jsonschema::validator_for(&of.schema()).unwrap();
    let json = serde_json::to_value(document).unwrap();
    let faults = validator.iter_errors(&json).map(|fault| fault.to_string()).collect::<Vec<_>>();
    assert!(faults.is_empty() && json["schema_version"] == of.version(), "{faults:?}");
}

/// Twenty tasks a second at most.
fn profile() -> Profile {
    Profile {
        executors: vec!["latency=50ms workers=1".into()],
        quebert: Some(quebert().to_str().unwrap().to_owned()),
        // A busy machine is late; that is not what is judged here.
        start_lag_max: "1m".into(),
        settle: "5m".into(),
        ..Profile::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_rate_is_below_what_the_executor_can_do_and_the_executor_is_named() {
    let spec = FindSpec {
        profile: profile(),
        slo: vec!["done.p99<500ms".into()],
        limits: Limits { start: 80.0, least: 5.0, most: 1000.0, tolerance: 0.6 },
        length: ProbeLength { least: Duration::from_secs(1), tasks: 10, works: 1.0 },
        shape: "constant".into(),
    };
    let mut told = 0;
    let found = find_max(spec, |_| {}, |_| told += 1).await.unwrap();
    // In one second come 80 and 40 tasks, and the last of them is done after 4 s and 2 s at the earliest. Of a tester that was
    // late nothing is judged, and it is asked again.
    let mut rates = found.probes.iter().map(|probe| probe.point.offered_per_s).collect::<Vec<_>>();
    rates.dedup();
    assert_eq!(rates[..2], [80.0, 40.0]);
    let mut fast = found.probes.iter().filter(|probe| probe.point.offered_per_s >= 40.0);
    assert!(fast.all(|probe| probe.verdict != Verdict::Kept), "{:#?}", found.probes);
    assert_eq!(told, found.probes.len());
    assert_eq!(found.bottlenecks[0].name, "executor", "{:#?}", found.bottlenecks);
    match found.ended.rate_per_s {
        Some(rate) => {
            let failed = found.ended.failed_per_s.unwrap();
            assert!(rate < 40.0 && rate < failed && failed <= rate * 1.6, "{}", found.summary);
            assert!(found.probes.iter().any(|probe| probe.confirms && probe.verdict == Verdict::Kept));
            let reasons = [(Reason::Objective, 0), (Reason::Tester, 3)];
            assert!(reasons.contains(&(found.ended.reason, found.exit_code)), "{:#?}", found.probes);
        }
        None => assert_eq!((found.ended.reason, found.exit_code), (Reason::Least, 1)),
    }
    // One system served them all, and nothing of one probe was seen by the next.
    assert!(found.probes.iter().all(|probe| !probe.why.contains("promise")), "{:#?}", found.probes);
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<FindMax>(&json).unwrap().summary, found.summary);
    assert_eq!(found.as_sweep().points.len(), told);
    fits(Written::FindMax, &found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_has_a_point_for_each_rate_of_each_series_and_tells_where_the_knee_is() {
    let spec = SweepSpec {
        profile: profile(),
        demands: vec!["done.p99<500ms".into()],
        rates: vec![80.0, 4.0],
        dispatchers: Vec::new(),
        slots: vec![4, 8],
        windows: vec![8],
        length: ProbeLength { least: Duration::from_secs(1), tasks: 1, works: 1.0 },
        shape: "constant".into(),
    };
    let mut told = Vec::new();
    let swept = sweep(spec, |_| {}, |point| told.push(point.clone())).await.unwrap();
    assert_eq!(swept.points, told);
    fits(Written::Sweep, &swept);
    let points = told.iter().map(|point| (&*point.series, point.offered_per_s)).collect::<Vec<_>>();
    let (four, eight) = ("slots=4 window=8", "slots=8 window=8");
    assert_eq!(points, [(four, 4.0), (four, 80.0), (eight, 4.0), (eight, 80.0)]);
    assert!(told.iter().all(|point| point.utilisation.is_some_and(|busy| (0.0..=1.0).contains(&busy))), "{told:#?}");
    // Of 80 tasks in one second, the last is done after 4 s.
    assert!(!told[1].ok && !told[3].ok && !is_broken(&swept), "{told:#?}");
    assert_eq!(swept.notes.len(), 4, "{:?}", swept.notes);
    assert!(swept.notes[3].contains("end before a backlog is seen to grow"), "{:?}", swept.notes);
    let shown = told.iter().map(|point| (point.dispatchers, point.slots, point.window));
    assert!(shown.eq([4, 4, 8, 8].map(|slots| (Some(1), Some(slots), Some(8)))), "{told:#?}");
    // Two numbers of slots are too few for a law, which is said.
    assert!(swept.scaling.len() == 1 && swept.scaling[0].law.is_none(), "{:#?}", swept.scaling);
    assert!(swept.notes[2].starts_with("slots (dispatchers=1 window=8): no scalability law"), "{:?}", swept.notes);
    assert!(swept.notes[1].starts_with("slots=8 window=8: "), "{:?}", swept.notes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_waits_for_the_queues_to_go_on_and_drains_no_faster_than_the_slots_allow() {
    let profile = Profile {
        queues: vec!["name=a slots=2".into(), "name=b slots=2".into()],
        executors: vec!["latency=20ms".into()],
        ..profile()
    };
    let spec = DrainSpec {
        profile,
        backlog: 200,
        rate: 10.0,
        fill: Duration::from_secs(2),
        limit: Duration::from_secs(300),
        capacity: None,
    };
    let drained = drain(spec, |_| {}).await.unwrap();
    assert!(drained.report.verdict.ok, "{:#?}", drained.report.verdict.findings);
    assert_eq!((drained.report.seconds[0].attempts, drained.exit_code), (0, 0), "nothing is sent while it is paused");
    // The plan's own rounding is a task at most; what comes between its end and the look belongs to the backlog.
    assert!(drained.backlog >= 199, "{drained}");
    // Two slots for each hundred, 20 ms each: the last goes out after 0.98 s.
    assert!(drained.drained_s.unwrap() > 0.9, "{drained}");
    assert_eq!(drained.capacity_per_s, Some(200.0));
    let predicted = drained.backlog as f64 / 190.0;
    assert!((drained.predicted_s.unwrap() - predicted).abs() < 1e-9, "{drained}");
    assert!(drained.off.unwrap() > -0.2, "{drained}");
    fits(Written::Drain, &drained);
}
