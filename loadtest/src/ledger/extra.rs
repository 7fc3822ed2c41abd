//! Requests that nothing accounts for, and the faults that may explain them. Whether a fault explains a request is a matter
//! of times alone; whether that is good enough is the judge's.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A request too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The task's number.
    pub task: u64,
    /// When it came.
    pub at: Duration,
    /// A fault between this and `at` explains it.
    pub since: Duration,
    /// What is wrong with it.
    pub kind: ExtraKind,
}

/// Kinds of requests too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraKind {
    /// The task had been answered with success.
    Duplicate,
    /// The same attempt, or a former one, came again before the task had succeeded.
    Repeat,
}

/// Something that was done to the system under test, or to an executor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// For people.
    pub what: String,
    /// From the start of the run.
    pub from: Duration,
    /// Equal to `from` for a kill.
    pub until: Duration,
}

impl Extra {
    /// Whether one of these faults explains it.
    pub fn is_explained(&self, faults: &[Fault]) -> bool {
        faults.iter().any(|fault| fault.from <= self.at && fault.until >= self.since)
    }
}
