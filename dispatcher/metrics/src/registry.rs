//! All metrics of one dispatcher, in a registry of their own. What must be asked of the broker, of the process and of the
//! runtime is set from outside.

use crate::{
    destinations::Destinations,
    exposition::{self, Format},
    health::Health,
    histogram::{Histogram, Histograms},
    lane::Lane,
    list::{DISCONNECTS, PHASES, PUBLISH_RESULTS, RELOADS, TIMED_PHASES},
    maker::Maker,
    process::{Process, ProcessReading, Runtime, RuntimeReading},
};
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, proto::MetricFamily};
use quebert_dispatcher::{config::LaneConfig, event::Purpose, ports::broker::Depth};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// The classic format's, for who has no choice.
pub const CONTENT_TYPE: &str = Format::Classic.content_type();

/// All metrics of one dispatcher. Two of them in a process don't collide.
pub struct Metrics {
    registry: Registry,
    histograms: Mutex<BTreeMap<&'static str, Histograms>>,
    health: Arc<Health>,
    lanes: Vec<Lane>,
    pub(crate) destinations: Destinations,
    /// By purpose, in the order of the enum; by result, in the list's order.
    pub(crate) confirms: [Confirms; Purpose::ALL.len()],
    pub(crate) reconnects: IntCounterVec,
    pub(crate) hook_errors: IntCounterVec,
    pub(crate) hook_duration: Histograms,
    reloads: IntCounterVec,
    reload_success: Gauge,
    pub(crate) broker_connected: IntGauge,
    pub(crate) broker_blocked: IntGauge,
    ready: IntGauge,
    /// These have no series before the broker has told of them.
    delayed: IntGaugeVec,
    ready_bytes: IntGaugeVec,
    store_bytes: IntGaugeVec,
    timer_lag: Arc<Histogram>,
    /// No series before somebody has told of a runtime, or of a process: a simulated dispatcher has neither.
    runtime: OnceLock<Runtime>,
    process: OnceLock<Process>,
}

/// What became of publishes for one purpose.
pub(crate) struct Confirms {
    pub(crate) results: [IntCounter; PUBLISH_RESULTS.len()],
    pub(crate) duration: Arc<Histogram>,
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
        let (registry, histograms) = (Registry::new(), Mutex::default());
        let slos: Vec<f64> = slos.iter().map(Duration::as_secs_f64).collect();
        let r = Maker { registry: &registry, slos: &slos, histograms: &histograms };
        r.gauges("quebert_build_info")
            .with_label_values(&[env!("CARGO_PKG_VERSION"), option_env!("QUEBERT_REVISION").unwrap_or("unknown")])
            .set(1);
        let names = lanes.iter().map(|lane| lane.name.clone()).collect();
        let metrics = Self {
            lanes: Lane::all(lanes, &r),
            destinations: Destinations::new(max_destinations, names, &r),
            confirms: confirms(&r),
            reconnects: each(r.counters("quebert_broker_reconnects_total"), &DISCONNECTS),
            hook_errors: r.counters("quebert_hook_errors_total"),
            hook_duration: r.histograms("quebert_hook_duration_seconds"),
            reloads: each(r.counters("quebert_config_reloads_total"), &RELOADS),
            reload_success: r.float_gauge("quebert_config_last_reload_success_timestamp_seconds"),
            broker_connected: r.gauge("quebert_broker_connected"),
            broker_blocked: r.gauge("quebert_broker_blocked"),
            ready: r.gauge("quebert_ready"),
            delayed: r.gauges("quebert_retry_pending_messages"),
            ready_bytes: r.gauges("quebert_queue_ready_bytes"),
            store_bytes: r.gauges("quebert_store_file_bytes"),
            timer_lag: r.histograms("quebert_runtime_timer_lag_seconds").of(&[]),
            runtime: OnceLock::new(),
            process: OnceLock::new(),
            health,
            registry,
            histograms,
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
                self.hook_duration.of(&[name, phase]);
            }
        }
    }

    /// The lanes' limits, after a reload. Windows stay until a restart.
    pub fn limits(&self, lanes: &[LaneConfig]) {
        for config in lanes {
            if let Some((_, lane)) = self.lane(&config.name) {
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
        if let Some(lane) = self.lane_named(lane) {
            lane.depth(queue, dead);
        }
    }

    /// What only some brokers can tell of a lane's queue.
    pub fn waiting(&self, lane: &str, waiting: &Waiting) {
        let Some(series) = self.lane_named(lane) else { return };
        if let Some(delayed) = waiting.delayed {
            self.delayed.with_label_values(&[lane]).set(whole(delayed));
        }
        if let Some(bytes) = waiting.bytes {
            self.ready_bytes.with_label_values(&[lane]).set(whole(bytes));
        }
        series.head_age.set(waiting.head_age.as_secs_f64());
    }

    /// For a broker that can't tell [`Waiting`]: how old the head of a lane's queue is at most, now that `ready` wait.
    pub fn head_age(&self, lane: &str, ready: u64, now: Timestamp) {
        if let Some(lane) = self.lane_named(lane) {
            lane.head_age(ready, now);
        }
    }

    /// The size of the embedded broker's file.
    pub fn store_bytes(&self, bytes: u64) {
        self.store_bytes.with_label_values::<&str>(&[]).set(whole(bytes));
    }

    /// How late a timer of the runtime fired.
    pub fn timer_lag(&self, lag: Duration) {
        self.timer_lag.time(lag);
    }

    /// What the process knows of itself. Counters never fall, whatever is told.
    pub fn process(&self, reading: &ProcessReading) {
        self.process.get_or_init(|| Process::new(&self.maker())).set(reading);
    }

    /// What the runtime knows of itself.
    pub fn runtime(&self, reading: &RuntimeReading) {
        self.runtime.get_or_init(|| Runtime::new(&self.maker())).set(reading);
    }

    /// The classic text format, with [`CONTENT_TYPE`].
    pub fn encode(&self) -> Vec<u8> {
        self.text(Format::Classic).into_bytes()
    }

    /// Everything, in the words of a scraper. Takes about a millisecond per thousand series: call it where blocking is
    /// allowed. Exemplars are told until others take their place, which they may from now on.
    pub fn text(&self, format: Format) -> String {
        exposition::write(&self.gather(), &lock(&self.histograms), format)
    }

    /// Everything, as data: families and their metrics in the order of names and labels.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.ready.set(i64::from(self.health.ready()));
        self.registry.gather()
    }

    /// Deliveries less settlements less what is held, per lane: 0 everywhere, or something was lost track of.
    pub fn imbalance(&self) -> BTreeMap<Arc<str>, i64> {
        self.lanes.iter().map(|lane| (lane.name.clone(), lane.imbalance())).collect()
    }

    /// A lane and its number. The dispatcher's names are the very ones that the lanes were made with, as a rule, so that
    /// no letter needs to be compared.
    pub(crate) fn lane(&self, name: &Arc<str>) -> Option<(usize, &Lane)> {
        let same = self.lanes.iter().position(|lane| Arc::ptr_eq(&lane.name, name));
        let at = same.or_else(|| self.lanes.iter().position(|lane| lane.name == *name))?;
        Some((at, &self.lanes[at]))
    }

    fn lane_named(&self, name: &str) -> Option<&Lane> {
        self.lanes.iter().find(|lane| &*lane.name == name)
    }

    fn maker(&self) -> Maker<'_> {
        Maker { registry: &self.registry, slos: &[], histograms: &self.histograms }
    }

    fn reloaded_at(&self, now: Timestamp) {
        self.reload_success.set(now.as_millis() as f64 / 1000.0);
    }
}

fn confirms(r: &Maker<'_>) -> [Confirms; Purpose::ALL.len()] {
    let counters = r.counters("quebert_publish_confirms_total");
    let durations = r.histograms("quebert_publish_confirm_duration_seconds");
    Purpose::ALL.map(|purpose| Confirms {
        results: PUBLISH_RESULTS.map(|result| counters.with_label_values(&[purpose.label(), result])),
        duration: durations.of(&[purpose.label()]),
    })
}

/// With all values of its one label at 0.
fn each(counters: IntCounterVec, values: &[&str]) -> IntCounterVec {
    for value in values {
        counters.with_label_values(&[value]);
    }
    counters
}

pub(crate) fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the lock guards is whole after each statement, so a panic of another holder leaves nothing broken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
