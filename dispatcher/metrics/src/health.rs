//! Whether the dispatcher is ready for work: what /readyz says. Liveness is another question, which answering at all
//! answers.

use quebert_dispatcher::{event::Event, ports::observer::Observer};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Ready means: connected, all lanes open but for those that somebody has paused, not draining.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    connected: bool,
    blocked: bool,
    draining: bool,
    lanes: BTreeMap<Arc<str>, bool>,
    paused: BTreeSet<Arc<str>>,
}

impl Health {
    /// Of a dispatcher with these lanes that is not connected yet.
    pub fn new(lanes: impl IntoIterator<Item = Arc<str>>) -> Self {
        let lanes = lanes.into_iter().map(|name| (name, false)).collect();
        Self(Mutex::new(State { connected: false, blocked: false, draining: false, lanes, paused: BTreeSet::new() }))
    }

    /// Whether it is ready.
    pub fn ready(&self) -> bool {
        self.obstacles().is_empty()
    }

    /// It is ending: not ready any more, and nothing new should be accepted.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Whether it is ending.
    pub fn draining(&self) -> bool {
        self.state().draining
    }

    /// Whether there is a session with the broker.
    pub fn connected(&self) -> bool {
        self.state().connected
    }

    /// Whether the broker takes no publishes for now.
    pub fn blocked(&self) -> bool {
        self.state().blocked
    }

    /// What keeps it from being ready, for people; empty when it is.
    pub fn obstacles(&self) -> Vec<String> {
        let state = self.state();
        let mut all = Vec::new();
        if state.draining {
            all.push("draining".to_owned());
        }
        if !state.connected {
            all.push("not connected to the broker".to_owned());
        }
        let closed = state.lanes.iter().filter(|(name, open)| !**open && !state.paused.contains(*name));
        all.extend(closed.map(|(name, _)| format!("lane {name} is not open")));
        all
    }

    #[inline(never)]
    fn note(&self, event: &Event) {
        match event {
            Event::BrokerConnected => self.state().connected = true,
            Event::BrokerDisconnected { .. } => {
                let mut state = self.state();
                state.connected = false;
                state.blocked = false;
                state.lanes.values_mut().for_each(|open| *open = false);
            }
            Event::BrokerBlocked(blocked) => self.state().blocked = *blocked,
            Event::LaneOpen { lane, open } => drop(self.state().lanes.insert(lane.clone(), *open)),
            Event::LanePaused { lane, paused: true } => drop(self.state().paused.insert(lane.clone())),
            Event::LanePaused { lane, paused: false } => drop(self.state().paused.remove(lane)),
            Event::Draining => self.drain(),
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Health {
    fn observe(&self, event: &Event) {
        if !event.is_routine() {
            self.note(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_lane_that_is_closed_is_no_obstacle() {
        let lane: Arc<str> = "low".into();
        let health = Health::new([lane.clone()]);
        health.observe(&Event::BrokerConnected);
        assert!(!health.ready());
        health.observe(&Event::LanePaused { lane: lane.clone(), paused: true });
        assert!(health.ready(), "{:?}", health.obstacles());
        health.observe(&Event::LanePaused { lane: lane.clone(), paused: false });
        assert!(!health.ready(), "it is to be opened now");
        health.observe(&Event::LaneOpen { lane, open: true });
        assert!(health.ready());
    }
}
