//! Keyed randomness: every number is a hash of the seed and of what it is for, never the next of a stream. So a fault or
//! a task that is taken out of a case leaves all other draws as they were, which is what makes cases shrink well; and the fate of
//! one task is the same in a rerun and in a simulation, whatever happens to the others. It is not for secrets.

use std::time::Duration;

/// Draws numbers for one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw(u64);

impl Draw {
    /// For a seed.
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x9e37_79b9_7f4a_7c15))
    }

    /// Draws for one purpose, apart from all others.
    #[must_use]
    pub fn of(self, purpose: &str) -> Self {
        Self(purpose.bytes().fold(self.0, |hash, byte| mix(hash ^ u64::from(byte))))
    }

    /// Draws for one thing among its like.
    #[must_use]
    pub const fn at(self, key: u64) -> Self {
        Self(mix(self.0 ^ mix(key)))
    }

    /// Any number.
    pub const fn number(self) -> u64 {
        mix(self.0)
    }

    /// From 0 up to, but never, 1: in steps of 2^-53.
    pub fn unit(self) -> f64 {
        (self.number() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number below `end`; 0 if that is 0.
    pub const fn below(self, end: u64) -> u64 {
        if end == 0 { 0 } else { ((self.number() as u128 * end as u128) >> 64) as u64 }
    }

    /// A number of this range, both ends included.
    pub const fn between(self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// Whether something happens that does so in `per_mille` of 1,000 cases.
    pub const fn chance(self, per_mille: u32) -> bool {
        self.below(1000) < per_mille as u64
    }

    /// A length of time of this range, in whole milliseconds.
    pub fn span(self, least: Duration, most: Duration) -> Duration {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.between(ms(least), ms(most)))
    }

    /// One of these; `None` if there are none.
    pub fn one_of<T>(self, all: &[T]) -> Option<&T> {
        all.get(usize::try_from(self.below(all.len() as u64)).unwrap_or(0))
    }
}

/// The finisher of SplitMix64 (Steele, Lea and Flood, 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_evenly_and_keys_are_apart() {
        let draw = Draw::new(7).of("spread");
        let mut counts = [0_u32; 10];
        for key in 0..10_000 {
            counts[usize::try_from(draw.at(key).below(10)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
        let mean = (0..10_000).map(|key| draw.at(key).unit()).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert_ne!(draw.at(1).number(), Draw::new(7).of("other").at(1).number());
        assert_ne!(draw.at(1).number(), Draw::new(8).of("spread").at(1).number());
        assert_eq!(draw.at(1).number(), Draw::new(7).of("spread").at(1).number());
    }

    #[test]
    fn ranges_hold_both_ends_and_nothing_beyond() {
        let draws = (0..1000).map(|key| Draw::new(1).at(key).between(3, 5)).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(draws, [3, 4, 5].into());
        assert_eq!(Draw::new(1).between(9, 9), 9);
        assert_eq!(Draw::new(1).below(0), 0);
    }
}
