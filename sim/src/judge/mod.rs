//! The judge: knows every task's true fate, and holds the run against each promise. It changes nothing.

use crate::{
    case::Case,
    history::{Entry, TaskNo},
    net::Ran,
};
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

/// Judges a run. In order of time.
pub fn judge(_case: &Case, _entries: &[Entry], ran: &Ran) -> Vec<Violation> {
    let panics = ran.panics.iter().map(|(host, text)| Violation {
        oracle: Oracle::NoPanic,
        task: None,
        at: ran.end,
        detail: format!("{host}: {text}"),
    });
    panics.collect()
}
