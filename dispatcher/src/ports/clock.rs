//! The clocks: one that only goes forward, and one on the wall.

use quebert_wire::Timestamp;
use std::time::Duration;

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Since some fixed moment of this process; never goes back. Timers go by it.
    pub mono: Duration,
    /// On the wall; may jump. What stands on the wire goes by it.
    pub wall: Timestamp,
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Now;
}

/// The machine's clocks, read through tokio, so that tests may pause the monotonic one.
#[derive(Debug)]
pub struct SystemClock {
    start: tokio::time::Instant,
    started_at: std::time::SystemTime,
    follow_wall: bool,
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clocks are read")]
impl SystemClock {
    /// Starts to count now.
    pub fn new() -> Self {
        Self { start: tokio::time::Instant::now(), started_at: wall_time(), follow_wall: true }
    }

    /// A clock whose wall time goes with the monotonic one from `wall` on: for tests in paused time.
    pub fn starting_at(wall: Timestamp) -> Self {
        let since_epoch = Duration::from_millis(u64::try_from(wall.as_millis()).unwrap_or(0));
        Self { start: tokio::time::Instant::now(), started_at: std::time::UNIX_EPOCH + since_epoch, follow_wall: false }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let mono = self.start.elapsed();
        let wall = if self.follow_wall { wall_time() } else { self.started_at + mono };
        let since_epoch = wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Now { mono, wall: Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)) }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
fn wall_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
