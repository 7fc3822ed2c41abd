//! Who consumes what: openings with their windows, and what is unsettled under each. It moves no message.

use super::{ClientId, QueueId};
use quebert_dispatcher::ports::broker::{Opening, Tag};
use std::collections::BTreeMap;

/// One opening of a queue.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) client: ClientId,
    pub(super) queue: QueueId,
    pub(super) window: usize,
    pub(super) paused: bool,
    pub(super) held: BTreeMap<u64, Held>,
    next: u64,
}

/// A delivery that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) seq: u64,
    /// Another message has taken its place: it only waits for its ack, and goes back to no queue.
    pub(super) gone: bool,
}

/// An opening that has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Which.
    pub opening: Opening,
    /// What it was open on.
    pub queue: QueueId,
}

/// All openings. An opening's number is never used again.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    open: BTreeMap<Opening, Consumer>,
    last: u64,
}

impl Consumers {
    pub(super) fn open(&mut self, client: ClientId, queue: QueueId, window: u16) -> Opening {
        self.last += 1;
        let opening = Opening(self.last);
        let window = usize::from(window.max(1));
        self.open.insert(opening, Consumer { client, queue, window, paused: false, held: BTreeMap::new(), next: 1 });
        opening
    }

    pub(super) fn remove(&mut self, opening: Opening) -> Option<Consumer> {
        self.open.remove(&opening)
    }

    pub(super) fn get_mut(&mut self, opening: Opening) -> Option<&mut Consumer> {
        self.open.get_mut(&opening)
    }

    /// The openings that a client has, of one queue or of all.
    pub(super) fn of(&self, client: ClientId, queue: Option<QueueId>) -> Vec<Closed> {
        self.open
            .iter()
            .filter(|(_, consumer)| consumer.client == client && queue.is_none_or(|queue| consumer.queue == queue))
            .map(|(opening, consumer)| Closed { opening: *opening, queue: consumer.queue })
            .collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Opening, &Consumer)> {
        self.open.iter().map(|(opening, consumer)| (*opening, consumer))
    }

    pub(super) fn held(&mut self, tag: Tag) -> Option<(QueueId, &mut Held)> {
        let consumer = self.open.get_mut(&tag.opening)?;
        let queue = consumer.queue;
        consumer.held.get_mut(&tag.seq).map(|held| (queue, held))
    }

    /// Ends a delivery; tells its queue and what it was.
    pub(super) fn settle(&mut self, tag: Tag) -> Option<(QueueId, Held)> {
        let consumer = self.open.get_mut(&tag.opening)?;
        let held = consumer.held.remove(&tag.seq)?;
        Some((consumer.queue, held))
    }
}

impl Consumer {
    pub(super) fn has_room(&self) -> bool {
        !self.paused && self.held.len() < self.window
    }

    /// Notes a delivery; tells its number.
    pub(super) fn hold(&mut self, seq: u64) -> u64 {
        let tag = self.next;
        self.next += 1;
        self.held.insert(tag, Held { seq, gone: false });
        tag
    }
}
