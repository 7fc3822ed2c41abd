//! RabbitMQ as the dispatcher's `Broker`.
//!
//! Only the handle: the work is the supervisor's and the session's.

use super::{RabbitConfig, address::Address, config::ConfigError, supervisor::Supervisor, wanted::Shared};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
};
use quebert_wire::Message;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// A RabbitMQ broker. Without a session publishes fail at once as not connected: they are nowhere, and the caller knows
/// best whether to wait.
pub struct RabbitBroker {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    stop: watch::Sender<bool>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl RabbitBroker {
    /// Checks the config. Connects to nothing yet.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn new(config: RabbitConfig) -> Result<Self, ConfigError> {
        let addresses = config.check()?;
        Ok(Self {
            shared: Arc::new(Shared::new(config)),
            addresses,
            stop: watch::Sender::new(false),
            supervisor: Mutex::default(),
        })
    }

    /// Publishes to an exchange with a routing key: mandatory, persistent and confirmed, like
    /// [`publish`](Broker::publish).
    pub fn publish_to(
        &self,
        exchange: String,
        routing_key: String,
        message: Message,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let session = shared.session().ok_or_else(no_session)?;
            session.publish_to(&exchange, &routing_key, &message).await
        })
    }
}

impl Broker for RabbitBroker {
    /// Must be called within a tokio runtime. Called again, it returns a receiver that has ended.
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let (sender, receiver) = mpsc::channel(self.shared.config.event_buffer);
        let mut running = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() && !*self.stop.borrow() {
            let supervisor = Supervisor::new(self.shared.clone(), self.addresses.clone(), sender);
            *running = Some(tokio::spawn(supervisor.run(self.stop.subscribe())));
        }
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        // A window of 0 is none at all in AMQP.
        self.shared.want(source, window.max(1));
    }

    fn close(&self, source: &Source) {
        self.shared.forget(source);
    }

    fn pause(&self, source: &Source) {
        self.shared.pause(source);
    }

    fn ack(&self, tag: Tag) {
        if let Some(acks) = self.shared.openings.find(tag.opening) {
            acks.ack(tag.seq);
        }
    }

    fn give_back(&self, tag: Tag) {
        if let Some(acks) = self.shared.openings.find(tag.opening) {
            acks.give_back(tag.seq);
        }
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let session = shared.session().ok_or_else(no_session)?;
            session.publish(&target, &message).await
        })
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        let shared = self.shared.clone();
        Box::pin(async move { shared.session()?.depth(&target).await })
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        self.stop.send_replace(true);
        let running = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            if let Some(running) = running {
                // It ends within its own limits; a panic in it has been reported as such.
                let _ = running.await;
            }
        })
    }
}

impl fmt::Debug for RabbitBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitBroker").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

fn no_session() -> PublishError {
    PublishError::NotConnected("no session with the broker".into())
}
