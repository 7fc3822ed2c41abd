//! Capacity plans: from a workload, assumed or measured, to so many dispatchers with so many slots and such windows, what that
//! survives, and what it takes. Formulas bracket, the simulation's model answers, a short real run calibrates. Nothing here
//! runs a system.
//!
//! A plan is for one queue. Priorities between queues, and executors that share one, are for `simulate`.

mod data;
mod demand;
pub mod formula;
mod measured;
mod search;
mod slo;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use data::SCHEMA_VERSION;
pub use data::{Candidate, Limit, Outage, Plan, Resources};
pub use demand::{Demand, demand};
pub use measured::{Measured, ModelError, busiest};
pub use slo::Slo;
pub use text::{markdown, text};
pub(crate) use text::{minutes, waits};

use crate::{
    fleet::Load,
    run::{Config, ConfigError, Profile},
    simulate::Timing,
};
use data::{BYTES_PER_TASK, HEADER_BYTES};
use quebert_dispatcher::backoff::{Curve, Jitter, RetryPolicy};
use search::Search;
use std::time::Duration;

/// Rates are told by what an attempt takes, and nothing takes no time at all: a microsecond is what figures are told in.
const ATTEMPT_LEAST_S: f64 = 1e-6;

/// What a plan is asked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// Executors, mix and retries; plan and target do not count.
    pub profile: Profile,
    /// Tasks a second, which come at random.
    pub rate: f64,
    /// What is demanded.
    pub slo: Slo,
    /// What the machine adds.
    pub timing: Timing,
    /// The most dispatchers.
    pub dispatchers_max: u32,
    /// The share of slots that may be busy on average.
    pub busy_max: f64,
    /// Whether the demand must hold with one dispatcher less.
    pub spare: bool,
    /// The outage of all executors that is asked about.
    pub outage: Duration,
    /// Tasks of each simulation.
    pub tasks: u64,
    /// What a run has shown.
    pub measured: Option<Measured>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The profile.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It has several queues.
    #[error("a plan is for one queue, and the mix has {0}: plan for each by itself, and simulate them together")]
    Queues(usize),
    /// Nothing comes.
    #[error("a plan needs a rate above 0")]
    Rate,
}

/// Makes a plan.
///
/// # Errors
/// When the question can't be answered. A demand that nothing fulfils is answered: there is no recommendation then.
pub fn plan(question: &Question) -> Result<Plan, PlanError> {
    if question.rate <= 0.0 {
        return Err(PlanError::Rate);
    }
    let base = Profile {
        broker: "private-rabbitmq".into(),
        faults: Vec::new(),
        thresholds: Vec::new(),
        queues: Vec::new(),
        arrivals: "pause 1s".into(),
        ..question.profile.clone().without_external()
    };
    let mut config = Config::try_from(base)?;
    if config.rules.queues.len() != 1 {
        return Err(PlanError::Queues(config.rules.queues.len()));
    }
    // What is planned for is the usual day.
    config.executors.iter_mut().for_each(|executor| executor.outages.clear());
    let demand = demand(&config);
    let attempt_s = attempt_s(question, &demand);
    let attempts_per_s = question.rate * demand.attempts_per_task;
    let search = Search::new(question, &config, &demand);
    let (recommended, alternatives) = search.candidates();
    let limits = recommended.as_ref().map_or_else(Vec::new, |one| limits(question, &config, &demand, one));
    let retry = retry(&config);
    Ok(Plan {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rate: question.rate,
        slo: question.slo.to_string(),
        executors: question.profile.executors.clone(),
        max_attempts: config.rules.max_attempts,
        timing: question.timing,
        demand,
        attempts_per_s,
        attempt_s,
        busy_slots: formula::busy_slots(attempts_per_s, attempt_s),
        outage: recommended.as_ref().map(|one| outage(question, one, &retry)),
        resources: recommended.as_ref().map(|one| resources(question, &demand, one)),
        limits,
        assumptions: assumptions(question, recommended.as_ref()),
        calibrated: question.measured.clone(),
        recommended,
        alternatives,
    })
}

/// How long an attempt takes its slot.
fn attempt_s(question: &Question, demand: &Demand) -> f64 {
    (demand.work_s + question.timing.attempt_extra().as_secs_f64()).max(ATTEMPT_LEAST_S)
}

/// What each resource would let through, the smallest first, in tasks a second.
fn limits(question: &Question, config: &Config, demand: &Demand, one: &Candidate) -> Vec<Limit> {
    let (dispatchers, per_task) = (f64::from(one.dispatchers), demand.attempts_per_task);
    let attempt_s = attempt_s(question, demand);
    let rtt = question.timing.broker_rtt().as_secs_f64();
    let mut limits = vec![
        Limit::new("slots", dispatchers * f64::from(one.slots) / attempt_s / per_task),
        Limit::new("prefetch", dispatchers * f64::from(one.prefetch) / (attempt_s + rtt) / per_task),
    ];
    if let Some(cpu_s) = question.measured.as_ref().map(|measured| measured.cpu_per_attempt_s).filter(|s| *s > 0.0) {
        limits.push(Limit::new("dispatcher CPU", dispatchers / cpu_s / per_task));
    }
    let of_limits = config.executors.iter().filter_map(|executor| executor.limit).map(|limit| limit.per_s);
    if let Some(least) = of_limits.reduce(f64::min) {
        limits.push(Limit::new("executor's rate limit", least / per_task));
    }
    let workers = config.executors.iter().filter_map(|executor| match executor.load {
        Load::Workers(workers) => Some(f64::from(workers) / executor.latency.mean().max(ATTEMPT_LEAST_S)),
        Load::Free | Load::Slope { .. } => None,
    });
    if let Some(least) = workers.reduce(f64::min) {
        limits.push(Limit::new("executor's workers", least / per_task));
    }
    limits.sort_by(|a, b| a.tasks_per_s.total_cmp(&b.tasks_per_s));
    limits
}

fn outage(question: &Question, one: &Candidate, retry: &RetryPolicy) -> Outage {
    let backlog = question.rate * question.outage.as_secs_f64();
    let last = formula::attempts_last(retry);
    Outage {
        lasts_s: question.outage.as_secs_f64(),
        backlog,
        drain_s: formula::drain_s(backlog, question.rate, one.tasks_per_s_max),
        attempts_last_s: last.map(|last| last.as_secs_f64()),
        dead: last.is_some_and(|last| last < question.outage),
    }
}

fn resources(question: &Question, demand: &Demand, one: &Candidate) -> Resources {
    let each = question.rate * demand.attempts_per_task / f64::from(one.dispatchers);
    let held = f64::from(one.prefetch) * (demand.body_bytes + BYTES_PER_TASK);
    let measured = question.measured.as_ref();
    Resources {
        cores_per_dispatcher: measured.map(|measured| each * measured.cpu_per_attempt_s),
        bytes_per_dispatcher: measured.map(|measured| measured.rss_bytes as f64 + held),
        held_bytes: held,
        bits_per_s: question.rate * demand.attempts_per_task * (demand.body_bytes + HEADER_BYTES) * 8.0,
    }
}

fn assumptions(question: &Question, recommended: Option<&Candidate>) -> Vec<String> {
    let mut all = vec![
        "tasks come at random (Poisson); bursts need more".to_owned(),
        "attempts are as long and fail as often as the executors are said to, whatever their load".to_owned(),
        format!("at most {:.0} % of the slots busy on average", question.busy_max * 100.0),
    ];
    if question.measured.is_none() {
        all.push("not calibrated: what the machine adds is assumed, and CPU and memory are not known".to_owned());
    }
    let several = recommended.is_some_and(|one| one.dispatchers > 1);
    if several && question.measured.as_ref().is_some_and(|measured| measured.embedded) {
        let words =
            "several dispatchers need RabbitMQ, and the run had an embedded broker: calibrate with RabbitMQ, too";
        all.push(words.to_owned());
    }
    all
}

fn retry(config: &Config) -> RetryPolicy {
    RetryPolicy {
        curve: Curve::Exponential { factor: 2.0 },
        jitter: Jitter::Equal,
        backoff_min: config.target.retry.backoff_min,
        backoff_max: config.target.retry.backoff_max,
        max_attempts: config.rules.max_attempts,
        max_age: None,
        retry_after_max: config.rules.retry_after_max,
    }
}
