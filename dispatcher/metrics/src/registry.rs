//! All metrics of one dispatcher, in a registry of their own. What must be asked of the broker, of the process and of the
//! runtime is set from outside.

use crate::{
    head::Head,
    health::Health,
    list::{DISCONNECTS, ENDS, PHASES, PUBLISH_RESULTS, RELOADS, TIMED_PHASES},
    maker::Maker,
};
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry, TextEncoder, proto::MetricFamily,
};
use quebert_dispatcher::{
    config::LaneConfig,
    event::{ExpiryStage, Purpose, Settlement},
    outcome::Outcome,
    ports::broker::Depth,
    verdict::{BuryReason, RetryReason},
};
use quebert_wire::{Destination, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// What Prometheus 3 insists on.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The label of all destinations beyond the cap.
const OTHER: &str = "_other";

/// All metrics of one dispatcher. Two of them in a process don't collide.
pub struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) health: Arc<Health>,
    pub(crate) lanes: BTreeMap<Arc<str>, Lane>,
    pub(crate) destinations: Mutex<Destinations>,
    pub(crate) attempts: IntCounterVec,
    pub(crate) dispatch_duration: HistogramVec,
    pub(crate) destination_in_flight: IntGaugeVec,
    pub(crate) destination_limit: IntGaugeVec,
    pub(crate) circuit_open: IntGaugeVec,
    pub(crate) confirms: IntCounterVec,
    pub(crate) confirm_duration: BTreeMap<&'static str, Histogram>,
    pub(crate) reconnects: IntCounterVec,
    pub(crate) hook_errors: IntCounterVec,
    pub(crate) hook_duration: HistogramVec,
    pub(crate) overflow: IntCounter,
    pub(crate) reloads: IntCounterVec,
    pub(crate) reload_success: Gauge,
    pub(crate) broker_connected: IntGauge,
    pub(crate) broker_blocked: IntGauge,
    pub(crate) ready: IntGauge,
    /// These have no series before the broker has told of them.
    pub(crate) delayed: IntGaugeVec,
    pub(crate) ready_bytes: IntGaugeVec,
    pub(crate) store_bytes: IntGaugeVec,
    pub(crate) timer_lag: Histogram,
    /// No series before somebody has told of a runtime, or of a process: a simulated dispatcher has neither.
    runtime: OnceLock<Runtime>,
    process: OnceLock<Process>,
}

/// What a process knows of itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessReading {
    /// CPU time so far, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: f64,
    /// Virtual memory.
    pub virtual_bytes: f64,
    /// Open file descriptors.
    pub open_fds: f64,
    /// Their limit; infinite if there is none.
    pub max_fds: f64,
    /// Threads.
    pub threads: f64,
    /// When it was started, in seconds since the Unix epoch.
    pub start_seconds: f64,
}

/// What an async runtime knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeReading {
    /// Tasks that are alive.
    pub alive_tasks: usize,
    /// How long each worker thread has been busy so far.
    pub busy: Vec<Duration>,
}

/// What only some brokers can tell of a lane's queue; `None` is "this broker can't tell".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Tasks that wait for their moment.
    pub delayed: Option<u64>,
    /// Bytes of the messages that wait to be delivered.
    pub bytes: Option<u64>,
    /// Age of the oldest of those; zero if there is none.
    pub head_age: Duration,
}

/// Handles of one lane, looked up once.
pub(crate) struct Lane {
    pub(crate) deliveries: [IntCounter; 2],
    pub(crate) settlements: BTreeMap<Settlement, IntCounter>,
    pub(crate) durations: BTreeMap<Settlement, Histogram>,
    pub(crate) attempts: BTreeMap<Settlement, Histogram>,
    pub(crate) retries: BTreeMap<RetryReason, IntCounter>,
    pub(crate) buried: BTreeMap<BuryReason, IntCounter>,
    pub(crate) expired: BTreeMap<ExpiryStage, IntCounter>,
    pub(crate) unknown_fields: IntCounter,
    pub(crate) skew: IntCounter,
    pub(crate) wait: Histogram,
    pub(crate) lag: Histogram,
    pub(crate) body: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) buffered: IntGauge,
    pub(crate) slots: IntGauge,
    pub(crate) window: IntGauge,
    pub(crate) open: IntGauge,
    pub(crate) ready: IntGauge,
    pub(crate) consumers: IntGauge,
    pub(crate) dead: IntGauge,
    pub(crate) head_age: Gauge,
    pub(crate) head: Mutex<Head>,
}

pub(crate) struct Destinations {
    pub(crate) known: BTreeMap<Destination, Arc<DestinationHandles>>,
    pub(crate) other: Arc<DestinationHandles>,
    pub(crate) max: usize,
}

pub(crate) struct DestinationHandles {
    pub(crate) attempts: BTreeMap<(Arc<str>, &'static str), IntCounter>,
    pub(crate) ok: Histogram,
    pub(crate) error: Histogram,
    /// Those beyond the cap have none.
    pub(crate) gauges: Option<DestinationGauges>,
}

pub(crate) struct DestinationGauges {
    pub(crate) in_flight: IntGauge,
    pub(crate) limit: IntGauge,
    pub(crate) circuit_open: IntGauge,
}

struct Runtime {
    workers: IntGauge,
    alive_tasks: IntGauge,
    busy: CounterVec,
}

struct Process {
    cpu: Counter,
    resident: Gauge,
    virt: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start: Gauge,
}

impl Metrics {
    /// Registers the metrics of [`METRICS`](crate::list::METRICS), with all label sets that are known now at 0. Those of
    /// process and runtime follow when they are first told of. `now` is when the config was read.
    pub fn new(lanes: &[LaneConfig], max_destinations: usize, health: Arc<Health>, now: Timestamp) -> Self {
        Self::with_slos(lanes, max_destinations, &[], health, now)
    }

    /// The same with the thresholds of the user's service levels, which become buckets.
    pub fn with_slos(
        lanes: &[LaneConfig],
        max_destinations: usize,
        slos: &[Duration],
        health: Arc<Health>,
        now: Timestamp,
    ) -> Self {
        let registry = Registry::new();
        let slos: Vec<f64> = slos.iter().map(Duration::as_secs_f64).collect();
        let r = Maker { registry: &registry, slos: &slos };
        let (deliveries, settlements) =
            (r.counters("quebert_deliveries_total"), r.counters("quebert_settlements_total"));
        let (durations, task_attempts) =
            (r.histograms("quebert_task_duration_seconds"), r.histograms("quebert_task_attempts"));
        let (retries, buried) =
            (r.counters("quebert_retries_scheduled_total"), r.counters("quebert_dead_lettered_total"));
        let expired = r.counters("quebert_tasks_expired_total");
        let (unknown, skew) = (r.counters("quebert_unknown_fields_total"), r.counters("quebert_clock_skew_total"));
        let (wait, lag) = (r.histograms("quebert_task_wait_seconds"), r.histograms("quebert_schedule_lag_seconds"));
        let body = r.histograms("quebert_task_body_bytes");
        let (in_flight, buffered) = (r.gauges("quebert_tasks_in_flight"), r.gauges("quebert_tasks_buffered"));
        let (slots, window) = (r.gauges("quebert_queue_concurrency_limit"), r.gauges("quebert_queue_prefetch_limit"));
        let (open, ready) = (r.gauges("quebert_queue_open"), r.gauges("quebert_queue_ready_messages"));
        let (consumers, dead) = (r.gauges("quebert_queue_consumers"), r.gauges("quebert_dead_letter_messages"));
        let head_age = r.float_gauges("quebert_queue_head_age_seconds");
        let lane_of = |config: &LaneConfig| {
            let name = &*config.name;
            let lane = Lane {
                deliveries: ["false", "true"].map(|again| deliveries.with_label_values(&[name, again])),
                settlements: each(Settlement::ALL, |s| settlements.with_label_values(&[name, s.label()])),
                durations: each(ENDS, |s| durations.with_label_values(&[name, s.label()])),
                attempts: each(ENDS, |s| task_attempts.with_label_values(&[name, s.label()])),
                retries: each(RetryReason::ALL, |x| retries.with_label_values(&[name, x.label()])),
                buried: each(BuryReason::ALL, |x| buried.with_label_values(&[name, x.label()])),
                expired: each(ExpiryStage::ALL, |x| expired.with_label_values(&[name, x.label()])),
                unknown_fields: unknown.with_label_values(&[name]),
                skew: skew.with_label_values(&[name]),
                wait: wait.with_label_values(&[name]),
                lag: lag.with_label_values(&[name]),
                body: body.with_label_values(&[name]),
                in_flight: in_flight.with_label_values(&[name]),
                buffered: buffered.with_label_values(&[name]),
                slots: slots.with_label_values(&[name]),
                window: window.with_label_values(&[name]),
                open: open.with_label_values(&[name]),
                ready: ready.with_label_values(&[name]),
                consumers: consumers.with_label_values(&[name]),
                dead: dead.with_label_values(&[name]),
                head_age: head_age.with_label_values(&[name]),
                head: Mutex::default(),
            };
            lane.slots.set(i64::from(config.slots_max));
            lane.window.set(i64::from(config.window));
            (config.name.clone(), lane)
        };
        let attempts = r.counters("quebert_dispatch_attempts_total");
        let dispatch_duration = r.histograms("quebert_dispatch_duration_seconds");
        let lane_names: Vec<Arc<str>> = lanes.iter().map(|l| l.name.clone()).collect();
        let other = Arc::new(DestinationHandles::new(OTHER, &lane_names, &attempts, &dispatch_duration, None));
        let confirms = r.counters("quebert_publish_confirms_total");
        for purpose in Purpose::ALL {
            for result in PUBLISH_RESULTS {
                confirms.with_label_values(&[purpose.label(), result]);
            }
        }
        let confirm_duration = r.histograms("quebert_publish_confirm_duration_seconds");
        let reconnects = r.counters("quebert_broker_reconnects_total");
        for reason in DISCONNECTS {
            reconnects.with_label_values(&[reason]);
        }
        let reloads = r.counters("quebert_config_reloads_total");
        for result in RELOADS {
            reloads.with_label_values(&[result]);
        }
        r.gauges("quebert_build_info")
            .with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("QUEBERT_REVISION").unwrap_or("unknown")])
            .set(1);
        let metrics = Self {
            lanes: lanes.iter().map(lane_of).collect(),
            destinations: Mutex::new(Destinations { known: BTreeMap::new(), other, max: max_destinations }),
            attempts,
            dispatch_duration,
            destination_in_flight: r.gauges("quebert_destination_in_flight"),
            destination_limit: r.gauges("quebert_destination_concurrency_limit"),
            circuit_open: r.gauges("quebert_destination_circuit_open"),
            confirms,
            confirm_duration: each(Purpose::ALL.map(Purpose::label), |p| confirm_duration.with_label_values(&[p])),
            reconnects,
            hook_errors: r.counters("quebert_hook_errors_total"),
            hook_duration: r.histograms("quebert_hook_duration_seconds"),
            overflow: r.counters("quebert_metrics_label_overflow_total").with_label_values(&["destination"]),
            reloads,
            reload_success: r.float_gauge("quebert_config_last_reload_success_timestamp_seconds"),
            broker_connected: r.gauge("quebert_broker_connected"),
            broker_blocked: r.gauge("quebert_broker_blocked"),
            ready: r.gauge("quebert_ready"),
            delayed: r.gauges("quebert_retry_pending_messages"),
            ready_bytes: r.gauges("quebert_queue_ready_bytes"),
            store_bytes: r.gauges("quebert_store_file_bytes"),
            timer_lag: r.histograms("quebert_runtime_timer_lag_seconds").with_label_values::<&str>(&[]),
            runtime: OnceLock::new(),
            process: OnceLock::new(),
            health,
            registry,
        };
        metrics.reloaded_at(now);
        metrics
    }

    /// Names of mediators, so that their label sets start at 0.
    pub fn hooks(&self, names: &[&str]) {
        for name in names {
            for phase in PHASES {
                self.hook_errors.with_label_values(&[name, phase]);
            }
            for phase in TIMED_PHASES {
                self.hook_duration.with_label_values(&[name, phase]);
            }
        }
    }

    /// The lanes' limits, after a reload. Windows stay until a restart.
    pub fn limits(&self, lanes: &[LaneConfig]) {
        for config in lanes {
            if let Some(lane) = self.lanes.get(&config.name) {
                lane.slots.set(i64::from(config.slots_max));
            }
        }
    }

    /// A config was reloaded at `now`, or could not be.
    pub fn reloaded(&self, ok: bool, now: Timestamp) {
        self.reloads.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
        if ok {
            self.reloaded_at(now);
        }
    }

    /// What the broker says of a lane's queue and its dead letters.
    pub fn depth(&self, lane: &str, queue: Option<Depth>, dead: Option<Depth>) {
        let Some(lane) = self.lanes.get(lane) else { return };
        if let Some(depth) = queue {
            lane.ready.set(whole(depth.ready));
            lane.consumers.set(whole(depth.consumers));
        }
        if let Some(depth) = dead {
            lane.dead.set(whole(depth.ready));
        }
    }

    /// What only some brokers can tell of a lane's queue.
    pub fn waiting(&self, lane: &str, waiting: &Waiting) {
        if let Some(delayed) = waiting.delayed {
            self.delayed.with_label_values(&[lane]).set(whole(delayed));
        }
        if let Some(bytes) = waiting.bytes {
            self.ready_bytes.with_label_values(&[lane]).set(whole(bytes));
        }
        if let Some(lane) = self.lanes.get(lane) {
            lane.head_age.set(waiting.head_age.as_secs_f64());
        }
    }

    /// For a broker that can't tell [`Waiting`]: how old the head of a lane's queue is at most, now that `ready` wait.
    pub fn head_age(&self, lane: &str, ready: u64, now: Timestamp) {
        if let Some(lane) = self.lanes.get(lane) {
            let age = lock(&lane.head).age(ready, now);
            lane.head_age.set(age.as_secs_f64());
        }
    }

    /// The size of the embedded broker's file.
    pub fn store_bytes(&self, bytes: u64) {
        self.store_bytes.with_label_values::<&str>(&[]).set(whole(bytes));
    }

    /// How late a timer of the runtime fired.
    pub fn timer_lag(&self, lag: Duration) {
        self.timer_lag.observe(lag.as_secs_f64());
    }

    /// What the process knows of itself. Counters never fall, whatever is told.
    pub fn process(&self, reading: &ProcessReading) {
        let process = self.process.get_or_init(|| Process::new(&Maker { registry: &self.registry, slos: &[] }));
        grow(&process.cpu, reading.cpu_seconds);
        process.resident.set(reading.resident_bytes);
        process.virt.set(reading.virtual_bytes);
        process.open_fds.set(reading.open_fds);
        process.max_fds.set(reading.max_fds);
        process.threads.set(reading.threads);
        process.start.set(reading.start_seconds);
    }

    /// What the runtime knows of itself.
    pub fn runtime(&self, reading: &RuntimeReading) {
        let runtime = self.runtime.get_or_init(|| Runtime::new(&Maker { registry: &self.registry, slos: &[] }));
        runtime.workers.set(whole(reading.busy.len() as u64));
        runtime.alive_tasks.set(whole(reading.alive_tasks as u64));
        for (worker, busy) in reading.busy.iter().enumerate() {
            grow(&runtime.busy.with_label_values(&[worker.to_string()]), busy.as_secs_f64());
        }
    }

    /// The text format, with [`CONTENT_TYPE`]. Takes some milliseconds per thousand series: call it where blocking is
    /// allowed.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.gather(), &mut text).expect("writing to memory does not fail");
        text
    }

    /// Everything, as data: families and their metrics in the order of names and labels.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.ready.set(i64::from(self.health.ready()));
        self.registry.gather()
    }

    /// Deliveries less settlements less what is held, per lane: 0 everywhere, or something was lost track of.
    pub fn imbalance(&self) -> BTreeMap<Arc<str>, i64> {
        let of = |lane: &Lane| {
            let delivered: u64 = lane.deliveries.iter().map(IntCounter::get).sum();
            let settled: u64 = lane.settlements.values().map(IntCounter::get).sum();
            whole(delivered) - whole(settled) - lane.in_flight.get() - lane.buffered.get()
        };
        self.lanes.iter().map(|(name, lane)| (name.clone(), of(lane))).collect()
    }

    fn reloaded_at(&self, now: Timestamp) {
        self.reload_success.set(now.as_millis() as f64 / 1000.0);
    }
}

impl Runtime {
    fn new(r: &Maker<'_>) -> Self {
        Self {
            workers: r.gauge("quebert_runtime_workers"),
            alive_tasks: r.gauge("quebert_runtime_alive_tasks"),
            busy: r.float_counters("quebert_runtime_worker_busy_seconds_total"),
        }
    }
}

impl Process {
    fn new(r: &Maker<'_>) -> Self {
        Self {
            cpu: r.float_counters("process_cpu_seconds_total").with_label_values::<&str>(&[]),
            resident: r.float_gauge("process_resident_memory_bytes"),
            virt: r.float_gauge("process_virtual_memory_bytes"),
            open_fds: r.float_gauge("process_open_fds"),
            max_fds: r.float_gauge("process_max_fds"),
            threads: r.float_gauge("process_threads"),
            start: r.float_gauge("process_start_time_seconds"),
        }
    }
}

impl DestinationHandles {
    pub(crate) fn new(
        name: &str,
        lanes: &[Arc<str>],
        attempts: &IntCounterVec,
        duration: &HistogramVec,
        gauges: Option<DestinationGauges>,
    ) -> Self {
        let pairs = lanes.iter().flat_map(|lane| Outcome::CLASSES.map(|class| (lane.clone(), class)));
        Self {
            attempts: each(pairs, |(lane, class)| attempts.with_label_values(&[lane, name, *class])),
            ok: duration.with_label_values(&[name, "ok"]),
            error: duration.with_label_values(&[name, "error"]),
            gauges,
        }
    }
}

fn each<K: Ord, V>(keys: impl IntoIterator<Item = K>, mut value: impl FnMut(&K) -> V) -> BTreeMap<K, V> {
    keys.into_iter()
        .map(|k| {
            let v = value(&k);
            (k, v)
        })
        .collect()
}

/// Brings a counter up to a total that is counted elsewhere.
fn grow(counter: &Counter, total: f64) {
    let more = total - counter.get();
    if more > 0.0 {
        counter.inc_by(more);
    }
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the lock guards is whole after each statement, so a panic of another holder leaves nothing broken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
