//! `compare`: runs before beside runs after. What makes a difference is decided elsewhere.

use super::{Error, out, report::Pages};
use crate::{
    compare::{Answer, CompareError, compare as compare_reports, lines, markdown},
    figures::Kind,
    quantity,
    report::{Document, Report, exit, html_compare},
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
    #[command(flatten)]
    pages: Pages,
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
    args.pages.write(|| html_compare(&told, &before, &after), || markdown(&told))?;
    let taken = args.json.as_ref().is_some_and(|path| path.as_os_str() == "-") || args.pages.to_stdout();
    for line in lines(&told).iter().filter(|_| !taken) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Cli, report::fixture};
    use clap::Parser as _;

    #[test]
    fn a_comparison_is_written_in_each_form_that_is_asked_for() {
        let folder = std::env::temp_dir().join(format!("quebert-loadtest-compare-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let json = serde_json::to_string(&fixture()).unwrap();
        let side = |side: &str| {
            let files = (0..4).map(|i| path(&format!("{side}{i}.json"))).collect::<Vec<_>>();
            files.iter().for_each(|file| fs::write(file, &json).unwrap());
            files.join(",")
        };
        let (before, after) = (side("before"), side("after"));
        let flag = |name: &str, file: &str| format!("--{name}={}", path(file));
        let forms = [flag("json", "c.json"), flag("html", "c.html"), flag("markdown", "c.md")];
        let words =
            ["quebert-loadtest", "compare", &before, &after].into_iter().chain(forms.iter().map(String::as_str));
        let crate::cli::Command::Compare(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("it is no comparison")
        };
        assert_eq!(compare(&args).unwrap(), exit::OK);
        let text = |name: &str| fs::read_to_string(path(name)).unwrap();
        assert!(text("c.html").starts_with("<!DOCTYPE html>") && text("c.html").contains("Comparison: same"));
        assert!(text("c.md").starts_with("## Compare: same\n") && text("c.json").contains("\"answer\": \"same\""));
        fs::remove_dir_all(&folder).unwrap();
    }
}
