//! What a simulation came to, whichever way it was computed: the figures of a run, and what became of the tasks.

use crate::{
    figures::{Figures, Kind, Summary, steady::Steady},
    ledger::Verdict,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What became of the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ends {
    /// Tasks of the plan.
    pub tasks: u64,
    /// Requests.
    pub attempts: u64,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks given up, expired ones included.
    pub dead: u64,
    /// Tasks whose time was over.
    pub expired: u64,
    /// Tasks that were in hand or in a queue when the simulation ended.
    pub left: u64,
}

/// What a simulation came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Latencies, in the same kinds as a run's.
    pub figures: Figures,
    /// What became of the tasks.
    pub ends: Ends,
    /// When it was steady, and how sure its figures are.
    pub steady: Option<Steady>,
    /// The most tasks that were in a queue or in hand at a time, looked at ten times a second.
    pub backlog_max: u64,
    /// When everything was settled, from the start of the plan; `None` if it was not.
    pub settled_at: Option<Duration>,
    /// What the ledger says; of the virtual world alone, since a model keeps no promises.
    pub verdict: Option<Verdict>,
}

impl Outcome {
    /// A latency's figures; `None` without values.
    pub fn latency(&self, kind: Kind) -> Option<Summary> {
        self.figures.total().get(kind).summary()
    }

    /// A percentile of a latency in seconds; 0 without values.
    pub fn quantile(&self, kind: Kind, share: f64) -> f64 {
        self.figures.total().get(kind).quantile(share).as_secs_f64()
    }
}
