//! Keyed randomness: every number is a hash of the seed and of what it is for, never the next of a stream. So the fate of
//! one task is the same whatever happens to the others, in a rerun as in a simulation. It is not for secrets.

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
    fn draws_are_spread_evenly_and_purposes_are_apart() {
        let draw = Draw::new(7).of("spread");
        let mean = (0..10_000).map(|key| draw.at(key).unit()).sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
        assert_ne!(draw.at(1).number(), Draw::new(7).of("other").at(1).number());
        assert_ne!(draw.at(1).number(), Draw::new(8).of("spread").at(1).number());
        assert_eq!(draw.at(1).number(), Draw::new(7).of("spread").at(1).number());
    }
}
