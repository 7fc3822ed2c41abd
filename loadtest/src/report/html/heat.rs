//! The heat map: in each second, how many waits were how long. It shows what percentiles hide: two ways to be slow, a stop, a
//! backlog that grows.

use super::{
    super::markup::{Element, el},
    axis::Axis,
    over_time::Time,
    plot::rect,
    told::{self, span, whole},
};

const HEIGHT: f64 = 240.0;
/// The least opacity of a cell with a value: one task in a second of thousands is still seen.
const FAINT: f64 = 0.12;

/// The map; `None` if nothing ended its wait.
pub(super) fn heat(time: &Time<'_>) -> Option<Element> {
    let bounds = bounds(&time.report.heat_bounds_us)?;
    let cells = || {
        let cells = |column: usize| (0..time.columns[column].sum.heat.len()).map(move |cell| (column, cell));
        let all = (0..time.columns.len()).flat_map(cells);
        all.map(|(column, cell)| (column, cell, time.columns[column].sum.heat[cell])).filter(|(_, _, n)| *n > 0)
    };
    let rows = || cells().map(|(_, cell, _)| cell.min(bounds.len() - 1));
    let (first, last) = (rows().min()?, rows().max()?);
    let lower = |cell: usize| if cell == 0 { bounds[0] / 1.585 } else { bounds[cell - 1] };
    let y = |place| Axis::log(lower(first), bounds[last], place);
    let mut plot = time.plot("Waits over time, as a heat map", HEIGHT, y).y_ticks(told::tick);
    let most = cells().map(|(_, _, n)| n).max().map_or(1.0, f64::from);
    for (column, cell, n) in cells() {
        let (column, cell) = (&time.columns[column], cell.min(bounds.len() - 1));
        let top = (plot.x.at(column.from_s), plot.y.at(bounds[cell]));
        let bottom = (plot.x.at(column.until_s), plot.y.at(lower(cell)));
        plot.add_behind(rect(top, bottom, "cell").num("fill-opacity", opacity(n.into(), most)));
    }
    let p99 = |us: u64| (us > 0).then_some(us as f64);
    let points = time.columns.iter().map(|column| (column.middle(), p99(column.sum.wait_p99_us)));
    plot.line(points.collect::<Vec<_>>(), "line p99");
    time.tell(&mut plot, |column| {
        let sum = &column.sum;
        let [p50, p99, max] = [sum.wait_p50_us, sum.wait_p99_us, sum.wait_max_us].map(|us| span(us as f64));
        format!("{} first attempts, waits p50 {p50}, p99 {p99}, longest {max}", whole(sum.first.into()))
    });
    Some(plot.draw())
}

/// Bounds that grow; `None` if there are none, or others: then a report is not one of ours.
fn bounds(us: &[u64]) -> Option<Vec<f64>> {
    let grow = us.windows(2).all(|pair| pair[0] < pair[1]) && us.first().is_some_and(|first| *first > 0);
    grow.then(|| us.iter().map(|us| *us as f64).collect())
}

/// By the logarithm: what counts is whether one, ten or a thousand tasks waited so long.
fn opacity(n: f64, most: f64) -> f64 {
    let share = if most > 1.0 { n.ln() / most.ln() } else { 1.0 };
    FAINT + (1.0 - FAINT) * share.clamp(0.0, 1.0)
}

/// The legend of cells: how dark is how many.
pub(super) fn key(time: &Time<'_>) -> Element {
    let most = time.columns.iter().flat_map(|column| &column.sum.heat).max().copied().unwrap_or(1);
    let steps = (0..8).map(|power| 10_u32.pow(power)).take_while(|n| *n < most).chain([most]);
    let step = |n: u32| {
        let opacity = opacity(n.into(), most.into());
        let swatch = el("i").class("swatch").attr("style", format!("opacity:{opacity:.2}"));
        el("span").child(swatch).text(whole(n.into()))
    };
    el("p")
        .class("legend")
        .text("tasks in a cell: ")
        .children(steps.map(step))
        .child(el("span").child(el("i").class("line p99")).text("p99 of the second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_task_is_seen_and_the_most_are_opaque() {
        assert_eq!((opacity(1.0, 1e6), opacity(1e6, 1e6), opacity(1.0, 1.0)), (FAINT, 1.0, 1.0));
        assert!(opacity(1e3, 1e6) > 0.5);
    }
}
