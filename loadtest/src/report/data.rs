//! The report as data. Fields are only added, with a default, so that every older version can still be read.

use super::exit;
use crate::{
    figures::{Second, Summary, steady::Steady},
    ledger::Verdict,
    run::Profile,
    scaling::Scaling,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the report's schema. Version 4 says by which certificate executors were known. Version 3 says whether executors were asked over TLS. Version 2 says of each second which
/// slots were in use, and of each process when it was looked at.
pub const SCHEMA_VERSION: u32 = 4;

/// The version of the sweep's schema. Version 4 says by which certificate executors were known. Version 3 says of each point which dispatchers, slots and windows it had and whether
/// its backlog grew, and of the whole how rates grow with them.
pub const SWEEP_SCHEMA_VERSION: u32 = 4;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// 4 as this is written.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// When the plan began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// What it ran on.
    pub environment: Environment,
    /// What was asked for, complete: with it, `run --profile` does the same again.
    pub profile: Profile,
    /// How long the plan lasted.
    pub plan_s: f64,
    /// How long it took after the plan until nothing was open, or nobody waited any longer.
    pub settle_s: f64,
    /// Whether a phase waited for the system that it measured: its latencies leave out the waiting of clients.
    pub closed: bool,
    /// Rates over the plan.
    pub throughput: Throughput,
    /// Latencies of the whole run by kind, with their histograms. `*_uncorrected` count from the publish, the others
    /// from the intended moment.
    pub latency: BTreeMap<String, Latency>,
    /// The same for each queue.
    pub queues: Vec<Part>,
    /// The same for each phase.
    pub phases: Vec<PhaseView>,
    /// What it came to when it was steady; `null` if there were too few tasks to tell.
    pub steady: Option<Steady>,
    /// The upper bounds of the cells of `seconds[].heat`.
    pub heat_bounds_us: Vec<u64>,
    /// What happened in each second.
    pub seconds: Vec<Second>,
    /// What an attempt took on average, in microseconds, as the dispatchers tell; `null` if nobody was asked.
    #[serde(default)]
    pub attempt_mean_us: Option<f64>,
    /// What each process took.
    pub processes: Vec<ProcessView>,
    /// What the tester says of itself.
    pub tester: SelfWatch,
    /// What held the system back, the strongest first; from the dispatchers' own metrics.
    pub bottlenecks: Vec<Bottleneck>,
    /// What became of the tasks.
    pub verdict: Verdict,
    /// Whether the figures mean something.
    pub validity: Validity,
    /// What was demanded.
    pub thresholds: Vec<ThresholdView>,
    /// What the program ends with: 0 well, 1 a threshold was missed, 2 a promise was broken, 3 the run is invalid.
    pub exit_code: u8,
}

/// What a run ran on. Runs on different ones should not be compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// Such as `linux x86_64`.
    pub system: String,
    /// The kernel's version.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of them may be used.
    pub cpus: u64,
    /// All memory.
    pub memory_bytes: u64,
    /// The load average of a minute when the run began: what else was going on.
    pub load_before: f64,
    /// `embedded` or `rabbitmq`.
    pub broker: String,
    /// How many dispatchers.
    pub dispatchers: u64,
    /// The dispatchers' version, as they say.
    pub quebert: String,
}

/// Rates over the plan, in tasks a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// What the plan asked for.
    pub offered_per_s: f64,
    /// What the broker confirmed within the plan.
    pub accepted_per_s: f64,
    /// Requests within the plan.
    pub attempts_per_s: f64,
    /// Successes within the plan.
    pub done_per_s: f64,
    /// Requests per task that an executor saw.
    pub attempts_per_task: f64,
}

/// A latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its histogram: upper bounds in microseconds, and how many values; three digits.
    pub buckets: Vec<(u64, u64)>,
}

/// Figures of a part of the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// The queue or the phase.
    pub name: String,
    /// Latencies by kind.
    pub latency: BTreeMap<String, Summary>,
    /// The most requests under way at a time; 0 of a phase.
    pub under_way_max: u32,
}

/// A phase of the plan.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PhaseView {
    /// Its figures.
    #[serde(flatten)]
    pub part: Part,
    /// From the start of the run.
    pub from_s: f64,
    /// From the start of the run.
    pub until_s: f64,
    /// Tasks that the plan had for it, a second.
    pub offered_per_s: f64,
    /// Successes within it, a second.
    pub done_per_s: f64,
}

/// What a process took.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessView {
    /// `dispatcher 1`, `rabbitmq` or `tester`.
    pub name: String,
    /// CPU seconds over the run.
    pub cpu_s: f64,
    /// CPU seconds for 1,000 tasks that succeeded.
    pub cpu_per_1k_s: f64,
    /// Memory in use, at the first look.
    pub rss_start_bytes: u64,
    /// The most memory in use.
    pub rss_peak_bytes: u64,
    /// How memory grew over the second half of the looks, by least squares: what is near 0 does not leak.
    pub rss_slope_bytes_per_s: f64,
    /// The most open descriptors.
    pub fds_max: u64,
    /// How often its main thread went to sleep by itself.
    pub voluntary_switches: u64,
    /// The moments at which it was looked at, about one a second, from the start of the run.
    #[serde(default)]
    pub looks_s: Vec<f64>,
    /// CPU seconds between each look and the next.
    pub cpu_by_s: Vec<f64>,
    /// Memory in use at each look.
    pub rss_by_s: Vec<u64>,
}

/// What the tester says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct SelfWatch {
    /// How late tasks were handed to the broker's client.
    pub start_lag: Summary,
    /// Its share of all processors.
    pub cpu_share: f64,
    /// How far the wall clock drifted from the monotonic one.
    pub clock_drift_us: i64,
    /// The first refusals of the broker, in words.
    pub refusals: Vec<String>,
}

/// Something that held the system back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bottleneck {
    /// `concurrency`, `prefetch`, `destination`, `dispatcher cpu`, `broker publish`, `executor`, `sockets`, `tester`.
    pub name: String,
    /// The share of seconds in which it did.
    pub share: f64,
    /// For people.
    pub evidence: String,
}

/// Whether the figures mean something.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// Whether they do.
    pub valid: bool,
    /// Why not.
    pub reasons: Vec<String>,
    /// What to keep in mind all the same.
    pub warnings: Vec<String>,
}

/// What was demanded, and found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdView {
    /// As it was typed.
    pub text: String,
    /// What was found, in seconds, bytes, or plain numbers; `null` if there was nothing to measure.
    pub found: Option<f64>,
    /// Whether it was kept.
    pub ok: bool,
}

/// What a sweep came to: one short run for each point of a grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sweep {
    /// 4 as this is written.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// When the first run began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// What it ran on.
    pub environment: Environment,
    /// What all points share; what a point says of itself takes the place of what stands here.
    pub profile: Profile,
    /// The demands that each point was held to, as they were typed.
    pub demands: Vec<String>,
    /// One for each run, in the order in which they ran.
    pub points: Vec<SweepPoint>,
    /// For people: what the points show together, such as where the knee is; may be empty.
    pub notes: Vec<String>,
    /// How rates grow with slots and with dispatchers; empty if neither varies.
    #[serde(default)]
    pub scaling: Vec<Scaling>,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SweepPoint {
    /// What sets it apart besides the rate, such as `slots=64 window=80`: the points of one series have the same. Empty
    /// if only the rate varies.
    pub series: String,
    /// What the plan asked for, in tasks a second.
    pub offered_per_s: f64,
    /// What succeeded, in tasks a second.
    pub achieved_per_s: f64,
    /// Median of the corrected waits.
    pub p50_us: u64,
    /// Their 99th percentile.
    pub p99_us: u64,
    /// The 95 % interval of that, where there were tasks enough to tell.
    pub p99_low_us: Option<u64>,
    /// Its upper end.
    pub p99_high_us: Option<u64>,
    /// The share of the busiest resource that is known, 0 to 1; `null` if none is.
    pub utilisation: Option<f64>,
    /// Whether every promise and every demand was kept.
    pub ok: bool,
    /// Whether the figures mean something.
    pub valid: bool,
    /// What held the system back the most, as in [`Bottleneck::name`]; empty if nothing did.
    pub bottleneck: String,
    /// Dispatchers, if they were started for it.
    pub dispatchers: Option<u32>,
    /// Slots of each queue of each dispatcher, if all queues have the same.
    pub slots: Option<u32>,
    /// The window of each queue of each dispatcher, likewise; 0 is what a dispatcher derives.
    pub window: Option<u32>,
    /// Whether the backlog grew: then what was achieved is what the system can do.
    pub saturated: bool,
}

impl Report {
    /// What the program ends with. A broken promise outweighs all: even an invalid run has lost what it lost.
    pub fn exit(&self) -> u8 {
        if !self.verdict.ok {
            exit::VERIFICATION
        } else if !self.validity.valid {
            exit::INVALID
        } else if self.thresholds.iter().any(|threshold| !threshold.ok) {
            exit::THRESHOLD
        } else {
            exit::OK
        }
    }
}
