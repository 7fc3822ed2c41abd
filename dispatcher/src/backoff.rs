//! How long to wait before the next attempt: the superset of what the field's queues offer.
//!
//! Everything here is a pure function of the policy and of the random numbers that the caller brings. Whether there is
//! a next attempt at all is the verdict's business; this file only tells when the policy's limits are used up.

use crate::{grid::Step, verdict::RetryAfter};
use quebert_wire::RetryOverrides;
use rand::{Rng, RngExt};
use std::{borrow::Cow, time::Duration};

/// A lane's retry policy. A task's own wishes are capped by it.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The shape of the delays.
    pub curve: Curve,
    /// How the delays are spread.
    pub jitter: Jitter,
    /// No delay is shorter, but where a mediator or an executor names the exact one. Jitter does not go below it either.
    pub backoff_min: Duration,
    /// No delay is longer, jitter included, but where an executor asks for more and `retry_after_max` allows it.
    pub backoff_max: Duration,
    /// Attempts in all, the first included; `None` is without limit.
    pub max_attempts: Option<u32>,
    /// No attempt starts later than this after the task was enqueued; `None` is without limit.
    pub max_age: Option<Duration>,
    /// The longest delay that an executor may ask for by `Retry-After` or `Quebert-Retry: after=`.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    /// 1 s, doubling up to 1 h, half of it jitter, for 20 attempts or 24 h, whichever ends first.
    fn default() -> Self {
        Self {
            curve: Curve::Exponential { factor: 2.0 },
            jitter: Jitter::Equal,
            backoff_min: Duration::from_secs(1),
            backoff_max: HOUR,
            max_attempts: Some(20),
            max_age: Some(24 * HOUR),
            retry_after_max: HOUR,
        }
    }
}

impl RetryPolicy {
    /// Tells what is wrong with this policy, if anything. The other methods are total: a policy that fails here makes
    /// them neither panic nor overflow, but their promises hold only for one that passes.
    pub fn check(&self) -> Result<(), PolicyError> {
        let (min, max) = (self.backoff_min, self.backoff_max);
        if min < BACKOFF_MIN_LEAST {
            return Err(PolicyError::MinTooShort(min));
        }
        if max < min {
            return Err(PolicyError::MaxBelowMin { min, max });
        }
        match &self.curve {
            Curve::Exponential { factor } if !(factor.is_finite() && *factor >= 1.0) => {
                return Err(PolicyError::Factor(*factor));
            }
            Curve::Schedule(delays) if delays.is_empty() => return Err(PolicyError::ScheduleEmpty),
            Curve::Schedule(delays) => {
                if let Some(index) = delays.iter().position(|d| *d < min || *d > max) {
                    return Err(PolicyError::ScheduleEntry { index, delay: delays[index], min, max });
                }
            }
            Curve::Exponential { .. } | Curve::Doublings { .. } => {}
        }
        if self.max_attempts == Some(0) {
            return Err(PolicyError::NoAttempts);
        }
        if self.max_age == Some(Duration::ZERO) {
            return Err(PolicyError::NoAge);
        }
        Ok(())
    }

    /// This policy with a task's wishes, each capped by the policy's own value: a task can ask for fewer attempts, less
    /// age and a narrower range of delays, and for a list of delays within the range; never for more.
    pub fn for_task(&self, wishes: &RetryOverrides) -> Cow<'_, Self> {
        if *wishes == RetryOverrides::default() {
            return Cow::Borrowed(self);
        }
        let backoff_max = wishes.backoff_max.map_or(self.backoff_max, |d| self.clamp(d));
        let backoff_min = wishes.backoff_min.map_or(self.backoff_min, |d| self.clamp(d)).min(backoff_max);
        let curve = match wishes.schedule.as_deref() {
            None | Some([]) => self.curve.clone(),
            Some(delays) => Curve::Schedule(delays.iter().map(|d| (*d).max(backoff_min).min(backoff_max)).collect()),
        };
        Cow::Owned(Self {
            curve,
            jitter: self.jitter,
            backoff_min,
            backoff_max,
            max_attempts: least(self.max_attempts, wishes.max_attempts.map(|n| n.max(1))),
            max_age: least(self.max_age, wishes.max_age),
            retry_after_max: self.retry_after_max,
        })
    }

    /// The shortest and the longest delay before the next attempt, jitter included, both within `backoff_min` and
    /// `backoff_max`. `attempts_made` counts from 1, for the delay after the first attempt; 0 is taken for 1.
    pub fn bounds(&self, attempts_made: u32) -> (Duration, Duration) {
        let delay = self.clamp(self.curve.delay(self.backoff_min, self.backoff_max, attempts_made.saturating_sub(1)));
        let lo = match self.jitter {
            Jitter::None => delay,
            Jitter::Full => self.clamp(Duration::ZERO),
            Jitter::Equal => self.clamp(delay / 2),
        };
        (lo, delay)
    }

    /// Picks the delay before the next attempt.
    ///
    /// * [`Policy`](RetryAfter::Policy): within [`bounds`](Self::bounds). If there are steps of the delay grid in that
    ///   range, one of them, each as likely as the other: such a delay takes one hop and needs no rounding. If not, any
    ///   millisecond of the range.
    /// * [`AtLeast`](RetryAfter::AtLeast): the same, but not shorter than what was asked for, that being held at
    ///   `retry_after_max`. Where the wish decides, up to a quarter is added (unless the policy has no jitter), so that
    ///   tasks that were sent away together don't come back together; by that it never gets longer than both
    ///   `retry_after_max` and `backoff_max`.
    /// * [`Exactly`](RetryAfter::Exactly): what was asked for, held at `retry_after_max`. It may be shorter than
    ///   `backoff_min`.
    pub fn draw(&self, attempts_made: u32, after: RetryAfter, rng: &mut impl Rng) -> Duration {
        match after {
            RetryAfter::Policy => self.draw_by_policy(attempts_made, rng),
            RetryAfter::Exactly(wish) => wish.min(self.retry_after_max),
            RetryAfter::AtLeast(wish) => {
                let drawn = self.draw_by_policy(attempts_made, rng);
                let least = wish.min(self.retry_after_max);
                if drawn >= least || self.jitter == Jitter::None {
                    return drawn.max(least);
                }
                // At most a quarter lies between two steps of the grid, so this range holds one unless the cap cuts it.
                let most = least.saturating_add(least / 4).min(self.retry_after_max.max(self.backoff_max));
                pick(least, most, rng)
            }
        }
    }

    /// Whether there is no next attempt: all of `max_attempts` are made, or `next_delay` from now the task, `age` old
    /// now, would be older than `max_age`. Without a known age only attempts count.
    pub fn exhausted(&self, attempts_made: u32, age: Option<Duration>, next_delay: Duration) -> bool {
        let attempts_used_up = self.max_attempts.is_some_and(|max| attempts_made >= max);
        let too_old = match (age, self.max_age) {
            (Some(age), Some(max)) => age.saturating_add(next_delay) > max,
            _ => false,
        };
        attempts_used_up || too_old
    }

    fn draw_by_policy(&self, attempts_made: u32, rng: &mut impl Rng) -> Duration {
        let (lo, hi) = self.bounds(attempts_made);
        pick(lo, hi, rng)
    }

    /// Unlike `Duration::clamp` this doesn't panic on a policy whose maximum is below its minimum.
    fn clamp(&self, delay: Duration) -> Duration {
        delay.max(self.backoff_min).min(self.backoff_max)
    }
}

/// The shape of the delays.
#[derive(Debug, Clone, PartialEq)]
pub enum Curve {
    /// `backoff_min * factor^(n-1)` before attempt n+1, held at `backoff_max`. `factor` is at least 1.
    Exponential {
        /// Growth from one delay to the next.
        factor: f64,
    },
    /// Cloud Tasks' meaning: `backoff_min` doubles `max_doublings` times, then grows linearly by
    /// `2^max_doublings * backoff_min`, then stays at `backoff_max`.
    Doublings {
        /// How often the delay doubles before it grows linearly.
        max_doublings: u32,
    },
    /// These delays, one after the other; the last one repeats. Not empty.
    Schedule(Vec<Duration>),
}

impl Curve {
    /// The delay number `index`, counted from 0, before jitter. Held at `max` as far as is needed not to overflow.
    fn delay(&self, min: Duration, max: Duration, index: u32) -> Duration {
        match self {
            Self::Exponential { factor } => {
                let grown = min.as_secs_f64() * factor.powi(i32::try_from(index).unwrap_or(i32::MAX));
                // What doesn't fit has grown beyond all limits, or comes from a factor that `check` refuses.
                Duration::try_from_secs_f64(grown).unwrap_or(max)
            }
            Self::Doublings { max_doublings } => {
                let doubled = min.saturating_mul(power_of_two(index.min(*max_doublings)));
                doubled.saturating_mul(index.saturating_sub(*max_doublings).saturating_add(1))
            }
            Self::Schedule(delays) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                delays.get(index).or(delays.last()).copied().unwrap_or(max)
            }
        }
    }
}

/// How the delays are spread, so that tasks that failed together don't come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Not at all.
    None,
    /// Anywhere from `backoff_min` to the delay.
    Full,
    /// Anywhere from half of the delay to the delay.
    Equal,
}

/// Why a policy is refused. The text begins with the field's name.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// `backoff_min` is so short that retries would be a hot loop.
    #[error("backoff_min: {0:?} is shorter than {BACKOFF_MIN_LEAST:?}")]
    MinTooShort(Duration),
    /// `backoff_max` is shorter than `backoff_min`.
    #[error("backoff_max: {max:?} is shorter than backoff_min, which is {min:?}")]
    MaxBelowMin {
        /// `backoff_min`.
        min: Duration,
        /// `backoff_max`.
        max: Duration,
    },
    /// The growth is below 1, infinite or not a number.
    #[error("factor: {0} is not a finite number of at least 1")]
    Factor(f64),
    /// The list of delays has no entry.
    #[error("schedule: empty")]
    ScheduleEmpty,
    /// An entry of the list of delays lies outside of the policy's own range.
    #[error("schedule[{index}]: {delay:?} is outside of backoff_min and backoff_max, {min:?} to {max:?}")]
    ScheduleEntry {
        /// Which, from 0.
        index: usize,
        /// The entry.
        delay: Duration,
        /// `backoff_min`.
        min: Duration,
        /// `backoff_max`.
        max: Duration,
    },
    /// Not even a first attempt.
    #[error("max_attempts: 0, but must be at least 1")]
    NoAttempts,
    /// No attempt could start in time.
    #[error("max_age: 0, but must be longer")]
    NoAge,
}

impl PolicyError {
    /// The field of [`RetryPolicy`] or [`Curve`] that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::MinTooShort(_) => "backoff_min",
            Self::MaxBelowMin { .. } => "backoff_max",
            Self::Factor(_) => "factor",
            Self::ScheduleEmpty | Self::ScheduleEntry { .. } => "schedule",
            Self::NoAttempts => "max_attempts",
            Self::NoAge => "max_age",
        }
    }
}

/// A delay from the closed range: a step of the grid if there is one, else a whole millisecond if there is one.
fn pick(lo: Duration, hi: Duration, rng: &mut impl Rng) -> Duration {
    let mut steps = Step::between(lo, hi);
    if steps.len() > 0 {
        let step = steps.nth(rng.random_range(0..steps.len()));
        return step.expect("the index is below the length").length();
    }
    let lo_ms = u64::try_from(lo.as_nanos().div_ceil(NANOS_PER_MILLI)).unwrap_or(u64::MAX);
    let hi_ms = u64::try_from(hi.as_nanos() / NANOS_PER_MILLI).unwrap_or(u64::MAX);
    if lo_ms < hi_ms { Duration::from_millis(rng.random_range(lo_ms..=hi_ms)) } else { lo }
}

/// The smaller of two limits, of which each may be absent.
fn least<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// 2^n, held at the largest value: times the least `backoff_min` that is over a year.
fn power_of_two(n: u32) -> u32 {
    1u32.checked_shl(n).unwrap_or(u32::MAX)
}

const NANOS_PER_MILLI: u128 = 1_000_000;

const HOUR: Duration = Duration::from_secs(3600);

/// A tenth of what Cloud Tasks takes for its default, and enough to keep a failing task from being a hot loop.
const BACKOFF_MIN_LEAST: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    const SECOND: Duration = Duration::from_secs(1);

    fn secs(s: &[u64]) -> Vec<Duration> {
        s.iter().copied().map(Duration::from_secs).collect()
    }

    fn policy(curve: Curve, jitter: Jitter, min_s: u64, max_s: u64) -> RetryPolicy {
        let (backoff_min, backoff_max) = (Duration::from_secs(min_s), Duration::from_secs(max_s));
        RetryPolicy { curve, jitter, backoff_min, backoff_max, ..RetryPolicy::default() }
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    #[track_caller]
    fn check_delays(policy: &RetryPolicy, expect_s: &[u64]) {
        assert_eq!(policy.check(), Ok(()));
        let policy = RetryPolicy { jitter: Jitter::None, ..policy.clone() };
        let delays = (1..).zip(expect_s).map(|(made, _)| policy.draw(made, RetryAfter::Policy, &mut rng()));
        assert_eq!(delays.collect::<Vec<_>>(), secs(expect_s));
    }

    #[test]
    fn default_doubles_from_a_second_to_an_hour() {
        check_delays(&RetryPolicy::default(), &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600]);
    }

    #[test]
    fn doublings_then_linear_as_cloud_tasks_documents_it() {
        let doublings = |n| Curve::Doublings { max_doublings: n };
        check_delays(&policy(doublings(3), Jitter::None, 10, 300), &[10, 20, 40, 80, 160, 240, 300, 300]);
        check_delays(&policy(doublings(0), Jitter::None, 10, 45), &[10, 20, 30, 40, 45, 45]);
        check_delays(
            &policy(doublings(16), Jitter::None, 1, 3600),
            &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600],
        );
    }

    #[test]
    fn schedules_are_walked_and_their_last_entry_repeats() {
        let schedule = |s: &[u64], max| policy(Curve::Schedule(secs(s)), Jitter::None, 1, max);
        // QStash's default, e^(2.5 n) seconds, and Svix's list.
        check_delays(
            &schedule(&[12, 148, 1808, 22_026, 86_400], 86_400),
            &[12, 148, 1808, 22_026, 86_400, 86_400, 86_400],
        );
        check_delays(
            &schedule(&[5, 300, 1800, 7200, 18_000, 36_000, 36_000], 36_000),
            &[5, 300, 1800, 7200, 18_000, 36_000, 36_000, 36_000],
        );
    }

    #[test]
    fn other_factors_and_a_constant_delay() {
        let exponential = |factor| Curve::Exponential { factor };
        check_delays(&policy(exponential(3.0), Jitter::None, 2, 100), &[2, 6, 18, 54, 100, 100]);
        check_delays(&policy(exponential(1.0), Jitter::None, 5, 100), &[5, 5, 5, 5]);
        check_delays(&policy(exponential(f64::MAX), Jitter::None, 5, 100), &[5, 100, 100]);
    }

    #[test]
    fn jitter_spreads_downwards_but_not_below_the_minimum() {
        #[track_caller]
        fn check(jitter: Jitter, made: u32, lo_s: u64, hi_s: u64) {
            let policy = policy(Curve::Exponential { factor: 2.0 }, jitter, 3, 3600);
            assert_eq!(policy.bounds(made), (Duration::from_secs(lo_s), Duration::from_secs(hi_s)));
        }
        check(Jitter::None, 4, 24, 24);
        check(Jitter::Full, 4, 3, 24);
        check(Jitter::Equal, 4, 12, 24);
        check(Jitter::Equal, 1, 3, 3);
        check(Jitter::Full, u32::MAX, 3, 3600);
        check(Jitter::None, 0, 3, 3);
    }

    #[test]
    fn each_grid_step_of_the_range_is_drawn() {
        let policy = policy(Curve::Exponential { factor: 2.0 }, Jitter::Equal, 1, 3600);
        let mut rng = rng();
        let mut drawn = (0..200).map(|_| policy.draw(4, RetryAfter::Policy, &mut rng).as_secs()).collect::<Vec<_>>();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [4, 5, 6, 7, 8]);
    }

    #[test]
    fn below_the_grid_every_millisecond_can_be_drawn() {
        let mut policy = policy(Curve::Exponential { factor: 1.0 }, Jitter::Full, 1, 3600);
        policy.backoff_min = Duration::from_millis(10);
        policy.curve = Curve::Schedule(vec![Duration::from_millis(19)]);
        let mut rng = rng();
        let mut drawn = (0..500).map(|_| policy.draw(1, RetryAfter::Policy, &mut rng).as_millis()).collect::<Vec<_>>();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, (10..=19).collect::<Vec<_>>());
    }

    #[test]
    fn a_wish_of_the_executor_is_held_at_the_cap() {
        let policy = RetryPolicy { retry_after_max: Duration::from_secs(90), ..RetryPolicy::default() };
        let exactly = |s| policy.draw(1, RetryAfter::Exactly(Duration::from_secs(s)), &mut rng());
        assert_eq!(exactly(30), Duration::from_secs(30));
        assert_eq!(exactly(91), Duration::from_secs(90));
        assert_eq!(exactly(0), Duration::ZERO);
        let none = RetryPolicy { jitter: Jitter::None, ..policy.clone() };
        assert_eq!(none.draw(1, RetryAfter::AtLeast(Duration::MAX), &mut rng()), Duration::from_secs(90));
        assert_eq!(none.draw(1, RetryAfter::AtLeast(Duration::ZERO), &mut rng()), SECOND);
    }

    #[test]
    fn tasks_sent_away_together_dont_come_back_together() {
        let policy = RetryPolicy::default();
        let mut rng = rng();
        let wish = RetryAfter::AtLeast(Duration::from_secs(40));
        let mut drawn = (0..100).map(|_| policy.draw(1, wish, &mut rng).as_secs()).collect::<Vec<_>>();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [40, 48], "the steps within 40 s and a quarter more");
    }

    #[test]
    fn exhausted_by_attempts_or_by_age() {
        let policy = RetryPolicy { max_attempts: Some(3), max_age: Some(60 * SECOND), ..RetryPolicy::default() };
        assert!(!policy.exhausted(2, None, HOUR));
        assert!(policy.exhausted(3, None, Duration::ZERO));
        assert!(!policy.exhausted(1, Some(50 * SECOND), 10 * SECOND));
        assert!(policy.exhausted(1, Some(50 * SECOND), 10 * SECOND + Duration::from_millis(1)));
        assert!(policy.exhausted(1, Some(Duration::MAX), Duration::MAX));
        let endless = RetryPolicy { max_attempts: None, max_age: None, ..policy };
        assert!(!endless.exhausted(u32::MAX, Some(Duration::MAX), Duration::MAX));
    }

    #[test]
    fn a_task_without_wishes_costs_no_copy() {
        let policy = RetryPolicy::default();
        assert!(matches!(policy.for_task(&RetryOverrides::default()), Cow::Borrowed(_)));
    }

    #[test]
    fn a_task_gets_what_it_wishes_within_the_caps() {
        let queue = policy(Curve::Exponential { factor: 2.0 }, Jitter::None, 5, 600);
        #[track_caller]
        fn check(queue: &RetryPolicy, wishes: &RetryOverrides, expect: &RetryPolicy) {
            assert_eq!(*queue.for_task(wishes), *expect, "{wishes:?}");
        }
        let none = RetryOverrides::default();
        let less = RetryOverrides { max_attempts: Some(2), max_age: Some(SECOND), ..none.clone() };
        check(&queue, &less, &RetryPolicy { max_attempts: Some(2), max_age: Some(SECOND), ..queue.clone() });
        let more = RetryOverrides {
            max_attempts: Some(21),
            max_age: Some(25 * HOUR),
            backoff_min: Some(SECOND),
            backoff_max: Some(HOUR),
            ..none.clone()
        };
        check(&queue, &more, &queue);
        let narrower = RetryOverrides {
            backoff_min: Some(Duration::from_secs(10)),
            backoff_max: Some(Duration::from_secs(60)),
            ..none.clone()
        };
        let narrow = policy(queue.curve.clone(), Jitter::None, 10, 60);
        check(&queue, &narrower, &narrow);
        let outside = RetryOverrides { backoff_max: Some(SECOND), ..none.clone() };
        check(&queue, &outside, &policy(queue.curve.clone(), Jitter::None, 5, 5));
        let upside_down = RetryOverrides { backoff_min: Some(HOUR), backoff_max: Some(10 * SECOND), ..none.clone() };
        check(&queue, &upside_down, &policy(queue.curve.clone(), Jitter::None, 10, 10));
        let listed = RetryOverrides { schedule: Some(secs(&[1, 30, 7200])), ..none.clone() };
        check(&queue, &listed, &RetryPolicy { curve: Curve::Schedule(secs(&[5, 30, 600])), ..queue.clone() });
        let empty = RetryOverrides { schedule: Some(Vec::new()), ..none };
        check(&queue, &empty, &queue);
    }

    #[test]
    fn what_is_wrong_with_a_policy_is_told_by_the_name_of_its_field() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut RetryPolicy), field: &str, text: &str) {
            let mut policy = RetryPolicy::default();
            change(&mut policy);
            let error = policy.check().expect_err("refused");
            assert_eq!((error.field(), error.to_string().as_str()), (field, text));
        }
        assert_eq!(RetryPolicy::default().check(), Ok(()));
        check(|p| p.backoff_min = Duration::ZERO, "backoff_min", "backoff_min: 0ns is shorter than 10ms");
        check(
            |p| p.backoff_max = Duration::from_millis(999),
            "backoff_max",
            "backoff_max: 999ms is shorter than backoff_min, which is 1s",
        );
        for (factor, text) in [(0.5, "0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let expect = format!("factor: {text} is not a finite number of at least 1");
            check(|p| p.curve = Curve::Exponential { factor }, "factor", &expect);
        }
        check(|p| p.curve = Curve::Schedule(Vec::new()), "schedule", "schedule: empty");
        check(
            |p| p.curve = Curve::Schedule(secs(&[1, 36_000])),
            "schedule",
            "schedule[1]: 36000s is outside of backoff_min and backoff_max, 1s to 3600s",
        );
        check(|p| p.max_attempts = Some(0), "max_attempts", "max_attempts: 0, but must be at least 1");
        check(|p| p.max_age = Some(Duration::ZERO), "max_age", "max_age: 0, but must be longer");
    }

    /// Whatever the types allow, sensible or not.
    fn any_policy() -> impl Strategy<Value = RetryPolicy> {
        let duration =
            || (0u32..64, any::<u64>(), 0u32..1_000_000_000).prop_map(|(n, s, ns)| Duration::new(s >> n, ns));
        let curve = prop_oneof![
            any::<f64>().prop_map(|factor| Curve::Exponential { factor }),
            (1.0..20.0).prop_map(|factor| Curve::Exponential { factor }),
            (0u32..80).prop_map(|max_doublings| Curve::Doublings { max_doublings }),
            any::<u32>().prop_map(|max_doublings| Curve::Doublings { max_doublings }),
            proptest::collection::vec(duration(), 0..5).prop_map(Curve::Schedule),
        ];
        let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)];
        (curve, jitter, duration(), duration(), duration()).prop_map(
            |(curve, jitter, backoff_min, backoff_max, retry_after_max)| RetryPolicy {
                curve,
                jitter,
                backoff_min,
                backoff_max,
                retry_after_max,
                ..RetryPolicy::default()
            },
        )
    }

    /// A policy that passes its check, over the ranges that queues have.
    fn good_policy() -> impl Strategy<Value = RetryPolicy> {
        (any_policy(), 10u64..100_000, 0u64..100_000_000, 1.0..20.0).prop_map(
            |(mut policy, min_ms, more_ms, factor)| {
                policy.backoff_min = Duration::from_millis(min_ms);
                policy.backoff_max = Duration::from_millis(min_ms + more_ms);
                match &mut policy.curve {
                    Curve::Exponential { factor: f } => *f = factor,
                    Curve::Schedule(delays) => {
                        delays.push(policy.backoff_max);
                        for delay in delays {
                            *delay = (*delay).clamp(policy.backoff_min, policy.backoff_max);
                        }
                    }
                    Curve::Doublings { .. } => {}
                }
                assert_eq!(policy.check(), Ok(()));
                policy
            },
        )
    }

    fn attempts() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..100, any::<u32>()]
    }

    proptest! {
        #[test]
        fn no_policy_panics(policy in any_policy(), made in attempts(), wish in any::<Duration>(), seed in any::<u64>()) {
            let mut rng = StdRng::seed_from_u64(seed);
            let _ = policy.check();
            let _ = policy.bounds(made);
            for after in [RetryAfter::Policy, RetryAfter::AtLeast(wish), RetryAfter::Exactly(wish)] {
                let delay = policy.draw(made, after, &mut rng);
                let _ = policy.exhausted(made, Some(wish), delay);
            }
        }

        #[test]
        fn every_draw_lies_within_the_bounds(policy in good_policy(), made in attempts(), seed in any::<u64>()) {
            let (lo, hi) = policy.bounds(made);
            prop_assert!(policy.backoff_min <= lo && lo <= hi && hi <= policy.backoff_max, "{lo:?} {hi:?}");
            let delay = policy.draw(made, RetryAfter::Policy, &mut StdRng::seed_from_u64(seed));
            prop_assert!(lo <= delay && delay <= hi, "{lo:?} {delay:?} {hi:?}");
            if Step::between(lo, hi).len() > 0 {
                prop_assert_eq!(Step::floor(delay).map(Step::length), Some(delay), "on the grid");
            }
        }

        #[test]
        fn delays_never_shrink_without_jitter(policy in good_policy(), made in attempts()) {
            let mut policy = RetryPolicy { jitter: Jitter::None, ..policy };
            if let Curve::Schedule(delays) = &mut policy.curve {
                delays.sort_unstable();
            }
            let delay = |made| policy.draw(made, RetryAfter::Policy, &mut rng());
            prop_assert!(delay(made) <= delay(made.saturating_add(1)));
            prop_assert_eq!(policy.bounds(made).0, policy.bounds(made).1);
        }

        #[test]
        fn at_least_is_never_early_and_never_beyond_the_caps(
            policy in good_policy(),
            made in attempts(),
            wish in any::<Duration>(),
            scale in 0u32..64,
            seed in any::<u64>(),
        ) {
            let wish = Duration::from_millis((wish.as_secs() >> scale) + 1);
            let seeded = || StdRng::seed_from_u64(seed);
            let delay = policy.draw(made, RetryAfter::AtLeast(wish), &mut seeded());
            prop_assert!(delay >= policy.draw(made, RetryAfter::Policy, &mut seeded()));
            prop_assert!(delay >= wish.min(policy.retry_after_max));
            prop_assert!(delay <= policy.retry_after_max.max(policy.backoff_max));
            prop_assert!(delay <= policy.bounds(made).1.max(wish + wish / 4));
        }

        #[test]
        fn no_task_gets_more_than_its_queue_allows(
            queue in good_policy(),
            made in attempts(),
            max_attempts in proptest::option::of(any::<u32>()),
            max_age in proptest::option::of(any::<Duration>()),
            backoff_min in proptest::option::of(any::<Duration>()),
            backoff_max in proptest::option::of(any::<Duration>()),
            schedule in proptest::option::of(proptest::collection::vec(any::<Duration>(), 0..4)),
        ) {
            let wishes = RetryOverrides { max_attempts, max_age, backoff_min, backoff_max, schedule };
            let task = queue.for_task(&wishes);
            prop_assert!(task.max_attempts.is_some() && task.max_attempts <= queue.max_attempts);
            prop_assert!(task.max_attempts >= Some(1));
            prop_assert!(task.max_age.is_some() && task.max_age <= queue.max_age);
            let (lo, hi) = task.bounds(made);
            prop_assert!(queue.backoff_min <= lo && lo <= hi && hi <= queue.backoff_max);
            prop_assert_eq!(task.retry_after_max, queue.retry_after_max);
        }
    }
}
