//! What was settled lately, so that a redelivery of it is recognised and acked without sending it again.
//!
//! An ack is never confirmed by the broker, so when a connection is lost nobody knows which of the last acks arrived.
//! Not kept here: tasks without an identity of their own. Two of those may look alike and still be two tasks.

use crate::{grid::Step, planted::planted};
use quebert_wire::TaskId;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How long a settled delivery whose ack may be lost is remembered.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Most of them at a time; the oldest go first. About 6 MiB.
const REMEMBERED_MAX: usize = 65_536;

/// The identity of one copy of a task. Each republishing makes a new copy number, so that the copy that comes back from
/// the delay grid is never taken for the one that was sent into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CopyKey {
    /// In a work queue.
    Task { lane: usize, id: TaskId, copy: u32 },
    /// In a delay queue.
    Head { step: Step, id: String, copy: u32 },
}

/// The last acks of one opening. The broker has at most a window of deliveries unsettled, and takes acks in order, so
/// at most the last window of acks can be lost: older ones need not be kept.
#[derive(Debug, Default)]
pub(crate) struct LastAcks {
    acked: VecDeque<CopyKey>,
}

impl LastAcks {
    /// Notes an ack. `window` bounds how many are kept; twice of it, since coalescing may change their order a little.
    pub(crate) fn push(&mut self, key: CopyKey, window: u16) {
        if self.acked.len() >= 2 * usize::from(window) {
            self.acked.pop_front();
        }
        self.acked.push_back(key);
    }

    /// The opening is gone: all of these may come again.
    pub(crate) fn take(&mut self) -> VecDeque<CopyKey> {
        std::mem::take(&mut self.acked)
    }
}

/// Settled copies whose acks may be lost.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    settled: BTreeMap<CopyKey, Duration>,
    oldest: VecDeque<(Duration, CopyKey)>,
}

impl Recall {
    /// Remembers a settled copy from `now` (monotonic) on.
    pub(crate) fn remember(&mut self, now: Duration, key: CopyKey) {
        self.forget_old(now);
        if self.oldest.len() >= REMEMBERED_MAX {
            self.pop_oldest();
        }
        self.settled.insert(key.clone(), now);
        self.oldest.push_back((now, key));
    }

    /// Whether a redelivery is of a settled copy; each is recognised once a loss, since it comes once a loss.
    pub(crate) fn recognise(&mut self, now: Duration, key: &CopyKey) -> bool {
        self.forget_old(now);
        self.settled.remove(key).is_some() && !planted!(RecallForgotten)
    }

    fn forget_old(&mut self, now: Duration) {
        while self.oldest.front().is_some_and(|(at, _)| now.saturating_sub(*at) > REMEMBERED) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some((at, key)) = self.oldest.pop_front()
            && self.settled.get(&key) == Some(&at)
        {
            self.settled.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> CopyKey {
        CopyKey::Head { step: Step::all().next().unwrap(), id: n.to_string(), copy: 1 }
    }

    #[test]
    fn a_settled_copy_is_recognised_once_and_not_for_ever() {
        let mut recall = Recall::default();
        recall.remember(Duration::ZERO, key(1));
        recall.remember(Duration::from_secs(1), key(2));
        assert!(!recall.recognise(Duration::from_secs(2), &key(3)));
        assert!(recall.recognise(Duration::from_secs(2), &key(1)));
        assert!(!recall.recognise(Duration::from_secs(2), &key(1)));
        assert!(!recall.recognise(REMEMBERED + Duration::from_secs(2), &key(2)));
        assert!(recall.settled.is_empty() && recall.oldest.is_empty());
    }

    #[test]
    fn no_more_acks_are_kept_than_can_be_lost() {
        let mut last = LastAcks::default();
        for n in 0..100 {
            last.push(key(n), 4);
        }
        assert_eq!(last.take(), (92..100).map(key).collect::<VecDeque<_>>());
        assert!(last.take().is_empty());
    }
}
