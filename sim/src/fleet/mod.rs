//! Executors and producers: plain programs on hosts of the world. They judge nothing.

mod body;
mod connect;
mod executor;
mod producer;
mod reply;

pub use body::{body, message, message_with};
pub use connect::SimConnector;
pub use executor::{ExecKnobs, Execution, Executors, executor};
pub use producer::{Producers, producer};

/// The port on which executors listen: `http://executor-1` is enough of a URL.
pub const PORT: u16 = 80;
