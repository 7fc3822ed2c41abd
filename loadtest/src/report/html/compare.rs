//! The page of a comparison: the percentile curves of both sides over each other, every run's 99th percentile, and what the two
//! tests say. It decides nothing.

use super::{
    super::{
        Report,
        markup::{Element, el},
    },
    axis::Axis,
    list,
    over_time::legend,
    page, percentiles, place,
    plot::{ACROSS, LEFT, Plot, rect, text, upwards},
    row_of_tiles, section,
    tables::{cell, table},
    told::{moment, percent, short, span, whole},
};
use crate::compare::{Answer, Comparison, change, interval, reason, word};
use std::collections::BTreeMap;

/// Of the plot of the runs' percentiles.
const HEIGHT: f64 = 84.0;
/// Values and how many there are.
type Buckets = Vec<(u64, u64)>;

/// The page. The reports are those that were compared.
pub fn html_compare(comparison: &Comparison, before: &[Report], after: &[Report]) -> String {
    let good = matches!(comparison.answer, Answer::Better | Answer::Same);
    let mut main = vec![tiles(comparison)];
    if !comparison.notes.is_empty() {
        let note = el("div").class("note bad").child(el("b").text("Compared by force"));
        main.push(el("section").child(note.child(list(&comparison.notes))));
    }
    main.extend(curves(comparison, before, after));
    let words = "Each mark is a run. The shaded part is what is tolerated around the median of the runs before.";
    main.push(section("The runs' 99th percentiles", words, [runs(comparison)]));
    let words = "Each is wrong in at most 2.5 % of cases in either direction; either can make the answer worse.";
    main.push(section("What the tests say", words, [tests(comparison)]));
    main.push(section("Other figures", "Told, not judged: medians over the runs.", [figures(comparison)]));
    main.push(section("The runs", "", [all(comparison, before, after)]));
    main.extend(before.first().map(|first| place(&first.environment, &first.version)));
    let about = [
        reason(comparison),
        format!(
            "{} · {} runs before · {} runs after · {} tolerated",
            comparison.latency.replace('_', " "),
            before.len(),
            after.len(),
            percent(comparison.max_regress)
        ),
    ];
    page("Comparison", word(comparison.answer), good, &about, main)
}

fn median(us: &[u64]) -> f64 {
    let mut us = us.to_vec();
    us.sort_unstable();
    match us.len() {
        0 => f64::NAN,
        n => f64::midpoint(us[(n - 1) / 2] as f64, us[n / 2] as f64),
    }
}

fn tiles(comparison: &Comparison) -> Element {
    let Comparison { p99, shape, .. } = comparison;
    let runs = |us: &[u64]| format!("median of {} runs", us.len());
    row_of_tiles([
        ("p99 before", span(median(&p99.before_us)), runs(&p99.before_us)),
        ("p99 after", span(median(&p99.after_us)), runs(&p99.after_us)),
        ("99th percentile", change(p99.factor), interval(comparison)),
        ("tasks slower", percent(shape.slower), format!("by more than {}", percent(comparison.max_regress))),
        ("tasks faster", percent(shape.faster), format!("by more than {}", percent(comparison.max_regress))),
    ])
}

/// All values of one side together.
fn merged(runs: &[&Buckets]) -> Buckets {
    let mut all = BTreeMap::new();
    for (us, n) in runs.iter().copied().flatten() {
        *all.entry(*us).or_insert(0) += n;
    }
    all.into_iter().collect()
}

fn curves(comparison: &Comparison, before: &[Report], after: &[Report]) -> Option<Element> {
    let of = |reports: &'_ [Report]| -> Vec<Buckets> {
        let all = reports.iter().filter_map(|report| report.latency.get(&comparison.latency));
        all.map(|latency| latency.buckets.clone()).collect()
    };
    let sides = [of(before), of(after)];
    let [old, new] = [&sides[0], &sides[1]].map(|runs| merged(&runs.iter().collect::<Vec<_>>()));
    let tolerated = old.iter().map(|(us, n)| ((*us as f64 * (1.0 + comparison.max_regress)) as u64, *n));
    let tolerated = tolerated.collect::<Buckets>();
    // A side of one run is its own sum.
    let singly = sides.iter().zip(["line s1 run", "line s3 run"]).filter(|(runs, _)| runs.len() > 1);
    let singly = singly.flat_map(|(runs, class)| runs.iter().map(move |run| (&**run, class)));
    let whole = [(&*tolerated, "line s1 dashed"), (&*old, "line s1"), (&*new, "line s3")];
    let plot = percentiles::overlay("Percentiles before and after", singly.chain(whole))?;
    let key = legend(&[
        ("line s1", "before"),
        ("line s1 dashed", "before, and what is tolerated"),
        ("line s3", "after"),
        ("line s5", "pale: each run"),
    ]);
    let words = "Each further nine has the same room. Faint where fewer than ten tasks were slower.";
    let figure = el("figure").child(el("figcaption").child(key)).child(plot);
    Some(section("How long the slowest took", words, [figure]))
}

/// A mark for each run on a line for each side.
fn runs(comparison: &Comparison) -> Element {
    let p99 = &comparison.p99;
    let middle = median(&p99.before_us);
    let (low, high) = (middle / (1.0 + comparison.max_regress), middle * (1.0 + comparison.max_regress));
    let most = p99.before_us.iter().chain(&p99.after_us).map(|us| *us as f64).fold(high, f64::max);
    let (x, y) = (Axis::linear(most, ACROSS), Axis::exact(3.0, upwards(HEIGHT)));
    let tick = |us: f64| if us == 0.0 { "0".to_owned() } else { span(us) };
    let ticks = x.ticks().into_iter().map(|us| (us, tick(us))).collect::<Vec<_>>();
    let mut plot = Plot::new("99th percentile of each run", HEIGHT, x, y).x_ticks(&ticks);
    let tolerated = rect((plot.x.at(low), plot.y.at(3.0)), (plot.x.at(high), plot.y.at(0.0)), "tolerated");
    plot.add_behind(tolerated);
    for (row, name, class, all) in [(2.0, "before", "s1", &p99.before_us), (1.0, "after", "s3", &p99.after_us)] {
        plot.add(text((LEFT - 8.0, plot.y.at(row) + 4.0), "end", name));
        for us in all {
            let dot = el("circle").class("mark").num("cx", plot.x.at(*us as f64)).num("cy", plot.y.at(row));
            let dot = dot.num("r", 5.0).child(el("title").text(format!("{name}: {}", span(*us as f64))));
            plot.add(el("g").class(class).child(dot));
        }
    }
    el("figure").child(plot.draw())
}

fn answer(answer: Answer) -> Element {
    let class = match answer {
        Answer::Better | Answer::Same => "good",
        Answer::Worse => "bad",
        Answer::Inconclusive => "unsure",
    };
    el("td").child(el("b").class(class).text(word(answer)))
}

fn tests(comparison: &Comparison) -> Element {
    let Comparison { p99, shape, max_regress, .. } = comparison;
    let p = |p: f64| format!("{p:.4}");
    let share = |share: f64| format!("{:.1} %", share * 100.0);
    let beaten = format!("; a run after is slower than one before in {} of all pairs", share(p99.superiority));
    let tail = vec![
        cell("p99\u{a0}of\u{a0}runs"),
        answer(p99.answer),
        cell(format!("{}, {}{beaten}", change(p99.factor), interval(comparison))),
        cell(p(p99.p_slower)),
        cell(p(p99.p_faster)),
    ];
    let (slower, faster) = (share(shape.slower), share(shape.faster));
    let found = format!(
        "{slower} of all tasks slower by more than {}, {faster} faster; distance D = {:.3} (p = {}); runs differ by {} anyway",
        percent(*max_regress),
        shape.distance,
        p(shape.p_distance),
        share(shape.usual)
    );
    let body = vec![cell("Shape"), answer(shape.answer), cell(found), cell(p(shape.p_slower)), cell(p(shape.p_faster))];
    let heads = ["", "Answer", "Found", "By chance: slower#", "faster#"];
    table(&heads, [tail, body])
}

fn figures(comparison: &Comparison) -> Element {
    let row = |figure: &crate::compare::Figure| {
        let factor = figure.after / figure.before;
        [figure.name.clone(), short(figure.before), short(figure.after), change(factor)].map(cell).into()
    };
    table(&["Figure", "Before#", "After#", "Change#"], comparison.figures.iter().map(row))
}

fn all(comparison: &Comparison, before: &[Report], after: &[Report]) -> Element {
    let row = |(side, report): (&str, &Report)| {
        let summary = report.latency.get(&comparison.latency).map(|latency| latency.summary).unwrap_or_default();
        let version = &report.environment.quebert;
        let cells = [
            side.to_owned(),
            moment(report.started_at_ms),
            if version.is_empty() { "unknown".to_owned() } else { version.clone() },
            report.profile.seed.to_string(),
            whole(summary.count),
            span(summary.p50_us as f64),
            span(summary.p99_us as f64),
            short(report.environment.load_before),
        ];
        cells.map(cell).into()
    };
    let sides = before.iter().map(|run| ("before", run)).chain(after.iter().map(|run| ("after", run)));
    table(&["Side", "Begun", "Version", "Seed#", "Tasks#", "p50#", "p99#", "Load before#"], sides.map(row))
}
