//! From end to end, small: the program `quebert` as a process with its embedded broker, under the whole tester. What is
//! judged is the verdict; figures of time depend on the machine and are left alone.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::{
    report::Report,
    run::{Config, Profile, run},
};

fn profile(arrivals: &str) -> Profile {
    Profile {
        arrivals: arrivals.into(),
        quebert: Some(quebert().to_str().unwrap().to_owned()),
        backoff_max: "1s".into(),
        // A busy machine is late; what is judged here is what became of the tasks.
        late_grace: "5s".into(),
        settle: "5m".into(),
        ..Profile::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_task_has_its_end_and_the_books_agree() {
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let profile = Profile {
        queues: text(&["name=high priority=2 slots=8", "name=low slots=4"]),
        mix: text(&["queue=high", "queue=low weight=2 delay=uniform:10ms,900ms", "queue=low to=broken weight=0.2"]),
        executors: text(&["latency=exp:5ms fail-first=1", "name=broken status=410:100%"]),
        thresholds: text(&["lost==0", "dead>0", "attempts/executed>1"]),
        ..profile("constant 100/s 2s then burst 100 at once 1s")
    };
    let mut looks = 0;
    let report = run(Config::try_from(profile).unwrap(), |_| looks += 1, None).await.unwrap();
    let verdict = &report.verdict;
    assert!(verdict.ok, "{:#?}", verdict.findings);
    assert_eq!((verdict.confirmed, verdict.succeeded + verdict.dead), (300, 300));
    assert!(verdict.dead > 5 && verdict.attempts > 500, "{verdict:#?}");
    assert_eq!(verdict.findings.iter().filter(|finding| finding.name.starts_with("account of")).count(), 3);
    assert!(report.thresholds.iter().all(|threshold| threshold.ok), "{:#?}", report.thresholds);
    assert!(looks > 1 && report.seconds.iter().map(|second| second.offered).sum::<u32>() == 300);
    let names = report.processes.iter().map(|process| &*process.name).collect::<Vec<_>>();
    assert!(names.contains(&"dispatcher 1") && names.contains(&"tester"), "{names:?}");
    assert!(report.latency["retry_lag"].summary.count > 100 && report.latency["schedule_lag"].summary.count > 50);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap().verdict, report.verdict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_run_is_marked_as_that() {
    let profile = Profile { executors: vec!["latency=20ms".into()], ..profile("closed n=4 2s") };
    let report = run(Config::try_from(profile).unwrap(), |_| {}, None).await.unwrap();
    assert!(report.closed && report.verdict.ok, "{:#?}", report.verdict.findings);
    assert!(report.queues[0].under_way_max <= 4 && report.verdict.succeeded > 10, "{:#?}", report.verdict);
}

/// Connections break off, are refused and are reset, and each new one has to shake hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_over_https_loses_nothing() {
    let text = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let profile = Profile {
        tls: true,
        mix: text(&["to=main weight=3", "to=closing"]),
        executors: text(&[
            "latency=exp:5ms fail-first=1 outage=reset:500ms..800ms outage=truncate:1s..1200ms",
            "name=closing keep-alive=off outage=refuse:1s..1500ms",
        ]),
        ..profile("constant 80/s 3s")
    };
    let report = run(Config::try_from(profile).unwrap(), |_| {}, None).await.unwrap();
    let verdict = &report.verdict;
    assert!(verdict.ok && report.profile.tls, "{:#?}", verdict.findings);
    assert_eq!((verdict.confirmed, verdict.succeeded, verdict.lost), (240, 240, 0));
    assert!(verdict.attempts > 400, "{verdict:#?}");
}
