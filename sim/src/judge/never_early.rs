//! Promise 2. Never early: no attempt starts before the task's `not_before`, nor before the backoff after the attempt before it
//! has passed, nor before the moment until which a hook put it off.
//!
//! All three are moments of a wall clock, and are held against the clock of the dispatcher that sends: the message carries
//! them as timestamps. So clocks that disagree need no slack. What is compared: `not_before` as the producer's clock and
//! the task's delay make it, the backoff as the dispatcher that scheduled it told, to the millisecond, both with no slack.
//! Where a task has several messages that go ways of their own, only `not_before` is held against it.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::history::{Entry, What};
use quebert_dispatcher::event::Event;

pub(super) struct NeverEarly;

impl Promise for NeverEarly {
    fn oracle(&self) -> Oracle {
        Oracle::NeverEarly
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let What::Event(Event::AttemptStarted { number, at, .. }) = &entry.what else { return };
        let Some(task) = scene.task() else { return };
        if let Some(not_before) = task.not_before().filter(|not_before| at < not_before) {
            let early = not_before.since(*at);
            found.broken(Some(task.no()), format_args!("attempt {number} started {early:?} before its not_before"));
        }
        let due =
            scene.subject.hold.as_ref().filter(|_| !scene.subject.unsure && !task.parallel).and_then(|hold| hold.due);
        if let Some(due) = due.filter(|due| at < due) {
            let early = due.since(*at);
            found.broken(
                Some(task.no()),
                format_args!("attempt {number} started {early:?} before the moment it was put off to"),
            );
        }
    }
}
