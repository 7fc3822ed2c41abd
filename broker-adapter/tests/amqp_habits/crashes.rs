//! Kills of a node, and what becomes of messages that were too old by then, or on their way to the dead letters.

use crate::{
    client::{Client, dead_letters_to, delivery, quorum, text},
    nodes::victim,
};
use futures_util::StreamExt as _;
use lapin::{Consumer, options::BasicAckOptions, types::AMQPValue};
use quebert_broker_adapter::{amqp::RIPE_AFTER, testing::PrivateRabbit};
use std::{collections::BTreeSet, ops::Range, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};

/// How long a message lives in the queues here. A node takes longer to come back.
const LIFE: Duration = Duration::from_secs(2);
/// How long a dead letter may take: one that finds its queue without a leader is tried again after three minutes.
const PATIENCE: Duration = Duration::from_secs(240);
/// Pairs, of each kind, of a queue and one for its dead letters. At most once, a crash loses something where the first of a
/// pair is ready before the second: mostly with some of eight pairs, seldom with none.
const PAIRS: usize = 8;
/// How often the node may be killed until it has lost something: one kill in six lost nothing.
const ROUNDS: usize = 8;
/// Of each queue: those that are on their way when the node is killed, and those that come of age while it is down.
const ON_THEIR_WAY: Range<usize> = 0..300;
const DUE_LATER: Range<usize> = 300..400;
/// Comes after all of them, so that there is nothing left on its way when it is a dead letter.
const LAST: usize = 400;

/// A quorum queue in which messages grow old, and one for its dead letters.
async fn declare(client: &Client, queue: &str, at_least_once: bool) {
    let dead = dead(queue);
    client.declare(&dead, &[quorum()]).await;
    let [exchange, key] = dead_letters_to(&dead);
    let life = AMQPValue::LongInt(LIFE.as_millis().try_into().unwrap());
    let mut of = vec![quorum(), exchange, key, ("x-message-ttl", life)];
    if at_least_once {
        of.extend([("x-dead-letter-strategy", text("at-least-once")), ("x-overflow", text("reject-publish"))]);
    }
    client.declare(queue, &of).await;
}

fn dead(queue: &str) -> String {
    format!("{queue}.dead")
}

/// Until queues that were just made outlive a kill. Nothing tells when they do.
async fn ripen() {
    sleep_until(Instant::now() + RIPE_AFTER).await;
}

async fn fill(client: &Client, queue: &str, numbers: impl IntoIterator<Item = usize>) {
    client.fill(queue, numbers.into_iter().map(|n| n.to_string())).await;
}

/// The number in the next dead letter.
async fn letter(consumer: &mut Consumer) -> usize {
    let next = timeout(PATIENCE, consumer.next()).await;
    let next = next.expect("a dead letter in time").expect("the consumer goes on").unwrap();
    next.acker.ack(BasicAckOptions::default()).await.unwrap();
    std::str::from_utf8(&next.data).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_head_that_is_too_old_becomes_a_dead_letter_without_a_touch() {
    let node = victim().await;
    let client = Client::to(&node.url()).await;
    declare(&client, "old", true).await;
    ripen().await;
    fill(&client, "old", [7]).await;
    let born = Instant::now();
    node.kill();
    sleep_until(born + LIFE).await;
    node.restart().await.unwrap();
    let client = Client::to(&node.url()).await;
    assert_eq!(letter(&mut client.consume(&dead("old")).await).await, 7);
}

/// Kills a node amid dead letters of all queues, and gives it back when the next ones are due.
async fn crash(node: &PrivateRabbit, queues: &[String]) {
    let client = Client::to(&node.url()).await;
    for queue in queues {
        fill(&client, queue, ON_THEIR_WAY).await;
    }
    delivery(&mut client.consume(&dead(queues.last().unwrap())).await).await;
    for queue in queues {
        fill(&client, queue, DUE_LATER).await;
    }
    let born = Instant::now();
    node.kill();
    sleep_until(born + LIFE).await;
    node.restart().await.unwrap();
}

/// Which dead letters a queue has in the end: `wanted` different ones, or all before the last.
async fn letters(client: &Client, queue: &str, wanted: Option<usize>) -> (usize, BTreeSet<usize>) {
    fill(client, queue, [LAST]).await;
    let mut consumer = client.consume(&dead(queue)).await;
    let (mut count, mut letters) = (0, BTreeSet::new());
    while wanted.map_or(!letters.contains(&LAST), |wanted| letters.len() < wanted) {
        letters.insert(letter(&mut consumer).await);
        count += 1;
    }
    (count, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_on_their_way_are_lost_in_a_crash_at_most_once_and_never_at_least_once() {
    let node = victim().await;
    let all = LAST + 1;
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        // Others each time: what came twice may still be on its way.
        let named = |kind| (0..PAIRS).map(|n| format!("{kind}-{round}-{n}")).collect::<Vec<_>>();
        let [once, ever] = ["once", "ever"].map(named);
        let client = Client::to(&node.url()).await;
        for (once, ever) in once.iter().zip(&ever) {
            declare(&client, once, false).await;
            declare(&client, ever, true).await;
        }
        ripen().await;
        crash(&node, &[once.clone(), ever.clone()].concat()).await;
        let client = Client::to(&node.url()).await;
        for queue in &ever {
            let (_, letters) = letters(&client, queue, Some(all)).await;
            assert_eq!(letters, (0..all).collect());
        }
        let mut lost = 0;
        for queue in &once {
            let (count, letters) = letters(&client, queue, None).await;
            lost += all - letters.len();
            seen.push((count, letters.len()));
        }
        println!("of {} dead letters at most once {lost} were lost", all * PAIRS);
        if lost > 0 {
            return;
        }
    }
    panic!("none was lost; counted and different ones of {all}: {seen:?}");
}
