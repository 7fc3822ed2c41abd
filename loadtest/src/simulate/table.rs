//! Simulations side by side: as data for a file, and as a table with the distribution of waits for people. It computes
//! nothing but shares.

use super::{Ends, Engine, Outcome, Timing};
use crate::{
    figures::{Kind, steady::Estimate},
    quantity::Span,
    report::Latency,
    run::{Config, Profile},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// The version of [`Simulation`]. Version 2 has the fields of a profile that came with the report's version 4.
pub(crate) const SCHEMA_VERSION: u32 = 2;
/// Shares of tasks that the distribution is told at.
const SHARES: [f64; 8] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

/// Simulations of one profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Simulation {
    /// 2.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// What was asked for; dispatchers, slots and windows are in the rows.
    pub profile: Profile,
    /// What a machine was taken to add.
    pub timing: Timing,
    /// One for each combination.
    pub rows: Vec<Row>,
}

/// One combination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// How many dispatchers.
    pub dispatchers: u32,
    /// Slots of each, all queues together.
    pub slots: u32,
    /// Prefetch windows of each, all queues together.
    pub prefetch: u32,
    /// How it was computed.
    pub engine: Engine,
    /// The share of the slots that was busy, until all was settled.
    pub busy: f64,
    /// Latencies by kind, with their histograms.
    pub latency: BTreeMap<String, Latency>,
    /// The 99th percentile of steady waits with its interval; `null` if there were too few tasks.
    pub wait_p99: Option<Estimate>,
    /// Whether tasks still came faster than they were done when the plan ended.
    pub growing: bool,
    /// What became of the tasks.
    pub ends: Ends,
    /// The most tasks in queues and in hand.
    pub backlog_max: u64,
    /// When all was settled, after the end of the plan; `null` if it was not.
    pub settle_s: Option<f64>,
    /// Whether the ledger found every promise kept; `null` where there is no ledger.
    pub promises_kept: Option<bool>,
}

impl Simulation {
    /// Of these rows.
    pub fn new(profile: Profile, timing: Timing, rows: Vec<Row>) -> Self {
        Self { schema_version: SCHEMA_VERSION, version: env!("CARGO_PKG_VERSION").to_owned(), profile, timing, rows }
    }
}

impl Row {
    /// Of one outcome.
    pub fn new(config: &Config, timing: &Timing, engine: Engine, outcome: &Outcome) -> Self {
        let (target, plan) = (&config.target, config.arrivals.length());
        let slots = target.queues.iter().map(|queue| queue.slots).sum::<u32>();
        let set = outcome.figures.total();
        let latency = |kind: Kind| {
            let hist = set.get(kind);
            Some((kind.name().to_owned(), Latency { summary: hist.summary()?, buckets: hist.buckets() }))
        };
        let attempt = set.get(Kind::Attempt);
        let each_s = attempt.mean_us() / 1e6 + timing.attempt_extra().as_secs_f64();
        let lasted = plan.max(outcome.settled_at.unwrap_or(plan + config.settle));
        let capacity = f64::from(slots * target.dispatchers) * lasted.as_secs_f64();
        Self {
            dispatchers: target.dispatchers,
            slots,
            prefetch: target.queues.iter().map(crate::target::QueueSpec::window_or_derived).sum(),
            engine,
            busy: attempt.count() as f64 * each_s / capacity,
            latency: Kind::ALL.into_iter().filter_map(latency).collect(),
            wait_p99: outcome.steady.and_then(|steady| steady.wait_p99),
            growing: is_growing(outcome, plan),
            ends: outcome.ends,
            backlog_max: outcome.backlog_max,
            settle_s: outcome.settled_at.map(|at| at.saturating_sub(plan).as_secs_f64()),
            promises_kept: outcome.verdict.as_ref().map(|verdict| verdict.ok),
        }
    }

    fn name(&self) -> String {
        format!("{} x {} x {}", self.dispatchers, self.slots, self.prefetch)
    }
}

/// Whether the backlog of the last tenth of the plan is a third larger than in the middle, beyond what chance makes.
fn is_growing(outcome: &Outcome, plan: Duration) -> bool {
    let mut figures = outcome.figures.clone();
    let seconds = figures.seconds();
    let n = usize::try_from(plan.as_secs()).unwrap_or(usize::MAX).min(seconds.len());
    let mean = |from: usize, until: usize| {
        let held = seconds[from..until].iter().filter_map(|second| second.held).sum::<u64>();
        held as f64 / (until - from).max(1) as f64
    };
    let (middle, end) = (mean(n * 9 / 20, n * 11 / 20), mean(n * 9 / 10, n));
    n >= 20 && end > 1.3 * middle + 3.0 * middle.sqrt() + 10.0
}

/// The table, and below it the distribution of waits.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    write(&mut out, rows).expect("a string takes everything");
    out
}

fn write(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    writeln!(
        out,
        "{:<16} {:<10} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>6} {:>6}  promises",
        "N x slots x P",
        "by",
        "busy",
        "wait p50",
        "p99",
        "p99.9",
        "max",
        "done p99",
        "backlog",
        "settled",
        "dead",
        "left"
    )?;
    for row in rows {
        let of = |kind: Kind| row.latency.get(kind.name()).map(|latency| latency.summary).unwrap_or_default();
        let (wait, done) = (of(Kind::Wait), of(Kind::Done));
        let by = match row.engine {
            Engine::Dispatcher => "dispatcher",
            Engine::Model => "model",
        };
        let settled = row.settle_s.map_or("never".to_owned(), |s| format!("+{}", Span(Duration::from_secs_f64(s))));
        let promises = match row.promises_kept {
            Some(true) => "kept",
            Some(false) => "BROKEN",
            None => "-",
        };
        let grows = if row.growing { "  still growing at the end" } else { "" };
        writeln!(
            out,
            "{:<16} {by:<10} {:>4.0}% {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {settled:>9} {:>6} {:>6}  {promises}{grows}",
            row.name(),
            row.busy * 100.0,
            told(wait.p50_us),
            told(wait.p99_us),
            told(wait.p999_us),
            told(wait.max_us),
            told(done.p99_us),
            row.backlog_max,
            row.ends.dead,
            row.ends.left,
        )?;
    }
    distribution(out, rows)
}

fn distribution(out: &mut String, rows: &[Row]) -> std::fmt::Result {
    let waits = rows.iter().filter_map(|row| row.latency.get(Kind::Wait.name()));
    let waits = waits.map(|latency| crate::figures::Hist::from_buckets(&latency.buckets)).collect::<Vec<_>>();
    write!(out, "\n{:<16}", "of all, wait at most")?;
    for row in rows.iter().filter(|row| row.latency.contains_key(Kind::Wait.name())) {
        write!(out, " {:>14}", row.name())?;
    }
    writeln!(out)?;
    for share in SHARES {
        write!(out, "{:<20}", format!("{}%", (share * 1000.0).round() / 10.0))?;
        for wait in &waits {
            write!(out, " {:>14}", Span(wait.quantile(share)).to_string())?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn told(us: u64) -> String {
    Span(Duration::from_micros(us)).to_string()
}
