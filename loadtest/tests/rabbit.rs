//! From end to end on RabbitMQ, with a fault: one of two dispatchers is killed in the middle and started again. Nothing may
//! be lost, and what was sent twice must be explained by the kill.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod common;

use common::quebert;
use quebert_loadtest::{
    ledger::LedgerFile,
    run::{Config, Profile, Session},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_dispatcher_loses_nothing_and_explains_what_comes_twice() {
    let profile = Profile {
        arrivals: "constant 60/s 6s".into(),
        broker: "private-rabbitmq".into(),
        dispatchers: 2,
        queues: vec!["name=load slots=16".into()],
        executors: vec!["latency=uniform:50ms,300ms status=503:5%".into()],
        backoff_max: "1s".into(),
        quebert: Some(quebert().to_str().unwrap().to_owned()),
        settle: "5m".into(),
        ..Profile::default()
    };
    let mut session = Session::start(Config::try_from(profile).unwrap()).await.unwrap();
    let mut publishing = session.publish();
    let live = &mut |_: &_| {};
    assert!(!session.watch_until(&mut publishing, Duration::from_secs(2), live).await.unwrap());
    let book = session.book().clone();
    let from = book.clock().now().run;
    session.target().dispatchers_mut()[0].kill().await;
    session.target().restart(0).await.unwrap();
    // Its last requests may stand in the executors' sockets for a while.
    book.fault("kill -9 of dispatcher 1", from, book.clock().now().run);
    session.watch(publishing, live).await.unwrap();
    session.settle(live).await;
    let path = std::env::temp_dir().join(format!("quebert-loadtest-rabbit-{}", std::process::id()));
    let report = session.finish(Some(&path)).await.unwrap();
    let verdict = &report.verdict;
    assert!(verdict.ok, "{:#?}", verdict.findings);
    assert_eq!((verdict.confirmed, verdict.succeeded, verdict.lost), (360, 360, 0), "{verdict:#?}");
    assert_eq!(verdict.faults.len(), 1);
    let names = report.processes.iter().map(|process| &*process.name).collect::<Vec<_>>();
    assert_eq!(names, ["dispatcher 1", "dispatcher 2", "rabbitmq", "tester"]);
    let judged_again = LedgerFile::open(&path).unwrap().judge();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(judged_again, *verdict);
}
