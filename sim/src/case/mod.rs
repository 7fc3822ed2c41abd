//! A case: everything that makes one run, as data. The same case gives the same run, byte for byte; a seed is only a way
//! to come by one. It runs nothing.

mod bound;
mod check;
pub mod disaster;
pub mod fault;
pub mod scenario;
pub mod spec;
pub mod strategy;
mod stretch;
pub mod swarm;
pub mod work;

pub use fault::{Fault, FaultKind};
pub use spec::{BrokerSpec, DispatcherSpec, Engine, LaneSpec, QueueKind, WorldSpec};
pub use work::{Exec, TaskSpec};

use serde::{Deserialize, Serialize};

/// The format that this release writes.
pub const VERSION: u32 = 1;

/// One run, as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// [`VERSION`].
    pub version: u32,
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Seeds what the rest does not say: latencies, jitter, the order of turns.
    pub seed: u64,
    /// Hosts, broker and dispatchers.
    pub world: WorldSpec,
    /// Tasks, and what becomes of their attempts.
    pub tasks: Vec<TaskSpec>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// When no new fault is under way any more and executors answer 200: true time in milliseconds. Faults that would go on
    /// end here.
    pub heal_at_ms: u64,
    /// How long after that everything may take at most to settle, in milliseconds.
    pub settle_ms: u64,
    /// How long it lasts at least, in milliseconds of true time: a run ends no sooner, though all be settled.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub least_ms: u64,
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A case that can't be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("case: {field}: {detail}")]
pub struct CaseError {
    /// Which field.
    pub field: String,
    /// What is wrong.
    pub detail: String,
}

impl Case {
    /// Whether it names only what it has, and asks for nothing that a world can't do.
    ///
    /// # Errors
    /// The first field that does not, as a path such as `tasks[3].lane`.
    pub fn check(&self) -> Result<(), CaseError> {
        check::check(self)
    }

    /// A sound bound for `settle_ms`, computed from everything else: see the source for its terms. Generous, since a run
    /// ends as soon as all is settled.
    pub fn settle_bound_ms(&self) -> u64 {
        bound::settle_bound_ms(self)
    }

    /// Reads a case, and checks it.
    ///
    /// # Errors
    /// When it is no JSON, of another version, or names hosts that it does not have.
    pub fn from_json(text: &str) -> Result<Self, CaseError> {
        let case: Self = serde_json::from_str(text)
            .map_err(|error| CaseError { field: "json".into(), detail: error.to_string() })?;
        case.check()?;
        Ok(case)
    }

    /// As JSON, in lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data")
    }
}
