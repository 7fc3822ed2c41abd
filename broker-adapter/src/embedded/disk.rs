//! The tables of the file, and the transactions on them. What must become durable is said by others.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `messages` | queue and number, big endian | a record |
//! | `notes` | the same | of a message that was delivered and may be ready again: crashes * 2 + whether it is out |
//! | `marks` | queue | the highest number delivered; at 0 the number of the last transaction |
//! | `queues` | queue | its name |
//! | `once` | idempotency key | fingerprint, end, id |
//! | `once_ends` | end and key | nothing |
//! | `paused` | work queue | nothing |
//! | `meta` | `format` | the version of all this |

use super::{
    once::{self, OnceEntry},
    record::{self, Head, Unreadable},
};
use crate::queue::{QueueId, QueueName, Spot};
use bytes::Bytes;
use quebert_dispatcher::grid::Step;
use quebert_wire::Timestamp;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use std::collections::BTreeMap;

type Key<'a> = &'a [u8; 12];
const MESSAGES: TableDefinition<'_, Key<'_>, &[u8]> = TableDefinition::new("messages");
const NOTES: TableDefinition<'_, Key<'_>, u64> = TableDefinition::new("notes");
const MARKS: TableDefinition<'_, u32, u64> = TableDefinition::new("marks");
const QUEUES: TableDefinition<'_, u32, &str> = TableDefinition::new("queues");
const PAUSED: TableDefinition<'_, &str, ()> = TableDefinition::new("paused");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const PROBE: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("probe");

/// The version of the tables.
const FORMAT: u64 = 1;
/// The key in `meta` of the version.
const FORMAT_KEY: &str = "format";
/// The key in `marks` of the last transaction's number; queues are counted from 1.
const NUMBER_KEY: u32 = 0;
/// A disk has room again when it takes so many pages.
const PROBE_PAGES: u32 = 256;
/// Bytes that fill most of a page.
const PROBE_PAGE_BYTES: usize = 3000;

/// Whether a message that was delivered before is out, and at how many crashes it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) crashes: u32,
    pub(super) out: bool,
}

/// What one transaction writes. Messages are added before any are removed.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) queues: Vec<(QueueId, QueueName)>,
    pub(super) added: Vec<(Spot, Bytes)>,
    /// Each with whether there is a note on it.
    pub(super) removed: BTreeMap<Spot, bool>,
    pub(super) notes: BTreeMap<Spot, Note>,
    pub(super) marks: BTreeMap<QueueId, u64>,
    pub(super) paused: Vec<(String, bool)>,
    pub(super) once: Vec<(String, OnceEntry)>,
    /// Most idempotency keys.
    pub(super) once_max: u64,
    /// Idempotency keys that end before this may be forgotten.
    pub(super) now: Timestamp,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
            && self.added.is_empty()
            && self.removed.is_empty()
            && self.notes.is_empty()
            && self.marks.is_empty()
            && self.paused.is_empty()
            && self.once.is_empty()
    }
}

/// What start-up reads, beside the messages.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) queues: Vec<(QueueId, QueueName)>,
    pub(super) marks: BTreeMap<QueueId, u64>,
    pub(super) notes: BTreeMap<Spot, Note>,
}

/// Reading or writing failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// In the database's words.
    #[error(transparent)]
    Database(Box<redb::Error>),
    /// A record makes no sense.
    #[error("queue {} number {}: {unreadable}", spot.queue.0, spot.seq)]
    Record { spot: Spot, unreadable: Unreadable },
    /// Something else makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// The open database.
#[derive(Debug)]
pub(super) struct Disk {
    db: Database,
    number: u64,
    census: once::Census,
}

impl Disk {
    /// Takes a database over; one without any table is made ours.
    pub(super) fn new(db: Database) -> Result<Self, Fault> {
        let reading = db.begin_read()?;
        let tables = reading.list_tables()?.map(|table| table.name().to_owned()).collect::<Vec<_>>();
        drop(reading);
        if tables.is_empty() {
            format(&db)?;
        } else if !tables.iter().any(|table| table == META.name()) {
            return Err(Fault::Nonsense("it holds somebody else's tables".into()));
        }
        let reading = db.begin_read()?;
        match reading.open_table(META)?.get(FORMAT_KEY)?.map(|format| format.value()) {
            Some(FORMAT) => {}
            Some(format) => {
                return Err(Fault::Nonsense(format!("its format is {format}, and this program knows {FORMAT}")));
            }
            None => return Err(Fault::Nonsense("it does not tell its format".into())),
        }
        let number = reading.open_table(MARKS)?.get(NUMBER_KEY)?.map_or(0, |number| number.value());
        let census = once::Census::read(&reading)?;
        drop(reading);
        Ok(Self { db, number, census })
    }

    /// The number of the last transaction that is on disk.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// How many idempotency keys there are.
    pub(super) const fn once_len(&self) -> u64 {
        self.census.keys
    }

    /// Writes it all, or nothing. After an error nobody knows which; a new [`Disk`] on the same file can tell by its
    /// [`number`](Self::number). Tells how many idempotency keys it forgot before their time, to make room for others.
    pub(super) fn commit(&mut self, writes: &Writes) -> Result<u64, Fault> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate).map_err(|e| Fault::Nonsense(e.to_string()))?;
        let number = self.number + 1;
        if !(writes.added.is_empty() && writes.removed.is_empty()) {
            let mut messages = txn.open_table(MESSAGES)?;
            for (spot, record) in &writes.added {
                messages.insert(&key(*spot), &**record)?;
            }
            for spot in writes.removed.keys() {
                messages.remove(&key(*spot))?;
            }
        }
        if !writes.notes.is_empty() || writes.removed.values().any(|noted| *noted) {
            let mut notes = txn.open_table(NOTES)?;
            for (spot, note) in &writes.notes {
                notes.insert(&key(*spot), u64::from(note.crashes) << 1 | u64::from(note.out))?;
            }
            for (spot, _) in writes.removed.iter().filter(|(_, noted)| **noted) {
                notes.remove(&key(*spot))?;
            }
        }
        {
            let mut marks = txn.open_table(MARKS)?;
            for (queue, mark) in &writes.marks {
                marks.insert(queue.0, *mark)?;
            }
            marks.insert(NUMBER_KEY, number)?;
        }
        if !writes.queues.is_empty() {
            let mut queues = txn.open_table(QUEUES)?;
            for (queue, name) in &writes.queues {
                queues.insert(queue.0, &*name_to_text(name))?;
            }
        }
        if !writes.paused.is_empty() {
            let mut paused = txn.open_table(PAUSED)?;
            for (queue, is) in &writes.paused {
                if *is {
                    paused.insert(&**queue, ())?;
                } else {
                    paused.remove(&**queue)?;
                }
            }
        }
        let (census, early) = match writes.once.is_empty() && !self.census.has_expired(writes.now) {
            true => (self.census, 0),
            false => once::write(&txn, &writes.once, writes.now, writes.once_max)?,
        };
        txn.commit()?;
        (self.number, self.census) = (number, census);
        Ok(early)
    }

    /// Forgets idempotency keys whose time is over, some at a time. Tells whether there are more. What this writes is no
    /// transaction that has a number.
    pub(super) fn forget_expired(&mut self, now: Timestamp) -> Result<bool, Fault> {
        if !self.census.has_expired(now) {
            return Ok(false);
        }
        let txn = self.db.begin_write()?;
        let census = once::forget_expired(&txn, now)?;
        txn.commit()?;
        self.census = census;
        Ok(census.has_expired(now))
    }

    /// Whether there is room for what is new: writes something large, and takes it away again.
    pub(super) fn probe(&mut self) -> Result<(), Fault> {
        // The first round takes away what a probe that failed half-way has left.
        for write in [false, true, false] {
            let txn = self.db.begin_write()?;
            if write {
                let mut probe = txn.open_table(PROBE)?;
                for page in 0..PROBE_PAGES {
                    probe.insert(page, &[0; PROBE_PAGE_BYTES][..])?;
                }
            } else if !txn.delete_table(PROBE)? {
                txn.abort()?;
                continue;
            }
            txn.commit()?;
        }
        Ok(())
    }

    /// Queues, marks and notes.
    pub(super) fn index(&self) -> Result<Index, Fault> {
        let reading = self.db.begin_read()?;
        let mut index = Index::default();
        for entry in reading.open_table(QUEUES)?.iter()? {
            let (queue, text) = entry?;
            let text = text.value();
            let name = name_of_text(text).ok_or_else(|| Fault::Nonsense(format!("{text:?} names no queue")))?;
            index.queues.push((QueueId(queue.value()), name));
        }
        for entry in reading.open_table(MARKS)?.range(NUMBER_KEY + 1..)? {
            let (queue, mark) = entry?;
            index.marks.insert(QueueId(queue.value()), mark.value());
        }
        for entry in reading.open_table(NOTES)?.iter()? {
            let (key, note) = entry?;
            let (spot, note) = (spot_of(key.value()), note.value());
            let crashes = u32::try_from(note >> 1).unwrap_or(u32::MAX);
            index.notes.insert(spot, Note { crashes, out: note & 1 == 1 });
        }
        Ok(index)
    }

    /// Shows every message's head and length, in order.
    pub(super) fn heads(&self, mut show: impl FnMut(Spot, Head, usize)) -> Result<(), Fault> {
        let reading = self.db.begin_read()?;
        for entry in reading.open_table(MESSAGES)?.iter()? {
            let (key, record) = entry?;
            let spot = spot_of(key.value());
            let head = record::head(record.value()).map_err(|unreadable| Fault::Record { spot, unreadable })?;
            show(spot, head, record.value().len());
        }
        Ok(())
    }

    /// The records of these messages; what is not there is left out.
    pub(super) fn read(&self, spots: impl IntoIterator<Item = Spot>) -> Result<BTreeMap<Spot, Bytes>, Fault> {
        let reading = self.db.begin_read()?;
        let messages = reading.open_table(MESSAGES)?;
        let mut records = BTreeMap::new();
        for spot in spots {
            if let Some(record) = messages.get(&key(spot))? {
                records.insert(spot, Bytes::copy_from_slice(record.value()));
            }
        }
        Ok(records)
    }

    /// What was stored under an idempotency key, however old.
    pub(super) fn once(&self, key: &str) -> Result<Option<OnceEntry>, Fault> {
        once::find(&self.db.begin_read()?, key)
    }

    /// The work queues that are remembered as paused.
    pub(super) fn paused(&self) -> Result<Vec<String>, Fault> {
        let reading = self.db.begin_read()?;
        let paused = reading.open_table(PAUSED)?;
        let names = paused.iter()?.map(|entry| entry.map(|(name, _)| name.value().to_owned()).map_err(Fault::from));
        names.collect()
    }

    /// Moves everything to the front of the file and cuts it off behind. Takes as long as it takes to write it all.
    pub(super) fn compact(&mut self) -> Result<bool, Fault> {
        Ok(self.db.compact()?)
    }

    /// Closes the file.
    pub(super) fn close(self) -> Result<(), Fault> {
        Ok(self.db.close()?)
    }
}

/// Makes a new database ours.
fn format(db: &Database) -> Result<(), Fault> {
    let txn = db.begin_write()?;
    txn.open_table(MESSAGES)?;
    txn.open_table(NOTES)?;
    txn.open_table(MARKS)?;
    txn.open_table(QUEUES)?;
    once::make(&txn)?;
    txn.open_table(PAUSED)?;
    txn.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
    txn.commit()?;
    Ok(())
}

fn key(spot: Spot) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&spot.queue.0.to_be_bytes());
    key[4..].copy_from_slice(&spot.seq.to_be_bytes());
    key
}

fn spot_of(key: &[u8; 12]) -> Spot {
    let (queue, seq) = key.split_at(4);
    Spot {
        queue: QueueId(u32::from_be_bytes(queue.try_into().expect("four of twelve bytes"))),
        seq: u64::from_be_bytes(seq.try_into().expect("eight of twelve bytes")),
    }
}

fn name_to_text(name: &QueueName) -> String {
    match name {
        QueueName::Work(name) => format!("work:{name}"),
        QueueName::Dead(name) => format!("dead:{name}"),
        QueueName::CommonDead => "common-dead".to_owned(),
        QueueName::Delay(step) => format!("delay:{}", step.millis()),
    }
}

fn name_of_text(text: &str) -> Option<QueueName> {
    if text == "common-dead" {
        return Some(QueueName::CommonDead);
    }
    let (kind, name) = text.split_once(':')?;
    match kind {
        "work" => Some(QueueName::Work(name.into())),
        "dead" => Some(QueueName::Dead(name.into())),
        "delay" => Step::from_millis(name.parse().ok()?).map(QueueName::Delay),
        _ => None,
    }
}
