//! A folder that is removed at the end, and a client that keeps what it is told. It checks nothing itself.

use quebert_broker_adapter::{
    admin::Admin,
    embedded::{EmbeddedBroker, EmbeddedConfig},
};
use quebert_dispatcher::ports::broker::{Broker, BrokerEvent, Delivery, Source, Target};
use quebert_wire::{HeaderValue, Message, TaskId};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// How long anything may take that must happen.
const LIMIT: Duration = Duration::from_secs(60);

/// A folder of its own for a test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("quebert.redb")
    }

    pub(crate) fn config(&self) -> EmbeddedConfig {
        EmbeddedConfig { folder: self.0.clone(), queues: vec!["work".into()], ..EmbeddedConfig::default() }
    }

    pub(crate) fn open(&self) -> Client {
        self.open_with(self.config())
    }

    pub(crate) fn open_with(&self, config: EmbeddedConfig) -> Client {
        Client::new(EmbeddedBroker::open(config).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A started client.
pub(crate) struct Client {
    pub(crate) broker: EmbeddedBroker,
    events: mpsc::Receiver<BrokerEvent>,
}

impl Client {
    pub(crate) fn new(broker: EmbeddedBroker) -> Self {
        let events = broker.start();
        Self { broker, events }
    }

    pub(crate) async fn event(&mut self) -> BrokerEvent {
        timeout(LIMIT, self.events.recv()).await.expect("in time").expect("events go on")
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        loop {
            if let BrokerEvent::Delivered(delivery) = self.event().await {
                return delivery;
            }
        }
    }

    pub(crate) async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while deliveries.len() < count {
            deliveries.push(self.delivery().await);
        }
        deliveries
    }

    pub(crate) fn open(&self, window: u16) {
        self.broker.open(Source::Queue("work".into()), window);
    }

    pub(crate) async fn publish(&self, bodies: impl IntoIterator<Item = u32>) {
        for body in bodies {
            self.broker.publish(work(), numbered(body)).await.unwrap();
        }
    }

    pub(crate) async fn ready(&self, target: Target) -> u64 {
        self.broker.depth(target).await.unwrap().ready
    }
}

pub(crate) fn work() -> Target {
    Target::Queue("work".into())
}

pub(crate) fn dead() -> Target {
    Target::Dead("work".into())
}

/// A message whose body is its number, and whose id is `task-<number>`.
pub(crate) fn numbered(n: u32) -> Message {
    Message { id: Some(format!("task-{n}")), body: n.to_string().into(), ..Message::default() }
}

pub(crate) fn number(message: &Message) -> u32 {
    std::str::from_utf8(&message.body).unwrap().parse().unwrap()
}

/// The broker's count on a delivery: at how many crashes it was under way.
pub(crate) fn crashes(delivery: &Delivery) -> Option<i64> {
    match delivery.message.headers.get("x-delivery-count") {
        Some(HeaderValue::Int(count)) => Some(*count),
        _ => None,
    }
}

/// The one copy of a task.
pub(crate) async fn found(client: &Client, id: &str) -> Message {
    let mut found = client.broker.find(TaskId::new(id).unwrap()).await.unwrap();
    assert_eq!(found.len(), 1, "{id}");
    found.remove(0).message
}
