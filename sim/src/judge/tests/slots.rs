//! Priority, and neighbours.

use super::tale::{Tale, case};
use crate::{case::LaneSpec, judge::Oracle};
use quebert_dispatcher::event::Settlement;

/// Two lanes, `high` and `low`, that share one slot, with a task in each; `low` has two.
fn shared(pass_over_max: Option<u32>) -> Tale {
    let mut case = case(4);
    let lane = |name, priority| LaneSpec { slots_own: 0, slots_max: 1, ..LaneSpec::named(name, priority) };
    case.world.dispatcher.lanes = vec![lane("high", 2), lane("low", 1)];
    case.world.dispatcher.slots_shared = 1;
    case.world.dispatcher.pass_over_max = pass_over_max;
    for task in 1..4 {
        case.tasks[task].lane = 1;
    }
    Tale::of(case)
}

/// `low` works on task 2 and is done with it, while task 1 waits in `high` and task 3 in `low`.
fn contended(pass_over_max: Option<u32>) -> Tale {
    let mut tale = shared(pass_over_max);
    tale.lane(1).published(2, 2).published(3, 3).delivered(2).started(2, 1).lane(0).published(1, 1).delivered(1);
    tale.lane(1).delivered(3).answered(2, 1, 200).settled(2, Settlement::Succeeded);
    tale
}

#[test]
fn a_free_slot_goes_to_the_highest_priority_that_waits() {
    contended(None).lane(0).started(1, 1).keeps_all();
    contended(None).lane(1).started(3, 1).breaks(Oracle::Priority, "of lane high waited");
    // It may have come to its bound.
    contended(Some(1)).lane(0).started(1, 1).answered(1, 1, 200).lane(1).started(3, 1).keeps_all();
    contended(Some(2)).lane(1).started(3, 1).breaks(Oracle::Priority, "of lane high waited");
}

#[test]
fn a_slot_that_stays_empty_while_a_task_waits_is_seen() {
    let mut case = case(2);
    case.tasks[1].executor = 2;
    let mut idle = Tale::of(case);
    idle.published(1, 1).published(2, 2).delivered(1).started(1, 1).held(1, 0).delivered(2);
    idle.clone().started(2, 1).held(2, 0).keeps_all();
    idle.wait(100).held(1, 1).breaks(Oracle::Priority, "message 2 waits");
}

#[test]
fn a_lane_is_passed_over_no_more_than_its_bound_allows() {
    let times = |most: u32, n: u32| {
        let mut case = case(n + 1);
        let lane =
            |name, priority| LaneSpec { slots_own: 0, slots_max: 1, window: 100, ..LaneSpec::named(name, priority) };
        case.world.dispatcher.lanes = vec![lane("high", 2), lane("low", 1)];
        case.world.dispatcher.slots_shared = 1;
        case.world.dispatcher.pass_over_max = Some(most);
        // Task 1 waits in `low`, for another executor.
        case.tasks[0].lane = 1;
        case.tasks[0].executor = 2;
        let mut tale = Tale::of(case);
        tale.lane(1).published(1, 1).delivered(1).lane(0);
        for task in 2..=n + 1 {
            tale.published(task, task.into()).done(task, task.into());
        }
        tale
    };
    times(3, 5).keeps_all();
    times(3, 6).breaks(Oracle::Priority, "lane low was passed over 6 times in a row");
}

#[test]
fn a_lane_has_no_more_slots_than_it_may_have() {
    let running = |n: u32| {
        let mut tale = Tale::of(case(n));
        for task in 1..=n {
            tale.published(task, task.into()).delivered(task.into()).started(task, 1);
        }
        tale
    };
    running(5).keeps_all();
    running(6).breaks(Oracle::Priority, "6 attempts of lane high are under way, of 5");
}

#[test]
fn an_executor_has_no_more_requests_than_it_may_have() {
    let mut tale = Tale::of(case(2));
    tale.case.world.dispatcher.destination_slots = 1;
    tale.published(1, 1).published(2, 2).delivered(1).delivered(2).started(1, 1).keeps_all();
    tale.started(2, 1).breaks(Oracle::NoBadNeighbour, "2 requests are under way to executor-1");
}

#[test]
fn in_a_mixed_lane_trust_is_earned_and_ends_at_the_share() {
    let mixed = || {
        let mut case = case(8);
        case.tasks[1].executor = 2;
        let mut tale = Tale::of(case);
        for task in 1..=8 {
            tale.published(task, task.into()).delivered(task.into());
        }
        tale
    };
    // Half of five slots are three.
    let mut silent = mixed();
    silent.started(1, 1).keeps_all();
    silent.started(3, 1).breaks(Oracle::NoBadNeighbour, "it has answered 0 times");
    let mut trusted = mixed();
    for task in [1, 3, 4] {
        trusted.started(task, 1).answered(task, 1, 200).settled(task, Settlement::Succeeded).acked(task.into());
    }
    trusted.started(5, 1).started(6, 1).started(7, 1).keeps_all();
    trusted.started(8, 1).breaks(Oracle::NoBadNeighbour, "its share is 3");
    // Alone it may have them all.
    let mut alone = mixed();
    alone.case.tasks[1].executor = 1;
    for task in 1..=5 {
        alone.started(task, 1);
    }
    alone.keeps_all();
}
