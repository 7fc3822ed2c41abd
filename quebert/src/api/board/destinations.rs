//! Figures of destinations, for a bounded number of them. Which destinations there are is the producers' choice, so what
//! was not used for longest is forgotten.

use super::window::Window;
use quebert_dispatcher::outcome::Outcome;
use quebert_wire::{Destination, Timestamp};
use std::{collections::HashMap, fmt::Write, time::Duration};

/// Destinations that are remembered.
pub(super) const TRACKED_MAX: usize = 500;
/// Bytes of a failure's words that are kept.
const FAILURE_BYTES_MAX: usize = 300;

/// At most [`TRACKED_MAX`] destinations; beyond that one gives way that has nothing under way and was not used since the
/// last time that one was looked for (the clock algorithm, which comes close to least recently used).
#[derive(Debug, Default)]
pub(super) struct Tracked {
    all: Vec<Figures>,
    index: HashMap<Destination, usize>,
    /// The one used last: events of one destination often come in a row.
    last: usize,
    hand: usize,
}

/// Figures of one destination.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) destination: Destination,
    pub(super) in_flight: u32,
    pub(super) limit: u32,
    /// In the order of [`Outcome::CLASSES`].
    pub(super) outcomes: [u64; Outcome::CLASSES.len()],
    pub(super) last_failure: String,
    pub(super) last_failure_at: Option<Timestamp>,
    pub(super) window: Window,
    used: bool,
}

impl Tracked {
    pub(super) fn of_mut(&mut self, destination: &Destination, second: u64) -> &mut Figures {
        if self.all.get(self.last).is_none_or(|figures| figures.destination != *destination) {
            self.last = match self.index.get(destination) {
                Some(at) => *at,
                None => self.add(destination, second),
            };
        }
        let figures = &mut self.all[self.last];
        figures.used = true;
        figures
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Figures> {
        self.all.iter_mut()
    }

    pub(super) fn find_mut(&mut self, destination: &Destination) -> Option<&mut Figures> {
        self.index.get(destination).map(|at| &mut self.all[*at])
    }

    fn add(&mut self, destination: &Destination, second: u64) -> usize {
        let at = if self.all.len() < TRACKED_MAX {
            self.all.push(Figures::new(destination, second));
            self.all.len() - 1
        } else {
            let at = self.least_used();
            self.index.remove(&self.all[at].destination);
            self.all[at].begin_anew(destination, second);
            at
        };
        self.index.insert(destination.clone(), at);
        at
    }

    fn least_used(&mut self) -> usize {
        // Twice round at most: the first round takes every mark away. Where all have requests under way, any one goes.
        for _ in 0..2 * TRACKED_MAX {
            self.hand = (self.hand + 1) % TRACKED_MAX;
            let figures = &mut self.all[self.hand];
            if !figures.used && figures.in_flight == 0 {
                return self.hand;
            }
            figures.used = false;
        }
        self.hand
    }
}

impl Figures {
    fn new(destination: &Destination, second: u64) -> Self {
        Self {
            destination: destination.clone(),
            in_flight: 0,
            limit: 0,
            outcomes: [0; Outcome::CLASSES.len()],
            last_failure: String::new(),
            last_failure_at: None,
            window: Window::new(second),
            used: true,
        }
    }

    fn begin_anew(&mut self, destination: &Destination, second: u64) {
        self.destination = destination.clone();
        (self.in_flight, self.limit) = (0, 0);
        self.outcomes = [0; Outcome::CLASSES.len()];
        self.last_failure.clear();
        self.last_failure_at = None;
        self.window.reset(second);
    }

    pub(super) fn ended(&mut self, second: u64, class: &'static str, duration: Duration) {
        if let Some(at) = Outcome::CLASSES.iter().position(|known| *known == class) {
            self.outcomes[at] += 1;
        }
        self.window.took(second, duration);
    }

    /// In the memory of the failure before.
    pub(super) fn failed(&mut self, status: Option<u16>, detail: Option<&str>, class: &str, at: Timestamp) {
        self.last_failure.clear();
        self.last_failure_at = Some(at);
        match (detail, status) {
            (Some(detail), _) => self.last_failure.push_str(beginning(detail)),
            (None, Some(status)) => {
                // Writing to a string does not fail.
                let _ = write!(self.last_failure, "status {status}");
            }
            (None, None) => self.last_failure.push_str(class),
        }
    }
}

fn beginning(text: &str) -> &str {
    let max = FAILURE_BYTES_MAX.min(text.len());
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(n: usize) -> Destination {
        format!("http://host-{n}").parse().unwrap()
    }

    #[test]
    fn at_most_so_many_are_remembered_and_those_in_use_stay() {
        let mut tracked = Tracked::default();
        tracked.of_mut(&destination(0), 0).in_flight = 1;
        for n in 1..3 * TRACKED_MAX {
            tracked.of_mut(&destination(n), 0).outcomes[0] += 1;
            tracked.of_mut(&destination(1), 0);
        }
        assert_eq!((tracked.all.len(), tracked.index.len()), (TRACKED_MAX, TRACKED_MAX));
        assert!(tracked.find_mut(&destination(0)).is_some(), "has a request under way");
        assert!(tracked.find_mut(&destination(1)).is_some(), "is used all the time");
        assert!(tracked.find_mut(&destination(2)).is_none());
        let newest = tracked.find_mut(&destination(3 * TRACKED_MAX - 1)).unwrap();
        assert_eq!(newest.outcomes[0], 1, "nothing is left of the one before it");
    }

    #[test]
    fn when_all_are_in_use_one_goes_all_the_same() {
        let mut tracked = Tracked::default();
        (0..TRACKED_MAX + 5).for_each(|n| tracked.of_mut(&destination(n), 0).in_flight = 1);
        assert_eq!(tracked.all.len(), TRACKED_MAX);
    }

    #[test]
    fn a_failure_is_told_in_bounded_words() {
        let mut figures = Figures::new(&destination(0), 0);
        let now = Timestamp::from_millis(5);
        figures.failed(Some(503), None, "5xx", now);
        assert_eq!((&*figures.last_failure, figures.last_failure_at), ("status 503", Some(now)));
        figures.failed(None, Some(&"é".repeat(500)), "dns", now);
        assert_eq!(figures.last_failure, "é".repeat(150));
    }
}
