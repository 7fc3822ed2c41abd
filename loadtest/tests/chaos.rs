//! From end to end with planned faults: what is killed and cut comes back, nothing is lost, and whatever was sent twice is
//! explained by a fault of the report. Figures of time depend on the machine and are left alone.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::{
    report::Report,
    run::{Config, Profile, run},
};

async fn report(arrivals: &str, faults: &[&str], change: impl FnOnce(&mut Profile)) -> Report {
    let mut profile = Profile {
        arrivals: arrivals.into(),
        faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        // Something is always under way when a fault comes, and something waits for its next attempt.
        executors: vec!["latency=uniform:50ms,300ms status=503:5%".into()],
        backoff_max: "1s".into(),
        quebert: Some(quebert().to_str().unwrap().to_owned()),
        settle: "5m".into(),
        ..Profile::default()
    };
    change(&mut profile);
    run(Config::try_from(profile).unwrap(), |_| {}, None).await.unwrap()
}

#[track_caller]
fn assert_kept(report: &Report, faults: &[&str]) {
    let verdict = &report.verdict;
    assert!(verdict.ok, "{:#?}", (&verdict.findings, &verdict.faults, &report.tester.refusals));
    // Of a task that was cut off on its way in nobody knows whether it was stored; it may well succeed.
    assert!(verdict.lost == 0 && verdict.confirmed > 0 && verdict.succeeded >= verdict.confirmed, "{verdict:#?}");
    assert!(verdict.repeats + verdict.duplicates > 0, "what was under way is sent again: {verdict:#?}");
    let mut told = verdict.faults.iter().map(|fault| &*fault.what).collect::<Vec<_>>();
    told.sort_unstable();
    assert_eq!(told, faults);
    assert!(verdict.faults.iter().all(|fault| fault.from_s < fault.until_s), "{:#?}", verdict.faults);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_dispatcher_with_the_broker_in_it_comes_back_with_every_task() {
    let faults = ["kill broker at 4s restart after 0s", "kill dispatcher at 1s restart after 200ms"];
    let report = report("constant 60/s 6s", &faults, |_| {}).await;
    assert_kept(&report, &faults);
    let last = report.seconds.iter().rev().take(3).find_map(|second| second.ready);
    assert!(last.is_some(), "the broker is still asked at its new address");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_links_and_a_killed_rabbitmq_lose_nothing() {
    let faults = [
        "cut link of dispatcher 1 3s..4s",
        "kill broker at 6s restart after 0s",
        "kill dispatcher 2 at 5s",
        "slow link 1s..2s by 20ms",
        "stall link of dispatcher 2 3s..4s",
    ];
    let report = report("constant 60/s 8s", &faults, |profile| {
        (profile.broker, profile.dispatchers) = ("private-rabbitmq".into(), 2);
        profile.queues = vec!["name=load slots=16".into()];
    })
    .await;
    assert_kept(&report, &faults);
}
