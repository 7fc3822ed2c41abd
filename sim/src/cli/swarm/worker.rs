//! A worker of `swarm`: runs every so-manieth seed of a range and tells a line of each. It stops when nobody listens.

use super::report::Finding;
use crate::{
    case::Case,
    cli::{
        Error, Verdict,
        cases::{SeedArgs, WorldName},
        clock, out,
    },
    draw::Draw,
    history::What,
    judge,
    run::{self, Options, Report, Setup},
    trace::{self, Coverage},
};
use clap::Args;
use quebert_dispatcher::event::Event;
use std::time::Duration;

#[derive(Debug, Args)]
pub(in crate::cli) struct WorkerArgs {
    #[arg(long)]
    from: u64,
    #[arg(long)]
    to: u64,
    #[arg(long)]
    stride: u64,
    #[arg(long)]
    twice: u32,
    #[arg(long, value_enum)]
    world: WorldName,
    #[command(flatten)]
    size: SeedArgs,
}

/// Runs the seeds.
pub(in crate::cli) fn worker(args: &WorkerArgs) -> Result<Verdict, Error> {
    let step = usize::try_from(args.stride.max(1)).unwrap_or(usize::MAX);
    let mut cpu_before = Duration::ZERO;
    for seed in (args.from..args.to).step_by(step) {
        let mut finding = look_at(seed, &args.size.case(seed), args);
        let cpu = clock::cpu().unwrap_or_default();
        finding.cpu_us = micros(cpu.saturating_sub(cpu_before));
        cpu_before = cpu;
        out::line(&serde_json::to_string(&finding).expect("plain data"))?;
    }
    Ok(Verdict::Kept)
}

fn look_at(seed: u64, case: &Case, args: &WorkerArgs) -> Finding {
    let options = Options { kind: args.world.kind(), ..Options::default() };
    let report = run::run(case, &Setup::default(), &options);
    let attempt = |what: &What| matches!(what, What::Event(Event::AttemptStarted { .. }));
    let mut finding = Finding {
        seed,
        virtual_us: micros(report.ran.end),
        tasks: case.tasks.len() as u64,
        attempts: report.entries.iter().filter(|entry| attempt(&entry.what)).count() as u64,
        faults: case.faults.len() as u64,
        segments: report.ran.segments,
        coverage: Coverage::of(case, &report.entries).to_hex(),
        ..Finding::default()
    };
    finding.tell(&report.violations);
    if let Some((task, at)) = report.violations.iter().find_map(|violation| Some((violation.task?, violation.at))) {
        finding.story = judge::story(&report.entries, task, at);
    }
    if Draw::new(seed).of("twice").chance(args.twice) {
        let again = run::run(case, &Setup::default(), &options);
        finding.twice = true;
        finding.virtual_us += micros(again.ran.end);
        finding.difference = difference(case, &options, &report, &again);
    }
    finding
}

/// Where two runs of one case parted, in traces or on the network.
fn difference(case: &Case, options: &Options, one: &Report, other: &Report) -> Option<String> {
    let wire = |report: &Report| (report.ran.wire_hash, report.ran.segments, report.ran.end);
    if trace::hash(&one.entries) == trace::hash(&other.entries) {
        return (wire(one) != wire(other)).then(|| {
            let (one, other) = (wire(one), wire(other));
            format!("the traces are the same, the bytes on the network are not: {one:?} and {other:?}")
        });
    }
    let text = |report: &Report| trace::text(case, options.kind, &report.entries);
    trace::difference(&text(one), &text(other)).map(|difference| difference.to_string())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
