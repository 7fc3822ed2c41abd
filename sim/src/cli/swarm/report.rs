//! What a worker tells its parent of one seed: one line of JSON. Both are always of the same build.

use crate::judge::Violation;
use serde::{Deserialize, Serialize};

/// Violations of one seed that are told in full.
const TOLD: usize = 5;

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Finding {
    /// Which.
    pub(super) seed: u64,
    /// Virtual time that it ran, in microseconds, all of its runs together.
    pub(super) virtual_us: u64,
    /// CPU time of the worker, since its former finding, in microseconds; 0 where the system does not tell.
    pub(super) cpu_us: u64,
    /// Tasks of its case.
    pub(super) tasks: u64,
    /// Attempts that were made.
    pub(super) attempts: u64,
    /// Faults of its case.
    pub(super) faults: u64,
    /// Segments that were sent.
    pub(super) segments: u64,
    /// Points that it passed: [`crate::trace::Coverage::to_hex`].
    pub(super) coverage: String,
    /// How many promises were broken.
    pub(super) broken: u64,
    /// The first few of them.
    pub(super) violations: Vec<Told>,
    /// The story of the first task that one of them is about.
    pub(super) story: Vec<String>,
    /// Whether it was run twice.
    pub(super) twice: bool,
    /// Where its two runs parted.
    pub(super) difference: Option<String>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The oracle's name.
    pub(super) oracle: String,
    /// In a line.
    pub(super) text: String,
}

impl Finding {
    /// Takes the broken promises in.
    pub(super) fn tell(&mut self, violations: &[Violation]) {
        self.broken = violations.len() as u64;
        let told = |violation: &Violation| Told {
            oracle: violation.oracle.name().to_owned(),
            text: crate::cli::run::broken(violation),
        };
        self.violations = violations.iter().take(TOLD).map(told).collect();
    }

    /// Whether nothing is wrong with it.
    pub(super) const fn is_fine(&self) -> bool {
        self.broken == 0 && self.difference.is_none()
    }
}
