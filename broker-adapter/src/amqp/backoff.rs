//! Pauses between tries: each up to twice as long as the one before, and none quite like another dispatcher's.

use std::time::Duration;

/// A session, or an opening, that lasted this long was a good one: the next failure starts with the shortest pause.
pub(super) const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Pauses that double from the shortest to the longest.
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = jittered(self.next);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// Somewhere between half of it and all of it, so that many dispatchers don't come at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_good_session() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        for full_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let (pause, full) = (backoff.next(), Duration::from_millis(full_ms));
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}
