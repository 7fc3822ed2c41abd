//! The clocks: one that only goes forward, and one on the wall.

use quebert_wire::Timestamp;
use std::time::Duration;

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since some fixed moment of this process; never goes back. Timers go by it.
    pub mono: Duration,
    /// On the wall; may jump. What stands on the wire goes by it.
    pub wall: Timestamp,
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}
