//! Campaigns: the program runs as a process against a RabbitMQ node of its own, or with its embedded broker; things are killed, cut and frozen in
//! mid-run, and a ledger says whether a task was lost and why a request was made twice.
//!
//! Each ends with one line of figures. `QUEBERT_LONG=1` runs the long forms. What the adapter's own tests prove piece by
//! piece (broker-adapter/tests/amqp_faults.rs) is not repeated; here it is the whole that must hold.

#![expect(clippy::unwrap_used, reason = "a panic is the failure report")]

mod broker_kills;
mod delays;
mod dispatcher;
mod dispatcher_kills;
mod embedded_kills;
mod faults;
mod ledger;
mod producer;
mod story;
mod two_dispatchers;
mod world;
