//! Destinations: how many requests each has under way, and which tasks wait for it.

use super::TicketId;
use crate::{config::DestinationConfig, lookup::Lookup, planted::planted};
use quebert_wire::Destination;
use slotmap::{SlotMap, new_key_type};
use std::{collections::VecDeque, time::Duration};

/// Idle destinations are kept up to this many, so that a busy host is not looked up anew for each task.
const IDLE_KEPT: usize = 10_000;

/// Requests that a destination may have under way, in a lane that others use too, before it has answered: enough to see
/// whether it is there.
const TRUST_FIRST: u32 = 1;

/// In a lane that others use too, a destination that has not answered yet is given this part of the usual patience.
pub(crate) const UNHEARD_PART: u32 = 4;

new_key_type! {
    /// Names a destination within one core.
    pub(crate) struct DestId;
}

/// What one lane has of a destination.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfLane {
    /// Requests under way, those in a `before` hook included.
    pub(crate) in_flight: u32,
    /// Tasks that wait for it, in order of arrival.
    pub(crate) waiting: VecDeque<(u64, TicketId)>,
    /// The arrival under which the lane lists this destination as eligible.
    pub(crate) listed: Option<u64>,
}

/// One executor's origin.
#[derive(Debug)]
pub(crate) struct Dest {
    pub(crate) name: Destination,
    /// Requests under way, those in a `before` hook included.
    pub(crate) in_flight: u32,
    /// Most of them.
    pub(crate) limit: u32,
    /// What each lane has of it. In one place: with many destinations a look at another place is what costs.
    pub(crate) of_lane: Vec<OfLane>,
    /// Until then (monotonic) tasks beyond its share of a window are put off at once: others had to be, lately.
    pub(crate) crowded_until: Duration,
    /// When (monotonic) it gave its last answer, or else when it got its first request.
    heard_at: Duration,
    /// How long its answers take, about; `None` before the first one, and after a request that ran into its time limit.
    typical: Option<Duration>,
    /// Whether its last request ran into its time limit.
    timed_out: bool,
    /// Requests that it may have under way in a lane that others use too: one at first, one more with each answer.
    trust: u32,
    /// Whether observers were told that it is distrusted.
    told_distrusted: bool,
}

impl Dest {
    /// Whether one more request may begin, from a lane that grants it so many slots.
    pub(crate) fn is_free(&self, lane: usize, slots: u32) -> bool {
        self.in_flight < self.limit && self.of_lane[lane].in_flight < slots
    }

    /// Requests that it may have under way in a lane that others use too, of `share` at most.
    pub(crate) fn slots_among_others(&self, share: u32, now: Duration, patience: Duration) -> u32 {
        if planted!(SilenceTrusted) {
            return u32::MAX;
        }
        let trust = if self.is_silent(now, patience, patience / UNHEARD_PART) { TRUST_FIRST } else { self.trust };
        trust.min(share)
    }

    /// Whether it has requests under way and no answer came for longer than `patience` and twice its usual time, or
    /// than `unheard` if it has given none yet.
    pub(crate) fn is_silent(&self, now: Duration, patience: Duration, unheard: Duration) -> bool {
        let limit = self.typical.map_or(unheard, |typical| patience.max(typical * 2));
        self.in_flight > 0 && now.saturating_sub(self.heard_at) > limit
    }

    /// Whether it has given no answer yet, or none since a request that ran into its time limit.
    pub(crate) fn is_unheard(&self) -> bool {
        self.typical.is_none()
    }

    /// Whether it is distrusted, if that has changed since the last time that it was told.
    pub(crate) fn distrust_changed(&mut self, now: Duration, patience: Duration) -> Option<bool> {
        let distrusted = self.timed_out || self.is_silent(now, patience, patience / UNHEARD_PART);
        let changed = distrusted != self.told_distrusted;
        self.told_distrusted = distrusted;
        changed.then_some(distrusted)
    }

    /// A request begins.
    pub(crate) fn occupy(&mut self, lane: usize, now: Duration) {
        if self.in_flight == 0 && !self.timed_out {
            self.heard_at = now;
        }
        self.in_flight += 1;
        self.of_lane[lane].in_flight += 1;
    }

    /// A request is over.
    pub(crate) fn vacate(&mut self, lane: usize) {
        self.in_flight -= 1;
        self.of_lane[lane].in_flight -= 1;
    }

    /// An answer came, or a quick failure.
    pub(crate) fn hear(&mut self, took: Duration, now: Duration, patience: Duration) {
        let was_silent = self.is_silent(now, patience, patience);
        self.trust = if was_silent { TRUST_FIRST } else { self.trust }.saturating_add(1);
        self.typical = Some(self.typical.map_or(took, |typical| (typical * 7 + took) / 8));
        self.timed_out = false;
        self.heard_at = now;
    }

    /// A request ran into its time limit.
    pub(crate) fn hear_nothing(&mut self) {
        self.trust = TRUST_FIRST;
        self.typical = None;
        self.timed_out = true;
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.of_lane.iter().all(|lane| lane.waiting.is_empty())
    }
}

/// All destinations met so far that are not forgotten.
#[derive(Debug)]
pub(crate) struct Destinations {
    by_name: Lookup<Destination, DestId>,
    all: SlotMap<DestId, Dest>,
    lanes: usize,
}

impl Destinations {
    /// For so many lanes. `secret` is the one of [`Lookup`].
    pub(crate) fn new(lanes: usize, secret: u64) -> Self {
        Self { by_name: Lookup::new(secret), all: SlotMap::with_key(), lanes }
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
            of_lane: vec![OfLane::default(); self.lanes],
            crowded_until: Duration::ZERO,
            heard_at: Duration::ZERO,
            typical: None,
            timed_out: false,
            trust: TRUST_FIRST,
            told_distrusted: false,
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

    /// Whether it is not forgotten yet.
    pub(crate) fn knows(&self, id: DestId) -> bool {
        self.all.contains_key(id)
    }

    /// Forgets it if nothing is under way or waiting and there are too many. Its name, if it was distrusted: nothing is
    /// held against it any more.
    pub(crate) fn release(&mut self, id: DestId) -> Option<Destination> {
        if self.all.len() <= IDLE_KEPT || !self.of(id).is_idle() {
            return None;
        }
        let dest = self.all.remove(id).expect("was just there");
        self.by_name.remove(&dest.name);
        dest.told_distrusted.then_some(dest.name)
    }

    /// Forgets those that are idle, if there are too many. Looks at all, so it is for now and then.
    pub(crate) fn release_idle(&mut self) -> Vec<Destination> {
        if self.all.len() <= IDLE_KEPT {
            return Vec::new();
        }
        self.ids().into_iter().filter_map(|id| self.release(id)).collect()
    }

    /// Sets every limit anew.
    pub(crate) fn reconfigure(&mut self, config: &DestinationConfig) {
        for dest in self.all.values_mut() {
            dest.limit = config.limit_of(&dest.name);
        }
    }

    /// All of them, in an order that depends on nothing but what happened.
    pub(crate) fn ids(&self) -> Vec<DestId> {
        self.all.keys().collect()
    }
}

impl DestinationConfig {
    fn limit_of(&self, name: &Destination) -> u32 {
        if planted!(DestinationUncapped) {
            return u32::MAX;
        }
        self.slots_of.get(name).copied().unwrap_or(self.slots).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::config;

    const PATIENCE: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn named(n: usize) -> Destination {
        Destination::of(&format!("http://host-{n}/").parse().unwrap()).unwrap()
    }

    fn settings() -> DestinationConfig {
        config(Vec::new()).destinations
    }

    fn with_one(check: impl FnOnce(&mut Dest)) {
        let mut all = Destinations::new(1, 0);
        let id = all.intern(&named(0), &settings());
        check(all.of_mut(id));
    }

    #[test]
    fn silence_begins_after_the_limit_and_counts_from_the_last_answer_or_the_first_request() {
        with_one(|dest| {
            let silent = |dest: &Dest, at| dest.is_silent(at, PATIENCE, PATIENCE / 4);
            assert!(!silent(dest, 10 * PATIENCE), "nothing was asked of it");
            dest.occupy(0, PATIENCE);
            dest.occupy(0, PATIENCE + 100 * MS);
            assert!(!silent(dest, PATIENCE + PATIENCE / 4));
            assert!(silent(dest, PATIENCE + PATIENCE / 4 + MS));
            // Seven parts of what was usual and one of what came now: 700 ms, of which twice is the limit.
            dest.hear(800 * MS, 2 * PATIENCE, PATIENCE);
            dest.hear(Duration::ZERO, 2 * PATIENCE, PATIENCE);
            assert!(!silent(dest, 2 * PATIENCE + 1400 * MS));
            assert!(silent(dest, 2 * PATIENCE + 1401 * MS));
        });
    }

    #[test]
    fn after_a_time_limit_it_is_unheard_and_silent_until_it_answers() {
        with_one(|dest| {
            assert!(dest.is_unheard());
            dest.occupy(0, Duration::ZERO);
            dest.hear(MS, Duration::ZERO, PATIENCE);
            assert!(!dest.is_unheard());
            dest.hear_nothing();
            dest.vacate(0);
            assert!(dest.is_unheard());
            dest.occupy(0, 10 * PATIENCE);
            assert!(dest.is_silent(10 * PATIENCE, PATIENCE, PATIENCE / 4), "a new request is no sign of life");
        });
    }

    #[test]
    fn distrust_is_told_once_and_taken_back_once() {
        with_one(|dest| {
            assert_eq!(dest.distrust_changed(Duration::ZERO, PATIENCE), None);
            dest.occupy(0, Duration::ZERO);
            assert_eq!(dest.distrust_changed(PATIENCE / 4, PATIENCE), None);
            assert_eq!(dest.distrust_changed(PATIENCE / 4 + MS, PATIENCE), Some(true), "it was never heard");
            assert_eq!(dest.distrust_changed(PATIENCE, PATIENCE), None);
            dest.hear(MS, PATIENCE, PATIENCE);
            assert_eq!(dest.distrust_changed(PATIENCE, PATIENCE), Some(false));
            dest.hear_nothing();
            dest.vacate(0);
            assert_eq!(dest.distrust_changed(PATIENCE, PATIENCE), Some(true));
        });
    }

    #[test]
    fn beyond_the_limit_those_that_nobody_needs_are_forgotten() {
        let mut all = Destinations::new(1, 0);
        let ids: Vec<DestId> = (0..IDLE_KEPT).map(|n| all.intern(&named(n), &settings())).collect();
        assert_eq!((all.release(ids[0]), all.release_idle()), (None, Vec::new()));
        assert!(all.knows(ids[0]), "there are not too many");
        let [busy, wanted, distrusted] = [0, 1, 2].map(|n| all.intern(&named(IDLE_KEPT + n), &settings()));
        all.of_mut(busy).occupy(0, Duration::ZERO);
        all.of_mut(wanted).of_lane[0].waiting.push_back((1, TicketId::default()));
        all.of_mut(distrusted).hear_nothing();
        assert_eq!(all.of_mut(distrusted).distrust_changed(Duration::ZERO, PATIENCE), Some(true));
        assert_eq!((all.release(busy), all.release(wanted)), (None, None));
        assert_eq!(all.release(distrusted), Some(named(IDLE_KEPT + 2)), "nothing is held against it any more");
        assert!(!all.knows(distrusted));
        assert_eq!(all.release_idle(), Vec::new(), "nobody was told anything of them");
        assert_eq!(all.ids().len(), IDLE_KEPT);
        assert!(all.knows(busy) && all.knows(wanted));
    }
}
