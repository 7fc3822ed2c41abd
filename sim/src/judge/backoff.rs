//! Promise 5. Backoff: the delay before attempt n+1 lies within the policy's bounds for n attempts, jitter included; an executor
//! that asks for a delay gets it, up to the policy's cap.
//!
//! Held against each scheduled retry, to the millisecond:
//!
//! * after `Quebert-Retry: after=` exactly that, held at `retry_after_max`;
//! * after `Retry-After` not less than that, held at `retry_after_max`, and not more than a quarter on top, or the policy's
//!   own longest delay if that is more. A date is taken as the dispatcher's clock sees it; 1 ms of slack, as it is rounded;
//! * after anything else within the policy's bounds;
//! * being put off for overload takes a step of the grid between the shortest and the longest time for that; by a hook what
//!   that says, or, if it failed, a backoff of the policy, since being put off in a row counts like attempts: from the
//!   bounds after the attempts made up to the longest.
//!
//! What the executor asked for is known only if just one request of that attempt was seen, and its answer came through.

use super::{
    Found, Oracle, Promise,
    scene::{Asked, Scene, Task},
};
use crate::{
    case::work::{HookSpec, Reply},
    history::{Entry, What},
    host::Host,
    run::config::{PUT_OFF_MAX, PUT_OFF_MIN, retry_policy},
};
use quebert_dispatcher::{event::Event, grid::Step, verdict::RetryReason};
use std::time::Duration;

/// A hook can't put a task off for less.
const HOOK_MIN: Duration = Duration::from_millis(100);
const MS: Duration = Duration::from_millis(1);

pub(super) struct Backoff;

impl Promise for Backoff {
    fn oracle(&self) -> Oracle {
        Oracle::Backoff
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        let What::Event(Event::RetryScheduled { reason, attempts, delay, .. }) = &entry.what else { return };
        let Some(task) = scene.task() else { return };
        let Some((lo, hi, why)) = bounds(scene, entry.host, task, *reason, *attempts) else { return };
        if *delay < lo || *delay > hi {
            found.broken(
                Some(task.no()),
                format_args!(
                    "after {attempts} attempts ({}) it waits {delay:?}; {why}: {lo:?} to {hi:?}",
                    reason.label()
                ),
            );
        }
    }
}

/// What the delay must lie within, and why; `None` if it can't be told.
fn bounds(
    scene: &Scene<'_>,
    host: Host,
    task: &Task<'_>,
    reason: RetryReason,
    attempts: u32,
) -> Option<(Duration, Duration, &'static str)> {
    let policy = retry_policy(task.lane);
    let (lo, hi) = policy.bounds(attempts.max(1));
    match reason {
        RetryReason::Overload => {
            let least = Step::floor(PUT_OFF_MIN).unwrap_or(Step::FIRST).length();
            return Some((least, PUT_OFF_MAX, "put off for overload"));
        }
        RetryReason::Hook => {
            return Some(match task.spec.hook {
                Some(HookSpec::PutOff { ms }) => {
                    let wish = Duration::from_millis(ms).max(HOOK_MIN);
                    (wish, wish, "the hook said so")
                }
                _ => (lo, policy.backoff_max.max(HOOK_MIN), "the hook failed"),
            });
        }
        _ => {}
    }
    let mut asked = scene.asked.get(&(task.no(), attempts)).into_iter().flatten();
    let (Some(only), None) = (asked.next(), asked.next()) else {
        // It never arrived, or it is open which answer came: an executor may have asked for anything up to the cap.
        let most = hi.max(policy.retry_after_max + policy.retry_after_max / 4);
        return (scene.asked.contains_key(&(task.no(), attempts))).then_some((Duration::ZERO, most, "at most"));
    };
    let asked = scene.requests.get(only)?;
    let answered = asked.replied.is_some_and(|replied| replied.status.is_some());
    let cap = policy.retry_after_max;
    Some(match asked.exec.reply {
        _ if !answered || !came_through(reason) => (lo, hi, "by policy"),
        Reply::After { seconds } => {
            let wish = Duration::from_secs(seconds.into()).min(cap);
            (wish, wish, "the executor said so")
        }
        Reply::RetryAfter { seconds, date, .. } => {
            let (least, most) = if date {
                let (least, most) = date_from_now(scene, host, asked, seconds);
                (least, most + age_of_verdict(scene, asked))
            } else {
                let wish = Duration::from_secs(seconds.into());
                (wish, wish)
            };
            let (least, most) = (least.min(cap), most.min(cap));
            let most = (most + most / 4).min(cap.max(policy.backoff_max));
            (lo.max(least), hi.max(most), "Retry-After")
        }
        _ => (lo, hi, "by policy"),
    })
}

/// Whether a retry for that reason comes from a status, so that the answer's headers were read.
const fn came_through(reason: RetryReason) -> bool {
    matches!(reason, RetryReason::ServerError | RetryReason::TooManyRequests | RetryReason::ClientError)
}

/// How long the verdict may have waited: if the delivery was lost meanwhile, for the next one. It says what the answer said.
fn age_of_verdict(scene: &Scene<'_>, asked: &Asked) -> Duration {
    let answered_at = asked.replied.map_or(scene.now, |replied| replied.at);
    let delivered_again = scene.subject.hold.as_ref().is_some_and(|hold| hold.delivered_at > answered_at);
    if delivered_again { scene.now.saturating_sub(answered_at) } else { Duration::ZERO }
}

/// How far away the date of a `Retry-After` is for a dispatcher, now: at least, and at most.
fn date_from_now(scene: &Scene<'_>, host: Host, asked: &Asked, seconds: u32) -> (Duration, Duration) {
    let made = asked.replied.map_or(0, |replied| replied.wall.as_millis());
    let date = made / 1000 * 1000 + i64::from(seconds) * 1000;
    let now = scene.wall(host).as_millis();
    // After hooks have looked at it the verdict is still the one of the answer's moment.
    let hooks = if scene.case.world.dispatcher.mediator {
        Duration::from_millis(scene.case.world.dispatcher.hook_timeout_ms)
    } else {
        Duration::ZERO
    };
    let left = Duration::from_millis(u64::try_from(date - now).unwrap_or(0));
    (left.saturating_sub(MS), left + MS + hooks)
}
