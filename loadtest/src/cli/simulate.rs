//! `simulate`: what would happen with other dispatchers, slots and windows. Nothing is started.

use super::{
    Error, out,
    profile::{CourseArgs, WorkloadArgs},
};
use crate::{
    quantity::{self, Unclear},
    report::exit,
    run::Profile,
    simulate::{Engine, Grid, Numbers, Prefetch, Simulation, Timing, rows, suited, table},
};
use clap::{Args, ValueEnum};
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    course: CourseArgs,
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Dispatchers: 3, 2,4,8 or 2..6
    #[arg(long)]
    dispatchers: Option<Numbers>,
    /// Slots of each queue of each dispatcher: 16, 8,16 or 8..12 [default: as the queues say, or 64]
    #[arg(long)]
    slots: Option<Numbers>,
    /// Prefetch windows: numbers, `derived` (what a dispatcher takes) or `rule` (slots * (1 + RTT/attempt) + 1)
    #[arg(long, default_value = "derived")]
    prefetch: Prefetch,
    /// All executors refuse connections from .. until, such as 5m..8m; repeatable
    #[arg(long, value_name = "FROM..UNTIL")]
    outage: Vec<String>,
    /// How long to go on after the plan until all is settled
    #[arg(long, default_value = "1h")]
    settle: String,
    #[command(flatten)]
    timing: TimingArgs,
    /// How: the production dispatcher in virtual time, or a model that is about a hundred times as fast; `auto` takes the
    /// model for more than 300,000 tasks
    #[arg(long, value_enum, default_value_t = By::Auto)]
    by: By,
    /// Write everything as JSON; `-` is standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What a machine and its network add.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TimingArgs {
    /// From a dispatcher to the broker and back [default: 2ms]
    #[arg(long, value_parser = quantity::duration)]
    broker_rtt: Option<Duration>,
    /// How much longer an attempt takes its slot than the executor works on it [default: 1.5ms, or as measured]
    #[arg(long, value_parser = quantity::duration)]
    attempt_extra: Option<Duration>,
    /// From a publish to its confirmation, beyond the round trip [default: 1ms, or as measured]
    #[arg(long, value_parser = quantity::duration)]
    confirm: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Auto,
    Dispatcher,
    Model,
}

impl TimingArgs {
    /// What was said, and the rest as it is known otherwise.
    pub(super) fn over(&self, known: Timing) -> Timing {
        let us = |said: Option<Duration>, known: u64| {
            said.map_or(known, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        Timing {
            broker_rtt_us: us(self.broker_rtt, known.broker_rtt_us),
            attempt_extra_us: us(self.attempt_extra, known.attempt_extra_us),
            confirm_us: us(self.confirm, known.confirm_us),
        }
    }
}

pub(super) fn simulate(args: &SimulateArgs) -> Result<u8, Error> {
    let timing = args.timing.over(Timing::default());
    let grid =
        Grid { dispatchers: args.dispatchers.clone(), slots: args.slots.clone(), prefetch: args.prefetch.clone() };
    let (by, json) = (args.by, args.json.clone());
    let profile = profile(args)?;
    let configs = grid.configs(&profile, &timing)?;
    let engine = match by {
        By::Auto => suited(&configs),
        By::Dispatcher => Engine::Dispatcher,
        By::Model => Engine::Model,
    };
    let rows = rows(&configs, &timing, engine).map_err(|e| Error::Usage(e.to_string()))?;
    let broken = rows.iter().any(|row| row.promises_kept == Some(false));
    let shown = table(&rows);
    let result = Simulation::new(profile.without_secrets(), timing, rows);
    let on_stdout = json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&result).expect("a simulation is plain data");
        out::write(&path, &text)?;
    }
    if !on_stdout {
        out::print(shown.trim_end())?;
    }
    Ok(if broken { exit::VERIFICATION } else { exit::OK })
}

fn profile(args: &SimulateArgs) -> Result<Profile, Error> {
    let mut profile = args.course.read()?;
    args.workload.apply(&mut profile);
    profile.settle.clone_from(&args.settle);
    if profile.executors.is_empty() {
        profile.executors.push("name=main".to_owned());
    }
    for outage in &args.outage {
        outage
            .split_once("..")
            .ok_or_else(|| Error::Usage(Unclear::new("FROM..UNTIL", outage.as_str()).to_string()))?;
        profile.executors.iter_mut().for_each(|executor| executor.push_str(&format!(" outage=refuse:{outage}")));
    }
    Ok(profile)
}
