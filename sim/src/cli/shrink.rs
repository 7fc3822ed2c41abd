//! `shrink`: makes a failing case small and keeps it as a file. The shrinking itself is the library's.

use super::{
    Error, Verdict,
    cases::{self, SeedArgs, WorldName},
    clock::Stopwatch,
    out, run,
};
use crate::{
    case::Case,
    judge::Oracle,
    run::{Options, Setup},
    shrink::{Limits, Shrunk, shrink as make_small},
    trace::{self, words},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// A case's file, a seed, or a scenario's name
    #[arg(value_name = "FILE|SEED")]
    what: String,
    #[command(flatten)]
    seeds: SeedArgs,
    /// Which world to run in
    #[arg(long, value_enum, default_value_t)]
    world: WorldName,
    /// Which promise it must go on breaking; without, the first one that it breaks
    #[arg(long, value_name = "NAME")]
    oracle: Option<String>,
    /// Seconds of CPU time after which the smallest case so far will do
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    time_limit: u64,
    /// Where to keep the small case; without, in target/sim
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Shrinks a case.
pub(super) fn shrink(args: &ShrinkArgs) -> Result<Verdict, Error> {
    let chosen = cases::seed_or_file(&args.what, args.seeds)?;
    let broken = broken_by(&chosen.case, args.world);
    let wanted = args.oracle.as_deref();
    let Some(oracle) = broken.iter().copied().find(|oracle| wanted.is_none_or(|wanted| wanted == oracle.name())) else {
        out::line(&match wanted {
            Some(wanted) => format!("it does not break {wanted}: there is nothing to shrink"),
            None => "it breaks no promise: there is nothing to shrink".to_owned(),
        })?;
        return Ok(Verdict::Kept);
    };
    out::tell(&format!("shrinking while it breaks {oracle}: {}", words::summary(&chosen.case)));
    let watch = Stopwatch::start();
    let limits = Limits { cpu: Duration::from_secs(args.time_limit), ..Limits::default() };
    let small = make_small(&chosen.case, |case| broken_by(case, args.world).contains(&oracle), limits);
    let Some(small) = small else {
        out::line(&format!("it broke {oracle} once and not again: `quebert-sim meta` finds out why"))?;
        return Ok(Verdict::Broken);
    };
    let path = args.output.clone().unwrap_or_else(|| run::kept(&trace::case_hash(&small.case)));
    out::write(&path, &(small.case.to_json() + "\n"))?;
    out::wrote("case", &path);
    if !out::is_stdout(Some(&path)) {
        out::line(&told(&small, watch.elapsed()))?;
        out::line(&format!("again: {}", cases::replay_command(&[path.display().to_string()], args.world)))?;
    }
    Ok(Verdict::Broken)
}

/// The promises that a case breaks, in order of time.
fn broken_by(case: &Case, world: WorldName) -> Vec<Oracle> {
    let options = Options { kind: world.kind(), ..Options::default() };
    let report = crate::run::run(case, &Setup::default(), &options);
    report.violations.iter().map(|violation| violation.oracle).collect()
}

fn told(small: &Shrunk, took: Duration) -> String {
    let end = if small.done { "nothing smaller breaks it" } else { "there was no time for more" };
    format!(
        "{} after {} in {:.1} s; {end}\n{}",
        words::summary(&small.case),
        words::plural(small.runs.try_into().unwrap_or(usize::MAX), "run"),
        took.as_secs_f64(),
        words::case(&small.case)
    )
}
