//! At least once, few duplicates, poison, drain, accounts, mediators and the end.

use super::tale::{BROKER, D1, Tale, case, id, second};
use crate::{
    case::{
        Fault, FaultKind,
        work::{HookSpec, Poison, Reply},
    },
    history::{CopyNo, Order, TaskNo, What},
    host::Host,
    judge::Oracle,
};
use quebert_dispatcher::{
    event::{Event, ExpiryStage, Settlement},
    ports::broker::{Opening, Target},
    verdict::{BuryReason, RetryReason},
};
use std::time::Duration;

fn tale(tasks: u32) -> Tale {
    Tale::of(case(tasks))
}

#[test]
fn a_task_that_is_done_and_then_acked_keeps_all_promises() {
    tale(2).published(1, 1).published(2, 2).done(1, 1).held(0, 0).done(2, 2).held(0, 0).keeps_all();
}

#[test]
fn an_ack_before_the_answer_is_seen() {
    let mut early = tale(1);
    early.published(1, 1).delivered(1).started(1, 1).acked(1).answered(1, 1, 200).settled(1, Settlement::Succeeded);
    early.breaks(Oracle::AtLeastOnce, "knew of no end of it");
    early.breaks(Oracle::AtLeastOnce, "lost");
}

/// Delivered, answered 500, and to be tried again in 1.5 s.
fn failed() -> Tale {
    let mut tale = tale(1);
    tale.case.world.dispatcher.lanes[0].backoff_min_ms = 1_500;
    tale.published(1, 1).delivered(1).started(1, 1).answered(1, 1, 500).retry(1, 1, 1_500);
    tale
}

#[test]
fn a_retry_is_acked_only_when_its_next_message_is_confirmed() {
    let mut good = failed();
    good.moved(1, 2, second(), 1).settled(1, Settlement::Retried).acked(1);
    good.keeps_all();
    failed().stored(1, 2, second(), 1).settled(1, Settlement::Retried).acked(1).breaks(Oracle::AtLeastOnce, "acked by");
    let refused = What::Answered { copy: None, to: D1, how: "nack" };
    let mut bad = failed();
    bad.at(BROKER, refused).settled(1, Settlement::Retried).acked(1).breaks(Oracle::AtLeastOnce, "lost: confirmed");
}

#[test]
fn a_broker_with_transactions_may_tell_of_the_ack_first() {
    let mut tale = failed();
    tale.case.world.broker.relocates = true;
    tale.stored(1, 2, second(), 1);
    tale.now -= Duration::from_millis(10);
    tale.acked(1).confirmed(2).settled(1, Settlement::Retried).keeps_all();
}

#[test]
fn a_confirmed_task_that_a_crash_loses_is_seen() {
    let mut lost = tale(1);
    lost.published(1, 1).at(BROKER, What::Unstored { copy: CopyNo(1) }).breaks(Oracle::AtLeastOnce, "lost");
    let mut unconfirmed = tale(1);
    unconfirmed.published(1, 1);
    unconfirmed.entries.retain(|entry| !matches!(entry.what, What::Confirmed { .. }));
    unconfirmed.at(BROKER, What::Unstored { copy: CopyNo(1) }).keeps_all();
}

#[test]
fn an_expired_task_is_kept_where_the_config_says_so() {
    let expired = |bury| {
        let mut case = case(1);
        case.tasks[0].ttl_ms = Some(100);
        case.world.dispatcher.bury_expired = bury;
        let mut tale = Tale::of(case);
        tale.published(1, 1).wait(200).delivered(1).expired(1, ExpiryStage::Received);
        tale
    };
    expired(false).settled(1, Settlement::Expired).acked(1).keeps_all();
    expired(true).settled(1, Settlement::Expired).acked(1).breaks(Oracle::AtLeastOnce, "acked by");
    let mut kept = expired(true);
    let dead = kept.dead();
    kept.moved(1, 2, dead, 0).settled(1, Settlement::Expired).acked(1).keeps_all();
}

/// A task that succeeded, and whose ack was lost with the connection.
fn ack_lost() -> Tale {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).started(1, 1).answered(1, 1, 200).settled(1, Settlement::Succeeded);
    tale.returned(1, "connection").closed().opened(9).redelivered(1);
    tale
}

#[test]
fn a_redelivery_of_what_was_settled_is_acked_and_not_sent() {
    ack_lost().settled(1, Settlement::Duplicate).acked(1).keeps_all();
    ack_lost().started(1, 1).breaks(Oracle::FewDuplicates, "whose end it knew");
}

#[test]
fn a_request_under_way_adopts_the_redelivery() {
    let lost = || {
        let mut tale = tale(1);
        tale.published(1, 1).delivered(1).started(1, 1).returned(1, "connection").closed();
        tale.settled(1, Settlement::Requeued).opened(9).redelivered(1);
        tale
    };
    lost().answered(1, 1, 200).settled(1, Settlement::Succeeded).acked(1).keeps_all();
    lost().started(1, 1).breaks(Oracle::FewDuplicates, "sent attempt 1 of message 1 again");
}

#[test]
fn requests_beyond_the_first_are_explained_one_by_one() {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).started(1, 1).requested(1, 1, 70, Reply::Hang);
    tale.clone().requested(1, 1, 71, Reply::Hang).breaks(Oracle::FewDuplicates, "sent 2 times, and 0 faults");
    tale.returned(1, "connection").requested(1, 1, 71, Reply::Hang).keeps_all();
    tale.requested(1, 1, 72, Reply::Hang).breaks(Oracle::FewDuplicates, "sent 3 times, and 1 faults");
}

#[test]
fn what_only_waited_when_its_connection_was_lost_explains_nothing() {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).returned(1, "connection").closed().settled(1, Settlement::Requeued);
    tale.opened(9).redelivered(1).started(1, 1).requested(1, 1, 70, Reply::Hang).keeps_all();
    tale.requested(1, 1, 71, Reply::Hang).breaks(Oracle::FewDuplicates, "sent 2 times");
}

fn poisoned() -> Tale {
    let mut case = case(1);
    case.tasks[0].poison = Some(Poison::Garbage);
    let mut tale = Tale::of(case);
    tale.published(1, 1).delivered(1);
    tale
}

fn settled_unread(tale: &mut Tale, result: Settlement) -> &mut Tale {
    tale.event(Event::Settled { lane: tale.name(), result, task: None, attempts: 0, age: None, trace: None })
}

#[test]
fn poison_ends_among_the_dead_letters_and_is_never_sent_or_given_back() {
    let mut kept = poisoned();
    let dead = kept.dead();
    kept.buried(None, BuryReason::Undecodable).moved(1, 2, dead, 0);
    settled_unread(&mut kept, Settlement::DeadLettered).acked(1).keeps_all();
    settled_unread(&mut poisoned(), Settlement::Requeued).breaks(Oracle::PoisonIsKept, "given back");
    poisoned().requested(1, 1, 1, Reply::Hang).breaks(Oracle::PoisonIsKept, "it was sent");
    settled_unread(&mut poisoned(), Settlement::DeadLettered).acked(1).breaks(Oracle::PoisonIsKept, "dead letters");
}

#[test]
fn nothing_starts_in_a_drain_or_a_pause() {
    let mut tale = tale(2);
    tale.published(1, 1).delivered(1).told(Order::Drain(Duration::from_secs(5))).event(Event::Draining);
    tale.started(1, 1).breaks(Oracle::Drain, "though it drains");
    let paused = |paused: bool| {
        let mut tale = super::settling::tale(1);
        let lane = tale.name();
        tale.published(1, 1).delivered(1).event(Event::LanePaused { lane: lane.clone(), paused: true });
        if !paused {
            tale.event(Event::LanePaused { lane, paused: false }).closed();
            tale.settled(1, Settlement::Requeued).opened(9).sent_to(D1, 1, false).taken_in(1, false);
        }
        tale.started(1, 1);
        tale
    };
    paused(true).breaks(Oracle::Drain, "though the lane is paused");
    paused(false).keeps_all();
}

#[test]
fn a_drain_waits_for_what_is_under_way_and_for_no_longer_than_its_grace() {
    let draining = || {
        let mut tale = tale(1);
        tale.published(1, 1).delivered(1).started(1, 1);
        tale.told(Order::Drain(Duration::from_secs(5))).event(Event::Draining);
        tale
    };
    let mut waits = draining();
    waits.answered(1, 1, 200).settled(1, Settlement::Succeeded).ended_itself(1, 1, 0).acked(1).keeps_all();
    draining().ended_itself(1, 0, 1).breaks(Oracle::Drain, "begun at");
    draining().wait(5_000).ended_itself(1, 0, 1).keeps_all();
    draining().wait(30_000).breaks(Oracle::Drain, "has not ended");
    let mut forgets = draining();
    forgets.answered(1, 1, 200).settled(1, Settlement::Succeeded).ended_itself(1, 1, 0).returned(1, "connection");
    forgets.breaks(Oracle::Drain, "came back");
    forgets.case.faults.push(Fault { at_ms: 0, for_ms: 10, kind: FaultKind::CloseConnection { host: D1 } });
    forgets.keeps_all();
}

#[test]
fn gauges_and_sums_agree_with_what_was_told() {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).started(1, 1).held(1, 0).keeps_all();
    tale.clone().held(1, 1).breaks(Oracle::AccountedFor, "1 delivered, 0 settled, and 2");
    tale.answered(1, 1, 200).settled(1, Settlement::Succeeded).held(0, 0).acked(1);
    tale.clone().ended_itself(1, 1, 0).keeps_all();
    tale.clone().ended_itself(1, 2, 0).breaks(Oracle::AccountedFor, "2 settled");
    tale.ended_itself(2, 2, 0).breaks(Oracle::AccountedFor, "and told of 1");
}

#[test]
fn an_ack_that_never_goes_out_is_seen_when_later_ones_do() {
    let forgotten = |ms| {
        let mut tale = tale(2);
        tale.published(1, 1).published(2, 2).delivered(1).started(1, 1).answered(1, 1, 200);
        tale.settled(1, Settlement::Succeeded).wait(ms).done(2, 2);
        tale
    };
    forgotten(2_000).breaks(Oracle::AccountedFor, "has not heard of it");
    forgotten(100).keeps_all();
}

#[test]
fn what_is_given_back_and_forgotten_is_seen_when_its_lane_is_opened_again() {
    let paused = |why| {
        let mut tale = tale(1);
        let lane = tale.name();
        tale.published(1, 1).delivered(1).event(Event::LanePaused { lane: lane.clone(), paused: true });
        tale.settled(1, Settlement::Requeued).wait(3_000).returned(1, why);
        tale
    };
    paused("give_back").keeps_all();
    paused("closed").breaks(Oracle::AccountedFor, "has never heard of it");
}

fn hooked(hook: HookSpec) -> Tale {
    let mut case = case(1);
    case.world.dispatcher.mediator = true;
    case.tasks[0].hook = Some(hook);
    let mut tale = Tale::of(case);
    tale.published(1, 1).delivered(1);
    tale
}

#[test]
fn what_hooks_say_is_done() {
    hooked(HookSpec::Drop).settled(1, Settlement::Filtered).acked(1).keeps_all();
    hooked(HookSpec::Drop).started(1, 1).breaks(Oracle::Mediators, "drops");
    hooked(HookSpec::Bury).started(1, 1).breaks(Oracle::Mediators, "buries");
    hooked(HookSpec::Bury).settled(1, Settlement::Filtered).acked(1).breaks(Oracle::Mediators, "no hook said so");
    hooked(HookSpec::Panic { until: 1 }).started(1, 1).breaks(Oracle::Mediators, "fails");
    hooked(HookSpec::PutOff { ms: 400 }).started(1, 1).breaks(Oracle::Mediators, "puts it off");
    let mut put_off = hooked(HookSpec::PutOff { ms: 400 });
    put_off.retry_for(1, 0, 400, RetryReason::Hook).wait(400).started(1, 1).keeps_all();
}

#[test]
fn what_is_not_settled_when_it_must_be_is_told_with_its_place() {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).started(1, 1).wait(200_000);
    tale.breaks(Oracle::Liveness, "message 1 in Queue(\"high\"), with dispatcher-1");
    Tale::of(case(1)).wait(200_000).breaks(Oracle::Liveness, "no confirmation");
    let mut done = super::settling::tale(1);
    done.published(1, 1).done(1, 1).wait(200_000).keeps_all();
}

#[test]
fn a_lane_that_is_not_opened_again_is_seen() {
    let mut tale = Tale::of(case(0));
    let disconnected = Event::BrokerDisconnected { reason: "io", detail: String::new() };
    tale.closed().event(disconnected).wait(30_000).event(Event::BrokerConnected);
    tale.clone().opened(9).wait(20_000).keeps_all();
    tale.wait(20_000).breaks(Oracle::Liveness, "lane high of dispatcher-1 is not open");
    let mut resumed = Tale::of(case(0));
    let lane = resumed.name();
    resumed.event(Event::LanePaused { lane: lane.clone(), paused: true }).wait(20_000);
    resumed.event(Event::LanePaused { lane, paused: false }).wait(20_000).breaks(Oracle::Liveness, "is not open");
}

#[test]
fn windows_are_given_and_kept() {
    Tale::of(case(0)).opened_with(9, 65_535).breaks(Oracle::Bounded, "with a window of 65535, not 10");
    let mut full = tale(11);
    for n in 1..=10 {
        full.published(n, n.into()).sent_to(D1, n.into(), false);
    }
    full.keeps_all();
    full.published(11, 11).sent_to(D1, 11, false).breaks(Oracle::Bounded, "11 deliveries");
}

#[test]
fn attempts_are_counted_and_never_too_many() {
    let mut again = failed();
    again.wait(1_600).started(1, 2).keeps_all();
    failed().wait(1_600).started(1, 3).breaks(Oracle::Bounded, "attempt 3, after [1]");
    failed().moved(1, 2, second(), 0).breaks(Oracle::Bounded, "message 2 counts 0 attempts");
    let mut most = failed();
    most.case.tasks[0].max_attempts = Some(1);
    most.wait(1_600).started(1, 2).breaks(Oracle::Bounded, "attempt 2, of 1");
}

#[test]
fn a_damaged_body_is_seen() {
    let mut tale = tale(1);
    tale.published(1, 1).delivered(1).started(1, 1).requested(1, 1, 1, Reply::Hang).keeps_all();
    let Some(What::Request { intact, .. }) = tale.entries.last_mut().map(|entry| &mut entry.what) else { panic!() };
    *intact = false;
    tale.breaks(Oracle::Bounded, "its body");
}

#[test]
fn a_panic_is_told_with_its_host() {
    let ran = crate::net::Ran {
        end: Duration::ZERO,
        panics: vec![(Host::Dispatcher(2), "no".to_owned())],
        wire_hash: 0,
        segments: 0,
    };
    let violations = crate::judge::judge(&case(0), &[], &ran);
    assert_eq!((violations[0].oracle, &*violations[0].detail), (Oracle::NoPanic, "dispatcher-2: no"));
}

#[test]
fn a_story_has_the_beginning_and_what_is_around_the_moment() {
    let mut tale = tale(1);
    tale.published(1, 1);
    for _ in 0..20 {
        tale.at(BROKER, What::Answered { copy: Some(CopyNo(1)), to: D1, how: "never" });
    }
    let now = tale.now;
    tale.at(BROKER, What::Closed { by: D1, opening: Opening(1) }).done(1, 1);
    let story = crate::judge::story(&tale.entries, TaskNo(1), now);
    assert!(story.len() <= 12 && story[0].contains("offered"), "{story:#?}");
    assert!(story[1].contains("16 more") && story.last().unwrap().contains("more"), "{story:#?}");
    let target = Target::Queue(tale.name());
    assert!(id(1).as_str() == "t1" && target == Target::Queue("high".into()));
}
