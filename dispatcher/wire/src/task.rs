//! The task: an HTTP request to make, checked once on the way in and right from then on. It knows nothing of attempts.

use crate::{Destination, TaskId, Timestamp};
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, time::Duration};

/// What a task may ask of its retries. Each value is capped by the queue's own policy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetryOverrides {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: Option<u32>,
    /// No further attempt is scheduled for later than this after the task was created.
    pub max_age: Option<Duration>,
    /// Shortest delay between two attempts.
    pub backoff_min: Option<Duration>,
    /// Longest delay between two attempts.
    pub backoff_max: Option<Duration>,
    /// An explicit list of delays, 1 to 100; the last one repeats.
    pub schedule: Option<Vec<Duration>>,
}

/// An HTTP request to make. Made only by decoding, which checks every field.
#[derive(Clone)]
pub struct Task {
    /// Stays the same over retries and replays.
    pub id: TaskId,
    /// Whether producer or message named the id. If not, it was made on arrival, and a redelivery can't be recognised.
    pub id_given: bool,
    /// Absolute `http` or `https` URL.
    pub url: http::Uri,
    /// The origin of `url`.
    pub destination: Destination,
    /// Default POST.
    pub method: http::Method,
    /// The user's headers, filtered: no hop-by-hop, no reserved names.
    pub headers: http::HeaderMap,
    /// Sent as it is, byte for byte.
    pub body: Bytes,
    /// When the producer made it, as far as the producer said.
    pub created_at: Option<Timestamp>,
    /// No attempt starts before this.
    pub not_before: Option<Timestamp>,
    /// No attempt starts at or after this.
    pub expires_at: Option<Timestamp>,
    /// Limit of one attempt, 1 ms to 24 h.
    pub timeout: Option<Duration>,
    /// What the task asks of its retries.
    pub retry: RetryOverrides,
    /// The lane that the producer meant, if said.
    pub queue: Option<String>,
    /// A key for flow control, carried for hooks.
    pub flow_key: Option<String>,
    /// A URL to tell the result, carried for hooks.
    pub callback: Option<http::Uri>,
    /// The producer's own labels, carried for hooks.
    pub labels: BTreeMap<String, String>,
}

/// Without header values, query and body: they may hold secrets.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("destination", &self.destination)
            .field("path", &self.url.path())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .field("created_at", &self.created_at)
            .field("not_before", &self.not_before)
            .field("expires_at", &self.expires_at)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("queue", &self.queue)
            .field("flow_key", &self.flow_key)
            .finish_non_exhaustive()
    }
}
