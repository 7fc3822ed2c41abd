//! How long to wait before the next attempt: the superset of what the field's queues offer.
//!
//! Everything here is a pure function of the policy and of the random numbers that the caller brings. Whether there is
//! a next attempt at all is the verdict's business; this file only tells when the policy's limits are used up.

use crate::{grid::Step, planted::planted, verdict::RetryAfter};
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
    /// No further attempt is scheduled for later than this after the task was enqueued; `None` is without limit.
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
            Jitter::Equal => self.clamp(delay / if planted!(JitterBelow) { 8 } else { 2 }),
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
        delay.max(self.backoff_min).min(if planted!(BackoffUncapped) { Duration::MAX } else { self.backoff_max })
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
mod tests;
