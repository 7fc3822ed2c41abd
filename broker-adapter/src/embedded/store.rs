//! The store's thread: takes all that is asked at once, lets the queue core decide, writes one transaction, and only then
//! answers and delivers. What a request means is in `clients` and `desk`; what a fault means, in `trouble`.

use super::{
    EmbeddedConfig, OpenError,
    cache::Cache,
    clients::Client,
    disk::{Disk, Note, Writes},
    file::{Medium, classify},
    inbox::{AdminAnswer, Answer, Inbox, Request, Woken},
    journal::{Done, Journal},
    once::{Early, OnceEntry},
    record::Record,
    trouble::Trouble,
};
use crate::{
    admin::{AdminError, Enqueued},
    queue::{Change, ClientId, Full, Handed, Letter, Limits, QueueCore, QueueId, QueueName, Spot, Taken},
};
use bytes::Bytes;
use quebert_dispatcher::ports::{
    broker::{PublishError, Tag},
    clock::Clock,
};
use quebert_wire::{Message, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::OwnedSemaphorePermit;

/// Most requests of one transaction: 4096 inserts take some 20 ms, which is what an ack may wait at most.
const BATCH_REQUESTS: usize = 4096;
/// Most bytes of new messages of one transaction, save that there is one at least.
const BATCH_BYTES: usize = 16 << 20;
/// Most deliveries of one transaction.
const BATCH_DELIVERIES: usize = 1024;
/// When the deliveries of one transaction come to so many bytes, the others wait for the next one.
const BATCH_DELIVERED_BYTES: u64 = 16 << 20;
/// When a client takes no events, how long until the next look.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The store. Everything in it belongs to its thread, or to the host that drives it by hand.
pub(super) struct Store {
    /// `None` while it can't be opened again after a fault. The first field: it closes before the medium gives up its lock.
    pub(super) disk: Option<Disk>,
    pub(super) config: EmbeddedConfig,
    pub(super) medium: Medium,
    clock: Arc<dyn Clock>,
    /// The number of the last transaction that somebody was told of.
    pub(super) confirmed: u64,
    pub(super) core: QueueCore<()>,
    pub(super) cache: Cache,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) pending: Pending,
    pub(super) batch: Batch,
    pub(super) trouble: Option<Trouble>,
    inbox: Arc<Inbox>,
    pub(super) todo: VecDeque<Request>,
    /// The last transaction had no place for more deliveries.
    more_to_deliver: bool,
    pub(super) over: bool,
    /// The number of the transaction whose fate is open; the batch is its.
    pub(super) doubt: Option<u64>,
    /// Whom to tell that the store has closed.
    pub(super) last_words: Vec<Answer<()>>,
    /// When to look whether the file has become too large for what is in it.
    pub(super) tidy_at: Option<Duration>,
    /// What the last compaction left, if that was still more than the contents seemed to call for: it is not repeated
    /// before the file has doubled. Otherwise 0.
    pub(super) incompressible: u64,
    /// Idempotency keys that were forgotten before their time.
    early: Early,
    pub(super) journal: Journal,
}

/// What must be written and is true whatever happens; it waits for the next transaction that succeeds.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) queues: Vec<(QueueId, QueueName)>,
    pub(super) removed: BTreeMap<Spot, bool>,
    pub(super) notes: BTreeMap<Spot, Note>,
    pub(super) marked: BTreeSet<QueueId>,
}

/// What one transaction does beyond that, and who waits for it. If it fails, none of it has happened.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) added: Vec<(Spot, Bytes)>,
    pub(super) bytes: usize,
    pub(super) taken: Vec<Taken<()>>,
    pub(super) handed: Vec<(Handed, Option<Message>)>,
    pub(super) paused: Vec<(String, bool)>,
    pub(super) once: BTreeMap<String, OnceEntry>,
    pub(super) waiting: Vec<Waiting>,
}

/// Somebody who waits for the transaction.
pub(super) enum Waiting {
    Publish(Answer<Result<(), PublishError>>, OwnedSemaphorePermit),
    Enqueue(Answer<Vec<Result<Enqueued, PublishError>>>, Vec<Result<Enqueued, PublishError>>, OwnedSemaphorePermit),
    Flag(AdminAnswer<bool>, bool),
    Purged(AdminAnswer<super::inbox::Purged>, super::inbox::Purged),
    Done(AdminAnswer<()>),
    Stopped(Answer<()>),
}

/// What became of a transaction.
pub(super) enum Fate {
    /// It is on disk.
    Stored,
    /// It is nowhere.
    Nowhere(String),
    /// The disk failed in the middle: nobody knows whether it will be there after a loss of power. `landed` is what the
    /// file says now, if it could be read.
    Unknown { words: String, landed: Option<bool> },
}

impl Store {
    /// Opens the file and takes in what is stored.
    pub(super) fn open(
        medium: Medium,
        config: EmbeddedConfig,
        inbox: Arc<Inbox>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (disk, shield) = medium.open()?;
        let limits = Limits { queue_messages_max: config.queue_messages_max, total_bytes_max: config.total_bytes_max };
        let mut store = Self {
            cache: Cache::new(config.cache_bytes),
            config,
            medium,
            clock,
            confirmed: disk.number(),
            disk: Some(disk),
            core: QueueCore::new(limits),
            clients: BTreeMap::new(),
            pending: Pending::default(),
            batch: Batch::default(),
            trouble: None,
            inbox,
            todo: VecDeque::new(),
            more_to_deliver: false,
            over: false,
            doubt: None,
            last_words: Vec::new(),
            tidy_at: None,
            incompressible: 0,
            early: Early::default(),
            journal: Journal::default(),
        };
        let path = store.medium.path().to_path_buf();
        let interrupted = store.take_over().map_err(|fault| classify(&path, fault))?;
        // It is sound: from here on the file is written.
        shield.lower().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        store.recover(&interrupted).map_err(|fault| classify(&path, fault))?;
        Ok(store)
    }

    /// Serves until the last client has gone.
    pub(super) fn run(mut self) {
        let ending = Ending(self.inbox.clone());
        self.begin();
        while !self.over {
            let patience = self.next_wakeup().map(|at| at.saturating_sub(self.mono()));
            if let Woken::Abandoned = self.inbox.take(&mut self.todo, patience) {
                // As if the process had been killed. What is in the file is safe.
                return;
            }
            self.turn();
        }
        drop(ending);
        let last_words = self.close();
        for answer in last_words {
            let _ = answer.send(());
        }
    }

    /// What is done once, before the first turn.
    pub(super) fn begin(&mut self) {
        if let Err(error) = self.medium.reserve() {
            tracing::warn!(file = %self.medium.path().display(), %error, "there is no room to keep in reserve");
        }
        self.tidy(true);
    }

    /// The moment, since some other one. Never goes back.
    pub(super) fn mono(&self) -> Duration {
        self.clock.now().mono
    }

    /// The moment on the wall.
    pub(super) fn wall(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// One transaction's worth of work.
    pub(super) fn turn(&mut self) {
        self.try_again();
        for _ in 0..BATCH_REQUESTS {
            if self.batch.bytes >= BATCH_BYTES {
                break;
            }
            let Some(request) = self.todo.pop_front() else { break };
            self.take_in(request);
        }
        self.more_to_deliver = !self.is_stuck() && self.hand_out(BATCH_DELIVERIES, BATCH_DELIVERED_BYTES);
        self.gather();
        self.commit();
        self.tidy(false);
    }

    /// Takes in one record for a queue. What is `always` taken knows no limits.
    pub(super) fn add(&mut self, queue: QueueId, record: Record, always: bool) -> Result<Spot, Full> {
        let home = record.return_to.as_deref().and_then(|name| self.core.queue(&QueueName::Work(name.into())));
        let (id, at_ms) = (record.id, record.at_ms);
        let bytes = u32::try_from(record.len()).unwrap_or(u32::MAX);
        let spot = self.core.publish(queue, Letter { payload: (), bytes, at_ms, id, home }, always)?;
        let record = record.seal(home.map_or(0, |home| home.0));
        self.cache.add(spot, record.clone());
        self.batch.bytes += record.len();
        self.batch.added.push((spot, record));
        Ok(spot)
    }

    /// The delivery's message is taken out, since another one takes its place.
    pub(super) fn relocate(&mut self, from: Tag) {
        if let Some(taken) = self.core.relocate(from) {
            self.batch.taken.push(taken);
        }
    }

    /// A ready message is taken out.
    pub(super) fn take(&mut self, spot: Spot) -> bool {
        let taken = self.core.take(spot);
        let there = taken.is_some();
        self.batch.taken.extend(taken);
        there
    }

    /// Sorts what the core has changed into what must be written.
    pub(super) fn gather(&mut self) {
        for change in self.core.changes() {
            match change {
                Change::Made { queue, name } => self.pending.queues.push((queue, name)),
                // It is in the batch already, with its record.
                Change::Added(_) => {}
                Change::Removed { spot, noted } => {
                    self.cache.take(spot);
                    self.pending.notes.remove(&spot);
                    self.pending.removed.insert(spot, noted);
                }
                Change::HandedOut { spot, again: true, crashes } => {
                    self.pending.notes.insert(spot, Note { crashes, out: true });
                }
                Change::HandedOut { spot, again: false, .. } => drop(self.pending.marked.insert(spot.queue)),
                Change::Returned { spot, crashes } => {
                    self.journal.note(|| Done::Returned(spot));
                    self.pending.notes.insert(spot, Note { crashes, out: false });
                }
            }
        }
    }

    /// Writes what there is to write, if anything, and tells everybody.
    pub(super) fn commit(&mut self) {
        if self.is_stuck() {
            // If its fate is open, the batch is kept. Otherwise a read has failed, and nothing of it was written.
            if self.doubt.is_none() {
                self.settle_batch(false);
            }
            let words = self.words();
            return self.tell(&Fate::Nowhere(words));
        }
        let fate = self.write();
        match &fate {
            Fate::Stored => {}
            Fate::Nowhere(words) | Fate::Unknown { words, .. } => self.begin_trouble(words.clone()),
        }
        match &fate {
            Fate::Stored => self.settle_batch(true),
            Fate::Nowhere(_) => self.settle_batch(false),
            Fate::Unknown { landed: Some(landed), .. } => self.settle_batch(*landed),
            // The batch waits until the file can be read again.
            Fate::Unknown { landed: None, .. } => {}
        }
        self.tell(&fate);
    }

    /// One transaction of all that is pending and the batch.
    pub(super) fn write(&mut self) -> Fate {
        let writes = self.writes();
        if writes.is_empty() {
            return Fate::Stored;
        }
        let Some(disk) = &mut self.disk else { return Fate::Nowhere(self.words()) };
        let number = disk.number() + 1;
        match disk.commit(&writes) {
            Ok(early) => {
                self.written();
                self.forgot(early);
                Fate::Stored
            }
            Err(fault) => self.find_out(number, fault.to_string()),
        }
    }

    /// What was pending is on disk.
    pub(super) fn written(&mut self) {
        self.confirmed = self.disk.as_ref().map_or(self.confirmed, Disk::number);
        self.pending = Pending::default();
        self.tidy_later();
    }

    /// Idempotency keys were forgotten before their time, which whoever operates this should know.
    fn forgot(&mut self, early: u64) {
        let Some(keys) = self.early.add(early, self.mono()) else { return };
        let limit = self.config.idempotency_keys_max;
        tracing::warn!(
            keys,
            limit,
            "idempotency keys were forgotten before their time, since there are too many; \
             embedded.idempotency_keys_max raises the limit"
        );
    }

    /// Makes the batch true, or undoes it. Its deliveries are sent, or were never made.
    pub(super) fn settle_batch(&mut self, stored: bool) {
        let batch = &mut self.batch;
        let handed = std::mem::take(&mut batch.handed);
        let taken = std::mem::take(&mut batch.taken);
        let added = std::mem::take(&mut batch.added);
        batch.bytes = 0;
        batch.paused.clear();
        batch.once.clear();
        if stored {
            self.cache.settle();
            for (spot, record) in added {
                self.journal.note(|| Done::added(spot, self.core.name(spot.queue), &record));
            }
            for taken in taken {
                self.journal.note(|| Done::Taken(taken.spot()));
            }
            return self.deliver(handed);
        }
        for (handed, _) in handed.iter().rev() {
            self.core.take_back(handed);
        }
        for taken in taken {
            self.pending.removed.remove(&taken.spot());
            self.core.put_back(taken);
        }
        for (spot, _) in &added {
            self.core.forget(*spot);
            self.cache.take(*spot);
        }
        self.cache.settle();
        self.gather();
        // An opening that closed meanwhile has given back what never was.
        for (spot, _) in &added {
            self.pending.notes.remove(spot);
        }
    }

    /// Answers all who wait for the transaction.
    fn tell(&mut self, fate: &Fate) {
        for waiting in std::mem::take(&mut self.batch.waiting) {
            match waiting {
                Waiting::Stopped(answer) if self.over => self.last_words.push(answer),
                waiting => waiting.tell(fate),
            }
        }
    }

    fn writes(&self) -> Writes {
        let marks = self.pending.marked.iter();
        Writes {
            queues: self.pending.queues.clone(),
            added: self.batch.added.clone(),
            removed: self.pending.removed.clone(),
            notes: self.pending.notes.clone(),
            marks: marks.filter_map(|queue| Some((*queue, self.core.mark(*queue)?))).collect(),
            paused: self.batch.paused.clone(),
            once: self.batch.once.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect(),
            once_max: self.config.idempotency_keys_max,
            now: self.wall(),
        }
    }

    /// When something is to do that nobody asks for.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        if !self.todo.is_empty() || self.more_to_deliver {
            return Some(self.mono());
        }
        let retry_at = self.trouble.as_ref().map(|trouble| trouble.retry_at);
        if self.is_stuck() {
            return retry_at;
        }
        if self.core.waits_for_room() && self.somebody_listens() {
            return Some(self.mono() + LOOK_AGAIN);
        }
        retry_at.or(self.tidy_at)
    }

    /// Closes the file. Returns whom to tell.
    pub(super) fn close(mut self) -> Vec<Answer<()>> {
        self.try_now();
        self.tidy(true);
        if let Some(disk) = self.disk.take()
            && let Err(fault) = disk.close()
        {
            tracing::warn!(file = %self.medium.path().display(), %fault, "the store was not closed cleanly");
        }
        self.last_words
    }
}

impl Waiting {
    pub(super) fn tell(self, fate: &Fate) {
        let refused = |fate: &Fate| match fate {
            Fate::Stored => None,
            Fate::Nowhere(words) => Some(PublishError::Refused(words.clone())),
            Fate::Unknown { words, .. } => Some(PublishError::Unknown(words.clone())),
        };
        let failed = |fate: &Fate| match fate {
            Fate::Stored => None,
            Fate::Nowhere(words) | Fate::Unknown { words, .. } => Some(AdminError::Unavailable(words.clone())),
        };
        // Whoever no longer waits doesn't care.
        match self {
            Self::Publish(answer, permit) => {
                drop(permit);
                let _ = answer.send(refused(fate).map_or(Ok(()), Err));
            }
            Self::Enqueue(answer, mut results, permit) => {
                drop(permit);
                if let Some(error) = refused(fate) {
                    results.iter_mut().filter(|result| result.is_ok()).for_each(|result| *result = Err(error.clone()));
                }
                let _ = answer.send(results);
            }
            Self::Flag(answer, value) => drop(answer.send(failed(fate).map_or(Ok(value), Err))),
            Self::Purged(answer, value) => drop(answer.send(failed(fate).map_or(Ok(value), Err))),
            Self::Done(answer) => drop(answer.send(failed(fate).map_or(Ok(()), Err))),
            Self::Stopped(answer) => drop(answer.send(())),
        }
    }
}

/// Ends the inbox, however the thread ends.
struct Ending(Arc<Inbox>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}
