//! What the tests of this workspace need from the outside world, started and ended by the tests themselves: a private
//! RabbitMQ node, and executors that misbehave on demand.
//!
//! Not for production: everything here panics or blocks where a test would want it to.

#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod epmd;
pub mod executor;
#[cfg(unix)]
mod process;
#[cfg(unix)]
pub mod rabbit;

#[cfg(unix)]
pub use {cluster::PrivateCluster, rabbit::PrivateRabbit};
