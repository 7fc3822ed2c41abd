//! The hash and the log of everything that is sent: two runs are the same if their hashes are. It judges nothing.

use super::{Segment, SegmentKind, SegmentLog};
use crate::{host::Host, net::Ran};
use std::time::Duration;

/// FNV-1a's start and prime (Fowler, Noll and Vo), used on words of eight bytes instead of single ones: this is a check of
/// equality between runs, and eight times cheaper.
const START: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Everything that was sent so far, as one number.
pub(super) struct Wire {
    hash: u64,
    segments: u64,
    log: Option<SegmentLog>,
}

impl Wire {
    pub(super) fn new(log: Option<SegmentLog>) -> Self {
        Self { hash: START, segments: 0, log }
    }

    /// Something is sent.
    pub(super) fn sent(&mut self, at: Duration, from: Host, to: Host, connection: u64, what: &SegmentKind) {
        match what {
            SegmentKind::Syn => self.head(at, from, to, connection, 1),
            SegmentKind::Fin => self.head(at, from, to, connection, 2),
            SegmentKind::Reset => self.head(at, from, to, connection, 3),
            SegmentKind::Data(bytes) => self.data(at, from, to, connection, bytes),
        }
    }

    /// Bytes are sent.
    pub(super) fn data(&mut self, at: Duration, from: Host, to: Host, connection: u64, bytes: &[u8]) {
        self.head(at, from, to, connection, 4 + ((bytes.len() as u64) << 8));
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn head(&mut self, at: Duration, from: Host, to: Host, connection: u64, what: u64) {
        self.segments += 1;
        self.word(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.word((host_key(from) << 32) | host_key(to));
        self.word(connection);
        self.word(what);
    }

    /// Whether anybody wants to be told.
    pub(super) const fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    /// It is known what became of something that was sent.
    pub(super) fn settled(&self, segment: &Segment) {
        if let Some(log) = &self.log {
            log(segment);
        }
    }

    pub(super) fn ran(&self, end: Duration, panics: Vec<(Host, String)>) -> Ran {
        Ran { end, panics, wire_hash: self.hash, segments: self.segments }
    }

    const fn word(&mut self, word: u64) {
        // The turn lets high bits reach low ones, which the product alone never does.
        self.hash = (self.hash ^ word).wrapping_mul(PRIME).rotate_left(29);
    }
}

/// A number for a host that is the same in all runs, for hashes and keyed draws.
pub(super) const fn host_key(host: Host) -> u64 {
    match host {
        Host::Broker(n) => 0x100 + n as u64,
        Host::Dispatcher(n) => 0x200 + n as u64,
        Host::Executor(n) => 0x300 + n as u64,
        Host::Producer(n) => 0x400 + n as u64,
    }
}
