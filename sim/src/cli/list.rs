//! What there is: scenarios by name, and cases of seeds as JSON. Runs nothing.

use super::{Error, Verdict, cases, out};
use crate::trace::words;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct CaseArgs {
    /// A seed, a scenario's name, or a file
    #[arg(value_name = "SEED")]
    what: String,
    /// In words, instead of JSON
    #[arg(long)]
    words: bool,
    #[command(flatten)]
    seeds: cases::SeedArgs,
}

/// Prints a case.
pub(super) fn case(args: &CaseArgs) -> Result<Verdict, Error> {
    let case = cases::seed_or_file(&args.what, args.seeds)?.case;
    if args.words {
        out::line(&words::case(&case))?;
    } else {
        out::line(&case.to_json())?;
    }
    Ok(Verdict::Kept)
}

/// Lists the scenarios.
pub(super) fn scenarios() -> Result<Verdict, Error> {
    let width = cases::scenarios().map(|(name, _, _)| name.len()).max().unwrap_or(0);
    for (name, about, _) in cases::scenarios() {
        out::line(&format!("{name:<width$}  {about}"))?;
    }
    Ok(Verdict::Kept)
}
