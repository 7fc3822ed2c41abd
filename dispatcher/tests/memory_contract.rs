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

quebert_dispatcher::broker_claims!(claims);

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
