//! The proptest strategies, used as somebody would who tests code of their own.

use proptest::{
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use quebert_sim::{
    World,
    case::{BrokerSpec, Case, DispatcherSpec, Engine, FaultKind, WorldSpec, spec::HookError, strategy},
};
use std::{cell::RefCell, collections::BTreeSet};

const HEAL_MS: u64 = 20_000;

fn hosts(change: impl Fn(&mut WorldSpec) + Send + Sync + 'static) -> WorldSpec {
    let world = World::builder().dispatchers(2).executors(3).producers(2);
    let world = world.dispatcher(DispatcherSpec::default()).broker(BrokerSpec::default());
    world.change(change).build().case(1).expect("it can be run").world
}

/// Hosts of all sorts: plain ones, three nodes, the embedded broker, a mediator whose failures put tasks off.
fn sorts() -> Vec<WorldSpec> {
    vec![
        hosts(|_| {}),
        hosts(|world| (world.broker.nodes, world.broker.engine) = (3, Engine::Rabbit)),
        hosts(|world| (world.broker.nodes, world.broker.engine) = (1, Engine::Embedded)),
        hosts(|world| (world.dispatcher.mediator, world.dispatcher.hook_error) = (true, HookError::PutOff)),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
}

#[test]
fn whatever_they_make_can_be_run_and_they_make_every_kind_of_fault() {
    for (world, kinds) in sorts().iter().zip([21, 22, 24, 21]) {
        let made = RefCell::new(BTreeSet::new());
        let tried = runner(300).run(&strategy::case(world, HEAL_MS, 30, 6), |case| {
            prop_assert_eq!(case.check(), Ok(()));
            let kind = |fault| serde_json::to_value(fault).expect("plain data")["fault"].to_string();
            made.borrow_mut().extend(case.faults.iter().map(kind));
            Ok(())
        });
        assert_eq!(tried, Ok(()));
        assert_eq!(made.borrow().len(), kinds, "{made:?}");
    }
}

/// What is left of the first case that fails.
fn shrunk(world: &WorldSpec, fails: impl Fn(&Case) -> bool) -> Case {
    let tried = runner(2_000).run(&strategy::case(world, HEAL_MS, 40, 8), |case| {
        prop_assert!(case.check().is_ok());
        prop_assert!(!fails(&case));
        Ok(())
    });
    match tried {
        Err(TestError::Fail(_, case)) => case,
        other => panic!("it never failed, or was never made: {other:?}"),
    }
}

#[test]
fn a_failing_case_shrinks_to_what_matters() {
    let delayed_cut = |case: &Case| {
        let cut = case.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Cut { .. }));
        cut && case.tasks.iter().any(|task| task.delay_ms.is_some_and(|ms| ms > 1_000))
    };
    let case = shrunk(&hosts(|_| {}), delayed_cut);
    assert_eq!((case.tasks.len(), case.faults.len()), (1, 1), "{}", case.to_json());
    let task = &case.tasks[0];
    assert_eq!((task.at_ms, task.delay_ms, task.ttl_ms, task.poison), (0, Some(1_001), None, None));
    assert!(task.exec.is_empty());
}

#[test]
fn a_world_keeps_its_promises_in_cases_that_proptest_makes() {
    let world = World::builder().build();
    let tried = runner(8).run(&strategy::case(&hosts(|_| {}), HEAL_MS, 15, 3), |case| {
        let report = world.play(&case);
        prop_assert!(report.violations.is_empty(), "{:?}\n{}", report.violations, case.to_json());
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{error}"));
}
