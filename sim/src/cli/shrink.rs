//! `shrink`: makes a failing case small and keeps it as a file. The shrinking itself is the library's.

use super::{
    Error, Verdict,
    cases::{self, SeedArgs},
};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// A case's file, a seed, or a scenario's name
    #[arg(value_name = "FILE|SEED")]
    what: String,
    #[command(flatten)]
    seeds: SeedArgs,
    /// Where to keep the small case; without, in target/sim
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Shrinks a case.
pub(super) fn shrink(args: &ShrinkArgs) -> Result<Verdict, Error> {
    cases::seed_or_file(&args.what, args.seeds)?;
    let _ = &args.output;
    Err(Error::Usage("this build cannot shrink".to_owned()))
}
