//! What is planted around the port does what it says, and is looked for as the campaign says.

use super::*;
use crate::{
    judge::Oracle,
    net::Kind,
    run::{self, Options},
};

fn found(bug: Bug, seed: u64) -> Found {
    let first = (seed > 0).then_some((seed, Oracle::Liveness));
    Found { bug, tried: 200, shown: 1, first, small: None, false_alarms: Vec::new() }
}

#[test]
fn a_bug_that_was_not_found_is_beyond_every_median() {
    let of = |seeds: &[u64]| median(&seeds.iter().map(|seed| found(Bug::StaleTag, *seed)).collect::<Vec<_>>());
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[7]), Some(7));
    assert_eq!(of(&[9, 1, 4]), Some(4));
    assert_eq!(of(&[9, 1, 4, 2]), Some(2));
    assert_eq!(of(&[0, 1, 0]), None);
}

#[test]
fn without_a_planted_bug_nothing_is_put_around_the_broker() {
    let case = (crate::case::scenario::named("quiet").unwrap().case)();
    assert!(setup(&case).broker.is_none());
    let _planted = quebert_dispatcher::planted::plant(Bug::EtaEarly);
    assert!(setup(&case).broker.is_none());
}

#[test]
fn an_adapter_with_a_bug_still_does_its_work_where_nothing_goes_wrong() {
    let case = (crate::case::scenario::named("quiet").unwrap().case)();
    for bug in [Bug::StaleTag, Bug::ConsumedTwice, Bug::LastAcksLost, Bug::LaneNotReopened, Bug::PublishUnconfirmed] {
        let _planted = quebert_dispatcher::planted::plant(bug);
        let report = run::play(&case, &setup(&case), &Options { kind: Kind::Fast, ..Options::default() });
        assert!(report.settled_at.is_some(), "{bug}");
    }
}
