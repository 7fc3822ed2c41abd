//! The wire of Quebert: what a task looks like outside the dispatcher, and how it is checked on the way in.
//!
//! Producers, the dispatcher, the HTTP API, the CLI and the load tester share these types. This crate does no I/O and
//! reads no clock: whoever calls it says what time it is.
//!
//! An [`Envelope`] is a task as typed, a [`Task`] one that was checked; [`decode`] leads from a [`Message`] to the task,
//! [`Envelope::to_message`] from the envelope to the message.

mod ascii;
pub mod bookkeeping;
mod check;
mod codec;
mod decode;
mod destination;
mod envelope;
pub mod header;
pub mod limits;
mod message;
mod raw;
mod task;
mod task_id;
mod timestamp;

pub use bookkeeping::Bookkeeping;
pub use check::{Violation, ViolationKind};
pub use codec::{Codec, CodecError, Codecs, JsonCodec, MessagePackCodec};
pub use decode::{DecodeError, Decoded, decode};
pub use destination::{Destination, DestinationError};
pub use envelope::{Binary, Envelope, EnvelopeRetry, Form, HeaderValues, Json, envelope_schema};
pub use limits::Limits;
pub use message::{HeaderValue, Headers, Message};
pub use task::{RetryOverrides, Task};
pub use task_id::{TaskId, TaskIdError};
pub use timestamp::{Timestamp, TimestampError};
