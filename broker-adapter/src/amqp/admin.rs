//! The operators' side of RabbitMQ: topology, publishing, looking through queues, moving and removing.
//!
//! Decides nothing about what a dead letter is or where it goes; whoever sweeps does. What RabbitMQ can't tell, such as
//! ages or where a task is, is not guessed.

use super::{
    RabbitConfig,
    apply::{self, Report},
    config::ConfigError,
    connect::ConnectError,
    message,
    rpc::{Fault, NOT_FOUND, within},
    session::Session,
    shared::Shared,
};
use crate::admin::{
    Abilities, Admin, AdminError, Enqueue, Enqueued, Found, OnceMemory, Place, PlaceStatus, Position, Sweeper, Swept,
    Take,
};
use futures_util::{StreamExt as _, stream};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicQosOptions, QueuePurgeOptions},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Depth, PublishError, Target},
};
use quebert_wire::{Message, TaskId, Timestamp};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// How much of message bodies [`RabbitAdmin::browse`] returns at most, in bytes.
const BROWSE_BYTES_MAX: usize = 64 << 20;

/// How long an enqueue waits for a broker that has blocked the connection. Short, since a producer on the other side of
/// HTTP is better told to come again.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(2);

/// The operators' side of RabbitMQ. All requests share one session, which is opened when first needed and again after a
/// fault.
pub struct RabbitAdmin {
    shared: Shared,
    once: OnceMemory,
}

/// Why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker could be reached; the last one's reason.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<ConnectError> for AdminError {
    fn from(error: ConnectError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Fault> for AdminError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused { words, .. } => Self::Refused(words),
            Fault::Lost { words, .. } => Self::Unavailable(words),
        }
    }
}

impl RabbitAdmin {
    /// Connects when first needed.
    ///
    /// # Errors
    /// The first field of the config that is wrong.
    pub fn new(config: RabbitConfig) -> Result<Self, ConfigError> {
        Ok(Self { shared: Shared::new(config)?, once: OnceMemory::default() })
    }

    /// Connects now, to the first address that answers.
    ///
    /// # Errors
    /// When the config is wrong, or none answers within its limit.
    pub async fn connect(config: RabbitConfig) -> Result<Self, OpenError> {
        let admin = Self::new(config)?;
        admin.shared.open().await?;
        Ok(admin)
    }

    /// Declares the topology, object by object.
    ///
    /// # Errors
    /// When the connection is lost. What the broker refuses is in the reports.
    pub async fn apply(&self) -> Result<Vec<Report>, AdminError> {
        Ok(self.session().await?.apply().await?)
    }

    /// Looks whether the topology is there and, of what is ours to declare, whether it has our arguments. Makes nothing
    /// that is missing, unless somebody deletes a queue at the very moment of the look.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub async fn check(&self) -> Result<Vec<Report>, AdminError> {
        let session = self.session().await?;
        Ok(apply::check(&mut session.requests(), &session.config.topology).await?)
    }

    /// Publishes to an exchange, mandatory, persistent and confirmed.
    ///
    /// # Errors
    /// When it does not count as stored.
    pub async fn publish_to(&self, exchange: &str, routing_key: &str, message: &Message) -> Result<(), PublishError> {
        let session = self.session().await.map_err(|e| PublishError::NotConnected(e.to_string()))?;
        session.publish_to(exchange, routing_key, message).await
    }

    /// How many messages wait; `None` if there is no such queue, or no broker.
    pub async fn depth(&self, target: &Target) -> Option<Depth> {
        self.session().await.ok()?.depth(target).await
    }

    /// Copies of up to `limit` messages from the front of a queue, up to 64 MiB of bodies. They stay in the queue, and
    /// count as delivered once more. A classic queue keeps their order; a quorum queue puts them behind those that were
    /// looked at before, so that looking at all keeps the order and looking at a part of it turns it round.
    ///
    /// # Errors
    /// When there is no such queue, or the connection is lost.
    pub async fn browse(&self, queue: &str, limit: u64) -> Result<Vec<Message>, AdminError> {
        let mut seen = Copies::default();
        self.sweep_queue(queue, limit, &mut seen).await?;
        Ok(seen.messages)
    }

    /// Closes the session, if there is one. A later request opens another.
    pub async fn close(&self) {
        self.shared.close(Duration::from_secs(5)).await;
    }

    async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        self.shared.session().await
    }

    /// A sweep must end within the broker's consumer timeout (30 minutes by default), after which everything it kept
    /// goes back early.
    async fn sweep_queue(&self, queue: &str, limit: u64, sweeper: &mut dyn Sweeper) -> Result<Swept, AdminError> {
        let session = self.session().await?;
        let patience = self.limit();
        let channel = within(patience, "channel.open", session.consuming().create_channel()).await?;
        within(patience, "basic.qos", channel.basic_qos(0, BasicQosOptions { global: false })).await?;
        let swept = self.sweep_on(&session, &channel, queue, limit, sweeper).await;
        // What was kept goes back to the queue, near to where it was, with the end of the channel. Its answer is also the
        // only word that the acks before it arrived.
        let closed = within(patience, "channel.close", channel.close(200, "swept".into())).await;
        let swept = swept?;
        closed?;
        Ok(swept)
    }

    async fn sweep_on(
        &self,
        session: &Session,
        channel: &Channel,
        queue: &str,
        limit: u64,
        sweeper: &mut dyn Sweeper,
    ) -> Result<Swept, AdminError> {
        let name = message::short_string("queue", queue).map_err(|unfit| AdminError::Refused(unfit.to_string()))?;
        let mut swept = Swept::default();
        while swept.seen < limit {
            let get = channel.basic_get(name.clone(), BasicGetOptions { no_ack: false });
            let Some(got) = within(self.limit(), "basic.get", get).await.map_err(|fault| about(queue, fault))? else {
                swept.complete = true;
                break;
            };
            let delivery = got.delivery;
            swept.seen += 1;
            let found = message::from_delivery(&delivery.properties, delivery.data);
            match sweeper.decide(None, &found).await {
                Take::Keep => continue,
                Take::Stop => break,
                Take::Remove => swept.removed += 1,
                Take::Move { target, message } => {
                    session.publish(&target, &message).await?;
                    swept.moved += 1;
                }
            }
            let options = BasicAckOptions { multiple: false };
            within(self.limit(), "basic.ack", channel.basic_ack(delivery.delivery_tag, options)).await?;
        }
        Ok(swept)
    }

    async fn enqueue_one(
        &self,
        session: &Session,
        task: Enqueue,
        gave_up: &AtomicBool,
    ) -> Result<Enqueued, PublishError> {
        let publish = async |queue: Arc<str>, message: Message| self.store(session, &queue, &message, gave_up).await;
        self.once.store(task, now(), publish).await
    }

    /// Publishes the way that producers do: through the lane's exchange, if it has one.
    async fn store(
        &self,
        session: &Session,
        queue: &str,
        message: &Message,
        gave_up: &AtomicBool,
    ) -> Result<(), PublishError> {
        let mut blocked = session.blocked();
        let unblocked = timeout(BLOCKED_PATIENCE, blocked.wait_for(|blocked| !blocked));
        if gave_up.load(Ordering::Relaxed) || unblocked.await.is_err() {
            gave_up.store(true, Ordering::Relaxed);
            return Err(PublishError::NotConnected("the broker takes no publishes for now".into()));
        }
        let (exchange, key) = self.route(queue);
        tokio::select! {
            biased;
            result = session.publish_to(exchange, key, message) => result,
            () = blocked_for(session, BLOCKED_PATIENCE) => {
                gave_up.store(true, Ordering::Relaxed);
                Err(PublishError::Unknown("the broker takes no publishes for now, and confirms none".into()))
            }
        }
    }

    /// Exchange and routing key for a work queue.
    fn route<'a>(&'a self, queue: &'a str) -> (&'a str, &'a str) {
        let topology = &self.shared.config.topology;
        let lane = topology.lanes.iter().find(|lane| lane.queue == queue);
        let shared = topology.exchange.as_ref().map(|exchange| exchange.name.as_str());
        match lane.and_then(|lane| Some((lane, lane.exchange.as_deref().or(shared)?))) {
            Some((lane, exchange)) if !exchange.is_empty() => (exchange, lane.routing_key.as_deref().unwrap_or(queue)),
            _ => ("", queue),
        }
    }

    /// The broker's name of a place.
    fn name(&self, place: &Place) -> String {
        let topology = &self.shared.config.topology;
        match place {
            Place::Queue(queue) => queue.to_string(),
            Place::Dead(queue) => topology.dead_queue_of(queue),
            Place::CommonDead => topology.common_dead_queue(),
        }
    }

    fn limit(&self) -> Duration {
        self.shared.config.operation_timeout
    }
}

impl Admin for RabbitAdmin {
    fn abilities(&self) -> Abilities {
        Abilities { engine: "rabbitmq", lookup: false, durable_once: false, durable_pause: false, ages: false }
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        Box::pin(async move {
            let session = match self.session().await {
                Ok(session) => session,
                Err(e) => return tasks.iter().map(|_| Err(PublishError::NotConnected(e.to_string()))).collect(),
            };
            // Once one of a batch has waited in vain for a blocked broker, the others don't.
            let gave_up = AtomicBool::new(false);
            let (session, gave_up) = (&*session, &gave_up);
            let width = usize::from(self.shared.config.publish_channels);
            let each = |task| -> BoxFuture<'_, _> { Box::pin(self.enqueue_one(session, task, gave_up)) };
            stream::iter(tasks.into_iter().map(each)).buffered(width).collect().await
        })
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        Box::pin(async move {
            let name = self.name(&place);
            let session = self.session().await?;
            let looked = apply::look_at_queue(&mut session.requests(), &name).await;
            let (ready, consumers) = looked.map_err(|fault| about(&name, fault))?;
            let consumers = Some(consumers.into());
            Ok(PlaceStatus { ready: ready.into(), consumers, ..PlaceStatus::default() })
        })
    }

    fn sweep<'a>(
        &'a self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        Box::pin(async move {
            if after.is_some() {
                return Err(AdminError::Unsupported("queues of RabbitMQ have no positions"));
            }
            self.sweep_queue(&self.name(&place), limit, sweeper).await
        })
    }

    fn purge(&self, place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        Box::pin(async move {
            let name = self.name(&place);
            let queue =
                message::short_string("queue", &name).map_err(|unfit| AdminError::Refused(unfit.to_string()))?;
            let session = self.session().await?;
            let request = async |ch: Channel| ch.queue_purge(queue, QueuePurgeOptions::default()).await;
            let purged = session.requests().make("queue.purge", request).await;
            Ok(purged.map_err(|fault| about(&name, fault))?.into())
        })
    }

    fn find(&self, _id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        Box::pin(async { Err(NO_LOOKUP) })
    }

    fn run_now(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(async { Err(NO_LOOKUP) })
    }

    fn cancel(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(async { Err(NO_LOOKUP) })
    }

    fn remember_pause(&self, _queue: Arc<str>, _paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Ok(()) })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

const NO_LOOKUP: AdminError = AdminError::Unsupported("RabbitMQ can't look for one message in a queue");

/// A fault of a request about one queue.
fn about(queue: &str, fault: Fault) -> AdminError {
    match fault {
        Fault::Refused { code: NOT_FOUND, .. } => AdminError::NoSuchPlace(queue.to_owned()),
        fault => fault.into(),
    }
}

/// Ends when the broker has blocked the connection for that long without a break.
async fn blocked_for(session: &Session, patience: Duration) {
    let mut blocked = session.blocked();
    loop {
        if blocked.wait_for(|blocked| *blocked).await.is_err() {
            // The session is gone, which the publish meets by itself.
            return std::future::pending().await;
        }
        if timeout(patience, blocked.wait_for(|blocked| !blocked)).await.is_err() {
            return;
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Keeps a copy of all it is shown.
#[derive(Default)]
struct Copies {
    messages: Vec<Message>,
    bytes: usize,
}

impl Sweeper for Copies {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        self.bytes += message.body.len();
        let fits = self.bytes <= BROWSE_BYTES_MAX;
        if fits {
            self.messages.push(message.clone());
        }
        Box::pin(async move { if fits { Take::Keep } else { Take::Stop } })
    }
}

impl fmt::Debug for RabbitAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitAdmin").finish_non_exhaustive()
    }
}
