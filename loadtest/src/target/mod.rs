//! The system under test: a broker and its dispatchers, started here or found running. It is reached from outside alone:
//! by AMQP, HTTP, its processes and its metrics.

mod broker;
mod config;
mod dispatcher;
pub mod http;
mod metrics;
pub mod process;
mod spec;
mod system;

pub use broker::{Left, QueueName};
pub use dispatcher::{Dispatcher, StartError};
pub use metrics::Metrics;
pub use spec::{BrokerSpec, QueueSpec, RetrySpec, TargetSpec};
pub use system::{Target, TargetError};
