//! Runs of one version beside runs of another: better, the same, worse, or nobody can tell. It compares what reports say, and
//! refuses reports that can't be compared.
//!
//! Runs differ by themselves, so that one on each side proves nothing: the unit of comparison is the run. Two things are looked
//! at, each with a chance of 2.5 % to be called worse (and of 2.5 % to be called better) without a difference: the runs' 99th
//! percentiles (by `ranks.rs`), and the shape of all values together (by `shape.rs`). And a difference must be larger than what is
//! tolerated, however sure it is.

mod markdown;
mod ranks;
mod shape;
#[cfg(test)]
mod tests;
mod told;

pub use markdown::markdown;
pub use told::lines;
pub(crate) use told::{change, interval, reason, word};

use crate::{
    figures::{Kind, Summary},
    report::Report,
    run::Profile,
};
use ranks::{SAMPLE_MAX, factor, ranks};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shape::shape;

/// The version of [`Comparison`].
pub(crate) const SCHEMA_VERSION: u32 = 1;
/// How likely each test may be wrong, in either direction.
const WRONG: f64 = 0.025;
/// A shape has changed when at least this share of all tasks has moved by more than is tolerated.
const MOVED: f64 = 0.05;

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Faster by more than the tolerance, and not by chance.
    Better,
    /// The difference is within the tolerance.
    Same,
    /// Slower by more than the tolerance, and not by chance.
    Worse,
    /// Too few runs, or runs that differ too much by themselves.
    Inconclusive,
}

/// The runs' 99th percentiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tail {
    /// What they say.
    pub answer: Answer,
    /// Of each run before, in microseconds.
    pub before_us: Vec<u64>,
    /// Of each run after.
    pub after_us: Vec<u64>,
    /// By what they are larger: 1.1 is 10 % slower.
    pub factor: f64,
    /// The 95 % interval of that; `null` of too few runs.
    pub interval: Option<(f64, f64)>,
    /// The probability that a run after is slower than one before; 0.5 without a difference.
    pub superiority: f64,
    /// How likely that is by chance, one-sided: slower.
    pub p_slower: f64,
    /// And faster.
    pub p_faster: f64,
}

/// The shape of all values together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Body {
    /// What it says.
    pub answer: Answer,
    /// The statistic of Kolmogorov and Smirnov.
    pub distance: f64,
    /// How likely that is by chance.
    pub p_distance: f64,
    /// The share of tasks that are slower by more than is tolerated.
    pub slower: f64,
    /// How likely that is by chance.
    pub p_slower: f64,
    /// The share of tasks that are faster by more than is tolerated.
    pub faster: f64,
    /// How likely that is by chance.
    pub p_faster: f64,
    /// The share of tasks that runs differ by anyway, whichever side they are on, in all but 2.5 % of cases.
    pub usual: f64,
}

/// A figure that is told, not judged: medians over the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// Such as `done, tasks a second`.
    pub name: String,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// 1.
    pub schema_version: u32,
    /// The tester's version.
    pub version: String,
    /// What it came to.
    pub answer: Answer,
    /// The latency that is compared.
    pub latency: String,
    /// What is tolerated, as a share.
    pub max_regress: f64,
    /// The 99th percentiles.
    pub p99: Tail,
    /// The shape.
    pub shape: Body,
    /// Other figures.
    pub figures: Vec<Figure>,
    /// What was overlooked by force.
    pub notes: Vec<String>,
}

/// Why reports are not compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// There is nothing on a side, or more than anybody needs.
    #[error("1 to {SAMPLE_MAX} runs on each side, not {0}")]
    Runs(usize),
    /// One has no such latency.
    #[error("a report has no figures of {0:?}")]
    Nothing(String),
    /// They should not be compared; `--force` does all the same.
    #[error("{0}")]
    Different(String),
}

/// Compares. With `force`, what speaks against it becomes a note.
///
/// # Errors
/// When there is nothing to compare, or when reports differ in what they ran on or in what was asked for, are invalid, or
/// broke a promise.
pub fn compare(
    before: &[Report],
    after: &[Report],
    kind: Kind,
    max_regress: f64,
    force: bool,
) -> Result<Comparison, CompareError> {
    if let Some(n) = [before.len(), after.len()].into_iter().find(|n| !(1..=SAMPLE_MAX).contains(n)) {
        return Err(CompareError::Runs(n));
    }
    let notes = objections(before, after);
    if let (Some(note), false) = (notes.first(), force) {
        return Err(CompareError::Different(note.clone()));
    }
    let p99 = tail(&p99s(before, kind)?, &p99s(after, kind)?, max_regress);
    let buckets = |reports: &'_ [Report]| -> Vec<Vec<(u64, u64)>> {
        reports.iter().filter_map(|report| Some(report.latency.get(kind.name())?.buckets.clone())).collect()
    };
    let shape = body(&buckets(before), &buckets(after), max_regress);
    let answer = match (p99.answer, shape.answer) {
        (Answer::Worse, _) | (_, Answer::Worse) => Answer::Worse,
        (Answer::Inconclusive, _) | (_, Answer::Inconclusive) => Answer::Inconclusive,
        (Answer::Better, _) | (_, Answer::Better) => Answer::Better,
        (Answer::Same, Answer::Same) => Answer::Same,
    };
    let figures = figures(before, after, kind);
    Ok(Comparison {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        answer,
        latency: kind.name().to_owned(),
        max_regress,
        p99,
        shape,
        figures,
        notes,
    })
}

fn p99s(reports: &[Report], kind: Kind) -> Result<Vec<u64>, CompareError> {
    let p99 = |report: &Report| {
        let latency = report.latency.get(kind.name()).filter(|latency| latency.summary.count > 0);
        latency.map(|latency| latency.summary.p99_us).ok_or_else(|| CompareError::Nothing(kind.name().to_owned()))
    };
    reports.iter().map(p99).collect()
}

fn tail(before_us: &[u64], after_us: &[u64], max_regress: f64) -> Tail {
    // A quotient needs something to divide by; a microsecond is what the figures are told in.
    let values = |us: &[u64]| us.iter().map(|us| (*us).max(1) as f64).collect::<Vec<_>>();
    let (before, after) = (values(before_us), values(after_us));
    let (test, factor) = (ranks(&before, &after), factor(&before, &after, WRONG));
    let most = 1.0 + max_regress;
    let answer = if test.p_larger <= WRONG && factor.value > most {
        Answer::Worse
    } else if test.p_smaller <= WRONG && factor.value < 1.0 / most {
        Answer::Better
    } else if factor.interval.is_some_and(|(low, high)| low >= 1.0 / most && high <= most) {
        Answer::Same
    } else {
        Answer::Inconclusive
    };
    Tail {
        answer,
        before_us: before_us.to_vec(),
        after_us: after_us.to_vec(),
        factor: factor.value,
        interval: factor.interval,
        superiority: test.superiority,
        p_slower: test.p_larger,
        p_faster: test.p_smaller,
    }
}

fn body(before: &[Vec<(u64, u64)>], after: &[Vec<(u64, u64)>], max_regress: f64) -> Body {
    let sides = [before, after].map(|side| side.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let told = shape(&sides[0], &sides[1], max_regress, WRONG);
    let (slower, faster) = (told.gap.slower >= MOVED, told.gap.faster >= MOVED);
    let answer = match (slower, faster) {
        (true, _) if told.p_slower <= WRONG => Answer::Worse,
        (false, true) if told.p_faster <= WRONG => Answer::Better,
        (false, false) if told.usual < MOVED => Answer::Same,
        _ => Answer::Inconclusive,
    };
    Body {
        answer,
        distance: told.gap.distance,
        p_distance: told.p_distance,
        slower: told.gap.slower,
        p_slower: told.p_slower,
        faster: told.gap.faster,
        p_faster: told.p_faster,
        usual: told.usual,
    }
}

fn figures(before: &[Report], after: &[Report], kind: Kind) -> Vec<Figure> {
    let of = |name: String, value: &dyn Fn(&Report) -> Option<f64>| {
        let median = |reports: &[Report]| {
            let mut values = reports.iter().filter_map(value).collect::<Vec<_>>();
            values.sort_by(f64::total_cmp);
            let middle = [values.len().checked_sub(1)? / 2, values.len() / 2];
            Some(f64::midpoint(values[middle[0]], values[middle[1]]))
        };
        Some(Figure { name, before: median(before)?, after: median(after)? })
    };
    let latency = |statistic: fn(&Summary) -> u64| {
        move |report: &Report| Some(statistic(&report.latency.get(kind.name())?.summary) as f64 / 1e3)
    };
    let cpu = |report: &Report| {
        let dispatchers = report.processes.iter().filter(|process| process.name.starts_with("dispatcher"));
        dispatchers.map(|process| process.cpu_per_1k_s).reduce(|a, b| a + b)
    };
    let name = kind.name();
    let all = [
        of(format!("{name} p50, ms"), &latency(|s| s.p50_us)),
        of(format!("{name} p90, ms"), &latency(|s| s.p90_us)),
        of(format!("{name} p99.9, ms"), &latency(|s| s.p999_us)),
        of("done, tasks a second".to_owned(), &|report| Some(report.throughput.done_per_s)),
        of("CPU of dispatchers for 1,000 tasks, s".to_owned(), &cpu),
    ];
    all.into_iter().flatten().collect()
}

/// What speaks against a comparison.
fn objections(before: &[Report], after: &[Report]) -> Vec<String> {
    let mut notes = Vec::new();
    let all = || before.iter().chain(after);
    let first = &before[0];
    for (what, of) in PLACE {
        if let Some(other) = all().find(|report| of(report) != of(first)) {
            notes.push(format!("the {what} differs: {} and {}", of(first), of(other)));
        }
    }
    let wanted = asked(&first.profile);
    if let Some(other) = all().find(|report| asked(&report.profile) != wanted) {
        let (a, b) = (&wanted, asked(&other.profile));
        let field = a.iter().zip(&b).find(|(a, b)| a != b).map(|((name, a), (_, b))| format!("{name}: {a} and {b}"));
        notes.push(format!("the profiles differ in {}", field.unwrap_or_default()));
    }
    if all().any(|report| !report.validity.valid) {
        notes.push("a run is invalid: its figures mean nothing".to_owned());
    }
    if all().any(|report| !report.verdict.ok) {
        notes.push("a run broke a promise: how fast it was does not matter".to_owned());
    }
    notes
}

type Place = (&'static str, fn(&Report) -> String);

/// What runs must have in common to be compared. The version under test is what they don't.
const PLACE: [Place; 6] = [
    ("system", |report| format!("{:?}", report.environment.system)),
    ("kernel", |report| format!("{:?}", report.environment.kernel)),
    ("processor", |report| format!("{:?}", report.environment.cpu)),
    ("number of processors", |report| report.environment.cpus.to_string()),
    // The kernel keeps a little for itself, not always the same.
    ("memory in half GiB", |report| (report.environment.memory_bytes >> 29).to_string()),
    ("broker", |report| format!("{:?}", report.environment.broker)),
];

/// What was asked for, field by field, without what may differ: the program, the seed, names, and demands.
fn asked(profile: &Profile) -> Vec<(String, String)> {
    let plain = Profile::default();
    let profile =
        Profile { quebert: None, seed: plain.seed, prefix: plain.prefix, thresholds: Vec::new(), ..profile.clone() };
    let value = serde_json::to_value(profile).expect("a profile is plain data");
    let fields = value.as_object().expect("a profile has fields");
    fields.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}
