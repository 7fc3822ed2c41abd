//! The campaign: for one planted bug, swarm seeds until the judge finds it, and then the smallest case that still shows it.
//! It prints nothing.

use super::setup;
use crate::{
    case::{
        Case,
        swarm::{self, Size},
    },
    judge::Oracle,
    run::{self, Options, Setup},
    shrink::{Limits, Shrunk, shrink},
};
use quebert_dispatcher::planted::{Bug, plant};
use std::ops::RangeInclusive;

/// How to look for bugs.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which seeds, in their order.
    pub seeds: RangeInclusive<u64>,
    /// How large their cases are.
    pub size: Size,
    /// Goes on after the first find, and counts.
    pub count: bool,
    /// How long to make the first find smaller.
    pub shrink: Option<Limits>,
}

impl Default for Search {
    fn default() -> Self {
        Self { seeds: 1..=200, size: Size::default(), count: false, shrink: Some(Limits::default()) }
    }
}

/// What came of looking for one bug.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub bug: Bug,
    /// Seeds that were run.
    pub tried: u64,
    /// Seeds that showed it.
    pub shown: u64,
    /// The first one that did, and which promise was broken there.
    pub first: Option<(u64, Oracle)>,
    /// The smallest case that shows it.
    pub small: Option<Shrunk>,
    /// Seeds whose cases break a promise without any bug: the judge or the dispatcher is wrong there.
    pub false_alarms: Vec<u64>,
}

/// Looks for one bug, on this thread.
pub fn look_for(bug: Bug, search: &Search) -> Found {
    let mut found = Found { bug, tried: 0, shown: 0, first: None, small: None, false_alarms: Vec::new() };
    for seed in search.seeds.clone() {
        let case = swarm::case(seed, search.size);
        found.tried += 1;
        let Some(oracle) = shows(bug, &case).first().copied() else { continue };
        if !keeps(&case) {
            found.false_alarms.push(seed);
            continue;
        }
        found.shown += 1;
        if found.first.is_none() {
            found.first = Some((seed, oracle));
            let fails = |case: &Case| shows(bug, case).contains(&oracle) && keeps(case);
            found.small = search.shrink.and_then(|limits| shrink(&case, fails, limits));
        }
        if !search.count {
            break;
        }
    }
    found
}

/// The promises that a case breaks with the bug.
fn shows(bug: Bug, case: &Case) -> Vec<Oracle> {
    let _planted = plant(bug);
    let report = run::run(case, &setup(case), &Options::default());
    report.violations.iter().map(|violation| violation.oracle).collect()
}

/// Whether a case keeps all promises without a bug.
fn keeps(case: &Case) -> bool {
    run::run(case, &Setup::default(), &Options::default()).violations.is_empty()
}

/// How many seeds it took, in the middle; none that was not found is within it.
pub fn median(all: &[Found]) -> Option<u64> {
    let mut tried = all.iter().map(|found| found.first.map_or(u64::MAX, |(seed, _)| seed)).collect::<Vec<_>>();
    tried.sort_unstable();
    tried.get(tried.len().saturating_sub(1) / 2).copied().filter(|seed| *seed < u64::MAX)
}
