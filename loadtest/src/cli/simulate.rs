//! `simulate`: what would happen with other dispatchers, slots and windows. Nothing is started.

use super::{Error, out};
use crate::{
    quantity::{self, Unclear},
    report::exit,
    run::Profile,
    simulate::{Engine, Grid, Numbers, Prefetch, Simulation, Timing, rows, suited, table},
};
use clap::{Args, ValueEnum};
use std::{fs, path::PathBuf, time::Duration};

/// A flag wins over the profile's file, and the file over the defaults.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// A TOML file with the fields of a profile
    #[arg(long)]
    profile: Option<PathBuf>,
    /// When tasks come, such as "poisson 500/s 60s" [default: constant 100/s 10s]
    #[arg(long)]
    arrivals: Option<String>,
    /// Which tasks come, such as "queue=high to=slow weight=3 size=exp:300"; repeatable
    #[arg(long, value_name = "WORDS")]
    mix: Vec<String>,
    /// An executor, such as "latency=lognormal:80ms,900ms status=503:3%"; repeatable
    #[arg(long = "executor", value_name = "WORDS")]
    executors: Vec<String>,
    /// A queue, such as "name=high priority=2"; repeatable
    #[arg(long = "queue", value_name = "WORDS")]
    queues: Vec<String>,
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
    /// Attempts of a task in all; 0 is without limit [default: 20]
    #[arg(long)]
    max_attempts: Option<u32>,
    /// The shortest delay between two attempts [default: 1s]
    #[arg(long)]
    backoff_min: Option<String>,
    /// The longest [default: 1m]
    #[arg(long)]
    backoff_max: Option<String>,
    /// Everything random is drawn from this [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Tasks intended before this are left out of the latencies [default: 0s]
    #[arg(long)]
    warm_up: Option<String>,
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
#[derive(Debug, Clone, Args)]
pub(super) struct TimingArgs {
    /// From a dispatcher to the broker and back
    #[arg(long, default_value = "2ms", value_parser = quantity::duration)]
    broker_rtt: Duration,
    /// How much longer an attempt takes its slot than the executor works on it
    #[arg(long, default_value = "1.5ms", value_parser = quantity::duration)]
    attempt_extra: Duration,
    /// From a publish to its confirmation, beyond the round trip
    #[arg(long, default_value = "1ms", value_parser = quantity::duration)]
    confirm: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Auto,
    Dispatcher,
    Model,
}

impl From<&TimingArgs> for Timing {
    fn from(args: &TimingArgs) -> Self {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            broker_rtt_us: us(args.broker_rtt),
            attempt_extra_us: us(args.attempt_extra),
            confirm_us: us(args.confirm),
        }
    }
}

pub(super) fn simulate(args: SimulateArgs) -> Result<u8, Error> {
    let timing = Timing::from(&args.timing);
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

fn profile(args: SimulateArgs) -> Result<Profile, Error> {
    let mut profile = match &args.profile {
        None => Profile::default(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| Error::Read(path.clone(), e))?;
            toml::from_str(&text).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))?
        }
    };
    let lines = |field: &mut Vec<String>, values: Vec<String>| {
        if !values.is_empty() {
            *field = values;
        }
    };
    let set = |field: &mut String, value: Option<String>| *field = value.unwrap_or_else(|| std::mem::take(field));
    set(&mut profile.arrivals, args.arrivals);
    lines(&mut profile.mix, args.mix);
    lines(&mut profile.executors, args.executors);
    lines(&mut profile.queues, args.queues);
    profile.max_attempts = args.max_attempts.unwrap_or(profile.max_attempts);
    set(&mut profile.backoff_min, args.backoff_min);
    set(&mut profile.backoff_max, args.backoff_max);
    profile.seed = args.seed.unwrap_or(profile.seed);
    set(&mut profile.warm_up, args.warm_up);
    profile.settle = args.settle;
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
