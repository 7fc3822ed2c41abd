//! Promise 12. Liveness: when faults stop, everything settles within a bounded time, without a restart.
//!
//! * By `settle_ms` after the case has healed every task is confirmed, and no message of it is in a work queue or in a delay
//!   queue any more. The bound is the case's own; [`Case::settle_bound_ms`](crate::case::Case::settle_bound_ms) says how it
//!   is made up.
//! * A dispatcher that is connected, and between which and the broker nothing has been wrong for a while, has each of its
//!   lanes open, but those that are paused, or whose last deliveries it still waits for: within [`REOPENED`].

use super::{
    Found, Oracle, Promise,
    scene::{Place, Scene, Task},
};
use crate::{
    history::{Entry, What},
    host::Host,
    net::Ran,
};
use quebert_dispatcher::{event::Event, ports::broker::Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a connected dispatcher may take to open a lane: some round trips, and a lost segment.
const REOPENED: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Liveness {
    /// Since when each dispatcher is connected.
    connected: BTreeMap<Host, Duration>,
    /// Since when a lane is to be open and is not.
    shut: BTreeMap<(Host, usize), Duration>,
    failed: BTreeSet<(Host, usize)>,
}

impl Promise for Liveness {
    fn oracle(&self) -> Oracle {
        Oracle::Liveness
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let host = entry.host;
        if !matches!(host, Host::Dispatcher(_)) {
            return;
        }
        match &entry.what {
            What::Started | What::Down | What::Ended(_) | What::Event(Event::BrokerDisconnected { .. }) => {
                self.connected.remove(&host);
            }
            What::Event(Event::BrokerConnected) => drop(self.connected.insert(host, entry.at)),
            What::Event(Event::SourceFailed { source: Source::Queue(queue), .. }) => {
                self.failed.extend(scene.lane(queue).map(|lane| (host, lane)));
            }
            // Others change nothing of it; the gauges are told often enough to look.
            What::Event(Event::Held { .. } | Event::LaneOpen { .. } | Event::LanePaused { .. } | Event::Draining) => {}
            _ => return,
        }
        self.lanes_are_open(scene, host, found);
    }

    fn end(&mut self, scene: &Scene<'_>, ran: &Ran, found: &mut Found) {
        for host in scene.processes.keys() {
            self.lanes_are_open(scene, *host, found);
        }
        let limit = scene.case.heal_at_ms.saturating_add(scene.case.settle_ms);
        if ran.end < Duration::from_millis(limit) {
            return;
        }
        for task in scene.tasks.values().filter(|task| task.confirmed_at.is_none() || task.live > 0) {
            let (settle_ms, why) = (scene.case.settle_ms, unsettled(scene, task));
            found.broken(Some(task.no()), format_args!("not settled {settle_ms} ms after all faults ended: {why}"));
        }
    }
}

impl Liveness {
    fn lanes_are_open(&mut self, scene: &Scene<'_>, host: Host, found: &mut Found) {
        let (Some(process), Some(connected)) = (scene.processes.get(&host), self.connected.get(&host).copied()) else {
            self.shut.retain(|(of, _), _| *of != host);
            return;
        };
        for (at, lane) in process.lanes.iter().enumerate() {
            let key = (host, at);
            let settling = lane.resuming && lane.gauges != (0, 0);
            let wanted = !lane.paused && !settling && !process.draining;
            let shut = wanted && (!lane.open || lane.resuming);
            if !shut || self.failed.contains(&key) {
                if lane.open {
                    self.failed.remove(&key);
                }
                self.shut.remove(&key);
                continue;
            }
            let since = *self.shut.entry(key).or_insert_with(|| scene.now.max(connected));
            let over = scene.now.saturating_sub(since);
            if over > REOPENED && scene.is_undisturbed(host, since) {
                let name = &scene.case.world.dispatcher.lanes[at].name;
                found.broken(
                    None,
                    format_args!("lane {name} of {host} is not open since {over:?}, though nothing is wrong"),
                );
                self.shut.insert(key, scene.now);
            }
        }
    }
}

/// Where an unsettled task is.
fn unsettled(scene: &Scene<'_>, task: &Task<'_>) -> String {
    if task.confirmed_at.is_none() {
        return "its producer has no confirmation".to_owned();
    }
    let there = task.copies.iter().filter_map(|copy| Some((copy, scene.copies.get(copy)?)));
    let there = there.filter(|(_, copy)| copy.is_there() && copy.is_live()).map(|(number, copy)| {
        let place = match copy.place {
            Place::Unsettled(host, tag) => format!("with {host} as {}/{}", tag.opening.0, tag.seq),
            Place::Ready | Place::Gone => "ready".to_owned(),
        };
        format!("message {} in {:?}, {place}", number.0, copy.target)
    });
    there.collect::<Vec<_>>().join("; ")
}
