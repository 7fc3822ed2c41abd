//! The workload of a case: tasks, and what executors do at each of their attempts. Deterministic by task and attempt, so
//! that a rerun sees the same fate.

use crate::history::TaskNo;
use serde::{Deserialize, Serialize};

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its number; unique in the case.
    pub no: TaskNo,
    /// When its producer publishes it: true time, in milliseconds.
    pub at_ms: u64,
    /// Which producer, counted from 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub producer: u8,
    /// The index of its lane.
    pub lane: usize,
    /// Which executor, counted from 1.
    pub executor: u8,
    /// `delay_ms` of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// `ttl_ms` of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// `retry.max_attempts` of the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Bytes of its body.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub body_bytes: u32,
    /// What is published is no task: `None` is a good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poison: Option<Poison>,
    /// What the world's mediator does with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookSpec>,
    /// What its executor does at each attempt, the last one for all further ones; none is 200 after 5 ms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<Exec>,
}

const fn one() -> u8 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_one(n: &u8) -> bool {
    *n == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl TaskSpec {
    /// A task of the first lane for the first executor, at this moment.
    pub const fn new(no: u32, at_ms: u64) -> Self {
        Self {
            no: TaskNo(no),
            at_ms,
            producer: 1,
            lane: 0,
            executor: 1,
            delay_ms: None,
            ttl_ms: None,
            max_attempts: None,
            body_bytes: 0,
            poison: None,
            hook: None,
            exec: Vec::new(),
        }
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Poison {
    /// Not JSON.
    Garbage,
    /// An envelope without url.
    NoUrl,
    /// Of a scheme that is not allowed.
    Scheme,
}

/// What the world's mediator does with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookSpec {
    /// Says drop before its first attempt.
    Drop,
    /// Puts it off once, by this, before its first attempt.
    PutOff {
        /// In milliseconds.
        ms: u64,
    },
    /// Panics before each attempt up to this one.
    Panic {
        /// Counted from 1.
        until: u32,
    },
    /// Takes longer than it may, before each attempt up to this one.
    Hang {
        /// Counted from 1.
        until: u32,
    },
    /// Buries it before its first attempt.
    Bury,
    /// Panics after each attempt, which must change nothing.
    PanicAfter,
}

/// What an executor does with one request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Works this long before it answers, in milliseconds.
    #[serde(default)]
    pub after_ms: u64,
    /// How.
    pub reply: Reply,
}

/// How an executor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// With this status.
    Status(u16),
    /// 429 or 503 with `Retry-After`.
    RetryAfter {
        /// The status.
        status: u16,
        /// Seconds.
        seconds: u32,
        /// As a date (by the executor's own clock) instead of a number.
        date: bool,
    },
    /// With `Quebert-Retry: never`.
    Never,
    /// With `Quebert-Retry: after=<n>`.
    After {
        /// In seconds.
        seconds: u32,
    },
    /// Never; the connection stays open.
    Hang,
    /// The connection is reset before an answer.
    Reset,
    /// The head of an answer, part of its body, then the end.
    Torn {
        /// The status that the head has.
        status: u16,
    },
    /// Something that is not HTTP.
    Garbage,
    /// 200 with a body of this size.
    Large {
        /// In bytes.
        bytes: u32,
    },
    /// A status, one byte of the answer at a time.
    Trickle {
        /// The status.
        status: u16,
        /// Between two bytes, in milliseconds.
        every_ms: u64,
    },
    /// 200, and the connection is closed right after it.
    CloseAfter,
}
