//! Faults of a real RabbitMQ: the adapter recovers by itself, loses nothing, and hurts nobody while it tries.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    amqp::{LaneTopology, RIPE_AFTER, RabbitBroker, RabbitConfig, Topology},
    testing::{PrivateRabbit, rabbit::free_port},
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker, BrokerEvent, Delivery, Depth, Opening, PublishError, Source, Target},
};
use quebert_wire::Message;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, MutexGuard, OnceCell, mpsc},
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(60);

/// One node, one test at a time: these faults are the whole node's.
static NODE: OnceCell<Mutex<PrivateRabbit>> = OnceCell::const_new();

async fn node() -> MutexGuard<'static, PrivateRabbit> {
    NODE.get_or_init(|| async { Mutex::new(PrivateRabbit::start().await.unwrap()) }).await.lock().await
}

fn fresh(name: &str) -> Arc<str> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed)).into()
}

fn config(url: String, queues: &[&Arc<str>]) -> RabbitConfig {
    let lanes = queues.iter().map(|queue| LaneTopology::of(&***queue)).collect();
    RabbitConfig { urls: vec![url], topology: Topology { lanes, ..Topology::default() }, ..RabbitConfig::default() }
}

fn message(n: u32) -> Message {
    Message { body: n.to_string().into(), ..Message::default() }
}

struct Client {
    broker: Arc<RabbitBroker>,
    events: mpsc::Receiver<BrokerEvent>,
    seen: Vec<String>,
}

impl Client {
    fn start(config: RabbitConfig) -> Self {
        let broker = Arc::new(RabbitBroker::new(config).unwrap());
        let events = broker.start();
        Self { broker, events, seen: Vec::new() }
    }

    /// The first event, from now on, of which `pick` makes something.
    async fn until<T>(&mut self, awaited: &str, mut pick: impl FnMut(BrokerEvent) -> Option<T>) -> T {
        let found = timeout(LIMIT, async {
            loop {
                let event = self.events.recv().await.expect("the events go on");
                if !matches!(event, BrokerEvent::Delivered(_)) {
                    self.seen.push(format!("{event:?}"));
                }
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("no {awaited}; seen: {:#?}", self.seen))
    }

    async fn connected(&mut self) {
        self.until("session", |e| matches!(e, BrokerEvent::Connected).then_some(())).await;
    }

    async fn opened(&mut self, queue: &Arc<str>) -> Opening {
        let wanted = Source::Queue(queue.clone());
        self.until("opening", |e| match e {
            BrokerEvent::Opened { source, opening } if source == wanted => Some(opening),
            _ => None,
        })
        .await
    }

    async fn open(&mut self, queue: &Arc<str>, window: u16) -> Opening {
        self.broker.open(Source::Queue(queue.clone()), window);
        self.opened(queue).await
    }

    async fn delivery(&mut self) -> Delivery {
        self.until("delivery", |e| match e {
            BrokerEvent::Delivered(delivery) => Some(delivery),
            _ => None,
        })
        .await
    }

    async fn closed(&mut self, wanted: Opening) {
        self.until("closing", |e| matches!(e, BrokerEvent::Closed { opening } if opening == wanted).then_some(()))
            .await;
    }

    async fn publish(&self, queue: &Arc<str>, n: u32) -> Result<(), PublishError> {
        self.broker.publish(Target::Queue(queue.clone()), message(n)).await
    }

    async fn depth_becomes(&self, queue: &Arc<str>, right: impl Fn(Depth) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let depth = self.broker.depth(Target::Queue(queue.clone())).await;
            if depth.is_some_and(&right) {
                return;
            }
            assert!(Instant::now() < end, "the depth stayed at {depth:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn was_disconnected(&self) -> bool {
        self.seen.iter().any(|event| event.starts_with("Disconnected"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing_and_is_found_again_within_5_s() {
    let node = node().await;
    let queue = fresh("killed");
    let mut client = Client::start(config(node.url(), &[&queue]));
    client.connected().await;
    client.open(&queue, 7).await;
    // RabbitMQ itself forgets a queue that is killed while it is new; nothing tells when it is old enough.
    sleep(RIPE_AFTER).await;
    // A publisher that tries again until it is confirmed, as the core does.
    let publisher = tokio::spawn({
        let (broker, queue) = (client.broker.clone(), queue.clone());
        async move {
            for n in 0..3000 {
                while broker.publish(Target::Queue(queue.clone()), message(n)).await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    });
    let mut got = BTreeSet::new();
    for _ in 0..200 {
        let delivery = client.delivery().await;
        got.insert(delivery.message.body.clone());
        client.broker.ack(delivery.tag);
    }
    node.kill();
    node.restart().await.unwrap();
    let back = Instant::now();
    client.connected().await;
    client.opened(&queue).await;
    assert!(back.elapsed() < Duration::from_secs(5), "{:?} after the broker was back", back.elapsed());
    while got.len() < 3000 {
        let delivery = client.delivery().await;
        got.insert(delivery.message.body.clone());
        client.broker.ack(delivery.tag);
    }
    publisher.await.unwrap();
    client.depth_becomes(&queue, |depth| depth.consumers == 1).await;
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_again_and_costs_the_other_lanes_nothing() {
    let node = node().await;
    let (queue, other) = (fresh("deleted"), fresh("other"));
    let mut client = Client::start(config(node.url(), &[&queue, &other]));
    client.connected().await;
    client.open(&other, 2).await;
    let first = client.open(&queue, 3).await;
    node.ctl(&["delete_queue", &queue]).await.unwrap();
    client.closed(first).await;
    client.opened(&queue).await;
    client.publish(&queue, 1).await.unwrap();
    let delivery = client.delivery().await;
    client.broker.ack(delivery.tag);
    client.depth_becomes(&queue, |depth| depth == Depth { ready: 0, consumers: 1 }).await;
    client.depth_becomes(&other, |depth| depth == Depth { ready: 0, consumers: 1 }).await;
    assert!(!client.was_disconnected(), "{:#?}", client.seen);
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_missing_is_named_and_waited_for_while_the_others_go_on() {
    let node = node().await;
    let (missing, other) = (fresh("missing"), fresh("present"));
    let maker = Client::start(config(node.url(), &[&other]));
    let mut not_ours = config(node.url(), &[&missing, &other]);
    not_ours.topology.declare = false;
    sleep_until_there(&maker, &other).await;
    let mut client = Client::start(not_ours);
    client.connected().await;
    client.broker.open(Source::Queue(missing.clone()), 2);
    let failed = client
        .until("failure", |e| match e {
            BrokerEvent::SourceFailed { source, detail } => Some((source, detail)),
            _ => None,
        })
        .await;
    assert_eq!(failed.0, Source::Queue(missing.clone()));
    assert!(failed.1.contains(&*missing), "the broker's words name it: {}", failed.1);
    client.open(&other, 2).await;
    maker.publish(&other, 1).await.unwrap();
    client.delivery().await;
    // Somebody makes it, and it is found.
    let late = Client::start(config(node.url(), &[&missing]));
    client.opened(&missing).await;
    assert!(!client.was_disconnected(), "{:#?}", client.seen);
    assert_eq!(client.seen.iter().filter(|event| event.starts_with("SourceFailed")).count(), 1, "told once");
    for client in [client, maker, late] {
        client.broker.stop().await;
    }
}

async fn sleep_until_there(client: &Client, queue: &Arc<str>) {
    client.depth_becomes(queue, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_broker_closes_is_opened_again_alone() {
    let node = node().await;
    let (queue, other) = (fresh("slow"), fresh("quick"));
    let settings =
        "application:set_env(rabbit, channel_tick_interval, 300), application:set_env(rabbit, consumer_timeout, 1500).";
    node.ctl(&["eval", settings]).await.unwrap();
    let mut client = Client::start(config(node.url(), &[&queue, &other]));
    client.connected().await;
    client.open(&other, 1).await;
    let first = client.open(&queue, 1).await;
    client.publish(&queue, 1).await.unwrap();
    let held = client.delivery().await;
    // Held for longer than the broker waits for an ack.
    client.closed(first).await;
    let back = "application:set_env(rabbit, channel_tick_interval, 60000), application:set_env(rabbit, consumer_timeout, 1800000).";
    node.ctl(&["eval", back]).await.unwrap();
    client.broker.ack(held.tag);
    let again = client.delivery().await;
    assert!(again.redelivered && again.message.body == held.message.body, "{again:?}");
    assert!(!client.was_disconnected(), "{:#?}", client.seen);
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_noticed_by_its_missing_heartbeats() {
    let node = node().await;
    let queue = fresh("frozen");
    let mut slow = config(format!("{}?heartbeat=2", node.url()), &[&queue]);
    slow.publish_timeout = Duration::from_secs(3);
    let mut client = Client::start(slow);
    client.connected().await;
    let first = client.open(&queue, 2).await;
    client.publish(&queue, 1).await.unwrap();
    client.delivery().await;
    node.freeze();
    let frozen = Instant::now();
    let unknown = client.publish(&queue, 2).await;
    assert!(matches!(unknown, Err(PublishError::Unknown(_) | PublishError::NotConnected(_))), "{unknown:?}");
    client.closed(first).await;
    let reason = client
        .until("disconnect", |e| match e {
            BrokerEvent::Disconnected { reason, .. } => Some(reason),
            _ => None,
        })
        .await;
    assert_eq!(reason, "heartbeat");
    assert!(frozen.elapsed() < Duration::from_secs(15), "noticed after {:?}", frozen.elapsed());
    let refused = client.publish(&queue, 3).await;
    assert!(matches!(refused, Err(PublishError::NotConnected(_))), "{refused:?}");
    node.thaw();
    client.opened(&queue).await;
    let again = client.delivery().await;
    assert!(again.redelivered && again.message.body == "1", "{again:?}");
    client.depth_becomes(&queue, |depth| depth.consumers == 1).await;
    client.broker.stop().await;
}

/// A node that is silent when a queue is old enough may have lost its power before that, and the queue with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_publish_to_a_new_delay_queue_counts_only_when_the_broker_has_been_heard_after_its_youth() {
    let node = node().await;
    let mut client = Client::start(config(node.url(), &[]));
    client.connected().await;
    let target = Target::Delay(Step::all().nth(30).unwrap());
    let publishing = tokio::spawn({
        let (broker, target) = (client.broker.clone(), target.clone());
        async move { broker.publish(target, message(1)).await }
    });
    let end = Instant::now() + LIMIT;
    while client.broker.depth(target.clone()).await.is_none_or(|depth| depth.ready == 0) {
        assert!(Instant::now() < end, "it was not stored");
        sleep(Duration::from_millis(50)).await;
    }
    node.freeze();
    // Nothing tells that it waits for the frozen node; before, it ended when the queue was old enough.
    sleep(RIPE_AFTER + Duration::from_millis(500)).await;
    let too_soon = publishing.is_finished();
    node.thaw();
    assert!(!too_soon, "it counted, though nothing was heard of the broker");
    timeout(LIMIT, publishing).await.unwrap().unwrap().unwrap();
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_alarm_blocks_publishes_and_not_acks() {
    let node = node().await;
    let queue = fresh("alarm");
    let mut patient = config(node.url(), &[&queue]);
    patient.publish_timeout = Duration::from_secs(2);
    let mut client = Client::start(patient);
    client.connected().await;
    client.open(&queue, 5).await;
    for n in 0..5 {
        client.publish(&queue, n).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(client.delivery().await);
    }
    node.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await.unwrap();
    // The broker blocks a connection when it publishes.
    let unknown = client.publish(&queue, 90).await;
    assert!(matches!(unknown, Err(PublishError::Unknown(_))), "it may be stored yet: {unknown:?}");
    client.until("block", |e| matches!(e, BrokerEvent::Blocked(true)).then_some(())).await;
    let unsent = client.publish(&queue, 91).await;
    assert!(matches!(unsent, Err(PublishError::NotConnected(_))), "it never left: {unsent:?}");
    held.iter().for_each(|delivery| client.broker.ack(delivery.tag));
    client.depth_becomes(&queue, |depth| depth.consumers == 1).await;
    node.ctl(&["set_vm_memory_high_watermark", "0.6"]).await.unwrap();
    client.until("unblock", |e| matches!(e, BrokerEvent::Blocked(false)).then_some(())).await;
    client.publish(&queue, 99).await.unwrap();
    assert!(!client.was_disconnected(), "{:#?}", client.seen);
    client.broker.stop().await;
    // The acks counted: only what was published under the alarm or after may be left.
    let next = Client::start(config(node.url(), &[&queue]));
    sleep_until_there(&next, &queue).await;
    next.depth_becomes(&queue, |depth| (1..=2).contains(&depth.ready)).await;
    next.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_queues_are_known_after_a_kill_right_after_they_were_made() {
    let node = node().await;
    let mut maker = Client::start(config(node.url(), &[]));
    maker.connected().await;
    let step = Step::from_millis(112_000).unwrap();
    // The stream is there after the first.
    maker.broker.publish(Target::Delay(Step::from_millis(96_000).unwrap()), message(1)).await.unwrap();
    maker.broker.publish(Target::Delay(step), message(1)).await.unwrap();
    // The publishes have waited until the queues were old enough, so a kill may come at once.
    node.kill();
    node.restart().await.unwrap();
    let mut other = Client::start(config(node.url(), &[]));
    other.until("announcement", |e| matches!(e, BrokerEvent::DelayExists(s) if s == step).then_some(())).await;
    other.broker.open(Source::Delay(step), 3);
    let delivery = other.delivery().await;
    assert_eq!(delivery.message.body, "1");
    for client in [maker, other] {
        client.broker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_queue_that_is_opened_while_it_is_made_costs_no_session() {
    let node = node().await;
    let mut client = Client::start(config(node.url(), &[]));
    client.connected().await;
    // Both at once, as the core does with the first task of a length.
    let steps: Vec<Step> = Step::all().take(12).collect();
    let publishes: Vec<_> = steps.iter().map(|step| client.broker.publish(Target::Delay(*step), message(1))).collect();
    let publishes: Vec<_> = publishes.into_iter().map(tokio::spawn).collect();
    steps.iter().for_each(|step| client.broker.open(Source::Delay(*step), 3));
    for _ in &steps {
        client.delivery().await;
    }
    for publish in publishes {
        publish.await.unwrap().unwrap();
    }
    assert!(!client.was_disconnected(), "{:#?}", client.seen);
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_delay_queue_is_made_again_by_the_next_publish() {
    let node = node().await;
    let client = Client::start(config(node.url(), &[]));
    let step = Step::from_millis(56_000).unwrap();
    let publish = || client.broker.publish(Target::Delay(step), message(1));
    let end = Instant::now() + LIMIT;
    while publish().await.is_err() {
        assert!(Instant::now() < end, "no publish succeeded");
    }
    node.ctl(&["delete_queue", "quebert.delay.56000"]).await.unwrap();
    publish().await.unwrap();
    let end = Instant::now() + LIMIT;
    while client.broker.depth(Target::Delay(step)).await.map(|depth| depth.ready) != Some(1) {
        assert!(Instant::now() < end, "the message is nowhere");
    }
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let node = node().await;
    let queue = fresh("failover");
    // One that refuses, and one that takes the connection and never speaks.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut several = config(format!("amqp://127.0.0.1:{}", free_port().unwrap()), &[&queue]);
    several.urls.push(format!("amqp://{}", silent.local_addr().unwrap()));
    several.urls.push(node.url());
    several.connect_timeout = Duration::from_secs(1);
    let mut client = Client::start(several);
    client.open(&queue, 1).await;
    client.publish(&queue, 1).await.unwrap();
    client.delivery().await;
    client.broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_up_or_never_speaks_is_not_stormed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    let mut impatient = config(url, &[]);
    impatient.connect_timeout = Duration::from_millis(200);
    let mut client = Client::start(impatient);
    let attempts = Arc::new(AtomicU32::new(0));
    let counting = tokio::spawn({
        let attempts = attempts.clone();
        async move {
            let mut silent = Vec::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // Every other one is left to wait for an answer.
                if attempts.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                    silent.push(socket);
                }
            }
        }
    });
    let started = Instant::now();
    client.until("disconnect", |e| matches!(e, BrokerEvent::Disconnected { .. }).then_some(())).await;
    while attempts.load(Ordering::Relaxed) < 12 {
        sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < LIMIT, "it must go on trying");
    }
    // Two connections a try: pauses of at least half of 100, 200, 400, 800 and 1,600 ms lie between six tries.
    assert!(started.elapsed() > Duration::from_millis(1550), "12 connections within {:?}", started.elapsed());
    client.broker.stop().await;
    counting.abort();
}
