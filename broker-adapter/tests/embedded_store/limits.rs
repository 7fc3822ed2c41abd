//! The limits of depth, message and total size, who may use the folder, and that space is given back.

use super::common::{Folder, dead, numbered, work};
use quebert_broker_adapter::embedded::{EmbeddedBroker, EmbeddedConfig, OpenError};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker, PublishError, Target},
};
use quebert_wire::Message;

#[track_caller]
fn refused(result: &Result<(), PublishError>, words: &str) {
    let Err(PublishError::Refused(said)) = result else { panic!("{result:?}") };
    assert!(said.contains(words), "{said}");
}

fn large(bytes: usize) -> Message {
    Message { body: vec![b'x'; bytes].into(), ..Message::default() }
}

#[tokio::test]
async fn a_full_queue_refuses_what_is_new_and_takes_moves_and_dead_letters() {
    let folder = Folder::new();
    let mut client = folder.open_with(EmbeddedConfig { queue_messages_max: 3, ..folder.config() });
    client.publish(0..3).await;
    client.open(1);
    let out = client.delivery().await;
    refused(&client.broker.publish(work(), numbered(3)).await, "holds 3 messages, and 3 is its limit");
    client.broker.publish(dead(), numbered(4)).await.unwrap();
    client.broker.relocate(out.tag, work(), numbered(5)).await.unwrap();
    refused(&client.broker.publish(work(), numbered(3)).await, "is its limit");
    client.broker.ack(out.tag);
    let second = client.delivery().await;
    client.broker.ack(second.tag);
    // The next delivery comes after the ack was taken in.
    client.delivery().await;
    client.publish(6..7).await;
    client.broker.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_unless_it_is_a_dead_letter() {
    let folder = Folder::new();
    let client = folder.open_with(EmbeddedConfig { message_bytes_max: 1000, ..folder.config() });
    let unfit = client.broker.publish(work(), large(1001)).await;
    let Err(PublishError::Unfit(words)) = unfit else { panic!("{unfit:?}: trying again is no use") };
    assert!(words.contains("bytes, and 1000 is the limit"), "{words}");
    client.broker.publish(dead(), large(1001)).await.unwrap();
    client.broker.publish(work(), large(900)).await.unwrap();
    client.broker.stop().await;
}

#[tokio::test]
async fn all_together_have_a_limit_which_moves_may_pass() {
    let folder = Folder::new();
    let mut client = folder.open_with(EmbeddedConfig { total_bytes_max: 3000, ..folder.config() });
    client.broker.publish(work(), large(1400)).await.unwrap();
    client.broker.publish(work(), large(1400)).await.unwrap();
    refused(&client.broker.publish(work(), large(1400)).await, "3000 is the limit");
    let delay = Target::Delay(Step::from_millis(1000).unwrap());
    refused(&client.broker.publish(delay.clone(), large(1400)).await, "3000 is the limit");
    client.open(1);
    let out = client.delivery().await;
    client.broker.relocate(out.tag, delay, large(2000)).await.unwrap();
    client.broker.stop().await;
}

#[tokio::test]
async fn a_folder_is_used_by_one_at_a_time() {
    let folder = Folder::new();
    let client = folder.open();
    let second = EmbeddedBroker::open(folder.config());
    assert!(matches!(&second, Err(OpenError::InUse { path }) if *path == folder.file()), "{second:?}");
    // As long as any client is there.
    let other = client.broker.another();
    client.broker.stop().await;
    assert!(matches!(EmbeddedBroker::open(folder.config()), Err(OpenError::InUse { .. })));
    other.publish(work(), numbered(1)).await.unwrap();
    other.stop().await;
    let client = folder.open();
    assert_eq!(client.ready(work()).await, 1);
    client.broker.stop().await;
    assert!(matches!(client.broker.publish(work(), numbered(2)).await, Err(PublishError::NotConnected(_))));
}

#[tokio::test]
async fn space_is_given_back() {
    let folder = Folder::new();
    let mut client = folder.open();
    let bytes = || std::fs::metadata(folder.file()).unwrap().len();
    let content = 40u64 << 20;
    for _ in 0..40 {
        client.broker.publish(work(), large(1 << 20)).await.unwrap();
    }
    assert!(bytes() >= content, "it is all in the file");
    client.open(40);
    for delivery in client.deliveries(40).await {
        client.broker.ack(delivery.tag);
    }
    client.publish(0..1).await;
    client.broker.stop().await;
    assert!(bytes() < 1 << 20, "{} bytes for one small task", bytes());
    let client = folder.open();
    assert_eq!(client.ready(work()).await, 1);
    client.broker.stop().await;
}
