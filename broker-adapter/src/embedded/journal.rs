//! What a turn of the store did, for a host that drives it by hand and has to know the truth. Nothing of it is kept, or even
//! made, without the feature `simulation`.

use super::record;
use crate::queue::{Handed, QueueName, Spot};
use bytes::Bytes;
use quebert_wire::Message;

/// One thing that a turn did, in the order in which it became true.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "simulation"), expect(dead_code, unreachable_pub, reason = "nobody keeps it"))]
#[non_exhaustive]
pub enum Done {
    /// A message is stored: it is on disk.
    Added {
        /// Where it lies.
        spot: Spot,
        /// In which queue that is.
        queue: QueueName,
        /// The message, as it is read back; empty if only a bug can have made it.
        message: Message,
    },
    /// A message was moved, cancelled or purged: it is gone from the disk, in the same transaction as what was added.
    Taken(Spot),
    /// A delivery was acked. It is gone from the disk with the next transaction that succeeds: mostly this one.
    Settled(Spot),
    /// A message is ready again. Of one that was not out, which an undone transaction may say, it means nothing.
    Returned(Spot),
    /// A message was delivered.
    Delivered(Handed),
}

impl Done {
    pub(super) fn added(spot: Spot, queue: Option<&QueueName>, record: &Bytes) -> Self {
        let message = record::message(record).unwrap_or_default();
        Self::Added { spot, queue: queue.expect("queues stay").clone(), message }
    }
}

/// What the turn did so far.
#[derive(Debug, Default)]
pub(super) struct Journal {
    #[cfg(feature = "simulation")]
    done: Vec<Done>,
}

#[cfg(feature = "simulation")]
impl Journal {
    pub(super) fn note(&mut self, done: impl FnOnce() -> Done) {
        self.done.push(done());
    }

    /// Everything since the last time.
    pub(super) fn take(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }
}

#[cfg(not(feature = "simulation"))]
impl Journal {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn note(&mut self, _: impl FnOnce() -> Done) {}
}
