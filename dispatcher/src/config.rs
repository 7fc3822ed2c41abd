//! What the dispatcher is told: lanes, limits and policies. Checked by whoever makes it.

use crate::{backoff::RetryPolicy, verdict::StatusRules};
use quebert_wire::{Destination, Limits};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// One lane: the dispatcher's side of one queue.
#[derive(Debug, Clone)]
pub struct LaneConfig {
    /// Its name in metrics, logs, headers and the envelope's `queue`.
    pub name: Arc<str>,
    /// The broker's name of its queue.
    pub queue: Arc<str>,
    /// Higher goes first (strict schedule).
    pub priority: u8,
    /// Share of the free slots (weighted schedule); at least 1.
    pub weight: u32,
    /// Slots that only this lane uses.
    pub slots_own: u32,
    /// Most slots that this lane uses, own and shared; at least 1.
    pub slots_max: u32,
    /// Most deliveries unsettled at a time (the broker's prefetch); at least 1.
    pub window: u16,
    /// Limit of one attempt; a task may ask for less, or for more up to `attempt_timeout_max`.
    pub attempt_timeout: Duration,
    /// The longest limit that a task may ask for.
    pub attempt_timeout_max: Duration,
    /// Time to live of tasks that name none.
    pub ttl_default: Option<Duration>,
    /// When and how often to try again.
    pub retry: RetryPolicy,
    /// Which statuses mean what.
    pub status: StatusRules,
}

/// How a free shared slot is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// To the highest priority. With a bound, a lane that could send is passed over at most that often in a row (plus
    /// once for each other lane that has reached the bound as well).
    Strict {
        /// Most grants in a row that pass over a lane that could send; `None` is without bound.
        pass_over_max: Option<u32>,
    },
    /// In proportion to the weights: a lane of weight w among a sum of W that could send waits for at most
    /// `ceil(W / w)` grants.
    Weighted,
}

/// Limits of each destination.
#[derive(Debug, Clone)]
pub struct DestinationConfig {
    /// Requests under way at a time to one destination; at least 1.
    pub slots: u32,
    /// Exceptions.
    pub slots_of: BTreeMap<Destination, u32>,
    /// Percent of a lane's window, and of its slots, that one destination may take while others use the lane, too: 1 to
    /// 100. Among others it starts with one slot, gets one more with each answer, and falls back to one when it goes
    /// silent.
    pub window_share: u8,
    /// How long a task beyond the share waits before it is put off.
    pub patience: Duration,
    /// Shortest time that a task is put off for; doubles each time.
    pub put_off_min: Duration,
    /// Longest time that a task is put off for.
    pub put_off_max: Duration,
}

/// What to do when a `before` hook fails, panics or takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookErrorRule {
    /// Go on as if it had said "send".
    Send,
    /// Put the task off by its backoff; uses up no attempt.
    PutOff,
    /// Give the task up.
    Bury,
}

/// Everything that the core goes by.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The lanes; at least one. Their order is fixed for the dispatcher's life.
    pub lanes: Vec<LaneConfig>,
    /// Slots that all lanes share.
    pub slots_shared: u32,
    /// How a free shared slot is given.
    pub schedule: Schedule,
    /// Limits of each destination.
    pub destinations: DestinationConfig,
    /// Limits of what is taken for a task.
    pub limits: Limits,
    /// Delays up to this are waited for in the dispatcher, longer ones in the delay grid. One second.
    pub hold_max: Duration,
    /// The broker's limit of how long a delivery may stay unsettled.
    pub consumer_timeout: Duration,
    /// Most deliveries in a row of a task whose attempts never end, as of one that kills dispatchers, where the broker
    /// does not count them itself (classic queues); `None` does not count.
    pub redeliveries_max: Option<u32>,
    /// Window of each delay queue.
    pub delay_window: u16,
    /// Whether expired tasks are buried (`true`) or just counted.
    pub bury_expired: bool,
    /// Whether tasks with unknown fields are buried (`true`) or taken, with the field ignored and counted.
    pub bury_unknown_fields: bool,
    /// When a hook fails.
    pub hook_error: HookErrorRule,
    /// Whether there are mediators at all; without, the core asks for none.
    pub mediated: bool,
    /// Seed of ids, jitter and whatever else is drawn.
    pub seed: u64,
}

/// What the broker's consumer timeout must leave beside the longest attempt, for waiting and settling.
pub const SETTLE_MARGIN: Duration = Duration::from_secs(60);

impl CoreConfig {
    /// How long a delivery of that lane may wait for its slot: a third of what the broker's consumer timeout leaves
    /// beside the longest attempt. The second third is for how seldom it is looked at, the last for hooks and settling.
    pub(crate) fn wait_limit(&self, lane: usize) -> Duration {
        self.consumer_timeout.saturating_sub(self.lanes[lane].attempt_timeout_max) / 3
    }

    /// The longest limit that an attempt may have: the broker's consumer timeout less [`SETTLE_MARGIN`].
    pub fn attempt_timeout_longest(&self) -> Duration {
        self.consumer_timeout.saturating_sub(SETTLE_MARGIN)
    }

    /// Takes over what may change while a dispatcher runs: slots, weights, priorities, policies and limits. What
    /// belongs to the broker stays: the lanes themselves, their queues and windows.
    pub fn reload(&mut self, new: Self) {
        let longest = self.attempt_timeout_longest();
        for mut lane in new.lanes {
            if let Some(old) = self.lanes.iter_mut().find(|old| old.name == lane.name) {
                lane.queue = old.queue.clone();
                lane.window = old.window;
                // The broker's patience is that of the start, whatever the new config says of it.
                lane.attempt_timeout_max = lane.attempt_timeout_max.min(longest);
                *old = lane;
            }
        }
        self.slots_shared = new.slots_shared;
        self.schedule = new.schedule;
        self.destinations = new.destinations;
        self.limits = new.limits;
        self.redeliveries_max = new.redeliveries_max;
        self.bury_expired = new.bury_expired;
        self.bury_unknown_fields = new.bury_unknown_fields;
        self.hook_error = new.hook_error;
    }
}
