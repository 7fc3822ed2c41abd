//! Random runs of a core in its model world: weighted operations, and after each input every promise of the core that
//! can be seen from there, as a named invariant. Then the faults stop, and everything must end.
//!
//! A run that failed is kept in `machine.proptest-regressions` and made again by each run of the tests.

mod invariants;
mod liveness;
mod model;
mod ops;
mod people;

use model::Machine;
use ops::{Plan, Weather, plan};
use proptest::{
    prelude::*,
    test_runner::{FileFailurePersistence, TestCaseError},
};

/// `PROPTEST_CASES` says how many runs each test makes; 64 without, some seconds in all. With
/// `PROPTEST_DISABLE_FAILURE_PERSISTENCE` a failing run is not kept: whoever breaks the core on purpose wants none of it.
fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let keep = std::env::var_os("PROPTEST_DISABLE_FAILURE_PERSISTENCE").is_none();
    ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 64 },
        failure_persistence: keep
            .then(|| Box::new(FileFailurePersistence::Direct("src/core/tests/machine.proptest-regressions")) as Box<_>),
        max_shrink_iters: default.max_shrink_iters.min(20_000),
        ..default
    }
}

fn run(plan: Plan, weather: Weather) -> Result<(), TestCaseError> {
    let mut machine = Machine::new(plan.config, plan.transactional, weather);
    for op in plan.ops {
        machine.apply(&op).map_err(|broken| TestCaseError::fail(format!("{broken}, at {op:?}")))?;
    }
    machine.settle_down().map_err(|broken| TestCaseError::fail(format!("{broken}, after the last operation")))
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn every_promise_holds_in_calm_weather(plan in plan(Weather::Calm)) {
        run(plan, Weather::Calm)?;
    }

    #[test]
    fn every_promise_holds_under_faults(plan in plan(Weather::Faults)) {
        run(plan, Weather::Faults)?;
    }

    #[test]
    fn every_promise_holds_when_the_wall_clock_jumps(plan in plan(Weather::Jumps)) {
        run(plan, Weather::Jumps)?;
    }
}
