//! Messages for as long as they are at the broker, and how many wait there. It follows no message on its way.

use super::data::{Copy, Places};
use crate::{
    history::{CopyNo, What},
    host::Host,
};
use quebert_dispatcher::ports::broker::Target;
use std::collections::{BTreeMap, BTreeSet};

/// The messages of a run.
pub(super) struct Copies<'a> {
    places: &'a Places,
    found: Vec<Copy>,
    /// Where in `found` each is.
    by_number: BTreeMap<CopyNo, usize>,
    /// Those that are no dead letters.
    live: BTreeSet<CopyNo>,
    backlog: Vec<(u64, usize)>,
}

impl<'a> Copies<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        let (by_number, live) = (BTreeMap::new(), BTreeSet::new());
        Self { places, found: Vec::new(), by_number, live, backlog: vec![(0, 0)] }
    }

    /// All of them, and how many waited from each moment on.
    pub(super) fn into_parts(self) -> (Vec<Copy>, Vec<(u64, usize)>) {
        (self.found, self.backlog)
    }

    /// Takes one thing that happened; `task` is the place of the task that it is about.
    pub(super) fn take(&mut self, host: Host, at: u64, what: &What, task: Option<usize>) {
        match what {
            What::Stored { copy, target, .. } | What::Revived { copy, target, .. } => {
                if let (Some(task), Some(host)) = (task, self.places.hosts.get(&host).copied()) {
                    let queue = queue(target);
                    self.by_number.insert(*copy, self.found.len());
                    self.found.push(Copy { task, host, from: at, to: None, queue, held: Vec::new() });
                }
                if !matches!(target, Target::Dead(_)) {
                    self.live.insert(*copy);
                    self.count(at);
                }
            }
            What::Delivered { copy, .. } => self.with(*copy, |copy| copy.held.push((at, None))),
            What::Returned { copy, .. } => self.with(*copy, |copy| copy.end_hold(at)),
            What::Acked { copy, .. } | What::Unstored { copy } | What::BuriedByBroker { copy, .. } => {
                self.with(*copy, |copy| {
                    copy.end_hold(at);
                    copy.to = Some(at);
                });
                if self.live.remove(copy) {
                    self.count(at);
                }
            }
            _ => {}
        }
    }

    fn with(&mut self, copy: CopyNo, change: impl FnOnce(&mut Copy)) {
        if let Some(place) = self.by_number.get(&copy) {
            change(&mut self.found[*place]);
        }
    }

    fn count(&mut self, at: u64) {
        let number = self.live.len();
        match self.backlog.last_mut() {
            Some(last) if last.0 == at => last.1 = number,
            _ => self.backlog.push((at, number)),
        }
    }
}

impl Copy {
    fn end_hold(&mut self, at: u64) {
        if let Some((_, to @ None)) = self.held.last_mut() {
            *to = Some(at);
        }
    }
}

fn queue(target: &Target) -> String {
    match target {
        Target::Queue(name) => format!("queue {name}"),
        Target::Delay(step) => format!("delay of {} s", step.length().as_secs_f64()),
        Target::Dead(name) => format!("dead letters of {name}"),
    }
}
