//! Mediators: what a hook says before an attempt is done, and a hook that fails means what `hook_error` says.
//!
//! * A task that its hook drops or buries is never sent, and ends so.
//! * One that is put off is not sent before that was scheduled. The hook says so once; a process that dies right then takes
//!   its word with it, so a task whose delivery was ever lost is not judged.
//! * While its hook fails a task is sent only if `hook_error` says `send`. Not judged where a hook hangs on a host that was
//!   just frozen: then it may be done when its time limit is looked at.
//!
//! A hook that fails after an attempt changes nothing: that is what all other promises are held against.

use super::{
    Found, Oracle, Promise,
    scene::{Scene, Task},
};
use crate::{
    case::{spec::HookError, work::HookSpec},
    history::{Entry, What},
    host::Host,
};
use quebert_dispatcher::event::{Event, Settlement};
use std::time::Duration;

/// Turns of the scheduler around a hook.
const MOMENT: Duration = Duration::from_secs(1);

pub(super) struct Mediators;

impl Promise for Mediators {
    fn oracle(&self) -> Oracle {
        Oracle::Mediators
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        if !scene.case.world.dispatcher.mediator {
            return;
        }
        let What::Event(event) = &entry.what else { return };
        let Some(task) = scene.task() else { return };
        match event {
            Event::AttemptStarted { number, .. } => must_be_sent(scene, entry.host, task, *number, found),
            Event::Settled { result: Settlement::Filtered, .. } if task.spec.hook != Some(HookSpec::Drop) => {
                found.broken(Some(task.no()), "it was dropped, and no hook said so");
            }
            _ => {}
        }
    }
}

fn must_be_sent(scene: &Scene<'_>, host: Host, task: &Task<'_>, number: u32, found: &mut Found) {
    let rule = scene.case.world.dispatcher.hook_error;
    // After a freeze a hook that hangs may be done at the same moment as its time is over.
    let hook = 2 * Duration::from_millis(scene.case.world.dispatcher.hook_timeout_ms) + MOMENT;
    let thawed =
        matches!(task.spec.hook, Some(HookSpec::Hang { .. })) && scene.was_frozen(host, scene.now.saturating_sub(hook));
    let why = match task.spec.hook {
        _ if thawed => return,
        Some(HookSpec::Drop) => "its hook drops it",
        Some(HookSpec::Bury) => "its hook buries it",
        Some(HookSpec::Panic { until } | HookSpec::Hang { until }) if number <= until && rule != HookError::Send => {
            "its hook fails, which does not mean \"send\""
        }
        Some(HookSpec::PutOff { .. }) if task.doubts == 0 && task.returns == 0 && !task.put_off => {
            "its hook puts it off first"
        }
        _ => return,
    };
    found.broken(Some(task.no()), format_args!("attempt {number} was sent, though {why}"));
}
