//! The clock of a run: how long it has been going on, by the clock that never jumps and by the one that tasks name their
//! moments in. Latencies are taken from the former, promises about moments are judged by the latter.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Readings of the two clocks that are no further apart than this are of one moment.
const TOGETHER: Duration = Duration::from_millis(1);
/// How often they are read at most, to come so close.
const READS: usize = 8;

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
        let (start, wall) = together(Instant::now, since_1970);
        Self { start, wall, bound: false }
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
        if self.bound {
            let run = self.start.elapsed();
            return Moment { run, wall: run };
        }
        let (now, wall) = together(Instant::now, since_1970);
        Moment { run: now - self.start, wall: wall.saturating_sub(self.wall) }
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

/// What both clocks show at one moment, as near as the machine lets them be read: a thread that is put off between the two would
/// take its own lateness for a drift of theirs.
fn together(mut monotonic: impl FnMut() -> Instant, mut wall: impl FnMut() -> Duration) -> (Instant, Duration) {
    let mut closest = None::<(Duration, Instant, Duration)>;
    let mut before = monotonic();
    for _ in 0..READS {
        let shown = wall();
        let after = monotonic();
        let apart = after - before;
        if closest.is_none_or(|(least, ..)| apart < least) {
            closest = Some((apart, before, shown));
        }
        if apart <= TOGETHER {
            break;
        }
        before = after;
    }
    let (_, at, shown) = closest.expect("it is read at least once");
    (at, shown)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings with these gaps, in milliseconds, between each wall clock's and the monotonic one's after it.
    fn read(gaps: &[u64]) -> (Duration, Duration, usize) {
        let start = Instant::now();
        let now = std::cell::Cell::new(Duration::ZERO);
        let mut gaps = gaps.iter();
        let mut reads = 0;
        let wall = || {
            reads += 1;
            now.set(now.get() + Duration::from_millis(*gaps.next().expect("no more reads than that")));
            now.get()
        };
        let (at, shown) = together(|| start + now.get(), wall);
        (at - start, shown, reads)
    }

    #[test]
    fn a_thread_that_is_put_off_between_the_clocks_sees_no_drift() {
        let ms = Duration::from_millis;
        assert_eq!(read(&[0]), (ms(0), ms(0), 1));
        // Put off for 25 ms, twice; the third time both are read at once.
        assert_eq!(read(&[25, 25, 0]), (ms(50), ms(50), 3));
    }

    #[test]
    fn the_closest_readings_are_taken_if_none_is_close() {
        let ms = Duration::from_millis;
        let gaps = [9, 8, 7, 2, 7, 8, 9, 9];
        assert_eq!(read(&gaps), (ms(24), ms(26), READS));
    }
}
