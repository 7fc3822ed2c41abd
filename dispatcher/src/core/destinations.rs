//! Destinations: how many requests each has under way, and which tasks wait for it.

use super::TicketId;
use crate::config::DestinationConfig;
use quebert_wire::Destination;
use slotmap::{SlotMap, new_key_type};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Idle destinations are kept up to this many, so that a busy host is not looked up anew for each task.
const IDLE_KEPT: usize = 10_000;

new_key_type! {
    /// Names a destination within one core.
    pub(crate) struct DestId;
}

/// One executor's origin.
#[derive(Debug)]
pub(crate) struct Dest {
    pub(crate) name: Destination,
    /// Requests under way, those in a `before` hook included.
    pub(crate) in_flight: u32,
    /// Most of them.
    pub(crate) limit: u32,
    /// The same by lane.
    pub(crate) in_flight_of: Vec<u32>,
    /// Tasks that wait for it, by lane, in order of arrival.
    pub(crate) waiting: Vec<VecDeque<(u64, TicketId)>>,
    /// By lane, the arrival under which the lane lists this destination as eligible.
    pub(crate) listed: Vec<Option<u64>>,
    /// Until then (monotonic) tasks beyond its share of a window are put off at once: others had to be, lately.
    pub(crate) crowded_until: Duration,
}

impl Dest {
    pub(crate) fn is_free(&self) -> bool {
        self.in_flight < self.limit
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.waiting.iter().all(VecDeque::is_empty)
    }
}

/// All destinations met so far that are not forgotten.
#[derive(Debug)]
pub(crate) struct Destinations {
    by_name: BTreeMap<Destination, DestId>,
    all: SlotMap<DestId, Dest>,
    lanes: usize,
}

impl Destinations {
    pub(crate) fn new(lanes: usize) -> Self {
        Self { by_name: BTreeMap::new(), all: SlotMap::with_key(), lanes }
    }

    /// The destination of that name, made when it is new.
    pub(crate) fn intern(&mut self, name: &Destination, config: &DestinationConfig) -> DestId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.all.insert(Dest {
            name: name.clone(),
            in_flight: 0,
            limit: config.limit_of(name),
            in_flight_of: vec![0; self.lanes],
            waiting: vec![VecDeque::new(); self.lanes],
            listed: vec![None; self.lanes],
            crowded_until: Duration::ZERO,
        });
        self.by_name.insert(name.clone(), id);
        id
    }

    pub(crate) fn of(&self, id: DestId) -> &Dest {
        self.all.get(id).expect("a destination with tasks is never forgotten")
    }

    pub(crate) fn of_mut(&mut self, id: DestId) -> &mut Dest {
        self.all.get_mut(id).expect("a destination with tasks is never forgotten")
    }

    /// Forgets it if nothing is under way or waiting and there are too many.
    pub(crate) fn release(&mut self, id: DestId) {
        if self.all.len() > IDLE_KEPT && self.of(id).is_idle() {
            let dest = self.all.remove(id).expect("was just there");
            self.by_name.remove(&dest.name);
        }
    }

    /// Sets every limit anew.
    pub(crate) fn reconfigure(&mut self, config: &DestinationConfig) {
        for dest in self.all.values_mut() {
            dest.limit = config.limit_of(&dest.name);
        }
    }

    pub(crate) fn ids(&self) -> Vec<DestId> {
        self.by_name.values().copied().collect()
    }
}

impl DestinationConfig {
    fn limit_of(&self, name: &Destination) -> u32 {
        self.slots_of.get(name).copied().unwrap_or(self.slots).max(1)
    }
}
