//! Whole cases, played in the fast world: they settle.

use crate::{
    case::scenario,
    run::{Options, Report, Setup, play},
};

#[track_caller]
fn settles(name: &str) -> Report {
    let case = (scenario::named(name).expect("there is one").case)();
    let report = play(&case, &Setup::default(), &Options::default());
    assert!(report.ran.panics.is_empty(), "{:?}", report.ran.panics);
    if report.settled_at.is_none() {
        for entry in report.entries.iter().rev().take(40).rev() {
            println!("{:?} {} {:?}", entry.at, entry.host, entry.what);
        }
        panic!("{name} did not settle by {:?}", report.ran.end);
    }
    report
}

#[test]
fn a_quiet_world_settles() {
    settles("quiet");
}
