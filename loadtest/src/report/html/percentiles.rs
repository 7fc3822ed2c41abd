//! The percentile curve: how long the slowest of 10, 100, 1,000 tasks took. Its x axis is log10(1/(1-p)), so that each further nine
//! has the same room; drawn from the histograms, not from the few percentiles of the tables.

use super::{
    super::{
        Report, Threshold, ThresholdView,
        markup::{Element, el},
        threshold::Demand,
    },
    axis::Axis,
    plot::{ACROSS, Plot, upwards},
    told::{span, tick},
};
use crate::figures::Kind;

const HEIGHT: f64 = 300.0;
/// What is drawn: corrected beside uncorrected.
pub(super) const CURVES: [(Kind, &str); 4] = [
    (Kind::Wait, "line s1"),
    (Kind::WaitUncorrected, "line s1 dashed"),
    (Kind::Done, "line s2"),
    (Kind::DoneUncorrected, "line s2 dashed"),
];
/// Values beyond a percentile that make it one: where there are fewer, the curve is faint.
const BEYOND: f64 = 10.0;
const NAMED: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
    (0.999_999, "99.9999 %"),
];

/// Nines and microseconds of a curve, and how it is drawn.
type Drawn<'a> = (Vec<(f64, f64)>, &'a str);

/// The curve; `None` if nothing was measured.
pub(super) fn percentiles(report: &Report) -> Option<Element> {
    let curves = CURVES.iter().filter_map(|(kind, class)| Some((&*report.latency.get(kind.name())?.buckets, *class)));
    let demands = report.thresholds.iter().filter_map(demand).collect::<Vec<_>>();
    let curves = drawn(curves);
    let mut plot = frame("Latency by percentile", &curves, demands.iter().map(|(demand, _)| demand.limit_s * 1e6))?;
    for (points, class) in &curves {
        draw(&mut plot, points, class);
    }
    for (demand, view) in &demands {
        let (text, us) = (&view.text, demand.limit_s * 1e6);
        plot.level(us, text, if view.ok { "slo" } else { "slo missed" });
        if let Some(share) = demand.share.filter(|share| beyond(*share) <= nines_of(&curves)) {
            let dot = el("circle").class("demanded").num("cx", plot.x.at(beyond(share))).num("cy", plot.y.at(us));
            plot.add(dot.num("r", 4.0).child(el("title").text(text)));
        }
    }
    Some(plot.draw())
}

/// Curves of several histograms over each other, the last one in front; `None` if nothing was measured.
pub(super) fn overlay<'a>(
    label: &str,
    curves: impl IntoIterator<Item = (&'a [(u64, u64)], &'a str)>,
) -> Option<Element> {
    let curves = drawn(curves);
    let mut plot = frame(label, &curves, [])?;
    for (points, class) in &curves {
        draw(&mut plot, points, class);
    }
    Some(plot.draw())
}

fn drawn<'a>(curves: impl IntoIterator<Item = (&'a [(u64, u64)], &'a str)>) -> Vec<Drawn<'a>> {
    let curves = curves.into_iter().map(|(buckets, class)| (curve(buckets), class));
    curves.filter(|(points, _)| !points.is_empty()).collect()
}

fn nines_of(curves: &[Drawn<'_>]) -> f64 {
    curves.iter().filter_map(|(points, _)| points.last()).map(|(x, _)| *x).fold(0.0, f64::max)
}

/// The plot in which all curves have room, and these limits, too; `None` without any.
fn frame(label: &str, curves: &[Drawn<'_>], limits: impl IntoIterator<Item = f64>) -> Option<Plot> {
    if curves.is_empty() {
        return None;
    }
    let nines = nines_of(curves);
    let values = curves.iter().flat_map(|(points, _)| points).map(|(_, us)| *us).chain(limits);
    let (least, most) = values.fold((f64::INFINITY, 0.0_f64), |(least, most), us| (least.min(us), most.max(us)));
    // What is faster than this is not told apart: the tail is what a curve is read for.
    let (x, y) = (Axis::exact(nines, ACROSS), Axis::log(least.max(100.0), most, upwards(HEIGHT)));
    let ticks = NAMED.map(|(share, name)| (beyond(share), name.to_owned()));
    let ticks = ticks.into_iter().filter(|(x, _)| *x <= nines).collect::<Vec<_>>();
    Some(Plot::new(label, HEIGHT, x, y).y_ticks(tick).x_ticks(&ticks))
}

/// A demand on one of the curves. Those on a single queue have a place in the tables alone.
fn demand(view: &ThresholdView) -> Option<(Demand, &ThresholdView)> {
    let demand = view.text.parse::<Threshold>().ok()?.demand()?;
    let drawn = CURVES.iter().any(|(kind, _)| *kind == demand.kind) && demand.limit_s > 0.0;
    drawn.then_some((demand, view))
}

/// Nines of a share: 0.999 has 3.
fn beyond(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// Nines and microseconds, from buckets.
fn curve(buckets: &[(u64, u64)]) -> Vec<(f64, f64)> {
    let all = buckets.iter().map(|(_, n)| *n).sum::<u64>();
    let mut below = 0;
    let mut points = Vec::new();
    for (us, n) in buckets.iter().filter(|(_, n)| *n > 0) {
        // A bucket begins where the one before it ends, and its last value stands before the last of all.
        points.push((nines(below, all), *us as f64));
        below += n;
        points.push((nines(below.min(all - 1), all), *us as f64));
    }
    points.dedup();
    points
}

fn nines(below: u64, all: u64) -> f64 {
    (all as f64 / (all - below) as f64).log10()
}

fn draw(plot: &mut Plot, points: &[(f64, f64)], class: &str) {
    let all = points.last().map_or(0.0, |(nines, _)| 10_f64.powf(*nines));
    let sure = (all / BEYOND).log10();
    // What lies within a pixel of the last point is not seen.
    let mut thin: Vec<(f64, f64)> = Vec::new();
    for (i, point) in points.iter().enumerate() {
        let near = thin.last().is_some_and(|last| {
            let gap = |axis: Axis, a: f64, b: f64| (axis.at(a) - axis.at(b)).abs();
            gap(plot.x, last.0, point.0) < 0.7 && gap(plot.y, last.1, point.1) < 0.7
        });
        if !near || i + 1 == points.len() {
            thin.push(*point);
        }
    }
    let cut = thin.partition_point(|(x, _)| *x <= sure).max(1);
    let told = |points: &[(f64, f64)]| points.iter().map(|(x, us)| (*x, Some(*us))).collect::<Vec<_>>();
    plot.line(told(&thin[..cut]), class);
    plot.line(told(&thin[cut - 1..]), &format!("{class} faint"));
    for (share, name) in NAMED.into_iter().filter(|(share, _)| beyond(*share) <= sure && *share > 0.0) {
        let at = points.partition_point(|(x, _)| *x < beyond(share) - 1e-9);
        let Some((_, us)) = points.get(at) else { continue };
        let dot = el("circle").class("dot").num("cx", plot.x.at(beyond(share))).num("cy", plot.y.at(*us));
        plot.add(dot.num("r", 7.0).child(el("title").text(format!("{name} within {}", span(*us)))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nine_is_one_further() {
        assert!((beyond(0.999) - 3.0).abs() < 1e-9);
        // 900 of 1,000 took 1 ms, 99 took 5 ms, one 80 ms.
        let points = curve(&[(1_000, 900), (5_000, 99), (80_000, 1)]);
        assert_eq!((points[0], points[1].1), ((0.0, 1_000.0), 1_000.0));
        assert!((points[1].0 - 1.0).abs() < 1e-9 && points[2] == (points[1].0, 5_000.0), "{points:?}");
        let last = points.last().unwrap();
        assert!((last.0 - 3.0).abs() < 1e-9 && last.1 == 80_000.0, "{points:?}");
        assert!(curve(&[]).is_empty() && curve(&[(5, 0)]).is_empty() && curve(&[(5, 1)]).len() == 1);
    }
}
