//! Promise 3. Never late: no attempt starts at or after `expires_at`, one that is under way then is cut off, no retry is scheduled
//! for a moment when the task will have expired, and no task expires before its time.
//!
//! * A start is held against the sending dispatcher's own clock, without slack. The moment is the envelope's, made by the
//!   producer's clock, or the enqueue time and the lane's time to live.
//! * An attempt may take until `expires_at`, as it seemed when it started, on a monotonic clock. The slack is 1 ms for
//!   rounding, and [`TURN`] for the turns that a dispatcher takes before it hears of its own timer. An attempt during which
//!   its host was frozen is not judged: frozen hosts have no timers.
//! * A task may expire when its dispatcher's clock has shown `expires_at` at any time, since a clock may go back after that
//!   was seen; and before that only because its next attempt would come too late.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::history::{Entry, What};
use quebert_dispatcher::event::{Event, ExpiryStage};
use std::time::Duration;

/// Between a request's time limit and the moment when its end is told: turns of the scheduler, drawn by the weather, of
/// at most a few milliseconds each.
const TURN: Duration = Duration::from_millis(20);

pub(super) struct NeverLate;

impl Promise for NeverLate {
    fn oracle(&self) -> Oracle {
        Oracle::NeverLate
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let What::Event(event) = &entry.what else { return };
        let Some(task) = scene.task() else { return };
        let (no, expires_at) = (Some(task.no()), task.expires_at());
        match event {
            Event::AttemptStarted { number, at, .. } => {
                if let Some(expires_at) = expires_at.filter(|expires_at| at >= expires_at) {
                    let late = at.since(expires_at);
                    found.broken(no, format_args!("attempt {number} started {late:?} after it expired"));
                }
            }
            Event::AttemptEnded { number, duration, .. } => {
                let since = scene.now.saturating_sub(*duration);
                let limit = Duration::from_millis(task.lane.attempt_timeout_ms);
                // As the clock showed it then, if nothing moved it since.
                let left = expires_at.filter(|_| scene.clock_is_true(entry.host));
                let left = left.map(|at| at.since(scene.wall_at(entry.host, since)));
                let limit = left.map_or(limit, |left| left.min(limit));
                if *duration > limit + TURN && !scene.was_frozen(entry.host, since) {
                    found.broken(
                        no,
                        format_args!("attempt {number} went on for {duration:?}, though it had {limit:?} at most"),
                    );
                }
            }
            Event::RetryScheduled { delay, .. } => {
                let due = scene.wall(entry.host).saturating_add(*delay);
                if let Some(expires_at) = expires_at.filter(|expires_at| due >= *expires_at) {
                    let late = due.since(expires_at);
                    found.broken(no, format_args!("tried again {late:?} after it will have expired"));
                }
            }
            Event::Expired { stage, .. } => {
                let seen = scene.processes.get(&entry.host).map(|process| process.wall_max);
                let over = expires_at.zip(seen).is_some_and(|(at, seen)| seen >= at);
                let ahead = *stage == ExpiryStage::BeforeRetry && expires_at.is_some();
                if !over && !ahead {
                    let left = expires_at.map(|at| at.since(scene.wall(entry.host)));
                    found.broken(no, format_args!("expired {}, with {left:?} to go", stage.label()));
                }
            }
            _ => {}
        }
    }
}
