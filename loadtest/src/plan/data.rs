//! A plan as data: what is recommended, what else there is, and why. It decides nothing.

use super::{Demand, Measured};
use crate::simulate::Timing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of [`Plan`]. Version 2 tells what speaks against the run that calibrates.
pub(crate) const SCHEMA_VERSION: u32 = 2;
/// What a dispatcher keeps of a task besides its body: envelope, headers, timers.
pub(super) const BYTES_PER_TASK: f64 = 4096.0;
/// Of a request and its answer, beside the body.
pub(super) const HEADER_BYTES: f64 = 900.0;

/// A capacity plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// 2.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// Tasks a second.
    pub rate: f64,
    /// What is demanded.
    pub slo: String,
    /// What the executors are like.
    pub executors: Vec<String>,
    /// Attempts of a task in all; `null` is without limit.
    pub max_attempts: Option<u32>,
    /// What the machine adds.
    pub timing: Timing,
    /// What a task asks for.
    pub demand: Demand,
    /// Attempts a second, retries included.
    pub attempts_per_s: f64,
    /// How long an attempt takes its slot, on average.
    pub attempt_s: f64,
    /// Slots that are busy on average (Little).
    pub busy_slots: f64,
    /// What fulfils the demand for the least; `null` if nothing does.
    pub recommended: Option<Candidate>,
    /// What else is best at something: fewer slots, shorter waits, or a dispatcher that may be lost.
    pub alternatives: Vec<Candidate>,
    /// What an outage of all executors comes to with the recommendation.
    pub outage: Option<Outage>,
    /// What the recommendation takes.
    pub resources: Option<Resources>,
    /// What each resource would let through, the bottleneck first.
    pub limits: Vec<Limit>,
    /// What a run has shown.
    pub calibrated: Option<Measured>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
}

/// So many dispatchers with so many slots and such a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Dispatchers.
    pub dispatchers: u32,
    /// Slots of each.
    pub slots: u32,
    /// Window of each.
    pub prefetch: u32,
    /// The share of slots that is busy on average.
    pub busy: f64,
    /// The median of what is demanded, in seconds, from the simulation.
    pub p50_s: f64,
    /// The percentile that is demanded, likewise.
    pub slo_s: f64,
    /// The lower end of its 95 % interval, from five seeds.
    pub slo_low_s: f64,
    /// The upper end.
    pub slo_high_s: f64,
    /// The same percentile of the wait by Erlang C, as if all attempts were exponential and all slots in one place.
    pub erlang_s: f64,
    /// The same by Allen and Cunneen, which knows how attempts vary.
    pub allen_cunneen_s: f64,
    /// Whether the demand holds, upper end included.
    pub holds: bool,
    /// The same percentile with one dispatcher less; `null` if there is none then, or waits have no end.
    pub loss_s: Option<f64>,
    /// Whether the demand holds then.
    pub survives_loss: bool,
    /// Tasks a second that it can do at most.
    pub tasks_per_s_max: f64,
}

/// What an outage of all executors comes to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    /// How long it lasts.
    pub lasts_s: f64,
    /// Tasks that wait at its end.
    pub backlog: f64,
    /// How long they take, while others come; `null` if they never end.
    pub drain_s: Option<f64>,
    /// How long a task's attempts last at least; `null` is without limit.
    pub attempts_last_s: Option<f64>,
    /// Whether tasks become dead letters by it.
    pub dead: bool,
}

/// What a candidate takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// Cores that each dispatcher is busy with; `null` if it was not measured.
    pub cores_per_dispatcher: Option<f64>,
    /// Memory of each dispatcher; `null` if it was not measured.
    pub bytes_per_dispatcher: Option<f64>,
    /// Of that, what the tasks in its window take.
    pub held_bytes: f64,
    /// Between dispatchers and executors.
    pub bits_per_s: f64,
}

/// What one resource would let through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// Which.
    pub name: String,
    /// Tasks a second.
    pub tasks_per_s: f64,
}

impl Limit {
    pub(super) fn new(name: &str, tasks_per_s: f64) -> Self {
        Self { name: name.to_owned(), tasks_per_s }
    }
}

impl Candidate {
    /// All slots together.
    pub const fn slots_in_all(&self) -> u32 {
        self.dispatchers * self.slots
    }
}
