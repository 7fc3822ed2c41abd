//! Pages are parsed again: whatever a report holds, its page is well formed, refers to nothing outside, and every number that
//! is drawn is finite and on the plot. How it looks is for eyes.

mod compared;

use super::{super::tests::report, *};
use crate::{
    figures::Second,
    ledger::{FaultView, Finding},
    report::{
        Latency, PhaseView, ProcessView, SweepPoint, ThresholdView, junit, markdown, markdown_sweep, sweep_fixture,
    },
};
use roxmltree::{Document, Node, ParsingOptions};

const HOSTILE: &str = "\"><script>alert('&')</script></style>]]><!-- \0\u{1b}\u{ffff}";

fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap_or_else(|e| panic!("{e}\n{page}"))
}

fn attribute(node: Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

fn classed<'a, 'i>(page: &'a Document<'i>, name: &str, class: &str) -> Vec<Node<'a, 'i>> {
    let is_it = |node: &Node<'_, '_>| {
        node.has_tag_name(name) && node.attribute("class").is_some_and(|all| all.split(' ').any(|one| one == class))
    };
    page.descendants().filter(is_it).collect()
}

/// What every page must be.
#[track_caller]
fn check(page: &str) {
    let document = parse(page);
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        let foreign = ["script", "link", "img", "image", "iframe", "object", "embed", "use", "base", "form", "a"];
        assert!(!foreign.contains(&name), "<{name}> has no place on a page");
        for attribute in node.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            assert!(
                !matches!(key, "src" | "href" | "srcset" | "action" | "data") && !key.starts_with("on"),
                "{key}={value}"
            );
            let is_number =
                matches!(key, "x" | "y" | "x1" | "y1" | "x2" | "y2" | "cx" | "cy" | "r" | "width" | "height");
            assert!(
                !is_number || value.parse::<f64>().is_ok_and(|v| (0.0..=1000.0).contains(&v)),
                "{name} {key}={value}"
            );
            if key == "d" {
                let numbers = value.split(['M', 'L', 'Z', ' ']).filter(|number| !number.is_empty());
                assert!(numbers.clone().count() > 1, "{value}");
                let outside = |number: &str| !number.parse::<f64>().is_ok_and(|v| (0.0..=1000.0).contains(&v));
                assert_eq!(numbers.clone().find(|number| outside(number)), None, "in {value}");
            }
        }
    }
    let style = document.descendants().find(|node| node.has_tag_name("style")).and_then(|node| node.text()).unwrap();
    assert!(!style.contains("url(") && !style.contains("@import") && style.contains("prefers-color-scheme: dark"));
    let told = document.descendants().filter(Node::is_text).filter_map(|node| node.text());
    for word in told.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(!word.starts_with("NaN") && !word.starts_with("inf") && !word.starts_with("-inf"), "{word}");
    }
}

/// A report that has everything.
fn full() -> Report {
    let mut report = report();
    let latency = |buckets: &[(u64, u64)]| {
        let summary = crate::figures::Hist::from_buckets(buckets).summary().unwrap();
        Latency { summary, buckets: buckets.to_vec() }
    };
    report.latency.insert("wait".into(), latency(&[(2_000, 900), (40_000, 90), (1_400_000, 10)]));
    report.latency.insert("wait_uncorrected".into(), latency(&[(2_000, 998), (1_400_000, 2)]));
    report.latency.insert("done".into(), latency(&[(20_000, 1_000)]));
    let second = |n: u32| Second {
        offered: 100 + n,
        confirmed: 100,
        attempts: 101,
        succeeded: 99,
        failed: 1,
        first: 100,
        wait_p50_us: 2_000,
        wait_p99_us: 40_000,
        wait_max_us: 1_400_000,
        heat: vec![0, 0, 0, 60, 0, 40],
        ready: (n != 3).then_some(5),
        held: Some(3),
        in_flight: Some(2),
        slots: Some(8),
        ..Second::default()
    };
    report.seconds = (0..10).map(second).collect();
    for process in &mut report.processes {
        process.looks_s = (1..10).map(f64::from).collect();
        process.cpu_by_s = vec![0.5; 8];
        process.rss_by_s = vec![40 << 20; 9];
    }
    report.verdict.faults = vec![
        FaultView { what: "dispatcher 1 was killed".into(), from_s: 4.0, until_s: 4.0 },
        FaultView { what: "outage".into(), from_s: 6.0, until_s: 8.0 },
    ];
    report.verdict.findings = vec![Finding { name: "lost".into(), found: 0.0, ok: true, note: "of 1000".into() }];
    let threshold = |text: &str, ok| ThresholdView { text: text.into(), found: Some(1.4), ok };
    report.thresholds = vec![threshold("wait.p99<500ms", false), threshold("done.p50<1s", true)];
    report
}

/// The same with names that want to get out, and figures that are none.
fn hostile() -> Report {
    let mut report = full();
    let bad = || HOSTILE.to_owned();
    report.profile.arrivals = bad();
    report.profile.mix = vec![bad()];
    report.environment.cpu = bad();
    report.queues[0].name = bad();
    report.phases[0].part.name = bad();
    report.phases.push(PhaseView { from_s: f64::NAN, until_s: f64::INFINITY, ..report.phases[0].clone() });
    report.phases[0].offered_per_s = f64::NAN;
    report.processes[0].name = bad();
    report.processes[0].cpu_s = f64::INFINITY;
    report.processes[0].looks_s[2] = f64::NAN;
    report.processes[1].cpu_by_s[0] = f64::NAN;
    report.bottlenecks[0].share = f64::NAN;
    report.verdict.findings.push(Finding { name: bad(), found: f64::NAN, ok: false, note: bad() });
    report.verdict.faults.push(FaultView { what: bad(), from_s: 2.0, until_s: f64::INFINITY });
    report.verdict.faults.push(FaultView { what: bad(), from_s: f64::NAN, until_s: 1.0 });
    report.thresholds.push(ThresholdView { text: bad(), found: Some(f64::NAN), ok: false });
    report.validity.warnings.push(bad());
    report.validity.reasons.push(bad());
    report.throughput.done_per_s = f64::NAN;
    report.plan_s = f64::NAN;
    report.started_at_ms = i64::MAX;
    report
        .latency
        .insert("done".into(), Latency { buckets: vec![(u64::MAX, u64::MAX / 4)], ..report.latency["done"].clone() });
    report.latency.insert(bad(), report.latency["wait"].clone());
    report.seconds[1] =
        Second { offered: u32::MAX, heat: vec![u32::MAX; 60], ready: Some(u64::MAX), ..Second::default() };
    report
}

/// The same with nothing measured at all.
fn empty() -> Report {
    let mut report = report();
    report.latency.clear();
    report.queues.clear();
    report.phases.clear();
    report.seconds.clear();
    report.processes.clear();
    report.bottlenecks.clear();
    report
}

fn sweep() -> Sweep {
    let point = |series: &str, rate: f64, p99_us, ok| SweepPoint {
        series: series.into(),
        offered_per_s: rate,
        achieved_per_s: rate.min(400.0),
        p99_us,
        p99_low_us: Some(p99_us / 2),
        p99_high_us: Some(p99_us * 2),
        utilisation: Some(rate / 500.0),
        ok,
        valid: true,
        ..SweepPoint::default()
    };
    let points = vec![
        point("slots=8", 400.0, 900_000, false),
        point("slots=8", 100.0, 10_000, true),
        point("slots=16", 100.0, 9_000, true),
    ];
    Sweep { points, scaling: Vec::new(), ..sweep_fixture() }
}

#[test]
fn every_page_is_well_formed_and_needs_nothing_from_outside() {
    [report(), full(), hostile(), empty()].iter().for_each(|report| check(&html(report)));
    check(&html_sweep(&sweep()));
    check(&html_sweep(&sweep_fixture()));
    check(&html_sweep(&Sweep { points: Vec::new(), ..sweep() }));
    let mut sweep = sweep();
    sweep.points[0] = SweepPoint {
        offered_per_s: f64::NAN,
        utilisation: Some(f64::NAN),
        p99_us: u64::MAX,
        ..sweep.points[0].clone()
    };
    sweep.points[1].series = HOSTILE.into();
    sweep.demands.push(HOSTILE.into());
    sweep.notes.push(HOSTILE.into());
    check(&html_sweep(&sweep));
}

#[test]
fn a_hostile_name_is_shown_as_text() {
    let page = html(&hostile());
    let document = parse(&page);
    let shown = document.descendants().filter(|node| node.text().is_some_and(|text| text.contains("<script>alert")));
    assert!(shown.count() > 10);
}

#[test]
fn a_long_run_is_made_few_columns_that_lose_nothing() {
    let mut report = full();
    report.seconds = report.seconds.iter().cycle().take(7_205).cloned().collect();
    let time = Time::new(&report).unwrap();
    assert!(time.columns.len() <= 300 && time.end_s == 7_205.0, "{}", time.columns.len());
    let heat = |seconds: &mut dyn Iterator<Item = &Second>| seconds.map(|second| second.heat[3]).sum::<u32>();
    assert_eq!(heat(&mut time.columns.iter().map(|column| &column.sum)), heat(&mut report.seconds.iter()));
    let page = html(&report);
    check(&page);
    assert!(page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn demands_faults_and_corrected_beside_uncorrected_are_drawn() {
    let page = html(&full());
    let document = parse(&page);
    let slo = classed(&document, "line", "slo");
    assert_eq!(slo.iter().map(|line| line.attribute("class").unwrap()).collect::<Vec<_>>(), ["slo missed", "slo"]);
    // 500 ms lie below 1 s, that is further down.
    assert!(attribute(slo[0], "y1") > attribute(slo[1], "y1"));
    let dashed = classed(&document, "path", "dashed").into_iter().map(|path| path.attribute("class").unwrap());
    assert_eq!(dashed.collect::<Vec<_>>(), ["line s1 dashed", "line s1 dashed faint", "line s3 dashed"]);
    let heat = classed(&document, "rect", "cell");
    assert_eq!(heat.len(), 20, "two cells in each of ten seconds");
    let (slow, fast) = (heat[1], heat[0]);
    let of = |name: &str| (attribute(fast, name), attribute(slow, name));
    // Each has the same room, the longer wait stands above, and the more tasks are the darker.
    assert!((of("height").0 - of("height").1).abs() < 0.5 && of("height").0 > 5.0, "{:?}", of("height"));
    assert!(of("y").0 > of("y").1 + of("height").1, "{:?}", of("y"));
    assert!(of("fill-opacity").0 > of("fill-opacity").1, "{:?}", of("fill-opacity"));
    let bands = classed(&document, "rect", "fault");
    let widths = bands[..2].iter().map(|band| attribute(*band, "width")).collect::<Vec<_>>();
    let second = attribute(heat[0], "width");
    assert!((widths[0] - 1.5).abs() < 0.02 && (widths[1] - 2.0 * second).abs() < 0.05, "{widths:?} {second}");
    // The second without an answer interrupts the backlog's line.
    let lines = classed(&document, "path", "s1");
    assert!(lines.iter().any(|path| path.attribute("d").unwrap().matches('M').count() == 2));
}

#[test]
fn a_page_of_an_older_report_leaves_out_what_that_did_not_know() {
    let mut report = full();
    report.seconds.iter_mut().for_each(|second| (second.in_flight, second.slots) = (None, None));
    report.processes.iter_mut().for_each(|process: &mut ProcessView| process.looks_s.clear());
    let page = html(&report);
    check(&page);
    assert!(!page.contains("slots in use") && !page.contains("Memory over time"));
    assert!(html(&full()).contains("slots in use") && html(&full()).contains("Memory over time"));
}

#[test]
fn a_sweep_shows_each_point_in_each_plot_by_series_and_rate() {
    let page = html_sweep(&sweep());
    let document = parse(&page);
    assert_eq!(classed(&document, "circle", "mark").len(), 9);
    assert_eq!(classed(&document, "circle", "missed").len(), 3);
    assert_eq!((classed(&document, "line", "whisker").len(), classed(&document, "line", "slo").len()), (3, 1));
    let first = classed(&document, "path", "s1")[0].attribute("d").unwrap();
    let x = first[1..].split(['L', ' ']).step_by(2).map(|x| x.parse::<f64>().unwrap()).collect::<Vec<_>>();
    assert!(x.len() == 2 && x[0] < x[1], "{first}");
}

#[test]
fn a_sweep_over_slots_shows_how_it_grows_with_a_band_and_what_is_beyond_dashed() {
    let mut sweep = sweep_fixture();
    let page = html_sweep(&sweep);
    check(&page);
    let document = parse(&page);
    // The law beyond what was measured; and of six series the last one in each of three plots, in the first one's colour.
    let dashed =
        classed(&document, "path", "dashed").iter().filter_map(|path| path.attribute("class")).collect::<Vec<_>>();
    assert_eq!((classed(&document, "path", "band").len(), dashed), (1, vec!["line s1 dashed"; 4]));
    let names = classed(&document, "text", "name").iter().filter_map(Node::text).collect::<Vec<_>>();
    assert!(
        names.contains(&"largest measured") && names.iter().any(|name| name.starts_with("most at 31")),
        "{names:?}"
    );
    assert!(page.contains("α, contention") && markdown_sweep(&sweep).contains("## Sweep"));
    // A band without end stays on the plot, and without a law there is a reason.
    for place in &mut sweep.scaling[0].law.as_mut().unwrap().curve {
        place.per_s.high = f64::INFINITY;
        place.per_s.low = f64::NAN;
    }
    check(&html_sweep(&sweep));
    sweep.scaling[0].law = None;
    sweep.scaling[0].note = HOSTILE.into();
    let page = html_sweep(&sweep);
    check(&page);
    assert!(classed(&parse(&page), "path", "band").is_empty());
}

#[test]
fn a_point_at_which_nothing_was_measured_has_no_percentile() {
    let mut sweep = sweep();
    sweep.points.push(SweepPoint { offered_per_s: 200.0, ..SweepPoint::default() });
    let page = html_sweep(&sweep);
    check(&page);
    // In the plot of rates alone: of this point it is known that nothing was achieved.
    assert_eq!(classed(&parse(&page), "circle", "void").len(), 1);
    assert!(!page.contains(">1 us<"), "the axis does not reach down to it");
}

#[test]
fn every_broken_promise_is_a_failed_case_of_junit() {
    let count = |report: &Report, name: &str| {
        let text = junit(report);
        let document = Document::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        let found = document.descendants().filter(|node| node.has_tag_name(name)).count();
        let told = suite.attribute(if name == "failure" { "failures" } else { "tests" }).unwrap();
        assert_eq!(told, found.to_string());
        found
    };
    assert_eq!((count(&full(), "testcase"), count(&full(), "failure")), (4, 1));
    let mut broken = full();
    broken.validity.valid = false;
    broken.verdict.findings[0].ok = false;
    assert_eq!((count(&broken, "testcase"), count(&broken, "failure")), (4, 3));
    // The control characters are not in it any more, or it could not be read.
    count(&hostile(), "failure");
}

#[test]
fn an_invalid_run_and_its_reasons_are_told() {
    let mut report = full();
    report.validity.valid = false;
    report.validity.reasons.push("the tester was late".into());
    report.exit_code = report.exit();
    let page = html(&report);
    assert!(page.contains("the run is invalid") && page.contains("<li>the tester was late</li>"));
    assert!(markdown(&report).contains("**Invalid:** the tester was late"));
}
