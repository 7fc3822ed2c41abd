//! The tables of a page: all that is a list of figures. What they mean is told in their heads.

use super::{
    super::{
        Bottleneck, Environment, Latency, Part, PhaseView, ProcessView, Report, Sweep, SweepPoint, ThresholdView,
        markup::{Element, el},
    },
    told::{mib, percent, short, span, whole},
};
use crate::{
    figures::{Kind, Summary},
    ledger::{FaultView, Finding},
};
use std::collections::BTreeMap;

/// A table. Columns after the first are figures if their head ends with `#`.
pub(super) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<Element>>) -> Element {
    let is_figure = |n: usize| heads.get(n).is_some_and(|head| head.ends_with('#'));
    let head = |(n, head): (usize, &&str)| {
        let cell = el("th").attr("scope", "col").text(head.trim_end_matches('#'));
        if is_figure(n) { cell.class("figure") } else { cell }
    };
    let row = |cells: Vec<Element>| {
        let cells = cells.into_iter().enumerate();
        el("tr").children(cells.map(|(n, cell)| if is_figure(n) { cell.class("figure") } else { cell }))
    };
    let table = el("table").child(el("thead").child(el("tr").children(heads.iter().enumerate().map(head))));
    el("div").class("scroll").child(table.child(el("tbody").children(rows.into_iter().map(row))))
}

pub(super) fn cell(text: impl Into<String>) -> Element {
    el("td").text(text)
}

/// Whether something is as it must be, as a word with a colour.
pub(super) fn mark(ok: bool, good: &str, bad: &str) -> Element {
    let (class, word) = if ok { ("good", good) } else { ("bad", bad) };
    el("td").child(el("span").class(class).text(word))
}

fn summary_cells(s: &Summary) -> Vec<Element> {
    let p9999 = s.p9999_us.map_or("–".to_owned(), |us| span(us as f64));
    let told = [s.mean_us, s.p50_us as f64, s.p90_us as f64, s.p99_us as f64, s.p999_us as f64].map(span);
    let cells = [whole(s.count)].into_iter().chain(told).chain([p9999, span(s.max_us as f64)]);
    cells.map(cell).collect()
}

const LATENCY_HEADS: [&str; 9] =
    ["Latency", "Tasks#", "Mean#", "p50#", "p90#", "p99#", "p99.9#", "p99.99#", "Longest#"];

/// All latencies of the run.
pub(super) fn latencies(report: &Report) -> Element {
    let row = |(name, latency): (&String, &Latency)| {
        [cell(name.replace('_', " "))].into_iter().chain(summary_cells(&latency.summary)).collect()
    };
    table(&LATENCY_HEADS, report.latency.iter().map(row))
}

/// A part of the run: its name, what is particular to it, and its waits and times to success.
fn part(name: &str, more: impl IntoIterator<Item = String>, latency: &BTreeMap<String, Summary>) -> Vec<Element> {
    let p = |kind: Kind, of: fn(&Summary) -> u64| {
        latency.get(kind.name()).map_or("–".to_owned(), |summary| span(of(summary) as f64))
    };
    let tasks = latency.get(Kind::Wait.name()).map_or(0, |summary| summary.count);
    let figures = [
        p(Kind::Wait, |s| s.p50_us),
        p(Kind::Wait, |s| s.p99_us),
        p(Kind::Done, |s| s.p50_us),
        p(Kind::Done, |s| s.p99_us),
    ];
    [name.to_owned(), whole(tasks)].into_iter().chain(more).chain(figures).map(cell).collect()
}

/// Each queue.
pub(super) fn queues(report: &Report) -> Element {
    let row = |queue: &Part| part(&queue.name, [whole(queue.under_way_max.into())], &queue.latency);
    let heads = ["Queue", "Tasks#", "Most under way#", "Wait p50#", "Wait p99#", "Done p50#", "Done p99#"];
    table(&heads, report.queues.iter().map(row))
}

/// Each phase.
pub(super) fn phases(report: &Report) -> Element {
    let row = |phase: &PhaseView| {
        let rate = |rate: f64| format!("{}/s", short(rate));
        let length = format!("{} s", short(phase.until_s - phase.from_s));
        let more = [length, rate(phase.offered_per_s), rate(phase.done_per_s)];
        part(&phase.part.name, more, &phase.part.latency)
    };
    let heads = ["Phase", "Tasks#", "Length#", "Offered#", "Done#", "Wait p50#", "Wait p99#", "Done p50#", "Done p99#"];
    table(&heads, report.phases.iter().map(row))
}

/// The promises.
pub(super) fn verdict(report: &Report) -> Element {
    let row = |finding: &Finding| {
        vec![mark(finding.ok, "kept", "broken"), cell(&finding.name), cell(short(finding.found)), cell(&finding.note)]
    };
    table(&["", "Promise", "Found#", ""], report.verdict.findings.iter().map(row))
}

/// The thresholds; `None` if there were none.
pub(super) fn thresholds(report: &Report) -> Option<Element> {
    let row = |view: &ThresholdView| {
        let found = match view.found {
            None => "nothing to measure".to_owned(),
            // A latency is kept in seconds.
            Some(found) if is_latency(&view.text) => span(found * 1e6),
            Some(found) => short(found),
        };
        vec![mark(view.ok, "kept", "missed"), el("td").child(el("code").text(&view.text)), cell(found)]
    };
    let rows = report.thresholds.iter().map(row).collect::<Vec<_>>();
    (!rows.is_empty()).then(|| table(&["", "Threshold", "Found#"], rows))
}

fn is_latency(text: &str) -> bool {
    let figure = text.split(['<', '>', '=', '!']).next().unwrap_or_default().trim();
    figure.contains('.') && !figure.contains('/') && !figure.ends_with(".count")
}

/// What was done to the system; `None` if nothing was.
pub(super) fn faults<'a>(faults: impl Iterator<Item = (usize, &'a FaultView)>) -> Option<Element> {
    let row = |(n, fault): (usize, &FaultView)| {
        let s = |s: f64| format!("{} s", short(s));
        let badge = el("td").child(el("span").class("number").text(n.to_string()));
        vec![badge, cell(&fault.what), cell(s(fault.from_s)), cell(s(fault.until_s))]
    };
    let rows = faults.map(row).collect::<Vec<_>>();
    (!rows.is_empty()).then(|| table(&["", "Fault", "From#", "Until#"], rows))
}

/// What held the system back, and what each process took.
pub(super) fn bottlenecks(report: &Report) -> Option<Element> {
    let row = |b: &Bottleneck| vec![cell(&b.name), cell(percent(b.share)), cell(&b.evidence)];
    let rows = report.bottlenecks.iter().map(row).collect::<Vec<_>>();
    (!rows.is_empty()).then(|| table(&["Bottleneck", "Of the time#", ""], rows))
}

/// What each process took.
pub(super) fn processes(report: &Report) -> Element {
    let row = |p: &ProcessView| {
        let slope = format!("{} KiB/s", short((p.rss_slope_bytes_per_s / 102.4).round() / 10.0));
        let cells = [
            p.name.clone(),
            format!("{} s", short(p.cpu_s)),
            format!("{} s", short(p.cpu_per_1k_s)),
            mib(p.rss_start_bytes as f64),
            mib(p.rss_peak_bytes as f64),
            slope,
            whole(p.fds_max),
            whole(p.voluntary_switches),
        ];
        cells.map(cell).into()
    };
    let heads =
        ["Process", "CPU#", "per 1,000 tasks#", "Memory at first#", "at most#", "Growth#", "Descriptors#", "Switches#"];
    table(&heads, report.processes.iter().map(row))
}

/// What it ran on.
pub(super) fn environment(environment: &Environment, version: &str) -> Element {
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let rows = [
        ("System", format!("{}, kernel {}", known(&environment.system), known(&environment.kernel))),
        ("Processors", format!("{} of {}", environment.cpus, known(&environment.cpu))),
        ("Memory", mib(environment.memory_bytes as f64)),
        ("Load before", short(environment.load_before)),
        ("Broker", known(&environment.broker)),
        ("Dispatchers", format!("{}, version {}", environment.dispatchers, known(&environment.quebert))),
        ("Load tester", format!("version {version}")),
    ];
    let row =
        |(name, value): (&str, String)| el("tr").child(el("th").attr("scope", "row").text(name)).child(cell(value));
    el("div").class("scroll").child(el("table").child(el("tbody").children(rows.map(row))))
}

/// The points of a sweep.
pub(super) fn points(sweep: &Sweep) -> Element {
    let row = |point: &SweepPoint| {
        let word = if point.valid { mark(point.ok, "kept", "missed") } else { mark(false, "", "invalid") };
        let interval = match (point.p99_low_us, point.p99_high_us) {
            (Some(low), Some(high)) => format!("{} to {}", span(low as f64), span(high as f64)),
            _ => "–".to_owned(),
        };
        vec![
            word,
            cell(&point.series),
            cell(format!("{}/s", short(point.offered_per_s))),
            cell(format!("{}/s", short(point.achieved_per_s))),
            cell(span(point.p50_us as f64)),
            cell(span(point.p99_us as f64)),
            cell(interval),
            cell(point.utilisation.map_or("–".to_owned(), percent)),
            cell(&point.bottleneck),
        ]
    };
    let heads =
        ["", "Series", "Offered#", "Achieved#", "p50#", "p99#", "95 % interval of p99#", "In use#", "Bottleneck"];
    table(&heads, sweep.points.iter().map(row))
}
