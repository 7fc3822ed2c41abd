//! How old the head of a queue is at most, where the broker does not say. It knows no clock: times are arguments.

use quebert_wire::Timestamp;
use std::time::Duration;

/// Of one queue, which hands out its messages in order. What still waits has come after what was handed out, and after
/// the queue was last empty, so that the latest of these moments bounds the age of its head.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bound: Option<Timestamp>,
}

impl Head {
    /// A task got its slot that had entered the queue at `entered`.
    pub(crate) fn left(&mut self, entered: Timestamp) {
        self.bound = self.bound.max(Some(entered));
    }

    /// The broker was asked how many wait.
    pub(crate) fn age(&mut self, ready: u64, now: Timestamp) -> Duration {
        if ready == 0 {
            self.bound = Some(now);
        }
        now.since(*self.bound.get_or_insert(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_no_older_than_what_came_before_it() {
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        let mut head = Head::default();
        assert_eq!(head.age(5, at(100)), Duration::ZERO, "nothing is known yet");
        assert_eq!(head.age(5, at(130)), Duration::from_secs(30), "it stalls");
        head.left(at(120));
        assert_eq!(head.age(4, at(140)), Duration::from_secs(20));
        head.left(at(110));
        assert_eq!(head.age(4, at(140)), Duration::from_secs(20), "a retry that came round is no older head");
        assert_eq!(head.age(0, at(150)), Duration::ZERO);
        assert_eq!(head.age(3, at(155)), Duration::from_secs(5), "after an empty queue");
    }
}
