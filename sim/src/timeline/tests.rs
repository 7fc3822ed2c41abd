//! What the page is told, from histories written by hand; and that a browser can show it, where there is one.

use super::{
    data::{Arrow, Run},
    *,
};
use crate::{
    case::{Exec, Fault, FaultKind, scenario, work::Reply},
    history::{CopyNo, Entry, What},
    host::Host,
    judge::{Oracle, Violation},
    net::{Down, Ran},
};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::broker::{Opening, Source, Tag, Target},
};
use quebert_wire::{Destination, TaskId, Timestamp};
use std::{process::Command, time::Duration};

const PRODUCER: Host = Host::Producer(1);
const BROKER: Host = Host::Broker(1);
const DISPATCHER: Host = Host::Dispatcher(1);
const EXECUTOR: Host = Host::Executor(1);

fn at(ms: u64, host: Host, what: What) -> Entry {
    Entry { at: Duration::from_millis(ms), host, what }
}

fn id(task: TaskNo) -> TaskId {
    task.to_string().parse().expect("an id")
}

fn destination() -> Destination {
    "http://executor-1/tasks".parse().expect("a URL with an origin")
}

fn stored(task: TaskNo) -> What {
    let target = Target::Queue("high".into());
    What::Stored { copy: CopyNo(task.0.into()), target, task: Some(task), by: PRODUCER, attempts: 0 }
}

fn started(task: TaskNo) -> What {
    What::Event(Event::AttemptStarted {
        lane: "high".into(),
        task: id(task),
        number: 1,
        destination: destination(),
        body_bytes: 9,
        at: Timestamp::from_millis(0),
        trace: None,
    })
}

fn request(task: TaskNo) -> What {
    let delivery = "1".into();
    let exec = Exec { after_ms: 0, reply: Reply::Status(200) };
    What::Request { task, attempt: 1, delivery, request: task.0.into(), redelivered: false, intact: true, exec }
}

/// A task's whole life, a step each 2 ms from `ms` on.
fn life(ms: u64, task: TaskNo) -> Vec<Entry> {
    let copy = CopyNo(task.0.into());
    let tag = Tag { opening: Opening(1), seq: 1 };
    let source = Source::Queue("high".into());
    let ended = Event::AttemptEnded {
        lane: "high".into(),
        task: id(task),
        number: 1,
        destination: destination(),
        class: "2xx",
        status: Some(200),
        detail: None,
        duration: Duration::from_millis(6),
        trace: None,
    };
    let settled = Event::Settled {
        lane: "high".into(),
        result: Settlement::Succeeded,
        task: Some(id(task)),
        attempts: 1,
        age: None,
        trace: None,
    };
    let steps = [
        (PRODUCER, What::Offered { task, n: 1 }),
        (BROKER, stored(task)),
        (BROKER, What::Answered { copy: Some(copy), to: PRODUCER, how: "ack" }),
        (PRODUCER, What::Confirmed { task }),
        (BROKER, What::Delivered { copy, tag, source, to: DISPATCHER, redelivered: false }),
        (DISPATCHER, What::Event(Event::Delivered { lane: "high".into(), tag, redelivered: false })),
        (DISPATCHER, started(task)),
        (EXECUTOR, request(task)),
        (EXECUTOR, What::Reply { request: task.0.into(), status: Some(200) }),
        (DISPATCHER, What::Event(ended)),
        (DISPATCHER, What::Event(settled)),
        (BROKER, What::Acked { copy, by: DISPATCHER }),
    ];
    (0..).zip(steps).map(|(n, (host, what))| at(ms + 2 * n, host, what)).collect()
}

/// Only the broker is in none of the ways of tests: its numbers do not matter here.
fn case() -> Case {
    let mut case = scenario::named("quiet").map(|scenario| (scenario.case)()).expect("it is there");
    case.name = "a <b>case</b> & </script><script>alert(1)</script>".to_owned();
    case.tasks.truncate(3);
    case
}

fn report(entries: Vec<Entry>) -> Report {
    Report { entries, ran: Ran::default(), violations: Vec::new(), settled_at: None }
}

fn run(case: &Case, entries: Vec<Entry>) -> Run {
    Run::new(case, Kind::Fast, &report(entries), None)
}

fn place(case: &Case, host: Host) -> usize {
    let world = &case.world;
    let before = |roles: &[u8]| roles.iter().map(|n| usize::from(*n)).sum::<usize>();
    match host {
        Host::Producer(n) => usize::from(n) - 1,
        Host::Broker(n) => before(&[world.producers]) + usize::from(n) - 1,
        Host::Dispatcher(n) => before(&[world.producers, world.broker.nodes]) + usize::from(n) - 1,
        Host::Executor(n) => before(&[world.producers, world.broker.nodes, world.dispatchers]) + usize::from(n) - 1,
    }
}

#[test]
fn each_message_of_a_task_is_an_arrow_with_both_its_ends() {
    let case = case();
    let run = run(&case, life(0, case.tasks[1].no));
    let arrow = |kind, from, to, sent: u64, came: u64| Arrow {
        task: 1,
        kind,
        from: place(&case, from),
        to: place(&case, to),
        sent: sent * 1000,
        came: Some(came * 1000),
    };
    let expect = [
        arrow("publish", PRODUCER, BROKER, 0, 2),
        arrow("confirm", BROKER, PRODUCER, 4, 6),
        arrow("deliver", BROKER, DISPATCHER, 8, 10),
        arrow("request", DISPATCHER, EXECUTOR, 12, 14),
        arrow("reply", EXECUTOR, DISPATCHER, 16, 18),
        arrow("ack", DISPATCHER, BROKER, 20, 22),
    ];
    assert_eq!(run.arrows, expect);
    let bars: Vec<_> = run.bars.iter().map(|bar| (bar.host, bar.from, bar.to, bar.class)).collect();
    let (dispatcher, executor) = (place(&case, DISPATCHER), place(&case, EXECUTOR));
    assert_eq!(bars, [(dispatcher, 12_000, 18_000, "ok"), (executor, 14_000, 16_000, "ok")]);
    assert_eq!((run.copies[0].to, &run.copies[0].held), (Some(22_000), &vec![(8_000, Some(22_000))]));
}

#[test]
fn what_a_host_was_doing_when_it_went_down_is_lost() {
    let case = case();
    let task = case.tasks[0].no;
    let mut entries = life(0, task);
    entries.truncate(7);
    entries.push(at(13, DISPATCHER, What::Down));
    let run = run(&case, entries);
    let request = run.arrows.last().expect("it was sent");
    assert_eq!((request.kind, request.came), ("request", None));
    let bars: Vec<_> = run.bars.iter().map(|bar| (bar.from, bar.to, bar.class)).collect();
    assert_eq!(bars, [(12_000, 13_000, "lost")]);
}

#[test]
fn bars_that_overlap_have_slots_of_their_own() {
    let case = case();
    let mut entries: Vec<_> = case.tasks.iter().zip(0..).flat_map(|(task, n)| life(2 * n, task.no)).collect();
    entries.sort_by_key(|entry| entry.at);
    let run = run(&case, entries);
    for (n, one) in run.bars.iter().enumerate() {
        for other in &run.bars[n + 1..] {
            let overlap = one.host == other.host && one.from < other.to && other.from < one.to;
            assert!(!overlap || one.slot != other.slot, "{one:?} {other:?}");
        }
    }
    assert!(run.bars.iter().any(|bar| bar.slot > 0));
}

/// A page with something of everything.
fn full() -> String {
    let mut case = case();
    let kind = FaultKind::Down { host: DISPATCHER, how: Down::Kill };
    case.faults = vec![Fault { at_ms: 100, for_ms: 50, kind }];
    let mut entries = life(0, case.tasks[0].no);
    entries.push(at(100, DISPATCHER, What::Fault { index: 0, begins: true }));
    entries.push(at(100, DISPATCHER, What::Down));
    entries.push(at(150, DISPATCHER, What::Started));
    entries.push(at(150, DISPATCHER, What::Fault { index: 0, begins: false }));
    entries.push(at(160, BROKER, What::Healed));
    entries.extend(life(200, case.tasks[1].no));
    let mut report = report(entries);
    let detail = "</script><img src=x onerror=alert(1)>".to_owned();
    let task = Some(case.tasks[1].no);
    report.violations = vec![Violation { oracle: Oracle::NeverLate, task, at: Duration::from_millis(212), detail }];
    page(&case, Kind::Fast, &report, task)
}

#[test]
fn nothing_that_a_run_says_leaves_its_place() {
    let page = full();
    assert_eq!(page.matches("<script").count(), 2, "the data and the script");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(page.contains("<title>a &lt;b&gt;case&lt;/b&gt; &amp; "));
    assert!(!page.contains("<img"));
    assert!(!page.contains("{{"));
}

#[test]
fn the_page_fetches_nothing() {
    let own = [HTML, STYLE, SCRIPTS[0], SCRIPTS[1], SCRIPTS[2]].concat();
    for word in ["src=", "href=", "url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "//cdn"] {
        assert!(!own.contains(word), "{word}");
    }
    assert!(own.contains("default-src 'none'"));
}

#[test]
fn a_browser_shows_the_story_of_the_highlighted_task() {
    let chromium = ["chromium", "chromium-browser", "google-chrome"];
    let Some(chromium) = chromium.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok()) else {
        println!("not checked: no Chromium on this machine");
        return;
    };
    let folder = std::env::temp_dir().join(format!("quebert-sim-timeline-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("timeline.html");
    std::fs::write(&file, full()).unwrap();
    let shown = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .args(["--dump-dom", &format!("file://{}", file.display())])
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let dom = String::from_utf8_lossy(&shown.stdout);
    assert!(dom.contains("data-ready=\"yes\""), "{dom}\n{}", String::from_utf8_lossy(&shown.stderr));
    assert!(dom.contains("Story of t2: completed"), "{dom}");
    assert!(dom.contains("never-late: &lt;/script&gt;&lt;img"), "{dom}");
    assert!(dom.contains("1 broken promise"), "{dom}");
}
