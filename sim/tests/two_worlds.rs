//! Both worlds judge the same cases alike: what keeps its promises in the one does so in the other, and a bug that the one
//! shows the other shows, too.

use quebert_sim::{
    case::{
        Case, scenario,
        swarm::{self, Size},
    },
    net::Kind,
    run::{self, Options, Setup},
};
use std::collections::BTreeSet;

/// The promises that a case breaks in a world.
fn broken(case: &Case, kind: Kind) -> BTreeSet<String> {
    let report = run::run(case, &Setup::default(), &Options { kind, ..Options::default() });
    report.violations.iter().map(|violation| format!("{}: {}", violation.oracle, violation.detail)).collect()
}

#[test]
fn every_scenario_is_judged_alike() {
    for scenario in scenario::ALL {
        let case = (scenario.case)();
        let [fast, turmoil] = [Kind::Fast, Kind::Turmoil].map(|kind| broken(&case, kind));
        assert_eq!(fast, turmoil, "{}", scenario.name);
    }
}

#[test]
fn the_cases_of_seeds_are_judged_alike() {
    for seed in 1..=10 {
        let case = swarm::case(seed, Size::default());
        let [fast, turmoil] = [Kind::Fast, Kind::Turmoil].map(|kind| broken(&case, kind));
        assert_eq!(fast, turmoil, "seed {seed}");
    }
}

#[cfg(feature = "planted")]
mod with_bugs {
    use super::*;
    use quebert_dispatcher::planted::{Bug, plant};
    use quebert_sim::{
        judge::{Oracle, judge},
        planted::setup,
    };

    /// Bugs, a scenario that shows each, and the promise that it breaks there.
    const SHOWN: [(Bug, &str, Oracle); 12] = [
        (Bug::AckBeforeDispatch, "kill_between_settle_steps", Oracle::AtLeastOnce),
        (Bug::LostDeadLetter, "poison_flood", Oracle::AtLeastOnce),
        (Bug::RetryAfterIgnored, "retry_after_storm", Oracle::Backoff),
        (Bug::EtaEarly, "clock_jumps", Oracle::NeverEarly),
        (Bug::SlotLeaked, "mixed_work", Oracle::Liveness),
        (Bug::DrainCuts, "drain_and_restart", Oracle::Drain),
        (Bug::WindowForgotten, "slow_executor", Oracle::Bounded),
        (Bug::ConsumedTwice, "broker_restart", Oracle::Bounded),
        (Bug::ConsumedTwice, "leader_loss", Oracle::Bounded),
        (Bug::LaneNotReopened, "broker_restart", Oracle::Liveness),
        (Bug::PublishUnconfirmed, "executor_outage", Oracle::AtLeastOnce),
        (Bug::StaleTag, "pause_and_reconfigure", Oracle::AtLeastOnce),
    ];

    fn broken_with(bug: Bug, case: &Case, kind: Kind) -> BTreeSet<Oracle> {
        let report = {
            let _planted = plant(bug);
            run::play(case, &setup(case), &Options { kind, ..Options::default() })
        };
        judge(case, &report.entries, &report.ran).iter().map(|violation| violation.oracle).collect()
    }

    #[test]
    fn a_bug_breaks_the_same_promises_in_both_worlds() {
        for (bug, name, promise) in SHOWN {
            let case = (scenario::named(name).unwrap().case)();
            let [fast, turmoil] = [Kind::Fast, Kind::Turmoil].map(|kind| broken_with(bug, &case, kind));
            assert!(fast.contains(&promise), "{bug} in {name}: {fast:?}");
            assert_eq!(fast, turmoil, "{bug} in {name}");
        }
    }
}
