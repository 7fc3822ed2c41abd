//! What is going to happen, by its moment, then in the order in which it was foreseen. It does nothing.

use super::state::Fate;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    time::Duration,
};

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A task can be delivered.
    Ready { task: u64 },
    /// A task arrives at a dispatcher, or is due again there.
    Delivered { dispatcher: usize, task: u64 },
    /// An attempt is over.
    Ended { dispatcher: usize, task: u64, fate: Fate },
    /// The broker has an ack: there is room for one more.
    Credit { dispatcher: usize, lane: usize },
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    foreseen: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

impl Agenda {
    pub(super) fn add(&mut self, at: Duration, event: Event) {
        self.foreseen += 1;
        self.heap.push(Reverse(Entry { at, number: self.foreseen, event }));
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|Reverse(entry)| entry.event)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
