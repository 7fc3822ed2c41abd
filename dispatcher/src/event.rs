//! Everything that happens, as data. Logs, metrics, the console's feed and the simulation's judge observe it.

use crate::ports::broker::{Source, Tag};
use crate::trace::TraceId;
use crate::verdict::{BuryReason, RetryReason};
use quebert_wire::{Destination, TaskId, Timestamp};
use std::{sync::Arc, time::Duration};

/// Something that happened in a dispatcher. `lane` is the lane's name; names and ids are shared, not copied.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A session with the broker began.
    BrokerConnected,
    /// The session ended.
    BrokerDisconnected {
        /// A label of few values.
        reason: &'static str,
        /// For people.
        detail: String,
    },
    /// The broker takes no publishes (`true`), or takes them again.
    BrokerBlocked(bool),
    /// A work queue or delay queue can't be opened; it is tried again.
    SourceFailed {
        /// Which.
        source: Source,
        /// For people.
        detail: String,
    },
    /// A work queue is open (`true`) or closed.
    LaneOpen {
        /// The lane.
        lane: Arc<str>,
        /// Open or closed.
        open: bool,
    },
    /// A delivery of a work queue came.
    Delivered {
        /// The lane.
        lane: Arc<str>,
        /// Its name within the session.
        tag: Tag,
        /// As the broker says.
        redelivered: bool,
    },
    /// A delivery is off our hands. One for each `Delivered`, whatever happens.
    Settled {
        /// The lane.
        lane: Arc<str>,
        /// How.
        result: Settlement,
        /// The task, if the message could be read.
        task: Option<TaskId>,
        /// Attempts made so far.
        attempts: u32,
        /// From enqueue to now, if the enqueue time is known.
        age: Option<Duration>,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// The first attempt of a task starts.
    Waited {
        /// The lane.
        lane: Arc<str>,
        /// Whose.
        task: TaskId,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
        /// From the later of enqueue and `not_before` to now; zero where clocks disagree.
        wait: Duration,
        /// Whether clocks disagreed: the difference was negative.
        skewed: bool,
        /// When.
        at: Timestamp,
    },
    /// An attempt starts after a delay: how much later than it was due.
    Lag {
        /// The lane.
        lane: Arc<str>,
        /// Start minus due.
        lag: Duration,
    },
    /// An attempt starts.
    AttemptStarted {
        /// The lane.
        lane: Arc<str>,
        /// Whose.
        task: TaskId,
        /// Counted from 1.
        number: u32,
        /// Where to.
        destination: Destination,
        /// Bytes of the request's body.
        body_bytes: usize,
        /// When.
        at: Timestamp,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// An attempt ended.
    AttemptEnded {
        /// The lane.
        lane: Arc<str>,
        /// Whose.
        task: TaskId,
        /// Counted from 1.
        number: u32,
        /// Where to.
        destination: Destination,
        /// [`Outcome::class`](crate::outcome::Outcome::class).
        class: &'static str,
        /// The status, if there was one.
        status: Option<u16>,
        /// The failure in words, if it failed.
        detail: Option<Box<str>>,
        /// How long it took.
        duration: Duration,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// A task will be tried again, or was put off.
    RetryScheduled {
        /// The lane.
        lane: Arc<str>,
        /// Whose.
        task: TaskId,
        /// Why.
        reason: RetryReason,
        /// Attempts made so far.
        attempts: u32,
        /// From now to the earliest next attempt.
        delay: Duration,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// A task was given up.
    Buried {
        /// The lane.
        lane: Arc<str>,
        /// Whose, if the message could be read.
        task: Option<TaskId>,
        /// Why.
        reason: BuryReason,
        /// In words.
        detail: String,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// A task's time was over.
    Expired {
        /// The lane.
        lane: Arc<str>,
        /// Whose.
        task: TaskId,
        /// Where.
        stage: ExpiryStage,
        /// The trace that the task belongs to, if it came with one.
        trace: Option<TraceId>,
    },
    /// A person cancelled a task that waited in the delay grid. (One in a lane's hands is `Settled`, as filtered.)
    DelayedCancelled {
        /// The lane that it would have gone back to, if it is one of ours.
        lane: Option<Arc<str>>,
        /// Which.
        task: TaskId,
        /// Attempts made so far.
        attempts: u32,
    },
    /// A publish was answered: one of the dispatcher, or of whoever takes tasks in beside it.
    Published {
        /// What for.
        purpose: Purpose,
        /// `ack`, `nack`, `returned`, `timeout` or `not_connected`.
        result: &'static str,
        /// From publish to answer.
        duration: Duration,
    },
    /// A mediator failed or took too long.
    HookFailed {
        /// Its name.
        hook: Arc<str>,
        /// `before`, `verdict` or `after`.
        phase: &'static str,
        /// In words.
        detail: String,
    },
    /// A mediator's method was run.
    HookRan {
        /// Its name.
        hook: Arc<str>,
        /// `before` or `after`.
        phase: &'static str,
        /// How long it took.
        duration: Duration,
    },
    /// A message had fields that no envelope has; they were ignored.
    UnknownFields {
        /// The lane.
        lane: Arc<str>,
        /// Their names, at most eight.
        fields: Vec<String>,
    },
    /// Held tasks changed: the lane's gauges.
    Held {
        /// The lane.
        lane: Arc<str>,
        /// Deliveries with an attempt under way or being settled.
        in_flight: u32,
        /// Deliveries waiting for a slot, a destination or a moment.
        buffered: u32,
    },
    /// A destination's requests under way changed.
    DestinationInFlight {
        /// Which.
        destination: Destination,
        /// How many.
        in_flight: u32,
        /// How many it may have.
        limit: u32,
    },
    /// A destination went silent and is distrusted (`false`), or has answered again: distrusted, it has one slot in a
    /// lane that others use, too.
    DestinationTrusted {
        /// Which.
        destination: Destination,
        /// As it is now.
        trusted: bool,
    },
    /// A person paused a lane (`true`), or let it go on.
    LanePaused {
        /// The lane.
        lane: Arc<str>,
        /// As it is now.
        paused: bool,
    },
    /// A drain began.
    Draining,
    /// Limits and policies were replaced.
    Reconfigured,
}

impl Event {
    /// Whether such events come with each task, even one that succeeds at once. An observer that wants none of them
    /// returns at once: the loop waits for it several times for each task.
    #[inline]
    pub const fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::Delivered { .. }
                | Self::Settled { .. }
                | Self::Waited { .. }
                | Self::Lag { .. }
                | Self::AttemptStarted { .. }
                | Self::AttemptEnded { .. }
                | Self::Held { .. }
                | Self::DestinationInFlight { .. }
        )
    }
}

/// How a delivery left our hands. The text is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Settlement {
    /// Completed.
    Succeeded,
    /// Moved to wait for its next attempt, or to its due moment.
    Retried,
    /// Buried.
    DeadLettered,
    /// Expired.
    Expired,
    /// Dropped by a hook.
    Filtered,
    /// Given back to the queue, or the connection was lost.
    Requeued,
    /// A redelivery of what was settled before: acked without sending it again.
    Duplicate,
}

impl Settlement {
    /// Every settlement, for metrics that start at zero.
    pub const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Retried,
        Self::DeadLettered,
        Self::Expired,
        Self::Filtered,
        Self::Requeued,
        Self::Duplicate,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Retried => "retried",
            Self::DeadLettered => "dead_lettered",
            Self::Expired => "expired",
            Self::Filtered => "filtered",
            Self::Requeued => "requeued",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Where a task's time was over. The text is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExpiryStage {
    /// On arrival: it waited too long in a queue or in the delay grid.
    Received,
    /// While it waited for its slot.
    BeforeDispatch,
    /// In the middle of an attempt.
    InFlight,
    /// Before its next attempt could be due.
    BeforeRetry,
}

impl ExpiryStage {
    /// Every stage, for metrics that start at zero.
    pub const ALL: [Self; 4] = [Self::Received, Self::BeforeDispatch, Self::InFlight, Self::BeforeRetry];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::BeforeDispatch => "before_dispatch",
            Self::InFlight => "in_flight",
            Self::BeforeRetry => "before_retry",
        }
    }
}

/// What a publish was for. The text is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Into the delay grid.
    Retry,
    /// From the delay grid back to its work queue.
    Due,
    /// Back to its own work queue, with its deliveries counted.
    Recount,
    /// To the dead letters.
    DeadLetter,
    /// A new task into its work queue. The dispatcher makes none; the program's API does.
    Enqueue,
}

impl Purpose {
    /// Every purpose, for metrics that start at zero.
    pub const ALL: [Self; 5] = [Self::Retry, Self::Due, Self::Recount, Self::DeadLetter, Self::Enqueue];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Due => "due",
            Self::Recount => "recount",
            Self::DeadLetter => "dead_letter",
            Self::Enqueue => "enqueue",
        }
    }
}
