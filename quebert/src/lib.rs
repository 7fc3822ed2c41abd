//! Quebert: HTTP push task queues on RabbitMQ.

pub mod admin;
pub mod config;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod sample;
