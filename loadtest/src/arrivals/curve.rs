//! Rates over time: how many tasks have come by a moment, and the moment by which so many have. Pure arithmetic in
//! seconds; nothing is random here.

use std::f64::consts::TAU;

/// A rate over a phase, in tasks a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Curve {
    /// The same all the time.
    Constant(f64),
    /// From one rate to another, evenly over the phase.
    Ramp(f64, f64),
    /// Around a mean, by a sine; never below 0, since the swing is at most the mean.
    Sine {
        /// In the middle.
        mean: f64,
        /// Up and down from there.
        swing: f64,
        /// Of one period, in seconds.
        period: f64,
    },
}

impl Curve {
    /// The rate at a moment of a phase of this length.
    pub fn rate(&self, at: f64, length: f64) -> f64 {
        match *self {
            Self::Constant(rate) => rate,
            Self::Ramp(from, to) => from + (to - from) * at / length,
            Self::Sine { mean, swing, period } => mean + swing * (TAU * at / period).sin(),
        }
    }

    /// How many tasks come until a moment: the integral of the rate.
    pub fn until(&self, at: f64, length: f64) -> f64 {
        match *self {
            Self::Constant(rate) => rate * at,
            Self::Ramp(from, to) => from * at + (to - from) * at * at / (2.0 * length),
            Self::Sine { mean, swing, period } => mean * at + swing * period / TAU * (1.0 - (TAU * at / period).cos()),
        }
    }

    /// The moment until which `n` come; `None` if that is not before the end of the phase.
    pub fn when(&self, n: f64, length: f64) -> Option<f64> {
        if n >= self.until(length, length) {
            return None;
        }
        let at = match *self {
            Self::Constant(rate) => n / rate,
            // The positive root of (to - from) / 2L t^2 + from t - n, in the form that does not cancel for small slopes.
            Self::Ramp(from, to) => {
                let slope = (to - from) / length;
                2.0 * n / (from + (from * from + 2.0 * slope * n).max(0.0).sqrt()).max(f64::MIN_POSITIVE)
            }
            Self::Sine { .. } => self.bisect(n, length),
        };
        Some(at.clamp(0.0, length))
    }

    /// `until` never falls, so halving the interval finds the place: 60 times is below a nanosecond for any phase.
    fn bisect(&self, n: f64, length: f64) -> f64 {
        let (mut low, mut high) = (0.0, length);
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if self.until(middle, length) < n {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}
