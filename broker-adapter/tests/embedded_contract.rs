//! The broker port's contract, on the embedded broker. What is its own is in `embedded_store`.

#![cfg(feature = "embedded")]
#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

use quebert_broker_adapter::embedded::{EmbeddedBroker, EmbeddedConfig};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
    contract::{self, Harness},
};
use quebert_wire::Message;
use redb::backends::InMemoryBackend;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};
use tokio::sync::mpsc;

/// One store, and its clients.
struct Embedded {
    first: EmbeddedBroker,
    clients: Mutex<Vec<Arc<EmbeddedBroker>>>,
    count: AtomicU32,
}

impl Embedded {
    fn new() -> Self {
        let first = EmbeddedBroker::open_on(InMemoryBackend::new(), EmbeddedConfig::default()).unwrap();
        Self { first, clients: Mutex::default(), count: AtomicU32::new(0) }
    }
}

/// A client that can be cut by its harness.
struct Client(Arc<EmbeddedBroker>);

impl Harness for Embedded {
    type Broker = Client;

    fn fresh_name(&self) -> Arc<str> {
        format!("work-{}", self.count.fetch_add(1, Ordering::Relaxed)).into()
    }

    async fn client(&self, queues: &[Arc<str>]) -> Client {
        for queue in queues {
            self.first.declare(queue);
        }
        let client = Arc::new(self.first.another());
        self.clients.lock().unwrap().push(client.clone());
        Client(client)
    }

    fn cut(&self) -> Option<BoxFuture<'_, ()>> {
        self.clients.lock().unwrap().iter().for_each(|client| client.cut());
        Some(Box::pin(async {}))
    }
}

impl Broker for Client {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        self.0.start()
    }

    fn open(&self, source: Source, window: u16) {
        self.0.open(source, window);
    }

    fn close(&self, source: &Source) {
        self.0.close(source);
    }

    fn pause(&self, source: &Source) {
        self.0.pause(source);
    }

    fn ack(&self, tag: Tag) {
        self.0.ack(tag);
    }

    fn give_back(&self, tag: Tag) {
        self.0.give_back(tag);
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.0.publish(target, message)
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.0.relocate(from, target, message)
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        self.0.depth(target)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        self.0.stop()
    }
}

macro_rules! claims {
    ($($claim:ident)*) => {
        $(#[tokio::test]
        async fn $claim() {
            contract::$claim(&Embedded::new()).await;
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

/// All of them in one store, one after the other.
#[tokio::test]
async fn the_whole_suite_in_one_store() {
    contract::all(&Embedded::new()).await;
}
