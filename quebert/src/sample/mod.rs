//! Sample executors for the demo and the examples: HTTP servers on loopback that behave as executors in the wild do. Not
//! for tests of the dispatcher, and not for production.

mod bucket;
mod executor;
mod simple;

pub use executor::{Executor, Manner, State};
pub use simple::SampleExecutor;
