//! `run`: a profile from a file and flags, what is shown meanwhile, and the report in the forms that are asked for.

use super::{Error, interrupted, live::Teller, out, profile::ProfileArgs, report::Forms, runtime, verify};
use crate::{
    quantity::Span,
    report::{Report, exit},
    run::{self, Config, Live, Profile},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    profile: ProfileArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where what a run came to goes.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write the report as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    forms: Forms,
    /// Write the ledger, to be judged again by `verify`
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Tell nothing while it runs
    #[arg(long, short)]
    quiet: bool,
}

impl RunArgs {
    pub(super) fn read(self) -> Result<(Profile, OutputArgs), Error> {
        Ok((self.profile.read()?, self.output))
    }
}

pub(super) fn run(args: RunArgs) -> Result<u8, Error> {
    let (profile, output) = args.read()?;
    execute(profile, output)
}

/// Runs a profile, and writes what it came to.
pub(super) fn execute(profile: Profile, output: OutputArgs) -> Result<u8, Error> {
    let OutputArgs { json, forms, ledger, quiet } = output;
    let config = Config::try_from(profile)?;
    let mut teller = Teller::new(&config, quiet);
    let tell = |live: &Live| teller.tell(live);
    let report = runtime()?.block_on(async {
        tokio::select! {
            biased;
            // Whatever was started for the run ends with the future that is dropped here.
            () = interrupted() => Ok(None),
            report = run::run(config, tell, ledger.as_deref()) => report.map(Some),
        }
    })?;
    let Some(report) = report else {
        out::tell("interrupted: nothing is reported");
        return Ok(exit::INVALID);
    };
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        out::write(&path, &text)?;
    }
    forms.write(&report)?;
    if !quiet {
        summary(&report).iter().for_each(|line| out::tell(line));
    }
    Ok(report.exit_code)
}

fn summary(report: &Report) -> Vec<String> {
    let rates = &report.throughput;
    let mut lines = vec![String::new()];
    for (name, latency) in &report.latency {
        let told = |us: u64| Span(Duration::from_micros(us)).to_string();
        let s = &latency.summary;
        lines.push(format!(
            "{name:<20} {:>9}  p50 {:>8}  p90 {:>8}  p99 {:>8}  p99.9 {:>8}  max {:>8}",
            s.count,
            told(s.p50_us),
            told(s.p90_us),
            told(s.p99_us),
            told(s.p999_us),
            told(s.max_us),
        ));
    }
    if report.closed {
        lines.push("closed: latency excludes waiting of the client".to_owned());
    }
    lines.push(format!(
        "offered {:.0}/s, accepted {:.0}/s, done {:.0}/s, {:.2} attempts a task; settled {:.1} s after the plan",
        rates.offered_per_s, rates.accepted_per_s, rates.done_per_s, rates.attempts_per_task, report.settle_s,
    ));
    for process in &report.processes {
        let mib = process.rss_peak_bytes as f64 / 1_048_576.0;
        lines.push(format!(
            "{:<20} {:.2} CPU s, {:.3} for 1,000 tasks, at most {mib:.0} MiB",
            process.name, process.cpu_s, process.cpu_per_1k_s
        ));
    }
    lines.extend(report.bottlenecks.first().map(|b| format!("bottleneck: {} ({})", b.name, b.evidence)));
    lines.push(String::new());
    lines.extend(verify::lines(&report.verdict));
    lines.extend(report.validity.reasons.iter().map(|reason| format!("INVALID  {reason}")));
    lines.extend(report.validity.warnings.iter().map(|warning| format!("note     {warning}")));
    for threshold in &report.thresholds {
        let found = threshold.found.map_or("nothing to measure".to_owned(), |found| found.to_string());
        lines.push(format!("{}  {}  ({found})", if threshold.ok { "kept  " } else { "MISSED" }, threshold.text));
    }
    let words = match report.exit_code {
        exit::OK => "well",
        exit::THRESHOLD => "a threshold was missed",
        exit::VERIFICATION => "a promise was broken",
        _ => "the run is invalid",
    };
    lines.push(format!("exit {}: {words}", report.exit_code));
    lines
}
