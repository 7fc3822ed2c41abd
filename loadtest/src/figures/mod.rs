//! Figures of a run: latencies in histograms, corrected and not, for the whole run, each queue and each phase; and what
//! happened in each second. It is fed by the ledger's book, and judges nothing.
//!
//! *Corrected* latencies count from the moment at which a task was to be added by the plan, *uncorrected* ones from the
//! moment at which it was. The latter hide what a slow system does to those who come while it is slow.

mod hist;
mod second;
pub mod steady;

pub use hist::{Hist, Summary};
pub use second::{HEAT_BOUNDS_US, Second};

use crate::ledger::{Record, Tick};
use std::time::Duration;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// From the intended moment to the first attempt.
    Wait,
    /// From the publish to the first attempt.
    WaitUncorrected,
    /// From the intended moment to the success.
    Done,
    /// From the publish to the success.
    DoneUncorrected,
    /// One attempt, at the executor.
    Attempt,
    /// From the moment a retry was due (as the dispatcher says) to its attempt.
    RetryLag,
    /// From the moment a delayed task may be sent to its first attempt.
    ScheduleLag,
    /// From the intended moment to the broker's confirmation.
    Confirm,
    /// From the publish to the broker's confirmation.
    ConfirmUncorrected,
    /// From the intended moment to the publish: how late the tester is.
    StartLag,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Wait,
        Self::WaitUncorrected,
        Self::Done,
        Self::DoneUncorrected,
        Self::Attempt,
        Self::RetryLag,
        Self::ScheduleLag,
        Self::Confirm,
        Self::ConfirmUncorrected,
        Self::StartLag,
    ];

    /// Its name in reports and thresholds.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::WaitUncorrected => "wait_uncorrected",
            Self::Done => "done",
            Self::DoneUncorrected => "done_uncorrected",
            Self::Attempt => "attempt",
            Self::RetryLag => "retry_lag",
            Self::ScheduleLag => "schedule_lag",
            Self::Confirm => "confirm",
            Self::ConfirmUncorrected => "confirm_uncorrected",
            Self::StartLag => "start_lag",
        }
    }

    /// Of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What there are figures of.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// How many queues.
    pub queues: usize,
    /// The end of each phase, from the start of the run.
    pub phases: Vec<Duration>,
    /// Tasks intended before this are left out of all histograms.
    pub warm_up: Duration,
}

/// One histogram of each kind.
#[derive(Debug, Clone, Default)]
pub struct Set([Hist; Kind::ALL.len()]);

impl Set {
    /// The histogram of a kind.
    pub fn get(&self, kind: Kind) -> &Hist {
        &self.0[kind as usize]
    }

    fn record(&mut self, kind: Kind, value: Duration) {
        self.0[kind as usize].record(value);
    }
}

/// All figures of a run.
#[derive(Debug, Clone)]
pub struct Figures {
    layout: Layout,
    total: Set,
    queues: Vec<Set>,
    phases: Vec<Set>,
    seconds: second::Seconds,
}

impl Figures {
    /// Without a value.
    pub fn new(layout: Layout) -> Self {
        let queues = vec![Set::default(); layout.queues];
        let phases = vec![Set::default(); layout.phases.len()];
        Self { layout, total: Set::default(), queues, phases, seconds: second::Seconds::default() }
    }

    /// Of the whole run.
    pub fn total(&self) -> &Set {
        &self.total
    }

    /// Of each queue.
    pub fn queues(&self) -> &[Set] {
        &self.queues
    }

    /// Of each phase.
    pub fn phases(&self) -> &[Set] {
        &self.phases
    }

    /// What happened in each second so far.
    pub fn seconds(&mut self) -> &[Second] {
        self.seconds.read();
        self.seconds.all()
    }

    /// The second of a moment, to count in.
    pub fn second(&mut self, at: Duration) -> &mut Second {
        self.seconds.at(at)
    }

    /// A value of a task.
    pub fn record(&mut self, kind: Kind, task: Record, queue: usize, value: Duration) {
        let intended = task.intended.get().unwrap_or_default();
        if intended < self.layout.warm_up {
            return;
        }
        self.total.record(kind, value);
        self.queues[queue].record(kind, value);
        let phase = self.layout.phases.partition_point(|end| *end <= intended);
        if let Some(set) = self.phases.get_mut(phase) {
            set.record(kind, value);
        }
    }

    /// A corrected wait that is over now.
    pub(crate) fn wait(&mut self, task: Record, queue: usize, now: Duration, value: Duration) {
        self.record(Kind::Wait, task, queue, value);
        self.seconds.wait(now, value);
    }

    /// A task has succeeded. Of a delayed one the wait was wanted: its time is told by the schedule lag alone.
    pub(crate) fn done(&mut self, task: Record, queue: usize, now: Duration, delayed: bool) {
        if delayed {
            return;
        }
        let since = |tick: Tick| now.saturating_sub(tick.get().unwrap_or_default());
        self.record(Kind::Done, task, queue, since(task.intended));
        self.record(Kind::DoneUncorrected, task, queue, since(task.published));
    }
}
