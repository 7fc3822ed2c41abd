//! What worlds are made of. That they judge well is tested where there is a broker: in `tests/library.rs`.

use super::*;
use crate::case::FaultKind;

#[test]
fn what_is_said_is_the_same_for_all_seeds_and_the_rest_is_drawn() {
    let world = World::builder().dispatchers(2).lanes([LaneSpec::named("only", 1)]).build();
    let cases: Vec<_> = (1..30).map(|seed| world.case(seed).expect("it can be run")).collect();
    assert!(cases.iter().all(|case| case.world.dispatchers == 2 && case.world.dispatcher.lanes.len() == 1));
    assert!(cases.iter().all(|case| case.tasks.iter().all(|task| task.lane == 0)));
    let executors: std::collections::BTreeSet<_> = cases.iter().map(|case| case.world.executors).collect();
    assert!(executors.len() > 2, "{executors:?}");
    assert!(cases.iter().any(|case| !case.faults.is_empty()));
}

#[test]
fn given_tasks_and_faults_are_taken_as_they_are_and_the_world_heals_after_them() {
    let tasks = [TaskSpec::new(1, 0), TaskSpec::new(2, 500_000)];
    let alarm = Fault { at_ms: 400_000, for_ms: 300_000, kind: FaultKind::Alarm };
    let world =
        World::builder().workload(Workload::tasks(tasks.clone())).faults(Faults::these([alarm.clone()])).build();
    let case = world.case(7).expect("it can be run");
    assert_eq!((case.tasks.as_slice(), case.faults.as_slice()), (tasks.as_slice(), [alarm].as_slice()));
    assert_eq!(case.heal_at_ms, 700_000);
    assert_eq!(case.settle_ms, case.settle_bound_ms());
}

#[test]
fn what_can_not_be_run_is_told_with_its_field() {
    let task = TaskSpec { executor: 9, ..TaskSpec::new(1, 0) };
    let world = World::builder().executors(2).workload(Workload::tasks([task])).seeds([3]).build();
    let error = world.run().expect_err("there is no executor-9").to_string();
    assert_eq!(error, "seed 3 can't be run: case: tasks[0].executor: 9 is not 1 to 2");
}

#[test]
fn a_brokers_limit_is_raised_for_faults_only_where_nobody_said_one() {
    let limited = BrokerSpec { delivery_limit: 3, ..BrokerSpec::default() };
    let case = |builder: WorldBuilder| builder.build().case(1).expect("it can be run");
    assert_eq!(case(World::builder().broker(limited)).world.broker.delivery_limit, 3);
    assert!(case(World::builder()).world.broker.delivery_limit >= 100);
}

#[test]
fn an_even_workload_takes_all_hosts_and_lanes_in_turn() {
    let world = World::builder().executors(3).producers(2).workload(Workload::even(6, 10)).build();
    let tasks = world.case(1).expect("it can be run").tasks;
    assert_eq!(tasks.iter().map(|task| task.executor).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
    assert_eq!(tasks.iter().map(|task| task.at_ms).collect::<Vec<_>>(), [0, 10, 20, 30, 40, 50]);
    assert_eq!(tasks.iter().map(|task| task.producer).collect::<Vec<_>>(), [1, 2, 1, 2, 1, 2]);
}
