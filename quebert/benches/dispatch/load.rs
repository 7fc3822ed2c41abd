//! Tasks: 300 bytes of JSON each, in a durable queue before anybody takes them.

use crate::{Fault, Kind};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
};

/// A task's size in bytes.
pub(crate) const TASK_BYTES: usize = 300;
/// Publishes under way at a time.
const UNCONFIRMED_MAX: usize = 500;

/// A queue of its own for each run.
pub(crate) struct Queue {
    pub(crate) name: String,
    connection: Connection,
    channel: Channel,
}

impl Queue {
    pub(crate) async fn declare(url: &str, kind: Kind) -> Result<Self, Fault> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bench.{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let mut arguments = FieldTable::default();
        if kind == Kind::Quorum {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        }
        channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), arguments).await?;
        Ok(Self { name, connection, channel })
    }

    /// Publishes a task for each URL, and waits until the broker has all of them.
    pub(crate) async fn fill(&self, urls: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let mut under_way = VecDeque::new();
        for url in urls {
            let task = task(&url);
            let confirm = self.channel.basic_publish(
                "".into(),
                self.name.as_str().into(),
                BasicPublishOptions::default(),
                task.as_bytes(),
                properties.clone(),
            );
            under_way.push_back(confirm.await?);
            if under_way.len() > UNCONFIRMED_MAX {
                confirmed(&under_way.pop_front().expect("just pushed").await?)?;
            }
        }
        for confirm in under_way {
            confirmed(&confirm.await?)?;
        }
        Ok(())
    }

    pub(crate) async fn delete(self) -> Result<(), Fault> {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await?;
        self.connection.close(200, "done".into()).await?;
        Ok(())
    }
}

fn confirmed(confirmation: &Confirmation) -> Result<(), Fault> {
    matches!(confirmation, Confirmation::Ack(None)).then_some(()).ok_or_else(|| "the broker took no task".into())
}

fn task(url: &str) -> String {
    let (start, end) = (format!(r#"{{"url":"{url}","body":{{"user":4711,"text":""#), r#""}}"#);
    let text = "x".repeat(TASK_BYTES - start.len() - end.len());
    format!("{start}{text}{end}")
}
