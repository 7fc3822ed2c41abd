//! `drain`: flags become a backlog, and its end a line.

use super::{
    Error,
    find::{rate, shared},
    interrupted,
    live::Teller,
    out,
    profile::ProfileArgs,
    report::Forms,
    runtime, verify,
};
use crate::{
    quantity,
    report::exit,
    run::Live,
    search::{DrainSpec, drain},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// So many tasks come in a second while the backlog is made, if nothing is said.
const FILL_PER_S: f64 = 500.0;

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    /// Tasks that wait when the queues go on
    #[arg(long, default_value = "5000", value_parser = quantity::count)]
    backlog: u64,
    /// What still comes in the meantime [default: nothing]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// How long making the backlog takes [default: a second for each 500 tasks]
    #[arg(long, value_parser = quantity::duration)]
    fill: Option<Duration>,
    /// How long it may take to drain
    #[arg(long, default_value = "10m", value_parser = quantity::duration)]
    limit: Duration,
    /// What the system can do, as `find-max` found; otherwise slots over the executors' work
    #[arg(long, value_parser = rate)]
    capacity: Option<f64>,
    /// Write the result, with the whole report, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    forms: Forms,
    /// Tell nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

pub(super) fn drain_verb(args: DrainArgs) -> Result<u8, Error> {
    let DrainArgs { profile, backlog, rate, fill, limit, capacity, json, forms, quiet } = args;
    let fill = fill.unwrap_or_else(|| Duration::from_secs_f64((backlog as f64 / FILL_PER_S).max(1.0)));
    let spec =
        DrainSpec { profile: shared(profile, "drain")?, backlog, rate: rate.unwrap_or(0.0), fill, limit, capacity };
    // How long it takes is what is to be found, so there is no picture with a plan's end.
    let mut teller = if quiet { Teller::Quiet } else { Teller::Lines };
    let tell = |live: &Live| teller.tell(live);
    let drained = runtime()?.block_on(async {
        tokio::select! {
            biased;
            () = interrupted() => Ok(None),
            drained = drain(spec, tell) => drained.map(Some),
        }
    })?;
    let Some(drained) = drained else {
        out::tell("interrupted: nothing is reported");
        return Ok(exit::INVALID);
    };
    if let Some(path) = json {
        out::write(&path, &serde_json::to_string_pretty(&drained).expect("it is plain data"))?;
    }
    forms.write(&drained.report)?;
    if !drained.report.verdict.ok {
        verify::lines(&drained.report.verdict).iter().for_each(|line| out::tell(line));
    }
    out::print(&drained.to_string())?;
    Ok(drained.exit_code)
}
