//! The plot of how rates grow: what was measured, the law with its band, and growth in proportion beside it. What lies beyond the
//! largest N that was measured is dashed.

use super::{
    super::markup::{Element, el},
    axis::Axis,
    over_time::legend,
    plot::{ACROSS, LEFT, Plot, line, text, upwards},
    section,
    tables::{cell, table},
    told::{percent, short},
};
use crate::scaling::{Estimate, Law, Scaling};

const HEIGHT: f64 = 260.0;
/// Width of a plot's inside below which a name of a line would be cut off.
const NAME: f64 = 150.0;

/// A section for each; without a law it is the reason alone.
pub(super) fn scalings(all: &[Scaling]) -> Vec<Element> {
    all.iter().map(one).collect()
}

fn one(scaling: &Scaling) -> Element {
    let title = format!("How it grows with {} ({})", scaling.of, scaling.series);
    let Some(law) = &scaling.law else { return section(&title, &scaling.note, []) };
    let key = legend(&[
        ("dot-key ok s1", "measured: the most that was done"),
        ("line s1", "the universal scalability law"),
        ("swatch-band", "95 % band"),
        ("line ideal", "in proportion"),
    ]);
    let figure = el("figure").child(el("figcaption").child(key)).child(plot(scaling, law));
    section(&title, &scaling.note, [figure, coefficients(law)])
}

fn plot(scaling: &Scaling, law: &Law) -> Element {
    let measured = scaling.points.iter().map(|point| point.per_s);
    // The band may be endless; the plot is as high as what was measured and fitted.
    let fitted = law.curve.iter().map(|place| place.per_s.value);
    let most = measured.chain(fitted).fold(0.0, f64::max) * 1.15;
    let (x, y) = (Axis::exact(law.reach, ACROSS), Axis::linear(most, upwards(HEIGHT)));
    let ticks = x.ticks().into_iter().filter(|n| n.fract() == 0.0).map(|n| (n, short(n))).collect::<Vec<_>>();
    let label = format!("Tasks a second by number of {}", scaling.of);
    let mut plot = Plot::new(label, HEIGHT, x, y).y_ticks(|rate| format!("{}/s", short(rate))).x_ticks(&ticks);
    let bounds = |place: &crate::scaling::Place| (place.n, place.per_s.low, place.per_s.high);
    plot.band(&law.curve.iter().map(bounds).collect::<Vec<_>>(), "band");
    let full = (most / law.gamma.value).min(law.reach);
    plot.line([(0.0, Some(0.0)), (full, Some(full * law.gamma.value))], "line ideal");
    let last = scaling.points.last().map_or(law.reach, |point| f64::from(point.n));
    let places = |within: &dyn Fn(f64) -> bool| {
        let places = law.curve.iter().filter(|place| within(place.n));
        places.map(|place| (place.n, Some(place.per_s.value))).collect::<Vec<_>>()
    };
    plot.line(places(&|n| n <= last), "line s1");
    // From where the other one ends.
    let step = law.curve.get(1).map_or(0.0, |place| place.n - law.curve[0].n);
    plot.line(places(&|n| n > last - step), "line s1 dashed");
    if last < law.reach {
        upright(&mut plot, last, "largest measured", "phase");
    }
    if let Some(peak) = law.peak_n {
        upright(&mut plot, peak, &format!("most at {}", short((peak * 10.0).round() / 10.0)), "slo");
    }
    for point in &scaling.points {
        let (x, y) = (plot.x.at(point.n.into()), plot.y.at(point.per_s));
        let told = format!("{} {}: {}/s", point.n, scaling.of, short(point.per_s));
        let dot = el("circle").class("mark ok").num("cx", x).num("cy", y).num("r", 5.0).child(el("title").text(told));
        plot.add(el("g").class("s1").child(dot));
    }
    plot.draw()
}

/// A line over the plot's height, with its name at the foot, on the side where it has room.
fn upright(plot: &mut Plot, n: f64, name: &str, class: &'static str) {
    let (x, foot) = (plot.x.at(n), plot.bottom());
    plot.add(line((x, plot.y.at(f64::MAX)), (x, foot), class));
    let (place, anchor) = if x - LEFT > NAME { (x - 5.0, "end") } else { (x + 5.0, "start") };
    plot.add(text((place, foot - 8.0), anchor, name).class("name"));
}

fn coefficients(law: &Law) -> Element {
    let row = |name: &str, estimate: &Estimate, told: &dyn Fn(f64) -> String, words: &str| {
        let interval = format!("{} to {}", told(estimate.low), told(estimate.high));
        vec![cell(name), cell(told(estimate.value)), cell(interval), cell(words)]
    };
    let rate = |rate: f64| format!("{}/s", short(rate));
    let share = |share: f64| format!("{} %", short((share * 1e6).round() / 1e4));
    let end = |n: Option<f64>| n.map_or(format!("beyond {}", short(law.reach)), |n| short((n * 10.0).round() / 10.0));
    let mut rows = vec![
        row("γ, one", &law.gamma, &rate, "what one of them does"),
        row("α, contention", &law.alpha, &share, "of the work waits for something that all share"),
        row("β, crosstalk", &law.beta, &share, "is what each spends on each other"),
    ];
    let words = format!("the number with the largest rate; points are at most {} off the law", percent(law.off_max));
    let interval = format!("{} to {}", end(law.peak_low_n), end(law.peak_high_n));
    rows.push(vec![cell("peak"), cell(end(law.peak_n)), cell(interval), cell(words)]);
    table(&["Coefficient", "Best fit#", "95 % interval#", ""], rows)
}
