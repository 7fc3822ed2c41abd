//! The delay grid: the lengths of delay for which there are queues at the broker.
//!
//! Four steps an octave from one second up: 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, ... s. A queue holds one length
//! only, so its head is always the next one due. What the queues are called, and when they exist, is the broker's side.

use std::{iter::FusedIterator, time::Duration};

/// One length of the grid. Steps compare as their lengths do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(u8);

impl Step {
    /// The shortest step: one second.
    pub const FIRST: Self = Self(0);

    /// The longest step: 2,621,440 s, a little over 30 days.
    pub const LAST: Self = Self(LAST_INDEX);

    /// Every step, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + FusedIterator + Clone {
        (0..=LAST_INDEX).map(Self)
    }

    /// The steps within the closed range, ascending. None if `lo` is longer than `hi`.
    pub fn between(
        lo: Duration,
        hi: Duration,
    ) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + FusedIterator + Clone {
        let first = Self::ceil(lo);
        // As a half-open range, so that "none" needs no case of its own.
        let end = match Self::floor(hi) {
            Some(last) if first.length() >= lo => last.0 + 1,
            _ => 0,
        };
        (first.0..end).map(Self)
    }

    /// The longest step that is not longer than `delay`; `None` below one second.
    pub fn floor(delay: Duration) -> Option<Self> {
        let units = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) / UNIT_MS;
        if units < STEPS_PER_OCTAVE {
            return None;
        }
        // With `units` in binary, the leading digit tells the octave and the two digits after it the quarter.
        let octave = units.ilog2() - 2;
        let quarter = (units >> octave) % STEPS_PER_OCTAVE;
        let index = u64::from(octave) * STEPS_PER_OCTAVE + quarter;
        Some(u8::try_from(index).map_or(Self::LAST, |i| Self(i.min(LAST_INDEX))))
    }

    /// The shortest step that is not shorter than `delay`; [`LAST`](Self::LAST) if none is that long.
    pub fn ceil(delay: Duration) -> Self {
        match Self::floor(delay) {
            None => Self::FIRST,
            Some(step) if step.length() >= delay => step,
            Some(step) => Self((step.0 + 1).min(LAST_INDEX)),
        }
    }

    /// The step of exactly this length.
    pub fn from_millis(ms: u64) -> Option<Self> {
        Self::floor(Duration::from_millis(ms)).filter(|step| step.millis() == ms)
    }

    /// How long it is.
    pub const fn length(self) -> Duration {
        Duration::from_millis(self.millis())
    }

    /// How long it is, in milliseconds.
    pub const fn millis(self) -> u64 {
        let (octave, quarter) = (self.0 / 4, self.0 % 4);
        (UNIT_MS * (STEPS_PER_OCTAVE + quarter as u64)) << octave
    }
}

/// Steps from one length to its double.
const STEPS_PER_OCTAVE: u64 = 4;

/// A quarter of the first step. Every step is a whole number of these.
const UNIT_MS: u64 = 250;

/// 21 octaves and a quarter over one second: 1.25 * 2^21 s = 30.3 days, so that a task put off by 30 days, the farthest
/// that Cloud Tasks offers, needs one hop for most of it.
const LAST_INDEX: u8 = 21 * 4 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(steps: impl Iterator<Item = Step>) -> Vec<f64> {
        steps.map(|step| step.length().as_secs_f64()).collect()
    }

    #[test]
    fn four_steps_an_octave_from_one_second() {
        assert_eq!(seconds(Step::all().take(13)), [1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(Step::all().len(), 86);
        assert_eq!(Step::all().next(), Some(Step::FIRST));
        assert_eq!(Step::all().next_back(), Some(Step::LAST));
        assert_eq!(Step::LAST.millis(), 2_621_440_000);
        assert!(Step::LAST.length() >= Duration::from_secs(4 * 7 * 24 * 3600));
    }

    #[test]
    fn steps_grow_by_a_seventh_to_a_quarter() {
        for (a, b) in Step::all().zip(Step::all().skip(1)) {
            assert!(a < b && a.millis() < b.millis());
            assert!(b.millis() * 4 <= a.millis() * 5 && b.millis() * 7 >= a.millis() * 8, "{a:?} {b:?}");
        }
    }

    #[test]
    fn only_exact_lengths_are_steps() {
        for step in Step::all() {
            assert_eq!(Step::from_millis(step.millis()), Some(step));
            assert_eq!(Step::from_millis(step.millis() - 1), None);
            assert_eq!(Step::from_millis(step.millis() + 1), None);
        }
        for ms in [0, 250, 500, 750, 2_250, 3_145_728_000, u64::MAX] {
            assert_eq!(Step::from_millis(ms), None, "{ms}");
        }
    }

    #[test]
    fn floor_and_ceil_at_the_edges() {
        #[track_caller]
        fn check(delay: Duration, floor_ms: Option<u64>, ceil_ms: u64) {
            assert_eq!(Step::floor(delay).map(Step::millis), floor_ms, "floor of {delay:?}");
            assert_eq!(Step::ceil(delay).millis(), ceil_ms, "ceil of {delay:?}");
        }
        let last = Step::LAST.millis();
        check(Duration::ZERO, None, 1_000);
        check(Duration::from_nanos(999_999_999), None, 1_000);
        check(Duration::from_secs(1), Some(1_000), 1_000);
        check(Duration::from_nanos(1_000_000_001), Some(1_000), 1_250);
        check(Duration::from_millis(1_999), Some(1_750), 2_000);
        check(Duration::from_millis(2_400), Some(2_000), 2_500);
        check(Duration::from_millis(last - 1), Some(Step(LAST_INDEX - 1).millis()), last);
        check(Duration::from_millis(last), Some(last), last);
        check(Duration::from_millis(last + 1), Some(last), last);
        check(Duration::MAX, Some(last), last);
    }

    #[test]
    fn between_takes_both_ends() {
        #[track_caller]
        fn check(lo_ms: u64, hi_ms: u64, expect: &[f64]) {
            let steps = Step::between(Duration::from_millis(lo_ms), Duration::from_millis(hi_ms));
            assert_eq!(seconds(steps), expect, "{lo_ms}..={hi_ms}");
        }
        check(2_000, 3_000, &[2.0, 2.5, 3.0]);
        check(1_001, 1_999, &[1.25, 1.5, 1.75]);
        check(2_100, 2_400, &[]);
        check(1_500, 1_500, &[1.5]);
        check(0, 999, &[]);
        check(0, 1_000, &[1.0]);
        check(3_000, 2_000, &[]);
        let last = Step::LAST.millis();
        check(last, u64::MAX, &[2_621_440.0]);
        check(last + 1, u64::MAX, &[]);
    }

    fn any_delay() -> impl Strategy<Value = Duration> {
        // Exponents spread the cases over all octaves; plain numbers would nearly all lie beyond the last step.
        (0u32..64, any::<u64>(), 0u32..1_000_000).prop_map(|(shift, ms, ns)| {
            Duration::from_millis(ms >> shift).saturating_add(Duration::from_nanos(ns.into()))
        })
    }

    proptest! {
        #[test]
        fn floor_is_the_longest_that_does_not_overshoot(delay in any_delay()) {
            prop_assert_eq!(Step::floor(delay), Step::all().rfind(|s| s.length() <= delay));
        }

        #[test]
        fn ceil_is_the_shortest_that_is_not_shorter(delay in any_delay()) {
            prop_assert_eq!(Step::ceil(delay), Step::all().find(|s| s.length() >= delay).unwrap_or(Step::LAST));
        }

        #[test]
        fn between_is_the_filtered_grid(a in any_delay(), b in any_delay()) {
            let expect = Step::all().filter(|s| (a..=b).contains(&s.length())).collect::<Vec<_>>();
            prop_assert_eq!(Step::between(a, b).collect::<Vec<_>>(), expect);
        }
    }
}
