//! Promise 1. At least once: from the moment the broker has confirmed a task, it is somewhere at the broker or it has ended:
//! an executor answered 2xx, it is a dead letter, it expired where expired tasks are not kept, or a hook dropped it.
//!
//! Held against every event, not against the end only:
//!
//! * a message that goes (acked, or lost in a crash) is never the last one of a confirmed task that has not ended;
//! * an ack comes only when its dispatcher knows the message's end: a 2xx of an attempt of its own, an expiry or a hook's
//!   drop that need no dead letter, or the broker's confirmation of a message that takes its place. Where a repetition of
//!   a message that was published twice is recognised, or where a task has messages that go ways of their own, what the
//!   dispatcher knows of another one counts. A broker that moves in one
//!   transaction may tell of the ack before the confirm, in the same moment.
//!
//! No slack: both are about the broker's own order of things, in which acks come after what they rest on.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::{
    history::{CopyNo, Entry, TaskNo, What},
    host::Host,
    net::Ran,
};

pub(super) struct AtLeastOnce;

impl Promise for AtLeastOnce {
    fn oracle(&self) -> Oracle {
        Oracle::AtLeastOnce
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Acked { copy, by } => {
                must_know(scene, *copy, *by, found);
                must_be_somewhere(scene, scene.subject.task, found);
            }
            What::Unstored { .. } | What::BuriedByBroker { .. } | What::Confirmed { .. } => {
                must_be_somewhere(scene, scene.subject.task, found);
            }
            _ => {}
        }
    }

    fn end(&mut self, scene: &Scene<'_>, _ran: &Ran, found: &mut Found) {
        for task in scene.tasks.keys() {
            must_be_somewhere(scene, Some(*task), found);
        }
    }
}

fn must_be_somewhere(scene: &Scene<'_>, task: Option<TaskNo>, found: &mut Found) {
    let Some(task) = task.and_then(|task| scene.tasks.get(&task)) else { return };
    if let Some(since) = task.confirmed_at
        && task.live == 0
        && !task.has_ended()
    {
        let copies = task.copies.len();
        found.broken(
            Some(task.no()),
            format_args!("lost: confirmed at {since:?}, and neither at the broker nor ended; it had {copies} messages"),
        );
    }
}

fn must_know(scene: &Scene<'_>, copy: CopyNo, by: Host, found: &mut Found) {
    if !matches!(by, Host::Dispatcher(_)) {
        return;
    }
    let Some(kept) = scene.copies.get(&copy) else { return };
    let Some(task) = kept.task else { return };
    if kept.is_done_by(by) {
        return;
    }
    let replaced_now = scene.case.world.broker.relocates
        && scene.tasks.get(&task).is_some_and(|task| {
            let mut later = task.copies.iter().filter_map(|copy| scene.copies.get(copy));
            later.any(|later| later.by == by && later.stored_at == scene.now)
        });
    // Which of its messages an event was about is open.
    let parallel = scene.tasks.get(&task).is_some_and(|task| task.parallel);
    let repeated = scene.subject.hold.as_ref().is_some_and(|hold| hold.redelivered);
    if replaced_now || ((repeated || parallel) && scene.knows_another(by, task, copy)) {
        return;
    }
    let copy = copy.0;
    found.broken(
        Some(task),
        format_args!("message {copy} was acked by {by}, which knew of no end of it and had no next one confirmed"),
    );
}
