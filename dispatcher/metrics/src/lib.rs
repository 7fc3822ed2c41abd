//! What can be seen of a dispatcher from outside: its metrics, and whether it is ready. Both are observers of its events;
//! they decide nothing and ask nobody. They read neither clock nor `/proc`: time is an argument, and what only a process
//! knows of itself is handed in, so that a simulated dispatcher has the same metrics as a real one.

mod destinations;
pub mod document;
mod exposition;
mod head;
mod health;
mod histogram;
mod lane;
pub mod list;
mod maker;
mod observe;
mod process;
mod registry;

pub use exposition::Format;
pub use health::Health;
pub use process::{ProcessReading, RuntimeReading};
pub use prometheus::proto;
pub use registry::{CONTENT_TYPE, Metrics, Waiting};

#[cfg(test)]
mod tests;
