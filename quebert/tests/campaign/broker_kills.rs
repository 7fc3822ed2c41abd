//! kill -9 of the broker, and its return, while tasks flow.

use super::{
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

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_five_times_loses_nothing_and_is_back_at_work_within_5_s() {
    let (tasks, kills) = if long() { (40_000, 20) } else { (10_000, 5) };
    let world = World::start("broker-kills", "").await;
    let dispatcher = world.dispatcher().await;
    dispatcher.ready(Duration::from_secs(30)).await;
    let producer = world.publish(world.plans("t", tasks), 400.0);
    let mut recoveries = Vec::new();
    for n in 1..=kills {
        let before = world.ledger.counts().confirmed;
        let wanted = before + tasks / (kills + 1) / 2;
        let limit = Duration::from_secs(120);
        world.ledger.wait_until("the next kill", limit, |counts| counts.confirmed >= wanted).await;
        let from = Moment::now();
        world.node.kill();
        let (restarted, answered) = tokio::join!(world.node.restart(), answers(world.node.port()));
        restarted.unwrap();
        dispatcher.ready(Duration::from_secs(120)).await;
        recoveries.push(answered.elapsed());
        world.ledger.fault_since(format!("kill -9 of the broker, number {n}"), from);
        world.consumers_are(1).await;
    }
    producer.await.unwrap();
    world.all_done(Duration::from_secs(180)).await;
    world.nothing_is_left().await;
    world.consumers_are(1).await;
    dispatcher.stop().await;
    let slowest = recoveries.iter().max().copied().unwrap_or_default();
    world.verdict("broker_kills", &format!("{kills} kills, at work again within {slowest:.1?}"));
    assert!(slowest <= RECOVERY_MAX, "too slow: {recoveries:.1?}");
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
