//! The page of a capacity plan: what is recommended and what else there is, what each resource would let through, and what the plan
//! rests on. It decides nothing.

use super::{
    super::markup::{Element, el},
    axis::Axis,
    list, page,
    plot::{ACROSS, LEFT, Plot, RIGHT, line, rect, text, upwards},
    row_of_tiles, section,
    tables::{cell, mark, table},
    told::{moment, percent, short, span},
};
use crate::plan::{Candidate, Measured, ModelError, Plan, minutes, text as words_of, waits};

/// Of a bar with its room.
const BAR: f64 = 30.0;

/// The page.
pub fn html_plan(plan: &Plan) -> String {
    let doubts = plan.calibrated.as_ref().map_or(&[][..], |measured| &measured.doubts);
    let mut main = Vec::new();
    main.extend(plan.recommended.as_ref().map(|best| tiles(plan, best)));
    if !doubts.is_empty() {
        let note = el("div").class("note bad").child(el("b").text("Not to be trusted"));
        main.push(el("section").child(note.child(list(doubts))));
    }
    let words = "Each from five simulations; the upper end of the interval must hold. N dispatchers each; red does not hold with one of them lost. Formulas know one queue, and no windows.";
    main.push(section("What holds", words, [candidates(plan)]));
    main.extend(limits(plan));
    main.extend(plan.calibrated.as_ref().map(measured));
    main.push(section("Taken for granted", "", [list(&plan.assumptions)]));
    main.push(section("The same in words", "", [el("pre").child(el("code").text(words_of(plan)))]));
    let (word, good) = match &plan.recommended {
        _ if !doubts.is_empty() => ("the run behind it says nothing", false),
        Some(_) => ("the demand holds", true),
        None => ("nothing fulfils the demand", false),
    };
    let executors = if plan.executors.is_empty() { "name=main".to_owned() } else { plan.executors.join(" | ") };
    page("Capacity plan", word, good, &[format!("{}/s · {}", short(plan.rate), plan.slo), executors], main)
}

fn seconds(s: f64) -> String {
    span(s * 1e6)
}

fn tiles(plan: &Plan, best: &Candidate) -> Element {
    let outage = plan.outage.map_or(["–".to_owned(), String::new()], |outage| {
        let drained = outage.drain_s.map_or("never drained".to_owned(), |s| format!("drained in {}", minutes(s)));
        let dead = if outage.dead { ", and dead letters" } else { "" };
        [short(outage.backlog), format!("after {}, {drained}{dead}", minutes(outage.lasts_s))]
    });
    let [backlog, outage] = outage;
    let cores = plan.resources.and_then(|resources| resources.cores_per_dispatcher);
    row_of_tiles([
        ("dispatchers", best.dispatchers.to_string(), format!("of {} slots, prefetch {}", best.slots, best.prefetch)),
        ("expected", seconds(best.slo_s), format!("{} to {}", seconds(best.slo_low_s), seconds(best.slo_high_s))),
        ("slots busy", percent(best.busy), format!("{} attempts a second", short(plan.attempts_per_s))),
        ("at most", format!("{}/s", short(best.tasks_per_s_max)), "with these slots and windows".to_owned()),
        ("backlog", backlog, outage),
        ("CPU", cores.map_or("–".to_owned(), short), "cores of each dispatcher".to_owned()),
    ])
}

fn candidates(plan: &Plan) -> Element {
    let row = |(name, one): (&str, &Candidate)| {
        let loss = match one.loss_s {
            None if one.dispatchers == 1 => "no spare".to_owned(),
            None => "waits without end".to_owned(),
            Some(s) => seconds(s),
        };
        vec![
            cell(name),
            cell(format!("{} x {} x {}", one.dispatchers, one.slots, one.prefetch)),
            cell(percent(one.busy)),
            cell(seconds(one.p50_s)),
            cell(seconds(one.slo_s)),
            cell(format!("{} to {}", seconds(one.slo_low_s), seconds(one.slo_high_s))),
            mark(one.survives_loss, &loss, &loss),
            cell(waits(one.erlang_s)),
            cell(waits(one.allen_cunneen_s)),
        ]
    };
    let all = plan.recommended.iter().map(|one| ("recommended", one));
    let all = all.chain(plan.alternatives.iter().map(|one| ("alternative", one)));
    let demanded = format!("{}#", plan.slo.split(" <").next().unwrap_or_default());
    let heads = [
        "",
        "N x slots x prefetch",
        "Busy#",
        "p50#",
        &demanded,
        "95 % interval#",
        "One lost#",
        "Erlang C#",
        "Allen-Cunneen#",
    ];
    table(&heads, all.map(row))
}

/// A bar for each resource, and the rate that is planned for; `None` without any.
fn limits(plan: &Plan) -> Option<Element> {
    let most = plan.limits.iter().map(|limit| limit.tasks_per_s).filter(|rate| rate.is_finite()).reduce(f64::max)?;
    let rows = plan.limits.len() as f64;
    let height = rows * BAR;
    let x = Axis::linear(most.max(plan.rate), ACROSS);
    let ticks = x.ticks().into_iter().map(|rate| (rate, format!("{}/s", short(rate)))).collect::<Vec<_>>();
    let y = Axis::exact(rows, upwards(height));
    let mut plot = Plot::new("What each resource would let through", height, x, y).x_ticks(&ticks);
    for (n, limit) in (1..).zip(&plan.limits) {
        let (top, bottom) = (plot.y.at(rows - f64::from(n) + 0.8), plot.y.at(rows - f64::from(n) + 0.2));
        let end = plot.x.at(limit.tasks_per_s);
        plot.add(rect((LEFT, top), (end, bottom), "bar"));
        let told = format!("{} {}/s", limit.name, short(limit.tasks_per_s));
        // Beside the bar, or in it where it is long.
        let (place, anchor) = if end < (LEFT + RIGHT) / 2.0 { (end + 8.0, "start") } else { (end - 8.0, "end") };
        plot.add(text((place, f64::midpoint(top, bottom) + 4.0), anchor, told).class("name"));
    }
    let at = plot.x.at(plan.rate);
    plot.add(line((at, plot.y.at(rows)), (at, plot.bottom()), "slo"));
    let words = "The line is the rate that is planned for; the shortest bar is the bottleneck.";
    Some(section("What each resource would let through", words, [el("figure").child(plot.draw())]))
}

fn measured(measured: &Measured) -> Element {
    let row = |error: &ModelError| {
        let off = format!("{:+.0} %", error.error() * 100.0);
        [error.figure.clone(), seconds(error.measured_s), seconds(error.model_s), off].map(cell).into()
    };
    let us = |us: u64| span(us as f64);
    let timing = &measured.timing;
    let words = format!(
        "The run of {}: its machine added {} to an attempt, and a task took {} until it was stored.",
        moment(measured.started_at_ms),
        us(timing.attempt_extra_us),
        us(timing.confirm_us)
    );
    let heads = ["Figure", "Measured#", "By the model#", "Off#"];
    section("What it is calibrated by", &words, [table(&heads, measured.errors.iter().map(row))])
}
