//! The simulated broker: the queue core behind a framed protocol on the simulated network, with the habits of RabbitMQ that
//! clients trip over. `Cluster` is what outlives its nodes, `serve` runs a node, `SimBroker` is the client.

mod client;
mod cluster;
mod conns;
mod embedded;
mod engine;
mod rabbit;
mod serve;
#[cfg(test)]
mod tests;
mod wire;

pub use client::SimBroker;
pub use cluster::{Cluster, Knobs};
pub use serve::serve;

/// The port on which every node listens.
pub const PORT: u16 = 5672;
