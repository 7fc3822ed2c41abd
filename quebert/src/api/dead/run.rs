//! A replay or delete by filter, from queue to queue. It can be cancelled between two letters, and what it has done stays
//! done.

use super::Desk;
use crate::{
    api::operations::{Counts, Phase, Progress, Running},
    letter::{Drawer, Filter, Letter, reborn},
};
use quebert_broker_adapter::admin::{Admin, AdminError, Place, Position, Sweeper, Take};
use quebert_dispatcher::ports::{BoxFuture, broker::Target};
use quebert_wire::{Message, Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long letters are kept from everybody else by brokers that hide what is looked at, if that gets on; twice as long
/// where it didn't, up to less than the broker's own patience.
const SLICE: Duration = Duration::from_secs(5);
const SLICE_MAX: Duration = Duration::from_secs(20 * 60);

/// What to do with letters that fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) filter: Filter,
    pub(super) replay: bool,
    pub(super) dry_run: bool,
    /// The time from one letter to the next.
    pub(super) pause: Option<Duration>,
    /// Letters at most.
    pub(super) limit: Option<u64>,
    /// For how long at most.
    pub(super) time: Option<Duration>,
}

/// Does it, and ends `running`.
pub(super) async fn run(desk: &Desk, running: Running, drawers: Vec<Drawer>, order: Order) {
    let mut worker = Worker {
        ways: desk.ways_back(),
        progress: running.0.clone(),
        drawer: Drawer::common(),
        began: crate::intake::now(),
        until: order.time.map(|time| Instant::now() + time),
        next: None,
        counts: Counts::default(),
        base: Counts::default(),
        in_hand: false,
        slice_ends: None,
        why: None,
        order,
    };
    let mut phase = Phase::Done;
    for drawer in drawers {
        worker.drawer = drawer;
        if let Err(e) = worker.empty(desk).await {
            phase = Phase::Failed(e.to_string());
            break;
        }
        match worker.why.take() {
            None | Some(Stop::Slice) => {}
            Some(Stop::Limit) => break,
            Some(Stop::Cancelled) => {
                phase = Phase::Cancelled;
                break;
            }
            Some(Stop::Time) => {
                phase = Phase::Failed("this took too long; the counts are of what was looked at in time".to_owned());
                break;
            }
        }
    }
    running.end(phase);
}

/// Why no more letters are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Cancelled,
    Limit,
    Time,
    Slice,
}

struct Worker {
    order: Order,
    ways: WaysBack,
    progress: Arc<Progress>,
    drawer: Drawer,
    /// What died after this has been replayed already, perhaps by this very operation: it is let lie, or a task that
    /// fails at once would be replayed without end.
    began: Timestamp,
    until: Option<Instant>,
    /// When the next letter may be taken.
    next: Option<Instant>,
    counts: Counts,
    /// As it was when this drawer was begun.
    base: Counts,
    /// The last letter was to be taken, and whether it was is not yet known.
    in_hand: bool,
    slice_ends: Option<Instant>,
    why: Option<Stop>,
}

impl Worker {
    /// Goes through one drawer, in slices where that hides its letters from others.
    async fn empty(&mut self, desk: &Desk) -> Result<(), AdminError> {
        self.base = self.counts;
        let mut slice = SLICE;
        loop {
            let done_before = self.counts.done;
            // Letters that were kept are met again in each slice, and must not count again; those that are done are gone.
            let gone = self.counts.done - self.base.done;
            self.counts.seen = self.base.seen + gone;
            self.counts.matched = self.base.matched + gone;
            self.counts.stuck = self.base.stuck;
            let turn = desk.turn(&self.drawer.place).await;
            self.slice_ends = turn.is_some().then(|| Instant::now() + slice);
            (self.why, self.in_hand) = (None, false);
            let swept = desk.state.admin.sweep(self.drawer.place.clone(), None, u64::MAX, self).await;
            drop(turn);
            match swept {
                // Letters that others have taken in the meantime are not done by this.
                Ok(swept) => self.counts.done = done_before + swept.moved + swept.removed,
                // Nothing was ever dead there.
                Err(AdminError::NoSuchPlace(_)) => {}
                Err(e) => return Err(e),
            }
            self.progress.tell(self.counts);
            if self.why != Some(Stop::Slice) {
                return Ok(());
            }
            if self.counts.done == done_before {
                if slice >= SLICE_MAX {
                    return Err(AdminError::Refused("too many letters to go through in one go".to_owned()));
                }
                slice = (slice * 2).min(SLICE_MAX);
            }
        }
    }

    /// What was in hand counts as done: the sweep went on.
    fn settle(&mut self) {
        if std::mem::take(&mut self.in_hand) {
            self.counts.done += 1;
        }
    }

    async fn look(&mut self, message: &Message) -> Take {
        self.settle();
        self.progress.tell(self.counts);
        if let Some(why) = self.over() {
            return self.stop(why);
        }
        let letter = Letter::read(message, &self.drawer);
        self.counts.seen += 1;
        if !self.order.filter.fits(&letter, self.began) || self.is_younger(&letter) {
            return Take::Keep;
        }
        if self.order.limit.is_some_and(|limit| self.counts.matched >= limit) {
            self.counts.seen -= 1;
            return self.stop(Stop::Limit);
        }
        self.counts.matched += 1;
        let way = if self.order.replay { self.ways.of(&letter).await } else { None };
        if self.order.replay && way.is_none() {
            self.counts.stuck += 1;
            return Take::Keep;
        }
        if self.order.dry_run {
            return Take::Keep;
        }
        if !self.pace().await {
            self.counts.seen -= 1;
            self.counts.matched -= 1;
            return self.stop(Stop::Cancelled);
        }
        self.in_hand = true;
        match way {
            Some(queue) => Take::Move { target: Target::Queue(queue), message: reborn(message, crate::intake::now()) },
            None => Take::Remove,
        }
    }

    fn stop(&mut self, why: Stop) -> Take {
        self.why = Some(why);
        Take::Stop
    }

    fn over(&self) -> Option<Stop> {
        let now = Instant::now();
        if self.progress.is_cancelled() {
            Some(Stop::Cancelled)
        } else if self.until.is_some_and(|until| now >= until) {
            Some(Stop::Time)
        } else if self.slice_ends.is_some_and(|ends| now >= ends) {
            Some(Stop::Slice)
        } else {
            None
        }
    }

    fn is_younger(&self, letter: &Letter) -> bool {
        [letter.at, letter.enqueued_at].into_iter().flatten().any(|at| at >= self.began)
    }

    /// Waits for the next letter's turn. `false` if it was cancelled meanwhile.
    async fn pace(&mut self) -> bool {
        let Some(pause) = self.order.pause else { return true };
        let next = self.next.unwrap_or_else(Instant::now);
        tokio::select! {
            () = self.progress.cancelled() => return false,
            () = tokio::time::sleep_until(next) => {}
        }
        // Time that was lost is not made up for.
        self.next = Some(Instant::now().max(next + pause));
        true
    }
}

impl Sweeper for Worker {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        Box::pin(self.look(message))
    }
}

/// Knows which queues letters can go back to.
pub(super) struct WaysBack {
    admin: Arc<dyn Admin>,
    known: BTreeMap<String, bool>,
}

/// Queues that are remembered; those of dead letters are the producers' choice.
const WAYS_MAX: usize = 1000;

impl WaysBack {
    pub(super) fn new(admin: Arc<dyn Admin>) -> Self {
        Self { admin, known: BTreeMap::new() }
    }

    /// The queue that a replay of this letter goes to, if it is known and there.
    pub(super) async fn of(&mut self, letter: &Letter) -> Option<Arc<str>> {
        let queue: Arc<str> = letter.returns_to.as_deref()?.into();
        let there = match self.known.get(&*queue) {
            Some(there) => *there,
            None => {
                // Where that can't be told now, the move itself will.
                let status = self.admin.status(Place::Queue(queue.clone())).await;
                let there = !matches!(status, Err(AdminError::NoSuchPlace(_)));
                if self.known.len() < WAYS_MAX {
                    self.known.insert(queue.to_string(), there);
                }
                there
            }
        };
        there.then_some(queue)
    }
}
