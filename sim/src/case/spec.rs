//! The hosts of a case and how they are set up. Plain data with the units in the names.

use crate::net::Weather;
use serde::{Deserialize, Serialize};

/// Hosts, and how they are set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldSpec {
    /// Processes that dispatch; at least 1.
    pub dispatchers: u8,
    /// Servers that execute; at least 1.
    pub executors: u8,
    /// Processes that enqueue; at least 1.
    pub producers: u8,
    /// The broker.
    pub broker: BrokerSpec,
    /// What every dispatcher is set up with.
    pub dispatcher: DispatcherSpec,
    /// The network without faults.
    pub weather: Weather,
}

/// What keeps the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The queue core under rules like RabbitMQ's.
    Rabbit,
    /// The embedded broker's store, on a simulated disk.
    Embedded,
}

/// RabbitMQ's two kinds of queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Counts deliveries itself, and buries over its limit.
    Quorum,
    /// Counts none.
    Classic,
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSpec {
    /// What keeps the messages.
    pub engine: Engine,
    /// 1, or 3 of which one leads.
    pub nodes: u8,
    /// Of work queues.
    pub queues: QueueKind,
    /// Deliveries of one message after which a quorum queue buries it.
    pub delivery_limit: u32,
    /// How long a delivery may stay unsettled before its channel is closed.
    pub consumer_timeout_ms: u64,
    /// Heartbeats between clients and broker: silence of twice this ends a connection.
    pub heartbeat_ms: u64,
    /// How long storing takes at least, before a confirm.
    pub confirm_min_ms: u64,
    /// And at most.
    pub confirm_max_ms: u64,
    /// How many confirms are held back to be sent together.
    pub confirm_batch: u32,
    /// Most messages in a work queue; more are refused.
    pub queue_messages_max: u64,
    /// How long three nodes go without a leader after its loss.
    pub election_ms: u64,
    /// Whether messages that are given back come first again (`true`), or stand at their old place where the broker can.
    pub requeue_first: bool,
    /// Whether acks, moves and their publishes are one transaction (as in the embedded broker).
    pub relocates: bool,
}

impl Default for BrokerSpec {
    fn default() -> Self {
        Self {
            engine: Engine::Rabbit,
            nodes: 1,
            queues: QueueKind::Quorum,
            delivery_limit: 50,
            consumer_timeout_ms: 1_800_000,
            heartbeat_ms: 5_000,
            confirm_min_ms: 0,
            confirm_max_ms: 2,
            confirm_batch: 1,
            queue_messages_max: 1_000_000,
            election_ms: 2_000,
            requeue_first: false,
            relocates: false,
        }
    }
}

/// A dispatcher's lanes and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatcherSpec {
    /// At least one.
    pub lanes: Vec<LaneSpec>,
    /// Slots that all lanes share.
    pub slots_shared: u32,
    /// Slots by weight (`true`), or strictly by priority.
    pub weighted: bool,
    /// With strict priority: most grants in a row that pass over a lane that could send.
    pub pass_over_max: Option<u32>,
    /// Requests under way at a time to one executor.
    pub destination_slots: u32,
    /// Percent of a lane that one executor may take while others use it, too.
    pub window_share: u8,
    /// Whether expired tasks are kept as dead letters.
    pub bury_expired: bool,
    /// Whether the world's own mediator is there, which does as tasks say (`TaskSpec::hook`).
    pub mediator: bool,
    /// What a failing hook means: `send`, `put_off` or `bury`.
    pub hook_error: HookError,
    /// How long a mediator may take, in milliseconds.
    pub hook_timeout_ms: u64,
}

/// What a failing hook means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookError {
    /// Sent all the same.
    Send,
    /// Put off.
    PutOff,
    /// Buried.
    Bury,
}

impl Default for DispatcherSpec {
    fn default() -> Self {
        Self {
            lanes: vec![LaneSpec::named("high", 3), LaneSpec::named("medium", 2), LaneSpec::named("low", 1)],
            slots_shared: 0,
            weighted: false,
            pass_over_max: Some(16),
            destination_slots: 100,
            window_share: 50,
            bury_expired: true,
            mediator: false,
            hook_error: HookError::PutOff,
            hook_timeout_ms: 5_000,
        }
    }
}

/// One lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaneSpec {
    /// Its name; its queue has the same.
    pub name: String,
    /// Higher goes first.
    pub priority: u8,
    /// Share by weight.
    pub weight: u32,
    /// Slots of its own.
    pub slots_own: u32,
    /// Most slots, own and shared.
    pub slots_max: u32,
    /// Prefetch.
    pub window: u16,
    /// Limit of one attempt, in milliseconds.
    pub attempt_timeout_ms: u64,
    /// Time to live of tasks that name none.
    pub ttl_ms: Option<u64>,
    /// Shortest backoff.
    pub backoff_min_ms: u64,
    /// Longest backoff.
    pub backoff_max_ms: u64,
    /// Half of each backoff is drawn (`true`), or none of it.
    pub jitter: bool,
    /// Attempts in all; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// The longest delay that an executor may ask for.
    pub retry_after_max_ms: u64,
}

impl LaneSpec {
    /// Five slots, short backoffs.
    pub fn named(name: &str, priority: u8) -> Self {
        Self {
            name: name.to_owned(),
            priority,
            weight: u32::from(priority),
            slots_own: 5,
            slots_max: 5,
            window: 10,
            attempt_timeout_ms: 5_000,
            ttl_ms: None,
            backoff_min_ms: 500,
            backoff_max_ms: 20_000,
            jitter: true,
            max_attempts: None,
            retry_after_max_ms: 60_000,
        }
    }
}
