//! Arrivals: when which task is to be added. The plan is pure: it depends on its text and its seed alone, never on how
//! fast anybody takes the tasks, so that a slow system can't make its own test easier. It sends nothing.
//!
//! The grammar of a plan, whose phases are separated by `then`, `;` or a new line:
//!
//! ```text
//! constant 500/s 60s                     evenly
//! poisson 500/s 60s                      at random; also before any other rate: poisson ramp 0..100/s 1m
//! ramp 0..2000/s 5m                      a rate that grows or falls evenly
//! steps 100,200,400/s each 30s           a phase for each rate
//! spike 100->2000/s for 10s after 30s    before, spike, and after as long as before (10 s unless said)
//! sine 500+-400/s period 60s 5m          a rate that swings; `±` is read, too
//! burst 10000 at once every 60s 5m       or without `every ..`: once, and the phase lasts so long
//! replay FILE                            times (and queues, sizes) of a CSV file
//! closed n=64 60s                        the next task is added when one has ended: see below
//! pause 10s                              nothing
//! ```
//!
//! `as NAME` behind a phase names it. A closed phase waits for the system that it measures: its latencies leave out the
//! waiting of a client that would have come, and are marked so.

mod curve;
mod grammar;
mod mix;
mod plan;
mod replay;
#[cfg(test)]
mod tests;

pub use curve::Curve;
pub use grammar::GrammarError;
pub use mix::{Class, Mix};
pub use plan::{Arrival, Plan, Turn};
pub use replay::Row;

use std::{str::FromStr, sync::Arc, time::Duration};

/// The longest plan: the ledger's clock goes on for 11.9 hours.
pub const PLAN_MAX: Duration = Duration::from_secs(11 * 3600);

/// One stretch of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// For reports.
    pub name: String,
    /// How long it lasts.
    pub length: Duration,
    /// What comes in it.
    pub pace: Pace,
}

/// How tasks come in a phase.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// By rate.
    Rate {
        /// The rate over the phase.
        curve: Curve,
        /// At random with that rate, instead of evenly.
        random: bool,
    },
    /// So many at its beginning.
    Burst(u64),
    /// As a file says.
    Replay(Arc<[Row]>),
    /// As many as are under way; the next one when one has ended.
    Closed {
        /// Tasks under way at a time.
        clients: u32,
    },
}

/// A plan: phases, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    /// At least one.
    pub phases: Vec<Phase>,
}

impl Arrivals {
    /// How long all phases last.
    pub fn length(&self) -> Duration {
        self.phases.iter().map(|phase| phase.length).sum()
    }

    /// How many tasks are expected; `None` if a closed phase makes that depend on the system.
    pub fn expected(&self) -> Option<f64> {
        let of = |phase: &Phase| match &phase.pace {
            Pace::Rate { curve, .. } => Some(curve.until(phase.length.as_secs_f64(), phase.length.as_secs_f64())),
            Pace::Burst(n) => Some(*n as f64),
            Pace::Replay(rows) => Some(rows.len() as f64),
            Pace::Closed { .. } => None,
        };
        self.phases.iter().map(of).sum()
    }

    /// Whether a phase waits for the system that it measures.
    pub fn is_closed(&self) -> bool {
        self.phases.iter().any(|phase| matches!(phase.pace, Pace::Closed { .. }))
    }
}

impl FromStr for Arrivals {
    type Err = GrammarError;

    fn from_str(text: &str) -> Result<Self, GrammarError> {
        grammar::parse(text)
    }
}
