//! `quebert demo`: the main job with nothing installed. A broker in memory, a sample executor, tasks of three priorities;
//! what happens is printed as it happens, and the sums at the end add up.

use super::Failure;
use crate::{app::App, config::Config, sample::SampleExecutor};
use clap::Args;
use quebert_dispatcher::{
    event::{Event, Settlement},
    memory::MemoryBroker,
    ports::{
        broker::{Broker as _, Target},
        observer::Observer,
    },
    shell::Summary,
};
use quebert_wire::{Envelope, Message, TaskId};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// What the demo goes by: quick retries, and few attempts, so that it ends soon.
const CONFIG: &str = r#"
[retry]
backoff_min = "500ms"
backoff_max = "2s"
max_attempts = 4

[lanes.high]
priority = 2
slots_max = 4

[lanes.medium]
priority = 1
slots_max = 4

[lanes.low]
slots_max = 2

[pool]
slots = 5

[http.guard]
enabled = false

[admin]
listen = ""
"#;

/// What the sample executor is asked for, in turn: mostly it works, now and then it does not.
const PATHS: [&str; 10] = ["ok", "ok", "flaky", "ok", "slow", "ok", "busy", "ok", "slow", "flaky"];

/// Flags of `quebert demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many tasks
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tasks: u32,
    /// How long they take to be enqueued
    #[arg(long, default_value_t = 8.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,
}

pub(super) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let failed = |what| move |e: Box<dyn std::error::Error + Send + Sync>| Failure::Other { what, source: e };
    let executor = SampleExecutor::start().await.map_err(|e| failed("start the sample executor")(e.into()))?;
    let config = Config::from_toml(CONFIG)?;
    let lanes: Vec<_> = config.core.lanes.iter().map(|l| (l.name.clone(), l.queue.clone())).collect();
    let broker = MemoryBroker::new();
    lanes.iter().for_each(|(_, queue)| broker.declare(queue));
    let progress = Arc::new(Progress {
        start: Instant::now(),
        open: AtomicU32::new(args.tasks),
        over: Notify::new(),
        attempts: Mutex::default(),
    });
    let mut out = io::stdout();
    writeln!(out, "{} tasks of three priorities, five at a time, to an executor that fails now and then.", args.tasks)?;
    writeln!(out, "Here the broker lives in memory. Ctrl-C ends it.\n")?;
    let mut running = App::new(config).broker(broker.clone()).observer(progress.clone()).start()?;

    let producer = tokio::spawn(async move {
        let pause = Duration::from_secs_f64(args.seconds / f64::from(args.tasks));
        for n in 0..args.tasks {
            let (_, queue) = &lanes[n as usize % lanes.len()];
            // One task in twenty-five is refused for good: it becomes a dead letter.
            let path = if n % 25 == 17 { "gone" } else { PATHS[n as usize % PATHS.len()] };
            let mut envelope = Envelope::new(executor.url(&format!("/{path}")));
            envelope.id = Some(format!("{path}-{n:02}"));
            let body = serde_json::to_vec(&envelope).expect("an envelope is plain data");
            let message = Message {
                id: envelope.id,
                content_type: Some("application/json".to_owned()),
                body: body.into(),
                ..Message::default()
            };
            broker.publish(Target::Queue(queue.clone()), message).await?;
            tokio::time::sleep(pause).await;
        }
        // The executor must outlive the last attempt.
        Ok::<_, quebert_dispatcher::ports::broker::PublishError>(executor)
    });
    let mut signals = crate::signals::Signals::new();
    let interrupted = tokio::select! {
        () = progress.over.notified() => false,
        _ = signals.stop() => true,
    };
    running.handle.drain(Duration::from_secs(5));
    let summary = running.end().await;
    if interrupted {
        producer.abort();
    } else {
        let enqueued = producer.await.map_err(|e| failed("enqueue")(e.into()))?;
        drop(enqueued.map_err(|e| failed("enqueue")(e.into()))?);
    }
    sums(&mut out, &args, &progress, &summary)?;
    let balanced = summary.held == 0 && running.metrics.imbalance().values().all(|n| *n == 0);
    if balanced && !interrupted { Ok(()) } else { Err(Failure::Partly) }
}

fn sums(out: &mut impl io::Write, args: &DemoArgs, progress: &Progress, summary: &Summary) -> io::Result<()> {
    let count = |s: Settlement| summary.settlements.get(&s).copied().unwrap_or(0);
    let settled: u64 = summary.settlements.values().sum();
    let took = progress.start.elapsed().as_secs_f64();
    let open = progress.open.load(Ordering::Relaxed);
    writeln!(
        out,
        "\n{} tasks in {took:.1} s: {} done, {} dead-lettered, {} expired, {open} open",
        args.tasks,
        count(Settlement::Succeeded),
        count(Settlement::DeadLettered),
        count(Settlement::Expired)
    )?;
    let parts: Vec<_> =
        summary.settlements.iter().filter(|(_, n)| **n > 0).map(|(s, n)| format!("{n} {}", s.label())).collect();
    let sign = if summary.deliveries == settled + summary.held { "=" } else { "!=" };
    writeln!(
        out,
        "{} deliveries {sign} {settled} settlements ({}) + {} held",
        summary.deliveries,
        parts.join(" + "),
        summary.held
    )
}

/// Prints what happens, and knows when all has happened.
struct Progress {
    start: Instant,
    open: AtomicU32,
    over: Notify,
    attempts: Mutex<BTreeMap<TaskId, String>>,
}

impl Progress {
    /// Prints an attempt together with what came of it.
    fn say(&self, lane: &str, task: &TaskId, fate: std::fmt::Arguments<'_>) {
        let at = self.start.elapsed().as_secs_f64();
        let attempt = self.attempts().remove(task).unwrap_or_default();
        // Nobody reads any more: the demo goes on and ends as it would.
        drop(writeln!(io::stdout(), "{at:6.2}s  {lane:<6}  {:<9} {attempt:<28} {fate}", task.as_str()));
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<TaskId, String>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) {
        if self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.notify_one();
        }
    }
}

impl Observer for Progress {
    fn observe(&self, event: &Event) {
        match event {
            Event::AttemptEnded { task, number, status, class, duration, .. } => {
                let status = status.map_or_else(|| (*class).to_owned(), |s| s.to_string());
                let attempt = format!("attempt {number}: {status} in {} ms", duration.as_millis());
                self.attempts().insert(task.clone(), attempt);
            }
            Event::RetryScheduled { lane, task, delay, .. } => {
                self.say(lane, task, format_args!("again in {:.1} s", delay.as_secs_f64()));
            }
            Event::Settled { lane, task: Some(task), result, .. } => {
                match result {
                    Settlement::Succeeded => self.say(lane, task, format_args!("done")),
                    Settlement::DeadLettered => self.say(lane, task, format_args!("given up: kept as a dead letter")),
                    Settlement::Expired | Settlement::Filtered => self.say(lane, task, format_args!("over")),
                    Settlement::Retried | Settlement::Requeued | Settlement::Duplicate => return,
                }
                self.ended();
            }
            _ => {}
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || "must be a number from 0 to 3600".to_owned();
    text.parse().ok().filter(|n| (0.0..=3600.0).contains(n)).ok_or_else(wrong)
}
