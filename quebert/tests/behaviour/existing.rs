//! Queues that were there before Quebert: used as they are, and missed when they go.

use crate::site::{LONG, Site, node};
use lapin::{
    Connection, ConnectionProperties, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use quebert::{
    BuryReason, Envelope, Message, Settlement,
    wire::{Form, HeaderValue, JsonCodec},
};
use quebert_broker_adapter::testing::executor::{Executor, Reply};
use std::collections::BTreeSet;

const PRIORITIES: [&str; 3] = ["high", "medium", "low"];

async fn channel() -> (Connection, lapin::Channel) {
    let connection = Connection::connect(&node().await.url(), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn declare_queue(channel: &lapin::Channel, queue: &str) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, FieldTable::default()).await.unwrap();
}

fn task(id: &str, url: String) -> Message {
    let envelope = Envelope { id: Some(id.to_owned()), ..Envelope::new(url) };
    envelope.to_message(Form::Envelope(&JsonCodec)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_of_another_program_are_served_without_declaring_them() {
    let (connection, channel) = channel().await;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare("flow".into(), ExchangeKind::Direct, durable, FieldTable::default()).await.unwrap();
    for priority in PRIORITIES {
        let queue = format!("{priority}-priority-queue");
        declare_queue(&channel, &queue).await;
        let key = format!("tasks.{priority}");
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.into(), "flow".into(), key.into(), bind, FieldTable::default()).await.unwrap();
    }
    connection.close(200, "done".into()).await.unwrap();

    let site = Site::new(
        "existing",
        r#"
        topology.declare = false
        topology.queue_type = "classic"
        topology.exchange = "flow"
        lanes.high = { priority = 2, queue = "high-priority-queue", routing_key = "tasks.high", slots_max = 5 }
        lanes.medium = { priority = 1, queue = "medium-priority-queue", routing_key = "tasks.medium", slots_max = 5 }
        lanes.low = { priority = 0, queue = "low-priority-queue", routing_key = "tasks.low", slots_max = 5 }
        retry.backoff_min = "1500ms"
        retry.backoff_max = "3s""#,
    )
    .await;
    let executor = Executor::start(|request| match (request.target.as_str(), request.header("quebert-attempt")) {
        ("/gone", _) => Reply::status(410),
        ("/retried", "1") => Reply::status(500),
        _ => Reply::status(200),
    })
    .await;
    let dispatching = site.run().await;
    for priority in PRIORITIES {
        for kind in ["plain", "retried", "gone"] {
            let message = task(&format!("{priority}-{kind}"), executor.url(&format!("/{kind}")));
            site.admin.publish_to("flow", &format!("tasks.{priority}"), &message).await.unwrap();
        }
    }
    dispatching.until_over(9).await;
    {
        let seen = dispatching.seen();
        let ends = [Settlement::Succeeded, Settlement::Retried, Settlement::DeadLettered];
        assert_eq!(ends.map(|end| seen.settled_as(end)), [6, 3, 3]);
        let sent: BTreeSet<_> = seen.attempts.iter().map(|attempt| (attempt.task.as_str(), attempt.number)).collect();
        for priority in PRIORITIES {
            for (kind, attempts) in [("plain", 1), ("retried", 2), ("gone", 1)] {
                assert!(sent.contains(&(&*format!("{priority}-{kind}"), attempts)), "{sent:?}");
            }
        }
        assert_eq!(sent.len(), 12);
    }
    for request in executor.requests() {
        let priority = request.header("webhook-id").split('-').next().unwrap();
        assert_eq!(request.header("quebert-queue"), priority, "a retry comes back to its own queue");
    }
    for priority in PRIORITIES {
        let dead = site.dead(priority, 1).await;
        assert_eq!(dead[0].headers["quebert-dead-reason"], HeaderValue::Text("permanent".into()));
        assert_eq!(dead[0].body, task(&format!("{priority}-gone"), executor.url("/gone")).body);
    }
    dispatching.end(&site).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_task_whose_queue_is_gone_is_buried_with_that_reason() {
    let (connection, channel) = channel().await;
    declare_queue(&channel, "unroutable.work").await;
    let toml = "
        topology.declare = false
        topology.queue_type = \"classic\"
        lanes.work.slots_max = 2";
    let site = Site::new("unroutable", toml).await;
    let executor = Executor::start(|_| Reply::status(200)).await;
    let dispatching = site.run().await;
    let message = Envelope { id: Some("t".into()), delay_ms: Some(3_000), ..Envelope::new(executor.url("/")) };
    let message = message.to_message(Form::Envelope(&JsonCodec)).unwrap();
    site.publish("work", message.clone()).await;
    dispatching.until("it is in the grid", |seen| seen.settled_as(Settlement::Retried) == 1).await;
    channel.queue_delete("unroutable.work".into(), QueueDeleteOptions::default()).await.unwrap();
    dispatching.until("buried", |seen| !seen.buried.is_empty()).await;
    let reason = dispatching.seen().buried[0].1;
    assert_eq!(reason, BuryReason::Unroutable);
    let dead = site.dead("work", 1).await;
    assert_eq!(dead[0].headers["quebert-dead-reason"], HeaderValue::Text("unroutable".into()));
    assert_eq!(dead[0].body, message.body);
    assert_eq!(executor.counts().requests, 0);

    // Once the queue is there again, the lane works again.
    declare_queue(&channel, "unroutable.work").await;
    site.publish("work", task("next", executor.url("/"))).await;
    executor.wait_for(1, LONG).await;
    dispatching.until_over(1).await;
    dispatching.end(&site).await;
    connection.close(200, "done".into()).await.unwrap();
}
