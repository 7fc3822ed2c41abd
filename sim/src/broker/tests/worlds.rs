//! Whole cases, played in the fast world: they settle.

use super::audit::audit;
use crate::{
    case::{Case, Engine, FaultKind, scenario},
    host::Host,
    net::Down,
    run::{Options, Report, Setup, play},
};

#[track_caller]
fn settles(name: &str, case: &Case) -> Report {
    let report = play(case, &Setup::default(), &Options::default());
    assert!(report.ran.panics.is_empty(), "{:?}", report.ran.panics);
    if report.settled_at.is_none() {
        for entry in report.entries.iter().rev().take(40).rev() {
            println!("{:?} {} {:?}", entry.at, entry.host, entry.what);
        }
        panic!("{name} did not settle by {:?}", report.ran.end);
    }
    audit(&report.entries);
    report
}

#[test]
fn every_scenario_settles() {
    for scenario in scenario::ALL {
        settles(scenario.name, &(scenario.case)());
    }
}

#[test]
fn the_embedded_broker_settles_what_it_can_be_asked() {
    for name in ["mixed_work", "broker_restart", "kill_between_settle_steps", "drain_and_restart", "alarm"] {
        let mut case = (scenario::named(name).expect("there is one").case)();
        case.world.broker.engine = Engine::Embedded;
        case.world.broker.relocates = true;
        assert_eq!(case.check(), Ok(()), "{name}");
        settles(name, &case);
    }
}

#[test]
fn the_embedded_broker_outlives_a_sick_disk() {
    let mut case = (scenario::named("quiet").expect("there is one").case)();
    case.world.broker.engine = Engine::Embedded;
    case.world.broker.relocates = true;
    let fault = |at_ms, for_ms, kind| crate::case::Fault { at_ms, for_ms, kind };
    let down = |how| FaultKind::Down { host: Host::Broker(1), how };
    case.faults = vec![
        fault(500, 1500, FaultKind::DiskSlow { ms: 40 }),
        fault(1000, 700, FaultKind::DiskFull),
        fault(2500, 400, down(Down::Power)),
        fault(3500, 800, FaultKind::DiskReadErrors { per_mille: 300 }),
        fault(3700, 100, down(Down::Kill)),
        fault(4300, 500, down(Down::Power)),
    ];
    case.heal_at_ms = case.heal_at_ms.max(6000);
    case.settle_ms = case.settle_bound_ms();
    assert_eq!(case.check(), Ok(()));
    for seed in 0..6 {
        case.seed = seed;
        settles("a sick disk", &case);
    }
}
