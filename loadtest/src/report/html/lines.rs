//! Lines over time: rates, backlog, utilisation and memory.

use super::{
    super::{ProcessView, markup::Element},
    axis::Axis,
    over_time::{Column, Time},
    told::{mib, percent, short, whole},
};
use crate::figures::Second;

const HEIGHT: f64 = 170.0;
/// Colours of processes, in their order; more share the last one.
const COLOURS: [&str; 5] = ["line s1", "line s2", "line s3", "line s4", "line s5"];

type Count = fn(&Second) -> u32;

/// Rates: what the plan asked for behind what was accepted, tried, and done.
pub(super) fn rates(time: &Time<'_>) -> Element {
    let kinds: [(Count, &str); 4] = [
        (|second| second.confirmed, "line s1"),
        (|second| second.attempts, "line s3 dashed"),
        (|second| second.succeeded, "line s2"),
        (|second| second.failed, "line bad"),
    ];
    let offered = |column: &Column| column.rate(|second| second.offered);
    let all = kinds.iter().flat_map(|(of, _)| time.columns.iter().map(|column| column.rate(*of)));
    let most = all.chain(time.columns.iter().map(offered)).fold(0.0, f64::max);
    let mut plot = time.plot("Rates over time", HEIGHT, |place| Axis::linear(most, place)).y_ticks(short);
    plot.area(&time.columns.iter().map(|column| (column.middle(), offered(column))).collect::<Vec<_>>(), "area");
    for (of, class) in kinds {
        // Failures are the exception: without any there is nothing to draw.
        if time.columns.iter().any(|column| of(&column.sum) > 0) {
            plot.line(time.columns.iter().map(|column| (column.middle(), Some(column.rate(of)))), class);
        }
    }
    time.tell(&mut plot, |column| {
        let rate = |of| short(column.rate(of));
        format!(
            "offered {}/s, accepted {}/s, attempts {}/s, done {}/s, failed {}/s",
            short(offered(column)),
            rate(|second| second.confirmed),
            rate(|second| second.attempts),
            rate(|second| second.succeeded),
            rate(|second| second.failed)
        )
    });
    plot.draw()
}

/// Backlog: what waits in queues, and what dispatchers hold; `None` if nobody was asked.
pub(super) fn backlog(time: &Time<'_>) -> Option<Element> {
    let ready = |column: &Column| column.sum.ready.map(|n| n as f64);
    let held = |column: &Column| column.sum.held.map(|n| n as f64);
    let most = time.columns.iter().flat_map(|column| [ready(column), held(column)]).flatten().reduce(f64::max)?;
    let mut plot = time.plot("Backlog over time", HEIGHT, |place| Axis::linear(most, place)).y_ticks(short);
    let points = |of: &dyn Fn(&Column) -> Option<f64>| {
        time.columns.iter().map(|column| (column.middle(), of(column))).collect::<Vec<_>>()
    };
    plot.line(points(&ready), "line s1");
    plot.line(points(&held), "line s2");
    time.tell(&mut plot, |column| {
        let told = |n: Option<u64>| n.map_or("?".to_owned(), whole);
        format!("{} ready in queues, {} held by dispatchers", told(column.sum.ready), told(column.sum.held))
    });
    Some(plot.draw())
}

/// A process and its colour.
pub(super) fn processes<'a>(time: &Time<'a>) -> Vec<(&'static str, &'a ProcessView)> {
    let colour = |n: usize| COLOURS[n.min(COLOURS.len() - 1)];
    time.report.processes.iter().enumerate().map(|(n, process)| (colour(n), process)).collect()
}

/// Utilisation: each process's share of all processors, and the share of slots in use; `None` if neither is known.
pub(super) fn utilisation(time: &Time<'_>) -> Option<Element> {
    let cpus = time.report.environment.cpus.max(1) as f64;
    let shares = processes(time).into_iter().map(|(class, process)| (class, shares(process, cpus)));
    let shares = shares.filter(|(_, points)| !points.is_empty()).collect::<Vec<_>>();
    if shares.is_empty() && !knows_slots(time) {
        return None;
    }
    let most = shares.iter().flat_map(|(_, points)| points).map(|(_, share)| *share).fold(1.0, f64::max);
    let mut plot = time.plot("Utilisation over time", HEIGHT, |place| Axis::linear(most, place)).y_ticks(percent);
    for (class, points) in shares {
        plot.line(points.into_iter().map(|(at, share)| (at, Some(share))), class);
    }
    plot.line(time.columns.iter().map(|column| (column.middle(), slots(column))), "line slots");
    time.tell(&mut plot, |column| match (column.sum.in_flight, column.sum.slots) {
        (Some(used), Some(slots)) => format!("{} of {} slots in use", whole(used), whole(slots)),
        _ => "slots unknown".to_owned(),
    });
    Some(plot.draw())
}

/// Whether any second tells of slots: older reports don't.
pub(super) fn knows_slots(time: &Time<'_>) -> bool {
    time.columns.iter().any(|column| slots(column).is_some())
}

fn slots(column: &Column) -> Option<f64> {
    let (used, slots) = (column.sum.in_flight?, column.sum.slots?);
    (slots > 0).then(|| used as f64 / slots as f64)
}

/// Moments between looks, and the share of all processors.
fn shares(process: &ProcessView, cpus: f64) -> Vec<(f64, f64)> {
    let spans = process.looks_s.windows(2).map(|pair| (pair[0], pair[1]));
    // A look right after another one says nothing of a share: the kernel counts in hundredths of a second.
    let spans = spans.zip(&process.cpu_by_s).filter(|((from, until), _)| until - from > 0.2);
    spans.map(|((from, until), cpu)| (f64::midpoint(from, until), cpu / (until - from) / cpus)).collect()
}

/// Memory of each process; `None` if nothing is known.
pub(super) fn memory(time: &Time<'_>) -> Option<Element> {
    let all = processes(time);
    let points = |process: &ProcessView| {
        let bytes = process.rss_by_s.iter().map(|bytes| *bytes as f64);
        process.looks_s.iter().copied().zip(bytes).collect::<Vec<_>>()
    };
    let most = all.iter().flat_map(|(_, process)| points(process)).map(|(_, bytes)| bytes).reduce(f64::max)?;
    // Ticks in whole MiB.
    let unit = 1_048_576.0;
    let axis = |place| Axis::linear(most / unit, place);
    let mut plot = time.plot("Memory over time", 120.0, axis).y_ticks(|value| mib(value * unit));
    for (class, process) in all {
        plot.line(points(process).into_iter().map(|(at, bytes)| (at, Some(bytes / unit))), class);
    }
    Some(plot.draw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_between_two_looks() {
        let process = ProcessView {
            looks_s: vec![1.0, 2.0, 4.0, 4.05],
            cpu_by_s: vec![0.5, 2.0, 0.05],
            ..ProcessView::default()
        };
        assert_eq!(shares(&process, 2.0), [(1.5, 0.25), (3.0, 0.5)]);
        assert!(shares(&ProcessView { cpu_by_s: vec![1.0], ..ProcessView::default() }, 2.0).is_empty());
    }
}
