//! How many messages wait in each queue, and how many consume from it: what a dispatcher asks its broker now and then. It is
//! counted from the history; nobody is asked.

use crate::history::{CopyNo, What};
use quebert_dispatcher::ports::broker::{Depth, Opening, Source, Target};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Where a message is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Queue(Arc<str>),
    Dead(Arc<str>),
    Delay,
}

impl Place {
    fn of(target: &Target) -> Self {
        match target {
            Target::Queue(queue) => Self::Queue(queue.clone()),
            Target::Dead(queue) => Self::Dead(queue.clone()),
            Target::Delay(_) => Self::Delay,
        }
    }
}

/// All queues of a run.
#[derive(Default)]
pub(super) struct Depths {
    places: BTreeMap<CopyNo, Place>,
    ready: BTreeMap<Place, u64>,
    delivered: BTreeSet<CopyNo>,
    consumers: BTreeMap<Arc<str>, BTreeSet<Opening>>,
}

impl Depths {
    /// Takes one thing that happened.
    pub(super) fn take(&mut self, what: &What) {
        match what {
            What::Stored { copy, target, .. } | What::Revived { copy, target, .. } => {
                self.stored(*copy, Place::of(target));
            }
            What::Delivered { copy, .. } => {
                let taken = self.delivered.insert(*copy);
                self.change(*copy, -i64::from(taken));
            }
            What::Returned { copy, .. } => {
                let back = self.delivered.remove(copy);
                self.change(*copy, i64::from(back));
            }
            What::Acked { copy, .. } | What::Unstored { copy } => self.gone(*copy),
            What::BuriedByBroker { copy, dead } => {
                if let Some(Place::Queue(queue)) = self.places.get(copy).cloned() {
                    self.stored(*dead, Place::Dead(queue));
                }
                self.gone(*copy);
            }
            What::Opened { source: Source::Queue(queue), opening, .. } => {
                self.consumers.entry(queue.clone()).or_default().insert(*opening);
            }
            What::Closed { opening, .. } => {
                for open in self.consumers.values_mut() {
                    open.remove(opening);
                }
            }
            _ => {}
        }
    }

    /// Of a work queue.
    pub(super) fn queue(&self, queue: &Arc<str>) -> Depth {
        let consumers = self.consumers.get(queue).map_or(0, BTreeSet::len);
        let ready = self.ready.get(&Place::Queue(queue.clone())).copied().unwrap_or(0);
        Depth { ready, consumers: u64::try_from(consumers).unwrap_or(u64::MAX) }
    }

    /// Of a work queue's dead letters.
    pub(super) fn dead(&self, queue: &Arc<str>) -> Depth {
        Depth { ready: self.ready.get(&Place::Dead(queue.clone())).copied().unwrap_or(0), consumers: 0 }
    }

    fn stored(&mut self, copy: CopyNo, place: Place) {
        if self.places.insert(copy, place).is_none() {
            self.change(copy, 1);
        }
    }

    fn gone(&mut self, copy: CopyNo) {
        if !self.delivered.remove(&copy) {
            self.change(copy, -1);
        }
        self.places.remove(&copy);
    }

    fn change(&mut self, copy: CopyNo, by: i64) {
        if let Some(place) = self.places.get(&copy) {
            let ready = self.ready.entry(place.clone()).or_default();
            *ready = ready.saturating_add_signed(by);
        }
    }
}
