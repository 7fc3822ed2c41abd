//! The two brokers, from their side that the dispatcher uses, and the task that all runs publish.

use crate::Fault;
use bytes::Bytes;
use quebert::Config;
use quebert_broker_adapter::{
    embedded::{EmbeddedBroker, EmbeddedConfig},
    testing::PrivateRabbit,
};
use quebert_dispatcher::ports::broker::{Broker, BrokerEvent, PublishError, Target};
use quebert_wire::Message;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

/// A task's size in bytes.
const TASK_BYTES: usize = 300;
/// The only queue.
pub(crate) const QUEUE: &str = "quebert.bench";

/// A folder that goes when the run is over.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(parent: &Path) -> Result<Self, Fault> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("quebert-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = parent.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Bytes of all files in it.
    pub(crate) fn bytes(&self) -> Result<u64, Fault> {
        let files = std::fs::read_dir(&self.0)?.filter_map(Result::ok).filter_map(|entry| entry.metadata().ok());
        Ok(files.map(|file| file.len()).sum())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// The embedded broker as the program opens it.
pub(crate) fn embedded(folder: &Path) -> Result<EmbeddedBroker, Fault> {
    let config = EmbeddedConfig { folder: folder.to_owned(), queues: vec![QUEUE.into()], ..EmbeddedConfig::default() };
    Ok(EmbeddedBroker::open(config)?)
}

/// A config with one lane. Without `amqp`, the broker is brought along.
pub(crate) fn config(amqp: Option<&str>) -> Result<Config, Fault> {
    let url = amqp.unwrap_or("embedded:./unused");
    Ok(Config::from_toml(&format!(
        r#"
        [broker]
        url = "{url}"
        [lanes.bench]
        queue = "{QUEUE}"
        window = 300
        slots_max = 100
        [pool]
        slots = 100
        [destinations]
        slots = 100
        window_share = 100
        [http.guard]
        enabled = false
        [api]
        listen = ""
        [log]
        level = "warn"
        "#
    ))?)
}

/// The RabbitMQ side, declared as the program declares it, and connected.
pub(crate) async fn rabbit(node: &PrivateRabbit) -> Result<Arc<dyn Broker>, Fault> {
    let broker = quebert::compose::broker(&config(Some(&node.url()))?)?;
    connected(broker.as_ref()).await?;
    Ok(broker)
}

/// Starts it, waits for its session, and from then on ignores what it tells.
pub(crate) async fn connected(broker: &dyn Broker) -> Result<(), Fault> {
    let mut events = broker.start();
    loop {
        match events.recv().await.ok_or("the broker ended")? {
            BrokerEvent::Connected => break,
            BrokerEvent::Disconnected { detail, .. } => eprintln!("not connected: {detail}"),
            _ => {}
        }
    }
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    Ok(())
}

/// A task as a producer makes it, for this path of the executor.
pub(crate) fn task(n: u64, url: &str) -> Message {
    let (start, end) = (format!(r#"{{"url":"{url}/{n}","body":{{"user":4711,"text":""#), r#""}}"#);
    let text = "x".repeat(TASK_BYTES.saturating_sub(start.len() + end.len()));
    Message {
        id: Some(format!("bench-{n}")),
        content_type: Some("application/json".to_owned()),
        body: Bytes::from(format!("{start}{text}{end}")),
        ..Message::default()
    }
}

pub(crate) async fn publish(broker: &dyn Broker, n: u64, url: &str) -> Result<(), PublishError> {
    broker.publish(Target::Queue(QUEUE.into()), task(n, url)).await
}
