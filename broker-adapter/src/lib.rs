//! The dispatcher's ports, for real: RabbitMQ through lapin (`amqp`), HTTP through hyper (`http`).
//!
//! Nothing here decides what becomes of a task; that is the core's, where the simulation can see it.

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "testing")]
pub mod testing;
