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
        self.publish(urls.into_iter().map(|url| (properties.clone(), task(&url)))).await
    }

    /// The same as Celery's messages: the task is the one argument of its function `deliver`.
    pub(crate) async fn fill_celery(&self, urls: impl IntoIterator<Item = String>) -> Result<(), Fault> {
        let message = |(number, url): (usize, String)| {
            let id = format!("00000000-0000-4000-8000-{number:012}");
            let mut headers = FieldTable::default();
            for (name, value) in [("lang", "py"), ("task", "deliver"), ("id", &id), ("root_id", &id)] {
                headers.insert(name.into(), AMQPValue::LongString(value.into()));
            }
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_content_type("application/json".into())
                .with_content_encoding("utf-8".into())
                .with_correlation_id(id.as_str().into())
                .with_headers(headers);
            let rest = r#"{"callbacks":null,"errbacks":null,"chain":null,"chord":null}"#;
            (properties, format!("[[{}],{{}},{rest}]", task(&url)))
        };
        self.publish(urls.into_iter().enumerate().map(message)).await
    }

    /// Publishes one task and waits for no confirm.
    pub(crate) async fn send(&self, url: &str) -> Result<(), Fault> {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        let (exchange, key, options) = ("".into(), self.name.as_str().into(), BasicPublishOptions::default());
        drop(self.channel.basic_publish(exchange, key, options, task(url).as_bytes(), properties).await?);
        Ok(())
    }

    async fn publish(&self, messages: impl Iterator<Item = (BasicProperties, String)>) -> Result<(), Fault> {
        let mut under_way = VecDeque::new();
        for (properties, body) in messages {
            let (exchange, key) = ("".into(), self.name.as_str().into());
            let options = BasicPublishOptions::default();
            under_way.push_back(self.channel.basic_publish(exchange, key, options, body.as_bytes(), properties).await?);
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
