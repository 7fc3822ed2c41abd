//! The dispatcher of Quebert: takes tasks from a broker, makes their HTTP requests, and settles them so that none is
//! lost.
//!
//! Inside is a state machine without I/O ([`core`]), around it an async [`shell`] that carries its actions out through
//! the [`ports`]. This crate knows no AMQP, no HTTP client, no database and no metrics library.

pub mod backoff;
pub mod config;
pub mod core;
pub mod event;
pub mod grid;
pub mod history;
mod lookup;
pub mod memory;
pub mod outcome;
pub mod planted;
pub mod ports;
pub mod request;
pub mod shell;
pub mod signing;
pub mod trace;
pub mod verdict;

pub use quebert_wire as wire;
