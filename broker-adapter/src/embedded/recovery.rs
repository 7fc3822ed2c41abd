//! What the store does at its two ends: at the start it takes in all that is stored and counts what a crash interrupted;
//! when it is quiet, and at both ends, it gives space back.

use super::{
    disk::{Fault, Note},
    record::{self, Record},
    store::{Fate, Store},
    time::millis,
};
use crate::queue::{Letter, QueueId, QueueName, Spot};
use quebert_dispatcher::verdict::BuryReason;
use quebert_wire::{HeaderValue, Message, Timestamp, header, limits::MESSAGE_HEAD_BYTES_MAX};
use std::{sync::Arc, time::Duration};

/// So long nobody must have written before the file is made smaller.
const QUIET: Duration = Duration::from_secs(2);
/// A file is left alone up to this size.
const SMALL_BYTES: u64 = 16 << 20;
/// While clients are there, at most so much is moved: some tenths of a second of writing.
const MOVED_BYTES_MAX: u64 = 64 << 20;
/// At the start and the end, more may be.
const MOVED_BYTES_MAX_AT_ENDS: u64 = 256 << 20;
/// What an idempotency key takes in the file, about.
const ONCE_BYTES: u64 = 256;
/// Most messages that are buried in one transaction at the start.
const BURIED_AT_ONCE: usize = 1000;

impl Store {
    /// Takes in everything. Tells what was under way when the process ended, and at how many crashes each was by now.
    pub(super) fn take_over(&mut self) -> Result<Vec<(Spot, u32)>, Fault> {
        let started = self.mono();
        let disk = self.disk.as_ref().expect("just opened");
        let index = disk.index()?;
        for (queue, name) in index.queues {
            let mark = index.marks.get(&queue).copied().unwrap_or(0);
            self.core.restore_queue(queue, name, mark);
        }
        let mut interrupted = Vec::new();
        let mut stray = None;
        let core = &mut self.core;
        disk.heads(|spot, head, length| {
            let Some(name) = core.name(spot.queue) else {
                stray = Some(spot);
                return;
            };
            let counts = name.is_work();
            let delivered = core.mark(spot.queue).is_some_and(|mark| spot.seq <= mark);
            let crashes = delivered.then(|| {
                // Without a note it was delivered once, and not given back.
                let note = index.notes.get(&spot).copied().unwrap_or(Note { crashes: 0, out: true });
                let crashes = note.crashes.saturating_add(u32::from(counts && note.out));
                if note.out {
                    interrupted.push((spot, crashes));
                }
                crashes
            });
            let home = (head.home != 0).then_some(QueueId(head.home));
            let bytes = u32::try_from(length).unwrap_or(u32::MAX);
            core.restore(spot, Letter { payload: (), bytes, at_ms: head.at_ms, id: head.id, home }, crashes);
        })?;
        if let Some(spot) = stray {
            return Err(Fault::Nonsense(format!(
                "message {} is of queue {}, which is not there",
                spot.seq, spot.queue.0
            )));
        }
        tracing::info!(
            file = %self.medium.path().display(),
            messages = self.core.len(),
            bytes = self.core.bytes(),
            interrupted = interrupted.len(),
            ms = millis(self.mono().saturating_sub(started)),
            "store opened"
        );
        Ok(interrupted)
    }

    /// Counts what was interrupted, buries what was so too often, and makes the queues of the config.
    pub(super) fn recover(&mut self, interrupted: &[(Spot, u32)]) -> Result<(), Fault> {
        for (spot, crashes) in interrupted {
            self.pending.notes.insert(*spot, Note { crashes: *crashes, out: false });
        }
        for queue in self.config.queues.clone() {
            self.core.declare(QueueName::Work(queue));
        }
        self.write_now()?;
        let limit = self.config.delivery_limit;
        let over = interrupted.iter().filter(|(_, crashes)| *crashes > limit).map(|(spot, _)| *spot);
        self.bury(&over.collect::<Vec<_>>())
    }

    /// Forgets some idempotency keys whose time is over, and gives space back where that is worth it and takes little time.
    /// `ends`: nobody waits.
    pub(super) fn tidy(&mut self, ends: bool) {
        if !ends && self.tidy_at.is_none_or(|at| at > self.mono()) {
            return;
        }
        self.tidy_at = None;
        let (started, wall) = (self.mono(), self.wall());
        let Some(disk) = self.disk.as_mut().filter(|_| self.trouble.is_none()) else { return };
        match disk.forget_expired(wall) {
            Ok(false) => {}
            Ok(true) => self.tidy_later(),
            Err(fault) => return self.fails(&fault),
        }
        let Some(disk) = &mut self.disk else { return };
        let Ok(file) = self.medium.bytes() else { return };
        let content = self.core.bytes().saturating_add(disk.once_len().saturating_mul(ONCE_BYTES));
        let (times, most) = if ends { (2, MOVED_BYTES_MAX_AT_ENDS) } else { (4, MOVED_BYTES_MAX) };
        let enough = SMALL_BYTES.max(content.saturating_mul(times));
        if content > most || file <= enough || file < self.incompressible.saturating_mul(2) {
            return;
        }
        match disk.compact() {
            Ok(_) => {
                let after = self.medium.bytes().unwrap_or(0);
                self.incompressible = if after > enough { after } else { 0 };
                tracing::debug!(
                    before = file,
                    after,
                    ms = millis(self.mono().saturating_sub(started)),
                    "file compacted"
                );
            }
            Err(fault) => self.fails(&fault),
        }
    }

    fn fails(&mut self, fault: &Fault) {
        self.disk = None;
        self.begin_trouble(fault.to_string());
    }

    /// Something was written: the look at the file's size waits until it is quiet.
    pub(super) fn tidy_later(&mut self) {
        self.tidy_at = Some(self.mono() + QUIET);
    }

    /// Moves messages that were under way at too many crashes to the dead letters.
    fn bury(&mut self, over: &[Spot]) -> Result<(), Fault> {
        for spots in over.chunks(BURIED_AT_ONCE) {
            let records = self.disk.as_ref().expect("open").read(spots.iter().copied())?;
            for spot in spots {
                let Some(QueueName::Work(queue)) = self.core.name(spot.queue).cloned() else { continue };
                let Some(record) = records.get(spot) else { continue };
                let message =
                    record::message(record).map_err(|unreadable| Fault::Record { spot: *spot, unreadable })?;
                let dead = self.core.declare(QueueName::Dead(queue.clone()));
                let now = self.wall();
                let message = buried(message, &queue, self.config.delivery_limit, now);
                let Some(record) = Record::new(&message, now) else { continue };
                self.take(*spot);
                // Dead letters are always taken.
                let _ = self.add(dead, record, true);
            }
            self.gather();
            self.write_now()?;
            self.settle_batch(true);
        }
        if !over.is_empty() {
            tracing::warn!(
                tasks = over.len(),
                limit = self.config.delivery_limit,
                "buried: under way at too many crashes"
            );
        }
        Ok(())
    }

    /// Writes at the start, where a failure is the end.
    fn write_now(&mut self) -> Result<(), Fault> {
        self.gather();
        match self.write() {
            Fate::Stored => Ok(()),
            Fate::Nowhere(words) | Fate::Unknown { words, .. } => {
                Err(std::io::Error::other(words)).map_err(|error| redb::Error::Io(error).into())
            }
        }
    }
}

/// A task that was under way at too many crashes, with the notes of a dead letter.
fn buried(mut message: Message, queue: &Arc<str>, limit: u32, now: Timestamp) -> Message {
    message.strip_broker_headers();
    let shed = message.shed_headers(MESSAGE_HEAD_BYTES_MAX);
    if !shed.is_empty() {
        let names = shed.into_iter().take(16).map(HeaderValue::Text).collect();
        message.headers.insert(header::DEAD_SHED.to_owned(), HeaderValue::List(names));
    }
    let detail = format!("under way at more than {limit} crashes of the process");
    let notes = [
        (header::DEAD_REASON, HeaderValue::Text(BuryReason::MaxDeliveries.label().to_owned())),
        (header::DEAD_DETAIL, HeaderValue::Text(detail)),
        (header::DEAD_AT, HeaderValue::Int(now.as_millis())),
        (header::DEAD_LANE, HeaderValue::Text(queue.to_string())),
    ];
    message.headers.extend(notes.map(|(name, value)| (name.to_owned(), value)));
    message
}
