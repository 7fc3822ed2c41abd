//! Promise 4. Priority: whenever a slot becomes free, the task sent next is one of the highest priority among those that the
//! dispatcher holds and may send now. No lane starves beyond its configured share, and no slot stays empty while a task
//! that may take it waits.
//!
//! * With strict priority, a shared slot goes to a lane only if no task of a higher one certainly waits; or if fewer shared
//!   slots than `pass_over_max` have gone to others since its own last one, so that it can't have come to its bound.
//! * A lane in which a task certainly waits is passed over at most `pass_over_max` times in a row (by weight: as often as
//!   its share of the weights says), plus once for each lane, as several may come to their bounds together.
//! * When a dispatcher has done what it could (its gauges are told then), no free slot is left that a task certainly waits
//!   for.
//! * A lane has at most `slots_max` attempts under way, and beyond those of its own only shared ones.
//!
//! "Certainly waits" is meant strictly: first attempts only, well after their moment and before their expiry, for a
//! destination where nothing of that lane is under way. Which slots are taken can be seen only without a mediator, whose
//! hooks have slots before an attempt starts; with one, only the limits of
//! single lanes are judged.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::{
    case::Case,
    history::{Entry, What},
    host::Host,
};
use quebert_dispatcher::event::Event;
use std::collections::BTreeMap;

use super::scene::{Process, Slot};

pub(super) struct Priority {
    /// Most shared slots that may go to others in a row, by lane; `None` is without bound.
    bounds: Vec<Option<u32>>,
    /// By host: its process, and by lane the shared slots that went to others since its own last one, and those while a
    /// task certainly waited.
    passed: BTreeMap<Host, (u32, Vec<(u32, u32)>)>,
}

impl Priority {
    pub(super) fn new(case: &Case) -> Self {
        let spec = &case.world.dispatcher;
        let lanes = u32::try_from(spec.lanes.len()).unwrap_or(u32::MAX);
        let weights: u32 = spec.lanes.iter().map(|lane| lane.weight).sum();
        let bound = |weight: u32| {
            if spec.weighted {
                Some(weights.div_ceil(weight.max(1)) + lanes)
            } else {
                spec.pass_over_max.map(|most| most.saturating_add(lanes))
            }
        };
        Self { bounds: spec.lanes.iter().map(|lane| bound(lane.weight)).collect(), passed: BTreeMap::new() }
    }
}

impl Promise for Priority {
    fn oracle(&self) -> Oracle {
        Oracle::Priority
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let What::Event(event) = &entry.what else { return };
        let Some(process) = scene.processes.get(&entry.host) else { return };
        match event {
            Event::AttemptStarted { lane, .. } => {
                let Some(lane) = scene.lane(lane) else { return };
                // An attempt may have got its slot before its hook was asked, under other limits.
                if !(process.reconfigured && scene.case.world.dispatcher.mediator) {
                    slots_are_kept(scene, process, lane, found);
                }
                let told = !scene.case.world.dispatcher.mediator && !process.slots_unsure;
                if scene.subject.slot == Some(Slot::Shared) && told {
                    self.shared_slot_went(scene, entry.host, process.number, lane, found);
                }
            }
            Event::Held { .. } if !scene.case.world.dispatcher.mediator && !process.slots_unsure => {
                no_slot_is_left(scene, entry.host, process, found);
            }
            _ => {}
        }
    }
}

fn slots_are_kept(scene: &Scene<'_>, process: &Process, lane: usize, found: &mut Found) {
    let (state, shared) = (&process.lanes[lane], scene.case.world.dispatcher.slots_shared);
    let (used, most) = (state.used(), state.slots_max.max(1));
    let name = &scene.case.world.dispatcher.lanes[lane].name;
    if used > most {
        found.broken(
            scene.subject.task,
            format_args!("{used} attempts of lane {name} are under way, of {most} at most"),
        );
    }
    let own = state.slots_own;
    if used > own.saturating_add(shared) {
        found.broken(
            scene.subject.task,
            format_args!(
                "{used} attempts of lane {name} are under way, with {own} slots of its own and {shared} shared"
            ),
        );
    }
    let all = process.shared_used();
    let told = !scene.case.world.dispatcher.mediator && !process.slots_unsure;
    if all > shared && told {
        found.broken(scene.subject.task, format_args!("{all} shared slots are in use, of {shared}"));
    }
}

impl Priority {
    fn shared_slot_went(&mut self, scene: &Scene<'_>, host: Host, number: u32, to: usize, found: &mut Found) {
        let spec = &scene.case.world.dispatcher;
        let process = &scene.processes[&host];
        let none = || (number, vec![(0, 0); spec.lanes.len()]);
        let (of, passed) = self.passed.entry(host).or_insert_with(none);
        if *of != number {
            (*of, *passed) = none();
        }
        let starved = spec.pass_over_max.is_some_and(|most| passed[to].0 >= most);
        for (lane, passed) in passed.iter_mut().enumerate().filter(|(lane, _)| *lane != to) {
            let room = process.lanes[lane].used() < process.lanes[lane].slots_max;
            let waits = scene.waits_for_slot(host, lane).filter(|_| room);
            passed.0 = passed.0.saturating_add(1);
            passed.1 = if waits.is_some() { passed.1.saturating_add(1) } else { 0 };
            let (name, other) = (&spec.lanes[to].name, &spec.lanes[lane].name);
            if let Some(most) = self.bounds[lane].filter(|most| passed.1 > *most) {
                let times = passed.1;
                found.broken(
                    scene.subject.task,
                    format_args!("lane {other} was passed over {times} times in a row at {host}, of {most} at most"),
                );
            }
            let higher = spec.lanes[lane].priority > spec.lanes[to].priority;
            if let Some(copy) = waits.filter(|_| higher && !spec.weighted && !starved) {
                let (copy, since) = (copy.0, process.holds[&copy].received_at.unwrap_or_default());
                found.broken(
                    scene.subject.task,
                    format_args!(
                        "{host} gave it a slot of lane {name}; message {copy} of lane {other} waited since {since:?}"
                    ),
                );
            }
        }
        passed[to] = (0, 0);
    }
}

fn no_slot_is_left(scene: &Scene<'_>, host: Host, process: &Process, found: &mut Found) {
    let shared_left = process.shared_used() < scene.case.world.dispatcher.slots_shared;
    for (at, lane) in process.lanes.iter().enumerate() {
        let left = lane.used() < lane.slots_max && (lane.own_used < lane.slots_own || shared_left);
        if let Some(copy) = scene.waits_for_slot(host, at).filter(|_| left) {
            let hold = &process.holds[&copy];
            let (copy, since) = (copy.0, hold.received_at.unwrap_or_default());
            let (used, most) = (lane.used(), lane.slots_max);
            let name = &scene.case.world.dispatcher.lanes[at].name;
            found.broken(
                hold.task,
                format_args!(
                    "message {copy} waits at {host} since {since:?}, though {used} slots of {most} of lane {name} are taken"
                ),
            );
        }
    }
}
