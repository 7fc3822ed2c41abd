//! Acks of one opening, sent together.
//!
//! One ack at a time is a third of a dispatcher's CPU. Settled deliveries are collected and sent as one ack up to the
//! contiguous settled prefix, and one by one behind it: when a batch is full, or 1 ms after the first. The first after a
//! silence goes at once, since no other is to be expected so soon. Decides nothing about openings: whoever holds this is
//! the opening.

use super::rpc::{Fault, within};
use futures_util::{FutureExt, future::try_join_all};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// The longest that an ack waits for company. Timers tick in milliseconds, so it comes to 1 to 2 ms. Whoever comes later
/// than this after the last ones were sent doesn't wait at all.
const COMPANY_WAIT: Duration = Duration::from_millis(1);

/// The acks of one opening.
#[derive(Debug)]
pub(crate) struct Acks {
    book: Mutex<Book>,
    batch: usize,
    first: Notify,
    full: Notify,
}

impl Acks {
    /// For a channel of its own with this window: a batch is a quarter of it, at least 8. More than the window never waits.
    pub(crate) fn new(window: u16) -> Self {
        let batch = usize::from(window / 4).max(8).min(usize::from(window));
        Self { book: Mutex::default(), batch, first: Notify::new(), full: Notify::new() }
    }

    /// A delivery came; the broker counts them from 1 in each channel.
    pub(crate) fn delivered(&self, seq: u64) {
        self.book().delivered(seq);
    }

    /// The delivery is done with.
    pub(crate) fn ack(&self, seq: u64) {
        self.settle(seq, State::Acked);
    }

    /// The delivery goes back.
    pub(crate) fn give_back(&self, seq: u64) {
        self.settle(seq, State::GivenBack);
    }

    /// No more deliveries are settled after this: [`run`](Self::run) sends the rest and returns.
    pub(crate) fn finish(&self) {
        self.book().finishing = true;
        self.first.notify_one();
        self.full.notify_one();
    }

    /// Sends acks until [`finish`](Self::finish), or until the channel fails.
    ///
    /// # Errors
    /// When the channel is gone or a write takes longer than `limit`.
    pub(crate) async fn run(&self, channel: &Channel, limit: Duration) -> Result<(), Fault> {
        self.run_with(|flush| send(channel, flush, limit)).await
    }

    async fn run_with<S: Future<Output = Result<(), Fault>>>(
        &self,
        mut send: impl FnMut(Flush) -> S,
    ) -> Result<(), Fault> {
        let mut sent_at = None;
        loop {
            self.first.notified().await;
            if sent_at.is_some_and(|at: Instant| at.elapsed() <= COMPANY_WAIT) {
                // Elapsing is as good as being full: either way it is time.
                let _ = timeout(COMPANY_WAIT, self.full.notified()).await;
            } else {
                // What was full goes now; the next are not.
                let _ = self.full.notified().now_or_never();
            }
            let (flush, finishing) = {
                let mut book = self.book();
                (book.take(), book.finishing)
            };
            send(flush).await?;
            sent_at = Some(Instant::now());
            if finishing {
                return Ok(());
            }
        }
    }

    fn settle(&self, seq: u64, state: State) {
        let Some(pending) = self.book().settle(seq, state) else { return };
        if pending == 1 {
            self.first.notify_one();
        }
        // Not for those beyond it: the next batch would find itself full before it has begun.
        if pending == self.batch {
            self.full.notify_one();
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(channel: &Channel, flush: Flush, limit: Duration) -> Result<(), Fault> {
    // Given back first and waited for: an ack of a prefix would take these along.
    let nacks = flush.given_back.iter().map(|seq| {
        within(limit, "basic.nack", channel.basic_nack(*seq, BasicNackOptions { multiple: false, requeue: true }))
    });
    try_join_all(nacks).await?;
    if let Some(seq) = flush.up_to {
        within(limit, "basic.ack", channel.basic_ack(seq, BasicAckOptions { multiple: true })).await?;
    }
    let acks = flush
        .single
        .iter()
        .map(|seq| within(limit, "basic.ack", channel.basic_ack(*seq, BasicAckOptions { multiple: false })));
    try_join_all(acks).await?;
    Ok(())
}

/// What is to be sent, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Flush {
    given_back: Vec<u64>,
    up_to: Option<u64>,
    single: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unsettled,
    Acked,
    GivenBack,
    Sent,
}

/// What is known of each delivery from the first that is not settled and sent.
#[derive(Debug, Default)]
struct Book {
    /// The sequence number of the first state.
    base: u64,
    states: VecDeque<State>,
    /// Settled, and not yet taken to be sent.
    pending: usize,
    finishing: bool,
}

impl Book {
    fn delivered(&mut self, seq: u64) {
        if self.states.is_empty() {
            self.base = seq;
        }
        let index = usize::try_from(seq - self.base).expect("within the window");
        // The broker leaves no gaps in one consumer's channel; if it did, a gap would count as sent.
        while self.states.len() < index {
            self.states.push_back(State::Sent);
        }
        self.states.push_back(State::Unsettled);
    }

    /// How many are pending now; `None` if this one was settled before or never came.
    fn settle(&mut self, seq: u64, to: State) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        let state = self.states.get_mut(index).filter(|state| **state == State::Unsettled)?;
        *state = to;
        self.pending += 1;
        Some(self.pending)
    }

    fn take(&mut self) -> Flush {
        let mut flush = Flush::default();
        if self.pending == 0 {
            return flush;
        }
        self.pending = 0;
        let mut in_prefix = true;
        for (seq, state) in (self.base..).zip(self.states.iter_mut()) {
            match *state {
                State::Unsettled => in_prefix = false,
                State::Sent => {}
                State::GivenBack => {
                    flush.given_back.push(seq);
                    *state = State::Sent;
                }
                State::Acked => {
                    // `up_to` names a delivery that is open at the broker, as AMQP 1.8.3.13 wants it.
                    if in_prefix {
                        flush.up_to = Some(seq);
                    } else {
                        flush.single.push(seq);
                    }
                    *state = State::Sent;
                }
            }
        }
        while self.states.front() == Some(&State::Sent) {
            self.states.pop_front();
            self.base += 1;
        }
        flush
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn book(deliveries: u64) -> Book {
        let mut book = Book::default();
        for seq in 1..=deliveries {
            book.delivered(seq);
        }
        book
    }

    #[test]
    fn a_contiguous_prefix_is_one_ack_and_the_rest_single() {
        let mut book = book(6);
        for seq in [1, 2, 3, 5] {
            book.settle(seq, State::Acked);
        }
        assert_eq!(book.take(), Flush { given_back: vec![], up_to: Some(3), single: vec![5] });
        book.settle(4, State::Acked);
        book.settle(6, State::Acked);
        assert_eq!(book.take(), Flush { given_back: vec![], up_to: Some(6), single: vec![] });
        assert!(book.states.is_empty());
    }

    #[test]
    fn what_is_settled_twice_or_never_came_counts_once_or_not() {
        let mut book = book(1);
        assert_eq!(book.settle(1, State::Acked), Some(1));
        assert_eq!(book.settle(1, State::GivenBack), None);
        assert_eq!(book.settle(2, State::Acked), None);
        book.take();
        assert_eq!(book.settle(1, State::Acked), None);
        assert_eq!(book.take(), Flush::default());
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_that_come_close_together_wait_for_each_other() {
        let acks = Acks::new(100);
        for seq in 1..=100 {
            acks.delivered(seq);
        }
        let start = Instant::now();
        let sent = Mutex::new(Vec::new());
        let running = acks.run_with(|flush| {
            sent.lock().unwrap().push((start.elapsed().as_millis(), flush.up_to.unwrap_or(0)));
            std::future::ready(Ok(()))
        });
        let settling = async {
            let at = async |ms| tokio::time::sleep_until(start + Duration::from_millis(ms)).await;
            let sends = async |count| {
                for _ in 0..1000 {
                    if sent.lock().unwrap().len() >= count {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                panic!("what should go at once waits: {:?}", sent.lock().unwrap());
            };
            // Alone: at once, and again after a silence.
            acks.ack(1);
            at(20).await;
            acks.ack(2);
            // Close behind: these wait, together.
            sends(2).await;
            acks.ack(3);
            tokio::task::yield_now().await;
            acks.ack(4);
            at(40).await;
            acks.ack(5);
            sends(4).await;
            // Close behind, and a batch is full.
            (6..=30).for_each(|seq| acks.ack(seq));
            at(60).await;
            acks.finish();
        };
        let (ended, ()) = tokio::join!(running, settling);
        ended.unwrap();
        let sent = sent.into_inner().unwrap();
        assert_eq!(sent.iter().map(|(_, up_to)| *up_to).collect::<Vec<_>>(), [1, 2, 4, 5, 30, 0]);
        let at: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
        assert_eq!([at[0], at[1], at[3], at[4], at[5]], [0, 20, 40, 40, 60], "at once");
        assert!((21..=22).contains(&at[2]), "for a millisecond, and it was sent at {}", at[2]);
    }

    #[test]
    fn a_small_window_is_a_batch() {
        assert_eq!([1, 2, 8, 32, 100].map(|window| Acks::new(window).batch), [1, 2, 8, 8, 25]);
    }

    /// When each ack of these is sent, in milliseconds. Those of a group are settled without a pause, and between groups no time
    /// passes, but whatever can go at once goes.
    async fn sent(window: u16, groups: &[std::ops::RangeInclusive<u64>]) -> Vec<(u128, u64)> {
        let acks = Acks::new(window);
        let start = Instant::now();
        let sent = Mutex::new(Vec::new());
        let running = acks.run_with(|flush| {
            let up_to = flush.up_to.into_iter().map(|up_to| (start.elapsed().as_millis(), up_to));
            sent.lock().unwrap().extend(up_to);
            std::future::ready(Ok(()))
        });
        let settling = async {
            for group in groups {
                group.clone().for_each(|seq| acks.delivered(seq));
                group.clone().for_each(|seq| acks.ack(seq));
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
            }
            tokio::time::sleep(5 * COMPANY_WAIT).await;
            acks.finish();
        };
        let (ended, ()) = tokio::join!(running, settling);
        ended.unwrap();
        sent.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_of_one_never_waits() {
        assert_eq!(sent(1, &[1..=1, 2..=2, 3..=3]).await, [(0, 1), (0, 2), (0, 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_batch_does_not_hurry_the_next() {
        // The second waits for company, is joined by more than a batch, and goes with them.
        let sent = sent(32, &[1..=1, 2..=2, 3..=12, 13..=13]).await;
        assert_eq!(sent[..2], [(0, 1), (0, 12)]);
        assert!(sent[2].0 >= 1 && sent[2].1 == 13, "{sent:?}");
    }

    proptest! {
        /// The broker's side, played through: whatever is sent settles exactly what was settled, each once.
        #[test]
        fn the_broker_hears_exactly_what_was_settled(ops in proptest::collection::vec((0u8..4, 0u64..40), 0..200)) {
            let mut book = Book::default();
            let (mut next, mut acked, mut back) = (1, BTreeSet::new(), BTreeSet::new());
            let (mut open, mut broker_acked, mut broker_back) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
            for (op, n) in ops.into_iter().chain([(3, 0)]) {
                match op {
                    0 => {
                        book.delivered(next);
                        open.insert(next);
                        next += 1;
                    }
                    1 => drop(book.settle(n, State::Acked).map(|_| acked.insert(n))),
                    2 => drop(book.settle(n, State::GivenBack).map(|_| back.insert(n))),
                    _ => {
                        let flush = book.take();
                        for seq in flush.given_back {
                            prop_assert!(open.remove(&seq), "unknown delivery tag");
                            broker_back.insert(seq);
                        }
                        if let Some(up_to) = flush.up_to {
                            prop_assert!(open.contains(&up_to), "unknown delivery tag");
                            let rest = open.split_off(&(up_to + 1));
                            broker_acked.extend(std::mem::replace(&mut open, rest));
                        }
                        for seq in flush.single {
                            prop_assert!(open.remove(&seq), "unknown delivery tag");
                            broker_acked.insert(seq);
                        }
                    }
                }
            }
            prop_assert_eq!(acked, broker_acked);
            prop_assert_eq!(back, broker_back);
        }
    }
}
