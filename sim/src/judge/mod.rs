//! The judge: knows every task's true fate, and holds the run against each promise. It changes nothing.
//!
//! It goes once over the history, in order. The [scene](scene::Scene) follows what is so; each oracle, in a file of its
//! own, says exactly what it holds a run against, and how much slack it gives and why.

mod accounted_for;
mod at_least_once;
mod backoff;
mod bounded;
mod drain;
mod few_duplicates;
mod liveness;
mod mediators;
mod neighbours;
mod never_early;
mod never_late;
mod poison;
mod priority;
mod promise;
pub mod scene;
mod story;
#[cfg(test)]
mod tests;

pub use promise::{Found, MakePromise, Promise};
pub use story::story;

use crate::{
    case::Case,
    history::{Entry, TaskNo},
    net::Ran,
};
use scene::Scene;
use std::{fmt, time::Duration};

/// What is promised; each is one oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Oracle {
    /// 1. At least once.
    AtLeastOnce,
    /// 2. Never early.
    NeverEarly,
    /// 3. Never late.
    NeverLate,
    /// 4. Priority.
    Priority,
    /// 5. Backoff.
    Backoff,
    /// 6. Bounded.
    Bounded,
    /// 7. No bad neighbour.
    NoBadNeighbour,
    /// 8. Few duplicates.
    FewDuplicates,
    /// 9. Drain.
    Drain,
    /// 10. Poison is kept.
    PoisonIsKept,
    /// 11. Accounted for.
    AccountedFor,
    /// 12. Liveness.
    Liveness,
    /// What a mediator says is done, and a failing one means what the config says.
    Mediators,
    /// No task of a host panicked.
    NoPanic,
    /// An oracle that a user of the library brought.
    Own(&'static str),
}

impl Oracle {
    /// Its name in output and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at-least-once",
            Self::NeverEarly => "never-early",
            Self::NeverLate => "never-late",
            Self::Priority => "priority",
            Self::Backoff => "backoff",
            Self::Bounded => "bounded",
            Self::NoBadNeighbour => "no-bad-neighbour",
            Self::FewDuplicates => "few-duplicates",
            Self::Drain => "drain",
            Self::PoisonIsKept => "poison-is-kept",
            Self::AccountedFor => "accounted-for",
            Self::Liveness => "liveness",
            Self::Mediators => "mediators",
            Self::NoPanic => "no-panic",
            Self::Own(name) => name,
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub oracle: Oracle,
    /// Whose, if it is about one task.
    pub task: Option<TaskNo>,
    /// When it was plain: true time.
    pub at: Duration,
    /// What was promised and what happened instead, with numbers.
    pub detail: String,
}

/// Judges a run by all promises. In order of time.
pub fn judge(case: &Case, entries: &[Entry], ran: &Ran) -> Vec<Violation> {
    judge_with(case, entries, ran, &[])
}

/// The same, and by some more.
pub fn judge_with(case: &Case, entries: &[Entry], ran: &Ran, more: &[MakePromise]) -> Vec<Violation> {
    let mut promises = all(case);
    promises.extend(more.iter().map(|make| make(case)));
    judge_by(promises, Scene::new(case), entries, ran)
}

/// The same for a run in which a user's own mediators had their say, of whom no case knows what they want: whatever was
/// dropped is taken to be dropped by them, and what they said is not judged. Nor are slots and shares, which
/// depend on what a mediator is about to drop, and when.
pub fn judge_mediated(case: &Case, entries: &[Entry], ran: &Ran, more: &[MakePromise]) -> Vec<Violation> {
    let mut promises = all(case);
    promises
        .retain(|promise| !matches!(promise.oracle(), Oracle::Mediators | Oracle::NoBadNeighbour | Oracle::Priority));
    promises.extend(more.iter().map(|make| make(case)));
    let mut scene = Scene::new(case);
    scene.any_may_drop = true;
    judge_by(promises, scene, entries, ran)
}

/// The promises that every run is judged by.
fn all(case: &Case) -> Vec<Box<dyn Promise>> {
    vec![
        Box::new(at_least_once::AtLeastOnce),
        Box::new(never_early::NeverEarly),
        Box::new(never_late::NeverLate),
        Box::new(priority::Priority::new(case)),
        Box::new(backoff::Backoff),
        Box::new(bounded::Bounded),
        Box::new(neighbours::NoBadNeighbour::default()),
        Box::new(few_duplicates::FewDuplicates::default()),
        Box::new(drain::Drain::default()),
        Box::new(poison::PoisonIsKept),
        Box::new(accounted_for::AccountedFor::default()),
        Box::new(liveness::Liveness::default()),
        Box::new(mediators::Mediators),
    ]
}

fn judge_by(mut promises: Vec<Box<dyn Promise>>, mut scene: Scene<'_>, entries: &[Entry], ran: &Ran) -> Vec<Violation> {
    let mut found = Found::new();
    for entry in entries {
        scene.take(entry);
        for promise in &mut promises {
            found.turn(promise.oracle(), entry.at);
            promise.see(&scene, entry, &mut found);
        }
    }
    for (host, text) in &ran.panics {
        found.turn(Oracle::NoPanic, ran.end);
        found.broken(None, format_args!("{host}: {text}"));
    }
    scene.now = scene.now.max(ran.end);
    for promise in &mut promises {
        found.turn(promise.oracle(), ran.end);
        promise.end(&scene, ran, &mut found);
    }
    found.into_violations()
}
