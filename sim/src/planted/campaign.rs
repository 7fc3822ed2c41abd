//! The campaign: for one planted bug, swarm seeds until the judge finds it, and then the smallest case that still shows it.
//! It prints nothing.

use super::setup;
use crate::{
    case::{
        Case,
        swarm::{self, Size},
    },
    judge::{Oracle, judge},
    run::{self, Options, Setup},
    shrink::{Limits, Shrunk, shrink},
};
use quebert_dispatcher::planted::{Bug, plant};
use std::ops::RangeInclusive;

/// Tasks and faults of a case that is small enough.
pub const SMALL: usize = 3;
/// Cases that are made small until one is small enough.
const SHRUNK_MAX: u64 = 5;

/// How to look for bugs.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which seeds, in their order.
    pub seeds: RangeInclusive<u64>,
    /// How large their cases are.
    pub size: Size,
    /// Goes on after the first find, and counts.
    pub count: bool,
    /// How long to make each of the first finds smaller, until one is small enough.
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
        let wants_small = search.shrink.is_some() && !found.is_small() && found.shown < SHRUNK_MAX;
        if found.first.is_some() && !search.count && !wants_small {
            break;
        }
        let case = swarm::case(seed, search.size);
        found.tried += 1;
        let Some(oracle) = shows(bug, &case).first().copied() else { continue };
        if !keeps(&case) {
            found.false_alarms.push(seed);
            continue;
        }
        found.shown += 1;
        found.first.get_or_insert((seed, oracle));
        if let Some(limits) = search.shrink.filter(|_| wants_small) {
            // Any broken promise shows the bug, as long as none is broken without it.
            let fails = |case: &Case| !shows(bug, case).is_empty() && keeps(case);
            found.take(shrink(&case, fails, limits));
        }
    }
    found
}

impl Found {
    /// Whether its smallest case is small enough.
    pub fn is_small(&self) -> bool {
        self.small.as_ref().is_some_and(|small| small.case.tasks.len().max(small.case.faults.len()) <= SMALL)
    }

    fn take(&mut self, other: Option<Shrunk>) {
        let size = |small: &Shrunk| small.case.tasks.len() + small.case.faults.len();
        if let Some(other) = other
            && self.small.as_ref().is_none_or(|small| size(&other) < size(small))
        {
            self.small = Some(other);
        }
    }
}

/// The promises that a case breaks with the bug.
fn shows(bug: Bug, case: &Case) -> Vec<Oracle> {
    let report = {
        let _planted = plant(bug);
        run::play(case, &setup(case), &Options::default())
    };
    // The judge goes by the policies of the dispatcher, and must not have the bug itself.
    judge(case, &report.entries, &report.ran).iter().map(|violation| violation.oracle).collect()
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
