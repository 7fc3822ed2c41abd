//! The one list of metrics: name, type, labels, help. `docs/metrics.md` is made from it; nothing is measured here.

use std::fmt::Write as _;

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in these buckets.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Seconds of one attempt or one exchange with the broker.
const LAT: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Seconds of a task's life.
const LONG: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0,
];
const ATTEMPTS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 13.0, 21.0];
/// 256 bytes to 1 MiB, times four.
const BODY: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
const TIMER_LAG: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Spec {
    Spec { name, kind: Kind::Histogram(buckets), labels, help }
}

/// Every metric of the program. `queue` is the name of a lane in the config.
pub const METRICS: &[Spec] = &[
    counter("quebert_deliveries_total", &["queue", "redelivered"], "Deliveries taken from work queues."),
    counter("quebert_settlements_total", &["queue", "result"], "Deliveries off our hands, one for each delivery."),
    counter(
        "quebert_dispatch_attempts_total",
        &["queue", "destination", "outcome"],
        "HTTP requests to executors, by what came of them.",
    ),
    counter(
        "quebert_retries_scheduled_total",
        &["queue", "reason"],
        "Tasks that wait for another attempt or were put off.",
    ),
    counter("quebert_dead_lettered_total", &["queue", "reason"], "Tasks given up and kept as dead letters."),
    counter("quebert_tasks_expired_total", &["queue", "stage"], "Tasks whose time was over, by where they were then."),
    counter("quebert_unknown_fields_total", &["queue"], "Messages with fields that no envelope has."),
    counter("quebert_clock_skew_total", &["queue"], "Tasks that seem to come from the future; their wait counts as 0."),
    counter("quebert_publish_confirms_total", &["purpose", "result"], "Answers of the broker to what we published."),
    counter("quebert_broker_reconnects_total", &["reason"], "Sessions with the broker that ended, by reason."),
    counter("quebert_hook_errors_total", &["hook", "phase"], "Mediators' calls that failed or took too long."),
    counter(
        "quebert_metrics_label_overflow_total",
        &["label"],
        "Events counted under _other because a label had too many values.",
    ),
    counter("quebert_config_reloads_total", &["result"], "Reloads of the config."),
    counter(
        "quebert_runtime_worker_busy_seconds_total",
        &["worker"],
        "Time that a worker thread of the runtime was busy.",
    ),
    histogram(
        "quebert_task_wait_seconds",
        LONG,
        &["queue"],
        "From the later of enqueue and not_before to the first attempt.",
    ),
    histogram("quebert_task_duration_seconds", LONG, &["queue", "result"], "From enqueue to a task's end."),
    histogram("quebert_task_attempts", ATTEMPTS, &["queue", "result"], "Attempts that a task took until its end."),
    histogram("quebert_task_body_bytes", BODY, &["queue"], "Body of a request to an executor."),
    histogram("quebert_schedule_lag_seconds", LAT, &["queue"], "How much later than due an attempt started."),
    histogram(
        "quebert_dispatch_duration_seconds",
        LAT,
        &["destination", "outcome"],
        "Time of one attempt; outcome is ok for 2xx and error for all else.",
    ),
    histogram("quebert_publish_confirm_duration_seconds", LAT, &["purpose"], "From a publish to the broker's answer."),
    histogram("quebert_hook_duration_seconds", LAT, &["hook", "phase"], "Time of one call of a mediator."),
    histogram("quebert_runtime_timer_lag_seconds", TIMER_LAG, &[], "How late a timer of the runtime fires."),
    gauge("quebert_tasks_in_flight", &["queue"], "Deliveries with an attempt under way or being settled."),
    gauge("quebert_tasks_buffered", &["queue"], "Deliveries that wait for a slot, a destination or a moment."),
    gauge("quebert_queue_concurrency_limit", &["queue"], "Most attempts under way at a time."),
    gauge("quebert_queue_prefetch_limit", &["queue"], "Most deliveries held at a time."),
    gauge("quebert_queue_open", &["queue"], "Whether the broker hands out deliveries of this queue."),
    gauge("quebert_queue_ready_messages", &["queue"], "Messages that wait in the work queue, as the broker says."),
    gauge("quebert_queue_consumers", &["queue"], "Consumers of the work queue, of all dispatchers."),
    gauge("quebert_dead_letter_messages", &["queue"], "Dead letters of the work queue, as the broker says."),
    gauge(
        "quebert_queue_delayed_messages",
        &["queue"],
        "Tasks of the queue that wait for their moment (embedded only).",
    ),
    gauge(
        "quebert_queue_ready_bytes",
        &["queue"],
        "Bytes of the messages that wait in the work queue (embedded only).",
    ),
    gauge("quebert_queue_oldest_age_seconds", &["queue"], "Age of the oldest message that is ready (embedded only)."),
    gauge("quebert_store_file_bytes", &[], "Size of the embedded broker's file (embedded only)."),
    gauge("quebert_destination_in_flight", &["destination"], "Requests under way to a destination."),
    gauge("quebert_destination_concurrency_limit", &["destination"], "Most requests under way to a destination."),
    gauge("quebert_broker_connected", &[], "Whether there is a session with the broker."),
    gauge("quebert_broker_blocked", &[], "Whether the broker takes no publishes for now."),
    gauge("quebert_ready", &[], "Whether /readyz says yes: connected, all queues open, not draining."),
    gauge("quebert_runtime_workers", &[], "Worker threads of the runtime."),
    gauge("quebert_runtime_alive_tasks", &[], "Tasks of the runtime that are alive."),
    gauge("quebert_config_last_reload_success_timestamp_seconds", &[], "When the config was last read without errors."),
    gauge("quebert_build_info", &["version", "revision"], "Always 1; the labels say what runs."),
    counter("process_cpu_seconds_total", &[], "CPU time of this process, user and system."),
    gauge("process_resident_memory_bytes", &[], "Resident memory of this process."),
    gauge("process_virtual_memory_bytes", &[], "Virtual memory of this process."),
    gauge("process_open_fds", &[], "Open file descriptors of this process."),
    gauge("process_max_fds", &[], "Limit of open file descriptors of this process."),
    gauge("process_threads", &[], "Threads of this process."),
    gauge("process_start_time_seconds", &[], "When this process was started, in seconds since the Unix epoch."),
];

/// `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for (title, kind) in [("Counters", "counter"), ("Histograms", "histogram"), ("Gauges", "gauge")] {
        let _ = write!(text, "\n## {title}\n\n| name | labels | meaning |\n| --- | --- | --- |\n");
        for spec in METRICS.iter().filter(|s| s.kind.name() == kind) {
            let labels = spec.labels.iter().map(|l| format!("`{l}`")).collect::<Vec<_>>().join(", ");
            let mut help = spec.help.replace("_other", "`_other`").replace("not_before", "`not_before`");
            if let Kind::Histogram(buckets) = spec.kind {
                let buckets = buckets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                let _ = write!(help, " Buckets: {buckets}");
            }
            let _ = writeln!(text, "| `{}` | {labels} | {help} |", spec.name);
        }
    }
    text.push_str(TAIL);
    text
}

impl Kind {
    /// As the text format says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

const HEAD: &str = "\
# Metrics

<!-- Made from dispatcher/metrics/src/list.rs by `UPDATE_DOCS=1 cargo test -p quebert --lib metrics`. -->

`quebert run` serves these at `/metrics` of its admin address (`admin.listen`, by default 127.0.0.1:9464), in the
Prometheus text format (`text/plain; version=0.0.4`).

* `queue` is the name of a lane in the config, never the broker's name of the queue.
* `destination` is an executor's origin (`https://example.com:443`). The first `metrics.max_destinations` have a label of
  their own, the rest is `_other`, and `quebert_metrics_label_overflow_total` counts how often.
* Label sets that are known at the start begin at 0, so that `increase()` sees the first event.
* **Conservation law**: for each queue, `quebert_deliveries_total - quebert_settlements_total =
  quebert_tasks_in_flight + quebert_tasks_buffered`, at all times. After a drained run both counters are equal.
  A lasting difference means that tasks were lost track of.
";

const TAIL: &str = "
## What is not here, and why

* `quebert_destination_circuit_open`: there is no circuit breaker yet.
* What is marked \"embedded only\", on RabbitMQ: it does not say how old the head of a queue is without handing it out, and
  its delay queues are shared by all work queues, so that it can't say whose messages wait in them.
* `quebert_publish_confirms_total{purpose=\"enqueue\"}`: the dispatcher enqueues nothing; `quebert enqueue` tells its own
  result.
* Exemplars and native histograms: the text format has neither.
";
