//! `quebert check`: all that is wrong with the config and, unless told otherwise, with what the broker holds. It changes
//! nothing.

use super::{Failure, SourceArgs, rabbit, topology::show};
use crate::{
    compose,
    config::{Config, Problems},
};
use clap::Args;
use serde_json::json;
use std::io::{self, Write as _};

/// Flags of `quebert check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Look at the config only, without a broker
    #[arg(long)]
    offline: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn check(sources: &SourceArgs, args: &CheckArgs) -> Result<(), Failure> {
    let config = match Config::load(&sources.sources()?) {
        Ok(config) => config,
        Err(problems) if args.json => {
            as_json(&problems)?;
            return Err(Failure::Usage(format!("{} problems", problems.0.len())));
        }
        Err(problems) => return Err(problems.into()),
    };
    // Files that the config names are read here as `run` would read them.
    compose::rabbit_config(&config)?;
    compose::transport(&config)?;
    if !args.json {
        writeln!(io::stdout(), "config: ok, {} lanes", config.core.lanes.len())?;
    }
    // An embedded broker makes what it needs when it is opened, and a running program has it open.
    if args.offline || config.broker.embedded.is_some() {
        return Ok(());
    }
    let admin = rabbit(&config)?;
    let reports = admin.check().await?;
    admin.close().await;
    show(&reports, args.json)?;
    if reports.iter().all(|r| r.state.is_usable()) { Ok(()) } else { Err(Failure::Partly) }
}

fn as_json(problems: &Problems) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for problem in &problems.0 {
        let line = json!({"origin": problem.origin.to_string(), "key": problem.key, "problem": problem.message});
        writeln!(out, "{line}")?;
    }
    Ok(())
}
