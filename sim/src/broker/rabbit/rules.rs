//! What a queue is declared with.

use quebert_broker_adapter::queue::QueueId;
use std::time::Duration;

/// RabbitMQ's two kinds of queues that tasks can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts deliveries, takes a message in when most nodes have it, gives back in the order of returning.
    Quorum,
    /// Counts none, delivers what it has not stored yet, gives back to the old place.
    Classic,
}

/// How a dead letter gets to where it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeadLetter {
    /// Gone from here at once; a crash on the way loses it.
    AtMostOnce,
    /// Gone from here when it is safe there.
    AtLeastOnce,
}

/// A queue's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Which kind.
    pub(crate) kind: Kind,
    /// Returns of one message over which it is dead.
    pub(crate) delivery_limit: Option<u32>,
    /// Most ready messages; more are refused.
    pub(crate) messages_max: Option<u64>,
    /// How long a message lives here. It goes when it is at the head and has lived so long, not before.
    pub(crate) ttl: Option<Duration>,
    /// Where its dead letters go, and how; without, they are dropped.
    pub(crate) dead: Option<(QueueId, DeadLetter)>,
}

impl Rules {
    /// Without arguments.
    pub(crate) const fn of(kind: Kind) -> Self {
        Self { kind, delivery_limit: None, messages_max: None, ttl: None, dead: None }
    }
}
