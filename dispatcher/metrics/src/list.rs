//! The one list of metrics: name, type, unit, labels with their bounds, help. The registry, `docs/metrics.md` and
//! `metrics.golden` are made from it; nothing is measured here.

use quebert_dispatcher::{
    event::{ExpiryStage, Purpose, Settlement},
    outcome::Outcome,
    verdict::{BuryReason, RetryReason},
};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations in these buckets; those marked get the user's own thresholds as well.
    Histogram(&'static [f64], Slo),
}

/// Whether the thresholds of the user's service levels become buckets, too, so that what is within one can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slo {
    /// They do.
    Merged,
    /// They don't.
    Apart,
}

/// What a label's values are, and so how many.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// The lanes of the config.
    Lanes,
    /// The first `metrics.max_destinations`, and `_other` for the rest.
    Destinations,
    /// The names of the mediators.
    Mediators,
    /// The worker threads, counted from 0.
    Workers,
    /// One: what was built.
    Build,
    /// These.
    Of(fn() -> Vec<&'static str>),
}

/// One label.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub bound: Bound,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its full name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What is counted or measured.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it says.
    pub help: &'static str,
}

/// The label of all destinations beyond the cap.
pub(crate) const OTHER: &str = "_other";
/// Ends of a task; the other settlements only interrupt its life.
pub(crate) const ENDS: [Settlement; 4] =
    [Settlement::Succeeded, Settlement::DeadLettered, Settlement::Expired, Settlement::Filtered];
/// Answers to a publish.
pub(crate) const PUBLISH_RESULTS: [&str; 5] = ["ack", "nack", "returned", "timeout", "not_connected"];
/// Why sessions end.
pub(crate) const DISCONNECTS: [&str; 6] = ["connect", "io", "heartbeat", "channel", "consumer", "closed"];
/// What can fail in a mediator.
pub(crate) const PHASES: [&str; 3] = ["before", "verdict", "after"];
/// What is timed of a mediator.
pub(crate) const TIMED_PHASES: [&str; 2] = ["before", "after"];
/// How a reload ends.
pub(crate) const RELOADS: [&str; 2] = ["ok", "error"];

const QUEUE: Label = Label { name: "queue", bound: Bound::Lanes };
const DESTINATION: Label = Label { name: "destination", bound: Bound::Destinations };
const HOOK: Label = Label { name: "hook", bound: Bound::Mediators };

const fn of(name: &'static str, values: fn() -> Vec<&'static str>) -> Label {
    Label { name, bound: Bound::Of(values) }
}

const REDELIVERED: Label = of("redelivered", || vec!["false", "true"]);
const RESULT: Label = of("result", || Settlement::ALL.map(Settlement::label).to_vec());
const END: Label = of("result", || ENDS.map(Settlement::label).to_vec());
const OUTCOME: Label = of("outcome", || Outcome::CLASSES.to_vec());
const OK_OR_ERROR: Label = of("outcome", || vec!["ok", "error"]);
const RETRY_REASON: Label = of("reason", || RetryReason::ALL.map(RetryReason::label).to_vec());
const BURY_REASON: Label = of("reason", || BuryReason::ALL.map(BuryReason::label).to_vec());
const STAGE: Label = of("stage", || ExpiryStage::ALL.map(ExpiryStage::label).to_vec());
const PURPOSE: Label = of("purpose", || Purpose::ALL.map(Purpose::label).to_vec());
const PUBLISH_RESULT: Label = of("result", || PUBLISH_RESULTS.to_vec());

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

const fn counter(name: &'static str, unit: &'static str, labels: &'static [Label], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Counter, unit, labels, help }
}

const fn gauge(name: &'static str, unit: &'static str, labels: &'static [Label], help: &'static str) -> Spec {
    Spec { name, kind: Kind::Gauge, unit, labels, help }
}

const fn histogram(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [Label],
    help: &'static str,
) -> Spec {
    Spec { name, kind, unit, labels, help }
}

impl Spec {
    /// The metric of this name, if the list has it.
    pub fn find(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|spec| spec.name == name)
    }
}

/// Every metric of the program. `queue` is the name of a lane in the config.
pub const METRICS: &[Spec] = &[
    counter("quebert_deliveries_total", "deliveries", &[QUEUE, REDELIVERED], "Deliveries taken from work queues."),
    counter(
        "quebert_settlements_total",
        "deliveries",
        &[QUEUE, RESULT],
        "Deliveries off our hands, one for each delivery.",
    ),
    counter(
        "quebert_dispatch_attempts_total",
        "requests",
        &[QUEUE, DESTINATION, OUTCOME],
        "HTTP requests to executors, by what came of them.",
    ),
    counter(
        "quebert_retries_scheduled_total",
        "tasks",
        &[QUEUE, RETRY_REASON],
        "Tasks that wait for another attempt or were put off.",
    ),
    counter("quebert_dead_lettered_total", "tasks", &[QUEUE, BURY_REASON], "Tasks given up and kept as dead letters."),
    counter(
        "quebert_tasks_expired_total",
        "tasks",
        &[QUEUE, STAGE],
        "Tasks whose time was over, by where they were then.",
    ),
    counter("quebert_unknown_fields_total", "messages", &[QUEUE], "Messages with fields that no envelope has."),
    counter(
        "quebert_clock_skew_total",
        "tasks",
        &[QUEUE],
        "Tasks that seem to come from the future; their wait counts as 0.",
    ),
    counter(
        "quebert_publish_confirms_total",
        "publishes",
        &[PURPOSE, PUBLISH_RESULT],
        "Answers of the broker to what we published.",
    ),
    counter(
        "quebert_broker_reconnects_total",
        "sessions",
        &[of("reason", || DISCONNECTS.to_vec())],
        "Sessions with the broker that ended, by reason.",
    ),
    counter(
        "quebert_hook_errors_total",
        "calls",
        &[HOOK, of("phase", || PHASES.to_vec())],
        "Mediators' calls that failed or took too long.",
    ),
    counter(
        "quebert_metrics_label_overflow_total",
        "events",
        &[of("label", || vec!["destination"])],
        "Events counted under _other because a label had too many values.",
    ),
    counter("quebert_config_reloads_total", "reloads", &[of("result", || RELOADS.to_vec())], "Reloads of the config."),
    counter(
        "quebert_runtime_worker_busy_seconds_total",
        "seconds",
        &[Label { name: "worker", bound: Bound::Workers }],
        "Time that a worker thread of the runtime was busy.",
    ),
    histogram(
        "quebert_task_wait_seconds",
        Kind::Histogram(LONG, Slo::Merged),
        "seconds",
        &[QUEUE],
        "From the later of enqueue and not_before to the first attempt.",
    ),
    histogram(
        "quebert_task_duration_seconds",
        Kind::Histogram(LONG, Slo::Merged),
        "seconds",
        &[QUEUE, END],
        "From enqueue to a task's end.",
    ),
    histogram(
        "quebert_task_attempts",
        Kind::Histogram(ATTEMPTS, Slo::Apart),
        "attempts",
        &[QUEUE, END],
        "Attempts that a task took until its end.",
    ),
    histogram(
        "quebert_task_body_bytes",
        Kind::Histogram(BODY, Slo::Apart),
        "bytes",
        &[QUEUE],
        "Body of a request to an executor.",
    ),
    histogram(
        "quebert_schedule_lag_seconds",
        Kind::Histogram(LAT, Slo::Merged),
        "seconds",
        &[QUEUE],
        "How much later than due an attempt started.",
    ),
    histogram(
        "quebert_dispatch_duration_seconds",
        Kind::Histogram(LAT, Slo::Merged),
        "seconds",
        &[DESTINATION, OK_OR_ERROR],
        "Time of one attempt; outcome is ok for 2xx and error for all else.",
    ),
    histogram(
        "quebert_publish_confirm_duration_seconds",
        Kind::Histogram(LAT, Slo::Apart),
        "seconds",
        &[PURPOSE],
        "From a publish to the broker's answer.",
    ),
    histogram(
        "quebert_hook_duration_seconds",
        Kind::Histogram(LAT, Slo::Apart),
        "seconds",
        &[HOOK, of("phase", || TIMED_PHASES.to_vec())],
        "Time of one call of a mediator.",
    ),
    histogram(
        "quebert_runtime_timer_lag_seconds",
        Kind::Histogram(TIMER_LAG, Slo::Apart),
        "seconds",
        &[],
        "How late a timer of the runtime fires.",
    ),
    gauge("quebert_tasks_in_flight", "deliveries", &[QUEUE], "Deliveries with an attempt under way or being settled."),
    gauge(
        "quebert_tasks_buffered",
        "deliveries",
        &[QUEUE],
        "Deliveries that wait for a slot, a destination or a moment.",
    ),
    gauge("quebert_queue_concurrency_limit", "requests", &[QUEUE], "Most attempts under way at a time."),
    gauge("quebert_queue_prefetch_limit", "deliveries", &[QUEUE], "Most deliveries held at a time."),
    gauge("quebert_queue_open", "0 or 1", &[QUEUE], "Whether the broker hands out deliveries of this queue."),
    gauge(
        "quebert_queue_ready_messages",
        "messages",
        &[QUEUE],
        "Messages that wait in the work queue, as the broker says.",
    ),
    gauge(
        "quebert_queue_ready_bytes",
        "bytes",
        &[QUEUE],
        "Bytes of the messages that wait in the work queue (embedded only).",
    ),
    gauge("quebert_queue_consumers", "consumers", &[QUEUE], "Consumers of the work queue, of all dispatchers."),
    gauge(
        "quebert_queue_head_age_seconds",
        "seconds",
        &[QUEUE],
        "Age of the oldest message that waits in the work queue; on RabbitMQ an estimate from above.",
    ),
    gauge(
        "quebert_retry_pending_messages",
        "messages",
        &[QUEUE],
        "Tasks of the queue in the delay grid, for their next attempt or their own moment (embedded only).",
    ),
    gauge("quebert_dead_letter_messages", "messages", &[QUEUE], "Dead letters of the work queue, as the broker says."),
    gauge("quebert_store_file_bytes", "bytes", &[], "Size of the embedded broker's file (embedded only)."),
    gauge("quebert_destination_in_flight", "requests", &[DESTINATION], "Requests under way to a destination."),
    gauge(
        "quebert_destination_concurrency_limit",
        "requests",
        &[DESTINATION],
        "Most requests under way to a destination.",
    ),
    gauge(
        "quebert_destination_circuit_open",
        "0 or 1",
        &[DESTINATION],
        "Whether a destination is distrusted, since it went silent: one slot, until it answers.",
    ),
    gauge("quebert_broker_connected", "0 or 1", &[], "Whether there is a session with the broker."),
    gauge("quebert_broker_blocked", "0 or 1", &[], "Whether the broker takes no publishes for now."),
    gauge("quebert_ready", "0 or 1", &[], "Whether /readyz says yes: connected, all queues open, not draining."),
    gauge("quebert_runtime_workers", "threads", &[], "Worker threads of the runtime."),
    gauge("quebert_runtime_alive_tasks", "tasks of the runtime", &[], "Tasks of the runtime that are alive."),
    gauge(
        "quebert_config_last_reload_success_timestamp_seconds",
        "seconds",
        &[],
        "When the config was last read without errors.",
    ),
    gauge(
        "quebert_build_info",
        "1",
        &[Label { name: "version", bound: Bound::Build }, Label { name: "revision", bound: Bound::Build }],
        "Always 1; the labels say what runs.",
    ),
    counter("process_cpu_seconds_total", "seconds", &[], "CPU time of this process, user and system."),
    gauge("process_resident_memory_bytes", "bytes", &[], "Resident memory of this process."),
    gauge("process_virtual_memory_bytes", "bytes", &[], "Virtual memory of this process."),
    gauge("process_open_fds", "descriptors", &[], "Open file descriptors of this process."),
    gauge("process_max_fds", "descriptors", &[], "Limit of open file descriptors of this process."),
    gauge("process_threads", "threads", &[], "Threads of this process."),
    gauge(
        "process_start_time_seconds",
        "seconds",
        &[],
        "When this process was started, in seconds since the Unix epoch.",
    ),
];

impl Kind {
    /// As the text format says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(..) => "histogram",
        }
    }
}

impl Bound {
    /// In words, for the document.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Lanes => "lanes".to_owned(),
            Self::Destinations => "destinations".to_owned(),
            Self::Mediators => "mediators".to_owned(),
            Self::Workers => "workers".to_owned(),
            Self::Build => "build".to_owned(),
            Self::Of(values) => values().join("|"),
        }
    }
}
