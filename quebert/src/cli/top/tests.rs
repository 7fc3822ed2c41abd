//! Pictures of what real metrics say, before and after some events.

use super::{figures::Figures, text::Samples, view};
use crate::{Config, health::Health, metrics::Metrics};
use insta::assert_snapshot;
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::{
        broker::{Depth, Opening, Tag},
        observer::Observer as _,
    },
    verdict::RetryReason,
};
use quebert_metrics::{Format, ProcessReading};
use quebert_wire::{TaskId, Timestamp};
use std::{sync::Arc, time::Duration};

const CONFIG: &str = "[lanes.mail]\nslots_max = 40\n[lanes.reports]\nslots_max = 4\n";

/// One attempt of a task of `mail`, from its delivery to its end.
fn attempt(metrics: &Metrics, host: &str, class: &'static str) {
    let (lane, task): (Arc<str>, _) = ("mail".into(), TaskId::new("t").unwrap());
    let (destination, at): (quebert_wire::Destination, _) = (host.parse().unwrap(), Timestamp::from_millis(0));
    let (wait, duration) = (Duration::from_millis(40), Duration::from_millis(200));
    let trace = None;
    let (result, status) = match class {
        "2xx" => (Settlement::Succeeded, 200),
        _ => (Settlement::Retried, 503),
    };
    let events = [
        Event::Delivered { lane: lane.clone(), tag: Tag { opening: Opening(1), seq: 1 }, redelivered: false },
        Event::DestinationInFlight { destination: destination.clone(), in_flight: 1, limit: 20 },
        Event::Waited { lane: lane.clone(), task: task.clone(), trace, wait, skewed: false, at },
        Event::AttemptStarted {
            lane: lane.clone(),
            task: task.clone(),
            number: 1,
            destination: destination.clone(),
            body_bytes: 10,
            at,
            trace,
        },
        Event::AttemptEnded {
            lane: lane.clone(),
            task: task.clone(),
            number: 1,
            destination,
            class,
            status: Some(status),
            detail: None,
            duration,
            trace,
        },
        Event::Settled { lane: lane.clone(), result, task: Some(task.clone()), attempts: 1, age: None, trace },
        Event::Held { lane: lane.clone(), in_flight: 3, buffered: 1 },
    ];
    events.iter().for_each(|event| metrics.observe(event));
    if class != "2xx" {
        let (reason, delay) = (RetryReason::ServerError, Duration::from_secs(1));
        metrics.observe(&Event::RetryScheduled { lane, task, reason, attempts: 1, delay, trace });
    }
}

fn samples(metrics: &Metrics) -> Samples {
    Samples::read(&metrics.text(Format::Classic))
}

/// What is shown of two seconds, in a terminal that wide.
fn picture(away: &[String], width: Option<usize>) -> String {
    let lanes = Config::from_toml(CONFIG).unwrap().core.lanes;
    let health = Arc::new(Health::new(lanes.iter().map(|lane| lane.name.clone())));
    let metrics = Metrics::new(&lanes, 10, health.clone(), Timestamp::from_millis(0));
    attempt(&metrics, "http://one.example", "2xx");
    metrics.process(&ProcessReading { cpu_seconds: 1.0, ..ProcessReading::default() });
    let before = samples(&metrics);

    health.observe(&Event::BrokerConnected);
    for lane in &lanes {
        health.observe(&Event::LaneOpen { lane: lane.name.clone(), open: true });
    }
    (0..30).for_each(|_| attempt(&metrics, "http://one.example", "2xx"));
    (0..5).for_each(|_| attempt(&metrics, "http://two.example", "5xx"));
    let silent = Event::DestinationTrusted { destination: "http://mute.example".parse().unwrap(), trusted: false };
    metrics.observe(&silent);
    let depth = |ready| Some(Depth { ready, consumers: 1 });
    metrics.head_age("mail", 120, Timestamp::from_millis(0));
    metrics.head_age("mail", 120, Timestamp::from_millis(75_000));
    metrics.depth("mail", depth(120), depth(7));
    let resident_bytes = 32.0 * 1_048_576.0;
    metrics.process(&ProcessReading { cpu_seconds: 1.5, resident_bytes, ..ProcessReading::default() });
    let now = samples(&metrics);
    let figures = Figures::of(&[(&before, &now)], Duration::from_secs(2));
    view::lines(&figures, away, width).unwrap().join("\n")
}

#[test]
fn queues_and_destinations_are_told_with_their_rates() {
    assert_snapshot!(picture(&[], None), @r"
    1 of 1 dispatchers ready, 0.25 cores, 32 MiB

    QUEUE    WAITING  OLDEST  IN/s  DONE/s  RETRIES/s  DEAD/s  SLOTS  WAIT p50   p99  DEAD LETTERS
    mail         120   1m15s  17.5    15.0        2.5       0   3/40      38ms  50ms             7
    reports        0       -     0       0          0       0    0/4         -     -             0

    DESTINATION             REQUESTS/s  ERRORS/s    p99  SLOTS  STATE
    http://mute.example:80           0         0      -    0/0  silent
    http://two.example:80          2.5       2.5  249ms   1/20  failing
    http://one.example:80         15.0         0  248ms   1/20
    ");
}

#[test]
fn those_that_do_not_answer_are_named_and_a_narrow_terminal_cuts_names() {
    assert_snapshot!(picture(&["http://h:1: refused\u{1b}[2J".to_owned()], Some(60)), @r"
    1 of 2 dispatchers ready, 0.25 cores, 32 MiB

    no answer: http://h:1: refused\u{1b}[2J
    QUEUE    WAITING  OLDEST  IN/s  DONE/s  RETRIES/s  DEAD/s  SLOTS  WAIT p50   p99  DEAD LETTERS
    mail         120   1m15s  17.5    15.0        2.5       0   3/40      38ms  50ms             7
    reports        0       -     0       0          0       0    0/4         -     -             0

    DESTINATION      REQUESTS/s  ERRORS/s    p99  SLOTS  STATE
    http://mute.ex…           0         0      -    0/0  silent
    http://two.exa…         2.5       2.5  249ms   1/20  failing
    http://one.exa…        15.0         0  248ms   1/20
    ");
}
