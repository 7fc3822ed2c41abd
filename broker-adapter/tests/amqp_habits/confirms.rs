//! Confirms: of what, when, and how many at once. Followers that are frozen keep a quorum queue from having a majority for
//! as long as a test wants, so nothing here is a matter of luck or speed.

use crate::{
    client::{Client, confirmed, delivery, is_stored, quorum},
    nodes::{calm, cluster},
    wire::{Said, Wire},
};
use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicAckOptions, ExchangeDeclareOptions, QueueBindOptions},
    types::FieldTable,
};
use quebert_broker_adapter::testing::PrivateRabbit;

/// Publishes that prove the broker to be at work while it holds back something else.
const WITNESSES: u64 = 20;

fn delivered(queue: &str) -> Said {
    Said::Delivered(queue.to_owned())
}

fn confirm(tag: u64) -> Said {
    Said::Confirmed { tag, multiple: false }
}

/// The first publish of a channel to a quorum queue: it makes the channel known there, and all that the channel is asked
/// after it has to wait for that.
async fn greet(client: &Client, exchange: &str, key: &str) {
    assert!(is_stored(&confirmed(client.send(exchange, key, "hello", BasicProperties::default()).await).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_delivers_and_confirms_what_a_majority_has_and_a_classic_one_delivers_before_it_confirms() {
    let cluster = cluster().await;
    let [leader, followers @ ..] = cluster.nodes();
    let mut wire = Wire::to(leader).await;
    let client = Client::to(&wire.url).await;
    client.declare("safe", &[quorum()]).await;
    client.declare("at-once", &[]).await;
    let _consumers = [client.consume("safe").await, client.consume("at-once").await];
    assert_eq!(cluster.leader("safe", leader).await.unwrap(), Some(0));
    greet(&client, "", "safe").await;
    let first = [wire.next().await, wire.next().await];
    assert!(first.contains(&delivered("safe")) && first.contains(&confirm(1)), "{first:?}");
    followers.iter().for_each(PrivateRabbit::freeze);
    let held = client.send("", "safe", "a", BasicProperties::default()).await;
    for tag in 3..3 + WITNESSES {
        assert!(is_stored(&client.publish("at-once", "b").await));
        assert_eq!(wire.waiting(), [delivered("at-once"), confirm(tag)]);
    }
    followers.iter().for_each(PrivateRabbit::thaw);
    assert!(is_stored(&confirmed(held).await));
    let mut late = wire.waiting();
    while late.len() < 2 {
        late.push(wire.next().await);
    }
    assert!(late.contains(&delivered("safe")) && late.contains(&confirm(2)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_comes_after_later_ones_and_after_the_message_was_consumed() {
    let cluster = cluster().await;
    let [leader, followers @ ..] = cluster.nodes();
    let mut wire = Wire::to(leader).await;
    let (client, consumer) = (Client::to(&wire.url).await, Client::to(&leader.url()).await);
    // Both have a copy of what the exchange gets, and only one of them waits for followers.
    let made = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    client.channel.exchange_declare("both".into(), ExchangeKind::Fanout, made, FieldTable::default()).await.unwrap();
    for (queue, of) in [("both.quick", &[][..]), ("both.slow", &[quorum()][..])] {
        client.declare(queue, of).await;
        let bound = client.channel.queue_bind(
            queue.into(),
            "both".into(),
            "".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.unwrap();
    }
    assert_eq!(cluster.leader("both.slow", leader).await.unwrap(), Some(0));
    greet(&client, "both", "").await;
    assert_eq!(wire.waiting(), [confirm(1)]);
    followers.iter().for_each(PrivateRabbit::freeze);
    let late = client.send("both", "", "a", BasicProperties::default()).await;
    let mut quick = consumer.consume("both.quick").await;
    delivery(&mut quick).await;
    let consumed = delivery(&mut quick).await;
    assert_eq!(consumed.data, b"a");
    consumed.acker.ack(BasicAckOptions::default()).await.unwrap();
    assert!(is_stored(&client.publish("both.quick", "b").await));
    assert_eq!(delivery(&mut quick).await.data, b"b");
    assert_eq!(wire.waiting(), [confirm(3)]);
    followers.iter().for_each(PrivateRabbit::thaw);
    assert!(is_stored(&confirmed(late).await));
    assert_eq!(wire.waiting(), [confirm(2)]);
    assert_eq!(client.ready("both.slow").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn confirms_come_together() {
    let mut wire = Wire::to(calm().await).await;
    let client = Client::to(&wire.url).await;
    for (queue, of) in [("together", &[quorum()][..]), ("together-classic", &[][..])] {
        client.declare(queue, of).await;
        let (mut frames, mut together, mut published) = (0, 0, 0);
        // How many come together is for the broker to say: a burst has hardly ever none that do, and ten bursts never.
        for _ in 0..10 {
            client.fill(queue, (0..500).map(|n| n.to_string())).await;
            published += 500;
            let said = wire.waiting();
            frames += said.len();
            together += said.iter().filter(|said| matches!(said, Said::Confirmed { multiple: true, .. })).count();
        }
        println!("{queue}: {published} publishes, {frames} confirms, {together} of several");
        assert!(together > 0 && frames < published, "{queue}: {together} of {frames} for {published}");
    }
}
