//! What RabbitMQ itself does, as far as the simulated broker does it after it: see docs/simulation-fidelity.md. Spoken to
//! directly, since the adapter keeps most of it away from the dispatcher.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod client;
mod confirms;
mod crashes;
mod leaders;
mod nodes;
mod queues;
mod wire;
