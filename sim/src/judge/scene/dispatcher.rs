//! What a dispatcher's own events tell: which delivery each is about, and what that means for its hold and its slots.

use super::{Hold, Place, Process, Running, Scene, Slot, Subject};
use crate::{
    case::work::HookSpec,
    history::{CopyNo, TaskNo},
    host::Host,
    run::config::HOLD_MAX,
};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::broker::{Source, Tag},
    verdict::RetryReason,
};
use quebert_wire::{Destination, TaskId};
use std::time::Duration;

/// The deliveries that an event may be about. One, mostly; several if there are several messages of its task.
type Candidates = Vec<CopyNo>;

impl Scene<'_> {
    pub(super) fn on_event(&mut self, host: Host, event: &Event) {
        let wall = self.wall(host);
        let Some(process) = self.processes.get_mut(&host) else { return };
        process.wall_max = process.wall_max.max(wall);
        match event {
            Event::Delivered { lane, tag, .. } => self.on_taken_in(host, lane, *tag),
            Event::LaneOpen { lane, open } => self.on_lane_open(host, lane, *open),
            Event::Settled { lane, result, task, attempts, .. } => {
                self.on_settled(host, lane, *result, task.as_ref(), *attempts);
            }
            Event::AttemptStarted { lane, task, number, destination, .. } => {
                self.on_attempt_started(host, lane, task, *number, destination);
            }
            Event::AttemptEnded { lane, task, number, status, .. } => {
                self.on_attempt_ended(host, lane, task, *number, *status);
            }
            Event::RetryScheduled { lane, task, reason, attempts, delay, .. } => {
                self.on_retry(host, lane, task, *reason, *attempts, *delay);
            }
            Event::Expired { lane, task, .. } => self.on_leaving(host, lane, Some(task), None),
            Event::Buried { lane, task, .. } => self.on_leaving(host, lane, task.as_ref(), None),
            Event::LanePaused { lane, paused } => {
                let Some(lane) = self.lane(lane) else { return };
                if let Some(process) = self.processes.get_mut(&host) {
                    process.lanes[lane].paused = *paused;
                    process.lanes[lane].resuming = !*paused;
                }
            }
            Event::Draining => process.draining = true,
            Event::Reconfigured => self.on_reconfigured(host),
            Event::Held { lane, in_flight, buffered } => {
                let Some(lane) = self.lane(lane) else { return };
                if let Some(process) = self.processes.get_mut(&host) {
                    process.lanes[lane].gauges = (*in_flight, *buffered);
                }
            }
            _ => {}
        }
    }

    fn on_taken_in(&mut self, host: Host, lane: &str, tag: Tag) {
        let (now, at, wall) = (self.now, self.lane(lane), self.wall(host));
        let Some(process) = self.processes.get_mut(&host) else { return };
        let Some(at) = at else { return };
        process.lanes[at].delivered += 1;
        process.arrivals += 1;
        let Some(hold) = process.of_tag.get(&tag).and_then(|copy| process.holds.get_mut(copy)) else { return };
        hold.received_at = Some(now);
        hold.received_wall = wall;
        hold.lost = false;
        let untouched = hold.running.is_none() && !hold.unsaved && !hold.leaving && !hold.redelivered;
        self.subject =
            Subject { task: hold.task, copy: Some(hold.copy), hold: Some(hold.clone()), ..Subject::default() };
        let spec = hold.task.and_then(|task| self.tasks.get(&task)).map(|task| task.spec);
        if untouched && spec.is_some_and(|spec| spec.poison.is_none()) {
            process.lanes[at].fresh.insert((process.arrivals, hold.copy));
        }
    }

    fn on_lane_open(&mut self, host: Host, lane: &str, open: bool) {
        let Some(at) = self.lane(lane) else { return };
        let Some(process) = self.processes.get_mut(&host) else { return };
        process.lanes[at].open = open;
        if open {
            process.lanes[at].resuming = false;
            return;
        }
        process.lanes[at].fresh.clear();
        let mine = |hold: &&mut Hold| matches!(&hold.source, Source::Queue(queue) if **queue == *lane);
        for hold in process.holds.values_mut().filter(mine) {
            hold.lost |= hold.received_at.is_some();
        }
        // Only what something is under way for is kept by the dispatcher.
        let idle = |hold: &&Hold| {
            hold.lost && hold.settled.is_none() && hold.running.is_none() && !hold.unsaved && !hold.leaving
        };
        let idle: Vec<CopyNo> = process.holds.values().filter(idle).map(|hold| hold.copy).collect();
        for copy in idle {
            if let Some(hold) = process.holds.get_mut(&copy) {
                hold.due = self.copies.get(&copy).and_then(|copy| copy.due);
            }
        }
    }

    fn on_settled(&mut self, host: Host, lane: &str, result: Settlement, task: Option<&TaskId>, attempts: u32) {
        let (now, at) = (self.now, self.lane(lane));
        let Some(process) = self.processes.get_mut(&host) else { return };
        let Some(at) = at else { return };
        process.lanes[at].settled += 1;
        let no = task.and_then(|task| TaskNo::of_id(task.as_str()));
        self.subject.task = no;
        if result == Settlement::Requeued && !process.lanes[at].open {
            return; // The connection is lost, not the delivery settled.
        }
        let found = match no {
            Some(no) => settled_holds(process, no, lane, result, attempts),
            None => self.poison_in_hand(host, lane),
        };
        self.about(host, &found);
        for copy in &found {
            self.settle_hold(host, *copy, result, now, found.len() == 1);
        }
        if let Some(hold) = self.subject.hold.as_mut().filter(|_| found.len() == 1) {
            hold.settled = Some((now, result));
        }
    }

    fn settle_hold(&mut self, host: Host, copy: CopyNo, result: Settlement, now: Duration, sure: bool) {
        let spec = &self.case.world.dispatcher;
        let (mediator, bury_expired) = (spec.mediator, spec.bury_expired);
        let no = self.copies.get(&copy).and_then(|copy| copy.task);
        let drops = no.and_then(|no| self.tasks.get(&no)).is_some_and(|task| task.spec.hook == Some(HookSpec::Drop));
        let let_go = match result {
            Settlement::Filtered => self.any_may_drop || (mediator && drops),
            Settlement::Expired => !bury_expired,
            _ => false,
        };
        if let_go {
            self.done(copy, host);
            if let Some(task) = no.and_then(|no| self.tasks.get_mut(&no)) {
                task.let_go = true;
            }
        }
        if result == Settlement::Duplicate && no.is_some_and(|no| self.knows_another(host, no, copy)) {
            self.done(copy, host);
        }
        let gone = self.copies.get(&copy).is_none_or(|copy| !copy.is_there());
        let Some(process) = self.processes.get_mut(&host) else { return };
        process.unlist(copy);
        if sure && let Some(hold) = process.holds.get_mut(&copy) {
            hold.settled = Some((now, result));
            if gone {
                process.forget(copy);
            }
        }
    }

    /// Whether a dispatcher has ended another message of that task that looks the same.
    pub fn knows_another(&self, host: Host, task: TaskNo, copy: CopyNo) -> bool {
        let Some(kept) = self.copies.get(&copy) else { return false };
        let twins = self.tasks.get(&task).into_iter().flat_map(|task| &task.copies).filter(|other| **other != copy);
        let mut twins = twins.filter_map(|other| self.copies.get(other));
        let parallel = self.tasks.get(&task).is_some_and(|task| task.parallel);
        twins.any(|other| (other.target == kept.target || parallel) && other.is_done_by(host))
    }

    /// What is held of a lane and is no task: events about it have no name.
    fn poison_in_hand(&self, host: Host, lane: &str) -> Candidates {
        let Some(process) = self.processes.get(&host) else { return Vec::new() };
        let is_poison = |hold: &&Hold| {
            let spec = hold.task.and_then(|task| self.tasks.get(&task)).map(|task| task.spec);
            spec.is_none_or(|spec| spec.poison.is_some())
        };
        let mine = |hold: &&Hold| from_lane(hold, lane) && hold.is_in_hand() && hold.received_at.is_some();
        process.holds.values().filter(mine).filter(is_poison).map(|hold| hold.copy).collect()
    }

    fn on_attempt_started(&mut self, host: Host, lane: &str, task: &TaskId, number: u32, to: &Destination) {
        let now = self.now;
        let (Some(no), Some(at)) = (TaskNo::of_id(task.as_str()), self.lane(lane)) else { return };
        let executor = match to.host().parse() {
            Ok(Host::Executor(executor)) => executor,
            _ => 0,
        };
        let shared = self.case.world.dispatcher.slots_shared;
        let Some(process) = self.processes.get_mut(&host) else { return };
        let slot = process.occupy(at, executor, shared, (no, number), now);
        let idle = |hold: &Hold| hold.received_at.is_some() && hold.running.is_none();
        let stays = |hold: &Hold| !hold.leaving && hold.next.is_none();
        let rules: [&dyn Fn(&Hold) -> bool; 3] = [
            &|hold| idle(hold) && stays(hold) && hold.attempts + 1 == number,
            &|hold| idle(hold) && stays(hold),
            &|hold| hold.received_at.is_some(),
        ];
        let found = first_of(process, no, lane, &rules);
        for copy in &found {
            process.unlist(*copy);
        }
        if let Some(hold) = found.first().and_then(|copy| process.holds.get_mut(copy)) {
            hold.running = Some(number);
            hold.started_at = now;
            hold.sent_since = true;
            let here = self.copies.get(&hold.copy).map(|copy| copy.place) == Some(Place::Unsettled(host, hold.tag));
            if !here && let Some(task) = self.tasks.get_mut(&no) {
                // The broker has it back already: somebody else may send it, too.
                task.doubts += 1;
            }
        }
        self.about(host, &found);
        self.subject.task = Some(no);
        self.subject.slot = Some(slot);
    }

    fn on_attempt_ended(&mut self, host: Host, lane: &str, task: &TaskId, number: u32, status: Option<u16>) {
        let Some(no) = TaskNo::of_id(task.as_str()) else { return };
        let Some(process) = self.processes.get_mut(&host) else { return };
        let slot = process.vacate((no, number));
        let of_lane = || process.holds_of(no).filter(|hold| from_lane(hold, lane));
        let found: Candidates = of_lane().filter(|hold| hold.running == Some(number)).map(|hold| hold.copy).collect();
        let all: Candidates = of_lane().map(|hold| hold.copy).collect();
        self.about(host, &found);
        self.subject.task = Some(no);
        self.subject.slot = slot;
        let Some(process) = self.processes.get_mut(&host) else { return };
        for hold in found.iter().take(1) {
            let Some(hold) = process.holds.get_mut(hold) else { continue };
            hold.running = None;
            hold.attempts = hold.attempts.max(number);
            hold.unsaved = true;
        }
        if status.is_some_and(|status| (200..300).contains(&status)) {
            // Nobody but the executor can have said so, even if it is not done with its words.
            if let Some(task) = self.tasks.get_mut(&no) {
                task.succeeded = true;
            }
            // Of several messages of a task whose attempts had the same numbers at a time it may have been any.
            for copy in if found.is_empty() { all } else { found } {
                self.done(copy, host);
            }
        }
    }

    fn on_retry(&mut self, host: Host, lane: &str, task: &TaskId, reason: RetryReason, attempts: u32, delay: Duration) {
        let due = self.wall(host).saturating_add(delay);
        self.on_leaving(host, lane, Some(task), Some(attempts));
        if reason == RetryReason::Hook
            && let Some(task) = self.subject.task.and_then(|task| self.tasks.get_mut(&task))
        {
            task.put_off = true;
        }
        let (Some(process), Some(hold)) = (self.processes.get_mut(&host), &mut self.subject.hold) else { return };
        hold.due = Some(due);
        // Short ones are waited for in hand.
        hold.leaving = delay > HOLD_MAX || reason == RetryReason::Overload;
        process.holds.insert(hold.copy, hold.clone());
    }

    fn on_leaving(&mut self, host: Host, lane: &str, task: Option<&TaskId>, attempts: Option<u32>) {
        let no = task.and_then(|task| TaskNo::of_id(task.as_str()));
        let found = match (no, self.processes.get(&host)) {
            (Some(no), Some(process)) => in_hand(process, no, lane, |hold| {
                let counts = attempts.is_none_or(|attempts| hold.attempts == attempts);
                // What was scheduled and could not be any more, as when it expires before it is due, is told of again.
                hold.received_at.is_some() && hold.running.is_none() && hold.next.is_none() && counts
            }),
            _ => self.poison_in_hand(host, lane),
        };
        if let Some(process) = self.processes.get_mut(&host) {
            for copy in &found {
                process.unlist(*copy);
                if let Some(hold) = process.holds.get_mut(copy) {
                    hold.leaving = true;
                }
            }
        }
        self.about(host, &found);
        self.subject.task = no.or(self.subject.task);
    }

    fn on_reconfigured(&mut self, host: Host) {
        let specs = &self.case.world.dispatcher.lanes;
        let Some(process) = self.processes.get_mut(&host).filter(|process| !process.limits.is_empty()) else { return };
        let slots = process.limits.remove(0);
        process.reconfigured = true;
        for (lane, spec) in process.lanes.iter_mut().zip(specs) {
            lane.slots_max = slots.unwrap_or(spec.slots_max);
            lane.slots_own = spec.slots_own.min(lane.slots_max);
        }
    }

    /// Notes what the entry is about.
    fn about(&mut self, host: Host, found: &[CopyNo]) {
        let hold = self.processes.get(&host).and_then(|process| process.holds.get(found.first()?));
        if let Some(hold) = hold {
            self.subject.task = hold.task;
            self.subject.copy = Some(hold.copy);
            self.subject.hold = Some(hold.clone());
        }
        self.subject.unsure = found.len() > 1;
    }
}

impl Process {
    /// An attempt takes a slot: one of the lane's own, if one is free.
    fn occupy(&mut self, lane: usize, executor: u8, shared: u32, key: (TaskNo, u32), now: Duration) -> Slot {
        let of_lane = &mut self.lanes[lane];
        let slot = if of_lane.own_used < of_lane.slots_own || shared == 0 { Slot::Own } else { Slot::Shared };
        match slot {
            Slot::Own => of_lane.own_used += 1,
            Slot::Shared => of_lane.shared_used += 1,
        }
        *self.busy.entry(executor).or_default() += 1;
        *self.busy_of.entry((lane, executor)).or_default() += 1;
        self.running.entry(key).or_default().push(Running { lane, executor, slot, since: now });
        slot
    }

    /// An attempt is over.
    fn vacate(&mut self, key: (TaskNo, u32)) -> Option<Slot> {
        let all = self.running.get_mut(&key)?;
        self.slots_unsure |= all.iter().any(|one| one.slot != all[0].slot);
        let over = all.pop()?;
        if all.is_empty() {
            self.running.remove(&key);
        }
        let lane = &mut self.lanes[over.lane];
        match over.slot {
            Slot::Own => lane.own_used = lane.own_used.saturating_sub(1),
            Slot::Shared => lane.shared_used = lane.shared_used.saturating_sub(1),
        }
        let (all, of_lane) = (self.busy.get_mut(&over.executor), self.busy_of.get_mut(&(over.lane, over.executor)));
        for count in [all, of_lane].into_iter().flatten() {
            *count = count.saturating_sub(1);
        }
        Some(over.slot)
    }
}

/// The deliveries of a task in hand from one lane that something is true of.
fn in_hand(process: &Process, task: TaskNo, lane: &str, may: impl Fn(&Hold) -> bool) -> Candidates {
    let held = process.holds_of(task).filter(|hold| from_lane(hold, lane) && hold.is_in_hand());
    held.filter(|hold| may(hold)).map(|hold| hold.copy).collect()
}

/// The deliveries of a task that a settlement may be about: those that count as many attempts, and are on their way
/// elsewhere if that is what it tells of.
fn settled_holds(process: &Process, task: TaskNo, lane: &str, result: Settlement, attempts: u32) -> Candidates {
    let moved = matches!(result, Settlement::Retried | Settlement::DeadLettered | Settlement::Expired);
    let idle = |hold: &Hold| hold.received_at.is_some() && hold.running.is_none();
    let rules: [&dyn Fn(&Hold) -> bool; 2] =
        [&|hold| idle(hold) && hold.attempts == attempts && (hold.leaving || hold.next.is_some()) == moved, &|hold| {
            idle(hold) && hold.attempts == attempts
        }];
    first_of(process, task, lane, &rules)
}

/// The deliveries that fit the first rule that any fits.
fn first_of(process: &Process, task: TaskNo, lane: &str, rules: &[&dyn Fn(&Hold) -> bool]) -> Candidates {
    let found = rules.iter().map(|rule| in_hand(process, task, lane, rule));
    found.into_iter().find(|found| !found.is_empty()).unwrap_or_default()
}

fn from_lane(hold: &Hold, lane: &str) -> bool {
    matches!(&hold.source, Source::Queue(queue) if **queue == *lane)
}
