//! The delay grid: the lengths of delay for which there are queues at the broker.
//!
//! Four steps an octave from one second up: 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, ... s. A queue holds one length
//! only, so its head is always the next one due.

use std::time::Duration;

/// One length of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);

/// Steps in all: 21 octaves of four, and the last one's first step, which is 2^21 s, some 24 days.
const STEPS: u8 = 21 * 4 + 1;

impl Step {
    /// Every step, shortest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..STEPS).map(Self)
    }

    /// How long a task waits in this step's queue.
    pub fn length(self) -> Duration {
        let (octave, quarter) = (self.0 / 4, u64::from(self.0 % 4));
        Duration::from_millis((250 * (4 + quarter)) << octave)
    }

    /// The step of exactly this length, if there is one.
    pub fn from_millis(ms: u64) -> Option<Self> {
        Self::all().find(|step| step.length() == Duration::from_millis(ms))
    }
}
