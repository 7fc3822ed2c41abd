//! Lanes: their slots, and whose turn it is.

use super::{destinations::DestId, recall::LastAcks, ticket::Slot, timers::TimerId};
use crate::{
    config::{CoreConfig, Schedule},
    planted::planted,
};
use std::{collections::BTreeSet, time::Duration};

/// How long a lane counts as mixed after tasks of two destinations came one after the other.
const MIXED_FOR: Duration = Duration::from_secs(60);

/// Whether a lane takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flow {
    /// It does, as far as the broker lets it.
    #[default]
    Open,
    /// Somebody paused it.
    Paused,
    /// It is to go on, and is opened when its former deliveries are settled, or when the timer goes off.
    Resuming(TimerId),
}

/// The state of one lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Deliveries with an attempt under way, or being settled.
    pub(crate) in_flight: u32,
    /// Deliveries that wait.
    pub(crate) buffered: u32,
    /// Whether the two above have changed since they were reported.
    pub(crate) changed: bool,
    pub(crate) flow: Flow,
    own_used: u32,
    shared_used: u32,
    /// Destinations that are free and have tasks of this lane waiting, by their oldest task's arrival.
    pub(crate) eligible: BTreeSet<(u64, DestId)>,
    /// Credit of the weighted schedule.
    credit: i64,
    /// Shared slots in a row that went to others while this lane could send.
    passed_over: u32,
    /// Whose task came last.
    last_dest: Option<DestId>,
    /// Until then (monotonic) the lane counts as mixed: tasks of several destinations came lately.
    mixed_until: Duration,
    pub(crate) last_acks: LastAcks,
}

/// What the schedule goes by, as configured.
#[derive(Debug, Clone, Copy)]
struct Rank {
    priority: u8,
    weight: i64,
    slots_own: u32,
    slots_max: u32,
}

/// All lanes, and the pool that they share.
#[derive(Debug)]
pub(crate) struct Lanes {
    all: Vec<Lane>,
    ranks: Vec<Rank>,
    /// Lanes by falling priority.
    order: Vec<usize>,
    shared: u32,
    shared_used: u32,
    schedule: Schedule,
}

impl Lanes {
    pub(crate) fn new(config: &CoreConfig) -> Self {
        let mut lanes = Self {
            all: config.lanes.iter().map(|_| Lane::default()).collect(),
            ranks: Vec::new(),
            order: Vec::new(),
            shared: 0,
            shared_used: 0,
            schedule: config.schedule,
        };
        lanes.reconfigure(config);
        lanes
    }

    pub(crate) fn reconfigure(&mut self, config: &CoreConfig) {
        self.ranks = config
            .lanes
            .iter()
            .map(|lane| Rank {
                priority: if planted!(PriorityInverted) { u8::MAX - lane.priority } else { lane.priority },
                weight: i64::from(lane.weight.max(1)),
                slots_own: lane.slots_own.saturating_add(planted!(SlotOffByOne).into()),
                slots_max: lane.slots_max.max(1).saturating_add(planted!(SlotOffByOne).into()),
            })
            .collect();
        self.order = (0..self.ranks.len()).collect();
        self.order.sort_by_key(|lane| std::cmp::Reverse(self.ranks[*lane].priority));
        self.shared = config.slots_shared;
        self.schedule = config.schedule;
    }

    pub(crate) fn all(&self) -> &[Lane] {
        &self.all
    }

    pub(crate) fn of(&self, lane: usize) -> &Lane {
        &self.all[lane]
    }

    pub(crate) fn of_mut(&mut self, lane: usize) -> &mut Lane {
        &mut self.all[lane]
    }

    /// Takes a free slot for the lane whose turn it is, among those that could send now. Slots of a lane's own go
    /// first, by priority; then those of the pool, by the schedule.
    pub(crate) fn take_slot(&mut self) -> Option<(usize, Slot)> {
        let own = self.order.iter().copied().find(|lane| self.could_send(*lane) && self.has_own_slot(*lane));
        if let Some(lane) = own {
            self.all[lane].own_used += 1;
            return Some((lane, Slot::Own));
        }
        if self.shared_used >= self.shared {
            return None;
        }
        let lane = match self.schedule {
            Schedule::Strict { pass_over_max } => {
                let bound = pass_over_max.filter(|_| !planted!(LaneStarved));
                self.pick_strict(bound.unwrap_or(u32::MAX))
            }
            Schedule::Weighted => self.pick_weighted(),
        }?;
        self.all[lane].shared_used += 1;
        self.shared_used += 1;
        Some((lane, Slot::Shared))
    }

    pub(crate) fn free_slot(&mut self, lane: usize, slot: Slot) {
        let lane = &mut self.all[lane];
        match slot {
            Slot::Own => lane.own_used -= 1,
            Slot::Shared => {
                lane.shared_used -= 1;
                self.shared_used -= 1;
            }
        }
    }

    /// A task for `dest` has come. Returns the destination before it, if it's another one: its share may be less now.
    pub(crate) fn note_arrival(&mut self, lane: usize, dest: DestId, now: Duration) -> Option<DestId> {
        let lane = &mut self.all[lane];
        let before = lane.last_dest.replace(dest).filter(|before| *before != dest)?;
        lane.mixed_until = now + MIXED_FOR;
        Some(before)
    }

    /// Whether tasks of several destinations came lately, so that there is somebody to make room for.
    pub(crate) fn is_mixed(&self, lane: usize, now: Duration) -> bool {
        self.all[lane].mixed_until > now
    }

    /// Whether there is a slot that this lane could have. Without one nobody is helped by making room in its window.
    pub(crate) fn has_room(&self, lane: usize) -> bool {
        self.slots_used(lane) < self.ranks[lane].slots_max
            && (self.has_own_slot(lane) || self.shared_used < self.shared)
    }

    /// `percent` of a lane's slots, at least one.
    pub(crate) fn share_of_slots(&self, lane: usize, percent: u8) -> u32 {
        let rank = &self.ranks[lane];
        let slots = rank.slots_max.min(rank.slots_own.saturating_add(self.shared));
        u32::try_from((u64::from(slots) * u64::from(percent)).div_ceil(100)).unwrap_or(u32::MAX).max(1)
    }

    /// Slots of a lane in use, own and shared.
    pub(crate) fn slots_used(&self, lane: usize) -> u32 {
        self.all[lane].own_used + self.all[lane].shared_used
    }

    fn could_send(&self, lane: usize) -> bool {
        !self.all[lane].eligible.is_empty() && self.slots_used(lane) < self.ranks[lane].slots_max
    }

    fn has_own_slot(&self, lane: usize) -> bool {
        self.all[lane].own_used < self.ranks[lane].slots_own
    }

    /// The highest priority; among equals the one whose task came first. A lane that was passed over often enough goes
    /// before all.
    fn pick_strict(&mut self, pass_over_max: u32) -> Option<usize> {
        let could = || self.order.iter().copied().filter(|lane| self.could_send(*lane));
        let starved = could().filter(|lane| self.all[*lane].passed_over >= pass_over_max);
        let picked = starved.max_by_key(|lane| self.all[*lane].passed_over).or_else(|| {
            could().min_by_key(|lane| {
                let oldest = self.all[*lane].eligible.first().map(|(seq, _)| *seq);
                (std::cmp::Reverse(self.ranks[*lane].priority), oldest)
            })
        })?;
        for at in 0..self.order.len() {
            let lane = self.order[at];
            if self.could_send(lane) {
                let passed_over = self.all[lane].passed_over;
                self.all[lane].passed_over = if lane == picked { 0 } else { passed_over.saturating_add(1) };
            }
        }
        Some(picked)
    }

    /// Smooth weighted round robin: each lane that could send earns its weight, the richest goes and pays for all.
    fn pick_weighted(&mut self) -> Option<usize> {
        let mut earned = 0;
        let mut picked: Option<usize> = None;
        for lane in self.order.iter().copied() {
            if !self.could_send(lane) {
                self.all[lane].credit = 0;
                continue;
            }
            earned += self.ranks[lane].weight;
            self.all[lane].credit += self.ranks[lane].weight;
            if picked.is_none_or(|best| self.all[lane].credit > self.all[best].credit) {
                picked = Some(lane);
            }
        }
        let picked = picked?;
        self.all[picked].credit -= earned;
        Some(picked)
    }
}
