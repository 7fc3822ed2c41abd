//! What happens, as it happens: the last events, and whoever reads on. It keeps nothing beyond the last few thousand, and
//! nothing at all while nobody has read for some minutes.
//!
//! It is fed from within the dispatcher's loop. While nobody reads, an event costs an addition; while somebody does, a
//! short lock and shared names. Readers are woken at most every [`GATHER`], however much happens.

mod record;

use super::types::EventView;
use crate::intake::now;
use quebert_dispatcher::{event::Event, ports::observer::Observer};
use quebert_wire::{TaskId, Timestamp};
use record::{Kind, Record};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Events that are kept for readers who are slow or come back.
const KEPT: usize = 4096;
/// Readers at a time.
pub const READERS_MAX: usize = 64;
/// How long events are kept on after the last reader has left, for when it comes back.
const LINGER: Duration = Duration::from_secs(300);
/// How long a reader rests between two looks, in which events gather.
pub const GATHER: Duration = Duration::from_millis(20);
/// Events that a reader looks at at a time. With the rest in between, that is 12,800 a second: beyond that it misses some,
/// and the dispatcher, which shares its thread, goes on.
const TAKEN_MAX: usize = 256;
/// Event numbers begin at the start's second times this: higher than those of any process before, as long as that had
/// fewer events a second on average. Until the year 2242 they are exact in JavaScript, too.
const NUMBERS_PER_S: u64 = 1 << 20;

/// Events for readers of `/v1/events`.
#[derive(Debug)]
pub struct Feed {
    first: u64,
    next: AtomicU64,
    /// Whether events are kept. Changed under the lock.
    keeping: AtomicBool,
    ring: Mutex<Ring>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Ring {
    kept: VecDeque<Record>,
    readers: usize,
    /// When the last reader left.
    left: Option<Instant>,
    closed: bool,
}

/// Too many read already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{READERS_MAX} readers are the most at a time")]
pub struct TooManyReaders;

/// Which events a reader wants: those that fit all that is given.
#[derive(Debug, Clone, Default)]
pub struct Interest {
    queue: Option<String>,
    task: Option<TaskId>,
    /// Empty is all.
    kinds: Vec<Kind>,
}

impl Interest {
    /// Only of this queue.
    #[must_use]
    pub fn queue(mut self, lane: Option<String>) -> Self {
        self.queue = lane;
        self
    }

    /// Only of this task.
    #[must_use]
    pub fn task(mut self, task: Option<TaskId>) -> Self {
        self.task = task;
        self
    }

    /// Also of this kind; the first narrows all kinds down to it. `false` if there is no such kind.
    pub fn add_kind(&mut self, name: &str) -> bool {
        let kind = Kind::ALL.into_iter().find(|kind| kind.label() == name);
        self.kinds.extend(kind);
        kind.is_some()
    }

    /// The names of all kinds.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        Kind::ALL.into_iter().map(Kind::label)
    }

    fn fits(&self, record: &Record) -> bool {
        // That something is missing is told to everybody.
        record.kind == Kind::Missed
            || (self.kinds.is_empty() || self.kinds.contains(&record.kind))
                && self.queue.as_ref().is_none_or(|queue| record.queue.as_deref() == Some(queue))
                && self.task.as_ref().is_none_or(|task| record.task.as_ref() == Some(task))
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self::starting(now())
    }
}

impl Feed {
    fn starting(at: Timestamp) -> Self {
        let first = u64::try_from(at.as_millis()).unwrap_or(0) / 1000 * NUMBERS_PER_S + 1;
        Self {
            first,
            next: AtomicU64::new(first),
            keeping: AtomicBool::new(false),
            ring: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Tells that a task was added over the API. The dispatcher tells of all else by itself.
    pub fn enqueued(&self, queue: &Arc<str>, task: &str) {
        self.tell(|| {
            let task = TaskId::new(task).ok();
            Some(Record { queue: Some(queue.clone()), task, ..Record::new(Kind::Enqueued) })
        });
    }

    /// Reads from now on; with `after`, from the event behind that number on, as far as it is still kept.
    ///
    /// # Errors
    /// When [`READERS_MAX`] read already.
    pub fn read(self: &Arc<Self>, interest: Interest, after: Option<u64>) -> Result<Reader, TooManyReaders> {
        let mut ring = self.ring();
        if ring.readers >= READERS_MAX {
            return Err(TooManyReaders);
        }
        ring.readers += 1;
        ring.left = None;
        self.keeping.store(true, Ordering::Relaxed);
        let last = self.next.load(Ordering::Relaxed) - 1;
        // A number of another process says nothing of how much was missed: it is told that something was.
        let (seen, stranger) = match after {
            Some(after) if after < self.first - 1 || after > last => (self.first - 1, true),
            Some(after) => (after, false),
            None => (last, false),
        };
        drop(ring);
        Ok(Reader { feed: self.clone(), interest, seen, stranger, took: false })
    }

    /// Ends all readers once they have read what is there, and new ones as well: the process is ending.
    pub fn close(&self) {
        self.ring().closed = true;
        self.news.notify_waiters();
    }

    fn tell(&self, record: impl FnOnce() -> Option<Record>) {
        if !self.keeping.load(Ordering::Relaxed) {
            self.next.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(mut record) = record() else { return };
        record.at = now();
        let mut ring = self.ring();
        record.seq = self.next.fetch_add(1, Ordering::Relaxed);
        // Read under the lock, that the last reader may have left and nobody come back.
        if ring.left.is_some_and(|left| left.elapsed() > LINGER) {
            self.keeping.store(false, Ordering::Relaxed);
            ring.kept = VecDeque::new();
            return;
        }
        // Let go of what was displaced only after the lock.
        let displaced = if ring.kept.len() == KEPT { ring.kept.pop_front() } else { None };
        ring.kept.push_back(record);
        drop(ring);
        drop(displaced);
        self.news.notify_waiters();
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Feed {
    fn observe(&self, event: &Event) {
        if Record::is_told(event) {
            self.tell(|| Record::of(event));
        }
    }
}

/// Reads events. Counts as a reader until it is dropped.
#[derive(Debug)]
pub struct Reader {
    feed: Arc<Feed>,
    interest: Interest,
    /// The last event that was looked at.
    seen: u64,
    /// It was begun with a number of another process.
    stranger: bool,
    /// It has just taken some.
    took: bool,
}

impl Reader {
    /// Waits for events and returns those that fit, oldest first, at least one. Where the reader was too slow, or comes
    /// back too late, the first of them is `missed`, with how many are gone, whether they would have fitted or not; the
    /// number is left out where nobody knows it. `None` is the end: the process is ending.
    pub async fn next(&mut self) -> Option<Vec<EventView>> {
        let feed = self.feed.clone();
        if std::mem::take(&mut self.took) {
            tokio::time::sleep(GATHER).await;
        }
        loop {
            // Made before the look, so that what comes in between is not slept over.
            let news = feed.news.notified();
            let (fitting, any) = self.take()?;
            if !fitting.is_empty() {
                self.took = true;
                return Some(fitting);
            }
            if !any {
                news.await;
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Those that are there, and whether there were any at all. `None` once the feed is closed and all is told.
    fn take(&mut self) -> Option<(Vec<EventView>, bool)> {
        let ring = self.feed.ring();
        let from = ring.kept.partition_point(|record| record.seq <= self.seen);
        let taken: Vec<_> = ring.kept.range(from..).take(TAKEN_MAX).cloned().collect();
        let (next, closed) = (self.feed.next.load(Ordering::Relaxed), ring.closed);
        drop(ring);
        if closed && taken.is_empty() {
            return None;
        }
        // Between the last one seen and the first one kept, or all of them if none is kept.
        let reaches = taken.first().map_or(next, |first| first.seq);
        let gone = reaches - self.seen - 1;
        let mut told = Vec::new();
        if self.stranger || gone > 0 {
            let count = (!self.stranger).then_some(gone);
            let missed = Record { seq: reaches - 1, at: now(), count, ..Record::new(Kind::Missed) };
            self.seen = reaches - 1;
            self.stranger = false;
            told.push(missed.view());
        }
        let any = !told.is_empty() || !taken.is_empty();
        if let Some(last) = taken.last() {
            self.seen = last.seq;
        }
        told.extend(taken.iter().filter(|record| self.interest.fits(record)).map(Record::view));
        Some((told, any))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut ring = self.feed.ring();
        ring.readers -= 1;
        if ring.readers == 0 {
            ring.left = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
