//! RabbitMQ, through lapin.
//!
//! A supervisor owns a session (two connections, channels, consumers) and throws it away at the first fault of a
//! connection; lapin's own recovery stays off, since it was seen to stall for ever without an error. Nothing here waits
//! for the broker without a limit, and nothing here decides what becomes of a task.

mod acks;
mod address;
mod admin;
mod apply;
mod backoff;
mod broker;
mod config;
mod connect;
mod delays;
mod message;
mod open;
mod publish;
mod rpc;
mod session;
mod shared;
mod source;
mod supervisor;
mod topology;
mod wanted;

pub use admin::{OpenError, RabbitAdmin};
pub use apply::{Report, State};
pub use broker::RabbitBroker;
pub use config::{ConfigError, Identity, RabbitConfig, Tls};
pub use connect::ConnectError;
pub use session::RIPE_AFTER;
pub use topology::{Argument, Exchange, LaneTopology, QueueType, Topology};
