//! The book that everybody writes into while a run goes on: the plan, the publisher, the executors. It judges each request
//! as it comes, by what the record says; the sum is drawn by the judge. It waits for nobody: one lock, held for a moment.

use super::{
    extra::{Extra, ExtraKind, Fault},
    record::{End, Record, Records, Tick, flag},
};
use crate::{
    arrivals::Arrival,
    clock::{Clock, Moment},
    figures::{Figures, Kind, Layout, steady, steady::Steady},
    fleet::{Answered, Seen, Witness},
};
use serde::{Deserialize, Serialize};
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Requests too many that are kept with their times: 40 MB. What comes beyond is counted, and explained by nothing.
const EXTRAS_MAX: usize = 1_000_000;

/// What the system under test has promised, which requests are judged by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Attempts that a task may have; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// The least time between the end of an attempt and the next one.
    pub backoff_min: Duration,
    /// The longest wait that an answer may ask for.
    pub retry_after_max: Duration,
    /// Statuses that end a task at once.
    pub permanent: Vec<u16>,
    /// How much earlier than due a retry may be: two processes read a clock of milliseconds.
    pub early_grace: Duration,
    /// How much later than its expiry an attempt may arrive: its way from the dispatcher to the executor's own code, on a
    /// machine that may be busy.
    pub late_grace: Duration,
    /// Of each queue by the mix' order: its priority, and the most requests under way at a time over all dispatchers.
    pub queues: Vec<QueueRule>,
    /// For each class, the index of its queue.
    pub queue_of: Vec<usize>,
}

/// What is promised about one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRule {
    /// Its name.
    pub name: String,
    /// Higher goes first.
    pub priority: u8,
    /// The most requests under way at a time, over all dispatchers; `None` if that is not known.
    pub slots: Option<u32>,
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Tasks whose time has come.
    pub offered: u64,
    /// Tasks handed to the broker's client.
    pub published: u64,
    /// Tasks that the broker has confirmed.
    pub confirmed: u64,
    /// Tasks that it has not, or nobody knows.
    pub unconfirmed: u64,
    /// Tasks that an executor has seen.
    pub executed: u64,
    /// Requests that executors have seen.
    pub attempts: u64,
    /// Requests under way.
    pub under_way: u64,
    /// Tasks answered with success.
    pub succeeded: u64,
    /// Requests answered with success: more than `succeeded` if there are duplicates.
    pub successes: u64,
    /// Requests answered otherwise.
    pub failures: u64,
    /// Requests that the dispatcher broke off.
    pub abandoned: u64,
    /// Confirmed tasks of which no end is known yet: neither a success, nor a last failure.
    pub open: u64,
    /// Requests of tasks that this run has not made.
    pub unknown: u64,
    /// Requests after a success.
    pub duplicates: u64,
    /// Requests of the same attempt.
    pub repeats: u64,
    /// Requests before their moment.
    pub early: u64,
    /// The earliest of them was early by this, in microseconds.
    pub early_us_max: u64,
    /// Requests after their task had expired.
    pub late: u64,
    /// Those within the grace.
    pub late_within_grace: u64,
    /// Requests beyond the most attempts.
    pub over_attempts: u64,
    /// First requests of a task while one of higher priority waited that could have been sent.
    pub inversions: u64,
}

/// What is known of a queue while the run goes on.
#[derive(Debug, Clone, Default)]
struct Lane {
    under_way: u32,
    peak: u32,
    /// Confirmed, due, and not seen by an executor.
    waiting: u64,
    /// Since when there have always been some.
    waiting_since: Option<Duration>,
}

/// How long tasks of higher priority must have waited for one of lower priority to be out of order. A dispatcher that was
/// sent a task a moment ago may not have it yet.
const INVERSION_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Pages {
    pub(super) records: Records,
    pub(super) counts: Counts,
    pub(super) extras: Vec<Extra>,
    pub(super) faults: Vec<Fault>,
    pub(super) figures: Figures,
    lanes: Vec<Lane>,
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
            lanes: vec![Lane::default(); rules.queues.len()],
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
        self.pages().lanes.iter().map(|lane| lane.peak).collect()
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
            let lane = &mut pages.lanes[queue];
            lane.waiting += 1;
            lane.waiting_since.get_or_insert(now);
        }
    }

    /// The broker has refused it, or nobody knows whether it has it.
    pub fn unconfirmed(&self, number: u64) {
        self.pages().counts.unconfirmed += 1;
        self.make_room(number);
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

    fn make_room(&self, number: u64) {
        if self.pages().closed.contains(&number) {
            self.room.add_permits(1);
        }
    }

    fn queue_of(&self, record: &Record) -> usize {
        self.rules.queue_of[usize::from(record.class)]
    }

    /// Whether a queue of higher priority has had tasks waiting for long, and room for them.
    fn passes_over(&self, lanes: &[Lane], queue: usize, now: Duration) -> bool {
        let priority = self.rules.queues[queue].priority;
        self.rules.queues.iter().zip(lanes).any(|(rule, lane)| {
            let waits = lane.waiting_since.is_some_and(|since| now.saturating_sub(since) > INVERSION_AFTER);
            rule.priority > priority && waits && rule.slots.is_some_and(|slots| lane.under_way < slots)
        })
    }

    /// What the lock guards is counts and times, whole after each statement.
    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Book {
    fn arrived(&self, seen: Seen<'_>) -> Option<u64> {
        let now = self.clock.now();
        let number = self.number(seen.task);
        let mut pages = self.pages();
        let pages = &mut *pages;
        pages.counts.attempts += 1;
        let found = number.and_then(|n| Some((n, pages.records.get_mut(n)?)));
        let Some((number, record)) = found else {
            pages.counts.unknown += 1;
            return None;
        };
        let before = *record;
        judge(&self.rules, &mut pages.counts, record, &seen, now);
        if let Some(kind) = too_many(&before, seen.attempt) {
            record.extras = record.extras.saturating_add(1);
            match kind {
                ExtraKind::Duplicate => pages.counts.duplicates += 1,
                ExtraKind::Repeat => pages.counts.repeats += 1,
            }
            if pages.extras.len() < EXTRAS_MAX {
                pages.extras.push(Extra {
                    task: number,
                    at: now.run,
                    since: origin(&before, kind, seen.attempt),
                    kind,
                });
            }
        }
        record.attempt = record.attempt.max(u8::try_from(seen.attempt).unwrap_or(u8::MAX));
        let first = !before.first.is_some();
        if first {
            record.first = Tick::at(now.run);
        }
        let queue = self.queue_of(&before);
        pages.counts.under_way += 1;
        if first {
            pages.counts.executed += 1;
            if before.confirmed.is_some() && !before.has(flag::DELAYED) {
                let lane = &mut pages.lanes[queue];
                lane.waiting = lane.waiting.saturating_sub(1);
                lane.waiting_since = lane.waiting_since.filter(|_| lane.waiting > 0);
            }
            pages.counts.inversions += u64::from(self.passes_over(&pages.lanes, queue, now.run));
            first_seen(&mut pages.figures, before, queue, now);
        }
        let lane = &mut pages.lanes[queue];
        lane.under_way += 1;
        lane.peak = lane.peak.max(lane.under_way);
        pages.figures.second(now.run).attempts += 1;
        if let (2.., Some(due_ms)) = (seen.attempt, seen.due_ms) {
            let lag = now.wall.saturating_sub(self.clock.wall_of(due_ms));
            pages.figures.record(Kind::RetryLag, before, queue, lag);
        }
        Some(number)
    }

    fn answered(&self, number: u64, attempt: u32, took: Duration, how: Answered) {
        let now = self.clock.now();
        let mut pages = self.pages();
        let pages = &mut *pages;
        let record = pages.records.get_mut(number).expect("it has arrived before");
        let queue = self.rules.queue_of[usize::from(record.class)];
        record.last = Tick::at(now.run);
        pages.counts.under_way -= 1;
        pages.lanes[queue].under_way -= 1;
        let succeeded = matches!(how, Answered::Status(status, _) if status.is_success());
        let mut over = false;
        if succeeded {
            pages.counts.successes += 1;
            pages.figures.second(now.run).succeeded += 1;
            if !record.succeeded() {
                record.set(flag::SUCCEEDED);
                over = true;
                pages.counts.succeeded += 1;
                pages.counts.open -= u64::from(record.confirmed.is_some());
                pages.figures.done(*record, queue, now.run, record.has(flag::DELAYED));
            }
        } else {
            let wait = match how {
                Answered::Status(_, Some(asked)) => self.rules.backoff_min.max(asked.min(self.rules.retry_after_max)),
                _ => self.rules.backoff_min,
            };
            let due = (now.wall + wait).saturating_sub(self.rules.early_grace);
            // After a fault two copies of a task may be on their way, each with its own backoff: the earlier one may go.
            let other = record.due.get().filter(|_| record.extras > 0);
            record.due = Tick::at(other.map_or(due, |other| other.min(due)));
            pages.counts.failures += 1;
            pages.counts.abandoned += u64::from(how == Answered::Abandoned);
            pages.figures.second(now.run).failed += 1;
            let last = self.rules.max_attempts.is_some_and(|max| attempt >= max);
            let for_good =
                matches!(how, Answered::Status(status, _) if self.rules.permanent.contains(&status.as_u16()));
            over = last || for_good;
        }
        pages.figures.record(Kind::Attempt, *record, queue, took);
        let ours = pages.closed.contains(&number);
        if over && ours {
            self.room.add_permits(1);
        }
    }
}

/// Whether a request comes at a time at which it may.
fn judge(rules: &Rules, counts: &mut Counts, record: &mut Record, seen: &Seen<'_>, now: Moment) {
    // The backoff comes before the next attempt. One that is made again (after a fault) had its moment before, and after a
    // success only duplicates come; both are counted as what they are.
    let again = record.first.is_some() && seen.attempt <= u32::from(record.attempt);
    if let Some(due) = record.due.get().filter(|_| !record.succeeded() && !again)
        && now.wall < due
    {
        record.set(flag::EARLY);
        counts.early += 1;
        let by = u64::try_from((due - now.wall).as_micros()).unwrap_or(u64::MAX);
        counts.early_us_max = counts.early_us_max.max(by);
    }
    if let Some(expires) = record.expires.get()
        && now.wall >= expires
    {
        if now.wall - expires < rules.late_grace {
            counts.late_within_grace += 1;
        } else {
            record.set(flag::LATE);
            counts.late += 1;
        }
    }
    if rules.max_attempts.is_some_and(|max| seen.attempt > max) {
        record.set(flag::OVER);
        counts.over_attempts += 1;
    }
}

/// Whether the requests before account for this one.
fn too_many(before: &Record, attempt: u32) -> Option<ExtraKind> {
    if before.succeeded() {
        return Some(ExtraKind::Duplicate);
    }
    (attempt <= u32::from(before.attempt) && before.attempt < u8::MAX).then_some(ExtraKind::Repeat)
}

/// From when on a fault explains a request too many. All copies of a retried or delayed task descend from one that was
/// moved since it was published, and a fault during a move may leave a second copy.
fn origin(before: &Record, kind: ExtraKind, attempt: u32) -> Duration {
    let moved = attempt > 1 || before.has(flag::DELAYED);
    let tick = match kind {
        _ if moved => before.published,
        ExtraKind::Duplicate => before.first,
        ExtraKind::Repeat => before.first,
    };
    tick.get().unwrap_or_default()
}

/// The waits that end with the first attempt.
fn first_seen(figures: &mut Figures, record: Record, queue: usize, now: Moment) {
    if record.has(flag::DELAYED) {
        let lag = now.wall.saturating_sub(record.due.get().unwrap_or_default());
        figures.record(Kind::ScheduleLag, record, queue, lag);
        return;
    }
    let since = |tick: Tick| now.run.saturating_sub(tick.get().unwrap_or_default());
    figures.wait(record, queue, now.run, since(record.intended));
    figures.record(Kind::WaitUncorrected, record, queue, since(record.published));
}
