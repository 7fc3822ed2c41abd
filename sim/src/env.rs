//! What a program on a host has of its world. It names no world.

use crate::{
    clock::{Clocks, SimClock},
    draw::Draw,
    history::{History, What},
    host::Host,
    net::Net,
};
use std::time::Duration;

/// A host's view of its world: network, clock, randomness, and the book that everything is written into.
#[derive(Clone)]
pub struct Env {
    /// The network.
    pub net: Net,
    /// The faults of clocks.
    pub clocks: Clocks,
    /// Randomness, keyed by this host.
    pub draw: Draw,
    /// The book.
    pub history: History,
}

impl Env {
    /// Which host this is.
    pub fn host(&self) -> Host {
        self.net.host()
    }

    /// True time.
    pub fn now(&self) -> Duration {
        self.net.now()
    }

    /// This host's clock.
    pub fn clock(&self) -> SimClock {
        SimClock::new(self.net.clone(), self.clocks.clone())
    }

    /// Writes down what happened here, now.
    pub fn note(&self, what: What) {
        self.history.note(self.net.now(), self.net.host(), what);
    }
}
