//! The plots of a sweep: the 99th percentile of the waits against the rate, where the knee is; what was achieved of it; and
//! what was in use. Points that failed stay on the plot, marked: where a system breaks is what a sweep is for.

use super::{
    super::{
        Sweep, SweepPoint, Threshold,
        markup::{Element, el},
    },
    axis::Axis,
    over_time::legend,
    plot::{ACROSS, Plot, line, upwards},
    told::{percent, short, span, tick},
};
use crate::figures::Kind;

const HEIGHT: f64 = 260.0;
const COLOURS: [&str; 5] = ["s1", "s2", "s3", "s4", "s5"];
/// What is drawn for each series: after the last colour they come again, dashed, and then dotted.
const LINES: [&str; 15] = [
    "line s1",
    "line s2",
    "line s3",
    "line s4",
    "line s5",
    "line s1 dashed",
    "line s2 dashed",
    "line s3 dashed",
    "line s4 dashed",
    "line s5 dashed",
    "line s1 dotted",
    "line s2 dotted",
    "line s3 dotted",
    "line s4 dotted",
    "line s5 dotted",
];

/// The points of one series by rate, with its number.
type Series<'a> = (usize, &'a str, Vec<&'a SweepPoint>);

fn series(sweep: &Sweep) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for point in &sweep.points {
        match all.iter_mut().find(|(_, name, _)| *name == point.series) {
            Some((_, _, points)) => points.push(point),
            None => all.push((all.len(), &point.series, vec![point])),
        }
    }
    for (_, _, points) in &mut all {
        points.sort_by(|a, b| a.offered_per_s.total_cmp(&b.offered_per_s));
    }
    all
}

fn colour(n: usize) -> &'static str {
    COLOURS[n % COLOURS.len()]
}

/// What stands for what.
pub(super) fn key(sweep: &Sweep) -> Element {
    let mut keys = Vec::new();
    for (n, name, _) in series(sweep) {
        keys.push((LINES[n % LINES.len()], if name.is_empty() { "p99 of the waits" } else { name }));
    }
    keys.extend([
        ("dot-key ok", "all demands kept"),
        ("dot-key missed", "a demand missed"),
        ("dot-key void", "invalid"),
    ]);
    legend(&keys)
}

fn most(sweep: &Sweep, of: impl Fn(&SweepPoint) -> f64) -> f64 {
    sweep.points.iter().map(of).filter(|value| value.is_finite()).fold(0.0, f64::max)
}

fn plot(sweep: &Sweep, label: &str, y: Axis) -> Plot {
    let x = Axis::linear(most(sweep, |point| point.offered_per_s), ACROSS);
    let ticks = x.ticks().into_iter().map(|rate| (rate, format!("{}/s", short(rate)))).collect::<Vec<_>>();
    Plot::new(label, HEIGHT, x, y).x_ticks(&ticks)
}

/// p99 against rate; `None` without points.
pub(super) fn knee(sweep: &Sweep) -> Option<Element> {
    let demands = sweep.demands.iter().filter_map(|text| {
        let demand = text.parse::<Threshold>().ok()?.demand()?;
        (demand.kind == Kind::Wait && demand.share == Some(0.99)).then_some((text, demand.limit_s * 1e6))
    });
    let demands = demands.collect::<Vec<_>>();
    let limits = demands.iter().map(|(_, us)| *us);
    let values = sweep.points.iter().filter_map(p99).chain(limits);
    let (least, most) = (values.clone().reduce(f64::min)?, values.fold(0.0, f64::max));
    let axis = Axis::log(least, most, upwards(HEIGHT));
    let mut plot = plot(sweep, "99th percentile of the waits against the rate", axis).y_ticks(tick);
    for (text, us) in demands {
        plot.level(us, text, "slo");
    }
    for (n, _, points) in series(sweep) {
        for point in &points {
            interval(&mut plot, point, n);
        }
        draw(&mut plot, n, &points, &p99);
    }
    Some(plot.draw())
}

/// Where nothing was measured there is no percentile.
fn p99(point: &SweepPoint) -> Option<f64> {
    (point.p99_us > 0).then_some(point.p99_us as f64)
}

fn interval(plot: &mut Plot, point: &SweepPoint, n: usize) {
    let (Some(low), Some(high)) = (point.p99_low_us, point.p99_high_us) else { return };
    let x = plot.x.at(point.offered_per_s);
    let whisker = line((x, plot.y.at(low as f64)), (x, plot.y.at(high as f64)), "whisker");
    plot.add(el("g").class(colour(n)).child(whisker));
}

/// What was achieved against what was offered: on the diagonal the system keeps up.
pub(super) fn achieved(sweep: &Sweep) -> Element {
    let most = most(sweep, |point| point.offered_per_s.max(point.achieved_per_s));
    let axis = Axis::linear(most, upwards(HEIGHT));
    let mut plot = plot(sweep, "Rate achieved against rate offered", axis).y_ticks(|rate| format!("{}/s", short(rate)));
    plot.line([(0.0, Some(0.0)), (most, Some(most))], "line ideal");
    for (n, _, points) in series(sweep) {
        draw(&mut plot, n, &points, &|point| Some(point.achieved_per_s));
    }
    plot.draw()
}

/// What was in use; `None` if no point knows.
pub(super) fn utilisation(sweep: &Sweep) -> Option<Element> {
    let most = sweep.points.iter().filter_map(|point| point.utilisation).reduce(f64::max)?;
    let axis = Axis::linear(most.max(1.0), upwards(HEIGHT));
    let mut plot = plot(sweep, "Utilisation against the rate", axis).y_ticks(percent);
    for (n, _, points) in series(sweep) {
        draw(&mut plot, n, &points, &|point| point.utilisation);
    }
    Some(plot.draw())
}

fn draw(plot: &mut Plot, n: usize, points: &[&SweepPoint], of: &dyn Fn(&SweepPoint) -> Option<f64>) {
    plot.line(points.iter().map(|point| (point.offered_per_s, of(point))), LINES[n % LINES.len()]);
    for point in points {
        let Some(value) = of(point) else { continue };
        let mark = match (point.valid, point.ok) {
            (false, _) => "mark void",
            (true, false) => "mark missed",
            (true, true) => "mark ok",
        };
        let dot = el("circle").class(mark).num("cx", plot.x.at(point.offered_per_s)).num("cy", plot.y.at(value));
        let dot = dot.num("r", 5.0).child(el("title").text(told(point)));
        plot.add(el("g").class(colour(n)).child(dot));
    }
}

fn told(point: &SweepPoint) -> String {
    let used = point.utilisation.map_or(String::new(), |share| format!(", {} in use", percent(share)));
    let rates = format!("{}/s offered, {}/s achieved", short(point.offered_per_s), short(point.achieved_per_s));
    let [p50, p99] = [point.p50_us, point.p99_us].map(|us| span(us as f64));
    format!("{} {rates}, p50 {p50}, p99 {p99}{used}", point.series).trim_start().to_owned()
}
