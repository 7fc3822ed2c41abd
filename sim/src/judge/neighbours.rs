//! Promise 7. No bad neighbour: a slow or dead destination takes no more than its share of slots.
//!
//! * Never more than `destination_slots` requests of one dispatcher are under way to one executor.
//! * While a lane is certainly used by others as well, an executor has at most its share of the lane's slots
//!   (`window_share`), and at most one more than it has given answers since its last request that ran into its time limit:
//!   trust is earned.
//!
//! A lane is certainly mixed for 60 s after tasks for two executors came one after the other, and it is held against an
//! executor only after a task of it came in that time. Only tasks that are due on arrival count for that: others come to
//! wait at a moment that is not told. With a mediator only the first is judged: an attempt has its slot before its hook is
//! asked, and that moment is not told.

use super::{
    Found, Oracle, Promise,
    scene::{Process, Scene},
};
use crate::{
    history::{Entry, What},
    host::Host,
};
use quebert_dispatcher::event::Event;
use std::{collections::BTreeMap, time::Duration};

/// How long a lane counts as mixed.
const MIXED_FOR: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct NoBadNeighbour {
    hosts: BTreeMap<Host, Seen>,
}

/// What was seen of one process.
#[derive(Default)]
struct Seen {
    process: u32,
    lanes: BTreeMap<usize, Mixed>,
    /// Answers that an executor has given since it was silent.
    trust: BTreeMap<u8, u32>,
}

#[derive(Default)]
struct Mixed {
    last: Option<(u8, Duration)>,
    since: Duration,
    until: Duration,
    came: BTreeMap<u8, Duration>,
}

impl Promise for NoBadNeighbour {
    fn oracle(&self) -> Oracle {
        Oracle::NoBadNeighbour
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let What::Event(event) = &entry.what else { return };
        let Some(process) = scene.processes.get(&entry.host) else { return };
        let seen = self.hosts.entry(entry.host).or_default();
        if seen.process != process.number {
            *seen = Seen { process: process.number, ..Seen::default() };
        }
        match event {
            Event::Delivered { lane, .. } => {
                if let (Some(lane), Some(executor)) = (scene.lane(lane), waits_at_once(scene, entry.host)) {
                    seen.lanes.entry(lane).or_default().came(executor, scene.now);
                }
            }
            Event::AttemptStarted { lane, .. } => {
                if let (Some(lane), Some(task)) = (scene.lane(lane), scene.task()) {
                    seen.started(scene, process, lane, task.spec.executor, found);
                }
            }
            Event::AttemptEnded { class, .. } => {
                let Some(task) = scene.task() else { return };
                let trust = seen.trust.entry(task.spec.executor).or_default();
                *trust = if *class == "timeout" { 0 } else { trust.saturating_add(1) };
            }
            _ => {}
        }
    }
}

/// The executor of a task that was just taken in and waits for its slot from now on.
fn waits_at_once(scene: &Scene<'_>, host: Host) -> Option<u8> {
    let (hold, task) = (scene.subject.hold.as_ref()?, scene.task()?);
    let wall = scene.wall(host);
    let due = task.not_before().max(hold.due);
    let waits = !task.parallel
        && !hold.redelivered
        && hold.running.is_none()
        && !hold.unsaved
        && task.spec.poison.is_none()
        && due.is_none_or(|due| due <= wall)
        && task.expires_at().is_none_or(|at| at > wall)
        && task.attempts_max().is_none_or(|most| hold.attempts < most);
    waits.then_some(task.spec.executor)
}

impl Mixed {
    fn came(&mut self, executor: u8, now: Duration) {
        if let Some((before, at)) = self.last.replace((executor, now)).filter(|(before, _)| *before != executor) {
            if self.until < now {
                self.since = at;
            }
            // Others may have come in between, unseen: then it was mixed from there on.
            self.until = self.until.max(at + MIXED_FOR);
            self.came.insert(before, at);
        }
        self.came.insert(executor, now);
    }

    fn holds_against(&self, executor: u8, now: Duration) -> bool {
        now < self.until && self.came.get(&executor).is_some_and(|came| *came >= self.since)
    }
}

impl Seen {
    fn started(&self, scene: &Scene<'_>, process: &Process, lane: usize, executor: u8, found: &mut Found) {
        let (spec, task) = (&scene.case.world.dispatcher, scene.subject.task);
        let busy = process.busy.get(&executor).copied().unwrap_or(0);
        if busy > spec.destination_slots {
            let most = spec.destination_slots;
            found.broken(task, format_args!("{busy} requests are under way to executor-{executor}, of {most} at most"));
        }
        // A slot may have been got before the lane was mixed, and its hook has taken a while.
        let hooks = spec.mediator;
        if hooks || !self.lanes.get(&lane).is_some_and(|mixed| mixed.holds_against(executor, scene.now)) {
            return;
        }
        let state = &process.lanes[lane];
        let slots = state.slots_max.max(1).min(state.slots_own.saturating_add(spec.slots_shared));
        let share = (u64::from(slots) * u64::from(spec.window_share)).div_ceil(100).max(1);
        let trust = u64::from(self.trust.get(&executor).copied().unwrap_or(0)) + 1;
        let taken = u64::from(process.busy_of.get(&(lane, executor)).copied().unwrap_or(0));
        if taken > share.min(trust) {
            let name = &spec.lanes[lane].name;
            found.broken(
                task,
                format_args!(
                    "executor-{executor} has {taken} of {slots} slots of lane {name}, which others use, too; its share is \
                     {share}, and it has answered {} times",
                    trust - 1
                ),
            );
        }
    }
}
