//! What the system under test has promised, as far as single requests are judged by it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the system under test has promised, which requests are judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Attempts that a task may have; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// The least time between the end of an attempt and the next one.
    pub backoff_min: Duration,
    /// The longest wait that an answer may ask for.
    pub retry_after_max: Duration,
    /// Statuses that end a task at once.
    pub permanent: Vec<u16>,
    /// How much earlier than due a retry may be: two processes read a clock of milliseconds.
    pub early_grace: Duration,
    /// How much later than its expiry an attempt may arrive: its way from the dispatcher to the executor's own code, on a
    /// machine that may be busy.
    pub late_grace: Duration,
    /// Of each queue by the mix' order: its priority, and the most requests under way at a time over all dispatchers.
    pub queues: Vec<QueueRule>,
    /// For each class, the index of its queue.
    pub queue_of: Vec<usize>,
}

/// What is promised about one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRule {
    /// Its name.
    pub name: String,
    /// Higher goes first.
    pub priority: u8,
    /// The most requests under way at a time, over all dispatchers; `None` if that is not known.
    pub slots: Option<u32>,
}
