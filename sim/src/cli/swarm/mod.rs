//! `swarm`: many seeds, in several processes. Here is the parent: it hands out seeds, watches over the workers, and sums
//! up. It runs no case itself, so no case can take it down.

mod report;
mod summary;
mod worker;

pub(super) use worker::{WorkerArgs, worker};

use super::{
    Error, Verdict,
    cases::{SeedArgs, WorldName},
    clock::Stopwatch,
    out::{self, Progress},
    run::kept,
};
use clap::Args;
use report::Finding;
use std::{
    io::{BufRead as _, BufReader},
    ops::Range,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};
use summary::Summary;

/// How often the workers are looked after.
const TICK: Duration = Duration::from_millis(200);
/// How often a run that nobody watches tells how far it is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How long a worker may take to end after its output did.
const GRACE: Duration = Duration::from_secs(5);
/// Findings that may wait to be counted.
const PENDING_MAX: usize = 1024;
/// Seeds of a long run.
const LONG: u64 = 100_000;
/// Seeds that break something after which even `--keep-going` ends: more of them tell nothing new.
const FAILED_MAX: usize = 100;

#[derive(Debug, Args)]
pub(super) struct SwarmArgs {
    /// How many seeds, from 1 up; or which: `A..B` is without B, `A..=B` with it
    #[arg(long, value_name = "N|A..B", value_parser = parse_seeds)]
    seeds: Option<Seeds>,
    /// Which world to run in
    #[arg(long, value_enum, default_value_t)]
    world: WorldName,
    /// Processes that run seeds; as many as there are processors, if not said
    #[arg(long, value_name = "N")]
    jobs: Option<u16>,
    /// Seconds after which no more seeds are begun
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<u64>,
    /// Seconds of real time that one seed may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    seed_limit: u64,
    #[command(flatten)]
    size: SeedArgs,
    /// Run this many of 1,000 seeds twice, and compare their traces and their bytes on the network
    #[arg(long, value_name = "PERMILLE", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    twice: u32,
    /// Go on after a seed that breaks a promise, and count
    #[arg(long)]
    keep_going: bool,
    /// 100,000 seeds, if --seeds does not say otherwise, without end at the first that fails: for a night
    #[arg(long)]
    long: bool,
}

/// A range that clap can clone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seeds(Range<u64>);

fn parse_seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let seeds = if let Some((from, to)) = text.split_once("..=") {
        number(from)?..number(to)?.saturating_add(1)
    } else if let Some((from, to)) = text.split_once("..") {
        number(from)?..number(to)?
    } else {
        1..number(text)?.saturating_add(1)
    };
    if seeds.is_empty() { Err("there is no seed in it".to_owned()) } else { Ok(Seeds(seeds)) }
}

/// What a worker's reader tells.
enum News {
    Found(usize, Box<Finding>),
    /// Its output ended.
    Ended(usize),
}

/// One worker, and where it is: it takes `next`, `next + stride`, ...
struct Job {
    child: Child,
    next: u64,
    since: Stopwatch,
    over: bool,
}

/// Runs the seeds and says what came of them.
pub(super) fn swarm(args: &SwarmArgs) -> Result<Verdict, Error> {
    let seeds = match (&args.seeds, args.long) {
        (Some(Seeds(range)), _) => range.clone(),
        (None, true) => 1..LONG + 1,
        (None, false) => 1..1001,
    };
    let available = thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(available, usize::from).max(1);
    let jobs = jobs.min(usize::try_from(seeds.end - seeds.start).unwrap_or(usize::MAX));
    let (news, inbox) = mpsc::sync_channel(PENDING_MAX);
    let summary = thread::scope(|scope| {
        let start = |number: usize, next: u64| -> Result<Job, Error> {
            let (child, output) = spawn(args, next..seeds.end, jobs as u64).map_err(Error::Process)?;
            let news = news.clone();
            scope.spawn(move || read(number, output, &news));
            Ok(Job { child, next, since: Stopwatch::start(), over: false })
        };
        let mut parent = Parent {
            args,
            stride: jobs as u64,
            end: seeds.end,
            jobs: Vec::new(),
            summary: Summary::new(seeds.clone(), args.world, args.size),
        };
        for number in 0..jobs {
            match start(number, seeds.start + number as u64) {
                Ok(job) => parent.jobs.push(job),
                Err(error) => {
                    parent.stop();
                    return Err(error);
                }
            }
        }
        let result = parent.watch(&inbox, &start);
        // Whatever happened: no worker outlives this, and the readers end with them.
        parent.stop();
        // A reader may be waiting for room.
        drop(inbox);
        result.map(|()| parent.summary)
    })?;
    out::line(&summary.to_string())?;
    if let Some(seed) = summary.first_failed() {
        let case = args.size.case(seed);
        let path = kept(&crate::trace::case_hash(&case));
        out::write(&path, &(case.to_json() + "\n"))?;
        out::wrote("case", &path);
    }
    Ok(if summary.is_fine() { Verdict::Kept } else { Verdict::Broken })
}

struct Parent<'a> {
    args: &'a SwarmArgs,
    stride: u64,
    end: u64,
    jobs: Vec<Job>,
    summary: Summary,
}

impl Parent<'_> {
    fn watch(
        &mut self,
        inbox: &mpsc::Receiver<News>,
        start: &impl Fn(usize, u64) -> Result<Job, Error>,
    ) -> Result<(), Error> {
        let watch = Stopwatch::start();
        let (mut progress, mut told) = (Progress::new(), Stopwatch::start());
        while self.jobs.iter().any(|job| !job.over) {
            match inbox.recv_timeout(TICK) {
                Ok(News::Found(number, finding)) => self.found(number, *finding),
                Ok(News::Ended(number)) => self.ended(number, start)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.summary.took = watch.elapsed();
            self.end_those_that_hang();
            let failed = self.summary.failed();
            if failed >= FAILED_MAX || (failed > 0 && !self.args.keep_going && !self.args.long) {
                break;
            }
            if self.args.time_limit.is_some_and(|limit| watch.elapsed() >= Duration::from_secs(limit)) {
                break;
            }
            if progress.is_shown() {
                progress.show(&self.summary.progress());
            } else if told.elapsed() >= SIGN_OF_LIFE {
                out::tell(&self.summary.progress());
                told = Stopwatch::start();
            }
        }
        progress.clear();
        Ok(())
    }

    fn found(&mut self, number: usize, finding: Finding) {
        let job = &mut self.jobs[number];
        job.next = finding.seed + self.stride;
        job.since = Stopwatch::start();
        self.summary.count(finding);
    }

    /// A worker's output ended: it is done, or something took it down, and then another one goes on after that seed.
    fn ended(&mut self, number: usize, start: &impl Fn(usize, u64) -> Result<Job, Error>) -> Result<(), Error> {
        let job = &mut self.jobs[number];
        let status = gone(&mut job.child).map_err(Error::Process)?;
        if job.next >= self.end {
            job.over = true;
            return Ok(());
        }
        let detail = format!("its process ended without a word: {status}");
        self.summary.lost(job.next, detail);
        job.next += self.stride;
        if job.next >= self.end {
            job.over = true;
        } else {
            *job = start(number, job.next)?;
        }
        Ok(())
    }

    /// Ends the processes of seeds that take too long. That their output ended is told like any other end.
    fn end_those_that_hang(&mut self) {
        let limit = Duration::from_secs(self.args.seed_limit);
        for job in &mut self.jobs {
            if !job.over && job.since.elapsed() > limit {
                out::tell(&format!("seed {} takes longer than {} s", job.next, self.args.seed_limit));
                let _ = job.child.kill();
                job.since = Stopwatch::start();
            }
        }
    }

    fn stop(&mut self) {
        for job in &mut self.jobs {
            let _ = job.child.kill();
            let _ = job.child.wait();
        }
    }
}

/// How a worker ended whose output has ended. One that lives on all the same, since its last line was no finding and
/// nobody reads what comes after, is ended.
#[expect(clippy::disallowed_methods, reason = "in the parent, which runs no world that it could block")]
fn gone(child: &mut Child) -> std::io::Result<ExitStatus> {
    let since = Stopwatch::start();
    while since.elapsed() < GRACE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()
}

fn spawn(args: &SwarmArgs, seeds: Range<u64>, stride: u64) -> std::io::Result<(Child, ChildStdout)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("swarm-worker");
    command.args(["--from", &seeds.start.to_string(), "--to", &seeds.end.to_string()]);
    command.args(["--stride", &stride.to_string(), "--twice", &args.twice.to_string()]);
    command.args(["--world", args.world.name()]);
    command.args(args.size.flags());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().expect("it was asked for, a line above");
    Ok((child, output))
}

/// Reads a worker's lines. Ends with its output, or with the parent.
fn read(number: usize, output: ChildStdout, news: &SyncSender<News>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        // A line that was cut short by an end.
        let Ok(finding) = serde_json::from_str(&line) else { break };
        if news.send(News::Found(number, finding)).is_err() {
            return;
        }
    }
    let _ = news.send(News::Ended(number));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_lives_on_without_output_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("there is such a program");
        let status = gone(&mut child).expect("it is ours to end");
        assert!(!status.success(), "{status}");
    }

    #[test]
    fn seeds_are_a_number_or_a_range() {
        assert_eq!(parse_seeds("3"), Ok(Seeds(1..4)));
        assert_eq!(parse_seeds("5..8"), Ok(Seeds(5..8)));
        assert_eq!(parse_seeds("5..=8"), Ok(Seeds(5..9)));
        for wrong in ["0", "8..8", "9..3", "a..3", "-1", ""] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
