//! The book that everybody writes into while a run goes on: the plan and the publisher here, the executors in
//! [`request`](super::request), where each request is judged as it comes; the sum is drawn by the judge. It waits for nobody:
//! one lock, held for a moment.

use super::{
    Counts, End, Extra, Fault, Record, Rules, Tick,
    lanes::Lanes,
    record::{Records, flag},
};
use crate::{
    arrivals::Arrival,
    clock::Clock,
    figures::{Figures, Kind, Layout, steady, steady::Steady},
};
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

#[derive(Debug)]
pub(super) struct Pages {
    pub(super) records: Records,
    pub(super) counts: Counts,
    pub(super) extras: Vec<Extra>,
    pub(super) faults: Vec<Fault>,
    pub(super) figures: Figures,
    pub(super) lanes: Lanes,
    closed: Range<u64>,
}

/// The book.
#[derive(Debug)]
pub struct Book {
    clock: Clock,
    prefix: String,
    rules: Rules,
    pages: Mutex<Pages>,
    /// Of a closed phase: tasks that may be added.
    room: Semaphore,
}

impl Book {
    /// An empty one. `tag` is in the id of every task, so that those of another run are told from ours.
    pub fn new(clock: Clock, tag: &str, rules: Rules, layout: Layout) -> Self {
        let pages = Pages {
            records: Records::default(),
            counts: Counts::default(),
            extras: Vec::new(),
            faults: Vec::new(),
            figures: Figures::new(layout),
            lanes: Lanes::new(rules.queues.len()),
            closed: 0..0,
        };
        Self { clock, prefix: format!("lt-{tag}-"), rules, pages: Mutex::new(pages), room: Semaphore::new(0) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the run is judged by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The id of a task.
    pub fn id(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The number of the task of this id, if it is of this run.
    pub fn number(&self, id: &str) -> Option<u64> {
        let digits = id.strip_prefix(&self.prefix)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.pages().counts
    }

    /// Looks at the figures.
    pub fn figures<T>(&self, look: impl FnOnce(&mut Figures) -> T) -> T {
        look(&mut self.pages().figures)
    }

    /// Looks at every record, in order.
    pub fn each_record(&self, mut look: impl FnMut(u64, &Record)) {
        for (n, record) in (0..).zip(self.pages().records.iter()) {
            look(n, record);
        }
    }

    /// What the run came to when it was steady; `None` if it was too short to tell.
    pub fn steady(&self) -> Option<Steady> {
        let pages = self.pages();
        steady::steady(|| pages.records.iter())
    }

    /// The most requests of each queue that were under way at a time.
    pub fn peaks(&self) -> Vec<u32> {
        self.pages().lanes.peaks()
    }

    /// Whether a fault has been told.
    pub fn has_faults(&self) -> bool {
        !self.pages().faults.is_empty()
    }

    /// A fault of one moment or a stretch of time.
    pub fn fault(&self, what: impl Into<String>, from: Duration, until: Duration) {
        self.pages().faults.push(Fault { what: what.into(), from, until });
    }

    /// A task's time has come. Numbers come in order, without gaps.
    ///
    /// # Panics
    /// When they don't.
    pub fn offered(&self, arrival: &Arrival) {
        let mut pages = self.pages();
        assert_eq!(arrival.index, pages.records.len(), "tasks are numbered in order");
        pages.records.push(Record { intended: Tick::at(arrival.at), class: arrival.class, ..Record::default() });
        pages.counts.offered += 1;
        pages.figures.second(arrival.at).offered += 1;
    }

    /// It is handed to the broker's client, with these moments by the wall clock. How late that is.
    pub fn publishing(&self, number: u64, due: Option<Duration>, expires: Option<Duration>) -> Duration {
        let now = self.clock.now().run;
        let mut pages = self.pages();
        let pages = &mut *pages;
        let record = pages.records.get_mut(number).expect("offered before");
        record.published = Tick::at(now);
        record.expires = expires.map_or(Tick::NONE, Tick::at);
        if let Some(due) = due {
            record.due = Tick::at(due);
            record.set(flag::DELAYED);
        }
        let lag = now.saturating_sub(record.intended.get().unwrap_or_default());
        pages.counts.published += 1;
        pages.figures.record(Kind::StartLag, *record, self.queue_of(record), lag);
        pages.figures.second(now).published += 1;
        lag
    }

    /// The broker has confirmed it.
    pub fn confirmed(&self, number: u64) {
        let now = self.clock.now().run;
        let mut pages = self.pages();
        let pages = &mut *pages;
        let record = pages.records.get_mut(number).expect("offered before");
        record.confirmed = Tick::at(now);
        let record = *record;
        let queue = self.queue_of(&record);
        pages.counts.confirmed += 1;
        pages.counts.open += u64::from(!record.succeeded());
        let since = |tick: Tick| now.saturating_sub(tick.get().unwrap_or_default());
        pages.figures.record(Kind::Confirm, record, queue, since(record.intended));
        pages.figures.record(Kind::ConfirmUncorrected, record, queue, since(record.published));
        pages.figures.second(now).confirmed += 1;
        if !record.first.is_some() && !record.has(flag::DELAYED) {
            pages.lanes.of(queue).waits(now);
        }
    }

    /// The broker has refused it, or nobody knows whether it has it.
    pub fn unconfirmed(&self, number: u64) {
        let mut pages = self.pages();
        pages.counts.unconfirmed += 1;
        self.make_room(&pages, number);
    }

    /// Somebody found out how a task ended.
    pub fn found(&self, number: u64, end: End) {
        let mut pages = self.pages();
        if let Some(record) = pages.records.get_mut(number) {
            record.set(match end {
                End::Dead => flag::DEAD,
                End::Expired => flag::EXPIRED,
                End::Left => flag::LEFT,
            });
        }
    }

    /// A closed phase begins with the task of this number.
    pub fn open_room(&self, first: u64, clients: u32) {
        self.pages().closed = first..u64::MAX;
        self.room.add_permits(usize::try_from(clients).unwrap_or(usize::MAX));
    }

    /// Waits until another task of a closed phase may be added.
    pub async fn room(&self) {
        self.room.acquire().await.expect("the semaphore is never closed").forget();
    }

    /// The closed phase is over.
    pub fn close_room(&self) {
        let mut pages = self.pages();
        pages.closed = 0..0;
        self.room.forget_permits(usize::MAX);
    }

    /// A task is over: if it is of a closed phase, another may be added.
    pub(super) fn make_room(&self, pages: &Pages, number: u64) {
        if pages.closed.contains(&number) {
            self.room.add_permits(1);
        }
    }

    pub(super) fn queue_of(&self, record: &Record) -> usize {
        self.rules.queue_of[usize::from(record.class)]
    }

    /// What the lock guards is counts and times, whole after each statement.
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
