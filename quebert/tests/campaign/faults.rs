//! Faults that leave the broker's process alive, in one run of one dispatcher, one after the other: what is closed,
//! frozen, short of memory or deleted comes back, and in the meantime nobody runs hot.

use super::{
    dispatcher::{Dispatcher, LIMIT},
    ledger::Moment,
    producer::Plan,
    world::{World, say},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Tasks of each part, and how many a second.
const TASKS: usize = 1_200;
const RATE: f64 = 400.0;
/// How much of a core a dispatcher may take that has nothing to do but wait for its broker. Measured: see
/// docs/guarantees.md. A busy loop takes all of one.
const IDLE_CPU_MAX: f64 = 0.5;
/// Counts what left the lane `high` for the delay grid.
const MOVED: &str = "quebert_settlements_total{queue=\"high\",result=\"retried\"}";

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_recovers_by_itself_from_every_fault_and_never_runs_hot() {
    let world = World::start("faults", "heartbeat = \"2s\"\nconnect_timeout = \"3s\"\nconfirm_timeout = \"10s\"").await;
    let dispatcher = world.dispatcher().await;
    dispatcher.ready(LIMIT).await;
    let (start, before) = (Instant::now(), Operations::of(&world).await);

    closed_connections(&world, &dispatcher).await;
    let frozen_cpu = frozen(&world, &dispatcher).await;
    let blocked_cpu = memory_alarm(&world, &dispatcher).await;
    deleted_queue(&world, &dispatcher).await;

    world.consumers_are(1).await;
    let spent = Operations::of(&world).await.since(before, start.elapsed());
    say(&format!(
        "campaign faults: {spent:.1?}, {frozen_cpu:.2} of a core while frozen, {blocked_cpu:.2} while blocked"
    ));
    let judgement = world.ledger.judge();
    // One session of two connections for each fault at most, some tries, and the producer's own.
    assert!(spent.connections < 1.0, "{spent:?}");
    assert!(spent.channels < 15.0 && spent.declares < 5.0, "{spent:?}");
    // Each message is delivered once from its queue and once from the grid for a retry, and again after a fault.
    let deliveries = spent.deliveries / judgement.executions as f64;
    assert!(deliveries < 1.5, "{deliveries} deliveries for each request");
    assert!(frozen_cpu < IDLE_CPU_MAX && blocked_cpu < IDLE_CPU_MAX, "{frozen_cpu} {blocked_cpu}");
    dispatcher.stop().await;
    world.nothing_is_left().await;
    world.verdict("faults", "connections closed, broker frozen, memory alarm, queue deleted");
}

async fn closed_connections(world: &World, dispatcher: &Dispatcher) {
    let producer = world.flow("closed").await;
    let sessions = dispatcher.sum("quebert_broker_reconnects_total").await;
    let from = Moment::now();
    world.node.ctl(&["close_all_connections", "campaign"]).await.unwrap();
    until("the session is lost", async || dispatcher.sum("quebert_broker_reconnects_total").await > sessions).await;
    dispatcher.ready(LIMIT).await;
    world.ledger.fault_since("all connections closed", from);
    producer.await.unwrap();
    world.all_done(LIMIT).await;
    world.consumers_are(1).await;
}

/// Returns the part of a core that the dispatcher took meanwhile.
async fn frozen(world: &World, dispatcher: &Dispatcher) -> f64 {
    let producer = world.flow("frozen").await;
    let from = Moment::now();
    world.node.freeze();
    // Two missed heartbeats of 2 s.
    until("it is noticed", async || dispatcher.metric("quebert_broker_connected").await == Some(0.0)).await;
    let cpu = cpu(dispatcher).await;
    world.node.thaw();
    dispatcher.ready(LIMIT).await;
    world.ledger.fault_since("broker frozen", from);
    producer.await.unwrap();
    world.all_done(LIMIT).await;
    world.consumers_are(1).await;
    cpu
}

/// Returns the part of a core that the dispatcher took meanwhile.
async fn memory_alarm(world: &World, dispatcher: &Dispatcher) -> f64 {
    // Each is moved when it is due, and one of them is so every half second: a publish in the alarm, however long setting
    // it takes.
    let moved = dispatcher.metric(MOVED).await.unwrap_or_default();
    let delays = (0..50).map(|n| Duration::from_millis(3_000 + 500 * n));
    let plan = |delay| Plan { id: format!("alarmed-{delay:?}"), queue: "quebert.high".into(), delay: Some(delay) };
    world.publish(delays.map(plan).collect(), RATE).await.unwrap();
    until("they wait in the delay grid", async || dispatcher.metric(MOVED).await.unwrap_or_default() >= moved + 50.0)
        .await;
    let producer = world.flow("alarm").await;
    let from = Moment::now();
    world.node.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await.unwrap();
    // Told when it next publishes.
    until("publishes are blocked", async || dispatcher.metric("quebert_broker_blocked").await == Some(1.0)).await;
    let cpu = cpu(dispatcher).await;
    world.node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    until("publishes go on", async || dispatcher.metric("quebert_broker_blocked").await == Some(0.0)).await;
    dispatcher.ready(LIMIT).await;
    world.ledger.fault_since("memory alarm", from);
    producer.await.unwrap();
    world.all_done(LIMIT).await;
    cpu
}

/// Tasks that stood in the queue are gone with it by its owner's wish. Those under way and those in the delay grid are
/// not.
async fn deleted_queue(world: &World, dispatcher: &Dispatcher) {
    let sessions = dispatcher.sum("quebert_broker_reconnects_total").await;
    let before = dispatcher.metric(MOVED).await.unwrap_or_default();
    let plan = |kind: &str, n: usize, delay| Plan { id: format!("{kind}-{n}"), queue: "quebert.high".into(), delay };
    let waiting = (0..40).map(|n| plan("waits", n, Some(Duration::from_secs(5)))).collect();
    world.publish(waiting, RATE).await.unwrap();
    let moved = async || dispatcher.metric(MOVED).await.unwrap_or_default() >= before + 40.0;
    until("they wait in the delay grid", moved).await;
    let executions = world.ledger.counts().executions;
    let slow: Vec<_> = (0..8).map(|n| plan("slow", n, None)).collect();
    let wanted = executions + slow.len();
    world.publish(slow, RATE).await.unwrap();
    world.ledger.wait_until("all are under way", LIMIT, |counts| counts.executions >= wanted).await;
    let from = Moment::now();
    world.node.ctl(&["delete_queue", "quebert.high"]).await.unwrap();
    world.consumers_are(1).await;
    dispatcher.ready(LIMIT).await;
    world.ledger.fault_since("queue deleted", from);
    world.publish(world.plans("after", 300), RATE).await.unwrap();
    world.all_done(LIMIT).await;
    assert_eq!(
        dispatcher.sum("quebert_broker_reconnects_total").await,
        sessions,
        "the session and its other lane go on"
    );
}

impl World {
    /// Tasks that flow: a third is published when this returns.
    async fn flow(&self, name: &str) -> tokio::task::JoinHandle<()> {
        let wanted = self.ledger.counts().confirmed + TASKS / 3;
        let producer = self.publish(self.plans(name, TASKS), RATE);
        self.ledger.wait_until("tasks flow", LIMIT, |counts| counts.confirmed >= wanted).await;
        producer
    }
}

/// Waits for a fact that can only be asked for.
async fn until(what: &str, fact: impl AsyncFn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !fact().await {
        assert!(Instant::now() < end, "not within {LIMIT:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The part of a core that the dispatcher takes, measured over 5 s of the fault.
async fn cpu(dispatcher: &Dispatcher) -> f64 {
    let series = "process_cpu_seconds_total";
    let (start, before) = (Instant::now(), dispatcher.metric(series).await.unwrap());
    sleep(Duration::from_secs(5)).await;
    (dispatcher.metric(series).await.unwrap() - before) / start.elapsed().as_secs_f64()
}

/// What the broker itself counted: since its start, or a second.
#[derive(Debug, Clone, Copy)]
struct Operations {
    connections: f64,
    channels: f64,
    declares: f64,
    /// In all.
    deliveries: f64,
}

impl Operations {
    async fn of(world: &World) -> Self {
        // {Node, ConnectionsCreated, ConnectionsClosed, ChannelsCreated, ChannelsClosed, Declared, Created, Deleted}
        let churn = world.node.ctl(&["eval", "hd(ets:tab2list(connection_churn_metrics))."]).await.unwrap();
        let churn: Vec<f64> =
            churn.trim().trim_matches(['{', '}']).split(',').filter_map(|n| n.trim().parse().ok()).collect();
        let all = "lists:sum([maps:get(messages_delivered_total, M, 0) || M <- maps:values(rabbit_global_counters:overview())]).";
        let deliveries = world.node.ctl(&["eval", all]).await.unwrap().trim().parse().unwrap();
        Self { connections: churn[0], channels: churn[2], declares: churn[4], deliveries }
    }

    /// What was done since, a second.
    fn since(self, before: Self, time: Duration) -> Self {
        let rate = |now: f64, before: f64| (now - before) / time.as_secs_f64();
        Self {
            connections: rate(self.connections, before.connections),
            channels: rate(self.channels, before.channels),
            declares: rate(self.declares, before.declares),
            deliveries: self.deliveries - before.deliveries,
        }
    }
}
