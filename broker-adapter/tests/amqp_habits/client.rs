//! A plain client of RabbitMQ, which waits for what it asks for and hides nothing.

use crate::nodes::calm;
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, PublisherConfirm,
    message::{BasicGetMessage, Delivery},
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
        ConfirmSelectOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A connection's channel, in confirm mode.
pub(crate) struct Client {
    _connection: Connection,
    pub(crate) channel: Channel,
}

/// Arguments of a queue.
pub(crate) fn arguments(of: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in of {
        table.insert((*name).into(), value.clone());
    }
    table
}

pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

pub(crate) fn quorum<'a>() -> (&'a str, AMQPValue) {
    ("x-queue-type", text("quorum"))
}

pub(crate) fn dead_letters_to(queue: &str) -> [(&str, AMQPValue); 2] {
    [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text(queue))]
}

impl Client {
    /// Of the node that nothing happens to.
    pub(crate) async fn connect() -> Self {
        Self::to(&calm().await.url()).await
    }

    pub(crate) async fn to(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { _connection: connection, channel }
    }

    pub(crate) async fn declare(&self, queue: &str, of: &[(&str, AMQPValue)]) {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), options, arguments(of)).await.unwrap();
    }

    pub(crate) async fn publish(&self, queue: &str, body: &str) -> Confirmation {
        self.publish_with(queue, body, BasicProperties::default()).await
    }

    pub(crate) async fn publish_with(&self, queue: &str, body: &str, properties: BasicProperties) -> Confirmation {
        confirmed(self.send("", queue, body, properties).await).await
    }

    /// Publishes and waits for no confirm: that is for the caller to do.
    pub(crate) async fn send(
        &self,
        exchange: &str,
        key: &str,
        body: &str,
        properties: BasicProperties,
    ) -> PublisherConfirm {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let properties = properties.with_delivery_mode(2);
        self.channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties).await.unwrap()
    }

    /// Publishes all of these at once, and waits until each is confirmed.
    pub(crate) async fn fill(&self, queue: &str, bodies: impl IntoIterator<Item = String>) {
        let mut confirms = Vec::new();
        for body in bodies {
            confirms.push(self.send("", queue, &body, BasicProperties::default()).await);
        }
        for confirm in confirms {
            assert!(is_stored(&confirmed(confirm).await));
        }
    }

    /// A consumer without a window, whose tag is the queue's name.
    pub(crate) async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions::default();
        self.channel.basic_consume(queue.into(), queue.into(), options, FieldTable::default()).await.unwrap()
    }

    pub(crate) async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
    }

    /// Gets one, as soon as there is one.
    pub(crate) async fn next(&self, queue: &str) -> BasicGetMessage {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(message) = self.get(queue).await {
                return message;
            }
            assert!(Instant::now() < end, "nothing came into {queue}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn give_back(&self, message: &BasicGetMessage) {
        let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
        self.channel.basic_nack(message.delivery_tag, options).await.unwrap();
    }

    pub(crate) async fn ack(&self, message: &BasicGetMessage) {
        self.channel.basic_ack(message.delivery_tag, BasicAckOptions::default()).await.unwrap();
    }

    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
    }

    pub(crate) async fn ready_becomes(&self, queue: &str, wanted: u32) {
        let end = Instant::now() + LIMIT;
        while self.ready(queue).await != wanted {
            assert!(Instant::now() < end, "{queue} has {} ready ones", self.ready(queue).await);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn body(message: &BasicGetMessage) -> &str {
    std::str::from_utf8(&message.data).unwrap()
}

pub(crate) fn count(message: &BasicGetMessage) -> Option<i64> {
    match message.properties.headers().as_ref()?.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(count) => Some(*count),
        AMQPValue::LongInt(count) => Some((*count).into()),
        other => panic!("a count as {other:?}"),
    }
}

/// The next that a consumer is given.
pub(crate) async fn delivery(consumer: &mut Consumer) -> Delivery {
    let next = timeout(LIMIT, consumer.next()).await;
    next.expect("a delivery in time").expect("the consumer goes on").unwrap()
}

/// What a publish came to.
pub(crate) async fn confirmed(confirm: PublisherConfirm) -> Confirmation {
    timeout(LIMIT, confirm).await.expect("a confirm in time").unwrap()
}

pub(crate) fn is_stored(confirmation: &Confirmation) -> bool {
    matches!(confirmation, Confirmation::Ack(None))
}

pub(crate) fn is_refused(confirmation: &Confirmation) -> bool {
    matches!(confirmation, Confirmation::Nack(_))
}
