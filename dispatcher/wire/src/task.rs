//! The task: an HTTP request to make, checked once on the way in and right from then on.

use crate::Timestamp;
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// A task's id: 1 to 128 visible ASCII characters. Cloning shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TaskId {
    /// Checks a text as an id; `None` when it is not one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An executor's origin: `scheme://host:port` in lower case, the port always there. The unit of isolation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination(Arc<str>);

impl Destination {
    /// The origin as text, such as `https://example.com:443`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Destination {
    /// The origin of an absolute `http` or `https` URL; `None` when it has none.
    pub fn of(url: &http::Uri) -> Option<Self> {
        let scheme = url.scheme_str()?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let host = url.host().filter(|h| !h.is_empty())?.to_ascii_lowercase();
        Some(Self(format!("{scheme}://{host}:{}", url.port_u16().unwrap_or(default)).into()))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a task may ask of its retries. Each value is capped by the queue's own policy.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetryOverrides {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after the task was created.
    pub max_age: Option<Duration>,
    /// Shortest delay between two attempts.
    pub backoff_min: Option<Duration>,
    /// Longest delay between two attempts.
    pub backoff_max: Option<Duration>,
    /// An explicit list of delays; the last one repeats.
    pub schedule: Option<Vec<Duration>>,
}

/// An HTTP request to make. Made only by decoding, which checks every field.
#[derive(Debug, Clone)]
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
    /// Limit of one attempt.
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
