//! Promise 10. Poison is kept: what can't be read, or is not allowed, is never sent and never given back to be tried again; it ends
//! as a dead letter, of its own kind.
//!
//! A dispatcher gives one back only when it drains, when its lane is paused, or when the lane is to go on and is not open
//! yet. That it is there in the end is held against the dead letters of all confirmed ones, if everything has settled.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::{
    history::{Entry, What},
    net::Ran,
};
use quebert_dispatcher::event::{Event, Settlement};

pub(super) struct PoisonIsKept;

impl Promise for PoisonIsKept {
    fn oracle(&self) -> Oracle {
        Oracle::PoisonIsKept
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Request { task, .. } if is_poison(scene, *task) => {
                found.broken(Some(*task), "it was sent, though it is no task");
            }
            What::Event(Event::Settled { lane, result: Settlement::Requeued, task: None, .. }) => {
                let Some(process) = scene.processes.get(&entry.host) else { return };
                let Some(of_lane) = scene.lane(lane).map(|lane| &process.lanes[lane]) else { return };
                if of_lane.open && !of_lane.paused && !of_lane.resuming && process.drain.is_none() {
                    found.broken(scene.subject.task, format_args!("given back to {lane}, to come again and again"));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, scene: &Scene<'_>, _ran: &Ran, found: &mut Found) {
        for task in scene.tasks.values() {
            if task.spec.poison.is_some() && task.confirmed_at.is_some() && task.live == 0 && task.dead == 0 {
                found.broken(Some(task.no()), "it is not among the dead letters");
            }
        }
    }
}

fn is_poison(scene: &Scene<'_>, task: crate::history::TaskNo) -> bool {
    scene.tasks.get(&task).is_some_and(|task| task.spec.poison.is_some())
}
