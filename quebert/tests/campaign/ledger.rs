//! The books of a campaign: every task, every confirm, every request that an executor saw, every fault, with times.
//!
//! It judges afterwards, from what was seen from outside. It asks neither the broker nor the dispatcher.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// A moment by the wall clock, which is the one that promises about `not_before` are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        Self(u64::try_from(since.as_micros()).expect("before the year 586912"))
    }

    pub(crate) fn plus(self, delay: Duration) -> Self {
        Self(self.0 + u64::try_from(delay.as_micros()).expect("a short delay"))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// The end of the millisecond that it lies in, since a task's `not_before` is in whole milliseconds.
    pub(crate) fn whole_millis(self) -> Self {
        Self(self.0.div_ceil(1000) * 1000)
    }
}

/// One request that an executor saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Execution {
    pub(crate) at: Moment,
    /// As its header says.
    pub(crate) attempt: u32,
    /// What the executor answered. Whether the answer arrived it can't know.
    pub(crate) status: u16,
}

impl Execution {
    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// One task, from its publish on.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) published: Moment,
    pub(crate) confirmed: Option<Moment>,
    pub(crate) not_before: Option<Moment>,
    pub(crate) executions: Vec<Execution>,
}

impl Entry {
    pub(crate) fn completed(&self) -> bool {
        self.executions.iter().any(Execution::succeeded)
    }

    /// Requests that neither the first try nor a retry after a failure accounts for, each with the moment from which
    /// on a fault explains it.
    pub(crate) fn extras(&self) -> Vec<Extra> {
        let mut extras = Vec::new();
        for (n, pair) in self.executions.windows(2).enumerate() {
            let (before, this) = (pair[0], pair[1]);
            if !before.succeeded() && this.attempt == before.attempt + 1 {
                continue;
            }
            let earlier = &self.executions[..=n];
            // All copies of an attempt descend from the attempt before, or for a delayed task from its publish: it was
            // moved through the delay grid since then, and a fault during a move may leave a second copy.
            let origin = earlier.iter().find(|e| e.attempt + 1 == this.attempt).map(|e| e.at);
            let origin = origin.or(self.not_before.map(|_| self.published));
            let repeated = earlier.iter().rfind(|e| e.attempt == this.attempt).unwrap_or(&before);
            let since = origin.unwrap_or(repeated.at);
            extras.push(Extra { execution: this, since });
        }
        extras
    }
}

/// A request too many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extra {
    pub(crate) execution: Execution,
    /// A fault from here to the request explains it.
    pub(crate) since: Moment,
}

/// Something that was done to the dispatcher or to the broker.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) what: String,
    pub(crate) from: Moment,
    /// Equal to `from` for a kill.
    pub(crate) until: Moment,
}

/// What a campaign came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) tasks: usize,
    pub(crate) confirmed: usize,
    pub(crate) completed: usize,
    pub(crate) executions: usize,
    pub(crate) extra: usize,
    /// The most that one task was executed.
    pub(crate) most: usize,
    /// Confirmed and never completed.
    pub(crate) lost: Vec<String>,
    /// Executed more often than failures and faults account for.
    pub(crate) unexplained: Vec<String>,
    /// Executed before its time.
    pub(crate) early: Vec<String>,
    /// Seen by an executor, and published by nobody.
    pub(crate) unknown: Vec<String>,
}

impl Judgement {
    pub(crate) fn is_clean(&self) -> bool {
        [&self.lost, &self.unexplained, &self.early, &self.unknown].into_iter().all(Vec::is_empty)
    }
}

/// Shared by all that write into it.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    books: Arc<Mutex<Books>>,
    counts: Arc<watch::Sender<Counts>>,
}

#[derive(Default)]
pub(crate) struct Books {
    pub(crate) tasks: BTreeMap<String, Entry>,
    pub(crate) unknown: BTreeMap<String, Vec<Execution>>,
    pub(crate) faults: Vec<Fault>,
    /// Confirmed tasks that are not completed yet.
    open: BTreeSet<String>,
}

/// What campaigns wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) confirmed: usize,
    pub(crate) executions: usize,
    /// Confirmed and not completed yet.
    pub(crate) open: usize,
}

impl Ledger {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no one panics with the books in hand")
    }

    pub(crate) fn publishes(&self, id: &str, not_before: Option<Moment>) {
        let entry = Entry { published: Moment::now(), confirmed: None, not_before, executions: Vec::new() };
        let before = self.books().tasks.insert(id.to_owned(), entry);
        assert!(before.is_none(), "each id is published once: {id}");
    }

    pub(crate) fn confirmed(&self, id: &str) {
        let mut books = self.books();
        let entry = books.tasks.get_mut(id).expect("confirmed after it was published");
        entry.confirmed = Some(Moment::now());
        if !entry.completed() {
            books.open.insert(id.to_owned());
        }
        self.count(&books, |counts| counts.confirmed += 1);
    }

    pub(crate) fn executed(&self, id: &str, attempt: u32, status: u16) {
        let mut books = self.books();
        let execution = Execution { at: Moment::now(), attempt, status };
        match books.tasks.get_mut(id) {
            Some(entry) => entry.executions.push(execution),
            None => books.unknown.entry(id.to_owned()).or_default().push(execution),
        }
        if execution.succeeded() {
            books.open.remove(id);
        }
        self.count(&books, |counts| counts.executions += 1);
    }

    fn count(&self, books: &Books, change: impl FnOnce(&mut Counts)) {
        self.counts.send_modify(|counts| {
            change(counts);
            counts.open = books.open.len();
        });
    }

    /// A fault of one moment.
    pub(crate) fn fault(&self, what: impl Into<String>) {
        let now = Moment::now();
        self.books().faults.push(Fault { what: what.into(), from: now, until: now });
    }

    /// A fault that began then and is over now.
    pub(crate) fn fault_since(&self, what: impl Into<String>, from: Moment) {
        self.books().faults.push(Fault { what: what.into(), from, until: Moment::now() });
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.borrow()
    }

    /// Waits until `wanted` says so; panics with the story when that takes longer than `limit`.
    pub(crate) async fn wait_until(&self, what: &str, limit: Duration, mut wanted: impl FnMut(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        let reached = tokio::time::timeout(limit, counts.wait_for(&mut wanted)).await.is_ok();
        assert!(reached, "not within {limit:?}: {what}\n{}", self.story());
    }

    pub(crate) fn judge(&self) -> Judgement {
        let books = self.books();
        let mut judgement = Judgement { tasks: books.tasks.len(), ..Judgement::default() };
        judgement.unknown = books.unknown.keys().cloned().collect();
        for (id, entry) in &books.tasks {
            judgement.confirmed += usize::from(entry.confirmed.is_some());
            judgement.completed += usize::from(entry.completed());
            judgement.executions += entry.executions.len();
            judgement.most = judgement.most.max(entry.executions.len());
            if entry.confirmed.is_some() && !entry.completed() {
                judgement.lost.push(id.clone());
            }
            if entry.not_before.is_some_and(|due| entry.executions.iter().any(|e| e.at < due)) {
                judgement.early.push(id.clone());
            }
            for extra in entry.extras() {
                judgement.extra += 1;
                let explained = books.faults.iter().any(|f| f.from <= extra.execution.at && f.until >= extra.since);
                if !explained && judgement.unexplained.last() != Some(id) {
                    judgement.unexplained.push(id.clone());
                }
            }
        }
        judgement
    }
}
