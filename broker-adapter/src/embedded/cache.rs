//! Records kept in memory besides the file, so that a queue that flows is never read back. It forgets, and the file knows.

use crate::queue::Spot;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Records of waiting messages, up to a limit of bytes. The oldest stay: they are the next to be delivered.
#[derive(Debug)]
pub(super) struct Cache {
    records: BTreeMap<Spot, Bytes>,
    /// Of the transaction that is not on disk yet: these must be kept.
    fresh: Vec<Spot>,
    bytes: usize,
    limit: usize,
}

impl Cache {
    pub(super) const fn new(limit: usize) -> Self {
        Self { records: BTreeMap::new(), fresh: Vec::new(), bytes: 0, limit }
    }

    /// Keeps a record until [`settle`](Self::settle) at least.
    pub(super) fn add(&mut self, spot: Spot, record: Bytes) {
        self.bytes += record.len();
        self.records.insert(spot, record);
        self.fresh.push(spot);
    }

    pub(super) fn get(&self, spot: Spot) -> Option<&Bytes> {
        self.records.get(&spot)
    }

    pub(super) fn take(&mut self, spot: Spot) -> Option<Bytes> {
        let record = self.records.remove(&spot)?;
        self.bytes -= record.len();
        Some(record)
    }

    /// What was fresh is on disk: what doesn't fit may go.
    pub(super) fn settle(&mut self) {
        while let Some(spot) = self.fresh.pop() {
            if self.bytes > self.limit {
                self.take(spot);
            }
        }
    }
}
