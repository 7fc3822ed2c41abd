//! The test suite that every [`Broker`] passes. It is what makes the simulation's findings hold for the real thing.
//!
//! Each function is one claim and panics when it doesn't hold. Looks at nothing but the port; what a broker can do
//! beyond it is for its own tests.

#![expect(clippy::disallowed_methods, reason = "a test suite that waits in real time")]

mod client;

use super::{
    BoxFuture,
    broker::{Broker, Delivery, Depth, Opening, PublishError, Source, Tag, Target},
};
use crate::grid::Step;
use client::{Client, full_message, numbered, one_queue};
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(60);
/// How long nothing must happen for it to count as nothing.
const QUIET: Duration = Duration::from_millis(400);

/// What the suite needs of a broker under test. One harness stands for one broker with its queues; the brokers that it
/// makes are its clients.
pub trait Harness: Sync {
    /// What is tested.
    type Broker: Broker;

    /// A name that no queue has yet.
    fn fresh_name(&self) -> Arc<str>;

    /// One more client, not started, for which these work queues exist (made now, if need be).
    fn client(&self, queues: &[Arc<str>]) -> impl Future<Output = Self::Broker> + Send;

    /// Cuts the sessions of all clients, as a network fault would. `None` if that can't happen to this broker; the
    /// claims about it are then skipped.
    fn cut(&self) -> Option<BoxFuture<'_, ()>>;
}

/// Hands the names of all claims to a macro, so that a broker's tests name each of them and none is forgotten.
#[macro_export]
macro_rules! broker_claims {
    ($with:ident) => {
        $with! {
            a_message_arrives_as_it_was_published
            the_window_is_held
            an_acked_delivery_is_gone
            a_given_back_delivery_comes_again
            closing_gives_back
            another_window_opens_again
            a_paused_source_settles_and_delivers_nothing_new
            after_a_cut_it_opens_again_with_its_window
            acks_of_a_former_opening_do_nothing
            there_is_one_consumer_after_many_cuts
            a_publish_to_a_missing_queue_comes_back
            the_dead_are_kept
            a_delay_queue_is_made_and_told_of
            depth_tells_what_waits
            stopping_sends_the_acks
            a_relocated_message_takes_the_old_ones_place
            a_relocated_delivery_fills_its_window_until_its_ack
            a_relocate_of_a_former_opening_is_a_plain_publish
            a_relocate_that_comes_back_leaves_the_old_one
        }
    };
}

/// Checks every claim, one after the other.
pub async fn all<H: Harness>(harness: &H) {
    macro_rules! in_turn {
        ($($claim:ident)*) => {
            $($claim(harness).await;)*
        };
    }
    broker_claims!(in_turn);
}

/// Every field of a message, and a body of every byte, survive.
pub async fn a_message_arrives_as_it_was_published<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    let message = full_message();
    client.publish(&queue, message.clone()).await;
    client.open(&queue, 1).await;
    let mut delivery = client.delivery().await;
    assert!(!delivery.redelivered, "the first delivery is not a repetition");
    // Brokers may add headers of their own.
    delivery.message.headers.retain(|name, _| message.headers.contains_key(name));
    assert_eq!(delivery.message, message);
    client.broker.ack(delivery.tag);
    client.broker.stop().await;
}

/// Never more unsettled deliveries than the window, and never fewer while there are messages.
pub async fn the_window_is_held<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 12).await;
    client.open(&queue, 4).await;
    let mut held = client.deliveries(4).await;
    client.nothing_is_delivered().await;
    for _ in 0..8 {
        client.broker.ack(held.remove(0).tag);
        held.extend(client.deliveries(1).await);
        assert_eq!(held.len(), 4);
    }
    client.nothing_is_delivered().await;
    client.broker.stop().await;
}

/// Once acked, a message is never delivered again.
pub async fn an_acked_delivery_is_gone<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 20).await;
    client.open(&queue, 20).await;
    let mut deliveries = client.deliveries(20).await;
    // Out of order, with one that stays.
    let kept = deliveries.remove(7);
    deliveries.reverse();
    deliveries.iter().for_each(|delivery| client.broker.ack(delivery.tag));
    client.broker.stop().await;
    let mut next = Client::start(harness.client(std::slice::from_ref(&queue)).await).await;
    next.open(&queue, 20).await;
    let again = next.delivery().await;
    assert_eq!(again.message.body, kept.message.body, "the one that was not acked");
    assert!(again.redelivered, "said to be a repetition");
    next.nothing_is_delivered().await;
    next.broker.ack(again.tag);
    next.broker.stop().await;
}

/// Given back, a message is delivered again, and said to be.
pub async fn a_given_back_delivery_comes_again<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 3).await;
    client.open(&queue, 3).await;
    let deliveries = client.deliveries(3).await;
    client.broker.give_back(deliveries[1].tag);
    client.broker.ack(deliveries[2].tag);
    let again = client.delivery().await;
    assert_eq!(again.message.body, deliveries[1].message.body);
    assert!(again.redelivered, "said to be a repetition");
    assert_ne!(again.tag, deliveries[1].tag, "a new delivery");
    client.broker.ack(again.tag);
    client.broker.ack(deliveries[0].tag);
    client.depth_becomes(Target::Queue(queue), |depth| depth.ready == 0).await;
    client.nothing_is_delivered().await;
    client.broker.stop().await;
}

/// Closing a source gives back what is unsettled, after the acks of what is settled.
pub async fn closing_gives_back<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 5).await;
    client.open(&queue, 5).await;
    let deliveries = client.deliveries(5).await;
    client.broker.ack(deliveries[0].tag);
    client.broker.ack(deliveries[3].tag);
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth == Depth { ready: 3, consumers: 0 }).await;
    client.open(&queue, 5).await;
    let again: BTreeSet<_> = client.deliveries(3).await.into_iter().map(|d| d.message.body).collect();
    assert_eq!(again, [1, 2, 4].map(|i| deliveries[i].message.body.clone()).into(), "the three that were not acked");
    client.broker.stop().await;
}

/// Asking for another window closes the opening and opens the next.
pub async fn another_window_opens_again<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 6).await;
    let first = client.open(&queue, 1).await;
    client.deliveries(1).await;
    let second = client.open(&queue, 4).await;
    assert_ne!(first, second, "an opening's name is never used again");
    client.deliveries(4).await;
    client.nothing_is_delivered().await;
    client.broker.stop().await;
}

/// A paused source delivers nothing new, and what it has delivered can still be settled.
pub async fn a_paused_source_settles_and_delivers_nothing_new<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 3).await;
    client.open(&queue, 2).await;
    let deliveries = client.deliveries(2).await;
    client.broker.pause(&Source::Queue(queue.clone()));
    // The window is full: the time for the pause to arrive. (Some brokers count a consumer until it has settled all.)
    client.nothing_is_delivered().await;
    client.broker.ack(deliveries[0].tag);
    client.broker.give_back(deliveries[1].tag);
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth == Depth { ready: 2, consumers: 0 }).await;
    client.nothing_is_delivered().await;
    // Opened once more, it goes on.
    client.open(&queue, 2).await;
    client.deliveries(2).await;
    client.broker.stop().await;
}

/// A fault closes what was open; then it is opened again, and what was unsettled comes once more.
pub async fn after_a_cut_it_opens_again_with_its_window<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 5).await;
    let first = client.open(&queue, 2).await;
    let before = client.deliveries(2).await;
    let Some(cut) = harness.cut() else { return client.broker.stop().await };
    cut.await;
    let second = client.opened(&Source::Queue(queue.clone())).await;
    assert!(client.is_closed(first), "closed before it opens again");
    assert_ne!(first, second, "an opening's name is never used again");
    let after = client.deliveries(2).await;
    client.nothing_is_delivered().await;
    let bodies = |deliveries: &[Delivery]| deliveries.iter().map(|d| d.message.body.clone()).collect::<BTreeSet<_>>();
    assert_eq!(bodies(&before), bodies(&after), "the unsettled come first");
    assert!(after.iter().all(|delivery| delivery.redelivered), "said to be repetitions");
    client.broker.stop().await;
}

/// A tag of a former opening settles nothing, even if a delivery of the next has the same number.
pub async fn acks_of_a_former_opening_do_nothing<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 2).await;
    client.open(&queue, 2).await;
    let before = client.deliveries(2).await;
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth.ready == 2).await;
    client.open(&queue, 2).await;
    let after = client.deliveries(2).await;
    before.iter().for_each(|delivery| client.broker.ack(delivery.tag));
    client.broker.ack(Tag { opening: Opening(u64::MAX), seq: 1 });
    client.broker.give_back(before[0].tag);
    client.nothing_is_delivered().await;
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth.ready == 2).await;
    assert_eq!(after.len(), 2);
    client.broker.stop().await;
}

/// However often the session is cut, each source has one consumer afterwards.
pub async fn there_is_one_consumer_after_many_cuts<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.open(&queue, 3).await;
    for _ in 0..3 {
        let Some(cut) = harness.cut() else { break };
        cut.await;
        client.opened(&Source::Queue(queue.clone())).await;
    }
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth.consumers == 1).await;
    client.publish_numbered(&queue, 5).await;
    client.deliveries(3).await;
    client.nothing_is_delivered().await;
    client.broker.stop().await;
}

/// What has nowhere to go is said to be nowhere.
pub async fn a_publish_to_a_missing_queue_comes_back<H: Harness>(harness: &H) {
    let (client, queue) = one_queue(harness).await;
    let missing = Target::Queue(harness.fresh_name());
    let result = client.broker.publish(missing.clone(), numbered(1)).await;
    assert!(matches!(result, Err(PublishError::Returned(_))), "{result:?}");
    assert_eq!(client.broker.depth(missing).await, None);
    // And nothing is the worse for it.
    client.publish_numbered(&queue, 1).await;
    client.broker.stop().await;
}

/// Dead letters are kept, those of unknown queues too.
pub async fn the_dead_are_kept<H: Harness>(harness: &H) {
    let (client, queue) = one_queue(harness).await;
    for name in [queue.clone(), harness.fresh_name()] {
        let target = Target::Dead(name);
        let before = client.broker.depth(target.clone()).await.map_or(0, |depth| depth.ready);
        client.broker.publish(target.clone(), full_message()).await.expect("dead letters are always taken");
        client.depth_becomes(target, |depth| depth.ready == before + 1).await;
    }
    client.depth_becomes(Target::Queue(queue), |depth| depth.ready == 0).await;
    client.broker.stop().await;
}

/// The first publish to a delay queue makes it, and every client learns of it: those that run, and those that start
/// later.
pub async fn a_delay_queue_is_made_and_told_of<H: Harness>(harness: &H) {
    let (mut maker, queue) = one_queue(harness).await;
    let mut other = Client::start(harness.client(std::slice::from_ref(&queue)).await).await;
    let step = Step::from_millis(28_000).expect("on the grid");
    maker.broker.publish(Target::Delay(step), numbered(7)).await.expect("delay queues are made when needed");
    maker.knows(step).await;
    other.knows(step).await;
    let mut later = Client::start(harness.client(&[queue]).await).await;
    later.knows(step).await;
    later.open_source(Source::Delay(step), 8).await;
    let delivery = later.delivery().await;
    assert_eq!(delivery.message.body, numbered(7).body, "it waits there");
    later.broker.ack(delivery.tag);
    for client in [maker, other, later] {
        client.broker.stop().await;
    }
}

/// The depth of a queue is what is ready, and who consumes.
pub async fn depth_tells_what_waits<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    let target = Target::Queue(queue.clone());
    client.depth_becomes(target.clone(), |depth| depth == Depth { ready: 0, consumers: 0 }).await;
    client.publish_numbered(&queue, 3).await;
    client.depth_becomes(target.clone(), |depth| depth == Depth { ready: 3, consumers: 0 }).await;
    client.open(&queue, 1).await;
    client.deliveries(1).await;
    client.depth_becomes(target, |depth| depth == Depth { ready: 2, consumers: 1 }).await;
    client.broker.stop().await;
}

/// Acks right before a stop count; what is unsettled goes back; then the events end.
pub async fn stopping_sends_the_acks<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 10).await;
    client.open(&queue, 10).await;
    for delivery in client.deliveries(10).await.into_iter().take(9) {
        client.broker.ack(delivery.tag);
    }
    client.broker.stop().await;
    timeout(LIMIT, async { while client.events.recv().await.is_some() {} }).await.expect("the events end with a stop");
    let next = Client::start(harness.client(std::slice::from_ref(&queue)).await).await;
    next.depth_becomes(Target::Queue(queue), |depth| depth == Depth { ready: 1, consumers: 0 }).await;
    next.broker.stop().await;
}

/// After a relocate and the ack there is the new message, and nothing of the old one.
pub async fn a_relocated_message_takes_the_old_ones_place<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 2).await;
    client.open(&queue, 2).await;
    let deliveries = client.deliveries(2).await;
    let target = Target::Dead(queue.clone());
    client
        .broker
        .relocate(deliveries[0].tag, target.clone(), numbered(7))
        .await
        .expect("dead letters are always taken");
    client.broker.ack(deliveries[0].tag);
    // A second time it settles nothing, and what comes behind it is untouched.
    client.broker.ack(deliveries[0].tag);
    client.depth_becomes(target, |depth| depth.ready == 1).await;
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth.ready == 1).await;
    client.open(&queue, 2).await;
    assert_eq!(client.delivery().await.message.body, deliveries[1].message.body, "the one that was not moved");
    client.nothing_is_delivered().await;
    client.broker.stop().await;
}

/// The place in the window is free with the ack, and not before.
pub async fn a_relocated_delivery_fills_its_window_until_its_ack<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 2).await;
    client.open(&queue, 1).await;
    let first = client.delivery().await;
    client.broker.relocate(first.tag, Target::Queue(queue.clone()), numbered(7)).await.expect("a queue that is there");
    client.nothing_is_delivered().await;
    client.broker.ack(first.tag);
    let second = client.delivery().await;
    assert_eq!(second.message.body, numbered(1).body);
    client.broker.ack(second.tag);
    assert_eq!(client.delivery().await.message.body, numbered(7).body, "the new one stands at the end");
    client.broker.stop().await;
}

/// A tag of a former opening says nothing of what is delivered now: the message is stored, and the old one stays.
pub async fn a_relocate_of_a_former_opening_is_a_plain_publish<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 1).await;
    client.open(&queue, 1).await;
    let former = client.delivery().await;
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue.clone()), |depth| depth.ready == 1).await;
    client.open(&queue, 1).await;
    client.deliveries(1).await;
    let target = Target::Dead(queue.clone());
    client.broker.relocate(former.tag, target.clone(), numbered(7)).await.expect("dead letters are always taken");
    client.broker.ack(former.tag);
    client.depth_becomes(target, |depth| depth.ready == 1).await;
    client.broker.close(&Source::Queue(queue.clone()));
    client.depth_becomes(Target::Queue(queue), |depth| depth.ready == 1).await;
    client.broker.stop().await;
}

/// What has nowhere to go settles nothing.
pub async fn a_relocate_that_comes_back_leaves_the_old_one<H: Harness>(harness: &H) {
    let (mut client, queue) = one_queue(harness).await;
    client.publish_numbered(&queue, 1).await;
    client.open(&queue, 1).await;
    let delivery = client.delivery().await;
    let missing = Target::Queue(harness.fresh_name());
    let result = client.broker.relocate(delivery.tag, missing, numbered(7)).await;
    assert!(matches!(result, Err(PublishError::Returned(_))), "{result:?}");
    client.broker.give_back(delivery.tag);
    let again = client.delivery().await;
    assert!(again.redelivered, "said to be a repetition");
    assert_eq!(again.message.body, delivery.message.body);
    client.broker.stop().await;
}
