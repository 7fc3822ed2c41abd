//! What-if: the same plan of arrivals, the same executors and the same fates as in a real run, against a system that is only
//! computed. There are two of them. [`world`] runs the production dispatcher in virtual time, with everything that it does;
//! [`model`] counts slots, windows and queues alone, and is fast enough for wide grids. Both give the same [`Outcome`]. Nothing
//! is measured here: what a machine adds must be said, as [`Timing`].

mod grid;
mod measured;
mod model;
mod outcome;
mod table;
#[cfg(test)]
mod tests;
pub mod world;

pub(crate) use grid::each;
pub use grid::{Grid, Numbers, Prefetch, rows, simulate, suited};
pub use model::{Unsuited, model};
pub use outcome::{Ends, Outcome};
pub(crate) use table::SCHEMA_VERSION;
pub use table::{Row, Simulation, table};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a machine and its network add, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// From a dispatcher to the broker and back. In the virtual world whole milliseconds, and at least two.
    pub broker_rtt_us: u64,
    /// How much longer an attempt takes its slot than the executor works on it: the way there and back, timers, and the
    /// dispatcher itself.
    pub attempt_extra_us: u64,
    /// From a publish to its confirmation, beyond the round trip.
    pub confirm_us: u64,
}

impl Default for Timing {
    /// As on one machine.
    fn default() -> Self {
        Self { broker_rtt_us: 2_000, attempt_extra_us: 1_500, confirm_us: 1_000 }
    }
}

impl Timing {
    /// From a dispatcher to the broker and back.
    pub const fn broker_rtt(&self) -> Duration {
        Duration::from_micros(self.broker_rtt_us)
    }

    /// How much longer an attempt takes its slot than the executor works on it.
    pub const fn attempt_extra(&self) -> Duration {
        Duration::from_micros(self.attempt_extra_us)
    }

    /// From a publish to its confirmation, beyond the round trip.
    pub const fn confirm(&self) -> Duration {
        Duration::from_micros(self.confirm_us)
    }
}

/// How the system is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The production dispatcher in virtual time.
    Dispatcher,
    /// The model of slots, windows and queues.
    Model,
}

/// The prefetch window of a dispatcher with so many slots: P = ceil(C (1 + RTT/S)) + 1, for a round trip to the broker and
/// the mean time of an attempt. Less leaves slots idle while an ack and the next delivery are on their way; more binds tasks to
/// a dispatcher whose slots are busy while another's are free.
pub fn window(slots: u32, rtt: Duration, attempt: Duration) -> u32 {
    let ratio = if attempt.is_zero() { 1.0 } else { rtt.as_secs_f64() / attempt.as_secs_f64() };
    // Not beyond what AMQP can say, and without what floating point adds to a whole number.
    ((f64::from(slots) * (1.0 + ratio) - 1e-9).ceil() + 1.0).clamp(1.0, f64::from(u16::MAX)) as u32
}
