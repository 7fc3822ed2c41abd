//! What becomes of a task after an attempt, and the rules that say so.

use crate::outcome::{Failure, FailureKind, Outcome, Response};
use http::StatusCode;
use std::{collections::BTreeSet, time::Duration};

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Done.
    Complete,
    /// Another attempt, no earlier than the policy or `after` says.
    Retry(Retry),
    /// Given up: kept as a dead letter.
    Bury {
        /// Why.
        reason: BuryReason,
        /// For people: a lowercase fragment without secrets, such as `status 410`.
        detail: String,
    },
    /// Its time is over.
    Expire,
    /// A hook wants it gone without a trace but the counters.
    Drop,
}

/// Why and when to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Why: a metric label.
    pub reason: RetryReason,
    /// When.
    pub after: RetryAfter,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// As the backoff says.
    Policy,
    /// As the backoff says, but no sooner than this (`Retry-After`), up to the policy's cap.
    AtLeast(Duration),
    /// Just this (`Quebert-Retry: after=`, or a mediator), up to the policy's cap.
    Exactly(Duration),
}

/// Why a task is tried again. The text is a metric label and a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryReason {
    /// A 5xx, or a 1xx or 3xx that should not be there.
    ServerError,
    /// 429.
    TooManyRequests,
    /// A 4xx that the policy retries.
    ClientError,
    /// No answer in time.
    Timeout,
    /// No connection, or one that ended before the answer.
    Connect,
    /// A hook or mediator said so, or failed.
    Hook,
    /// The destination took more than its share of the window. Uses up no attempt.
    Overload,
}

impl RetryReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 7] = [
        Self::ServerError,
        Self::TooManyRequests,
        Self::ClientError,
        Self::Timeout,
        Self::Connect,
        Self::Hook,
        Self::Overload,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ServerError => "5xx",
            Self::TooManyRequests => "429",
            Self::ClientError => "4xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Hook => "hook",
            Self::Overload => "overload",
        }
    }
}

/// Why a task is buried. The text is a metric label and a header value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuryReason {
    /// Attempts or age used up.
    MaxAttempts,
    /// A status that the config calls permanent, 410, or an executor's `Quebert-Retry: never`.
    Permanent,
    /// Its time was over, and the config keeps such tasks.
    Expired,
    /// What came could not be read as a task.
    Undecodable,
    /// Its address, scheme or size is not allowed.
    NotAllowed,
    /// Due, but its queue is gone.
    Unroutable,
    /// A hook said so.
    Hook,
}

impl BuryReason {
    /// Every reason, for metrics that start at zero.
    pub const ALL: [Self; 7] = [
        Self::MaxAttempts,
        Self::Permanent,
        Self::Expired,
        Self::Undecodable,
        Self::NotAllowed,
        Self::Unroutable,
        Self::Hook,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MaxAttempts => "max_attempts",
            Self::Permanent => "permanent",
            Self::Expired => "expired",
            Self::Undecodable => "undecodable",
            Self::NotAllowed => "not_allowed",
            Self::Unroutable => "unroutable",
            Self::Hook => "hook",
        }
    }
}

/// Which statuses mean what, per lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRules {
    /// `None`: any 2xx completes. `Some`: only these do.
    pub success: Option<BTreeSet<u16>>,
    /// These bury the task at once.
    pub permanent: BTreeSet<u16>,
}
