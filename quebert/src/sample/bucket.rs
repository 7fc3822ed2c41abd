//! A token bucket: how many requests an executor takes at a time. It asks no clock; time is an argument.

use std::time::Duration;

/// Tokens that come back at a steady rate, up to a brim.
#[derive(Debug)]
pub(super) struct Bucket {
    brim: f64,
    per_s: f64,
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full one, at time zero. `per_s` is above 0.
    pub(super) fn new(brim: u32, per_s: u32) -> Self {
        let (brim, per_s) = (f64::from(brim), f64::from(per_s));
        Self { brim, per_s, tokens: brim, at: Duration::ZERO }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none: how long until there is one.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brim_at_once_and_then_at_the_rate() {
        let at = Duration::from_millis;
        let mut bucket = Bucket::new(2, 4);
        assert_eq!((bucket.take(at(0)), bucket.take(at(0))), (Ok(()), Ok(())));
        assert_eq!(bucket.take(at(0)), Err(at(250)));
        assert_eq!(bucket.take(at(125)), Err(at(125)));
        assert_eq!((bucket.take(at(250)), bucket.take(at(250))), (Ok(()), Err(at(250))));
        assert_eq!((0..5).filter(|_| bucket.take(at(60_000)).is_ok()).count(), 2, "no more than the brim is saved up");
    }
}
