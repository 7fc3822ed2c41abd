//! One contestant's process: takes its tasks, and tells what they cost.
//!
//! CPU is read twice: once the warm-up's tasks are done, and once all are. What comes before and after (connecting,
//! certificates, closing) is not counted.

use crate::{Contestant, Fault, current_thread, minimal, process, shipped};
use clap::Args;
use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// What a contestant is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Orders {
    #[arg(value_enum)]
    pub(crate) contestant: Contestant,
    #[arg(long)]
    pub(crate) broker: String,
    #[arg(long)]
    pub(crate) queue: String,
    #[arg(long)]
    pub(crate) window: u16,
    /// Requests under way.
    #[arg(long)]
    pub(crate) slots: u32,
    /// Tasks before the first look.
    #[arg(long)]
    pub(crate) warm_up: u64,
    /// Tasks after it; 0 runs until it is killed.
    #[arg(long)]
    pub(crate) tasks: u64,
    #[arg(long)]
    pub(crate) workers: usize,
    /// Processes whose CPU is told beside one's own.
    #[arg(long, value_delimiter = ',')]
    pub(crate) others: Vec<u32>,
    /// Whom Quebert trusts beside the system's authorities.
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
}

impl Orders {
    /// As arguments of this program.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let others: Vec<String> = self.others.iter().map(u32::to_string).collect();
        let mut arguments = vec!["run".to_owned(), self.contestant.to_string()];
        for (name, value) in [
            ("--broker", self.broker.clone()),
            ("--queue", self.queue.clone()),
            ("--window", self.window.to_string()),
            ("--slots", self.slots.to_string()),
            ("--warm-up", self.warm_up.to_string()),
            ("--tasks", self.tasks.to_string()),
            ("--workers", self.workers.to_string()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        if !others.is_empty() {
            arguments.extend(["--others".to_owned(), others.join(",")]);
        }
        if let Some(ca) = &self.ca {
            arguments.extend(["--ca".to_owned(), ca.display().to_string()]);
        }
        arguments
    }
}

/// Counts tasks down, and looks at the clocks at the two moments.
pub(crate) struct Progress {
    done: AtomicU64,
    warm_up: u64,
    all: u64,
    others: Vec<u32>,
    first: std::sync::OnceLock<Look>,
    last: std::sync::OnceLock<Look>,
    end: Notify,
}

struct Look {
    at: Instant,
    cpu: Vec<f64>,
}

impl Progress {
    fn new(orders: &Orders) -> Self {
        let all = if orders.tasks == 0 { u64::MAX } else { orders.warm_up + orders.tasks };
        Self {
            done: AtomicU64::new(0),
            warm_up: orders.warm_up.max(1),
            all,
            others: orders.others.clone(),
            first: std::sync::OnceLock::new(),
            last: std::sync::OnceLock::new(),
            end: Notify::new(),
        }
    }

    /// A task is done and its ack is under way.
    pub(crate) fn one_done(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done == self.warm_up {
            self.first.get_or_init(|| self.look());
        }
        if done == self.all {
            self.last.get_or_init(|| self.look());
            self.end.notify_one();
        }
    }

    /// Waits until all are done.
    pub(crate) async fn end(&self) {
        self.end.notified().await;
    }

    fn look(&self) -> Look {
        let pids = std::iter::once(std::process::id()).chain(self.others.iter().copied());
        Look { at: Instant::now(), cpu: pids.map(|pid| process::cpu_seconds(pid).unwrap_or(f64::NAN)).collect() }
    }

    fn told(&self) -> Option<String> {
        let (first, last) = (self.first.get()?, self.last.get()?);
        let wall: Duration = last.at - first.at;
        let cpu = first.cpu.iter().zip(&last.cpu).map(|(first, last)| format!(" {:.2}", last - first));
        Some(format!("{:.3}{}", wall.as_secs_f64(), cpu.collect::<String>()))
    }
}

/// Runs to the end, and prints wall seconds and the CPU seconds of this process and of the others.
pub(crate) fn run(orders: &Orders) -> Result<(), Fault> {
    let progress = std::sync::Arc::new(Progress::new(orders));
    match orders.contestant {
        Contestant::Shipped => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = runtime.worker_threads(orders.workers.max(1)).enable_all().build()?;
            runtime.block_on(shipped::run(orders, progress.clone()))?;
        }
        Contestant::Batch => current_thread()?.block_on(minimal::run(orders, true, progress.clone()))?,
        Contestant::Single => current_thread()?.block_on(minimal::run(orders, false, progress.clone()))?,
        rival @ (Contestant::Node | Contestant::Aio | Contestant::Celery) => {
            return Err(format!("{rival} is a program of its own, for --cpu alone").into());
        }
    }
    if let Some(told) = progress.told() {
        println!("{told}");
    }
    Ok(())
}
