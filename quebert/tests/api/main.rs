//! The HTTP API, asked as a client asks it. What brokers do is tested with them; here they do as they are told.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod access;
mod batch;
mod dead;
mod embedded;
mod embedded_operations;
mod enqueue;
mod events;
mod queues;
mod rabbit;
mod schemathesis;
mod shape;
mod shelf;
mod site;
mod tasks;
