//! kill -9 of the broker, and its return, while tasks flow.

use super::{
    dispatcher::Dispatcher,
    ledger::Moment,
    world::{World, long},
};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// From the moment that the broker answers on AMQP until every lane is open again.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// Tasks of each round, and how many a second.
const TASKS: usize = 2_000;
const RATE: f64 = 400.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_five_times_loses_nothing_and_is_back_at_work_within_5_s() {
    match long() {
        false => campaign("quorum", 5).await,
        true => {
            campaign("quorum", 20).await;
            campaign("classic", 20).await;
        }
    }
}

async fn campaign(queue_type: &str, kills: usize) {
    let world = World::start("broker-kills", &format!("[topology]\nqueue_type = \"{queue_type}\"")).await;
    let dispatcher = world.dispatcher().await;
    dispatcher.ready(Duration::from_secs(30)).await;
    let mut recoveries = Vec::new();
    for n in 1..=kills {
        // Killed in mid-run: a third is confirmed, the rest is published as soon as there is a broker again.
        let wanted = world.ledger.counts().confirmed + TASKS / 3;
        let producer = world.publish(world.plans(&format!("round{n}"), TASKS), RATE);
        world.ledger.wait_until("the kill", Duration::from_secs(60), |counts| counts.confirmed >= wanted).await;
        let from = Moment::now();
        world.node.kill();
        let (restarted, recovery) = tokio::join!(world.node.restart(), recovery(&world, &dispatcher));
        restarted.unwrap();
        recoveries.push(recovery);
        world.ledger.fault_since(format!("kill -9 of the broker, number {n}"), from);
        world.consumers_are(1).await;
        producer.await.unwrap();
    }
    world.all_done(Duration::from_secs(180)).await;
    world.consumers_are(1).await;
    dispatcher.stop().await;
    world.nothing_is_left().await;
    let slowest = recoveries.iter().max().copied().unwrap_or_default();
    let figures = format!("{kills} kills of {queue_type} queues, at work again within {slowest:.1?}");
    world.verdict("broker_kills", &figures);
    assert!(slowest <= RECOVERY_MAX, "too slow: {recoveries:.1?}");
}

/// How long it takes from the broker's first answer until all lanes are open and the next request is made.
async fn recovery(world: &World, dispatcher: &Dispatcher) -> Duration {
    let answered = answers(world.node.port()).await;
    // What was under way at the kill has ended long before.
    let before = world.ledger.counts().executions;
    dispatcher.ready(Duration::from_secs(120)).await;
    world.ledger.wait_until("work goes on", Duration::from_secs(60), |counts| counts.executions > before).await;
    answered.elapsed()
}

/// When the node first answers a client's greeting with `connection.start`.
pub(crate) async fn answers(port: u16) -> Instant {
    let asked = async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"AMQP\0\0\x09\x01").await?;
        // The frame's type: 1 is a method.
        stream.read_u8().await
    };
    loop {
        if let Ok(Ok(1)) = timeout(Duration::from_secs(1), asked()).await {
            return Instant::now();
        }
        sleep(Duration::from_millis(10)).await;
    }
}
