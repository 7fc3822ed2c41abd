//! Dispatchers that are wrong in one way each: the ledger must say so, and nothing else. And a right one, of which it must
//! say nothing.

use super::fake::{Mutation, Trial};
use crate::ledger::Verdict;
use std::time::Duration;

/// The promises that were broken.
fn broken(verdict: &Verdict) -> Vec<&str> {
    verdict.findings.iter().filter(|finding| !finding.ok).map(|finding| finding.name.as_str()).collect()
}

#[track_caller]
fn only(verdict: &Verdict, promise: &str) {
    assert_eq!(broken(verdict), [promise], "{:#?}", verdict.findings);
    assert!(!verdict.ok);
}

/// Enough for two of ten thousand.
fn many() -> Trial {
    Trial { arrivals: "constant 1000/s 20s", ..Trial::default() }
}

/// Everything that can happen to a task that is in order: delays, times to live, retries, dead letters.
fn busy() -> Trial {
    Trial {
        arrivals: "poisson 100/s 20s",
        class: "queue=load ttl=lognormal:1s,20s delay=exp:500ms",
        executor: "latency=exp:20ms status=503:30% status=410:2%",
        ..Trial::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_dispatcher_is_found_right() {
    let (_, verdict) = busy().run(Mutation::default()).await;
    assert!(verdict.ok, "{:#?}", verdict.findings);
    assert!(verdict.succeeded > 1_000 && verdict.expired > 100 && verdict.dead > verdict.expired, "{verdict:#?}");
    assert_eq!(verdict.confirmed, verdict.succeeded + verdict.dead);
}

#[tokio::test(start_paused = true)]
async fn one_lost_task_in_ten_thousand_is_found() {
    let (_, verdict) = many().run(Mutation { loses_one_in: 10_000, ..Mutation::default() }).await;
    only(&verdict, "lost");
    assert_eq!((verdict.confirmed, verdict.lost), (20_000, 2));
    assert_eq!(verdict.lost_ids, ["lt-test-5000", "lt-test-15000"]);
}

#[tokio::test(start_paused = true)]
async fn duplicates_are_found_unless_a_fault_explains_them() {
    let mutation = || Mutation { duplicates_one_in: 10_000, ..Mutation::default() };
    let (_, verdict) = many().run(mutation()).await;
    only(&verdict, "duplicates unexplained");
    assert_eq!((verdict.duplicates, verdict.duplicates_unexplained), (2, 2));
    assert_eq!(verdict.unexplained_ids, ["lt-test-5000", "lt-test-15000"]);
    // The first is sent at 5 s, the second at 15 s.
    let fault = Duration::from_secs(4)..Duration::from_secs(6);
    let (_, verdict) = many().run_with_faults(mutation(), &[fault]).await;
    only(&verdict, "duplicates unexplained");
    assert_eq!((verdict.duplicates, verdict.duplicates_unexplained), (2, 1));
    assert_eq!(verdict.unexplained_ids, ["lt-test-15000"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_made_twice_is_found() {
    let (_, verdict) = many().run(Mutation { repeats_one_in: 10_000, ..Mutation::default() }).await;
    only(&verdict, "repeats unexplained");
    assert_eq!((verdict.repeats, verdict.duplicates), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_sent_early_is_found() {
    let trial = || Trial { class: "queue=load delay=1s", ..Trial::default() };
    let (_, verdict) = trial().run(Mutation { early: Duration::from_millis(5), ..Mutation::default() }).await;
    only(&verdict, "early");
    assert_eq!(verdict.early, 2_000);
    let (_, verdict) = trial().run(Mutation::default()).await;
    assert!(verdict.ok, "{:#?}", verdict.findings);
}

#[tokio::test(start_paused = true)]
async fn a_retry_before_its_backoff_is_found() {
    let trial = || Trial { executor: "latency=1ms fail-first=1", ..Trial::default() };
    let (_, verdict) = trial().run(Mutation { hasty: Duration::from_millis(50), ..Mutation::default() }).await;
    only(&verdict, "early");
    let (_, verdict) = trial().run(Mutation::default()).await;
    assert!(verdict.ok, "{:#?}", verdict.findings);
}

#[tokio::test(start_paused = true)]
async fn a_time_to_live_that_is_ignored_is_found() {
    // Four slots of 100 ms each make 40 tasks a second of 100, so that many wait too long.
    let slow = || Trial { class: "queue=load ttl=500ms", executor: "latency=100ms", slots: 4, ..Trial::default() };
    let (_, verdict) = slow().run(Mutation { ignores_ttl: true, ..Mutation::default() }).await;
    only(&verdict, "late after expiry");
    let (_, verdict) = slow().run(Mutation::default()).await;
    assert!(verdict.ok && verdict.expired > 500, "{:#?}", verdict.findings);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_requests_under_way_beyond_their_limits_are_found() {
    let dead = Trial { arrivals: "constant 10/s 10s", executor: "latency=1ms status=503:100%", ..Trial::default() };
    let (_, verdict) = dead.run(Mutation { attempts_more: 1, ..Mutation::default() }).await;
    only(&verdict, "over attempts");
    assert_eq!((verdict.over_attempts, verdict.dead), (100, 100));
    let full = Trial { executor: "latency=100ms", slots: 4, ..Trial::default() };
    let (_, verdict) = full.run(Mutation { slots_more: 1, ..Mutation::default() }).await;
    only(&verdict, "over limits");
}

#[tokio::test(start_paused = true)]
async fn a_closed_phase_keeps_as_many_under_way_as_it_says() {
    let closed = Trial { arrivals: "closed n=7 10s", executor: "latency=100ms", ..Trial::default() };
    let (book, verdict) = closed.run(Mutation::default()).await;
    assert!(verdict.ok, "{:#?}", verdict.findings);
    assert_eq!(book.peaks(), [7]);
    // Seven clients, each of which makes ten tasks a second.
    assert!((690..=707).contains(&verdict.succeeded), "{verdict:#?}");
}
