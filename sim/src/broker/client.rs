//! The client of the simulated broker: the dispatcher's port over the framed protocol.

use crate::{case::BrokerSpec, env::Env};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
};
use quebert_wire::Message;
use tokio::sync::mpsc;

/// A client of the simulated broker.
pub struct SimBroker;

impl SimBroker {
    /// On this host; connects when started.
    pub fn new(_env: Env, _spec: &BrokerSpec) -> Self {
        Self
    }
}

impl Broker for SimBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        mpsc::channel(1).1
    }

    fn open(&self, _source: Source, _window: u16) {}

    fn close(&self, _source: &Source) {}

    fn pause(&self, _source: &Source) {}

    fn ack(&self, _tag: Tag) {}

    fn give_back(&self, _tag: Tag) {}

    fn publish(&self, _target: Target, _message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        Box::pin(async { Err(PublishError::NotConnected("not there".to_owned())) })
    }

    fn depth(&self, _target: Target) -> BoxFuture<'static, Option<Depth>> {
        Box::pin(async { None })
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
