//! Which tasks certainly wait for a slot in a dispatcher's hands, and which faults may be between a dispatcher and the broker.

use super::{Hold, Process, Scene};
use crate::{case::FaultKind, history::CopyNo, host::Host, run::config::HOLD_MAX};
use std::time::Duration;

/// So many of a lane's waiting tasks are looked at, the oldest first: who asks wants to know of one.
const LOOKED_AT: usize = 16;
/// How long after a fault's end its traces may last: retransmissions and heartbeats; and as long as it lasted itself, since
/// retransmissions double.
const AFTERMATH: Duration = Duration::from_secs(20);
/// A timer may go off up to this later than the wall clock says.
const ROUNDING: Duration = Duration::from_millis(2);
/// How long a publish may be on its way: its own time limit, the rest before the next try, and a lost connection.
const PUBLISHING: Duration = Duration::from_secs(60);

impl Scene<'_> {
    /// A task that waits in a lane for its first attempt, may be sent now, and has waited since before this moment; its
    /// destination has room whatever its share is, since nothing of the lane is under way there. `None` if there is none
    /// or if it is not certain.
    pub fn waits_for_slot(&self, host: Host, lane: usize) -> Option<CopyNo> {
        let process = self.processes.get(&host)?;
        let of_lane = &process.lanes[lane];
        if of_lane.fresh.is_empty() || !of_lane.open || of_lane.paused || of_lane.resuming || process.draining {
            return None;
        }
        let mut oldest = of_lane.fresh.iter().take(LOOKED_AT).map(|(_, copy)| copy);
        oldest
            .find(|copy| process.holds.get(copy).is_some_and(|hold| self.may_be_sent(process, host, lane, hold)))
            .copied()
    }

    fn may_be_sent(&self, process: &Process, host: Host, lane: usize, hold: &Hold) -> bool {
        let Some(task) = hold.task.and_then(|task| self.tasks.get(&task)) else { return false };
        let wall = self.wall(host);
        let Some(received_at) = hold.received_at else { return false };
        let due = task.not_before().max(hold.due);
        let on_arrival = due.is_none_or(|due| due <= hold.received_wall);
        // What waits for longer than a dispatcher holds goes into the delay grid. A clock that jumps moves no timer.
        let since = due.is_some_and(|due| {
            due.saturating_add(ROUNDING) <= wall
                && due.since(hold.received_wall) <= HOLD_MAX
                && self.clock_is_true(host)
        });
        let still = due.is_none_or(|due| due.saturating_add(ROUNDING) <= wall);
        let is_due = (on_arrival && still) || since;
        let expires = task.expires_at().is_some_and(|at| at <= wall.saturating_add(ROUNDING));
        let executor = task.spec.executor;
        let busy = process.busy.get(&executor).copied().unwrap_or(0);
        let busy_of = process.busy_of.get(&(lane, executor)).copied().unwrap_or(0);
        let used_up = task.attempts_max().is_some_and(|most| hold.attempts >= most);
        !task.parallel
            && hold.running.is_none()
            && hold.settled.is_none()
            && !hold.lost
            && !hold.leaving
            && hold.next.is_none()
            && received_at < self.now
            && is_due
            && !expires
            && !used_up
            && busy_of == 0
            && busy < self.case.world.dispatcher.destination_slots
    }

    /// Whether a fault may have frozen a host since then. A frozen host has no timers, and afterwards all of them at once.
    pub fn was_frozen(&self, frozen: Host, since: Duration) -> bool {
        self.case.faults.iter().any(|fault| {
            let ends = Duration::from_millis(fault.end_ms().min(self.case.heal_at_ms));
            matches!(fault.kind, FaultKind::Freeze { host } if host == frozen)
                && Duration::from_millis(fault.at_ms) <= self.now
                && ends >= since
        })
    }

    /// Whether a publish of a dispatcher that comes now is certainly of what it has in hand now: nothing was wrong lately
    /// with the broker, the way to it, or its confirms.
    pub(super) fn publishes_are_prompt(&self, host: Host) -> bool {
        let confirms = |kind: &FaultKind| {
            matches!(
                kind,
                FaultKind::Alarm
                    | FaultKind::ConfirmLate { .. }
                    | FaultKind::ConfirmNever { .. }
                    | FaultKind::ConfirmNack { .. }
            )
        };
        let late = |fault: &crate::case::Fault| {
            let ends = Duration::from_millis(fault.end_ms().min(self.case.heal_at_ms));
            Duration::from_millis(fault.at_ms) <= self.now && ends + PUBLISHING >= self.now && confirms(&fault.kind)
        };
        self.is_undisturbed(host, self.now.saturating_sub(PUBLISHING)) && !self.case.faults.iter().any(late)
    }

    /// Whether nothing was wrong between a dispatcher and the broker since then, traces of earlier faults included.
    pub fn is_undisturbed(&self, host: Host, since: Duration) -> bool {
        let heal = self.case.heal_at_ms;
        let disturbs = |fault: &crate::case::Fault| {
            let (begins, ends) = (Duration::from_millis(fault.at_ms), Duration::from_millis(fault.end_ms().min(heal)));
            let traces = AFTERMATH.max(ends.saturating_sub(begins) * 2);
            begins <= self.now && ends + traces >= since && is_between(&fault.kind, host)
        };
        !self.case.faults.iter().any(disturbs)
    }
}

/// Whether a fault is one of that dispatcher, of the broker, or of the link between them.
const fn is_between(kind: &FaultKind, dispatcher: Host) -> bool {
    let Host::Dispatcher(n) = dispatcher else { return true };
    const fn is(host: Host, n: u8) -> bool {
        match host {
            Host::Dispatcher(other) => other == n,
            Host::Broker(_) => true,
            Host::Executor(_) | Host::Producer(_) => false,
        }
    }
    match kind {
        FaultKind::Down { host, .. }
        | FaultKind::KillAt { host, .. }
        | FaultKind::Freeze { host }
        | FaultKind::CloseConnection { host }
        | FaultKind::CancelConsumer { host, .. } => is(*host, n),
        FaultKind::Cut { one, other, .. }
        | FaultKind::Hold { one, other }
        | FaultKind::Slow { one, other, .. }
        | FaultKind::Loss { one, other, .. }
        | FaultKind::Reset { one, other } => is(*one, n) && is(*other, n),
        FaultKind::LeaderChange
        | FaultKind::DiskFull
        | FaultKind::DiskReadErrors { .. }
        | FaultKind::DiskSlow { .. } => true,
        FaultKind::Executor { .. }
        | FaultKind::Sluggish { .. }
        | FaultKind::ClockJump { .. }
        | FaultKind::ClockDrift { .. }
        | FaultKind::Alarm
        | FaultKind::ConfirmLate { .. }
        | FaultKind::ConfirmNever { .. }
        | FaultKind::ConfirmNack { .. }
        | FaultKind::Drain { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Reconfigure { .. } => false,
    }
}
