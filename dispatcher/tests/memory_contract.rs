//! The broker port's contract, on the broker in memory.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_dispatcher::{
    memory::MemoryBroker,
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, PublishError, Source, Target},
        contract::{self, Harness},
    },
    wire::Message,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

/// One world, and the connections to it that were made.
#[derive(Default)]
struct InMemory {
    world: MemoryBroker,
    clients: Mutex<Vec<MemoryBroker>>,
    count: AtomicU32,
}

impl Harness for InMemory {
    type Broker = MemoryBroker;

    fn fresh_name(&self) -> Arc<str> {
        format!("work-{}", self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    async fn client(&self, queues: &[Arc<str>]) -> MemoryBroker {
        for queue in queues {
            self.world.declare(queue);
        }
        let client = self.world.another();
        self.clients.lock().unwrap().push(client.clone());
        client
    }

    fn cut(&self) -> Option<BoxFuture<'_, ()>> {
        self.clients.lock().unwrap().iter().for_each(MemoryBroker::cut);
        Some(Box::pin(async {}))
    }
}

macro_rules! claims {
    ($($claim:ident)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $claim() {
            contract::$claim(&InMemory::default()).await;
        })*
    };
}

claims! {
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

/// All of them in one world, one after the other.
#[tokio::test(start_paused = true)]
async fn the_whole_suite_in_one_world() {
    contract::all(&InMemory::default()).await;
}

/// A move is one step here: between its confirmation and the ack nothing has two copies, and the ack does no harm.
#[tokio::test(start_paused = true)]
async fn a_move_never_leaves_two_copies() {
    let broker = MemoryBroker::new();
    broker.declare("work");
    let queue: Arc<str> = "work".into();
    let mut events = broker.start();
    broker.publish(Target::Queue(queue.clone()), Message::default()).await.unwrap();
    broker.open(Source::Queue(queue.clone()), 1);
    let tag = loop {
        if let BrokerEvent::Delivered(delivery) = events.recv().await.unwrap() {
            break delivery.tag;
        }
    };
    let missing = broker.relocate(tag, Target::Queue("missing".into()), Message::default()).await;
    assert!(matches!(missing, Err(PublishError::Returned(_))), "{missing:?}");
    assert_eq!(broker.everything().len(), 1, "it stays where it was");
    let dead = Target::Dead(queue);
    broker.relocate(tag, dead.clone(), Message::default()).await.unwrap();
    assert_eq!((broker.messages(&dead).len(), broker.everything().len()), (1, 1));
    broker.ack(tag);
    // Settled already: from here on it is a plain publish.
    broker.relocate(tag, dead.clone(), Message::default()).await.unwrap();
    assert_eq!((broker.messages(&dead).len(), broker.everything().len()), (2, 2));
}
