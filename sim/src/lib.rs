//! A deterministic world for Quebert: the production dispatcher on a simulated network, with a simulated broker and fleet
//! of executors; faults come from a seed, and a judge who knows every task's true fate checks every promise.

pub mod broker;
pub mod case;
#[cfg(feature = "program")]
pub mod cli;
pub mod clock;
pub mod draw;
pub mod env;
pub mod fleet;
pub mod history;
pub mod host;
pub mod judge;
pub mod metrics;
pub mod net;
#[cfg(feature = "planted")]
pub mod planted;
pub mod run;
pub mod shrink;
pub mod timeline;
pub mod trace;
pub mod world;

pub use case::WorldSpec;
pub use run::Finding;
pub use world::{Faults, Workload, World, WorldBuilder};
