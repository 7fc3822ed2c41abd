//! How Quebert behaves against a real RabbitMQ: the broker adapter, the HTTP transport and the dispatcher, put together
//! as the program puts them together, in this process. The tests share one private node; each has queues of its own.
//!
//! Crashes and restarts of broker or dispatcher are not tested here.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod attempts;
mod existing;
mod expiry;
mod failing;
mod lateness;
mod neighbour;
mod pauses;
mod peers;
mod poison;
mod recorder;
mod site;
