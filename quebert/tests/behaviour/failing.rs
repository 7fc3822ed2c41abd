//! An executor that always fails costs a bounded number of requests, and of operations at the broker.

use crate::site::{LONG, Site};
use quebert::{
    Broker, BuryReason, Envelope, Message, Settlement, Target, compose,
    wire::{Form, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Reply};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{BrokerEvent, Depth, PublishError, Source, Tag},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const TASKS: u64 = 50;

/// A broker that counts what is asked of it, and what it delivers.
struct Counting {
    inner: Arc<dyn Broker>,
    operations: Arc<AtomicU64>,
}

impl Counting {
    fn over(site: &Site) -> (Self, Arc<AtomicU64>) {
        let operations = Arc::<AtomicU64>::default();
        (Self { inner: compose::broker(&site.config).unwrap(), operations: operations.clone() }, operations)
    }

    fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }
}

impl Broker for Counting {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let mut events = self.inner.start();
        let (sender, receiver) = mpsc::channel(64);
        let operations = self.operations.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                operations.fetch_add(1, Ordering::Relaxed);
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        self.count();
        self.inner.open(source, window);
    }

    fn close(&self, source: &Source) {
        self.count();
        self.inner.close(source);
    }

    fn pause(&self, source: &Source) {
        self.inner.pause(source);
    }

    fn ack(&self, tag: Tag) {
        self.count();
        self.inner.ack(tag);
    }

    fn give_back(&self, tag: Tag) {
        self.count();
        self.inner.give_back(tag);
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.count();
        self.inner.publish(target, message)
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        self.inner.depth(target)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        self.inner.stop()
    }
}

fn tasks(url: &str) -> impl Iterator<Item = Message> {
    (0..TASKS).map(move |n| {
        let envelope = Envelope { id: Some(format!("t{n}")), ..Envelope::new(url) };
        envelope.to_message(Form::Envelope(&JsonCodec)).unwrap()
    })
}

/// Delivery and ack at the work queue, publish, delivery and ack at the delay queue, and the publish back.
const OPERATIONS_OF_A_RETRY: u64 = 6;
/// Opening queues, first of all those of the delay grid.
const OPERATIONS_BESIDE: u64 = 100;

/// Whatever the failure, each task costs its attempts and no more, spaced by the backoff, and ends as a dead letter.
async fn fails(name: &str, url: &str) {
    let policy = "
        lanes.work.slots_max = 8
        retry.backoff_min = \"200ms\"
        retry.backoff_max = \"1500ms\"
        retry.factor = 2.0
        retry.max_attempts = 5";
    let site = Site::new(name, policy).await;
    let (broker, operations) = Counting::over(&site);
    let dispatching = site.run_over(broker).await;
    site.publish_all("work", tasks(url)).await;
    let started = Instant::now();
    dispatching.until_over(TASKS).await;
    let taken = started.elapsed();
    {
        let seen = dispatching.seen();
        assert_eq!(seen.settled_as(Settlement::DeadLettered), TASKS);
        assert_eq!(seen.attempts.len() as u64, 5 * TASKS, "attempts");
        for attempt in &seen.attempts {
            assert!(attempt.due.is_none_or(|due| attempt.at >= due), "early: {attempt:?}");
        }
        assert!(seen.buried.iter().all(|(_, reason, _)| *reason == BuryReason::MaxAttempts), "{:?}", seen.buried);
    }
    // 0.2 + 0.4 + 0.8 + 1.5 s at the longest, half of that at the shortest.
    let least: Duration = (1..5).map(|made| site.config.core.lanes[0].retry.bounds(made).0).sum();
    assert!(taken >= least, "{taken:?}");
    let operations = operations.load(Ordering::Relaxed);
    let most = 5 * OPERATIONS_OF_A_RETRY * TASKS + OPERATIONS_BESIDE;
    assert!(operations <= most, "{operations} operations at the broker, at most {most} are right");
    site.dead("work", usize::try_from(TASKS).unwrap()).await;
    dispatching.end(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_answers_500_gets_no_more_than_the_attempts_allowed() {
    let executor = Executor::start(|_| Reply::status(500)).await;
    fails("failing-500", &executor.url("/")).await;
    assert_eq!(executor.counts().requests as u64, 5 * TASKS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_resets_connections_gets_no_more_than_the_attempts_allowed() {
    let executor = Executor::start(|_| Reply::Reset).await;
    fails("failing-reset", &executor.url("/")).await;
    assert_eq!(executor.counts().requests as u64, 5 * TASKS, "none is silently sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_is_down_is_no_hot_loop() {
    let gone = Executor::start(|_| Reply::status(500)).await.url("/");
    fails("failing-down", &gone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_wait_cost_nothing() {
    let policy = "
        lanes.work.slots_max = 8
        retry.backoff_min = \"100s\"";
    let site = Site::new("failing-waiting", policy).await;
    let executor = Executor::start(|_| Reply::status(503)).await;
    let (broker, operations) = Counting::over(&site);
    let dispatching = site.run_over(broker).await;
    site.publish_all("work", tasks(&executor.url("/"))).await;
    dispatching.until("all wait", |seen| seen.settled_as(Settlement::Retried) == TASKS).await;
    // Heads are delivered once, up to the window; after that there is nothing to do.
    let mut before = operations.load(Ordering::Relaxed);
    let quiet = tokio::time::timeout(LONG, async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = operations.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    });
    quiet.await.expect("two seconds without any operation at the broker");
    assert!(before <= OPERATIONS_OF_A_RETRY * TASKS + OPERATIONS_BESIDE, "{before}");
    assert_eq!(executor.counts().requests as u64, TASKS);
    dispatching.stop().await;
}
