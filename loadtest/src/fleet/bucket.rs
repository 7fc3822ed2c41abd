//! A token bucket: how many requests an executor takes at a time. It asks no clock; time is an argument.

use std::time::Duration;

/// Tokens that come back at a steady rate, up to a brim.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    brim: f64,
    per_s: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full one, at time zero. `per_s` is above 0.
    pub(super) fn new(brim: f64, per_s: f64) -> Self {
        Self { brim, per_s, tokens: brim, at: Duration::ZERO }
    }

    /// Takes a token, or tells how long until there is one.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_s).min(self.brim);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_s))
    }
}
