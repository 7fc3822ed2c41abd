//! A dispatcher's process, as its own events tell of it: the deliveries in its hands, its lanes and its slots.

use crate::{
    case::{Case, LaneSpec},
    history::{CopyNo, TaskNo},
    host::Host,
};
use quebert_dispatcher::{
    event::Settlement,
    ports::broker::{Source, Tag},
};
use quebert_wire::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A delivery in a dispatcher's hands; after its loss, what the dispatcher may still do for it.
#[derive(Debug, Clone)]
pub struct Hold {
    /// Which message.
    pub copy: CopyNo,
    /// Whose.
    pub task: Option<TaskNo>,
    /// Its latest tag.
    pub tag: Tag,
    /// Where it came from.
    pub source: Source,
    /// When the broker sent it, the last time.
    pub delivered_at: Duration,
    /// Whether that was flagged as a repetition.
    pub redelivered: bool,
    /// When the dispatcher took it in, the last time. Of work queues only.
    pub received_at: Option<Duration>,
    /// What its clock showed then.
    pub received_wall: Timestamp,
    /// The attempt that is under way.
    pub running: Option<u32>,
    /// When that began.
    pub started_at: Duration,
    /// Attempts made, as far as this process knows.
    pub attempts: u32,
    /// An attempt began since the latest delivery.
    pub sent_since: bool,
    /// An attempt has ended in this process, and no next copy tells of it yet.
    pub unsaved: bool,
    /// The end of the backoff that it waits for.
    pub due: Option<Timestamp>,
    /// On its way into another queue, or out of our hands.
    pub leaving: bool,
    /// A message that takes its place is stored: the latest one.
    pub next: Option<CopyNo>,
    /// How the dispatcher counted it when it was done with it, and when.
    pub settled: Option<(Duration, Settlement)>,
    /// The dispatcher knows that its delivery is lost.
    pub lost: bool,
    /// This process knew its end, or that its next copy was confirmed, before it was delivered again.
    pub known: bool,
}

impl Hold {
    /// The same with the delivery of another one.
    fn renewed(mut self, by: &Self) -> Self {
        self.tag = by.tag;
        self.delivered_at = by.delivered_at;
        self.redelivered = by.redelivered;
        self
    }

    /// Whether it is in the dispatcher's hands as far as that knows.
    pub fn is_in_hand(&self) -> bool {
        !self.lost && self.settled.is_none()
    }
}

/// Which of a lane's slots an attempt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// One of the lane's own.
    Own,
    /// One of those that all lanes share.
    Shared,
}

/// A lane of one process.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Whether it has its deliveries.
    pub open: bool,
    /// Whether somebody paused it.
    pub paused: bool,
    /// It was told to go on, and is not open again yet.
    pub resuming: bool,
    /// Slots of its own.
    pub slots_own: u32,
    /// Slots that it may have at most.
    pub slots_max: u32,
    /// Of its own, in use.
    pub own_used: u32,
    /// Of those that all share, in use.
    pub shared_used: u32,
    /// Deliveries taken in.
    pub delivered: u64,
    /// Of which settled.
    pub settled: u64,
    /// As the gauges say.
    pub gauges: (u32, u32),
    /// Messages that wait for their first attempt here, in the order of their arrival, among others that left.
    pub fresh: BTreeSet<(u64, CopyNo)>,
}

impl Lane {
    fn new(spec: &LaneSpec) -> Self {
        Self {
            open: false,
            paused: false,
            resuming: false,
            slots_own: spec.slots_own,
            slots_max: spec.slots_max,
            own_used: 0,
            shared_used: 0,
            delivered: 0,
            settled: 0,
            gauges: (0, 0),
            fresh: BTreeSet::new(),
        }
    }

    /// Slots in use.
    pub fn used(&self) -> u32 {
        self.own_used + self.shared_used
    }
}

/// What an attempt under way takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its lane's index.
    pub lane: usize,
    /// Its executor.
    pub executor: u8,
    /// Its slot.
    pub slot: Slot,
    /// When it began.
    pub since: Duration,
}

/// One process on a dispatcher's host, from its start to its end.
#[derive(Debug)]
pub struct Process {
    /// When it began.
    pub since: Duration,
    /// How many there were on this host before.
    pub number: u32,
    /// By the case's order.
    pub lanes: Vec<Lane>,
    /// What it has, or had lately.
    pub holds: BTreeMap<CopyNo, Hold>,
    /// The same by task.
    pub of_task: BTreeMap<TaskNo, Vec<CopyNo>>,
    /// The same by tag.
    pub of_tag: BTreeMap<Tag, CopyNo>,
    /// Attempts under way, by task and number; more than one if it was sent twice at a time.
    pub running: BTreeMap<(TaskNo, u32), Vec<Running>>,
    /// Requests under way, by executor.
    pub busy: BTreeMap<u8, u32>,
    /// The same by lane and executor.
    pub busy_of: BTreeMap<(usize, u8), u32>,
    /// Until when it is to be done, and since when: a drain was ordered.
    pub drain: Option<(Duration, Duration)>,
    /// It began to drain.
    pub draining: bool,
    /// It ended by itself.
    pub ended_at: Option<Duration>,
    /// It is no more.
    pub down: bool,
    /// Limits that it was told and has not taken over yet.
    pub limits: Vec<Option<u32>>,
    /// The latest moment that its clock has shown.
    pub wall_max: Timestamp,
    /// It was told other limits at some time.
    pub reconfigured: bool,
    /// Two attempts of one name had different slots: which of them ended first is not told.
    pub slots_unsure: bool,
    pub(super) arrivals: u64,
}

impl Process {
    pub(super) fn new(case: &Case, since: Duration, number: u32) -> Self {
        Self {
            since,
            number,
            lanes: case.world.dispatcher.lanes.iter().map(Lane::new).collect(),
            holds: BTreeMap::new(),
            of_task: BTreeMap::new(),
            of_tag: BTreeMap::new(),
            running: BTreeMap::new(),
            busy: BTreeMap::new(),
            busy_of: BTreeMap::new(),
            drain: None,
            draining: false,
            ended_at: None,
            down: false,
            limits: Vec::new(),
            wall_max: Timestamp::from_millis(i64::MIN),
            reconfigured: false,
            slots_unsure: false,
            arrivals: 0,
        }
    }

    /// What it holds of a task and has not settled, from one source.
    pub fn holds_of(&self, task: TaskNo) -> impl Iterator<Item = &Hold> {
        self.of_task.get(&task).into_iter().flatten().filter_map(|copy| self.holds.get(copy))
    }

    /// The broker has sent it a message.
    pub(super) fn deliver(&mut self, mut hold: Hold) {
        let copy = hold.copy;
        if let Some(former) = self.holds.get(&copy) {
            self.of_tag.remove(&former.tag);
            if former.settled.is_none() && matches!(former.source, Source::Queue(_)) {
                // What is under way for it goes on, and is joined to the new delivery when that is taken in.
                let known = hold.known;
                hold = Hold { sent_since: false, received_at: None, known, ..former.clone() }.renewed(&hold);
            }
        } else if let Some(task) = hold.task {
            self.of_task.entry(task).or_default().push(copy);
        }
        self.of_tag.insert(hold.tag, copy);
        self.holds.insert(copy, hold);
    }

    /// The broker has let go of it.
    ///
    /// Where ack and publish are one transaction, the dispatcher hears of it later: `early`.
    pub(super) fn gone(&mut self, copy: CopyNo, early: bool) {
        let over = |hold: &Hold| {
            // An attempt that goes on all the same is not forgotten.
            hold.settled.is_some() || (!early && hold.running.is_none())
        };
        if self.holds.get(&copy).is_some_and(over) {
            self.forget(copy);
        }
    }

    /// The dispatcher has heard that the next of what came from a delay queue is confirmed, and it is gone.
    pub(super) fn gone_head(&mut self, copy: CopyNo) {
        if self.holds.get(&copy).is_some_and(|hold| matches!(hold.source, Source::Delay(_))) {
            self.forget(copy);
        }
    }

    /// The broker has it back, as the dispatcher wished; or as its adapter did, which passes on nothing for a source that
    /// was closed meanwhile. Then the dispatcher still has what stands only there: attempts of a delivery before.
    pub(super) fn given_back(&mut self, copy: CopyNo) {
        match self.holds.get_mut(&copy) {
            Some(hold) if hold.unsaved && hold.received_at.is_none() => hold.lost = true,
            _ => self.gone(copy, false),
        }
    }

    /// Forgets a hold.
    pub(super) fn forget(&mut self, copy: CopyNo) {
        let Some(hold) = self.holds.remove(&copy) else { return };
        self.of_tag.remove(&hold.tag);
        if let Some(copies) = hold.task.and_then(|task| self.of_task.get_mut(&task)) {
            copies.retain(|other| *other != copy);
        }
        self.unlist(copy);
    }

    /// It waits no more for its first attempt.
    pub(super) fn unlist(&mut self, copy: CopyNo) {
        for lane in &mut self.lanes {
            if !lane.fresh.is_empty() {
                lane.fresh.retain(|(_, other)| *other != copy);
            }
        }
    }

    /// Whether nothing of a lane may be sent, or wait here to be.
    pub fn is_stopped(&self, lane: usize) -> bool {
        self.draining || self.lanes[lane].paused || self.lanes[lane].resuming || !self.lanes[lane].open
    }

    /// Slots of all lanes in use.
    pub fn shared_used(&self) -> u32 {
        self.lanes.iter().map(|lane| lane.shared_used).sum()
    }
}

/// A dispatcher's host, and the process that runs there now or ran there last.
pub(super) type Processes = BTreeMap<Host, Process>;
