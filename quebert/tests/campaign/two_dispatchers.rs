//! Two dispatchers share the queues, and one of them dies.

use super::{
    dispatcher::LIMIT,
    ledger::Moment,
    producer::Plan,
    world::{LANES, World},
};
use std::{collections::BTreeMap, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_takes_over_the_tasks_and_the_delay_heads_of_one_that_is_killed() {
    let world = World::start("two-dispatchers", "").await;
    let (mut first, second) = (world.dispatcher().await, world.dispatcher().await);
    first.ready(LIMIT).await;
    second.ready(LIMIT).await;
    world.consumers_are(2).await;
    // Enough delayed tasks of about one length that the window of one dispatcher can't hold them.
    let delay = |n: usize| Some(Duration::from_millis(6_000 + n as u64 % 900));
    let delayed = world.plans("delayed", 300).into_iter().enumerate();
    let delayed = delayed.map(|(n, plan)| Plan { delay: delay(n), ..plan }).collect();
    world.publish(delayed, 2000.0).await.unwrap();
    let flowing = world.publish(world.plans("t", 4000), 1000.0);
    // Both at work: while the first tasks flow, the heads of the grid are in two hands.
    let shares = async || [first.sum("quebert_deliveries_total").await, second.sum("quebert_deliveries_total").await];
    world.ledger.wait_until("work", LIMIT, |counts| counts.executions >= 1000).await;
    assert!(shares().await.iter().all(|n| *n > 0.0), "both take tasks");
    let hands = world.heads_in_hand().await;
    assert!(hands.len() == 2 && hands.iter().all(|heads| *heads > 0), "both hold heads: {hands:?}");

    let from = Moment::now();
    first.kill().await;
    world.round_trip().await;
    world.ledger.fault_since("kill -9 of one of two dispatchers", from);
    world.consumers_are(1).await;
    flowing.await.unwrap();
    world.all_done(LIMIT).await;
    second.stop().await;
    world.nothing_is_left().await;
    let judgement = world.ledger.judge();
    // What it held is sent again, and what it was just moving has a second copy.
    let held: usize = LANES.iter().map(|(_, window)| usize::from(*window)).sum();
    assert!(judgement.extra <= 2 * held + 64, "more than one dispatcher held\n{}", world.ledger.story());
    world.verdict("two_dispatchers", "1 of 2 killed");
}

impl World {
    /// Heads of the delay grid in hand, of each dispatcher.
    async fn heads_in_hand(&self) -> Vec<u64> {
        let consumers = ["list_consumers", "--no-table-headers", "queue_name", "channel_pid"];
        let consumers = self.node.ctl(&consumers).await.unwrap();
        let channels = ["list_channels", "--no-table-headers", "pid", "connection", "messages_unacknowledged"];
        let channels = self.node.ctl(&channels).await.unwrap();
        let mut hands = BTreeMap::<&str, u64>::new();
        for consumer in consumers.lines().filter(|line| line.starts_with("quebert.delay.")) {
            let channel = consumer.split('\t').nth(1).unwrap_or_default();
            let mut columns = channels.lines().map(|line| line.split('\t').collect::<Vec<_>>());
            let columns = columns.find(|columns| columns.len() == 3 && columns[0] == channel).unwrap();
            let (connection, held) = (columns[1], columns[2].trim());
            *hands.entry(connection).or_default() += held.parse::<u64>().unwrap();
        }
        hands.into_values().collect()
    }

    /// A request of our own through the executor, which is answered after those that stood in its sockets before.
    async fn round_trip(&self) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        self.ledger.publishes("marker", None);
        let mut stream = tokio::net::TcpStream::connect(self.executor.address()).await.unwrap();
        let request = "POST /marker HTTP/1.1\r\nhost: executor\r\nquebert-attempt: 1\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_u8().await.unwrap();
    }
}
