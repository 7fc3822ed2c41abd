//! What goes into the queue core and comes out of it, as plain values.

use super::{ClientId, Letter, QueueId, QueueName, Spot, line::Entry};
use quebert_dispatcher::ports::broker::Tag;
use std::collections::BTreeMap;

/// What bounds the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most messages in one work queue, unsettled ones among them.
    pub queue_messages_max: u64,
    /// Most bytes of all messages.
    pub total_bytes_max: u64,
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// Its queue is full.
    #[error("{name} holds {messages} messages, and {limit} is its limit")]
    Queue {
        /// Which.
        name: QueueName,
        /// What it holds.
        messages: u64,
        /// Its limit.
        limit: u64,
    },
    /// Everything together is full.
    #[error("{bytes} bytes are stored, and {limit} is the limit")]
    Bytes {
        /// What is stored.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
}

/// What must become durable, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is a new queue.
    Made {
        /// Its number.
        queue: QueueId,
        /// Its name.
        name: QueueName,
    },
    /// A message was taken in.
    Added(Spot),
    /// A message is gone.
    Removed {
        /// Where it lay.
        spot: Spot,
        /// Whether the store has a note on it.
        noted: bool,
    },
    /// A message was delivered. For the first time: everything in its queue up to it has been, and a mark says so.
    /// Again: a note on it must say that it is out.
    HandedOut {
        /// Where it lies.
        spot: Spot,
        /// Whether it was ready again after an earlier delivery.
        again: bool,
        /// How many crashes it was under way at.
        crashes: u32,
    },
    /// A delivered message is ready again: a note on it must say so, or a crash would count as one of its own.
    Returned {
        /// Where it lies.
        spot: Spot,
        /// How many crashes it was under way at.
        crashes: u32,
    },
}

/// One hand-over of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// To whom.
    pub client: ClientId,
    /// What settles it.
    pub tag: Tag,
    /// Where it lies.
    pub spot: Spot,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// How many crashes it was under way at.
    pub crashes: u32,
    /// What it takes in the store.
    pub bytes: u32,
    /// Whether it was ready again, and not new.
    pub(super) again: bool,
}

/// A message taken out of its queue, as long as that can be undone.
#[derive(Debug)]
pub struct Taken<P> {
    pub(super) spot: Spot,
    pub(super) entry: Entry<P>,
    pub(super) tag: Option<Tag>,
}

impl<P> Taken<P> {
    /// Where it lay.
    pub const fn spot(&self) -> Spot {
        self.spot
    }

    /// The message.
    pub const fn letter(&self) -> &Letter<P> {
        &self.entry.letter
    }
}

/// How many deliveries each client has room for; whoever is not in it has none.
pub type Room = BTreeMap<ClientId, usize>;

/// A message that was looked up by its id's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it lies.
    pub spot: Spot,
    /// Whether it is ready, and not delivered.
    pub ready: bool,
    /// The work queue that it names to return to. Only in a delay queue does that mean anything.
    pub home: Option<QueueId>,
    /// What it takes in the store, in bytes.
    pub bytes: u32,
}
