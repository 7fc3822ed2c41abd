//! Metrics: an observer of the dispatcher's events, and a registry of its own. It decides nothing and asks nobody; what
//! must be asked of the broker is set from outside.

pub mod list;
mod process;

use crate::health::Health;
use list::{Kind, METRICS, Spec};
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use quebert_broker_adapter::admin::PlaceStatus;
use quebert_dispatcher::{
    config::LaneConfig,
    event::{Event, ExpiryStage, Purpose, Settlement},
    outcome::Outcome,
    ports::{broker::Depth, observer::Observer},
    verdict::{BuryReason, RetryReason},
};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What Prometheus 3 insists on.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";

/// The label of all destinations beyond the cap.
const OTHER: &str = "_other";

/// The ends of a task; the other settlements only interrupt its life.
const ENDS: [Settlement; 4] =
    [Settlement::Succeeded, Settlement::DeadLettered, Settlement::Expired, Settlement::Filtered];

/// All metrics of one dispatcher. Two of them in a process don't collide.
pub struct Metrics {
    registry: Registry,
    health: Arc<Health>,
    lanes: BTreeMap<Arc<str>, Lane>,
    destinations: Mutex<Destinations>,
    attempts: IntCounterVec,
    dispatch_duration: HistogramVec,
    destination_in_flight: IntGaugeVec,
    destination_limit: IntGaugeVec,
    confirms: IntCounterVec,
    confirm_duration: BTreeMap<&'static str, Histogram>,
    reconnects: IntCounterVec,
    hook_errors: IntCounterVec,
    hook_duration: HistogramVec,
    overflow: IntCounter,
    reloads: IntCounterVec,
    reload_success: Gauge,
    broker_connected: IntGauge,
    broker_blocked: IntGauge,
    ready: IntGauge,
    /// These have no series before the broker has told of them.
    delayed: IntGaugeVec,
    ready_bytes: IntGaugeVec,
    oldest_age: GaugeVec,
    store_bytes: IntGaugeVec,
    timer_lag: Histogram,
    workers: IntGauge,
    alive_tasks: IntGauge,
    worker_busy: CounterVec,
    process: Process,
}

/// Handles of one lane, looked up once.
struct Lane {
    deliveries: [IntCounter; 2],
    settlements: BTreeMap<Settlement, IntCounter>,
    durations: BTreeMap<Settlement, Histogram>,
    attempts: BTreeMap<Settlement, Histogram>,
    retries: BTreeMap<RetryReason, IntCounter>,
    buried: BTreeMap<BuryReason, IntCounter>,
    expired: BTreeMap<ExpiryStage, IntCounter>,
    unknown_fields: IntCounter,
    skew: IntCounter,
    wait: Histogram,
    lag: Histogram,
    body: Histogram,
    in_flight: IntGauge,
    buffered: IntGauge,
    slots: IntGauge,
    window: IntGauge,
    open: IntGauge,
    ready: IntGauge,
    consumers: IntGauge,
    dead: IntGauge,
}

struct Destinations {
    known: BTreeMap<quebert_wire::Destination, Arc<DestinationHandles>>,
    other: Arc<DestinationHandles>,
    max: usize,
}

struct DestinationHandles {
    attempts: BTreeMap<(Arc<str>, &'static str), IntCounter>,
    ok: Histogram,
    error: Histogram,
    gauges: Option<(IntGauge, IntGauge)>,
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
    /// Registers every metric of [`METRICS`], with all label sets that are known now at 0.
    pub fn new(lanes: &[LaneConfig], max_destinations: usize, health: Arc<Health>) -> Self {
        let registry = Registry::new();
        let r = Maker(&registry);
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
            for result in ["ack", "nack", "returned", "timeout", "not_connected"] {
                confirms.with_label_values(&[purpose.label(), result]);
            }
        }
        let confirm_duration = r.histograms("quebert_publish_confirm_duration_seconds");
        let reconnects = r.counters("quebert_broker_reconnects_total");
        for reason in ["connect", "io", "heartbeat", "channel", "consumer", "closed"] {
            reconnects.with_label_values(&[reason]);
        }
        let reloads = r.counters("quebert_config_reloads_total");
        for result in ["ok", "error"] {
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
            delayed: r.gauges("quebert_queue_delayed_messages"),
            ready_bytes: r.gauges("quebert_queue_ready_bytes"),
            oldest_age: r.float_gauges("quebert_queue_oldest_age_seconds"),
            store_bytes: r.gauges("quebert_store_file_bytes"),
            timer_lag: r.histograms("quebert_runtime_timer_lag_seconds").with_label_values::<&str>(&[]),
            workers: r.gauge("quebert_runtime_workers"),
            alive_tasks: r.gauge("quebert_runtime_alive_tasks"),
            worker_busy: r.float_counters("quebert_runtime_worker_busy_seconds_total"),
            process: Process {
                cpu: r.float_counters("process_cpu_seconds_total").with_label_values::<&str>(&[]),
                resident: r.float_gauge("process_resident_memory_bytes"),
                virt: r.float_gauge("process_virtual_memory_bytes"),
                open_fds: r.float_gauge("process_open_fds"),
                max_fds: r.float_gauge("process_max_fds"),
                threads: r.float_gauge("process_threads"),
                start: r.float_gauge("process_start_time_seconds"),
            },
            health,
            registry,
        };
        metrics.reloaded_at_now();
        metrics
    }

    /// Names of mediators, so that their label sets start at 0.
    pub fn hooks(&self, names: &[&str]) {
        for name in names {
            for phase in ["before", "verdict", "after"] {
                self.hook_errors.with_label_values(&[name, phase]);
            }
            for phase in ["before", "after"] {
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

    /// A config was reloaded, or could not be.
    pub fn reloaded(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
        if ok {
            self.reloaded_at_now();
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

    /// What only some brokers can tell of a lane's queue, at the moment `now`.
    pub fn queue(&self, lane: &str, status: &PlaceStatus, now: Timestamp) {
        if let Some(delayed) = status.delayed {
            self.delayed.with_label_values(&[lane]).set(whole(delayed));
        }
        if let Some(bytes) = status.bytes {
            self.ready_bytes.with_label_values(&[lane]).set(whole(bytes));
        }
        let age = status.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        self.oldest_age.with_label_values(&[lane]).set(age.as_secs_f64());
    }

    /// The size of the embedded broker's file.
    pub fn store_bytes(&self, bytes: u64) {
        self.store_bytes.with_label_values::<&str>(&[]).set(whole(bytes));
    }

    /// How late a timer of the runtime fired.
    pub fn timer_lag(&self, lag: Duration) {
        self.timer_lag.observe(lag.as_secs_f64());
    }

    /// The text format, with [`CONTENT_TYPE`]. Takes some milliseconds per thousand series: call it where blocking is
    /// allowed.
    pub fn encode(&self) -> Vec<u8> {
        self.refresh();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory does not fail");
        text
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

    fn reloaded_at_now(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.reload_success.set(now.as_secs_f64());
    }

    fn refresh(&self) {
        self.ready.set(i64::from(self.health.ready()));
        if let Some(now) = process::read() {
            grow(&self.process.cpu, now.cpu_seconds);
            self.process.resident.set(now.resident_bytes);
            self.process.virt.set(now.virtual_bytes);
            self.process.open_fds.set(now.open_fds);
            self.process.max_fds.set(now.max_fds);
            self.process.threads.set(now.threads);
            self.process.start.set(now.start_seconds);
        }
        if let Ok(handle) = tokio::runtime::Handle::try_current() {
            let runtime = handle.metrics();
            self.workers.set(runtime.num_workers() as i64);
            self.alive_tasks.set(runtime.num_alive_tasks() as i64);
            for worker in 0..runtime.num_workers() {
                let busy = self.worker_busy.with_label_values(&[worker.to_string()]);
                grow(&busy, runtime.worker_total_busy_duration(worker).as_secs_f64());
            }
        }
    }

    fn destination(&self, destination: &quebert_wire::Destination) -> Arc<DestinationHandles> {
        let mut all = lock(&self.destinations);
        if let Some(handles) = all.known.get(destination) {
            return handles.clone();
        }
        if all.known.len() >= all.max {
            self.overflow.inc();
            return all.other.clone();
        }
        let name = destination.as_str();
        let gauges =
            (self.destination_in_flight.with_label_values(&[name]), self.destination_limit.with_label_values(&[name]));
        let lanes: Vec<_> = self.lanes.keys().cloned().collect();
        let handles = DestinationHandles::new(name, &lanes, &self.attempts, &self.dispatch_duration, Some(gauges));
        let handles = Arc::new(handles);
        all.known.insert(destination.clone(), handles.clone());
        handles
    }

    fn of_lane(&self, lane: &Arc<str>, event: &Event) {
        let Some(m) = self.lanes.get(lane) else { return };
        match event {
            Event::LaneOpen { open, .. } => m.open.set(i64::from(*open)),
            Event::Delivered { redelivered, .. } => m.deliveries[usize::from(*redelivered)].inc(),
            Event::Settled { result, attempts, age, .. } => {
                m.settlements[result].inc();
                if let (Some(histogram), Some(age)) = (m.durations.get(result), age) {
                    histogram.observe(age.as_secs_f64());
                }
                if let Some(histogram) = m.attempts.get(result) {
                    histogram.observe(f64::from(*attempts));
                }
            }
            Event::Waited { wait, skewed, .. } => {
                m.wait.observe(wait.as_secs_f64());
                m.skew.inc_by(u64::from(*skewed));
            }
            Event::Lag { lag, .. } => m.lag.observe(lag.as_secs_f64()),
            Event::AttemptStarted { body_bytes, .. } => m.body.observe(*body_bytes as f64),
            Event::AttemptEnded { destination, class, duration, .. } => {
                let handles = self.destination(destination);
                if let Some(counter) = handles.attempts.get(&(lane.clone(), *class)) {
                    counter.inc();
                }
                let histogram = if *class == "2xx" { &handles.ok } else { &handles.error };
                histogram.observe(duration.as_secs_f64());
            }
            Event::RetryScheduled { reason, .. } => m.retries[reason].inc(),
            Event::Buried { reason, .. } => m.buried[reason].inc(),
            Event::Expired { stage, .. } => m.expired[stage].inc(),
            Event::UnknownFields { .. } => m.unknown_fields.inc(),
            Event::Held { in_flight, buffered, .. } => {
                m.in_flight.set(i64::from(*in_flight));
                m.buffered.set(i64::from(*buffered));
            }
            _ => {}
        }
    }
}

impl Observer for Metrics {
    fn observe(&self, event: &Event) {
        match event {
            Event::BrokerConnected => self.broker_connected.set(1),
            Event::BrokerDisconnected { reason, .. } => {
                self.broker_connected.set(0);
                self.broker_blocked.set(0);
                self.reconnects.with_label_values(&[reason]).inc();
            }
            Event::BrokerBlocked(blocked) => self.broker_blocked.set(i64::from(*blocked)),
            Event::Published { purpose, result, duration } => {
                self.confirms.with_label_values(&[purpose.label(), result]).inc();
                if let Some(histogram) = self.confirm_duration.get(purpose.label()) {
                    histogram.observe(duration.as_secs_f64());
                }
            }
            Event::HookFailed { hook, phase, .. } => self.hook_errors.with_label_values(&[&**hook, *phase]).inc(),
            Event::HookRan { hook, phase, duration } => {
                self.hook_duration.with_label_values(&[&**hook, *phase]).observe(duration.as_secs_f64());
            }
            Event::DestinationInFlight { destination, in_flight, limit } => {
                if let Some((now, max)) = &self.destination(destination).gauges {
                    now.set(i64::from(*in_flight));
                    max.set(i64::from(*limit));
                }
            }
            Event::LaneOpen { lane, .. }
            | Event::Delivered { lane, .. }
            | Event::Settled { lane, .. }
            | Event::Waited { lane, .. }
            | Event::Lag { lane, .. }
            | Event::AttemptStarted { lane, .. }
            | Event::AttemptEnded { lane, .. }
            | Event::RetryScheduled { lane, .. }
            | Event::Buried { lane, .. }
            | Event::Expired { lane, .. }
            | Event::UnknownFields { lane, .. }
            | Event::Held { lane, .. } => self.of_lane(lane, event),
            _ => {}
        }
    }
}

impl DestinationHandles {
    fn new(
        name: &str,
        lanes: &[Arc<str>],
        attempts: &IntCounterVec,
        duration: &HistogramVec,
        gauges: Option<(IntGauge, IntGauge)>,
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

/// Makes metrics by their name in the list, so that nothing is exported that the list does not have.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn spec(name: &str) -> &'static Spec {
        METRICS.iter().find(|s| s.name == name).expect("every metric stands in the list: a test makes them all")
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels of the list are valid: a test makes them all");
        self.0.register(Box::new(collector.clone())).expect("each metric is made once");
        collector
    }

    fn opts(name: &str) -> (Opts, &'static [&'static str]) {
        let spec = Self::spec(name);
        (Opts::new(spec.name, spec.help), spec.labels)
    }

    fn counters(&self, name: &str) -> IntCounterVec {
        let (opts, labels) = Self::opts(name);
        self.register(IntCounterVec::new(opts, labels))
    }

    fn float_counters(&self, name: &str) -> CounterVec {
        let (opts, labels) = Self::opts(name);
        self.register(CounterVec::new(opts, labels))
    }

    fn gauges(&self, name: &str) -> IntGaugeVec {
        let (opts, labels) = Self::opts(name);
        self.register(IntGaugeVec::new(opts, labels))
    }

    fn gauge(&self, name: &str) -> IntGauge {
        self.gauges(name).with_label_values::<&str>(&[])
    }

    fn float_gauges(&self, name: &str) -> GaugeVec {
        let (opts, labels) = Self::opts(name);
        self.register(GaugeVec::new(opts, labels))
    }

    fn float_gauge(&self, name: &str) -> Gauge {
        self.float_gauges(name).with_label_values::<&str>(&[])
    }

    fn histograms(&self, name: &str) -> HistogramVec {
        let spec = Self::spec(name);
        let Kind::Histogram(buckets) = spec.kind else { panic!("{name} is a histogram in the list") };
        let opts = HistogramOpts::new(spec.name, spec.help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, spec.labels))
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the lock guards is whole after each statement, so a panic of another holder leaves nothing broken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
