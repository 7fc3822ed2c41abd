//! What a book counts while a run goes on.

use serde::{Deserialize, Serialize};

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Tasks whose time has come.
    pub offered: u64,
    /// Tasks handed to the broker's client.
    pub published: u64,
    /// Tasks that the broker has confirmed.
    pub confirmed: u64,
    /// Tasks that it has not, or nobody knows.
    pub unconfirmed: u64,
    /// Tasks that an executor has seen.
    pub executed: u64,
    /// Requests that executors have seen.
    pub attempts: u64,
    /// Requests under way.
    pub under_way: u64,
    /// Tasks answered with success.
    pub succeeded: u64,
    /// Requests answered with success: more than `succeeded` if there are duplicates.
    pub successes: u64,
    /// Requests answered otherwise.
    pub failures: u64,
    /// Requests that the dispatcher broke off.
    pub abandoned: u64,
    /// Confirmed tasks of which no end is known yet: neither a success, nor a last failure.
    pub open: u64,
    /// Requests of tasks that this run has not made.
    pub unknown: u64,
    /// Requests after a success.
    pub duplicates: u64,
    /// Requests of the same attempt.
    pub repeats: u64,
    /// Requests before their moment.
    pub early: u64,
    /// The earliest of them was early by this, in microseconds.
    pub early_us_max: u64,
    /// Requests after their task had expired.
    pub late: u64,
    /// Those within the grace.
    pub late_within_grace: u64,
    /// Requests beyond the most attempts.
    pub over_attempts: u64,
    /// First requests of a task while one of higher priority waited that could have been sent.
    pub inversions: u64,
}
