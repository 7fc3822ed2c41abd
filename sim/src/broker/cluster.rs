//! What outlives the broker's nodes: what is on its disks, and which faults are on it now.

use crate::{case::BrokerSpec, draw::Draw, history::History, host::Host, net::Down};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Faults that are on the broker now: each the sum of all that overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Knobs {
    /// Takes no publishes.
    pub alarm: bool,
    /// Confirms come later by this, in milliseconds.
    pub confirm_late_ms: u64,
    /// Of 1,000 publishes, how many are stored and never confirmed.
    pub confirm_never_per_mille: u32,
    /// Of 1,000 publishes, how many are refused.
    pub confirm_nack_per_mille: u32,
    /// The disk takes no more.
    pub disk_full: bool,
    /// Of 1,000 reads, how many fail.
    pub disk_read_errors_per_mille: u32,
    /// Each sync takes longer by this, in milliseconds.
    pub disk_slow_ms: u64,
}

/// A broker of one node or three. Clones are the same.
#[derive(Clone)]
pub struct Cluster(Arc<Mutex<State>>);

struct State {
    knobs: Knobs,
}

impl Cluster {
    /// With empty queues of these names, and their dead letters.
    pub fn new(_spec: &BrokerSpec, _queues: &[Arc<str>], _draw: Draw, _history: History) -> Self {
        Self(Arc::new(Mutex::new(State { knobs: Knobs::default() })))
    }

    /// Sets what is wrong with it from now on.
    pub fn set(&self, knobs: Knobs) {
        self.lock().knobs = knobs;
    }

    /// Closes the connections of a client.
    pub fn close_connection(&self, _client: Host) {}

    /// Cancels a client's consumer of a work queue.
    pub fn cancel_consumer(&self, _client: Host, _queue: &str) {}

    /// A host went down: a node of the broker, or one of its clients.
    pub fn host_down(&self, _host: Host, _how: Down) {}

    /// It is up again.
    pub fn host_up(&self, _host: Host) {}

    /// Lets another node lead.
    pub fn change_leader(&self) {}

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
