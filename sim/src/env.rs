//! What a program on a host has of its world, and the hosts with their programs. It names no world.

use crate::{
    clock::{Clocks, SimClock},
    draw::Draw,
    history::{History, What},
    host::Host,
    net::{Net, Program},
};
use quebert_dispatcher::ports::BoxFuture;
use std::{future::Future, sync::Arc, time::Duration};

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

/// The hosts of a world in the making.
pub struct Cast {
    hosts: Vec<(Host, Program)>,
    draw: Draw,
    history: History,
    clocks: Clocks,
}

impl Cast {
    /// None yet. Each host's randomness comes from `draw` and its name; all write into one book.
    pub const fn new(draw: Draw, history: History, clocks: Clocks) -> Self {
        Self { hosts: Vec::new(), draw, history, clocks }
    }

    /// Adds a host. Its program begins anew whenever the host is started.
    pub fn add<F>(&mut self, host: Host, program: impl Fn(Env) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (draw, history, clocks) = (self.draw.of(&host.to_string()), self.history.clone(), self.clocks.clone());
        let start = move |net: Net| -> BoxFuture<'static, ()> {
            let env = Env { net, clocks: clocks.clone(), draw, history: history.clone() };
            Box::pin(program(env))
        };
        self.hosts.push((host, Arc::new(start)));
    }

    /// The hosts, for a stage.
    pub fn into_hosts(self) -> Vec<(Host, Program)> {
        self.hosts
    }
}
