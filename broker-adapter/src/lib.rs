//! The dispatcher's ports, for real: RabbitMQ through lapin (`amqp`), a durable broker in this process on redb
//! (`embedded`), HTTP through hyper (`http`).
//!
//! Nothing here decides what becomes of a task; that is the core's, where the simulation can see it.

pub mod admin;
#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(feature = "embedded")]
pub mod embedded;
#[cfg(feature = "http")]
pub mod http;
pub mod queue;
#[cfg(feature = "testing")]
pub mod testing;
