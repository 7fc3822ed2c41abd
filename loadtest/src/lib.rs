//! Load tests of Quebert: what a run is, from its plan to its report.
//!
//! [`arrivals`] says when which task is to be added, [`publish`] adds them on time, [`fleet`] is the executors, [`ledger`]
//! proves what became of every task, [`figures`] measures, [`target`] is the system under test, and [`run`] puts it all
//! together as one function from a [`run::Profile`] to a [`report::Report`]. The system under test is run as processes, or
//! found running: nothing here knows the program's code. [`simulate`] asks the same of a system that is only computed.

pub mod arrivals;
pub mod chaos;
#[cfg(feature = "program")]
pub mod cli;
pub mod clock;
pub mod compare;
pub mod dist;
pub mod figures;
pub mod fleet;
pub mod ledger;
pub mod plan;
pub mod publish;
pub mod quantity;
pub mod report;
pub mod run;
pub mod scaling;
pub mod schema;
pub mod search;
#[cfg(test)]
mod selftests;
pub mod simulate;
pub mod target;
mod words;

/// Keyed randomness, the simulation's own: here and there the same seed draws the same fates.
pub use quebert_sim::draw;
