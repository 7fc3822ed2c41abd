//! `compare`: runs before beside runs after. What makes a difference is decided elsewhere.

use super::{Error, out};
use crate::{
    compare::{Answer, CompareError, compare as compare_reports, lines},
    figures::Kind,
    quantity,
    report::{Document, Report, exit},
};
use clap::Args;
use std::{fs, path::PathBuf, str::FromStr};

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// Reports that `--json` wrote, with commas between: runs before the change
    #[arg(value_name = "A.json,..")]
    before: Runs,
    /// Runs after it
    #[arg(value_name = "B.json,..")]
    after: Runs,
    /// How much slower is tolerated
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = quantity::share)]
    max_regress: f64,
    /// The latency that is compared: wait, done, attempt and the others of a report
    #[arg(long, default_value = "wait", value_parser = kind)]
    latency: Kind,
    /// Compare though environments or profiles differ, or a run is invalid
    #[arg(long)]
    force: bool,
    /// Write the comparison as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Files of one side.
#[derive(Debug, Clone)]
struct Runs(Vec<PathBuf>);

impl FromStr for Runs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let files = text.split(',').map(PathBuf::from).collect::<Vec<_>>();
        let named = files.iter().all(|file| !file.as_os_str().is_empty());
        if named { Ok(Self(files)) } else { Err("names of files with commas between".to_owned()) }
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::named(text).ok_or_else(|| format!("one of {}", Kind::ALL.map(Kind::name).join(", ")))
}

pub(super) fn compare(args: &CompareArgs) -> Result<u8, Error> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let told = compare_reports(&before, &after, args.latency, args.max_regress, args.force).map_err(|e| {
        let hint = if matches!(e, CompareError::Different(_)) { "; --force compares all the same" } else { "" };
        Error::Usage(format!("{e}{hint}"))
    })?;
    if let Some(path) = &args.json {
        out::write(path, &serde_json::to_string_pretty(&told).expect("a comparison is plain data"))?;
    }
    let to_json = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-");
    for line in lines(&told).iter().filter(|_| !to_json) {
        out::print(line)?;
    }
    Ok(match told.answer {
        Answer::Better | Answer::Same => exit::OK,
        Answer::Worse => exit::THRESHOLD,
        Answer::Inconclusive => exit::INVALID,
    })
}

fn read(runs: &Runs) -> Result<Vec<Report>, Error> {
    let one = |path: &PathBuf| {
        let text = fs::read_to_string(path).map_err(|e| Error::Read(path.clone(), e))?;
        match text.parse().map_err(|e| Error::Document(path.clone(), e))? {
            Document::Run(report) => Ok(*report),
            Document::Sweep(_) => Err(Error::Usage(format!("{} is a sweep, not a run", path.display()))),
        }
    };
    runs.0.iter().map(one).collect()
}
