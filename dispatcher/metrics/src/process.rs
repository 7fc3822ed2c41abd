//! What a process and its runtime know of themselves, as somebody tells it: nothing is read here.

use crate::{maker::Maker, registry::whole};
use prometheus::{Counter, CounterVec, Gauge, IntGauge};
use std::time::Duration;

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

pub(crate) struct Runtime {
    workers: IntGauge,
    alive_tasks: IntGauge,
    busy: CounterVec,
}

pub(crate) struct Process {
    cpu: Counter,
    resident: Gauge,
    virt: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
    start: Gauge,
}

impl Runtime {
    pub(crate) fn new(r: &Maker<'_>) -> Self {
        Self {
            workers: r.gauge("quebert_runtime_workers"),
            alive_tasks: r.gauge("quebert_runtime_alive_tasks"),
            busy: r.float_counters("quebert_runtime_worker_busy_seconds_total"),
        }
    }

    pub(crate) fn set(&self, reading: &RuntimeReading) {
        self.workers.set(whole(reading.busy.len() as u64));
        self.alive_tasks.set(whole(reading.alive_tasks as u64));
        for (worker, busy) in reading.busy.iter().enumerate() {
            grow(&self.busy.with_label_values(&[worker.to_string()]), busy.as_secs_f64());
        }
    }
}

impl Process {
    pub(crate) fn new(r: &Maker<'_>) -> Self {
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

    pub(crate) fn set(&self, reading: &ProcessReading) {
        grow(&self.cpu, reading.cpu_seconds);
        self.resident.set(reading.resident_bytes);
        self.virt.set(reading.virtual_bytes);
        self.open_fds.set(reading.open_fds);
        self.max_fds.set(reading.max_fds);
        self.threads.set(reading.threads);
        self.start.set(reading.start_seconds);
    }
}

/// Brings a counter up to a total that is counted elsewhere.
fn grow(counter: &Counter, total: f64) {
    let more = total - counter.get();
    if more > 0.0 {
        counter.inc_by(more);
    }
}
