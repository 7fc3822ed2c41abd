//! What is so at this moment of a run, as far as the history tells: tasks, messages, and what each dispatcher has in its
//! hands. Oracles look at it; it judges nothing itself.
//!
//! The broker and the executors tell what is true. What a dispatcher holds and does is taken from its own events, so that
//! it can be held against the truth.

mod clocks;
mod dispatcher;
mod process;
mod task;
mod waiting;

pub use process::{Hold, Lane, Process, Running, Slot};
pub use task::{Copy, Place, Task};

use crate::{
    case::{Case, Exec},
    history::{CopyNo, Entry, Order, TaskNo, What},
    host::Host,
};
use clocks::Clocks;
use process::Processes;
use quebert_dispatcher::ports::broker::{Opening, Source, Tag, Target};
use quebert_wire::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// An opening that the broker has.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What.
    pub source: Source,
    /// Its window.
    pub window: u16,
    /// Since when.
    pub since: Duration,
    /// Deliveries through it that are not settled.
    pub unsettled: u32,
}

/// A request as its executor saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose.
    pub task: TaskNo,
    /// Which attempt.
    pub attempt: u32,
    /// What the executor does with it.
    pub exec: Exec,
    /// What it answered, and when.
    pub replied: Option<Replied>,
}

/// An answer as its executor gave it.
#[derive(Debug, Clone, Copy)]
pub struct Replied {
    /// When: true time.
    pub at: Duration,
    /// And by its own clock.
    pub wall: Timestamp,
    /// The status; `None` if it was no whole answer.
    pub status: Option<u16>,
}

/// What the latest entry was about, where that takes some following.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Whose.
    pub task: Option<TaskNo>,
    /// Which message.
    pub copy: Option<CopyNo>,
    /// What the dispatcher had of it: after the entry, or as it was last if the entry ended it.
    pub hold: Option<Hold>,
    /// In whose hands it was, if it left them.
    pub from: Option<Host>,
    /// The dispatcher has several deliveries of the task that this could be about: `hold` is a guess.
    pub unsure: bool,
    /// The slot that an attempt got, or had.
    pub slot: Option<Slot>,
}

/// The state of a run.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What was asked.
    pub case: &'a Case,
    /// A mediator that the case knows nothing of may drop any task.
    pub any_may_drop: bool,
    /// True time.
    pub now: Duration,
    /// Whether all faults are over, and since when.
    pub healed_at: Option<Duration>,
    /// The workload.
    pub tasks: BTreeMap<TaskNo, Task<'a>>,
    /// Every message so far.
    pub copies: BTreeMap<CopyNo, Copy>,
    /// What runs on the dispatchers' hosts.
    pub processes: Processes,
    /// What the broker has open, of whom.
    pub openings: BTreeMap<(Host, Opening), Opened>,
    /// Requests, by executor and number.
    pub requests: BTreeMap<(Host, u64), Asked>,
    /// The same by task and attempt.
    pub asked: BTreeMap<(TaskNo, u32), Vec<(Host, u64)>>,
    /// Faults that are on now.
    pub faults: BTreeSet<usize>,
    /// What the latest entry is about.
    pub subject: Subject,
    clocks: Clocks,
}

impl<'a> Scene<'a> {
    /// Before anything has happened.
    pub fn new(case: &'a Case) -> Self {
        Self {
            case,
            any_may_drop: false,
            now: Duration::ZERO,
            healed_at: None,
            tasks: case.tasks.iter().map(|spec| (spec.no, Task::new(case, spec))).collect(),
            copies: BTreeMap::new(),
            processes: BTreeMap::new(),
            openings: BTreeMap::new(),
            requests: BTreeMap::new(),
            asked: BTreeMap::new(),
            faults: BTreeSet::new(),
            subject: Subject::default(),
            clocks: Clocks::default(),
        }
    }

    /// What a host's clock shows now.
    pub fn wall(&self, host: Host) -> Timestamp {
        self.clocks.wall(host, self.now)
    }

    /// What it showed then, if no fault touched it since.
    pub fn wall_at(&self, host: Host, at: Duration) -> Timestamp {
        self.clocks.wall(host, at)
    }

    /// Whether no fault has touched a host's clock so far.
    pub fn clock_is_true(&self, host: Host) -> bool {
        self.clocks.is_true(host)
    }

    /// The task of the latest entry.
    pub fn task(&self) -> Option<&Task<'a>> {
        self.tasks.get(&self.subject.task?)
    }

    /// The place of a lane in the case, by its name, which is its queue's as well.
    pub fn lane(&self, name: &str) -> Option<usize> {
        self.case.world.dispatcher.lanes.iter().position(|lane| lane.name == name)
    }

    /// Takes the next entry in.
    pub fn take(&mut self, entry: &Entry) {
        self.now = entry.at;
        self.subject = Subject::default();
        match &entry.what {
            What::Started => self.on_started(entry.host),
            What::Down => {
                if let Some(process) = self.processes.get_mut(&entry.host) {
                    process.down = true;
                }
            }
            What::Fault { index, begins } => {
                self.clocks.fault(self.case, *index, *begins, entry.at);
                if *begins {
                    self.faults.insert(*index)
                } else {
                    self.faults.remove(index)
                };
            }
            What::Healed => self.healed_at = Some(entry.at),
            What::Offered { task, .. } => {
                let created = self.wall(entry.host);
                self.subject.task = Some(*task);
                if let Some(task) = self.tasks.get_mut(task) {
                    task.created_at.get_or_insert(created);
                }
            }
            What::Confirmed { task } => {
                self.subject.task = Some(*task);
                if let Some(task) = self.tasks.get_mut(task) {
                    task.confirmed_at.get_or_insert(entry.at);
                }
            }
            What::NotConfirmed { task, .. } => self.subject.task = Some(*task),
            What::Stored { copy, target, task, by, attempts } => {
                self.on_stored(*copy, target, *task, *by, *attempts);
            }
            What::Delivered { copy, tag, source, to, redelivered } => {
                self.on_delivered(*copy, *tag, source, *to, *redelivered);
            }
            What::Acked { copy, .. } | What::Unstored { copy } => self.on_gone(*copy),
            What::Returned { copy, why } => self.on_returned(*copy, why),
            What::BuriedByBroker { copy, dead } => self.on_buried_by_broker(*copy, *dead, entry.host),
            What::Revived { copy, target, task } => self.on_revived(*copy, target, *task, entry.host),
            What::Answered { copy, to, how } => self.on_published(*copy, *to, how),
            What::Opened { by, source, opening, window } => {
                let opened = Opened { source: source.clone(), window: *window, since: entry.at, unsettled: 0 };
                self.openings.insert((*by, *opening), opened);
            }
            What::Closed { by, opening } => drop(self.openings.remove(&(*by, *opening))),
            What::Event(event) => self.on_event(entry.host, event),
            What::Told(order) => self.on_told(entry.host, order),
            What::Ended(_) => {
                if let Some(process) = self.processes.get_mut(&entry.host) {
                    process.ended_at = Some(entry.at);
                }
            }
            What::Request { task, attempt, request, exec, .. } => {
                self.subject.task = Some(*task);
                let asked = Asked { task: *task, attempt: *attempt, exec: exec.clone(), replied: None };
                self.requests.insert((entry.host, *request), asked);
                self.asked.entry((*task, *attempt)).or_default().push((entry.host, *request));
            }
            What::Reply { request, status } => self.on_reply(entry.host, *request, *status),
        }
    }

    fn on_started(&mut self, host: Host) {
        if let Host::Dispatcher(_) = host {
            let number = self.processes.get(&host).map_or(0, |former| former.number + 1);
            self.processes.insert(host, Process::new(self.case, self.now, number));
        }
    }

    fn on_told(&mut self, host: Host, order: &Order) {
        let now = self.now;
        let Some(process) = self.processes.get_mut(&host) else { return };
        match order {
            Order::Drain(grace) => drop(process.drain.get_or_insert((now + *grace, now))),
            Order::Reconfigure { slots_max } => process.limits.push(*slots_max),
            // It tells itself when it has heard.
            Order::Pause(_) | Order::Resume(_) => {}
        }
    }

    fn on_reply(&mut self, host: Host, request: u64, status: Option<u16>) {
        let wall = self.wall(host);
        let Some(asked) = self.requests.get_mut(&(host, request)) else { return };
        asked.replied = Some(Replied { at: self.now, wall, status });
        self.subject.task = Some(asked.task);
        if status.is_some_and(|status| (200..300).contains(&status))
            && let Some(task) = self.tasks.get_mut(&asked.task)
        {
            task.succeeded = true;
        }
    }

    fn on_stored(&mut self, copy: CopyNo, target: &Target, task: Option<TaskNo>, by: Host, attempts: u32) {
        let replaced = task.and_then(|task| self.replaced_by(copy, by, task, target, attempts));
        let (parent, due) = match &replaced {
            Some((parent, due)) => (Some(*parent), *due),
            None => (None, None),
        };
        let held = |copy: &CopyNo| matches!(self.copies[copy].place, Place::Unsettled(host, _) if host == by);
        let replaces = parent.as_ref().is_some_and(held);
        let process = self.processes.get(&by).zip(task);
        let several = process.is_some_and(|(process, task)| process.holds_of(task).count() > 1);
        let stored = Copy {
            task,
            target: target.clone(),
            by,
            stored_at: self.now,
            attempts,
            due,
            parent,
            confirmed: false,
            place: Place::Ready,
            done_by: Vec::new(),
            deliveries: 0,
        };
        self.subject = Subject { task, copy: Some(copy), ..Subject::default() };
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)) {
            let twin = |other: &CopyNo| self.copies.get(other).is_some_and(|other| other.parent == parent);
            let twin = task.copies.iter().any(twin);
            // A second message beside the first: published twice, or put in the place of one that is back in its queue.
            let doubtful = match by {
                Host::Producer(_) => !task.copies.is_empty(),
                _ => twin || !replaces || (task.parallel && several),
            };
            task.copies.push(copy);
            task.parallel |= doubtful;
            if stored.is_live() {
                task.doubts += u32::from(doubtful);
                task.live += 1;
            } else {
                task.dead += 1;
            }
        }
        self.copies.insert(copy, stored);
    }

    /// The one delivery that a dispatcher may put this message in the place of, and the backoff that it waits for.
    ///
    /// Several of one task are there when a delay queue is young: its confirmations are held back for a while, and so is
    /// the delivery that waits for one, while the task itself goes round.
    fn replaced_by(
        &mut self,
        copy: CopyNo,
        by: Host,
        task: TaskNo,
        target: &Target,
        attempts: u32,
    ) -> Option<(CopyNo, Option<Timestamp>)> {
        let process = self.processes.get(&by)?;
        let may = |hold: &&Hold| hold.settled.is_none() && hold.running.is_none() && fits(hold, target);
        let stopped = |hold: &Hold| match &hold.source {
            Source::Queue(queue) => self.lane(queue).is_none_or(|lane| process.is_stopped(lane)),
            Source::Delay(_) => true,
        };
        // What waits in hand for its next attempt is published only when its lane stops. So this is not of it: it has been
        // on its way since another connection.
        let may = |hold: &&Hold| may(hold) && (hold.leaving || !hold.unsaved || hold.next.is_some() || stopped(hold));
        let all: Vec<&Hold> = process.holds_of(task).filter(may).collect();
        let narrow = |all: &[&Hold], right: &dyn Fn(&Hold) -> bool| -> Vec<CopyNo> {
            all.iter().filter(|hold| right(hold)).map(|hold| hold.copy).collect()
        };
        let counts = |hold: &Hold| hold.attempts == attempts;
        let copies = &self.copies;
        // It may be published again as long as the one before is not confirmed.
        let open = |hold: &Hold| hold.next.and_then(|next| copies.get(&next)).is_none_or(|next| !next.confirmed);
        // What counts as many attempts; then what is published again though it was confirmed, which nobody heard; and then
        // whatever there is, with other notes than it should have.
        let prompt = self.publishes_are_prompt(by);
        let rules: [&dyn Fn(&Hold) -> bool; 3] =
            [&|hold| open(hold) && counts(hold), &counts, &|hold| open(hold) && prompt];
        let found = rules.iter().map(|rule| narrow(&all, rule)).find(|found| !found.is_empty())?;
        let [only] = found[..] else { return None };
        let hold = self.processes.get_mut(&by)?.holds.get_mut(&only)?;
        hold.next = Some(copy);
        Some((only, hold.due))
    }

    fn on_delivered(&mut self, copy: CopyNo, tag: Tag, source: &Source, to: Host, redelivered: bool) {
        if let Some(opened) = self.openings.get_mut(&(to, tag.opening)) {
            opened.unsettled += 1;
        }
        let Some(kept) = self.copies.get_mut(&copy) else { return };
        kept.place = Place::Unsettled(to, tag);
        kept.deliveries += 1;
        self.subject = Subject { task: kept.task, copy: Some(copy), ..Subject::default() };
        let (task, attempts, due) = (kept.task, kept.attempts, kept.due);
        let process = self.processes.get(&to).map_or(0, |process| process.number);
        let known = kept.done_by.contains(&(to, process));
        if let Some(process) = self.processes.get_mut(&to) {
            let fresh = Hold {
                copy,
                task,
                tag,
                source: source.clone(),
                delivered_at: self.now,
                redelivered,
                received_at: None,
                received_wall: Timestamp::from_millis(0),
                running: None,
                started_at: Duration::ZERO,
                attempts,
                sent_since: false,
                unsaved: false,
                due,
                leaving: false,
                next: None,
                settled: None,
                lost: false,
                known,
            };
            process.deliver(fresh);
            self.subject.hold = process.holds.get(&copy).cloned();
        }
    }

    /// Takes a message out of whoever's hands it is in; tells in whose it was.
    fn take_back(&mut self, copy: CopyNo, place: Place) -> Option<Host> {
        let kept = self.copies.get_mut(&copy)?;
        let former = std::mem::replace(&mut kept.place, place);
        let (task, live) = (kept.task, kept.is_live());
        self.subject = Subject { task, copy: Some(copy), ..Subject::default() };
        if place == Place::Gone
            && former != Place::Gone
            && let Some(task) = task.and_then(|task| self.tasks.get_mut(&task))
        {
            let count = if live { &mut task.live } else { &mut task.dead };
            *count = count.saturating_sub(1);
        }
        let Place::Unsettled(host, tag) = former else { return None };
        if let Some(opened) = self.openings.get_mut(&(host, tag.opening)) {
            opened.unsettled = opened.unsettled.saturating_sub(1);
        }
        self.subject.hold = self.processes.get(&host).and_then(|process| process.holds.get(&copy)).cloned();
        self.subject.from = Some(host);
        Some(host)
    }

    fn on_gone(&mut self, copy: CopyNo) {
        if let Some(host) = self.take_back(copy, Place::Gone)
            && let Some(process) = self.processes.get_mut(&host)
        {
            let next = process.holds.get(&copy).and_then(|hold| hold.next);
            let heard = next.and_then(|next| self.copies.get(&next)).is_some_and(|next| next.confirmed);
            process.gone(copy, self.case.world.broker.relocates && !heard);
        }
    }

    fn on_returned(&mut self, copy: CopyNo, why: &'static str) {
        let Some(host) = self.take_back(copy, Place::Ready) else { return };
        // Whether what was sent was done is open from here on, unless it was given back on purpose, unsent.
        if let Some(task) = self.subject.task.and_then(|task| self.tasks.get_mut(&task)) {
            task.returns += 1;
            // Its next one may be there.
            let next = |other: &CopyNo| self.copies.get(other).is_some_and(|other| other.parent == Some(copy));
            task.parallel |= task.copies.iter().any(next);
        }
        // What a process that is no more had sent, its successor does not tell.
        let sent = self.subject.hold.as_ref().is_none_or(|hold| hold.sent_since || hold.leaving || hold.next.is_some());
        if let Some(task) = self.subject.task.and_then(|task| self.tasks.get_mut(&task))
            && sent
        {
            task.doubts += 1;
        }
        if why == "give_back"
            && let Some(process) = self.processes.get_mut(&host)
        {
            process.given_back(copy);
        }
    }

    fn on_buried_by_broker(&mut self, copy: CopyNo, dead: CopyNo, by: Host) {
        let queue = self.copies.get(&copy).map(|kept| kept.target.clone());
        let task = self.copies.get(&copy).and_then(|kept| kept.task);
        if !self.copies.contains_key(&dead) {
            let queue = match queue {
                Some(Target::Queue(queue) | Target::Dead(queue)) => queue,
                Some(Target::Delay(_)) | None => "".into(),
            };
            self.on_stored(dead, &Target::Dead(queue), task, by, 0);
        }
        self.on_gone(copy);
    }

    fn on_revived(&mut self, copy: CopyNo, target: &Target, task: Option<TaskNo>, by: Host) {
        if !self.copies.contains_key(&copy) {
            return self.on_stored(copy, target, task, by, 0);
        }
        let Some(kept) = self.copies.get_mut(&copy) else { return };
        let was_gone = kept.place == Place::Gone;
        kept.place = Place::Ready;
        let (task, live) = (kept.task, kept.is_live());
        self.subject = Subject { task, copy: Some(copy), ..Subject::default() };
        if let Some(task) = task.and_then(|task| self.tasks.get_mut(&task)).filter(|_| was_gone) {
            task.doubts += 1;
            task.parallel = true;
            if live { task.live += 1 } else { task.dead += 1 }
        }
    }

    fn on_published(&mut self, copy: Option<CopyNo>, to: Host, how: &str) {
        let Some(stored) = copy.and_then(|copy| self.copies.get_mut(&copy)) else { return };
        self.subject = Subject { task: stored.task, copy, ..Subject::default() };
        if how != "ack" {
            return;
        }
        stored.confirmed = true;
        let (task, parent, target) = (stored.task, stored.parent, stored.target.clone());
        let before: Vec<CopyNo> = match parent {
            Some(parent) => vec![parent],
            None => task.map(|task| self.held_before(to, task, &target)).unwrap_or_default(),
        };
        for done in before {
            self.done(done, to);
            let gone = self.copies.get(&done).is_some_and(|copy| !copy.is_there());
            if let Some(process) = self.processes.get_mut(&to).filter(|_| gone) {
                process.gone_head(done);
            }
        }
    }

    /// Everything of a task in a dispatcher's hands that a message for that target may take the place of.
    fn held_before(&self, host: Host, task: TaskNo, target: &Target) -> Vec<CopyNo> {
        let Some(process) = self.processes.get(&host) else { return Vec::new() };
        process.holds_of(task).filter(|hold| fits(hold, target)).map(|hold| hold.copy).collect()
    }

    /// From here on that dispatcher may ack this message.
    fn done(&mut self, copy: CopyNo, by: Host) {
        let process = self.processes.get(&by).map_or(0, |process| process.number);
        if let Some(kept) = self.copies.get_mut(&copy)
            && !kept.done_by.contains(&(by, process))
        {
            kept.done_by.push((by, process));
        }
    }
}

/// Whether a message can be moved from there to that target: back from the grid, into it, round again; into its own queue
/// only a repetition, to be counted.
fn fits(hold: &Hold, target: &Target) -> bool {
    match (&hold.source, target) {
        (Source::Queue(queue), Target::Queue(other)) => queue == other && hold.redelivered,
        (Source::Queue(queue), Target::Dead(other)) => queue == other,
        (Source::Queue(_), Target::Delay(_)) => hold.received_at.is_some() || hold.leaving,
        (Source::Delay(_), _) => true,
    }
}
