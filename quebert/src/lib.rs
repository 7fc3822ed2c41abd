//! Quebert: HTTP push task queues on RabbitMQ.

pub mod config;
pub mod health;
pub mod metrics;
