//! What metrics cost: a scrape of 5,000 series, and the events of one task. Prints figures and judges none.
//!
//! `cargo bench -p quebert-metrics`; `docs/performance.md` has figures.

#![expect(clippy::print_stdout, reason = "figures are what this program is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_dispatcher::{
    backoff::RetryPolicy,
    config::LaneConfig,
    event::{Event, Settlement},
    ports::{
        broker::{Opening, Tag},
        observer::Observer,
    },
    trace::TraceParent,
    verdict::StatusRules,
};
use quebert_metrics::{Format, Health, Metrics};
use quebert_wire::{Destination, TaskId, Timestamp};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

/// CPU time of the whole dispatcher for one task at full load, by `docs/performance.md` (0.185 s for 10,000).
const TASK_NANOS: f64 = 18_500.0;

fn lane(name: &str) -> LaneConfig {
    LaneConfig {
        name: name.into(),
        queue: name.into(),
        priority: 1,
        weight: 1,
        slots_own: 0,
        slots_max: 64,
        window: 128,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        retry: RetryPolicy::default(),
        status: StatusRules::default(),
    }
}

/// What the core tells of a task that is delivered, sent and done.
fn life(lane: &Arc<str>, destination: &Destination, trace: bool) -> Vec<Event> {
    let (lane, destination) = (lane.clone(), destination.clone());
    let task = TaskId::new("01980000-0000-7000-8000-000000000000").unwrap();
    let trace = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .map(|parent| parent.trace)
        .filter(|_| trace);
    let held = |in_flight, buffered| Event::Held { lane: lane.clone(), in_flight, buffered };
    let flying = |in_flight| Event::DestinationInFlight { destination: destination.clone(), in_flight, limit: 64 };
    // Another copy of the name, as the one that a task's URL makes.
    let parsed: Destination = destination.as_str().parse().unwrap();
    let (wait, age) = (Duration::from_millis(3), Duration::from_millis(9));
    let at = Timestamp::from_millis(1_800_000_000_000);
    vec![
        Event::Delivered { lane: lane.clone(), tag: Tag { opening: Opening(1), seq: 1 }, redelivered: false },
        flying(1),
        Event::Waited { lane: lane.clone(), task: task.clone(), trace, wait, skewed: false, at },
        Event::AttemptStarted {
            lane: lane.clone(),
            task: task.clone(),
            number: 1,
            destination: parsed.clone(),
            body_bytes: 300,
            at,
            trace,
        },
        held(1, 0),
        Event::AttemptEnded {
            lane: lane.clone(),
            task: task.clone(),
            number: 1,
            destination: parsed,
            class: "2xx",
            status: Some(200),
            detail: None,
            duration: Duration::from_millis(2),
            trace,
        },
        flying(0),
        Event::Settled {
            lane: lane.clone(),
            result: Settlement::Succeeded,
            task: Some(task),
            attempts: 1,
            age: Some(age),
            trace,
        },
        held(0, 0),
    ]
}

/// The median of many runs, in nanoseconds.
fn median(runs: usize, mut run: impl FnMut()) -> f64 {
    let mut took: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

fn main() {
    let lanes: Vec<LaneConfig> = (0..10).map(|n| lane(&format!("lane-{n}"))).collect();
    let destinations: Vec<Destination> =
        (0..50).map(|n| format!("https://executor-{n}.example.com").parse().unwrap()).collect();
    let health = Arc::new(Health::new(lanes.iter().map(|l| l.name.clone())));
    let metrics = Metrics::new(&lanes, 100, health, Timestamp::default());
    let mut lives = Vec::new();
    for (n, destination) in destinations.iter().enumerate() {
        for lane in [&lanes[n % 10], &lanes[(n + 1) % 10]] {
            lives.push(life(&lane.name, destination, n % 2 == 0));
        }
    }
    let record = || lives.iter().flatten().for_each(|event| metrics.observe(black_box(event)));
    record();

    let classic = metrics.text(Format::Classic);
    let series = classic.lines().filter(|line| !line.starts_with('#')).count();
    println!("series: {series}, {} KiB", classic.len() / 1024);
    for (name, format) in [("classic", Format::Classic), ("OpenMetrics", Format::OpenMetrics)] {
        let nanos = median(50, || drop(black_box(metrics.text(format))));
        let thousands = nanos / 1e6 * 5000.0 / series as f64;
        println!("scrape, {name}: {:.2} ms; of 5,000 series: {thousands:.2} ms", nanos / 1e6);
    }

    let per_task = |nanos: f64, tasks: usize| nanos / tasks as f64;
    let spread = per_task(median(2000, record), lives.len());
    let one = life(&lanes[0].name, &destinations[0], true);
    let single =
        per_task(median(2000, || (0..100).for_each(|_| one.iter().for_each(|e| metrics.observe(black_box(e))))), 100);
    for (name, nanos) in [("10 lanes, 50 destinations", spread), ("one lane, one destination", single)] {
        let percent = nanos / TASK_NANOS * 100.0;
        println!("record, {name}: {nanos:.0} ns a task of {} events, {percent:.2} % of its CPU", one.len());
    }
}
