//! From a message to a checked task.

use crate::{Bookkeeping, Limits, Message, Task, TaskId, Timestamp};

/// A message that could be read.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The task.
    pub task: Task,
    /// The dispatcher's own notes.
    pub book: Bookkeeping,
    /// When the task was enqueued: the note, `created_at`, the message's timestamp, in this order.
    pub enqueued_at: Option<Timestamp>,
    /// Fields that no envelope has, at most eight.
    pub unknown_fields: Vec<String>,
}

/// Why a message is no task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It can't be read at all.
    #[error("{0}")]
    Undecodable(String),
    /// It can be read, but asks for what is not allowed.
    #[error("{0}")]
    NotAllowed(String),
}

/// Reads a message as a task.
pub fn decode(
    message: &Message,
    limits: &Limits,
    now: Timestamp,
    assign_id: impl FnOnce() -> TaskId,
) -> Result<Decoded, DecodeError> {
    let _ = (message, limits, now, assign_id);
    todo!()
}
