//! `planted`: looks for each known bug, and says after how many seeds it was found, by which promise, and how small its case
//! got. It fails if one was not found, or is not small.

use super::{Error, Verdict, out, run::kept};
use crate::{
    case::Case,
    judge::Oracle,
    planted::{Found, SMALL, Search, look_for, median},
    shrink::Limits,
    trace::words,
};
use clap::Args;
use quebert_dispatcher::planted::Bug;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// After how many seeds half of the bugs are found.
const MEDIAN_MAX: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct PlantedArgs {
    /// Only this bug; may be repeated. Without, all of them
    #[arg(long = "bug", value_name = "NAME", value_parser = |name: &str| name.parse::<Bug>())]
    bugs: Vec<Bug>,
    /// Seeds for each bug, from 1 up
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u64,
    /// Run all seeds, and count those that show a bug
    #[arg(long)]
    long: bool,
    /// Do not make the cases small
    #[arg(long)]
    no_shrink: bool,
    /// Threads; as many as there are processors, if not said
    #[arg(long, value_name = "N")]
    jobs: Option<u16>,
}

/// Looks for the bugs.
pub(super) fn planted(args: &PlantedArgs) -> Result<Verdict, Error> {
    let bugs = if args.bugs.is_empty() { Bug::ALL.to_vec() } else { args.bugs.clone() };
    let limits = Limits { cpu: Duration::from_secs(30), ..Limits::default() };
    let search = Search {
        seeds: 1..=args.seeds,
        count: args.long,
        shrink: (!args.no_shrink).then_some(limits),
        ..Search::default()
    };
    let available = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(available, usize::from).clamp(1, bugs.len().max(1));
    let all = look_for_all(&bugs, &search, jobs);

    let width = bugs.iter().map(|bug| bug.name().len()).max().unwrap_or(0);
    out::line(&format!(
        "{:<width$}  {:>5}  {:>9}  {:<17} {:>5} {:>6} {:>5} {:>6}",
        "bug", "seed", "shown by", "promise", "tasks", "faults", "runs", "CPU s"
    ))?;
    for found in &all {
        out::line(&row(found, width))?;
    }
    for found in &all {
        if let Some(small) = &found.small {
            let case = Case { name: format!("planted: {}", found.bug), ..small.case.clone() };
            out::write(&kept(&format!("planted-{}", found.bug)), &(case.to_json() + "\n"))?;
        }
    }
    let wrong = wrong(&all);
    match median(&all) {
        Some(median) => out::line(&format!("{} bugs, half of them within {median} seeds", all.len()))?,
        None => out::line(&format!("{} bugs, half of them not found", all.len()))?,
    }
    for text in &wrong {
        out::line(text)?;
    }
    Ok(if wrong.is_empty() { Verdict::Kept } else { Verdict::Broken })
}

/// Each bug on one of so many threads.
fn look_for_all(bugs: &[Bug], search: &Search, jobs: usize) -> Vec<Found> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = look_for(*bug, search);
                    all.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|found| bugs.iter().position(|bug| *bug == found.bug));
    all
}

fn row(found: &Found, width: usize) -> String {
    let (seed, oracle) = match found.first {
        Some((seed, oracle)) => (seed.to_string(), Oracle::name(oracle)),
        None => ("none".to_owned(), ""),
    };
    let shown = format!("{}/{}", found.shown, found.tried);
    let small = found.small.as_ref().map_or_else(String::new, |small| {
        let (tasks, faults) = (small.case.tasks.len(), small.case.faults.len());
        let mark = if small.done { "" } else { " (ran out of time)" };
        format!("{tasks:>5} {faults:>6} {:>5} {:>6.1}{mark}", small.runs, small.cpu.as_secs_f64())
    });
    let row = format!("{:<width$}  {seed:>5}  {shown:>9}  {oracle:<17} {small}", found.bug.name());
    row.trim_end().to_owned()
}

/// What is not as it should be.
fn wrong(all: &[Found]) -> Vec<String> {
    let mut wrong = Vec::new();
    for found in all {
        let name = found.bug.name();
        if found.first.is_none() {
            wrong.push(format!("{name} was not found by {} seeds", found.tried));
        }
        if found.small.is_some() && !found.is_small() {
            wrong.push(format!("{name}'s case has more than {SMALL} tasks or faults"));
        }
    }
    let mut alarms = all.iter().flat_map(|found| found.false_alarms.iter().copied()).collect::<Vec<_>>();
    alarms.sort_unstable();
    alarms.dedup();
    if let Some(first) = alarms.first() {
        let seeds = words::plural(alarms.len(), "seed");
        wrong.push(format!("{seeds} broke a promise without any bug, and were left out; the first is {first}"));
    }
    if all.len() > 1 && median(all).is_none_or(|median| median > MEDIAN_MAX) {
        wrong.push(format!("half of the bugs should be found within {MEDIAN_MAX} seeds"));
    }
    wrong
}
