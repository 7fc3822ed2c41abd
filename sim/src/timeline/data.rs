//! What the page knows of a run, as plain data: times in microseconds of true time, hosts and tasks by their place in the
//! lists. It draws nothing; the page's script does.

use super::follow::Follow;
use crate::{
    case::{Case, FaultKind, TaskSpec},
    history::{Entry, TaskNo, What},
    host::Host,
    net::Kind,
    run::Report,
    trace::{self, words},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    title: String,
    about: String,
    world: &'static str,
    hash: String,
    /// The last thing that happened.
    end: u64,
    healed: Option<u64>,
    settled: Option<u64>,
    /// The place of the task that is highlighted first.
    task: Option<usize>,
    hosts: Vec<Row>,
    tasks: Vec<Task>,
    faults: Vec<Band>,
    violations: Vec<Broken>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) bars: Vec<Bar>,
    pub(super) copies: Vec<Copy>,
    /// How many messages wait at the broker, from each moment on.
    backlog: Vec<(u64, usize)>,
}

/// A host.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    role: &'static str,
    /// The most bars beside each other at one moment.
    slots: usize,
    /// When it was not running.
    down: Vec<(u64, u64)>,
}

/// A task, and its story.
#[derive(Debug, Serialize)]
pub(super) struct Task {
    id: String,
    /// What the case says of it.
    about: String,
    /// What became of it.
    fate: &'static str,
    attempts: u32,
    /// Each thing about it: when, at which host, what.
    story: Vec<(u64, usize, String)>,
}

/// A fault, from its beginning to its end.
#[derive(Debug, Serialize)]
pub(super) struct Band {
    index: usize,
    text: String,
    from: u64,
    to: u64,
    /// It only happens, at `from`.
    instant: bool,
    hosts: Vec<usize>,
}

/// A promise that was not kept.
#[derive(Debug, Serialize)]
pub(super) struct Broken {
    at: u64,
    oracle: &'static str,
    task: Option<usize>,
    detail: String,
}

/// A message on its way.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Arrow {
    pub(super) task: usize,
    /// `publish`, `confirm`, `deliver`, `request`, `reply` or `ack`.
    pub(super) kind: &'static str,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) sent: u64,
    /// `None` if it never came.
    pub(super) came: Option<u64>,
}

/// An attempt: at the dispatcher that makes it, or at the executor that works on it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bar {
    pub(super) task: usize,
    pub(super) host: usize,
    /// Its place among the host's bars of that moment.
    pub(super) slot: usize,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Which attempt.
    pub(super) n: u32,
    /// `ok`, `failed` (by an answer), `broken` (no answer), or `lost` (its host went down, or the run ended).
    pub(super) class: &'static str,
    /// In words.
    pub(super) text: String,
}

/// A message at the broker, for as long as it is there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Copy {
    pub(super) task: usize,
    pub(super) host: usize,
    pub(super) from: u64,
    pub(super) to: Option<u64>,
    /// In which queue.
    pub(super) queue: String,
    /// Delivered to nobody else meanwhile.
    pub(super) held: Vec<(u64, Option<u64>)>,
}

/// Hosts and tasks by their places.
pub(super) struct Places {
    pub(super) hosts: BTreeMap<Host, usize>,
    pub(super) tasks: BTreeMap<TaskNo, usize>,
}

/// In whole microseconds.
pub(super) fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

/// What the page is called.
pub(super) fn title(case: &Case) -> String {
    if case.name.is_empty() { format!("seed {}", case.seed) } else { format!("{} (seed {})", case.name, case.seed) }
}

impl Run {
    pub(super) fn new(case: &Case, kind: Kind, report: &Report, task: Option<TaskNo>) -> Self {
        let rows = hosts(case);
        let places = Places {
            hosts: rows.iter().enumerate().map(|(place, host)| (*host, place)).collect(),
            tasks: case.tasks.iter().enumerate().map(|(place, task)| (task.no, place)).collect(),
        };
        let entries = &report.entries;
        let end = entries.last().map_or(0, |entry| micros(entry.at)).max(1);
        let when = |found: fn(&What) -> bool| entries.iter().find(|e| found(&e.what)).map(|e| micros(e.at));
        let (followed, copies) = Follow::new(case, &places).through(entries, end);
        let (copies, backlog) = copies.into_parts();
        Self {
            title: title(case),
            // The title has the name.
            about: words::summary(&Case { name: String::new(), ..case.clone() }),
            world: match kind {
                Kind::Fast => "fast",
                Kind::Turmoil => "turmoil",
            },
            hash: trace::case_hash(case),
            end,
            healed: when(|what| matches!(what, What::Healed)),
            settled: report.settled_at.map(micros),
            task: task.and_then(|task| places.tasks.get(&task).copied()),
            hosts: rows.iter().enumerate().map(|(n, host)| row(*host, followed.slots[n], entries, end)).collect(),
            tasks: tasks(case, &places, entries),
            faults: faults(case, &places, entries, end),
            violations: violations(report, &places),
            arrows: followed.arrows,
            bars: followed.bars,
            copies,
            backlog,
        }
    }
}

/// From top to bottom, as tasks go.
fn hosts(case: &Case) -> Vec<Host> {
    let world = &case.world;
    let mut hosts: Vec<_> = (1..=world.producers).map(Host::Producer).collect();
    hosts.extend((1..=world.broker.nodes).map(Host::Broker));
    hosts.extend((1..=world.dispatchers).map(Host::Dispatcher));
    hosts.extend((1..=world.executors).map(Host::Executor));
    hosts
}

fn row(host: Host, slots: usize, entries: &[Entry], end: u64) -> Row {
    let mut down = Vec::new();
    let mut since = None;
    for entry in entries.iter().filter(|entry| entry.host == host) {
        match entry.what {
            What::Down => since = Some(micros(entry.at)),
            What::Started => down.extend(since.take().map(|since| (since, micros(entry.at)))),
            _ => {}
        }
    }
    down.extend(since.map(|since| (since, end)));
    let role = match host {
        Host::Broker(_) => "broker",
        Host::Dispatcher(_) => "dispatcher",
        Host::Executor(_) => "executor",
        Host::Producer(_) => "producer",
    };
    Row { name: host.to_string(), role, slots, down }
}

fn tasks(case: &Case, places: &Places, entries: &[Entry]) -> Vec<Task> {
    let mut tasks: Vec<_> = case.tasks.iter().map(|spec| Task::new(case, spec)).collect();
    let mut about = trace::About::default();
    for entry in entries {
        let task = about.next(entry).and_then(|task| places.tasks.get(&task));
        if let (Some(task), Some(host)) = (task, places.hosts.get(&entry.host)) {
            tasks[*task].take(entry, *host);
        }
    }
    tasks
}

impl Task {
    fn new(case: &Case, spec: &TaskSpec) -> Self {
        let about = words::task(case, spec);
        Self { id: spec.no.to_string(), about, fate: "not confirmed", attempts: 0, story: Vec::new() }
    }

    fn take(&mut self, entry: &Entry, host: usize) {
        let mut line = String::new();
        trace::line(entry, &mut line);
        // Time and host stand in columns of their own.
        let text = line.split_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        self.story.push((micros(entry.at), host, text));
        if let Some(fate) = super::follow::fate(&entry.what) {
            self.fate = fate;
        }
        if let What::Event(quebert_dispatcher::event::Event::AttemptStarted { .. }) = entry.what {
            self.attempts += 1;
        }
    }
}

fn faults(case: &Case, places: &Places, entries: &[Entry], end: u64) -> Vec<Band> {
    let mut bands: BTreeMap<usize, Band> = BTreeMap::new();
    for entry in entries {
        let What::Fault { index, begins } = entry.what else { continue };
        let (Some(fault), at) = (case.faults.get(index), micros(entry.at)) else { continue };
        if begins {
            let text = words::fault_kind(case, &fault.kind);
            let hosts = touched(&fault.kind, places);
            let instant = !fault.kind.lasts();
            bands.insert(index, Band { index, text, from: at, to: if instant { at } else { end }, instant, hosts });
        } else if let Some(band) = bands.get_mut(&index).filter(|band| !band.instant) {
            band.to = at;
        }
    }
    bands.into_values().collect()
}

/// The rows that a fault is about: those that it names, or the broker's.
fn touched(kind: &FaultKind, places: &Places) -> Vec<usize> {
    let named = kind.named_hosts();
    let broker = places.hosts.keys().filter(|host| matches!(host, Host::Broker(_))).copied();
    let hosts = if named.is_empty() { broker.collect() } else { named };
    hosts.iter().filter_map(|host| places.hosts.get(host).copied()).collect()
}

fn violations(report: &Report, places: &Places) -> Vec<Broken> {
    let broken = report.violations.iter().map(|violation| Broken {
        at: micros(violation.at),
        oracle: violation.oracle.name(),
        task: violation.task.and_then(|task| places.tasks.get(&task).copied()),
        detail: violation.detail.clone(),
    });
    broken.collect()
}
