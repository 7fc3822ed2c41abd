//! The clock of a run: how long it has been going on, by the clock that never jumps and by the one that tasks name their
//! moments in. Latencies are taken from the former, promises about moments are judged by the latter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A moment of a run. Both parts count from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// By the monotonic clock.
    pub run: Duration,
    /// By the wall clock.
    pub wall: Duration,
}

/// A run's clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    /// The start, since the Unix epoch.
    wall: Duration,
    /// Whether the wall clock goes with the monotonic one, as in virtual time.
    bound: bool,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Self { start: Instant::now(), wall: since_1970(), bound: false }
    }

    /// Starts now, with a wall clock that goes with tokio's, which may be paused: virtual time.
    pub fn start_virtual() -> Self {
        Self { bound: true, ..Self::start() }
    }

    /// Starts at a moment that may still come, at which the wall clock is to show this, with a wall clock that goes with
    /// tokio's: virtual time that is the same in each run.
    pub fn virtual_from(start: Instant, wall_since_1970: Duration) -> Self {
        Self { start, wall: wall_since_1970, bound: true }
    }

    /// The moment.
    pub fn now(&self) -> Moment {
        let run = self.start.elapsed();
        let wall = if self.bound { run } else { since_1970().saturating_sub(self.wall) };
        Moment { run, wall }
    }

    /// When that is, for tokio's timers.
    pub fn instant(&self, run: Duration) -> Instant {
        self.start + run
    }

    /// Milliseconds since the Unix epoch of a moment of the run, by the wall clock; parts of one round up.
    pub fn epoch_ms(&self, wall: Duration) -> i64 {
        i64::try_from((self.wall + wall).as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
    }

    /// The moment of the run that is so many milliseconds after the Unix epoch; zero if that was before the start.
    pub fn wall_of(&self, epoch_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(epoch_ms).unwrap_or(0)).saturating_sub(self.wall)
    }

    /// The start, in milliseconds since the Unix epoch.
    pub fn start_epoch_ms(&self) -> i64 {
        self.epoch_ms(Duration::ZERO)
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
