//! The way into a broker. Implementations take tasks and say of each whether the broker has confirmed it; they keep no
//! pace.

use quebert_dispatcher::ports::BoxFuture;
use quebert_wire::Envelope;
use std::sync::Arc;

/// One task on its way.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The task's number in the plan.
    pub number: u64,
    /// The lane.
    pub queue: Arc<str>,
    /// The task.
    pub envelope: Envelope,
}

/// Why a task does not count as confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The way into a broker.
pub trait Door: Send + Sync + 'static {
    /// The most tasks of one call.
    fn batch_max(&self) -> usize;

    /// The most calls under way at a time.
    fn window(&self) -> usize;

    /// Adds tasks; one answer each, in order. `Ok` only when the broker has confirmed it. Has a time limit of its own.
    fn publish(&self, parcels: Vec<Parcel>) -> BoxFuture<'_, Vec<Result<(), Refused>>>;
}
