//! Thresholds: demands on a report, such as `wait.p99<500ms`, `duplicates/tasks<0.1%` or `lost==0`. They look at nothing
//! but the report.

use super::{Report, ThresholdView};
use crate::{
    figures::{Kind, Summary},
    quantity::{self, Unclear},
};
use std::str::FromStr;

/// A demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    figure: Figure,
    /// `None`: the figure as it is; otherwise divided by this one.
    by: Option<Figure>,
    compare: Compare,
    limit: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Figure {
    /// A statistic of a latency, in seconds; of one queue or of all.
    Latency { kind: Kind, queue: Option<String>, stat: Stat },
    /// One of [`PLAIN`].
    Plain(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stat {
    Mean,
    P50,
    P75,
    P90,
    P95,
    P99,
    P999,
    P9999,
    Max,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Unequal,
}

/// Figures that are one number.
const PLAIN: [&str; 21] = [
    "tasks",
    "attempts",
    "executed",
    "succeeded",
    "dead",
    "expired",
    "left",
    "lost",
    "duplicates",
    "duplicates_unexplained",
    "repeats",
    "repeats_unexplained",
    "early",
    "late",
    "inversions",
    "unconfirmed",
    "offered",
    "throughput",
    "cpu_per_1k",
    "rss_max",
    "settle",
];

/// A demand on a latency of all queues, as far as a plot of latencies can show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demand {
    /// Which latency.
    pub(super) kind: Kind,
    /// The percentile, as a share; `None` of the mean.
    pub(super) share: Option<f64>,
    /// What it must not exceed.
    pub(super) limit_s: f64,
}

impl FromStr for Threshold {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Self, Unclear> {
        let wanted = || Unclear::new("FIGURE<LIMIT such as wait.p99<500ms", text);
        let at = text.find(['<', '>', '=', '!']).ok_or_else(wanted)?;
        let (figures, rest) = text.split_at(at);
        let (compare, limit) = compare(rest).ok_or_else(wanted)?;
        let (figure, by) = match figures.trim().split_once('/') {
            Some((figure, by)) => (figure, Some(by)),
            None => (figures.trim(), None),
        };
        Ok(Self {
            text: text.to_owned(),
            figure: figure_of(figure)?,
            by: by.map(figure_of).transpose()?,
            compare,
            limit: limit_of(limit.trim())?,
        })
    }
}

impl Threshold {
    /// What it says to a report.
    pub fn check(&self, report: &Report) -> ThresholdView {
        let value = self.figure.of(report);
        let found = match &self.by {
            None => value,
            Some(by) => value.zip(by.of(report)).filter(|(_, by)| *by != 0.0).map(|(value, by)| value / by),
        };
        let ok = found.is_some_and(|found| match self.compare {
            Compare::Less => found < self.limit,
            Compare::AtMost => found <= self.limit,
            Compare::More => found > self.limit,
            Compare::AtLeast => found >= self.limit,
            Compare::Equal => found == self.limit,
            Compare::Unequal => found != self.limit,
        });
        ThresholdView { text: self.text.clone(), found, ok }
    }

    /// The demand, if it is an upper limit of a latency of all queues.
    pub(super) fn demand(&self) -> Option<Demand> {
        let (Compare::Less | Compare::AtMost, None) = (self.compare, &self.by) else { return None };
        let Figure::Latency { kind, queue: None, stat } = &self.figure else { return None };
        let share = match stat {
            Stat::Mean => None,
            Stat::P50 => Some(0.5),
            Stat::P75 => Some(0.75),
            Stat::P90 => Some(0.9),
            Stat::P95 => Some(0.95),
            Stat::P99 => Some(0.99),
            Stat::P999 => Some(0.999),
            Stat::P9999 => Some(0.9999),
            Stat::Max => Some(1.0),
            Stat::Count => return None,
        };
        Some(Demand { kind: *kind, share, limit_s: self.limit })
    }
}

fn compare(text: &str) -> Option<(Compare, &str)> {
    // The longer ones first.
    const ALL: [(&str, Compare); 6] = [
        ("<=", Compare::AtMost),
        (">=", Compare::AtLeast),
        ("==", Compare::Equal),
        ("!=", Compare::Unequal),
        ("<", Compare::Less),
        (">", Compare::More),
    ];
    ALL.iter().find_map(|(sign, compare)| Some((*compare, text.strip_prefix(sign)?)))
}

fn limit_of(text: &str) -> Result<f64, Unclear> {
    let number = quantity::number(text).or_else(|_| quantity::share(text));
    let duration = || quantity::duration(text).map(|d| d.as_secs_f64());
    let limit = number.or_else(|_| duration()).or_else(|_| quantity::bytes(text)).or_else(|_| quantity::rate(text));
    limit.map_err(|_| Unclear::new("a limit such as 500ms, 0.1%, 64MiB or 0", text))
}

/// `wait.p99`, `wait@high.p99.9` or one of the plain ones.
fn figure_of(text: &str) -> Result<Figure, Unclear> {
    if let Some(name) = PLAIN.into_iter().find(|name| *name == text) {
        return Ok(Figure::Plain(name));
    }
    let wanted = || {
        let kinds = Kind::ALL.map(Kind::name).join(", ");
        Unclear::new(
            format!("one of {}, or KIND.STATISTIC with a kind of {kinds}, such as wait.p99", PLAIN.join(", ")),
            text,
        )
    };
    let (of, stat) = text.split_once('.').ok_or_else(wanted)?;
    let (kind, queue) = match of.split_once('@') {
        Some((kind, queue)) => (kind, Some(queue.to_owned())),
        None => (of, None),
    };
    let stat = match &*stat.replace('.', "") {
        "mean" => Stat::Mean,
        "p50" => Stat::P50,
        "p75" => Stat::P75,
        "p90" => Stat::P90,
        "p95" => Stat::P95,
        "p99" => Stat::P99,
        "p999" => Stat::P999,
        "p9999" => Stat::P9999,
        "max" => Stat::Max,
        "count" => Stat::Count,
        _ => return Err(wanted()),
    };
    Ok(Figure::Latency { kind: Kind::named(kind).ok_or_else(wanted)?, queue, stat })
}

impl Figure {
    fn of(&self, report: &Report) -> Option<f64> {
        match self {
            Self::Plain(name) => plain(name, report),
            Self::Latency { kind, queue: None, stat } => stat.of(&report.latency.get(kind.name())?.summary),
            Self::Latency { kind, queue: Some(queue), stat } => {
                let part = report.queues.iter().find(|part| part.name == *queue)?;
                stat.of(part.latency.get(kind.name())?)
            }
        }
    }
}

impl Stat {
    fn of(self, summary: &Summary) -> Option<f64> {
        let seconds = |us: u64| Some(us as f64 / 1e6);
        match self {
            Self::Mean => Some(summary.mean_us / 1e6),
            Self::P50 => seconds(summary.p50_us),
            Self::P75 => seconds(summary.p75_us),
            Self::P90 => seconds(summary.p90_us),
            Self::P95 => seconds(summary.p95_us),
            Self::P99 => seconds(summary.p99_us),
            Self::P999 => seconds(summary.p999_us),
            Self::P9999 => seconds(summary.p9999_us?),
            Self::Max => seconds(summary.max_us),
            Self::Count => Some(summary.count as f64),
        }
    }
}

fn plain(name: &str, report: &Report) -> Option<f64> {
    let verdict = &report.verdict;
    let dispatchers = || report.processes.iter().filter(|process| process.name.starts_with("dispatcher"));
    let count = match name {
        "tasks" => verdict.confirmed,
        "attempts" => verdict.attempts,
        "executed" => verdict.executed,
        "succeeded" => verdict.succeeded,
        "dead" => verdict.dead,
        "expired" => verdict.expired,
        "left" => verdict.left,
        "lost" => verdict.lost,
        "duplicates" => verdict.duplicates,
        "duplicates_unexplained" => verdict.duplicates_unexplained,
        "repeats" => verdict.repeats,
        "repeats_unexplained" => verdict.repeats_unexplained,
        "early" => verdict.early,
        "late" => verdict.late,
        "inversions" => verdict.inversions,
        "unconfirmed" => verdict.unconfirmed,
        "offered" => return Some(report.throughput.offered_per_s),
        "throughput" => return Some(report.throughput.done_per_s),
        "settle" => return Some(report.settle_s),
        "cpu_per_1k" => return dispatchers().map(|process| process.cpu_per_1k_s).reduce(|a, b| a + b),
        "rss_max" => return dispatchers().map(|process| process.rss_peak_bytes as f64).reduce(f64::max),
        _ => return None,
    };
    Some(count as f64)
}
