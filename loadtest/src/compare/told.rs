//! A comparison in words.

use super::{Answer, Comparison};
use crate::quantity::Span;
use std::time::Duration;

/// A line for each thing that is known.
pub fn lines(comparison: &Comparison) -> Vec<String> {
    let Comparison { latency, p99, shape, max_regress, .. } = comparison;
    let spans = |us: &[u64]| {
        let mut us = us.to_vec();
        us.sort_unstable();
        us.into_iter().map(|us| Span(Duration::from_micros(us)).to_string()).collect::<Vec<_>>().join(", ")
    };
    let interval = interval(comparison);
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let mut lines = vec![
        format!("{latency} p99 before  {}", spans(&p99.before_us)),
        format!("{latency} p99 after   {}", spans(&p99.after_us)),
        format!("p99    {:<12}  {}, {interval}", word(p99.answer), change(p99.factor)),
        format!(
            "       a run after is slower than one before in {} of all pairs; by chance p = {:.4} slower, {:.4} faster (Mann-Whitney)",
            share(p99.superiority),
            p99.p_slower,
            p99.p_faster
        ),
        format!(
            "shape  {:<12}  {} of all tasks slower by more than {} (p = {:.4}), {} faster (p = {:.4})",
            word(shape.answer),
            share(shape.slower),
            share(*max_regress),
            shape.p_slower,
            share(shape.faster),
            shape.p_faster
        ),
        format!(
            "       distance D = {:.3}, p = {:.4} (Kolmogorov-Smirnov, runs shuffled)",
            shape.distance, shape.p_distance
        ),
    ];
    for figure in &comparison.figures {
        let change = change(figure.after / figure.before);
        lines.push(format!("       {:<40} {:>10.3} {:>10.3}  {change}", figure.name, figure.before, figure.after));
    }
    lines.extend(comparison.notes.iter().map(|note| format!("forced {note}")));
    lines.push(format!("{}: {}", word(comparison.answer), reason(comparison)));
    lines
}

/// A factor as people say it.
pub(crate) fn change(factor: f64) -> String {
    if factor.is_finite() { format!("{:+.1} %", (factor - 1.0) * 100.0) } else { "–".to_owned() }
}

/// Within what the change of the 99th percentile lies.
pub(crate) fn interval(comparison: &Comparison) -> String {
    comparison.p99.interval.map_or("no interval: 4 runs on each side are needed for one".to_owned(), |(low, high)| {
        format!("95 % interval {} to {}", change(low), change(high))
    })
}

/// As it is printed.
pub(crate) fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Better => "better",
        Answer::Same => "same",
        Answer::Worse => "worse",
        Answer::Inconclusive => "inconclusive",
    }
}

/// Why it came to its answer.
pub(crate) fn reason(comparison: &Comparison) -> String {
    let (p99, shape) = (&comparison.p99, &comparison.shape);
    let limit = format!("{:.0} %", comparison.max_regress * 100.0);
    match comparison.answer {
        Answer::Worse if p99.answer == Answer::Worse => format!("the 99th percentile grew by more than {limit}"),
        Answer::Worse => format!("{:.0} % of all tasks are slower by more than {limit}", shape.slower * 100.0),
        Answer::Better if p99.answer == Answer::Better => format!("the 99th percentile fell by more than {limit}"),
        Answer::Better => format!("{:.0} % of all tasks are faster by more than {limit}", shape.faster * 100.0),
        Answer::Same => format!("whatever differs is within {limit}"),
        Answer::Inconclusive if p99.interval.is_none() => {
            "there are too few runs: make at least 4 on each side".to_owned()
        }
        Answer::Inconclusive => {
            "the runs of one side differ as much as the sides do: make more or longer runs".to_owned()
        }
    }
}
