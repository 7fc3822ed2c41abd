//! The wire of Quebert: what a task looks like outside the dispatcher, and how it is checked on the way in.
//!
//! Producers, the dispatcher, the HTTP API, the CLI and the load tester share these types. This crate does no I/O and
//! reads no clock: whoever calls it says what time it is.

pub mod bookkeeping;
mod decode;
mod limits;
mod message;
mod task;
mod timestamp;

pub use bookkeeping::Bookkeeping;
pub use decode::{DecodeError, Decoded, decode};
pub use limits::Limits;
pub use message::{HeaderValue, Headers, Message};
pub use task::{Destination, RetryOverrides, Task, TaskId};
pub use timestamp::Timestamp;
