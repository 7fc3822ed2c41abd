//! The summary in Markdown, for a pull request or a CI step. It leaves out what only a picture can show.

use super::{Report, Sweep, html::told::short};
use crate::quantity::Span;
use std::{fmt::Write as _, time::Duration};

/// The summary.
pub fn markdown(report: &Report) -> String {
    let mut out = String::new();
    write(&mut out, report).expect("a string takes everything");
    out
}

/// The points of a sweep.
pub fn markdown_sweep(sweep: &Sweep) -> String {
    let mut out = String::from("## Sweep\n\n");
    let heads =
        "| series | offered | achieved | p50 | p99 | in use | |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n";
    out.extend(sweep.notes.iter().map(|note| format!("- {note}\n")));
    if !sweep.notes.is_empty() {
        out.push('\n');
    }
    out.push_str(heads);
    for point in &sweep.points {
        let told = |us| Span(Duration::from_micros(us));
        let word = match (point.valid, point.ok) {
            (false, _) => "**invalid**",
            (true, false) => "**missed**",
            (true, true) => "kept",
        };
        let used = point.utilisation.map_or("–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        out.push_str(&format!(
            "| {} | {}/s | {}/s | {} | {} | {used} | {word} |\n",
            cell(&point.series),
            short(point.offered_per_s),
            short(point.achieved_per_s),
            told(point.p50_us),
            told(point.p99_us),
        ));
    }
    out
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let (verdict, rates) = (&report.verdict, &report.throughput);
    let word = match (verdict.ok, report.validity.valid) {
        (false, _) => "a promise was broken",
        (true, false) => "the run is invalid",
        (true, true) if report.exit_code != 0 => "a threshold was missed",
        (true, true) => "all promises kept",
    };
    writeln!(out, "## Load test: {word}\n")?;
    writeln!(
        out,
        "`{}` on {} with {} dispatcher(s), seed {}: {:.0} tasks/s offered, {:.0} accepted, {:.0} done; {} of {} tasks succeeded in {:.0} s and {:.1} s after.\n",
        report.profile.arrivals,
        report.environment.broker,
        report.environment.dispatchers,
        report.profile.seed,
        rates.offered_per_s,
        rates.accepted_per_s,
        rates.done_per_s,
        verdict.succeeded,
        verdict.confirmed,
        report.plan_s,
        report.settle_s,
    )?;
    if report.closed {
        writeln!(out, "Closed: latency excludes waiting of the client.\n")?;
    }
    for reason in &report.validity.reasons {
        writeln!(out, "- **Invalid:** {reason}")?;
    }
    for warning in &report.validity.warnings {
        writeln!(out, "- {warning}")?;
    }
    latencies(out, report)?;
    writeln!(out, "\n| promise | found | |\n| --- | ---: | --- |")?;
    for finding in &verdict.findings {
        let mark = if finding.ok { "" } else { "**broken** " };
        writeln!(out, "| {} | {} | {mark}{} |", cell(&finding.name), finding.found, cell(&finding.note))?;
    }
    if !report.thresholds.is_empty() {
        writeln!(out, "\n| threshold | found | |\n| --- | ---: | --- |")?;
        for threshold in &report.thresholds {
            let found = threshold.found.map_or("nothing".to_owned(), |found| format!("{found:.6}"));
            writeln!(
                out,
                "| `{}` | {found} | {} |",
                cell(&threshold.text),
                if threshold.ok { "kept" } else { "**missed**" }
            )?;
        }
    }
    writeln!(out, "\n| process | CPU s | per 1,000 tasks | memory at most |\n| --- | ---: | ---: | ---: |")?;
    for process in &report.processes {
        let mib = process.rss_peak_bytes as f64 / 1_048_576.0;
        writeln!(out, "| {} | {:.2} | {:.3} | {mib:.0} MiB |", process.name, process.cpu_s, process.cpu_per_1k_s)?;
    }
    if let Some(bottleneck) = report.bottlenecks.first() {
        writeln!(out, "\nBottleneck: {} ({}).", bottleneck.name, bottleneck.evidence)?;
    }
    Ok(())
}

/// What people named, in a cell: neither the end of the cell nor of the line.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn latencies(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n| latency | tasks | p50 | p90 | p99 | p99.9 | max |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    )?;
    for (name, latency) in &report.latency {
        let told = |us| Span(Duration::from_micros(us));
        let s = &latency.summary;
        let name = name.replace('_', " ");
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            s.count,
            told(s.p50_us),
            told(s.p90_us),
            told(s.p99_us),
            told(s.p999_us),
            told(s.max_us)
        )?;
    }
    if let Some(p99) = report.steady.and_then(|steady| steady.wait_p99) {
        let told = |us: f64| Span(Duration::from_secs_f64(us / 1e6));
        writeln!(out, "\nSteady wait p99: {} [{}..{}].", told(p99.value_us), told(p99.low_us), told(p99.high_us))?;
    }
    Ok(())
}
