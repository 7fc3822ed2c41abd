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

quebert_dispatcher::broker_claims!(claims);

/// All of them in one store, one after the other.
#[tokio::test]
async fn the_whole_suite_in_one_store() {
    contract::all(&Embedded::new()).await;
}
