//! `run` and `replay`: one case, judged, and written down in the forms that people read. Neither changes a case.

use super::{
    Error, Verdict,
    cases::{self, Chosen, SeedArgs, StretchArgs, WhichArgs, WorldName},
    clock::Stopwatch,
    out,
};
use crate::{
    history::TaskNo,
    judge::{self, Violation},
    run::{self, Options, Report, Setup},
    trace::{self, MessageLog, words},
};
use clap::Args;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Violations of one run that are printed.
const SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    seeds: SeedArgs,
    #[command(flatten)]
    stretch: StretchArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// A case's file, a seed, or a scenario's name
    #[arg(value_name = "FILE|SEED")]
    what: String,
    #[command(flatten)]
    seeds: SeedArgs,
    #[command(flatten)]
    stretch: StretchArgs,
    #[command(flatten)]
    how: HowArgs,
}

/// How to run a case, and what to write down.
#[derive(Debug, Args)]
struct HowArgs {
    /// Which world to run in
    #[arg(long, value_enum, default_value_t)]
    world: WorldName,
    /// Write what happened, a line each; `-` is standard output
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write every segment on the network, a line each (fast world only)
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
    /// Write a page with hosts as rows, to be opened in a browser
    #[arg(long, value_name = "FILE.html")]
    timeline: Option<PathBuf>,
    /// Write the dispatchers' metrics, scraped every 15 virtual seconds, as OpenMetrics with timestamps
    #[arg(long, value_name = "FILE.om")]
    metrics: Option<PathBuf>,
    /// Tell this task's story, and highlight it in the timeline
    #[arg(long, value_name = "tN")]
    task: Option<TaskNo>,
    /// Go on to the case's end, even if all is settled before
    #[arg(long)]
    to_the_end: bool,
}

/// Runs a case that is named by a flag.
pub(super) fn run(args: &RunArgs) -> Result<Verdict, Error> {
    one(&args.stretch.apply(args.which.choose(args.seeds)?)?, &args.how)
}

/// Runs a case that is named by a word.
pub(super) fn replay(args: &ReplayArgs) -> Result<Verdict, Error> {
    one(&args.stretch.apply(cases::seed_or_file(&args.what, args.seeds)?)?, &args.how)
}

fn one(chosen: &Chosen, how: &HowArgs) -> Result<Verdict, Error> {
    let case = &chosen.case;
    if let Some(task) = how.task.filter(|task| !case.tasks.iter().any(|known| known.no == *task)) {
        return Err(Error::Usage(format!("the case has no task {task}")));
    }
    if how.messages.is_some() && how.world != WorldName::Fast {
        return Err(Error::Usage("--messages needs the fast world: turmoil does not tell of its segments".to_owned()));
    }
    let messages = how.messages.as_ref().map(|path| (path, MessageLog::default()));
    let log = messages.as_ref().map(|(_, log)| log.listener());
    let options = Options { kind: how.world.kind(), log, to_the_end: how.to_the_end };
    let watch = Stopwatch::start();
    let report = run::run(case, &Setup::default(), &options);
    let took = watch.elapsed();

    if let Some(path) = &how.trace {
        out::write(path, &trace::text(case, options.kind, &report.entries))?;
    }
    if let Some((path, log)) = &messages {
        out::write(path, &log.take())?;
    }
    let task = how.task.or_else(|| report.violations.iter().find_map(|violation| violation.task));
    if let Some(path) = &how.timeline {
        out::write(path, &crate::timeline::page(case, options.kind, &report, task))?;
    }
    if let Some(path) = &how.metrics {
        let scrapes = crate::metrics::scrape(case, &report.entries);
        out::stream(path, |out| scrapes.write(out))?;
    }
    let text = verdict(chosen, how, &report, took);
    if [&how.trace, &how.timeline, &how.metrics].iter().any(|path| out::is_stdout(path.as_ref())) {
        out::tell(&text);
    } else {
        out::line(&text)?;
    }
    let written =
        [("trace", &how.trace), ("messages", &how.messages), ("timeline", &how.timeline), ("metrics", &how.metrics)];
    for (what, path) in written {
        if let Some(path) = path {
            out::wrote(what, path);
        }
    }
    Ok(if report.violations.is_empty() { Verdict::Kept } else { Verdict::Broken })
}

/// What there is to say of a run.
fn verdict(chosen: &Chosen, how: &HowArgs, report: &Report, took: Duration) -> String {
    let case = &chosen.case;
    let mut lines = vec![
        words::summary(case),
        ran(report, took),
        format!(
            "case {}, {} world, trace {:016x}, wire {:016x}",
            trace::case_hash(case),
            how.world.name(),
            trace::hash(&report.entries),
            report.ran.wire_hash
        ),
    ];
    for violation in report.violations.iter().take(SHOWN) {
        lines.push(broken(violation));
    }
    if report.violations.len() > SHOWN {
        lines.push(format!("and {} more", report.violations.len() - SHOWN));
    }
    let broken = report.violations.iter().find_map(|violation| Some((violation.task?, violation.at)));
    if let Some(task) = how.task {
        lines.push(format!("the story of {task}:"));
        lines.extend(trace::lines_about(&report.entries, task).into_iter().map(|line| format!("  {line}")));
    } else if let Some((task, at)) = broken {
        lines.push(format!("the story of {task} (all of it: --task {task}):"));
        lines.extend(judge::story(&report.entries, task, at).into_iter().map(|line| format!("  {line}")));
    }
    if report.violations.is_empty() {
        lines.push("every promise was kept".to_owned());
    } else {
        lines.push(format!("again: {}", cases::replay_command(&chosen.replay, how.world)));
    }
    lines.join("\n")
}

fn ran(report: &Report, took: Duration) -> String {
    let end = report.ran.end;
    let settled = match report.settled_at {
        Some(at) => format!("all was settled at {:.3} s", at.as_secs_f64()),
        None => "not all was settled".to_owned(),
    };
    format!(
        "{:.1} virtual s in {:.3} s, {} times as fast; {}, {}; {settled}",
        end.as_secs_f64(),
        took.as_secs_f64(),
        words::count(speed(end, took)),
        words::plural(report.entries.len(), "event"),
        words::plural(usize::try_from(report.ran.segments).unwrap_or(usize::MAX), "segment"),
    )
}

/// Virtual seconds per second.
pub(super) fn speed(virtual_time: Duration, real: Duration) -> u64 {
    let micros = real.as_micros().max(1);
    u64::try_from(virtual_time.as_micros() / micros).unwrap_or(u64::MAX)
}

/// A broken promise in one line.
pub(super) fn broken(violation: &Violation) -> String {
    let of = violation.task.map(|task| format!(" of {task}")).unwrap_or_default();
    format!("broken at {:.3} s: {}{of}: {}", violation.at.as_secs_f64(), violation.oracle, violation.detail)
}

/// Where a case is kept that breaks something.
pub(super) fn kept(name: &str) -> PathBuf {
    Path::new("target/sim").join(format!("{name}.json"))
}
