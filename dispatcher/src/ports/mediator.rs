//! Mediators: the user's own code before and after each attempt. Hooks are mediators that only look.

use crate::{outcome::Outcome, verdict::Verdict};
use quebert_wire::{Task, Timestamp};
use std::{future::Future, sync::Arc, time::Duration};

/// One attempt, as a mediator sees it.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The lane it came through.
    pub lane: Arc<str>,
    /// Counted from 1.
    pub number: u32,
    /// Attempts in all that the policy allows; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// Whether the broker says that this delivery may be a repetition.
    pub redelivered: bool,
    /// The status that the attempt before got, if it got one.
    pub previous_status: Option<u16>,
    /// Why the task is tried again; `None` on the first attempt.
    pub retry_reason: Option<Arc<str>>,
    /// Unique for each attempt, whatever dispatcher makes it.
    pub delivery_id: Arc<str>,
    /// When the task was enqueued, as far as known.
    pub enqueued_at: Option<Timestamp>,
    /// The moment the attempt was due: the ETA, or the end of its backoff.
    pub due_at: Option<Timestamp>,
    /// No attempt starts at or after this: the task's own, or by the lane's default time to live.
    pub expires_at: Option<Timestamp>,
    /// The end of this attempt's time.
    pub deadline: Timestamp,
    /// Trace context that came with the message.
    pub trace: TraceContext,
    /// The task. What [`Mediator::before`] changes here is what is sent, in this attempt only.
    pub task: Task,
}

/// W3C trace context as it came with a message, and the span id of this attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// `traceparent`, unparsed.
    pub traceparent: Option<String>,
    /// `tracestate`, passed on.
    pub tracestate: Option<String>,
    /// `baggage`, passed on.
    pub baggage: Option<String>,
    /// Drawn for this attempt; never all zero.
    pub span_id: [u8; 8],
}

/// What a mediator wants done with a task before an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Before {
    /// Send it.
    #[default]
    Send,
    /// Forget it: settled as dropped, and counted.
    Drop,
    /// Not now; uses up no attempt.
    PutOff(Duration),
    /// Give it up: kept as a dead letter with this detail.
    Bury(String),
}

/// The user's own code around each attempt. Every method has a default that does nothing special, so an implementer
/// writes only what it needs. The async ones have a time limit (`hooks.timeout`); what happens when one fails or takes
/// too long is in the config (`hooks.on_error`).
pub trait Mediator: Send + Sync + 'static {
    /// The name in metrics and logs.
    fn name(&self) -> &str {
        "mediator"
    }

    /// Before each attempt: may change what is sent, drop the task, or put it off.
    fn before(&self, attempt: &mut Attempt) -> impl Future<Output = Before> + Send {
        let _ = attempt;
        async { Before::Send }
    }

    /// Decides. `proposed` is what the policies say; with several mediators, what the one before said.
    fn verdict(&self, attempt: &Attempt, outcome: &Outcome, proposed: Verdict) -> Verdict {
        let _ = (attempt, outcome);
        proposed
    }

    /// After each attempt, before its verdict is carried out.
    fn after(&self, attempt: &Attempt, outcome: &Outcome, verdict: &Verdict) -> impl Future<Output = ()> + Send {
        let _ = (attempt, outcome, verdict);
        async {}
    }
}
