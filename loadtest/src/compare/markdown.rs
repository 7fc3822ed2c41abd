//! A comparison in Markdown, for a pull request. It leaves out the curves, which only a picture can show.

use super::{Comparison, change, interval, reason, word};
use crate::{quantity::Span, report::cell};
use std::{fmt::Write as _, time::Duration};

/// The summary.
pub fn markdown(comparison: &Comparison) -> String {
    let mut out = String::new();
    write(&mut out, comparison).expect("a string takes everything");
    out
}

fn write(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let Comparison { answer, latency, max_regress, p99, shape, figures, notes, .. } = comparison;
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let spans = |us: &[u64]| {
        let mut us = us.to_vec();
        us.sort_unstable();
        us.into_iter().map(|us| Span(Duration::from_micros(us)).to_string()).collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "## Compare: {}\n", word(*answer))?;
    writeln!(
        out,
        "`{}`, {} runs before and {} after, {} tolerated: {}.\n",
        latency,
        p99.before_us.len(),
        p99.after_us.len(),
        share(*max_regress),
        reason(comparison)
    )?;
    for note in notes {
        writeln!(out, "- **Forced:** {}", cell(note))?;
    }
    if !notes.is_empty() {
        writeln!(out)?;
    }
    writeln!(out, "| what | answer | found | by chance |\n| --- | --- | --- | --- |")?;
    writeln!(
        out,
        "| 99th percentiles | **{}** | {}, {} | slower p = {:.4}, faster p = {:.4} |",
        word(p99.answer),
        change(p99.factor),
        interval(comparison),
        p99.p_slower,
        p99.p_faster
    )?;
    writeln!(
        out,
        "| shape | **{}** | {} of all tasks slower, {} faster; D = {:.3} | slower p = {:.4}, faster p = {:.4}, D p = {:.4} |",
        word(shape.answer),
        share(shape.slower),
        share(shape.faster),
        shape.distance,
        shape.p_slower,
        shape.p_faster,
        shape.p_distance
    )?;
    writeln!(out, "\n| median of the runs | before | after | change |\n| --- | ---: | ---: | ---: |")?;
    for figure in figures {
        let change = change(figure.after / figure.before);
        writeln!(out, "| {} | {:.3} | {:.3} | {change} |", cell(&figure.name), figure.before, figure.after)?;
    }
    writeln!(out, "\n{latency} p99 before: {}; after: {}.", spans(&p99.before_us), spans(&p99.after_us))
}
