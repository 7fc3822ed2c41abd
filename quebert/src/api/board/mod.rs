//! Live figures of lanes and destinations, from the dispatcher's events. Metrics for machines are elsewhere.
//!
//! It is fed from within the dispatcher's loop: an event takes one short lock and, once a lane or destination is known,
//! no memory.

mod destinations;
mod window;

use super::types::{DestinationView, Destinations, Recent};
use crate::intake::now;
use destinations::{Figures, Tracked};
use quebert_dispatcher::{
    event::{Event, Settlement},
    outcome::Outcome,
    ports::observer::Observer,
};
use quebert_wire::{Destination, Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use window::{SECONDS, Window};

/// Destinations in one answer.
const SHOWN_MAX: usize = 200;

/// Counts what the dispatcher does, lane by lane and destination by destination.
#[derive(Debug)]
pub struct Board {
    started: Instant,
    state: Mutex<State>,
}

/// Figures of one lane, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LaneFigures {
    /// Whether the dispatcher has it open.
    pub open: bool,
    /// Whether a person paused it.
    pub paused: bool,
    /// Attempts under way, or being settled.
    pub in_flight: u32,
    /// Deliveries held and not sent.
    pub buffered: u32,
    /// Deliveries since the start. Less the sum of `settled`, it is `in_flight + buffered`.
    pub delivered: u64,
    /// Since the start, by [`Settlement::label`]; each is there.
    pub settled: BTreeMap<String, u64>,
    /// The last minute.
    pub recent: Recent,
}

impl Default for Board {
    fn default() -> Self {
        Self::new([])
    }
}

impl Board {
    /// Of a dispatcher with these lanes. Others are added when they are heard of.
    pub fn new(lanes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let lanes = lanes.into_iter().map(Lane::new).collect();
        Self { started: Instant::now(), state: Mutex::new(State { lanes, ..State::default() }) }
    }

    /// A lane's figures; all zero for a lane that was never heard of.
    pub fn lane(&self, name: &str) -> LaneFigures {
        let second = self.second();
        let mut state = self.state();
        let lane = state.lanes.iter_mut().find(|lane| &*lane.name == name);
        lane.map(|lane| lane.figures(second)).unwrap_or_default()
    }

    /// The busiest destinations of those heard of last: first those with most requests under way, then those with most
    /// attempts in the last minute.
    pub fn destinations(&self) -> Destinations {
        let second = self.second();
        // Ranked in one go, and described one by one: the dispatcher waits for no more than one of them at a time.
        let mut ranked: Vec<_> = self.state().destinations.iter_mut().map(|figures| figures.rank(second)).collect();
        ranked.sort();
        let more = ranked.len() > SHOWN_MAX;
        ranked.truncate(SHOWN_MAX);
        let view = |(_, destination): (_, Destination)| {
            self.state().destinations.find_mut(&destination).map(|figures| figures.view(second))
        };
        Destinations { destinations: ranked.into_iter().filter_map(view).collect(), more }
    }

    /// Whether a person paused a lane.
    pub fn is_paused(&self, lane: &str) -> bool {
        self.state().lanes.iter().any(|known| &*known.name == lane && known.paused)
    }

    /// Attempts under way, of all lanes.
    pub fn in_flight(&self) -> u32 {
        self.state().lanes.iter().map(|lane| lane.held().0).sum()
    }

    /// Whether the broker takes no publishes, by its own last word.
    pub fn blocked(&self) -> bool {
        self.state().blocked
    }

    fn second(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Board {
    fn observe(&self, event: &Event) {
        match event {
            Event::Delivered { .. }
            | Event::Held { .. }
            | Event::LaneOpen { .. }
            | Event::LanePaused { .. }
            | Event::DestinationInFlight { .. }
            | Event::BrokerConnected
            | Event::BrokerDisconnected { .. }
            | Event::BrokerBlocked(_) => self.state().note_state(event),
            Event::Settled { .. } | Event::AttemptEnded { .. } => {
                let second = self.second();
                self.state().note_work(event, second, now);
            }
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct State {
    lanes: Vec<Lane>,
    destinations: Tracked,
    blocked: bool,
    /// The last one that something was counted in.
    second: u64,
}

impl State {
    /// Events that count in no second: no clock is read for them.
    fn note_state(&mut self, event: &Event) {
        match event {
            Event::Delivered { lane, .. } => self.lane_mut(lane).delivered += 1,
            Event::Held { lane, in_flight, .. } => self.lane_mut(lane).in_flight = *in_flight,
            Event::LaneOpen { lane, open } => self.lane_mut(lane).open = *open,
            Event::LanePaused { lane, paused } => self.lane_mut(lane).paused = *paused,
            Event::DestinationInFlight { destination, in_flight, limit } => {
                let figures = self.destinations.of_mut(destination, self.second);
                (figures.in_flight, figures.limit) = (*in_flight, *limit);
            }
            Event::BrokerBlocked(blocked) => self.blocked = *blocked,
            Event::BrokerConnected => self.blocked = false,
            Event::BrokerDisconnected { .. } => {
                self.blocked = false;
                self.lanes.iter_mut().for_each(|lane| lane.open = false);
            }
            _ => {}
        }
    }

    /// Events that count in this second since the board's start. `now` is asked only where a failure is noted.
    fn note_work(&mut self, event: &Event, second: u64, now: impl FnOnce() -> Timestamp) {
        self.second = second;
        match event {
            Event::Settled { lane, result, .. } => {
                let lane = self.lane_mut(lane);
                lane.settled[*result as usize] += 1;
                if *result == Settlement::Succeeded {
                    lane.window.at(second).succeeded += 1;
                }
            }
            Event::AttemptEnded { lane, destination, class, status, detail, duration, .. } => {
                let success = *class == SUCCESS;
                let lane = self.lane_mut(lane);
                lane.window.took(second, *duration);
                let counts = lane.window.at(second);
                counts.attempts += 1;
                counts.failed += u32::from(!success);
                let figures = self.destinations.of_mut(destination, second);
                figures.ended(second, class, *duration);
                let counts = figures.window.at(second);
                counts.attempts += 1;
                counts.succeeded += u32::from(success);
                counts.failed += u32::from(!success);
                if !success {
                    figures.failed(*status, detail.as_deref(), class, now());
                }
            }
            _ => {}
        }
    }

    fn lane_mut(&mut self, name: &Arc<str>) -> &mut Lane {
        // The dispatcher's names are shared: comparing their addresses finds nearly all.
        let at = match self.lanes.iter().position(|lane| Arc::ptr_eq(&lane.name, name)) {
            Some(at) => at,
            None => match self.lanes.iter().position(|lane| lane.name == *name) {
                Some(at) => {
                    self.lanes[at].name = name.clone();
                    at
                }
                None => {
                    self.lanes.push(Lane::new(name.clone()));
                    self.lanes.len() - 1
                }
            },
        };
        &mut self.lanes[at]
    }
}

#[derive(Debug)]
struct Lane {
    name: Arc<str>,
    open: bool,
    paused: bool,
    in_flight: u32,
    delivered: u64,
    /// In the order of [`Settlement::ALL`].
    settled: [u64; Settlement::ALL.len()],
    window: Window,
}

impl Lane {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            open: false,
            paused: false,
            in_flight: 0,
            delivered: 0,
            settled: [0; Settlement::ALL.len()],
            window: Window::new(0),
        }
    }

    /// In flight, and buffered. The dispatcher tells of them after what changed them, so that between the two only their
    /// sum is certain.
    fn held(&self) -> (u32, u32) {
        let held = self.delivered.saturating_sub(self.settled.iter().sum());
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let in_flight = self.in_flight.min(held);
        (in_flight, held - in_flight)
    }

    fn figures(&mut self, second: u64) -> LaneFigures {
        let (in_flight, buffered) = self.held();
        LaneFigures {
            open: self.open,
            paused: self.paused,
            in_flight,
            buffered,
            delivered: self.delivered,
            settled: Settlement::ALL.iter().map(|s| (s.label().to_owned(), self.settled[*s as usize])).collect(),
            recent: recent(&mut self.window, second),
        }
    }
}

impl Figures {
    /// Sorts the busiest first.
    fn rank(&mut self, second: u64) -> ((std::cmp::Reverse<u32>, std::cmp::Reverse<u32>), Destination) {
        let attempts = self.window.seconds(second).map(|counts| counts.attempts).sum();
        ((std::cmp::Reverse(self.in_flight), std::cmp::Reverse(attempts)), self.destination.clone())
    }

    fn view(&mut self, second: u64) -> DestinationView {
        let outcomes = Outcome::CLASSES.iter().zip(self.outcomes).filter(|(_, n)| *n > 0);
        DestinationView {
            origin: self.destination.to_string(),
            in_flight: self.in_flight,
            limit: self.limit,
            recent: recent(&mut self.window, second),
            outcomes: outcomes.map(|(class, n)| ((*class).to_owned(), n)).collect(),
            last_failure: self.last_failure_at.map(|_| self.last_failure.clone()),
            last_failure_at: self.last_failure_at.map(|at| at.to_string()),
        }
    }
}

/// Rates over the last 60 whole seconds, or those since the start.
fn recent(window: &mut Window, second: u64) -> Recent {
    let (mut attempts, mut succeeded, mut failed) = (0u64, 0u64, 0u64);
    let mut succeeded_by_s = Vec::with_capacity(SECONDS as usize);
    for counts in window.seconds(second) {
        attempts += u64::from(counts.attempts);
        succeeded += u64::from(counts.succeeded);
        failed += u64::from(counts.failed);
        succeeded_by_s.push(counts.succeeded);
    }
    let per_s = |n: u64| n as f64 / second.clamp(1, SECONDS) as f64;
    let percentiles = window.percentiles(second, [0.5, 0.99]);
    let ms = |at: usize| percentiles.map(|all| all[at].as_micros() as f64 / 1000.0);
    Recent {
        attempts_per_s: per_s(attempts),
        succeeded_per_s: per_s(succeeded),
        failed_per_s: per_s(failed),
        attempt_p50_ms: ms(0),
        attempt_p99_ms: ms(1),
        succeeded_by_s,
    }
}

/// The class of answers that are no failure.
const SUCCESS: &str = "2xx";

#[cfg(test)]
mod tests;
