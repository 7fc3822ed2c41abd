//! The broker: keeps tasks until they are settled.
//!
//! The verbs are primitive on purpose. A task's *move* (publish the next copy, wait for its confirmation, then ack the
//! old one) is the core's logic, which the simulation can see.

use super::BoxFuture;
use crate::grid::Step;
use quebert_wire::Message;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Something that deliveries come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A work queue, by the broker's name of it.
    Queue(Arc<str>),
    /// The delay queue of one length.
    Delay(Step),
}

/// Where a message is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A work queue, by the broker's name of it.
    Queue(Arc<str>),
    /// The delay queue of one length; made when first needed.
    Delay(Step),
    /// The dead letters of a work queue, by the broker's name of the work queue. Where the broker knows no dead-letter
    /// queue of its own for that name, the common one takes it.
    Dead(Arc<str>),
}

/// One opening of a source. Never used again after it has closed, so a verdict for a former opening can't be mistaken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Opening(pub u64);

/// One delivery's name within its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The opening it came through.
    pub opening: Opening,
    /// Counted by the broker within the opening.
    pub seq: u64,
}

/// One hand-over of a message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// What settles it.
    pub tag: Tag,
    /// Whether the broker says that it was delivered before.
    pub redelivered: bool,
    /// What was delivered.
    pub message: Message,
}

/// What a broker tells, in order.
#[derive(Debug)]
pub enum BrokerEvent {
    /// There is a session with the broker.
    Connected,
    /// The session is gone; each open source has closed already.
    Disconnected {
        /// A metric label of few values: `connect`, `io`, `heartbeat`, `channel`, `consumer`, `closed`.
        reason: &'static str,
        /// For people; no secrets.
        detail: String,
    },
    /// Deliveries of `source` come from now on, under `opening`.
    Opened {
        /// What was opened.
        source: Source,
        /// Its name from now on.
        opening: Opening,
    },
    /// A delivery.
    Delivered(Delivery),
    /// Whatever was unsettled under this opening goes back to the queue; nothing more comes of it.
    Closed {
        /// Which one.
        opening: Opening,
    },
    /// A source can't be opened for a reason of its own, such as a queue that is not there. The others go on, and the
    /// adapter keeps trying this one; `Opened` tells when it worked. Told once per reason, not at each try.
    SourceFailed {
        /// Which one.
        source: Source,
        /// The broker's words; no secrets.
        detail: String,
    },
    /// The broker takes no publishes for now (`true`), or takes them again.
    Blocked(bool),
    /// There is a delay queue of this length at the broker. Told once for each at the start, and whenever another
    /// dispatcher has made one.
    DelayExists(Step),
    /// What is published to the delay queue of this length is confirmed at once from now on. As long as that is told of
    /// none, a publish to any of them is; otherwise the others' confirmations may take some seconds.
    DelaySettled(Step),
}

/// Why a publish does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It came back: there is no such queue. It is nowhere.
    #[error("returned as unroutable: {0}")]
    Returned(String),
    /// The broker refused it (full, or failed). It is nowhere.
    #[error("refused by the broker: {0}")]
    Refused(String),
    /// The broker can never store a message like this, such as one that is too large. It is nowhere.
    #[error("unfit for the broker: {0}")]
    Unfit(String),
    /// It was not sent. It is nowhere.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// Nobody knows. It may be there; publish again with the same id.
    #[error("unknown whether stored: {0}")]
    Unknown(String),
}

impl PublishError {
    /// What metrics and events call it: `returned`, `nack`, `not_connected` or `timeout`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Returned(_) => "returned",
            Self::Refused(_) | Self::Unfit(_) => "nack",
            Self::NotConnected(_) => "not_connected",
            Self::Unknown(_) => "timeout",
        }
    }
}

/// What a broker can tell of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Messages ready to be delivered.
    pub ready: u64,
    /// Consumers, of all dispatchers.
    pub consumers: u64,
}

/// A broker. Implementations recover by themselves: what has been opened is opened again after each fault, exactly
/// once, with its window.
pub trait Broker: Send + Sync + 'static {
    /// Starts; what happens comes through the receiver, in order, until [`stop`](Self::stop). Called once.
    fn start(&self) -> mpsc::Receiver<BrokerEvent>;

    /// Wants deliveries of `source`, at most `window` unsettled at a time, until [`close`](Self::close). Returns at
    /// once; answered by [`BrokerEvent::Opened`]. Calling it again with another window re-opens.
    fn open(&self, source: Source, window: u16);

    /// Wants no more of `source`. What is unsettled goes back. No `Closed` follows: the caller must forget the opening
    /// at once, and ignore what is still under way from it.
    fn close(&self, source: &Source);

    /// Wants no *new* deliveries of `source`, but goes on settling those already there. It stays so over faults, until
    /// it is closed and opened again, which the dispatcher does when a paused lane goes on. Used by a drain as well.
    fn pause(&self, source: &Source);

    /// The delivery is done with. Returns at once; may be sent together with others, at most some milliseconds later.
    /// For a former opening it does nothing.
    fn ack(&self, tag: Tag);

    /// The delivery goes back to its queue, as near to where it was as the broker can. Otherwise like `ack`.
    fn give_back(&self, tag: Tag);

    /// Stores a message; `Ok` only when the broker has confirmed that it is in a queue. Has a time limit of its own.
    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>>;

    /// Stores a message that takes the place of the delivery `from`. A broker that has transactions settles `from` in the
    /// same one, so that a crash never leaves both; others just publish. The caller acks `from` after `Ok` in either case.
    /// If `from` belongs to a former opening, it is a plain publish.
    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        let _ = from;
        self.publish(target, message)
    }

    /// How many messages wait in a queue (a work queue, a delay queue, or dead letters); `None` if the broker can't
    /// tell now, or there is no such queue.
    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>>;

    /// Sends what acks are pending, closes the session, and gives back whatever is unsettled.
    fn stop(&self) -> BoxFuture<'static, ()>;
}
