//! Looks ten times a second of virtual time how far a world is, and ends it when nothing is left to happen. It does nothing to
//! the world but set how long its ways are.

use super::{scene::Scene, spec};
use crate::{
    ledger::Findings,
    simulate::{Ends, Outcome, Timing},
};
use quebert_sim::{
    case::WorldSpec,
    history::History,
    host::Host,
    net::{Controls, Director, Link},
};
use std::{sync::Arc, time::Duration};

const LOOK: Duration = Duration::from_millis(100);

pub(super) struct Conductor {
    scene: Arc<Scene>,
    history: History,
    world: Arc<WorldSpec>,
    timing: Timing,
    backlog_max: u64,
    settled_at: Option<Duration>,
    left: u64,
}

impl Conductor {
    pub(super) fn new(scene: Arc<Scene>, history: History, world: Arc<WorldSpec>, timing: &Timing) -> Self {
        Self { scene, history, world, timing: *timing, backlog_max: 0, settled_at: None, left: 0 }
    }

    fn set_ways(&self, world: &mut dyn Controls) {
        let dispatchers = || (1..=self.world.dispatchers).map(Host::Dispatcher);
        let to_broker = Link { slower_ms: spec::broker_slower_ms(&self.timing), ..Link::default() };
        for client in dispatchers().chain([Host::Producer(1)]) {
            world.link(client, Host::Broker(1), to_broker);
        }
        let to_executor = Link { slower_ms: spec::attempt_slower_ms(&self.timing), ..Link::default() };
        for dispatcher in dispatchers() {
            (1..=self.world.executors).for_each(|n| world.link(dispatcher, Host::Executor(n), to_executor));
        }
    }

    /// What it came to.
    pub(super) fn outcome(self) -> Outcome {
        let book = self.scene.book();
        let found = Findings {
            left_unnamed: Some(self.left),
            left: Some(self.left),
            peaks: book.peaks(),
            accounts: Vec::new(),
        };
        let verdict = book.judge(&found);
        let ends = Ends {
            tasks: book.counts().offered,
            attempts: verdict.attempts,
            succeeded: verdict.succeeded,
            dead: verdict.dead,
            expired: verdict.expired,
            left: verdict.left,
        };
        let figures = book.figures(|figures| {
            figures.seconds();
            figures.clone()
        });
        Outcome {
            figures,
            ends,
            steady: book.steady(),
            backlog_max: self.backlog_max,
            settled_at: self.settled_at,
            verdict: Some(verdict),
        }
    }
}

impl Director for Conductor {
    fn act(&mut self, now: Duration, world: &mut dyn Controls) -> Option<Duration> {
        if now.is_zero() {
            self.set_ways(world);
        }
        let run = self.scene.book().clock().now().run;
        // What happened to each message is not looked at here, and would fill the memory.
        drop(self.history.take());
        self.left = self.history.tally(|tally| tally.live_copies.len() as u64);
        self.backlog_max = self.backlog_max.max(self.left);
        self.scene.book().figures(|figures| figures.second(run).held = Some(self.left));
        if self.scene.is_published() && self.left == 0 {
            self.settled_at = Some(run);
            return None;
        }
        let end = self.scene.config.arrivals.length() + self.scene.config.settle;
        (run < end).then_some(now + LOOK)
    }
}
