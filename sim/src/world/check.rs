//! Runs the seeds of a world and tells what went wrong, in a form that a person can read, look at and run again.

use super::{World, seeds};
use crate::{
    case::{Case, CaseError},
    judge::Violation,
    net::Kind,
    run::{self, Options, Report},
    shrink, timeline,
    trace::{self, Difference},
};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Lines of a story that are told at the most.
const STORY: usize = 12;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A promise was broken.
    #[error("{0}")]
    Broken(Box<Broken>),
    /// The same case did not give the same run.
    #[error("{0}")]
    Differs(Box<Differs>),
    /// What the builder was told can't be run.
    #[error("seed {seed} can't be run: {source}")]
    Case {
        /// Which.
        seed: u64,
        /// Why.
        #[source]
        source: CaseError,
    },
    /// The case to be run again can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A promise that was broken, in the smallest case that still breaks it.
#[derive(Debug)]
pub struct Broken {
    /// The first violation of the small case.
    pub violation: Violation,
    /// The small case.
    pub case: Case,
    /// Tasks and faults of the case that the seed gave.
    pub was: (usize, usize),
    /// What happened, around it.
    pub story: Vec<String>,
    /// Where the small case is kept, if it could be written.
    pub kept: Option<PathBuf>,
    /// Where its timeline is kept.
    pub page: Option<PathBuf>,
    kind: Kind,
}

/// Two runs of one case that differ: something asks the machine for time or randomness, or keeps what it should not.
#[derive(Debug)]
pub struct Differs {
    /// Of which.
    pub seed: u64,
    /// Where their traces part.
    pub difference: Difference,
}

impl World {
    /// Runs all seeds.
    ///
    /// # Panics
    /// At the first seed with a broken promise: with the promise, the task's story, and how to run the case again. It is
    /// made small before, and kept as a file beside its timeline. Also when two runs of the same case differ.
    #[track_caller]
    pub fn check(&self) {
        if let Err(failure) = self.run() {
            panic!("{failure}");
        }
    }

    /// The same, without a panic.
    ///
    /// # Errors
    /// What went wrong first.
    pub fn run(&self) -> Result<(), Failure> {
        if let Some(path) = &self.replay {
            return self.replay(path);
        }
        for (index, seed) in self.seeds.iter().enumerate() {
            let case = self.case(*seed).map_err(|source| Failure::Case { seed: *seed, source })?;
            let report = self.play(&case);
            // Once is enough to see what a mediator asks; so is any run that fails, since it will be repeated.
            if index == 0 || !report.violations.is_empty() {
                self.repeat(&case, &report)?;
            }
            if let Some(violation) = report.violations.first() {
                return Err(Failure::Broken(Box::new(self.broken(&case, violation))));
            }
        }
        Ok(())
    }

    fn replay(&self, path: &Path) -> Result<(), Failure> {
        let failed = |source| Failure::Read { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        let case = Case::from_json(&text).map_err(|error| failed(io::Error::other(error)))?;
        let report = self.play(&case);
        match report.violations.first() {
            Some(violation) => Err(Failure::Broken(Box::new(self.told(case.clone(), violation, &report, size(&case))))),
            None => Ok(()),
        }
    }

    /// Runs a case of your own making in this world, with what the builder was told, and judges it.
    pub fn play(&self, case: &Case) -> Report {
        run::run(case, &self.setup, &Options { kind: self.kind, ..Options::default() })
    }

    fn repeat(&self, case: &Case, report: &Report) -> Result<(), Failure> {
        let text = |report: &Report| trace::text(case, self.kind, &report.entries);
        match trace::difference(&text(report), &text(&self.play(case))) {
            Some(difference) => Err(Failure::Differs(Box::new(Differs { seed: case.seed, difference }))),
            None => Ok(()),
        }
    }

    /// Makes the case small, and tells of it.
    fn broken(&self, case: &Case, violation: &Violation) -> Broken {
        let same = |other: &Violation| other.oracle == violation.oracle;
        let fails = |case: &Case| self.play(case).violations.iter().any(same);
        let small = shrink::shrink(case, fails, self.limits).map_or_else(|| case.clone(), |shrunk| shrunk.case);
        let report = self.play(&small);
        let violation = report.violations.iter().find(|other| same(other)).unwrap_or(violation).clone();
        self.told(small, &violation, &report, size(case))
    }

    fn told(&self, case: Case, violation: &Violation, report: &Report, was: (usize, usize)) -> Broken {
        let page = || timeline::page(&case, self.kind, report, violation.task);
        let folder = self.kept_in.clone().unwrap_or_else(|| target().join("sim"));
        let hash = trace::case_hash(&case);
        let keep = |ending: &str, text: String| {
            let path = folder.join(format!("{hash}.{ending}"));
            // Where nothing can be kept the story is still told.
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, text)).is_ok().then_some(path)
        };
        let (kept, page) = (keep("json", case.to_json() + "\n"), keep("html", page()));
        let story = story(report, violation);
        Broken { violation: violation.clone(), was, story, kept, page, kind: self.kind, case }
    }
}

fn size(case: &Case) -> (usize, usize) {
    (case.tasks.len(), case.faults.len())
}

/// The last lines before the violation, of its task if it has one, and a few after.
fn story(report: &Report, violation: &Violation) -> Vec<String> {
    if let Some(task) = violation.task {
        return shortened(trace::lines_about(&report.entries, task));
    }
    let until = report.entries.partition_point(|entry| entry.at <= violation.at);
    let shown = &report.entries[until.saturating_sub(STORY)..until];
    let line = |entry| {
        let mut text = String::new();
        trace::line(entry, &mut text);
        text
    };
    shown.iter().map(line).collect()
}

/// The beginning and the end, if it is long.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > STORY {
        let left_out = lines.len() - STORY + 1;
        let gap = format!("             ... {left_out} more");
        lines.splice(STORY / 3..STORY / 3 + left_out, [gap]);
    }
    lines
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violation, case, was, story, kept, page, kind } = self;
        let of = violation.task.map(|task| format!(" of {task}")).unwrap_or_default();
        writeln!(f, "seed {} breaks {}{of}, at {:.3} s:", case.seed, violation.oracle, violation.at.as_secs_f64())?;
        writeln!(f, "  {}", violation.detail)?;
        let (tasks, faults) = size(case);
        let words = |(tasks, faults)| {
            format!("{} and {}", trace::words::plural(tasks, "task"), trace::words::plural(faults, "fault"))
        };
        match words(*was) {
            was if was == words((tasks, faults)) => writeln!(f, "the story, of a case with {was}:")?,
            was => writeln!(f, "the story, of a case with {} (there were {was}):", words((tasks, faults)))?,
        }
        for fault in &case.faults {
            writeln!(f, "  fault: {}", trace::words::fault(case, fault))?;
        }
        for line in story {
            writeln!(f, "  {line}")?;
        }
        if let Some(page) = page {
            writeln!(f, "look: {}", page.display())?;
        }
        match kept {
            Some(kept) => write!(f, "again: {}", again(kept, *kind)),
            None => write!(f, "again: QUEBERT_SIM_SEEDS={} (the case could not be written)", case.seed),
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: two runs of the same case differ; {}", self.seed, self.difference)?;
        write!(
            f,
            "something there asks the machine for time, randomness or hash order, or keeps what a run before it left: \
             take time and randomness from the Env, and see WorldBuilder::for_each_run"
        )
    }
}

/// The command that runs a case again in the test that found it.
fn again(kept: &Path, kind: Kind) -> String {
    let mut words = vec![format!("{}={}", seeds::CASE, kept.display())];
    if kind != Kind::default() {
        words.push(format!("QUEBERT_SIM_WORLD={}", seeds::kind_name(kind)));
    }
    words.push("cargo test".to_owned());
    if let Ok(package) = std::env::var("CARGO_PKG_NAME") {
        words.push(format!("-p {package}"));
    }
    // The test harness names its threads so.
    if let Some(name) = std::thread::current().name().filter(|name| *name != "main") {
        words.push(format!("{name} -- --exact"));
    }
    words.join(" ")
}

/// The folder of build results: cargo's, or the nearest one above.
fn target() -> PathBuf {
    if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
        return PathBuf::from(folder);
    }
    let here = std::env::current_dir().unwrap_or_default();
    here.ancestors().map(|folder| folder.join("target")).find(|folder| folder.is_dir()).unwrap_or(here.join("target"))
}
