//! What people do by hand: look at the topology, publish, look through dead letters, replay and purge them.
//!
//! Holds a session of its own and never repairs it: a command that loses its connection fails and says so.

use super::{
    RabbitConfig,
    apply::{self, Report},
    config::ConfigError,
    connect::ConnectError,
    message,
    rpc::{Fault, within},
    session::{KnownDelays, Session},
};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicQosOptions},
};
use quebert_dispatcher::ports::broker::{Depth, PublishError, Target};
use quebert_wire::Message;
use std::{fmt, sync::Arc, time::Duration};

/// How much of message bodies [`RabbitAdmin::browse`] returns at most, in bytes.
const BROWSE_BYTES_MAX: usize = 64 << 20;

/// A session for commands.
pub struct RabbitAdmin(Arc<Session>);

/// Why a command failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The config is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker could be reached; the last one's reason.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker said no, for instance since there is no such queue.
    #[error("refused by the broker: {0}")]
    Refused(String),
    /// The connection broke. What was not yet acknowledged is still in its queue.
    #[error("connection lost: {0}")]
    Lost(String),
    /// A message could not be published; it stays where it was.
    #[error("publish: {0}")]
    Publish(#[from] PublishError),
}

impl From<Fault> for AdminError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused { words, .. } => Self::Refused(words),
            Fault::Lost { words, .. } => Self::Lost(words),
        }
    }
}

/// What becomes of a message that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Take {
    /// It stays.
    Keep,
    /// It is removed for good.
    Remove,
    /// This is published in its place, and it is removed once that is confirmed.
    Move {
        /// The exchange; empty is the default one, whose routing keys are queue names.
        exchange: String,
        /// The routing key.
        routing_key: String,
        /// What to publish.
        message: Message,
    },
    /// It stays, and no more are looked at.
    Stop,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Messages looked at.
    pub seen: u64,
    /// Of these, removed for good.
    pub removed: u64,
    /// Of these, published elsewhere and removed.
    pub moved: u64,
}

impl RabbitAdmin {
    /// Connects to the first address that answers.
    ///
    /// # Errors
    /// When the config is wrong, or none answers within its limit.
    pub async fn connect(config: RabbitConfig) -> Result<Self, AdminError> {
        let addresses = config.check()?;
        let config = Arc::new(config);
        let mut last = None;
        for address in &addresses {
            match Session::open(address, config.clone(), Arc::new(KnownDelays::new())).await {
                Ok(session) => return Ok(Self(Arc::new(session))),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a checked config has an address").into())
    }

    /// Declares the topology, object by object.
    ///
    /// # Errors
    /// When the connection is lost. What the broker refuses is in the reports.
    pub async fn apply(&self) -> Result<Vec<Report>, AdminError> {
        Ok(self.0.apply().await?)
    }

    /// Looks whether the topology is there and, of what is ours to declare, whether it has our arguments. Makes nothing
    /// that is missing, unless somebody deletes a queue at the very moment of the look.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub async fn check(&self) -> Result<Vec<Report>, AdminError> {
        Ok(apply::check(&mut self.0.requests(), &self.0.config.topology).await?)
    }

    /// Publishes to an exchange, mandatory, persistent and confirmed.
    ///
    /// # Errors
    /// When it does not count as stored.
    pub async fn publish_to(&self, exchange: &str, routing_key: &str, message: &Message) -> Result<(), PublishError> {
        self.0.publish_to(exchange, routing_key, message).await
    }

    /// How many messages wait; `None` if there is no such queue.
    pub async fn depth(&self, target: &Target) -> Option<Depth> {
        self.0.depth(target).await
    }

    /// Copies of up to `limit` messages from the front of a queue, up to 64 MiB of bodies. They stay in the queue, and
    /// count as delivered once more. A classic queue keeps their order; a quorum queue puts them behind those that were
    /// looked at before, so that looking at all keeps the order and looking at a part of it turns it round.
    ///
    /// # Errors
    /// When there is no such queue, or the connection is lost.
    pub async fn browse(&self, queue: &str, limit: u64) -> Result<Vec<Message>, AdminError> {
        let mut seen = Vec::new();
        let mut bytes = 0;
        self.sweep(queue, limit, async |message: Message| {
            bytes += message.body.len();
            if bytes > BROWSE_BYTES_MAX {
                return Take::Stop;
            }
            seen.push(message);
            Take::Keep
        })
        .await?;
        Ok(seen)
    }

    /// Looks at up to `limit` messages from the front of a queue, each once, and does with each what `decide` says.
    /// `decide` may take its time, which is how a caller limits the rate; a sweep must end within the broker's consumer
    /// timeout (30 minutes by default), after which everything it kept goes back early.
    ///
    /// # Errors
    /// When there is no such queue, the connection is lost, or a message can't be published; what was done until then
    /// stays done, and nothing is lost.
    pub async fn sweep(
        &self,
        queue: &str,
        limit: u64,
        mut decide: impl AsyncFnMut(Message) -> Take,
    ) -> Result<Swept, AdminError> {
        let channel = within(self.limit(), "channel.open", self.0.consuming().create_channel()).await?;
        within(self.limit(), "basic.qos", channel.basic_qos(0, BasicQosOptions { global: false })).await?;
        let swept = self.sweep_on(&channel, queue, limit, &mut decide).await;
        // What was kept goes back to the queue, near to where it was, with the end of the channel. Its answer is also the
        // only word that the acks before it arrived.
        let closed = within(self.limit(), "channel.close", channel.close(200, "swept".into())).await;
        let swept = swept?;
        closed?;
        Ok(swept)
    }

    /// Closes the session.
    pub async fn close(self) {
        self.0.close(Duration::from_secs(5)).await;
    }

    async fn sweep_on(
        &self,
        channel: &Channel,
        queue: &str,
        limit: u64,
        decide: &mut impl AsyncFnMut(Message) -> Take,
    ) -> Result<Swept, AdminError> {
        let name = message::short_string("queue", queue).map_err(|unfit| AdminError::Refused(unfit.to_string()))?;
        let mut swept = Swept::default();
        while swept.seen < limit {
            let get = channel.basic_get(name.clone(), BasicGetOptions { no_ack: false });
            let Some(got) = within(self.limit(), "basic.get", get).await? else { break };
            let delivery = got.delivery;
            swept.seen += 1;
            match decide(message::from_delivery(&delivery.properties, delivery.data)).await {
                Take::Keep => continue,
                Take::Stop => break,
                Take::Remove => swept.removed += 1,
                Take::Move { exchange, routing_key, message } => {
                    self.0.publish_to(&exchange, &routing_key, &message).await?;
                    swept.moved += 1;
                }
            }
            within(
                self.limit(),
                "basic.ack",
                channel.basic_ack(delivery.delivery_tag, BasicAckOptions { multiple: false }),
            )
            .await?;
        }
        Ok(swept)
    }

    fn limit(&self) -> Duration {
        self.0.config.operation_timeout
    }
}

impl fmt::Debug for RabbitAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitAdmin").finish_non_exhaustive()
    }
}
