//! What operators rely on over restarts and crashes: idempotency keys, pauses, and where a task is.

use super::common::{Client, Folder, numbered, work};
use quebert_broker_adapter::admin::{Admin, Enqueue, Enqueued, FoundState, Once, Place};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker, Target},
};
use quebert_wire::{HeaderValue, TaskId, Timestamp, header};
use std::time::SystemTime;

fn in_ms(ms: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    Timestamp::from_millis(i64::try_from(now).unwrap() + ms)
}

async fn once(client: &Client, n: u32, key: &str, fingerprint: u8, lasts_ms: i64) -> Enqueued {
    let once = Once { key: key.into(), fingerprint: [fingerprint; 32], until: in_ms(lasts_ms) };
    let task = Enqueue { queue: "work".into(), message: numbered(n), once: Some(once) };
    client.broker.enqueue(vec![task]).await.remove(0).unwrap()
}

#[tokio::test]
async fn an_idempotency_key_outlives_a_crash_until_its_time_is_over() {
    let folder = Folder::new();
    let client = folder.open();
    assert_eq!(once(&client, 1, "a", 1, 600_000).await, Enqueued::Stored);
    assert_eq!(once(&client, 2, "over", 1, -1).await, Enqueued::Stored);
    drop(client);
    let client = folder.open();
    assert_eq!(once(&client, 3, "a", 1, 600_000).await, Enqueued::Repeated { id: "task-1".into() });
    assert_eq!(once(&client, 4, "a", 2, 600_000).await, Enqueued::Conflict);
    assert_eq!(once(&client, 5, "over", 2, 600_000).await, Enqueued::Stored);
    assert_eq!(client.ready(work()).await, 3, "the tasks 1, 2 and 5");
    client.broker.stop().await;
}

#[tokio::test]
async fn a_key_counts_within_its_own_batch_and_the_rest_is_stored() {
    let folder = Folder::new();
    let client = folder.open();
    let key = |n: u8| Some(Once { key: "k".into(), fingerprint: [n; 32], until: in_ms(60_000) });
    let task = |n, queue: &str, once| Enqueue { queue: queue.into(), message: numbered(n), once };
    let batch = vec![
        task(1, "work", key(1)),
        task(2, "work", key(1)),
        task(3, "work", key(2)),
        task(4, "missing", None),
        task(5, "work", None),
    ];
    let results = client.broker.enqueue(batch).await;
    assert_eq!(results[0], Ok(Enqueued::Stored));
    assert_eq!(results[1], Ok(Enqueued::Repeated { id: "task-1".into() }));
    assert_eq!(results[2], Ok(Enqueued::Conflict));
    assert!(results[3].is_err());
    assert_eq!(results[4], Ok(Enqueued::Stored));
    assert_eq!(client.ready(work()).await, 2);
    client.broker.stop().await;
}

#[tokio::test]
async fn a_pause_is_remembered_over_a_crash() {
    let folder = Folder::new();
    let client = folder.open();
    client.broker.remember_pause("work".into(), true).await.unwrap();
    client.broker.remember_pause("other".into(), true).await.unwrap();
    client.broker.remember_pause("other".into(), false).await.unwrap();
    drop(client);
    let client = folder.open();
    assert_eq!(client.broker.paused().await.unwrap(), ["work".into()]);
    client.broker.stop().await;
}

#[tokio::test]
async fn a_delayed_task_is_found_counted_and_sent_now_after_a_crash() {
    let folder = Folder::new();
    let client = folder.open();
    let mut task = numbered(1);
    task.headers.insert(header::RETURN_TO.into(), HeaderValue::Text("work".into()));
    task.headers.insert(header::DUE_AT.into(), HeaderValue::Int(i64::MAX));
    client.broker.publish(Target::Delay(Step::LAST), task).await.unwrap();
    drop(client);

    let mut client = folder.open();
    let id = TaskId::new("task-1").unwrap();
    let status = client.broker.status(Place::Queue("work".into())).await.unwrap();
    assert_eq!((status.ready, status.delayed), (0, Some(1)));
    let found = client.broker.find(id.clone()).await.unwrap();
    assert_eq!(
        found.iter().map(|found| (&*found.queue, found.state)).collect::<Vec<_>>(),
        [("work", FoundState::Delayed)]
    );
    assert!(client.broker.run_now(id.clone()).await.unwrap());
    assert!(!client.broker.run_now(id.clone()).await.unwrap(), "it is no longer delayed");
    client.open(1);
    let delivery = client.delivery().await;
    assert!(!delivery.message.headers.contains_key(header::DUE_AT));
    assert_eq!(delivery.message.headers.get(header::RUN_NOW), Some(&HeaderValue::Bool(true)));
    assert!(!client.broker.cancel(id.clone()).await.unwrap(), "it is delivered");
    client.broker.give_back(delivery.tag);
    client.broker.close(&quebert_dispatcher::ports::broker::Source::Queue("work".into()));
    assert!(client.broker.cancel(id.clone()).await.unwrap());
    assert_eq!(client.broker.find(id).await.unwrap(), []);
    client.broker.stop().await;
}

#[tokio::test]
async fn what_was_relocated_is_not_there_twice_after_a_crash() {
    let folder = Folder::new();
    let mut client = folder.open();
    client.publish(0..1).await;
    client.open(1);
    let out = client.delivery().await;
    client.broker.relocate(out.tag, Target::Dead("work".into()), numbered(7)).await.unwrap();
    // Without the ack.
    drop(client);
    let client = folder.open();
    assert_eq!((client.ready(work()).await, client.ready(super::common::dead()).await), (0, 1));
    client.broker.stop().await;
}
