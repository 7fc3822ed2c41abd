//! `quebert check`: all that is wrong with the config and, unless told otherwise, with what the broker holds. It changes
//! nothing.

use super::{Failure, SourceArgs, rabbit, run, topology::show};
use crate::{
    compose,
    config::{Config, Problems},
};
use clap::Args;
use quebert_broker_adapter::embedded::{self, Look, OpenError};
use serde_json::json;
use std::{
    io::{self, Write as _},
    path::Path,
};

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
    if config.broker.embedded.is_none() {
        compose::rabbit_config(&config)?;
    }
    compose::transport(&config)?;
    if !args.json {
        writeln!(io::stdout(), "config: ok, {} lanes", config.core.lanes.len())?;
    }
    if args.offline {
        return Ok(());
    }
    if let Some(folder) = &config.broker.embedded {
        return store(folder, args.json);
    }
    let admin = rabbit(&config)?;
    let reports = admin.check().await?;
    admin.close().await;
    show(&reports, args.json)?;
    if reports.iter().all(|r| r.state.is_usable()) { Ok(()) } else { Err(Failure::Partly) }
}

/// What can be told of an embedded broker without opening it, which would recover its file, or fail while it is in use.
/// Whether the file is sound shows when it is opened.
fn store(folder: &Path, json: bool) -> Result<(), Failure> {
    let unusable = |source| run::unusable(&OpenError::Io { path: folder.to_owned(), source });
    let Look { path, bytes, in_use } = embedded::look(folder).map_err(unusable)?;
    let (state, detail) = match (bytes, in_use) {
        (None, _) => ("missing", "not there yet; it is made by the first `quebert run`".to_owned()),
        (Some(bytes), true) => ("ready", format!("{bytes} bytes, in use by a running process")),
        (Some(bytes), false) => ("ready", format!("{bytes} bytes, not in use")),
    };
    let mut out = io::stdout();
    if json {
        let object = format!("file {}", path.display());
        writeln!(out, "{}", json!({"object": object, "state": state, "detail": detail}))?;
    } else {
        writeln!(out, "broker: {}: {detail}", path.display())?;
    }
    Ok(())
}

fn as_json(problems: &Problems) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for problem in &problems.0 {
        let line = json!({"origin": problem.origin.to_string(), "key": problem.key, "problem": problem.message});
        writeln!(out, "{line}")?;
    }
    Ok(())
}
