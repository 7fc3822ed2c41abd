//! Idempotency keys in the file: one table by key, and one by end, so that those that end first are found without a search.
//! Whether a key was used, and what that means, is said in `desk`.

use super::disk::Fault;
use quebert_wire::Timestamp;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use std::time::Duration;

type ByKey = TableDefinition<'static, &'static str, &'static [u8]>;
type ByEnd = TableDefinition<'static, (i64, &'static str), ()>;
const ONCE: ByKey = TableDefinition::new("once");
const ONCE_ENDS: ByEnd = TableDefinition::new("once_ends");

/// Most keys that a transaction forgets, beyond as many as it adds. Each is a page to be written.
const FORGOTTEN_MAX: usize = 16;
/// Most keys that one transaction forgets when nobody has written for a while: some 10 ms.
const FORGOTTEN_MAX_WHEN_QUIET: usize = 1000;

/// How often it is said at most that keys are forgotten before their time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// An idempotency key with what was stored under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OnceEntry {
    pub(super) fingerprint: [u8; 32],
    pub(super) until: Timestamp,
    pub(super) id: String,
}

/// What there is, known without reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) keys: u64,
    first_end: Option<i64>,
}

impl Census {
    /// What the file holds. The database keeps count.
    pub(super) fn read(reading: &ReadTransaction) -> Result<Self, Fault> {
        Self::of(&reading.open_table(ONCE)?, &reading.open_table(ONCE_ENDS)?)
    }

    /// Whether the time of some key is over.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.first_end.is_some_and(|end| end <= now.as_millis())
    }

    fn of(
        once: &impl ReadableTable<&'static str, &'static [u8]>,
        ends: &impl ReadableTable<(i64, &'static str), ()>,
    ) -> Result<Self, Fault> {
        let first_end = ends.first()?.map(|(end, _)| end.value().0);
        Ok(Self { keys: once.len()?, first_end })
    }
}

/// Makes the tables.
pub(super) fn make(txn: &WriteTransaction) -> Result<(), Fault> {
    txn.open_table(ONCE)?;
    txn.open_table(ONCE_ENDS)?;
    Ok(())
}

/// What was stored under a key, however old.
pub(super) fn find(reading: &ReadTransaction, key: &str) -> Result<Option<OnceEntry>, Fault> {
    let once = reading.open_table(ONCE)?;
    let entry = once.get(key)?;
    Ok(entry.and_then(|entry| decode(entry.value())))
}

/// Notes keys, and forgets some whose time is over. If there would be more than `keys_max`, those that end first make
/// room. Tells what there is then, and how many were forgotten before their time.
pub(super) fn write(
    txn: &WriteTransaction,
    added: &[(String, OnceEntry)],
    now: Timestamp,
    keys_max: u64,
) -> Result<(Census, u64), Fault> {
    let mut tables = Tables::open(txn)?;
    let mut left = added.len() + FORGOTTEN_MAX;
    tables.forget_expired(now, &mut left)?;
    // Room is made before, so that a new key stays even if its window is shorter than that of the others.
    let mut early = tables.forget_above(keys_max.saturating_sub(added.len() as u64), &mut left)?;
    for (key, entry) in added {
        tables.add(key, entry)?;
    }
    // There may be more new ones than have room.
    early += tables.forget_above(keys_max, &mut left)?;
    Ok((tables.census()?, early))
}

/// Forgets some keys whose time is over. Tells what there is then.
pub(super) fn forget_expired(txn: &WriteTransaction, now: Timestamp) -> Result<Census, Fault> {
    let mut tables = Tables::open(txn)?;
    tables.forget_expired(now, &mut { FORGOTTEN_MAX_WHEN_QUIET })?;
    tables.census()
}

struct Tables<'a> {
    once: Table<'a, &'static str, &'static [u8]>,
    ends: Table<'a, (i64, &'static str), ()>,
}

impl<'a> Tables<'a> {
    fn open(txn: &'a WriteTransaction) -> Result<Self, Fault> {
        Ok(Self { once: txn.open_table(ONCE)?, ends: txn.open_table(ONCE_ENDS)? })
    }

    fn census(&self) -> Result<Census, Fault> {
        Census::of(&self.once, &self.ends)
    }

    fn add(&mut self, key: &str, entry: &OnceEntry) -> Result<(), Fault> {
        if let Some(old) = self.once.insert(key, &*encode(entry))?.and_then(|old| decode(old.value())) {
            self.ends.remove((old.until.as_millis(), key))?;
        }
        self.ends.insert((entry.until.as_millis(), key), ())?;
        Ok(())
    }

    fn forget_expired(&mut self, now: Timestamp, left: &mut usize) -> Result<(), Fault> {
        while *left > 0 && self.census()?.has_expired(now) && self.forget_first()? {
            *left -= 1;
        }
        Ok(())
    }

    /// Tells how many were forgotten.
    fn forget_above(&mut self, keys: u64, left: &mut usize) -> Result<u64, Fault> {
        let mut forgotten = 0;
        while *left > 0 && self.once.len()? > keys && self.forget_first()? {
            *left -= 1;
            forgotten += 1;
        }
        Ok(forgotten)
    }

    /// Forgets the key that ends first, if there is one.
    fn forget_first(&mut self) -> Result<bool, Fault> {
        let Some((first, _)) = self.ends.pop_first()? else { return Ok(false) };
        self.once.remove(first.value().1)?;
        Ok(true)
    }
}

/// Counts the keys that were forgotten before their time, until it is said.
#[derive(Debug, Default)]
pub(super) struct Early {
    keys: u64,
    said_at: Option<Duration>,
}

impl Early {
    /// Some more. Tells how many are to be said now.
    pub(super) fn add(&mut self, keys: u64, mono: Duration) -> Option<u64> {
        self.keys += keys;
        if self.keys == 0 || self.said_at.is_some_and(|at| mono < at + SAID_EVERY) {
            return None;
        }
        self.said_at = Some(mono);
        Some(std::mem::take(&mut self.keys))
    }
}

fn encode(entry: &OnceEntry) -> Vec<u8> {
    let mut value = entry.fingerprint.to_vec();
    value.extend_from_slice(&entry.until.as_millis().to_le_bytes());
    value.extend_from_slice(entry.id.as_bytes());
    value
}

fn decode(value: &[u8]) -> Option<OnceEntry> {
    let fingerprint = value.get(..32)?.try_into().ok()?;
    let until = i64::from_le_bytes(value.get(32..40)?.try_into().ok()?);
    let id = std::str::from_utf8(&value[40..]).ok()?.to_owned();
    Some(OnceEntry { fingerprint, until: Timestamp::from_millis(until), id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_keys_are_forgotten_early_is_said_once_a_minute_with_how_many() {
        let mut early = Early::default();
        let mut said = |keys, s| early.add(keys, Duration::from_secs(s));
        assert_eq!(said(0, 0), None);
        assert_eq!(said(3, 1), Some(3));
        assert_eq!(said(4, 2), None);
        assert_eq!(said(5, 60), None);
        assert_eq!(said(0, 61), Some(9));
        assert_eq!(said(0, 121), None);
        assert_eq!(said(1, 122), Some(1));
    }
}
