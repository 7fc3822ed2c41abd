//! Simulated disasters before the real alerts: each is run in virtual time, its metrics become blocks of a Prometheus, and the
//! table says which alerts fire, for whom, how soon, and that no other does. How an alert reads is promtool's to test, in
//! the dashboards' own tests.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod evaluate;
mod prometheus;
mod table;

use evaluate::{Fired, Span, blocks, evaluate, needs};
use quebert_dashboards::{Bundle, Settings, rules::Rule};
use quebert_dispatcher::event::Event;
use quebert_sim::{
    case::{
        Case,
        disaster::{self, BEGINS_MS, ENDS_MS, HEALS_MS},
    },
    history::What,
    metrics::scrape_as,
    run::{Options, Setup, run},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};
use table::{BLIND, LEAK, Row, TABLE};

/// How much later than it happens the table may say that something happens, in minutes.
const SLACK: f64 = 2.0;

#[test]
fn each_disaster_sets_off_its_alerts_and_no_other() {
    let folder = Folder::new();
    let groups = Bundle::new(&Settings::default()).groups;
    let used = groups.iter().flat_map(|group| &group.rules).flat_map(needs).collect();
    let runs = disaster::ALL.iter().map(|known| (known.name, (known.case)(), false));
    let runs = Mutex::new(runs.chain([(LEAK, leak(), true)]));
    let exported = Mutex::new(BTreeSet::new());
    let work = || {
        loop {
            let Some((name, case, leaks)) = runs.lock().unwrap().next() else { return };
            let text = metrics(name, &case, leaks, &used);
            exported.lock().unwrap().extend(text.lines().filter_map(metric).map(str::to_owned));
            blocks(&folder.0, name, &text);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let fired = evaluate(&folder.0, &groups, HEALS_MS / 60_000);
    let faults = faults(&fired);
    assert!(faults.is_empty(), "{}\nwhat fired, in minutes of the run: {fired:#?}", faults.join("\n"));

    let exported = exported.into_inner().unwrap();
    let recorded = groups.iter().flat_map(|group| &group.rules).map(Rule::name).collect::<BTreeSet<_>>();
    let unseen = |name: &String| !exported.contains(name) && !recorded.contains(name.as_str());
    let alerts = groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.alert().is_some());
    let blind = alerts.filter(|rule| needs(rule).iter().any(unseen)).map(Rule::name).collect::<Vec<_>>();
    assert_eq!(blind, BLIND, "the simulation does not tell what these alerts look at");
}

#[test]
fn the_docs_have_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/observability.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(table::HEAD).expect("the docs have the table's head");
    let (_, after) = rest.split_once("\n\n").expect("something comes after the table");
    let made = format!("{before}{}\n{after}", table::markdown());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &made).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == made, "docs/observability.md is not what is made; run with UPDATE=1");
}

#[test]
fn every_row_is_of_a_disaster_that_there_is() {
    let known = disaster::ALL.iter().map(|known| known.name).chain([LEAK]).collect::<BTreeSet<_>>();
    let rows = TABLE.iter().map(|row| row.disaster).collect::<BTreeSet<_>>();
    assert_eq!(known.difference(&rows).copied().collect::<Vec<_>>(), ["disaster_none"]);
    assert_eq!(rows.difference(&known).count(), 0, "{rows:?}");
}

/// What rules need of a run's metrics. One that leaks counts all settlements but one in a thousand.
fn metrics(name: &str, case: &Case, leaks: bool, used: &BTreeSet<String>) -> String {
    let report = run(case, &Setup::default(), &Options::default());
    assert_eq!(report.violations, [], "{name}");
    let mut settled = 0_u32;
    let told = report.entries.iter().filter(|entry| {
        settled += u32::from(matches!(&entry.what, What::Event(Event::Settled { .. })));
        !(leaks && settled.is_multiple_of(1000) && matches!(&entry.what, What::Event(Event::Settled { .. })))
    });
    let mut text = Vec::new();
    scrape_as(&job(name), case, told).write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lines = text.lines().filter(|line| metric(line).is_some_and(|name| used.contains(name)));
    lines.map(|line| format!("{line}\n")).collect::<String>() + "# EOF\n"
}

/// Of a line of OpenMetrics that has a value.
fn metric(line: &str) -> Option<&str> {
    line.split_once('{').filter(|_| !line.starts_with('#')).map(|(name, _)| name)
}

/// All in one Prometheus, told apart by their jobs.
fn job(disaster: &str) -> String {
    format!("quebert-{disaster}")
}

/// Nothing goes wrong but the counting: one dispatcher, one lane, two tasks a second.
fn leak() -> Case {
    let mut case = (disaster::ALL[0].case)();
    case.world.dispatchers = 1;
    case.world.dispatcher.lanes.truncate(1);
    case.tasks.iter_mut().for_each(|task| task.lane = 0);
    case.stretched(Duration::from_millis(HEALS_MS), Some(2.0))
}

/// Where the table and what fired differ.
fn faults(fired: &Fired) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expected = BTreeSet::new();
    for row in TABLE {
        let of = fired.get(&job(row.disaster));
        let mut seen = Vec::new();
        for whose in row.whose {
            let key = (row.alert, (*whose).to_owned());
            match of.and_then(|of| of.get(&key)) {
                Some(spans) => seen.push(spans),
                None => faults.push(format!("{}: {} {whose} does not fire", row.disaster, row.alert)),
            }
            expected.insert((job(row.disaster), key));
        }
        faults.extend(untimely(row, &seen).map(|fault| format!("{}: {} {fault}", row.disaster, row.alert)));
    }
    for (job, alerts) in fired {
        let strangers = alerts.iter().filter(|(key, _)| !expected.contains(&(job.clone(), (*key).clone())));
        faults.extend(strangers.map(|((alert, whose), spans)| format!("{job}: {alert} {whose} fires: {spans:?}")));
    }
    faults
}

/// What is wrong with a row's times. They are bounds, but near ones. `seen` has the spans of each whom it is about.
fn untimely(row: &Row, seen: &[&Vec<Span>]) -> Option<String> {
    let (begins, ends) = if row.disaster == LEAK { (0.0, 0.0) } else { (minutes(BEGINS_MS), minutes(ENDS_MS)) };
    let firsts = seen.iter().filter_map(|spans| spans.first()).map(|(from, _)| from - begins).collect::<Vec<_>>();
    let earliest = firsts.iter().copied().fold(f64::INFINITY, f64::min);
    let latest = firsts.iter().copied().fold(0.0, f64::max);
    let last = seen.iter().filter_map(|spans| spans.last()).map(|(_, to)| to - ends).fold(f64::MIN, f64::max);
    let near = |value: f64, bound: u32| value <= f64::from(bound) && f64::from(bound) - value <= SLACK;
    let in_time = earliest > 0.0 && near(latest, row.within) && row.over.is_none_or(|bound| near(last, bound));
    (!in_time)
        .then(|| format!("fires {earliest} to {latest} min after the beginning, and until {last} min after the end"))
}

fn minutes(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64() / 60.0
}

/// A folder that is gone afterwards. With `QUEBERT_DISASTERS=folder` it is that one, and stays to be looked at.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("quebert-sim-disasters-{}", std::process::id());
        let path = std::env::var_os("QUEBERT_DISASTERS").map_or_else(|| std::env::temp_dir().join(name), PathBuf::from);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("QUEBERT_DISASTERS").is_none() {
            // What is left in the temporary folder is the system's to clear.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
