//! A ticket: one task that the core holds, from its delivery to its settlement.

use super::{CopyKey, destinations::DestId, timers::TimerId};
use crate::{
    backoff::RetryPolicy,
    planted::planted,
    ports::broker::{Tag, Target},
    trace::TraceId,
    verdict::Verdict,
};
use quebert_wire::{Bookkeeping, Message, Task, TaskId, Timestamp};
use std::time::Duration;

/// One task in hand.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) lane: usize,
    /// What settles the delivery; `None` once the delivery is lost: an orphan.
    pub(crate) tag: Option<Tag>,
    pub(crate) redelivered: bool,
    /// When its delivery came (monotonic).
    pub(crate) delivered_at: Duration,
    /// As it was delivered; the next copy is made from it.
    pub(crate) message: Message,
    /// The notes, brought up to date as things happen.
    pub(crate) book: Bookkeeping,
    /// The copy's identity, if the task has one of its own.
    pub(crate) key: Option<CopyKey>,
    /// Whether an attempt was made that the delivered message does not know of.
    pub(crate) unsaved: bool,
    /// What the core goes by; `None` if the message could not be read.
    pub(crate) facts: Option<Facts>,
    pub(crate) state: State,
}

impl Ticket {
    /// What is known of the task.
    pub(crate) fn facts(&self) -> &Facts {
        self.facts.as_ref().expect("only a task that could be read gets this far")
    }

    /// Where it goes to.
    pub(crate) fn dest(&self) -> DestId {
        self.facts().dest
    }
}

/// What the core goes by while the task itself is out with the shell.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) id: TaskId,
    pub(crate) trace: Option<TraceId>,
    /// Nobody's until the task waits for it.
    pub(crate) dest: DestId,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) enqueued_at: Option<Timestamp>,
    pub(crate) timeout: Option<Duration>,
    /// The lane's policy with the task's own wishes in it; `None` if it has none.
    pub(crate) policy: Option<Box<RetryPolicy>>,
}

impl Facts {
    /// The moment before which no attempt starts.
    pub(crate) fn due_at(&self, book: &Bookkeeping) -> Option<Timestamp> {
        let due = self.not_before.max(book.due_at);
        if planted!(EtaEarly) { due.map(|due| Timestamp::from_millis(due.as_millis() - 300)) } else { due }
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A slot that a ticket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Own,
    Shared,
}

/// Where a ticket is on its way.
#[derive(Debug)]
pub(crate) enum State {
    /// Waits for its moment, which is near.
    Held { timer: TimerId, task: Box<Task> },
    /// Waits for a slot and its destination.
    Waiting { seq: u64, task: Box<Task>, prepared: bool, timers: [Option<TimerId>; 2] },
    /// With the mediators, before its attempt. Has a slot.
    Preparing { slot: Slot },
    /// Its request is under way. Has a slot.
    Sending { slot: Slot, started: Duration },
    /// With the mediators, after its attempt.
    Reviewing,
    /// Its next copy is being published; the old one is acked when that counts.
    Moving(Box<Move>),
    /// Its delivery is lost, and nothing is under way: waits for a redelivery that claims it.
    Decided { then: Resume, since: Duration },
}

/// What an orphan goes on with when its redelivery comes.
#[derive(Debug, Clone)]
pub(crate) enum Resume {
    /// With what was decided.
    Verdict(Verdict),
    /// With the publishing of its next copy.
    Move(Box<Move>),
    /// With its next attempt, whose count stands only in the dispatcher.
    Place,
}

impl State {
    /// Whether the ticket waits in the dispatcher, as seen from outside. Else something is under way for it.
    pub(crate) fn is_buffered(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Waiting { .. })
    }
}

/// A move under way: publish, wait for the confirmation, ack.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) target: Target,
    pub(crate) message: Message,
    pub(crate) purpose: crate::event::Purpose,
    /// What the delivery counts as when the move is done.
    pub(crate) settles_as: crate::event::Settlement,
    /// When the publish under way began; `None` while it rests.
    pub(crate) published_at: Option<Duration>,
    /// Failed publishes so far.
    pub(crate) failures: u32,
}
