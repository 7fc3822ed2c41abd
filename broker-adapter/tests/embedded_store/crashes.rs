//! What a sudden end of the process leaves: everything confirmed, what was under way flagged and counted.

use super::common::{Folder, crashes, dead, number, numbered, work};
use quebert_broker_adapter::embedded::EmbeddedConfig;
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker, Source, Target},
};
use quebert_wire::{HeaderValue, header};

#[tokio::test]
async fn what_was_under_way_comes_again_flagged_and_counted_and_the_rest_does_not() {
    let folder = Folder::new();
    let mut client = folder.open();
    client.publish(0..6).await;
    client.open(3);
    let out = client.deliveries(3).await;
    client.broker.ack(out[1].tag);
    // The window is 3: the fourth is delivered once the ack is taken in.
    let fourth = client.delivery().await;
    assert_eq!((number(&fourth.message), fourth.redelivered, crashes(&fourth)), (3, false, None));
    drop(client);

    let mut client = folder.open();
    client.open(10);
    let again = client.deliveries(5).await;
    let seen = again.iter().map(|d| (number(&d.message), d.redelivered, crashes(d))).collect::<Vec<_>>();
    assert_eq!(
        seen,
        [(0, true, Some(1)), (2, true, Some(1)), (3, true, Some(1)), (4, false, None), (5, false, None)],
        "in their old order"
    );
    client.broker.stop().await;
}

#[tokio::test]
async fn a_stop_counts_as_no_crash_and_keeps_the_flags() {
    let folder = Folder::new();
    let mut client = folder.open();
    client.publish(0..3).await;
    client.open(2);
    client.deliveries(2).await;
    client.broker.stop().await;

    for _ in 0..2 {
        let mut client = folder.open();
        client.open(3);
        let again = client.deliveries(3).await;
        let seen = again.iter().take(2).map(|d| (number(&d.message), d.redelivered, crashes(d))).collect::<Vec<_>>();
        assert_eq!(seen, [(0, true, Some(0)), (1, true, Some(0))]);
        client.broker.stop().await;
    }
}

#[tokio::test]
async fn what_was_given_back_before_a_crash_was_not_under_way() {
    let folder = Folder::new();
    let mut client = folder.open();
    client.publish(0..2).await;
    client.open(2);
    client.deliveries(2).await;
    client.broker.close(&Source::Queue("work".into()));
    // Another confirmed publish: by then the give-backs are on disk.
    client.publish(2..3).await;
    drop(client);

    let mut client = folder.open();
    client.open(3);
    let seen = client.deliveries(3).await.iter().map(|d| (d.redelivered, crashes(d))).collect::<Vec<_>>();
    assert_eq!(seen, [(true, Some(0)), (true, Some(0)), (false, None)]);
    client.broker.stop().await;
}

#[tokio::test]
async fn a_task_that_is_under_way_at_too_many_crashes_is_buried() {
    let folder = Folder::new();
    let config = EmbeddedConfig { delivery_limit: 2, ..folder.config() };
    let client = folder.open_with(config.clone());
    client.publish(0..2).await;
    drop(client);
    for crash in 0..3 {
        let mut client = folder.open_with(config.clone());
        client.open(1);
        let delivery = client.delivery().await;
        assert_eq!((number(&delivery.message), crashes(&delivery)), (0, (crash > 0).then_some(crash)));
        drop(client);
    }
    let mut client = folder.open_with(config);
    assert_eq!((client.ready(work()).await, client.ready(dead()).await), (1, 1));
    client.open(1);
    assert_eq!(number(&client.delivery().await.message), 1, "the others go on");
    let found = super::common::found(&client, "task-0").await;
    let text = |name: &str| match found.headers.get(name) {
        Some(HeaderValue::Text(text)) => text.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(text(header::DEAD_REASON), "max_deliveries");
    assert_eq!(text(header::DEAD_LANE), "work");
    assert_eq!(text(header::DEAD_DETAIL), "under way at more than 2 crashes of the process");
    assert!(matches!(found.headers.get(header::DEAD_AT), Some(HeaderValue::Int(_))));
    assert_eq!(found.body, numbered(0).body);
    client.broker.stop().await;
}

#[tokio::test]
async fn delayed_and_dead_messages_outlive_a_crash_and_are_never_buried() {
    let folder = Folder::new();
    let config = EmbeddedConfig { delivery_limit: 0, ..folder.config() };
    let step = Step::from_millis(2_000).unwrap();
    let client = folder.open_with(config.clone());
    client.broker.publish(Target::Delay(step), numbered(1)).await.unwrap();
    client.broker.publish(dead(), numbered(2)).await.unwrap();
    client.broker.publish(Target::Dead("nobody's".into()), numbered(3)).await.unwrap();
    drop(client);
    for _ in 0..3 {
        let mut client = folder.open_with(config.clone());
        client.broker.open(Source::Delay(step), 8);
        assert_eq!(number(&client.delivery().await.message), 1);
        assert_eq!(client.ready(dead()).await, 1);
        assert_eq!(client.ready(Target::Dead("nobody's".into())).await, 1);
        drop(client);
    }
}
