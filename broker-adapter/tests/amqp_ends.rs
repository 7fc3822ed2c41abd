//! What is left behind at an end: no ack that was not sent, and no thread of a connect that failed.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::{
    amqp::{LaneTopology, RabbitAdmin, RabbitBroker, RabbitConfig, Topology},
    testing::PrivateRabbit,
};
use quebert_dispatcher::ports::broker::{Broker, BrokerEvent, Source, Target};
use quebert_wire::Message;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::Mutex,
    task::yield_now,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(60);
/// One test at a time: one counts the threads of connections, the other has some.
static ALONE: Mutex<()> = Mutex::const_new(());
/// Deliveries held when the end comes: too few for a full batch of acks, so that they wait for company.
const HELD: usize = 10;

/// Takes `HELD` deliveries, acks them all, closes the queue if asked to, lets the adapter come `lead` steps ahead, and
/// stops.
async fn ack_all_and_stop(config: RabbitConfig, queue: &Arc<str>, round: usize, close_first: bool, lead: usize) {
    let broker = RabbitBroker::new(config).unwrap();
    let mut events = broker.start();
    broker.open(Source::Queue(queue.clone()), 100);
    let mut tags = Vec::new();
    let held = timeout(LIMIT, async {
        while tags.len() < HELD {
            if let BrokerEvent::Delivered(delivery) = events.recv().await.expect("the events go on") {
                assert_eq!(delivery.message.body, round.to_string(), "left over from an earlier round");
                tags.push(delivery.tag);
            }
        }
    });
    held.await.expect("all are delivered");
    tags.into_iter().for_each(|tag| broker.ack(tag));
    if close_first {
        broker.close(&Source::Queue(queue.clone()));
    }
    for _ in 0..lead {
        yield_now().await;
    }
    timeout(LIMIT, broker.stop()).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_that_are_pending_at_a_stop_arrive_even_of_a_source_that_is_being_closed() {
    let _alone = ALONE.lock().await;
    let node = PrivateRabbit::start().await.unwrap();
    let queue: Arc<str> = "work".into();
    let topology = Topology { lanes: vec![LaneTopology::of(&*queue)], ..Topology::default() };
    let config = RabbitConfig { urls: vec![node.url()], topology, ..RabbitConfig::default() };
    let admin = RabbitAdmin::connect(config.clone()).await.unwrap();
    admin.apply().await.unwrap();
    for round in 0..40 {
        let message = Message { body: round.to_string().into(), ..Message::default() };
        for _ in 0..HELD {
            admin.publish_to("", &queue, &message).await.unwrap();
        }
        // Every other round with a close, which is then at another stage each time.
        ack_all_and_stop(config.clone(), &queue, round, round % 2 == 1, 10 * round).await;
    }
    let target = Target::Queue(queue.clone());
    let end = Instant::now() + LIMIT;
    // Only with the last consumer gone is all back that was not acked.
    while admin.depth(&target).await.unwrap().consumers > 0 {
        assert!(Instant::now() < end, "a consumer is left");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(admin.browse(&queue, 1000).await.unwrap(), []);
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connects_that_fail_leave_no_threads() {
    let _alone = ALONE.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    let accepted = Arc::new(AtomicUsize::new(0));
    let silent = tokio::spawn({
        let accepted = accepted.clone();
        async move {
            let mut held = Vec::new();
            loop {
                held.push(listener.accept().await.unwrap());
                accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut config = RabbitConfig { urls: vec![url], ..RabbitConfig::default() };
    for n in 0..40 {
        // From limits that end before the dialling to such that end long after it.
        config.connect_timeout = Duration::from_millis(1 << (n % 8));
        assert!(RabbitAdmin::connect(config.clone()).await.is_err(), "nobody speaks there");
    }
    let end = Instant::now() + LIMIT;
    while client_threads() > 0 || accepted.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < end, "{} threads are left of {accepted:?} connections", client_threads());
        sleep(Duration::from_millis(20)).await;
    }
    silent.abort();
}

/// Threads of this process that serve a connection, by the name that lapin gives them.
fn client_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    // One that ends meanwhile is gone.
    threads.flatten().map(name).filter(|name| name.starts_with("lapin")).count()
}
