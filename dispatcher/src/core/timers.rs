//! Timers as data: what is due when, on the monotonic clock. Nothing here waits.

use std::{collections::BTreeMap, time::Duration};

/// Names one timer, for taking it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    at: Duration,
    seq: u64,
}

/// Timers in the order in which they are due; those of one moment in the order in which they were set.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    due: BTreeMap<TimerId, T>,
    seq: u64,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeMap::new(), seq: 0 }
    }

    pub(crate) fn set(&mut self, at: Duration, what: T) -> TimerId {
        self.seq += 1;
        let id = TimerId { at, seq: self.seq };
        self.due.insert(id, what);
        id
    }

    /// Takes a timer back; one that has gone off already is no error.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.due.remove(&id);
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|(id, _)| id.at)
    }

    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<T> {
        let entry = self.due.first_entry()?;
        (entry.key().at <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_in_order_and_never_early() {
        let ms = Duration::from_millis;
        let mut timers = Timers::new();
        timers.set(ms(20), 'b');
        timers.set(ms(10), 'a');
        let taken_back = timers.set(ms(15), 'x');
        timers.set(ms(20), 'c');
        timers.cancel(taken_back);
        assert_eq!(timers.pop_due(ms(9)), None);
        assert_eq!(timers.next(), Some(ms(10)));
        let gone: Vec<_> = std::iter::from_fn(|| timers.pop_due(ms(20))).collect();
        assert_eq!(gone, ['a', 'b', 'c']);
        assert_eq!(timers.next(), None);
    }
}
