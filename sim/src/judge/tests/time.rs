//! Never early, never late, backoff.

use super::tale::{Tale, case, second};
use crate::{
    case::{Fault, FaultKind, work::Reply},
    history::{TaskNo, What},
    host::Host,
    judge::Oracle,
};
use quebert_dispatcher::{
    event::{ExpiryStage, Settlement},
    verdict::RetryReason,
};
use std::time::Duration;

#[test]
fn a_start_before_not_before_is_seen_to_the_millisecond() {
    let after = |ms| {
        let mut case = case(1);
        case.tasks[0].delay_ms = Some(500);
        let mut tale = Tale::of(case);
        // Published at 30 ms, delivered after 60 ms more.
        tale.published(1, 1).delivered(1).wait(ms).started(1, 1);
        tale
    };
    after(440).keeps_all();
    after(439).breaks(Oracle::NeverEarly, "1ms before its not_before");
}

#[test]
fn a_producers_clock_counts_for_its_tasks() {
    let mut case = case(1);
    case.tasks[0].delay_ms = Some(500);
    case.faults.push(Fault { at_ms: 0, for_ms: 0, kind: FaultKind::ClockJump { host: Host::Producer(1), ms: -300 } });
    let mut tale = Tale::of(case);
    tale.at(Host::Producer(1), What::Fault { index: 0, begins: true });
    tale.published(1, 1).delivered(1).wait(140);
    tale.clone().started(1, 1).keeps_all();
    tale.now -= Duration::from_millis(1);
    tale.started(1, 1).breaks(Oracle::NeverEarly, "1ms before");
}

#[test]
fn a_start_before_the_end_of_its_backoff_is_seen_over_the_delay_grid_too() {
    let retried = |after| {
        let mut tale = Tale::of(case(1));
        tale.case.world.dispatcher.lanes[0].backoff_min_ms = 1_500;
        tale.published(1, 1).delivered(1).started(1, 1).answered(1, 1, 500).retry(1, 1, 1_500);
        tale.moved(1, 2, second(), 1).settled(1, Settlement::Retried).acked(1);
        let queue = quebert_dispatcher::ports::broker::Target::Queue(tale.name());
        let source = quebert_dispatcher::ports::broker::Source::Delay(quebert_dispatcher::grid::Step::FIRST);
        let tag =
            quebert_dispatcher::ports::broker::Tag { opening: quebert_dispatcher::ports::broker::Opening(7), seq: 1 };
        let copy = crate::history::CopyNo(2);
        let to = super::tale::D1;
        tale.at(super::tale::BROKER, What::Delivered { copy, tag, source, to, redelivered: false });
        tale.moved(1, 3, queue, 1).acked(2).delivered(3).wait(after).started(1, 2);
        tale
    };
    retried(1_500).keeps_all();
    retried(0).breaks(Oracle::NeverEarly, "before the moment it was put off to");
}

fn with_ttl(ttl_ms: u64) -> Tale {
    let mut case = case(1);
    case.tasks[0].ttl_ms = Some(ttl_ms);
    let mut tale = Tale::of(case);
    // Made at 30 ms.
    tale.published(1, 1).delivered(1);
    tale
}

#[test]
fn a_start_at_or_after_the_expiry_is_seen() {
    with_ttl(61).started(1, 1).keeps_all();
    with_ttl(60).started(1, 1).breaks(Oracle::NeverLate, "0ns after it expired");
}

#[test]
fn an_attempt_that_goes_on_after_the_expiry_is_seen() {
    let ends_after = |ms| {
        let mut tale = with_ttl(1_000);
        tale.started(1, 1).wait(ms).ended(1, 1, None, Duration::from_millis(ms + 10));
        tale
    };
    ends_after(930).keeps_all();
    ends_after(1_000).breaks(Oracle::NeverLate, "went on for 1.01s");
    let mut frozen = ends_after(1_000);
    let freeze = FaultKind::Freeze { host: Host::Dispatcher(1) };
    frozen.case.faults.push(Fault { at_ms: 500, for_ms: 100, kind: freeze });
    frozen.keeps_all();
}

#[test]
fn nothing_is_retried_beyond_its_expiry_and_nothing_expires_before() {
    let failed = |ttl| {
        let mut tale = with_ttl(ttl);
        tale.started(1, 1).answered(1, 1, 500).retry(1, 1, 500);
        tale
    };
    failed(2_000).keeps_all();
    failed(590).breaks(Oracle::NeverLate, "tried again");
    with_ttl(100).expired(1, ExpiryStage::BeforeDispatch).breaks(Oracle::NeverLate, "with Some(40ms) to go");
    with_ttl(50).expired(1, ExpiryStage::BeforeDispatch).keeps_all();
    with_ttl(100).expired(1, ExpiryStage::BeforeRetry).keeps_all();
}

/// A failed second attempt, so answered, and its delay.
#[track_caller]
fn check(reply: Reply, reason: RetryReason, delay_ms: u64, broken: bool) {
    let mut tale = Tale::of(case(1));
    tale.case.world.dispatcher.lanes[0].retry_after_max_ms = 10_000;
    tale.published(1, 1);
    for entry in &mut tale.entries {
        if let What::Stored { attempts, .. } = &mut entry.what {
            *attempts = 1;
        }
    }
    tale.delivered(1).started(1, 2).answered_so(1, 2, 503, reply).retry_for(1, 2, delay_ms, reason);
    if broken {
        tale.breaks(Oracle::Backoff, "after 2 attempts");
    } else {
        tale.keeps_all();
    }
}

#[test]
fn delays_lie_within_the_policys_bounds() {
    // Twice 500 ms after the second attempt, half of it jitter.
    for (delay_ms, broken) in [(499, true), (500, false), (1_000, false), (1_001, true)] {
        check(Reply::Status(500), RetryReason::ServerError, delay_ms, broken);
    }
}

#[test]
fn executors_get_the_delay_that_they_ask_for_up_to_the_cap() {
    let after = |seconds| Reply::RetryAfter { status: 503, seconds, date: false };
    for (seconds, delay_ms, broken) in [
        (4, 3_999, true),
        (4, 4_000, false),
        (4, 5_000, false),
        (4, 5_001, true),
        (60, 10_000, false),
        (60, 20_001, true),
    ] {
        check(after(seconds), RetryReason::ServerError, delay_ms, broken);
    }
    for (delay_ms, broken) in [(3_999, true), (4_000, false), (4_001, true)] {
        check(Reply::After { seconds: 4 }, RetryReason::ServerError, delay_ms, broken);
    }
    // A date: whole seconds of the executor's clock.
    let date = || Reply::RetryAfter { status: 503, seconds: 4, date: true };
    check(date(), RetryReason::ServerError, 3_870, false);
    check(date(), RetryReason::ServerError, 3_800, true);
    // It did not come through.
    check(after(4), RetryReason::Timeout, 900, false);
}

#[test]
fn what_is_put_off_for_overload_takes_one_to_sixty_seconds() {
    for (delay_ms, broken) in [(999, true), (1_000, false), (60_000, false), (60_001, true)] {
        check(Reply::Status(200), RetryReason::Overload, delay_ms, broken);
    }
    assert_eq!(TaskNo(1).to_string(), "t1");
}
