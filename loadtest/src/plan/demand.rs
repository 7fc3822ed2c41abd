//! What a workload asks of its executors: how long an attempt takes, how that varies, how many attempts a task takes. It is
//! drawn from the executors themselves, task by task, so that any mix and any distribution counts as it is.

use crate::{
    arrivals::{Class, Mix, Plan},
    fleet::{Act, Executor, ExecutorSpec, Load},
    run::Config,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Tasks that are drawn: enough for a mean within half a percent.
const DRAWN: u64 = 20_000;
/// Attempts of one task that are drawn at most, where there is no limit.
const ATTEMPTS_MAX: u32 = 100;

/// What a task asks for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Demand {
    /// Attempts that a task takes.
    pub attempts_per_task: f64,
    /// The share of tasks that never succeed.
    pub dead: f64,
    /// How long an executor works on an attempt, in seconds.
    pub work_s: f64,
    /// The variance of that, in units of the mean's square.
    pub work_scv: f64,
    /// Bytes of a body.
    pub body_bytes: f64,
}

/// Draws it. Outages, limits and other requests are left out: what they do is seen in the simulation.
pub fn demand(config: &Config) -> Demand {
    let alone = |spec: &ExecutorSpec| {
        let spec = ExecutorSpec { load: Load::Free, limit: None, outages: Vec::new(), ..spec.clone() };
        Executor::new(spec, config.profile.seed)
    };
    let mut executors = config.executors.iter().map(alone).collect::<Vec<_>>();
    let index = |class: &Class| config.executors.iter().position(|executor| executor.name == class.to);
    let to = config.mix.classes().iter().map(|class| index(class).expect("a checked mix")).collect::<Vec<_>>();
    let most = config.rules.max_attempts.unwrap_or(ATTEMPTS_MAX).min(ATTEMPTS_MAX);
    let (mut attempts, mut dead, mut sum, mut squares, mut bytes) = (0_u64, 0_u64, 0.0, 0.0, 0.0);
    for task in tasks(&config.mix, config.profile.seed) {
        let executor = &mut executors[to[usize::from(task.class)]];
        bytes += f64::from(task.size);
        let mut made = 0;
        loop {
            made += 1;
            let reply = executor.arrive(Duration::ZERO, task.index, made);
            executor.leave();
            let work = reply.after.as_secs_f64();
            sum += work;
            squares += work * work;
            let Act::Answer { status, .. } = reply.act else { break };
            let gone = config.rules.permanent.contains(&status.as_u16());
            if status.is_success() || gone || made == most {
                dead += u64::from(!status.is_success());
                break;
            }
        }
        attempts += u64::from(made);
    }
    let (n, tasks) = (attempts as f64, DRAWN as f64);
    let mean = sum / n;
    let variance = (squares / n - mean * mean).max(0.0);
    Demand {
        attempts_per_task: n / tasks,
        dead: dead as f64 / tasks,
        work_s: mean,
        work_scv: if mean > 0.0 { variance / (mean * mean) } else { 0.0 },
        body_bytes: bytes / tasks,
    }
}

/// The first tasks of any plan with this mix: their classes and sizes depend on seed and number alone.
fn tasks(mix: &Mix, seed: u64) -> impl Iterator<Item = crate::arrivals::Arrival> {
    let arrivals = format!("burst {DRAWN} at once 1s").parse().expect("a plan by the grammar");
    Plan::new(arrivals, mix.clone(), seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Profile;

    fn of(executor: &str, max_attempts: u32) -> Demand {
        let profile = Profile { executors: vec![executor.into()], max_attempts, ..Profile::default() };
        demand(&Config::try_from(profile).unwrap())
    }

    #[track_caller]
    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() < tolerance, "{found} and not {expected}");
    }

    #[test]
    fn what_executors_do_is_what_tasks_ask_for() {
        let bimodal = of("latency=bimodal:21.053ms,600ms,5%", 20);
        near(bimodal.work_s, 0.05, 0.002);
        near(bimodal.work_scv, 6.37, 0.3);
        assert_eq!((bimodal.attempts_per_task, bimodal.dead, bimodal.body_bytes), (1.0, 0.0, 300.0));
        let failing = of("latency=10ms status=503:50%", 3);
        near(failing.attempts_per_task, 1.75, 0.02);
        near(failing.dead, 0.125, 0.01);
        let gone = of("latency=10ms status=410:10% fail-first=1 workers=1 limit=1/s", 5);
        near(gone.attempts_per_task, 2.0, 1e-9);
        near(gone.dead, 0.1, 0.01);
        near(gone.work_s, 0.01, 1e-9);
    }
}
