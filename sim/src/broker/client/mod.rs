//! The client of the simulated broker: the dispatcher's port over the framed protocol, with sessions, as the production
//! adapter has them. Only the handle: the work is the supervisor's and the session's.

mod channels;
mod session;
mod shared;
mod supervisor;

use crate::{case::BrokerSpec, env::Env};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
};
use quebert_wire::Message;
use shared::Shared;
use std::{sync::Arc, time::Duration};
use supervisor::Supervisor;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// Events that wait for the dispatcher at most, as with the production adapter.
const EVENTS_MAX: usize = 1024;
/// The limit of one publish, as with the production adapter.
const PUBLISH_LIMIT: Duration = Duration::from_secs(30);
/// The limit of one question, as with the production adapter.
const QUESTION_LIMIT: Duration = Duration::from_secs(15);

/// A client of the simulated broker. Without a session publishes fail at once as not connected.
pub struct SimBroker {
    shared: Arc<Shared>,
}

impl SimBroker {
    /// On this host; connects when started.
    pub fn new(env: Env, spec: &BrokerSpec) -> Self {
        Self { shared: Arc::new(Shared::new(env, spec.clone())) }
    }

    fn send(
        &self,
        target: Target,
        from: Option<Tag>,
        message: Message,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let deadline = Instant::now() + PUBLISH_LIMIT;
            let (answer, answered) = oneshot::channel();
            let Some(letter) = shared.post(target.clone(), from, message, answer) else {
                return Err(PublishError::NotConnected("no session with the broker".to_owned()));
            };
            match timeout_at(deadline, answered).await {
                Ok(Ok(Ok(()))) => shared.ripens(&target).await,
                Ok(Ok(error)) => error,
                Ok(Err(_)) => Err(PublishError::Unknown("the session was lost".to_owned())),
                Err(_) if shared.give_up(letter) => {
                    Err(PublishError::NotConnected("it could not be sent in time".to_owned()))
                }
                Err(_) => Err(PublishError::Unknown("no confirmation in time".to_owned())),
            }
        })
    }
}

impl Broker for SimBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        if self.shared.start() {
            let supervisor = Supervisor::new(self.shared.clone(), sender);
            self.shared.env.net.spawn(supervisor.run());
        }
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        self.shared.want(source, window.max(1));
    }

    fn close(&self, source: &Source) {
        self.shared.forget(source);
    }

    fn pause(&self, source: &Source) {
        self.shared.pause(source);
    }

    fn ack(&self, tag: Tag) {
        self.shared.settle(tag, true);
    }

    fn give_back(&self, tag: Tag) {
        self.shared.settle(tag, false);
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.send(target, None, message)
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.send(target, Some(from), message)
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            shared.question(target, answer)?;
            timeout_at(Instant::now() + QUESTION_LIMIT, answered).await.ok()?.ok()?
        })
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        let shared = self.shared.clone();
        shared.stop();
        Box::pin(async move { shared.ended().await })
    }
}

impl Drop for SimBroker {
    fn drop(&mut self) {
        self.shared.stop();
    }
}
