//! What waits in each queue and what is under way, as the publisher and the executors saw it: enough to tell a queue that was
//! passed over from one that had no room.

use super::{QueueRule, Rules};
use std::time::Duration;

/// How long tasks of higher priority must have waited for one of lower priority to be out of order. A dispatcher that was
/// sent a task a moment ago may not have it yet.
const INVERSION_AFTER: Duration = Duration::from_millis(500);

/// Of all queues, by the rules' order.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

/// What is known of a queue while the run goes on.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    under_way: u32,
    peak: u32,
    /// Confirmed, due, and not seen by an executor.
    waiting: u64,
    /// Since when there have always been some.
    waiting_since: Option<Duration>,
}

impl Lanes {
    /// Of so many queues, all empty.
    pub(super) fn new(queues: usize) -> Self {
        Self(vec![Lane::default(); queues])
    }

    pub(super) fn of(&mut self, queue: usize) -> &mut Lane {
        &mut self.0[queue]
    }

    /// The most requests of each that were under way at a time.
    pub(super) fn peaks(&self) -> Vec<u32> {
        self.0.iter().map(|lane| lane.peak).collect()
    }

    /// Whether a queue of higher priority than this one has had tasks waiting for long, and room for them.
    pub(super) fn pass_over(&self, rules: &Rules, queue: usize, now: Duration) -> bool {
        let priority = rules.queues[queue].priority;
        let mut above = rules.queues.iter().zip(&self.0).filter(|(rule, _)| rule.priority > priority);
        above.any(|(rule, lane)| lane.is_kept_waiting(rule, now))
    }
}

impl Lane {
    /// A task waits here.
    pub(super) fn waits(&mut self, now: Duration) {
        self.waiting += 1;
        self.waiting_since.get_or_insert(now);
    }

    /// One of those that waited was seen.
    pub(super) fn waits_no_more(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
        self.waiting_since = self.waiting_since.filter(|_| self.waiting > 0);
    }

    /// A request has come.
    pub(super) fn begins(&mut self) {
        self.under_way += 1;
        self.peak = self.peak.max(self.under_way);
    }

    /// It is answered.
    ///
    /// # Panics
    /// When none had come.
    pub(super) fn ends(&mut self) {
        self.under_way = self.under_way.checked_sub(1).expect("it has begun before");
    }

    fn is_kept_waiting(&self, rule: &QueueRule, now: Duration) -> bool {
        let waits = self.waiting_since.is_some_and(|since| now.saturating_sub(since) > INVERSION_AFTER);
        waits && rule.slots.is_some_and(|slots| self.under_way < slots)
    }
}
