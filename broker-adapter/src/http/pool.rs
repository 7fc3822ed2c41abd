//! The connections that wait for their next request. Opens none and sends nothing.
//!
//! Reuse rules: the most recently used connection goes first; none is used after `idle_timeout`; none is used whose
//! last answer was not read to its end; at most `idle_per_destination` and `idle_total` wait. Everything is in ordered
//! maps, so that a simulated run can be repeated.

use super::{
    config::HttpConfig,
    conn::{H1, H2},
};
use hyper::rt::{Read, Write};
use quebert_wire::Destination;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// See the module.
pub(super) struct Pool<Io: Read + Write + Unpin + 'static> {
    state: Mutex<State<Io>>,
    idle_timeout: Duration,
    h2_idle_timeout: Duration,
    idle_per_destination: usize,
    idle_total: usize,
}

struct State<Io: Read + Write + Unpin + 'static> {
    entries: BTreeMap<Destination, Entry<Io>>,
    /// HTTP/1.1 connections in all entries.
    idle: usize,
    reaping: bool,
}

struct Entry<Io: Read + Write + Unpin + 'static> {
    /// Oldest first.
    idle: VecDeque<(Instant, H1<Io>)>,
    h2: Option<(Instant, H2)>,
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Whether connections are opened side by side, since the last one was not HTTP/2.
    parallel: bool,
}

impl<Io: Read + Write + Unpin + 'static> Default for Entry<Io> {
    fn default() -> Self {
        Self { idle: VecDeque::new(), h2: None, gate: Arc::default(), parallel: false }
    }
}

impl<Io: Read + Write + Unpin + Send + 'static> Pool<Io> {
    pub(super) fn new(config: &HttpConfig) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { entries: BTreeMap::new(), idle: 0, reaping: false }),
            idle_timeout: config.idle_timeout,
            h2_idle_timeout: config.h2_idle_timeout,
            idle_per_destination: config.idle_per_destination,
            idle_total: config.idle_total,
        })
    }

    /// The most recently used connection, if it is not too old. It may have been closed meanwhile: ask it.
    pub(super) fn take_h1(&self, destination: &Destination) -> Option<H1<Io>> {
        let mut state = self.lock();
        let (since, _) = state.entries.get(destination)?.idle.back()?;
        if since.elapsed() >= self.idle_timeout {
            // The others are older still. The reaper closes them.
            return None;
        }
        state.idle -= 1;
        state.entries.get_mut(destination)?.idle.pop_back().map(|(_, h1)| h1)
    }

    /// Keeps a connection for the next request.
    pub(super) fn put_h1(self: &Arc<Self>, destination: Destination, h1: H1<Io>) {
        if self.idle_per_destination == 0 || self.idle_total == 0 {
            return;
        }
        let mut state = self.lock();
        // Closed after the lock is gone, since closing is a system call.
        let mut surplus = None;
        let full = state.idle >= self.idle_total;
        let entry = state.entries.entry(destination).or_default();
        if entry.idle.len() >= self.idle_per_destination || (full && !entry.idle.is_empty()) {
            surplus = entry.idle.pop_front();
        } else if full {
            drop(state);
            return;
        }
        entry.idle.push_back((Instant::now(), h1));
        state.idle += usize::from(surplus.is_none());
        self.reap_later(&mut state);
        drop(state);
    }

    /// The HTTP/2 connection to there, if there is one that takes requests.
    pub(super) fn h2(&self, destination: &Destination) -> Option<H2> {
        let mut state = self.lock();
        let entry = state.entries.get_mut(destination)?;
        entry.h2.take_if(|(_, h2)| h2.is_closed());
        let (used, h2) = entry.h2.as_mut()?;
        *used = Instant::now();
        Some(h2.clone())
    }

    /// Shares an HTTP/2 connection with all later requests.
    pub(super) fn put_h2(self: &Arc<Self>, destination: Destination, h2: H2) {
        let mut state = self.lock();
        let entry = state.entries.entry(destination).or_default();
        entry.h2 = Some((Instant::now(), h2));
        entry.parallel = false;
        self.reap_later(&mut state);
    }

    /// Where a connection may turn out to be HTTP/2, the first one is waited for, so that all can share it. `None` if
    /// there is nothing to wait for.
    pub(super) fn gate(self: &Arc<Self>, destination: &Destination) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let mut state = self.lock();
        let entry = state.entries.entry(destination.clone()).or_default();
        let gate = (!entry.parallel).then(|| entry.gate.clone());
        self.reap_later(&mut state);
        gate
    }

    /// The last connection was not HTTP/2, or failed: nobody need wait for the next one.
    pub(super) fn open_gate(&self, destination: &Destination) {
        if let Some(entry) = self.lock().entries.get_mut(destination) {
            entry.parallel = true;
        }
    }

    /// HTTP/1.1 connections that wait.
    pub(super) fn idle(&self) -> usize {
        self.lock().idle
    }

    /// One task for the whole pool, which ends when there is nothing left to close.
    fn reap_later(self: &Arc<Self>, state: &mut State<Io>) {
        if !state.reaping {
            state.reaping = true;
            tokio::spawn(reap(Arc::downgrade(self), self.idle_timeout / REAPS_PER_TIMEOUT));
        }
    }

    /// Takes out what is too old; whoever gets it drops it, without the lock.
    fn take_old(&self) -> Old<Io> {
        let mut state = self.lock();
        let now = Instant::now();
        let mut old = Old { h1: Vec::new(), h2: Vec::new(), done: false };
        for entry in state.entries.values_mut() {
            while entry.idle.front().is_some_and(|(since, _)| now.duration_since(*since) >= self.idle_timeout) {
                old.h1.extend(entry.idle.pop_front());
            }
            old.h2.extend(
                entry.h2.take_if(|(used, h2)| h2.is_closed() || now.duration_since(*used) >= self.h2_idle_timeout),
            );
        }
        state.idle -= old.h1.len();
        state.entries.retain(|_, e| !e.idle.is_empty() || e.h2.is_some() || Arc::strong_count(&e.gate) > 1);
        old.done = state.entries.is_empty();
        state.reaping = !old.done;
        old
    }

    fn lock(&self) -> MutexGuard<'_, State<Io>> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Old<Io: Read + Write + Unpin + 'static> {
    h1: Vec<(Instant, H1<Io>)>,
    h2: Vec<(Instant, H2)>,
    /// Nothing is left in the pool, and this was the reaper's last round.
    done: bool,
}

async fn reap<Io: Read + Write + Unpin + Send + 'static>(pool: Weak<Pool<Io>>, every: Duration) {
    loop {
        sleep(every.max(REAP_EVERY_MIN)).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.take_old().done {
            return;
        }
    }
}

/// A connection is closed at most an eighth of the limit late: 4.5 s by default, still below Node's 5 s.
const REAPS_PER_TIMEOUT: u32 = 8;

/// So that a tiny limit makes no busy loop.
const REAP_EVERY_MIN: Duration = Duration::from_millis(10);
