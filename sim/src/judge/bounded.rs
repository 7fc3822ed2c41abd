//! Promise 6. Bounded: attempts, deliveries under way and bodies have limits, and attempts are counted.
//!
//! * The number of an attempt is one more than what the message's header and this process's own attempts since then make
//!   it; it never falls from a message to the next one of it, and never goes beyond what task and lane allow.
//! * A source is opened with its window, and never has more deliveries unsettled than that: exact, by the broker's count.
//! * A body arrives as its producer gave it.
//!
//! Where a task has several messages that go ways of their own, only the limit is held against its numbers.

use super::{
    Found, Oracle, Promise,
    scene::{Hold, Process, Scene, Task},
};
use crate::{
    history::{Entry, What},
    host::Host,
    run::config::DELAY_WINDOW,
};
use quebert_dispatcher::{
    event::Event,
    ports::broker::{Opening, Source},
};

pub(super) struct Bounded;

impl Promise for Bounded {
    fn oracle(&self) -> Oracle {
        Oracle::Bounded
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Event(Event::AttemptStarted { number, .. }) => {
                let Some(task) = scene.task() else { return };
                attempts_are_bounded(task, *number, found);
                if let Some(process) = scene.processes.get(&entry.host).filter(|_| !task.parallel) {
                    attempts_are_counted(process, task, *number, found);
                }
            }
            What::Stored { attempts, by: Host::Dispatcher(_), .. } => attempts_never_fall(scene, *attempts, found),
            What::Delivered { tag, to, .. } => window_holds(scene, *to, tag.opening, found),
            What::Opened { by, source, window, .. } => window_is_right(scene, *by, source, *window, found),
            What::Request { task, intact: false, .. } => {
                found.broken(Some(*task), "its body is not what the producer gave");
            }
            _ => {}
        }
    }
}

fn attempts_are_bounded(task: &Task<'_>, number: u32, found: &mut Found) {
    if let Some(most) = task.attempts_max().filter(|most| number > *most) {
        found.broken(Some(task.no()), format_args!("attempt {number}, of {most} at most"));
    }
}

fn attempts_are_counted(process: &Process, task: &Task<'_>, number: u32, found: &mut Found) {
    let made = |hold: &Hold| if hold.running == Some(number) { number - 1 } else { hold.attempts };
    let fits = process.holds_of(task.no()).any(|hold| made(hold).saturating_add(1) == number);
    let right = |hold: &Hold| hold.running == Some(number) && hold.attempts.saturating_add(1) == number;
    if !fits || (process.holds_of(task.no()).count() == 1 && !process.holds_of(task.no()).any(right)) {
        let made: Vec<u32> = process.holds_of(task.no()).map(|hold| hold.attempts).collect();
        found.broken(Some(task.no()), format_args!("attempt {number}, after {made:?} were made"));
    }
}

fn attempts_never_fall(scene: &Scene<'_>, attempts: u32, found: &mut Found) {
    let Some(copy) = scene.subject.copy.and_then(|copy| scene.copies.get(&copy)) else { return };
    let Some(task) = scene.task().filter(|task| task.spec.poison.is_none() && !task.parallel) else { return };
    let Some(parent) = copy.parent.and_then(|parent| scene.copies.get(&parent)) else { return };
    let held = scene.processes.get(&copy.by).and_then(|process| process.holds.get(&copy.parent?));
    let made = held.map_or(0, |hold| hold.attempts).max(parent.attempts);
    if attempts != made {
        let (one, other) = (copy.parent.map_or(0, |parent| parent.0), scene.subject.copy.map_or(0, |copy| copy.0));
        found.broken(
            Some(task.no()),
            format_args!("message {other} counts {attempts} attempts, and {made} were made for message {one} before"),
        );
    }
}

fn window_holds(scene: &Scene<'_>, to: Host, opening: Opening, found: &mut Found) {
    let Some(opened) = scene.openings.get(&(to, opening)) else { return };
    let window = right_window(scene, &opened.source);
    if let Some(window) = window.filter(|window| opened.unsettled > u32::from(*window)) {
        let unsettled = opened.unsettled;
        found.broken(
            scene.subject.task,
            format_args!("{to} has {unsettled} deliveries of {:?} unsettled, of {window} at most", opened.source),
        );
    }
}

fn window_is_right(scene: &Scene<'_>, by: Host, source: &Source, window: u16, found: &mut Found) {
    if let Some(right) = right_window(scene, source).filter(|right| *right != window) {
        found.broken(None, format_args!("{by} opened {source:?} with a window of {window}, not {right}"));
    }
}

fn right_window(scene: &Scene<'_>, source: &Source) -> Option<u16> {
    match source {
        Source::Queue(queue) => Some(scene.case.world.dispatcher.lanes[scene.lane(queue)?].window),
        Source::Delay(_) => Some(DELAY_WINDOW),
    }
}
