//! The queue core: what a broker does, as a state machine. No I/O, no clock, no entropy, no hash order; the embedded
//! broker gives it a disk, a simulation gives it faults.
//!
//! Its host says what happens ([`QueueCore::publish`], [`QueueCore::settle`], ...), then lets it
//! [`hand_out`](QueueCore::hand_out), and drains [`QueueCore::changes`] into one transaction. Only when that is on disk
//! does the host answer publishers and send deliveries; if it fails, the host takes back what must not have happened
//! ([`QueueCore::take_back`], [`QueueCore::put_back`], [`QueueCore::forget`], in this order).

mod consumers;
mod core;
mod line;
#[cfg(test)]
mod tests;
mod values;

pub use self::core::QueueCore;
pub use consumers::Closed;
pub use line::{Figures, Letter};
pub use values::{Change, Found, Full, Handed, Limits, Room, Taken};

use quebert_dispatcher::{grid::Step, ports::broker::Target};
use std::{fmt, sync::Arc};

/// A queue's number. Numbers are given once and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// Where a message lies: its queue, and its place there. Within a queue, messages are delivered in the order of `seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    /// The queue.
    pub queue: QueueId,
    /// Counted within the queue, from 1.
    pub seq: u64,
}

/// A client, which has openings; when it goes, they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What a queue is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueName {
    /// A work queue.
    Work(Arc<str>),
    /// The dead letters of a work queue.
    Dead(Arc<str>),
    /// The dead letters of queues that nobody declared.
    CommonDead,
    /// The delay queue of one length.
    Delay(Step),
}

impl QueueName {
    /// Whether it is a work queue: only these have a limit of messages and bury what crashes too often.
    pub const fn is_work(&self) -> bool {
        matches!(self, Self::Work(_))
    }

    /// Whether it is a delay queue.
    pub const fn is_delay(&self) -> bool {
        matches!(self, Self::Delay(_))
    }

    /// Whether it holds dead letters.
    pub const fn is_dead(&self) -> bool {
        matches!(self, Self::Dead(_) | Self::CommonDead)
    }
}

/// The name that a target asks for. Dead letters of an undeclared queue go to the common ones, which the core decides.
impl From<&Target> for QueueName {
    fn from(target: &Target) -> Self {
        match target {
            Target::Queue(name) => Self::Work(name.clone()),
            Target::Delay(step) => Self::Delay(*step),
            Target::Dead(name) => Self::Dead(name.clone()),
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Work(name) => write!(f, "queue {name:?}"),
            Self::Dead(name) => write!(f, "dead letters of {name:?}"),
            Self::CommonDead => f.write_str("common dead letters"),
            Self::Delay(step) => write!(f, "delay queue of {} ms", step.millis()),
        }
    }
}
