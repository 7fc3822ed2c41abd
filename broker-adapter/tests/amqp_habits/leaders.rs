//! Three nodes, of which the leader of a queue is killed, and then the next one.

use crate::{
    client::{Client, LIMIT, confirmed, delivery, is_stored, quorum},
    nodes::cluster,
    wire::{Said, Wire},
};
use lapin::{BasicProperties, PublisherConfirm, options::BasicAckOptions};
use quebert_broker_adapter::{
    amqp::RIPE_AFTER,
    testing::{PrivateCluster, PrivateRabbit},
};
use std::{collections::BTreeSet, time::Instant};
use tokio::time::sleep_until;

const QUEUE: &str = "led";

/// Who leads, in the eyes of one node, once that is right.
async fn leader_once(
    cluster: &PrivateCluster,
    asked: &PrivateRabbit,
    right: fn(Option<usize>) -> bool,
) -> Option<usize> {
    let end = Instant::now() + LIMIT;
    loop {
        let leader = cluster.leader(QUEUE, asked).await.unwrap();
        if right(leader) {
            return leader;
        }
        assert!(Instant::now() < end, "the leader is still {leader:?}");
    }
}

async fn send(client: &Client, bodies: impl Iterator<Item = usize>) -> Vec<(usize, PublisherConfirm)> {
    let mut sent = Vec::new();
    for body in bodies {
        sent.push((body, client.send("", QUEUE, &body.to_string(), BasicProperties::default()).await));
    }
    sent
}

/// Publishes until it is confirmed, as anybody has to whose message was refused.
async fn publish(client: &Client, body: usize) -> String {
    let end = Instant::now() + LIMIT;
    while stored(send(client, body..=body).await).await.is_empty() {
        assert!(Instant::now() < end, "{body} is refused again and again");
    }
    body.to_string()
}

/// Which of these were confirmed, once all are answered.
async fn stored(sent: Vec<(usize, PublisherConfirm)>) -> BTreeSet<String> {
    let mut stored = BTreeSet::new();
    for (body, confirm) in sent {
        if is_stored(&confirmed(confirm).await) {
            stored.insert(body.to_string());
        }
    }
    stored
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_follows_one_that_is_killed_and_without_a_majority_there_is_none() {
    let cluster = cluster().await;
    let nodes = cluster.nodes();
    let maker = Client::to(&nodes[0].url()).await;
    maker.declare(QUEUE, &[quorum()]).await;
    let declared = tokio::time::Instant::now();
    assert_eq!(cluster.leader(QUEUE, &nodes[0]).await.unwrap(), Some(0));
    // A node forgets a queue that it was killed with while it was new; nothing tells when it is old enough.
    sleep_until(declared + RIPE_AFTER).await;

    // Killed amid publishes, which go by way of a node that lives.
    let client = Client::to(&nodes[1].url()).await;
    let mut kept = BTreeSet::from([publish(&client, 0).await]);
    let mut sent = send(&client, 1..300).await;
    nodes[0].kill();
    sent.extend(send(&client, 300..600).await);
    kept.extend(stored(sent).await);
    let second = leader_once(&cluster, &nodes[1], |leader| leader.is_some_and(|leader| leader > 0)).await.unwrap();

    // One of three nodes is left, and leads nobody.
    let survivor = &nodes[3 - second];
    let mut wire = Wire::to(survivor).await;
    let client = Client::to(&wire.url).await;
    client.declare("led.witness", &[]).await;
    kept.insert(publish(&client, 600).await);
    nodes[second].kill();
    leader_once(&cluster, survivor, |leader| leader.is_none()).await;
    wire.waiting();
    let _held = send(&client, 601..602).await;
    for tag in 3..23 {
        assert!(is_stored(&client.publish("led.witness", "a").await));
        assert_eq!(wire.waiting(), [Said::Confirmed { tag, multiple: false }]);
    }

    // Two are enough. Asked by another channel, since the confirm of what was held may never come.
    nodes[second].restart().await.unwrap();
    let client = Client::to(&survivor.url()).await;
    kept.insert(publish(&client, 602).await);
    let mut consumer = client.consume(QUEUE).await;
    while !kept.is_empty() {
        let next = delivery(&mut consumer).await;
        kept.remove(std::str::from_utf8(&next.data).unwrap());
        next.acker.ack(BasicAckOptions::default()).await.unwrap();
    }
}
