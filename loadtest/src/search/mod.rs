//! What a system can do: the largest rate within an objective ([`find_max`]), a grid of settings ([`sweep`]), the end of a
//! backlog ([`drain`]). How a search goes is a pure state machine ([`Search`]); a [`Bench`] makes the runs that it asks
//! for. It judges no promise: each run has its own verdict.

mod bench;
mod drain;
mod find;
mod machine;
mod sweep;
#[cfg(test)]
mod tests;

pub use bench::{Bench, BenchError, ProbeLength, Probed};
pub(crate) use drain::SCHEMA_VERSION as DRAIN_SCHEMA_VERSION;
pub use drain::{Drain, DrainSpec, drain};
pub(crate) use find::SCHEMA_VERSION as FIND_SCHEMA_VERSION;
pub use find::{FindMax, FindSpec, ProbeView, find_max};
pub use machine::{Ended, Limits, Probe, Reason, Search, Verdict};
pub use sweep::{SweepSpec, is_broken, sweep};
