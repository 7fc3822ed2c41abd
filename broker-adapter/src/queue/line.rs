//! One queue: its messages in order, which of them are ready, and its figures. It knows nothing of who consumes.

use super::{QueueId, QueueName};
use quebert_dispatcher::ports::broker::Opening;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A message to be kept, with what the core needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter<P> {
    /// Whatever the host wants to have with it.
    pub payload: P,
    /// What it takes in the store, in bytes.
    pub bytes: u32,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// A hash of the task's id; 0 is none.
    pub id: u64,
    /// In a delay queue: the work queue that it returns to.
    pub home: Option<QueueId>,
}

/// A message in its queue.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<P> {
    pub(super) letter: Letter<P>,
    /// How many crashes it was under way at.
    pub(super) crashes: u32,
    /// Whether it has been delivered before.
    pub(super) delivered: bool,
    /// Whether the store has a note of its own on it, since the queue's mark does not tell its state.
    pub(super) noted: bool,
}

/// What can be told of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Messages that wait to be delivered.
    pub ready: u64,
    /// Delivered and not settled.
    pub unsettled: u64,
    /// Messages in delay queues that return here.
    pub delayed: u64,
    /// Bytes of what is ready.
    pub bytes: u64,
    /// When the oldest of the ready was stored, in milliseconds since the Unix epoch.
    pub oldest_ms: Option<i64>,
    /// Openings that are not paused.
    pub consumers: u64,
}

/// One queue. Every message below `cursor` has been handed out at some time; of these, the ready ones are in `returned`.
#[derive(Debug)]
pub(super) struct Line<P> {
    pub(super) name: QueueName,
    pub(super) entries: BTreeMap<u64, Entry<P>>,
    /// The number that the next message gets.
    pub(super) next: u64,
    /// Everything from here on is ready, and was never handed out.
    pub(super) cursor: u64,
    /// Ready again.
    pub(super) returned: BTreeSet<u64>,
    /// Those of them that go before the others, in this order. Some may have gone already.
    pub(super) hurried: VecDeque<u64>,
    pub(super) unsettled: u64,
    pub(super) bytes_ready: u64,
    /// Openings, the next to be served first.
    pub(super) openings: VecDeque<Opening>,
    /// For a work queue: how many messages in delay queues return here.
    pub(super) delayed: u64,
}

impl<P> Line<P> {
    pub(super) fn new(name: QueueName) -> Self {
        Self {
            name,
            entries: BTreeMap::new(),
            next: 1,
            cursor: 1,
            returned: BTreeSet::new(),
            hurried: VecDeque::new(),
            unsettled: 0,
            bytes_ready: 0,
            openings: VecDeque::new(),
            delayed: 0,
        }
    }

    pub(super) fn ready(&self) -> u64 {
        self.entries.len() as u64 - self.unsettled
    }

    pub(super) fn is_ready(&self, seq: u64) -> bool {
        self.returned.contains(&seq) || (seq >= self.cursor && self.entries.contains_key(&seq))
    }

    /// The ready ones behind `after`, in order.
    pub(super) fn ready_after(&self, after: u64) -> impl Iterator<Item = u64> + '_ {
        let fresh = self.cursor.max(after.saturating_add(1));
        let returned = self.returned.range(after.saturating_add(1)..).copied();
        returned.chain(self.entries.range(fresh..).map(|(seq, _)| *seq))
    }

    /// Takes the next of the ready for a delivery; tells whether it was ready again.
    pub(super) fn hand_out_next(&mut self) -> Option<(u64, bool, &mut Entry<P>)> {
        let again = self.next_hurried().or_else(|| self.returned.pop_first());
        let seq = match again {
            Some(seq) => seq,
            None => {
                let (seq, _) = self.entries.range(self.cursor..).next()?;
                let seq = *seq;
                self.cursor = seq + 1;
                seq
            }
        };
        let entry = self.entries.get_mut(&seq).expect("what is ready is there");
        self.unsettled += 1;
        self.bytes_ready -= u64::from(entry.letter.bytes);
        Some((seq, again.is_some(), entry))
    }

    fn next_hurried(&mut self) -> Option<u64> {
        while let Some(seq) = self.hurried.pop_front() {
            if self.returned.remove(&seq) {
                return Some(seq);
            }
        }
        None
    }

    /// An unsettled one is ready again, where it was.
    pub(super) fn give_back(&mut self, seq: u64) -> &mut Entry<P> {
        let entry = self.entries.get_mut(&seq).expect("what is unsettled is there");
        self.returned.insert(seq);
        self.unsettled -= 1;
        self.bytes_ready += u64::from(entry.letter.bytes);
        entry
    }

    pub(super) fn figures(&self) -> Figures {
        let oldest = self.ready_after(0).next().and_then(|seq| self.entries.get(&seq));
        Figures {
            ready: self.ready(),
            unsettled: self.unsettled,
            delayed: self.delayed,
            bytes: self.bytes_ready,
            oldest_ms: oldest.map(|entry| entry.letter.at_ms),
            // The core knows which are paused.
            consumers: 0,
        }
    }
}
