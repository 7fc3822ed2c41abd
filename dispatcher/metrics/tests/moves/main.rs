//! Every metric of the list moves by what it should when a dispatcher is driven. A metric without such a test fails here.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]
#![expect(clippy::disallowed_methods, reason = "each test's runtime ends with it, and its tasks with that")]

mod bench;

use bench::{Bench, START, config, read};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{BrokerEvent, PublishError},
};
use quebert_metrics::{ProcessReading, RuntimeReading, Waiting, list::METRICS};
use quebert_wire::Message;
use std::{collections::BTreeSet, time::Duration};

/// What a series does.
enum Then {
    /// Changes by this; a series that was not there counts as 0.
    By(f64),
    /// Is this in the end.
    At(f64),
}
use Then::{At, By};

type Drive = for<'a> fn(&'a Bench) -> BoxFuture<'a, ()>;

/// One metric, what is done, and what becomes of some of its series, each named by what follows the metric's name.
struct Move(&'static str, Drive, &'static [(&'static str, Then)]);

macro_rules! drive {
    (|$bench:ident| $what:expr) => {
        |$bench| Box::pin(async move { $what })
    };
}

const SUCCEED: Drive = drive!(|b| b.task(r#"{"id":"t","url":"http://host/200"}"#, 100).await);
const TAKE_1500_MS: Drive = drive!(|b| b.task(r#"{"id":"t","url":"http://host/200/1500"}"#, 5000).await);
const FAIL_ONCE: Drive = drive!(|b| b.task(r#"{"id":"t","url":"http://host/then/503/200"}"#, 5000).await);
const HANG: Drive = drive!(|b| b.task(r#"{"id":"t","url":"http://host/200/20000"}"#, 100).await);
const DELAY: Drive = drive!(|b| b.task(r#"{"id":"t","url":"http://host/200","delay_ms":500}"#, 1000).await);
const SPOIL: Drive = drive!(|b| {
    b.message(Message { body: "no envelope".into(), ..Message::default() }, 1000).await;
    b.look().await;
});
const DISCONNECT: Drive = drive!(|b| {
    b.broker.say(BrokerEvent::Disconnected { reason: "io", detail: "broken pipe".into() }).await;
});
/// Nothing but the start, which has been.
const NOTHING: Drive = drive!(|_b| ());
/// What the program reads of itself.
const TELL_PROCESS: Drive = drive!(|b| b.metrics.process(&ProcessReading {
    cpu_seconds: 1.5,
    resident_bytes: 2.0,
    virtual_bytes: 3.0,
    open_fds: 4.0,
    max_fds: 5.0,
    threads: 6.0,
    start_seconds: 7.0,
}));
const TELL_RUNTIME: Drive = drive!(|b| {
    let busy = vec![Duration::from_secs(3), Duration::from_secs(4)];
    b.metrics.runtime(&RuntimeReading { alive_tasks: 9, busy });
});
/// What only the embedded broker tells.
const TELL_WAITING: Drive = drive!(|b| {
    let head_age = Duration::from_secs(12);
    b.metrics.waiting("a", &Waiting { delayed: Some(3), bytes: Some(400), head_age });
});

const MOVES: &[Move] = &[
    Move("quebert_deliveries_total", SUCCEED, &[(r#"{queue="a",redelivered="false"}"#, By(1.0))]),
    Move(
        "quebert_deliveries_total",
        drive!(|b| {
            HANG(b).await;
            b.broker.cut();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }),
        &[(r#"{queue="a",redelivered="false"}"#, By(1.0)), (r#"{queue="a",redelivered="true"}"#, By(1.0))],
    ),
    Move(
        "quebert_settlements_total",
        FAIL_ONCE,
        &[(r#"{queue="a",result="succeeded"}"#, By(1.0)), (r#"{queue="a",result="retried"}"#, By(0.0))],
    ),
    Move("quebert_settlements_total", SPOIL, &[(r#"{queue="a",result="dead_lettered"}"#, By(1.0))]),
    Move(
        "quebert_dispatch_attempts_total",
        FAIL_ONCE,
        &[
            (r#"{destination="http://host:80",outcome="5xx",queue="a"}"#, By(1.0)),
            (r#"{destination="http://host:80",outcome="2xx",queue="a"}"#, By(1.0)),
            (r#"{destination="http://host:80",outcome="dns",queue="a"}"#, At(0.0)),
        ],
    ),
    Move("quebert_retries_scheduled_total", FAIL_ONCE, &[(r#"{queue="a",reason="5xx"}"#, By(1.0))]),
    Move("quebert_dead_lettered_total", SPOIL, &[(r#"{queue="a",reason="undecodable"}"#, By(1.0))]),
    Move(
        "quebert_tasks_expired_total",
        drive!(|b| b.task(r#"{"id":"t","url":"http://host/200/9000","ttl_ms":2000}"#, 3000).await),
        &[(r#"{queue="a",stage="in_flight"}"#, By(1.0))],
    ),
    Move(
        "quebert_unknown_fields_total",
        drive!(|b| b.task(r#"{"url":"http://host/200","no_such_field":1}"#, 100).await),
        &[(r#"{queue="a"}"#, By(1.0))],
    ),
    Move(
        "quebert_clock_skew_total",
        drive!(|b| {
            b.task(r#"{"url":"http://host/200","created_at":"2027-01-15T08:00:09Z"}"#, 100).await;
        }),
        &[(r#"{queue="a"}"#, By(1.0))],
    ),
    Move(
        "quebert_publish_confirms_total",
        drive!(|b| {
            b.broker.fail_next(PublishError::Refused("full".into()));
            SPOIL(b).await;
        }),
        &[(r#"{purpose="dead_letter",result="nack"}"#, By(1.0)), (r#"{purpose="dead_letter",result="ack"}"#, By(1.0))],
    ),
    Move("quebert_publish_confirm_duration_seconds", SPOIL, &[(r#"_count{purpose="dead_letter"}"#, By(1.0))]),
    Move("quebert_broker_reconnects_total", DISCONNECT, &[(r#"{reason="io"}"#, By(1.0))]),
    Move(
        "quebert_hook_errors_total",
        drive!(|b| b.task(r#"{"url":"http://host/200","labels":{"do":"hang"}}"#, 5500).await),
        &[(r#"{hook="labelled",phase="before"}"#, By(1.0))],
    ),
    Move(
        "quebert_hook_duration_seconds",
        drive!(|b| b.task(r#"{"url":"http://host/200","labels":{"do":"slow"}}"#, 1000).await),
        &[(r#"_sum{hook="labelled",phase="before"}"#, By(0.3)), (r#"_count{hook="labelled",phase="after"}"#, By(1.0))],
    ),
    Move(
        "quebert_metrics_label_overflow_total",
        drive!(|b| {
            for host in ["one", "two", "three", "four"] {
                b.task(&format!(r#"{{"url":"http://{host}/200"}}"#), 100).await;
            }
        }),
        &[(r#"{label="destination"}"#, By(2.0))],
    ),
    Move(
        "quebert_config_reloads_total",
        drive!(|b| b.metrics.reloaded(false, START)),
        &[(r#"{result="error"}"#, By(1.0)), (r#"{result="ok"}"#, By(0.0))],
    ),
    Move(
        "quebert_config_last_reload_success_timestamp_seconds",
        drive!(|b| b.metrics.reloaded(true, START.saturating_add(Duration::from_secs(100)))),
        &[("", By(100.0))],
    ),
    Move(
        "quebert_task_wait_seconds",
        drive!(|b| {
            b.task(r#"{"url":"http://host/200","created_at":"2027-01-15T07:59:50Z"}"#, 100).await;
        }),
        &[
            (r#"_sum{queue="a"}"#, By(10.01)),
            (r#"_bucket{queue="a",le="30"}"#, By(1.0)),
            (r#"_bucket{queue="a",le="10"}"#, By(0.0)),
        ],
    ),
    Move(
        "quebert_task_duration_seconds",
        TAKE_1500_MS,
        &[
            (r#"_sum{queue="a",result="succeeded"}"#, By(1.5)),
            (r#"_bucket{queue="a",result="succeeded",le="1"}"#, By(0.0)),
            (r#"_bucket{queue="a",result="succeeded",le="2.5"}"#, By(1.0)),
        ],
    ),
    Move("quebert_task_attempts", FAIL_ONCE, &[(r#"_sum{queue="a",result="succeeded"}"#, By(2.0))]),
    Move(
        "quebert_task_body_bytes",
        drive!(|b| b.task(r#"{"url":"http://host/200","body":{"n": 1}}"#, 100).await),
        &[(r#"_sum{queue="a"}"#, By(8.0)), (r#"_count{queue="a"}"#, By(1.0))],
    ),
    Move("quebert_schedule_lag_seconds", DELAY, &[(r#"_count{queue="a"}"#, By(1.0)), (r#"_sum{queue="a"}"#, By(0.0))]),
    Move(
        "quebert_dispatch_duration_seconds",
        TAKE_1500_MS,
        &[
            (r#"_sum{destination="http://host:80",outcome="ok"}"#, By(1.5)),
            (r#"_count{destination="http://host:80",outcome="error"}"#, At(0.0)),
        ],
    ),
    Move(
        "quebert_runtime_timer_lag_seconds",
        drive!(|b| b.metrics.timer_lag(Duration::from_millis(20))),
        &[(r#"_bucket{le="0.02"}"#, By(1.0)), ("_sum", By(0.02))],
    ),
    Move("quebert_tasks_in_flight", HANG, &[(r#"{queue="a"}"#, By(1.0))]),
    Move(
        "quebert_tasks_buffered",
        drive!(|b| {
            for _ in 0..9 {
                HANG(b).await;
            }
        }),
        &[(r#"{queue="a"}"#, By(1.0))],
    ),
    Move(
        "quebert_queue_concurrency_limit",
        drive!(|b| {
            let mut config = config();
            config.lanes[0].slots_max = 40;
            b.metrics.limits(&config.lanes);
        }),
        &[(r#"{queue="a"}"#, By(-24.0))],
    ),
    Move("quebert_queue_prefetch_limit", NOTHING, &[(r#"{queue="a"}"#, At(16.0))]),
    Move("quebert_queue_open", NOTHING, &[(r#"{queue="a"}"#, At(1.0))]),
    Move(
        "quebert_queue_open",
        drive!(|b| {
            b.handle.pause("a");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }),
        &[(r#"{queue="a"}"#, By(-1.0))],
    ),
    Move(
        "quebert_queue_ready_messages",
        drive!(|b| {
            b.handle.pause("a");
            for _ in 0..3 {
                SUCCEED(b).await;
            }
            b.look().await;
        }),
        &[(r#"{queue="a"}"#, By(3.0))],
    ),
    Move("quebert_queue_ready_bytes", TELL_WAITING, &[(r#"{queue="a"}"#, By(400.0))]),
    Move("quebert_queue_consumers", drive!(|b| b.look().await), &[(r#"{queue="a"}"#, By(1.0))]),
    Move(
        "quebert_queue_head_age_seconds",
        drive!(|b| {
            b.handle.pause("a");
            b.look().await;
            SUCCEED(b).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            b.look().await;
        }),
        &[(r#"{queue="a"}"#, By(30.1))],
    ),
    Move("quebert_queue_head_age_seconds", TELL_WAITING, &[(r#"{queue="a"}"#, By(12.0))]),
    Move("quebert_retry_pending_messages", TELL_WAITING, &[(r#"{queue="a"}"#, By(3.0))]),
    Move("quebert_dead_letter_messages", SPOIL, &[(r#"{queue="a"}"#, By(1.0))]),
    Move("quebert_store_file_bytes", drive!(|b| b.metrics.store_bytes(4096)), &[("", By(4096.0))]),
    Move("quebert_destination_in_flight", HANG, &[(r#"{destination="http://host:80"}"#, By(1.0))]),
    Move("quebert_destination_concurrency_limit", HANG, &[(r#"{destination="http://host:80"}"#, At(8.0))]),
    Move(
        "quebert_destination_circuit_open",
        drive!(|b| b.task(r#"{"id":"t","url":"http://host/fail/timeout","timeout_ms":4000}"#, 4500).await),
        &[(r#"{destination="http://host:80"}"#, By(1.0))],
    ),
    Move(
        "quebert_destination_circuit_open",
        drive!(|b| {
            b.task(r#"{"url":"http://host/fail/timeout","timeout_ms":4000}"#, 4500).await;
            SUCCEED(b).await;
        }),
        &[(r#"{destination="http://host:80"}"#, At(0.0))],
    ),
    Move("quebert_broker_connected", DISCONNECT, &[("", By(-1.0))]),
    Move("quebert_broker_blocked", drive!(|b| b.broker.say(BrokerEvent::Blocked(true)).await), &[("", By(1.0))]),
    Move("quebert_ready", DISCONNECT, &[("", By(-1.0))]),
    Move("quebert_ready", drive!(|b| b.health.drain()), &[("", By(-1.0))]),
    Move("quebert_runtime_workers", TELL_RUNTIME, &[("", At(2.0))]),
    Move("quebert_runtime_alive_tasks", TELL_RUNTIME, &[("", At(9.0))]),
    Move("quebert_runtime_worker_busy_seconds_total", TELL_RUNTIME, &[(r#"{worker="1"}"#, By(4.0))]),
    Move(
        "quebert_build_info",
        NOTHING,
        &[(concat!(r#"{revision="unknown",version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), At(1.0))],
    ),
    Move("process_cpu_seconds_total", TELL_PROCESS, &[("", By(1.5))]),
    Move("process_resident_memory_bytes", TELL_PROCESS, &[("", At(2.0))]),
    Move("process_virtual_memory_bytes", TELL_PROCESS, &[("", At(3.0))]),
    Move("process_open_fds", TELL_PROCESS, &[("", At(4.0))]),
    Move("process_max_fds", TELL_PROCESS, &[("", At(5.0))]),
    Move("process_threads", TELL_PROCESS, &[("", At(6.0))]),
    Move("process_start_time_seconds", TELL_PROCESS, &[("", At(7.0))]),
];

/// Every series of the metric that is expected to move does, and none of the others of it.
async fn check(Move(metric, drive, expected): &Move) -> Vec<String> {
    let bench = Bench::new().await;
    let before = read(&bench.metrics);
    drive(&bench).await;
    let after = read(&bench.metrics);
    assert!(bench.metrics.imbalance().values().all(|n| *n == 0), "{metric}");
    bench.handle.stop_now();
    let summary = bench.running.await.unwrap();
    assert_eq!(summary.deliveries, summary.settlements.values().sum::<u64>() + summary.held);
    let mut wrong = Vec::new();
    for (series, then) in *expected {
        let name = format!("{metric}{series}");
        let (was, is) = (before.get(&name).copied().unwrap_or(0.0), after.get(&name).copied());
        let right = |is: f64| match then {
            By(change) => (is - was - change).abs() < 0.005,
            At(value) => (is - value).abs() < 0.005,
        };
        if !is.is_some_and(right) {
            wrong.push(format!("{name}: {was} then {is:?}"));
        }
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn every_metric_moves_by_what_it_should() {
    let mut wrong = Vec::new();
    for case in MOVES {
        wrong.extend(check(case).await);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_metric_of_the_list_is_driven() {
    let driven: BTreeSet<&str> = MOVES.iter().map(|Move(name, ..)| *name).collect();
    let listed: BTreeSet<&str> = METRICS.iter().map(|spec| spec.name).collect();
    assert_eq!(driven, listed);
}
