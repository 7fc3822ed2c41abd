//! How long to wait before the next attempt: the superset of what the field's queues offer.

use std::time::Duration;

/// A lane's retry policy. A task's own wishes are capped by it.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The shape of the delays.
    pub curve: Curve,
    /// How the delays are spread.
    pub jitter: Jitter,
    /// No delay is shorter. Jitter does not go below it either.
    pub backoff_min: Duration,
    /// No delay is longer, jitter included.
    pub backoff_max: Duration,
    /// Attempts in all, the first included; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after the task was enqueued; `None` is without limit.
    pub max_age: Option<Duration>,
    /// The longest delay that an executor may ask for by `Retry-After` or `Quebert-Retry: after=`.
    pub retry_after_max: Duration,
}

/// The shape of the delays.
#[derive(Debug, Clone, PartialEq)]
pub enum Curve {
    /// `backoff_min * factor^(n-1)` before attempt n+1, held at `backoff_max`. `factor` is at least 1.
    Exponential {
        /// Growth from one delay to the next.
        factor: f64,
    },
    /// Cloud Tasks' meaning: `backoff_min` doubles `max_doublings` times, then grows linearly by
    /// `2^max_doublings * backoff_min`, then stays at `backoff_max`.
    Doublings {
        /// How often the delay doubles before it grows linearly.
        max_doublings: u32,
    },
    /// These delays, one after the other; the last one repeats. Not empty.
    Schedule(Vec<Duration>),
}

/// How the delays are spread, so that tasks that failed together don't come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all.
    None,
    /// Anywhere from `backoff_min` to the delay.
    Full,
    /// Anywhere from half of the delay to the delay.
    Equal,
}
