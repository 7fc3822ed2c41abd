//! Queues: what is counted, limited, too old, refused and sent round.

use crate::client::{Client, body, count, dead_letters_to, is_refused, quorum, text};
use lapin::{
    BasicProperties, Error,
    options::{BasicAckOptions, BasicRejectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread")]
async fn quorum_queues_count_what_comes_back_and_classic_ones_do_not() {
    let client = Client::connect().await;
    client.declare("counts", &[quorum(), ("x-delivery-limit", AMQPValue::LongInt(100))]).await;
    client.declare("counts-not", &[]).await;
    for (queue, wanted) in [("counts", [None, Some(1), Some(2)]), ("counts-not", [None, None, None])] {
        client.publish(queue, "a").await;
        for (n, wanted) in wanted.into_iter().enumerate() {
            let message = client.next(queue).await;
            // Who asks for one gets a count of 0, to consumers nothing is said before the first return.
            assert_eq!((count(&message).filter(|count| *count > 0), message.redelivered), (wanted, n > 0), "{queue}");
            client.give_back(&message).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_its_delivery_limit_a_message_is_a_dead_letter_with_the_reason() {
    let client = Client::connect().await;
    client.declare("limited.dead", &[quorum()]).await;
    let [exchange, key] = dead_letters_to("limited.dead");
    let alo = ("x-dead-letter-strategy", text("at-least-once"));
    let overflow = ("x-overflow", text("reject-publish"));
    let limit = ("x-delivery-limit", AMQPValue::LongInt(2));
    client.declare("limited", &[quorum(), limit, exchange, key, alo, overflow]).await;
    client.publish("limited", "a").await;
    for _ in 0..3 {
        let message = client.next("limited").await;
        client.give_back(&message).await;
    }
    let dead = client.next("limited.dead").await;
    let headers = dead.properties.headers().clone().unwrap();
    let deaths = headers.inner()["x-death"].as_array().unwrap().as_slice().to_vec();
    let AMQPValue::FieldTable(death) = &deaths[0] else { panic!("{deaths:?}") };
    assert_eq!(death.inner()["reason"], text("delivery_limit"));
    assert_eq!(client.ready("limited").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_goes_before_what_was_never_delivered() {
    let client = Client::connect().await;
    client.declare("positions", &[quorum(), ("x-delivery-limit", AMQPValue::LongInt(100))]).await;
    client.declare("positions-classic", &[]).await;
    for (queue, wanted) in [("positions", ["b", "a", "c"]), ("positions-classic", ["a", "b", "c"])] {
        for body in ["a", "b", "c"] {
            client.publish(queue, body).await;
        }
        let (first, second) = (client.next(queue).await, client.next(queue).await);
        client.give_back(&second).await;
        client.give_back(&first).await;
        client.ready_becomes(queue, 3).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(body(&client.next(queue).await).to_owned());
        }
        assert_eq!(
            seen, wanted,
            "{queue}: a quorum queue goes by the order of returning, a classic one by the old place"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_the_channel_does_not_have_closes_it() {
    let client = Client::connect().await;
    client.declare("tags", &[]).await;
    client.publish("tags", "a").await;
    client.next("tags").await;
    client.channel.basic_ack(77, BasicAckOptions::default()).await.unwrap();
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let refused = client.channel.queue_declare("tags".into(), passive, FieldTable::default()).await;
    let error: Error = refused.unwrap_err();
    assert!(error.to_string().contains("unknown delivery tag 77"), "{error}");
    Client::connect().await.ready_becomes("tags", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_what_is_published() {
    let client = Client::connect().await;
    let max = ("x-max-length", AMQPValue::LongInt(2));
    client.declare("full", &[("x-overflow", text("reject-publish")), max]).await;
    let mut refused = false;
    for n in 0..10 {
        refused |= is_refused(&client.publish("full", &n.to_string()).await);
    }
    assert!(refused);
    while let Some(message) = client.get("full").await {
        client.ack(&message).await;
    }
    assert!(!is_refused(&client.publish("full", "again").await), "there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_old_stays_behind_a_head_that_is_not() {
    let client = Client::connect().await;
    client.declare("heads.dead", &[]).await;
    client.declare("heads", &dead_letters_to("heads.dead")).await;
    let lives = |ms: &str| BasicProperties::default().with_expiration(ms.into());
    client.publish_with("heads", "long", lives("600000")).await;
    client.publish_with("heads", "short", lives("1")).await;
    client.publish_with("heads.dead", "witness", BasicProperties::default()).await;
    // Long enough for the short one, were it at the head.
    sleep(Duration::from_millis(500)).await;
    assert_eq!((client.ready("heads").await, client.ready("heads.dead").await), (2, 1));
    let head = client.next("heads").await;
    assert_eq!(body(&head), "long");
    client.ready_becomes("heads.dead", 2).await;
    client.ack(&head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_without_a_rejection_drops_the_message() {
    let client = Client::connect().await;
    let [exchange, key] = dead_letters_to("circle");
    client.declare("circle", &[exchange, key, ("x-message-ttl", AMQPValue::LongInt(50))]).await;
    client.publish("circle", "a").await;
    client.ready_becomes("circle", 0).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(client.ready("circle").await, 0, "it went round once, and was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_with_a_rejection_goes_on() {
    let client = Client::connect().await;
    let [exchange, key] = dead_letters_to("rest");
    client.declare("work", &[exchange, key]).await;
    let [exchange, key] = dead_letters_to("work");
    client.declare("rest", &[exchange, key, ("x-message-ttl", AMQPValue::LongInt(50))]).await;
    client.publish("work", "a").await;
    for _ in 0..3 {
        let message = client.next("work").await;
        client.channel.basic_reject(message.delivery_tag, BasicRejectOptions { requeue: false }).await.unwrap();
    }
    assert_eq!(body(&client.next("work").await), "a");
}
