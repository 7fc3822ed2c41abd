//! A report as one HTML file that needs nothing else: no script, no font, no address. Plots are SVG that is drawn here; what
//! a figure was at a moment is told by the browser's own tooltips. It looks at the report alone.

mod axis;
mod compare;
mod heat;
mod knee;
mod lines;
mod over_time;
mod percentiles;
mod plan;
mod plot;
mod scaling;
mod tables;
#[cfg(test)]
mod tests;
pub(super) mod told;

pub use compare::html_compare;
pub use plan::html_plan;

use super::{
    Environment, Report, Sweep, command, exit,
    markup::{Element, el},
};
use crate::figures::Kind;
use over_time::{Time, legend};
use told::{moment, short, span, whole};

const STYLE: &str = include_str!("page.css");

/// The page of a run.
pub fn html(report: &Report) -> String {
    let mut main = vec![tiles(report)];
    main.extend(notes(report));
    main.extend(curve(report));
    if let Some(time) = Time::new(report) {
        main.push(over_time(&time));
    }
    main.push(section("Promises", "Each was checked against every task of the ledger.", [tables::verdict(report)]));
    main.extend(tables::thresholds(report).map(|table| section("Thresholds", "What was demanded.", [table])));
    let held = tables::bottlenecks(report);
    main.extend(held.map(|table| section("What held it back", "From the dispatchers' own metrics.", [table])));
    main.push(section(
        "Latencies",
        "Corrected ones count from the moment that the plan meant, uncorrected ones from the publish.",
        [tables::latencies(report)],
    ));
    main.push(section("Queues", "", [tables::queues(report)]));
    main.push(section("Phases", "", [tables::phases(report)]));
    main.push(section("Processes", "", [tables::processes(report)]));
    main.push(place(&report.environment, &report.version));
    main.push(section(
        "To do it again",
        "Arrivals, bodies and fates are drawn from the seed: they are the same again.",
        [el("pre").child(el("code").text(command(&report.profile)))],
    ));
    let (word, good) = word(report);
    page("Load test", word, good, &about(report), main)
}

/// The page of a sweep.
pub fn html_sweep(sweep: &Sweep) -> String {
    let mut main = Vec::new();
    if !sweep.notes.is_empty() {
        main.push(section("What it shows", "", [list(&sweep.notes)]));
    }
    let figure = |key: Element, plot: Element| el("figure").child(el("figcaption").child(key)).child(plot);
    let knee = knee::knee(sweep).into_iter().map(|plot| figure(knee::key(sweep), plot));
    let words = "The 99th percentile of the waits against the rate: flat while there is room, steep at the knee. Bars are 95 % intervals.";
    main.push(section("The knee", words, knee));
    let key = legend(&[("line ideal", "as much as was offered")]);
    main.push(section("Achieved", "What leaves the diagonal does not keep up.", [figure(key, knee::achieved(sweep))]));
    let used = knee::utilisation(sweep).map(|plot| figure(knee::key(sweep), plot));
    main.extend(used.map(|plot| section("In use", "The busiest resource that is known.", [plot])));
    main.extend(scaling::scalings(&sweep.scaling));
    main.push(section("Points", "", [tables::points(sweep)]));
    main.push(place(&sweep.environment, &sweep.version));
    let about = [format!("{} points", sweep.points.len()), moment(sweep.started_at_ms)];
    let kept = sweep.points.iter().filter(|point| point.ok && point.valid).count();
    let word = format!("{kept} of {} points kept all demands", sweep.points.len());
    page("Sweep", &word, kept > 0, &about, main)
}

fn page(title: &str, word: &str, good: bool, about: &[String], main: Vec<Element>) -> String {
    let head = el("head")
        .child(el("meta").attr("charset", "utf-8"))
        .child(el("meta").attr("name", "viewport").attr("content", "width=device-width, initial-scale=1"))
        .child(el("meta").attr("name", "color-scheme").attr("content", "light dark"))
        .child(el("title").text(format!("{title}: {word}")))
        .child(el("style").raw(STYLE));
    let pill = el("p").class(if good { "pill good" } else { "pill bad" }).text(word);
    let header = el("header").child(el("h1").text(title)).child(pill);
    let header = header.children(about.iter().map(|line| el("p").text(line)));
    let body = el("body").child(header).child(el("main").children(main));
    format!("<!DOCTYPE html>\n{}\n", el("html").attr("lang", "en").child(head).child(body).render())
}

fn section(title: &str, words: &str, children: impl IntoIterator<Item = Element>) -> Element {
    let section = el("section").child(el("h2").text(title));
    let section = if words.is_empty() { section } else { section.child(el("p").class("words").text(words)) };
    section.children(children)
}

fn list(lines: &[String]) -> Element {
    el("ul").children(lines.iter().map(|line| el("li").text(line)))
}

/// What the run came to in a few words, and whether that is good.
fn word(report: &Report) -> (&'static str, bool) {
    match report.exit_code {
        exit::OK => ("all promises kept", true),
        exit::THRESHOLD => ("a threshold was missed", false),
        exit::VERIFICATION => ("a promise was broken", false),
        _ => ("the run is invalid", false),
    }
}

fn about(report: &Report) -> [String; 2] {
    let environment = &report.environment;
    [
        report.profile.arrivals.clone(),
        format!(
            "{} · broker {} · {} dispatcher{} · seed {}",
            moment(report.started_at_ms),
            environment.broker,
            environment.dispatchers,
            if environment.dispatchers == 1 { "" } else { "s" },
            report.profile.seed
        ),
    ]
}

fn tiles(report: &Report) -> Element {
    let p = |kind: Kind, of: fn(&crate::figures::Summary) -> u64| {
        report.latency.get(kind.name()).map_or("–".to_owned(), |latency| span(of(&latency.summary) as f64))
    };
    let (rates, verdict) = (&report.throughput, &report.verdict);
    let cpu = report.processes.iter().filter(|process| process.name.starts_with("dispatcher"));
    let cpu = cpu.map(|process| process.cpu_per_1k_s).reduce(|a, b| a + b);
    let steady = report.steady.and_then(|steady| steady.wait_p99);
    let interval =
        steady.map(|p99| format!("steady {} [{} to {}]", span(p99.value_us), span(p99.low_us), span(p99.high_us)));
    let tiles = [
        (
            "wait p99",
            p(Kind::Wait, |s| s.p99_us),
            interval.unwrap_or_else(|| format!("p50 {}", p(Kind::Wait, |s| s.p50_us))),
        ),
        ("done p99", p(Kind::Done, |s| s.p99_us), format!("p50 {}", p(Kind::Done, |s| s.p50_us))),
        ("done", format!("{}/s", short(rates.done_per_s)), format!("of {}/s offered", short(rates.offered_per_s))),
        ("succeeded", whole(verdict.succeeded), format!("of {} confirmed", whole(verdict.confirmed))),
        ("lost", whole(verdict.lost), format!("{} duplicates", whole(verdict.duplicates))),
        ("CPU of dispatchers", cpu.map_or("–".to_owned(), |s| format!("{} s", short(s))), "for 1,000 tasks".to_owned()),
    ];
    row_of_tiles(tiles)
}

/// A name, a figure, and what belongs to it, each.
fn row_of_tiles(tiles: impl IntoIterator<Item = (&'static str, String, String)>) -> Element {
    let tile = |(name, value, more): (&str, String, String)| {
        let tile = el("div").class("tile").child(el("span").text(name)).child(el("b").text(value));
        tile.child(el("small").text(more))
    };
    el("div").class("tiles").children(tiles.into_iter().map(tile))
}

/// Why the run is invalid, and what to keep in mind.
fn notes(report: &Report) -> Option<Element> {
    let closed = report.closed.then(|| "Closed: latency excludes waiting of the client.".to_owned());
    let warnings = closed.into_iter().chain(report.validity.warnings.iter().cloned()).collect::<Vec<_>>();
    let reasons = &report.validity.reasons;
    if reasons.is_empty() && warnings.is_empty() {
        return None;
    }
    let mut notes = Vec::new();
    if !reasons.is_empty() {
        notes.push(el("div").class("note bad").child(el("b").text("Invalid")).child(list(reasons)));
    }
    if !warnings.is_empty() {
        notes.push(el("div").class("note").child(el("b").text("To keep in mind")).child(list(&warnings)));
    }
    Some(el("section").children(notes))
}

fn curve(report: &Report) -> Option<Element> {
    let plot = percentiles::percentiles(report)?;
    let names = ["wait", "wait, uncorrected", "done", "done, uncorrected"];
    let keys = percentiles::CURVES.iter().zip(names).filter(|((kind, _), _)| report.latency.contains_key(kind.name()));
    let keys = keys.map(|((_, class), name)| (*class, name)).collect::<Vec<_>>();
    let figure = el("figure").child(el("figcaption").child(legend(&keys))).child(plot);
    let words = "Each further nine has the same room. Faint where fewer than ten tasks were slower. Horizontal lines are thresholds.";
    Some(section("How long the slowest took", words, [figure]))
}

fn over_time(time: &Time<'_>) -> Element {
    let figure = |title: &str, key: Element, plot: Element| {
        el("figure").child(el("figcaption").child(el("h3").text(title)).child(key)).child(plot)
    };
    let mut figures = Vec::new();
    figures.extend(heat::heat(time).map(|plot| figure("Waits", heat::key(time), plot)));
    let failed = time.report.seconds.iter().any(|second| second.failed > 0);
    let keys = [
        ("swatch-area", "offered"),
        ("line s1", "accepted"),
        ("line s3 dashed", "attempts"),
        ("line s2", "done"),
        ("line bad", "failed attempts"),
    ];
    let keys = if failed { &keys[..] } else { &keys[..4] };
    figures.push(figure("Tasks a second", legend(keys), lines::rates(time)));
    let keys = [("line s1", "ready in queues"), ("line s2", "held by dispatchers")];
    figures.extend(lines::backlog(time).map(|plot| figure("Backlog", legend(&keys), plot)));
    let processes = lines::processes(time);
    let mut keys = processes.iter().map(|(class, process)| (*class, &*process.name)).collect::<Vec<_>>();
    let memory = lines::memory(time).map(|plot| figure("Memory", legend(&keys), plot));
    if lines::knows_slots(time) {
        keys.push(("line slots", "slots in use"));
    }
    let title = "In use: share of all processors, and of slots";
    figures.extend(lines::utilisation(time).map(|plot| figure(title, legend(&keys), plot)));
    figures.extend(memory);
    let words = "Vertical lines are phases, numbered bands are faults.";
    section("Over time", words, figures.into_iter().chain(tables::faults(time.faults())))
}

fn place(environment: &Environment, version: &str) -> Element {
    section("What it ran on", "", [tables::environment(environment, version)])
}
