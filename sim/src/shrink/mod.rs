//! Makes a case that fails smaller, as long as it fails in the same way: fewer tasks, faults and hosts, plainer settings,
//! shorter times. It runs nothing itself and knows no oracle; whoever calls says what "fails" means.
//!
//! It relies on cases being data with absolute times and on keyed randomness: what is taken out leaves the rest as it
//! was. It never touches `seed` (another seed is another run) nor `settle_ms` (with less of it anything would be late).

mod fewer;
mod plainer;

use crate::case::Case;
use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hasher},
    time::Duration,
};

/// When to stop, though more might be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most runs.
    pub runs: u32,
    /// Most CPU time of this thread, all runs together.
    pub cpu: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { runs: 3_000, cpu: Duration::from_secs(60) }
    }
}

/// What is left of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// It still fails.
    pub case: Case,
    /// Runs made, the first one included.
    pub runs: u32,
    /// How many of them made it smaller.
    pub steps: u32,
    /// CPU time of this thread.
    pub cpu: Duration,
    /// Nothing smaller was found; `false` if a limit ended the search.
    pub done: bool,
}

/// Makes a case smaller, as long as `fails` says that it fails (in the same way: that is for `fails` to know). `None` if it
/// does not fail as it is.
pub fn shrink(case: &Case, fails: impl FnMut(&Case) -> bool, limits: Limits) -> Option<Shrunk> {
    let mut search =
        Search { best: case.clone(), fails, limits, runs: 1, steps: 0, from: cpu_time(), tried: BTreeSet::new() };
    if !(search.fails)(case) {
        return None;
    }
    // Once: what it offers, the rounds take back where it does not help.
    plainer::narrow(&mut search);
    loop {
        let before = search.steps;
        fewer::tasks(&mut search);
        fewer::fold(&mut search);
        fewer::faults(&mut search);
        fewer::hosts(&mut search);
        fewer::lanes(&mut search);
        plainer::world(&mut search);
        plainer::work(&mut search);
        plainer::earlier(&mut search);
        let done = search.steps == before;
        if done || search.is_over() {
            let cpu = search.spent();
            let Search { best, runs, steps, .. } = search;
            return Some(Shrunk { case: best, runs, steps, cpu, done });
        }
    }
}

/// A search under way: the smallest case so far, and what it may still cost.
struct Search<F> {
    best: Case,
    fails: F,
    limits: Limits,
    runs: u32,
    steps: u32,
    from: Duration,
    /// Hashes of what did not fail, since each round comes by the same candidates.
    tried: BTreeSet<u64>,
}

impl<F: FnMut(&Case) -> bool> Search<F> {
    /// Takes a smaller case if it still fails. Says whether it did.
    fn offer(&mut self, smaller: Case) -> bool {
        if smaller == self.best || smaller.check().is_err() || self.is_over() {
            return false;
        }
        if !self.tried.insert(hash(&smaller)) {
            return false;
        }
        self.runs += 1;
        let taken = (self.fails)(&smaller);
        if taken {
            self.best = smaller;
            self.steps += 1;
        }
        taken
    }

    /// Offers the best case with a change, if the change can be made.
    fn offer_with(&mut self, change: impl FnOnce(&mut Case) -> Option<()>) -> bool {
        let mut smaller = self.best.clone();
        change(&mut smaller).is_some() && self.offer(smaller)
    }

    fn is_over(&self) -> bool {
        self.runs >= self.limits.runs || self.spent() >= self.limits.cpu
    }

    fn spent(&self) -> Duration {
        cpu_time().saturating_sub(self.from)
    }
}

/// A number for a case; the same for equal ones.
fn hash(case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(case).unwrap_or_default());
    hasher.finish()
}

/// CPU time of this thread, as Linux tells it (proc_pid_schedstat(5): the first figure, in nanoseconds). Elsewhere always
/// zero: there only the runs are limited.
pub fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
