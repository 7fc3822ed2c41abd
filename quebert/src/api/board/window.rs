//! Counts and durations of the last minute, in fixed memory. It reads no clock: the second is an argument.

use std::time::Duration;

/// Whole seconds that are told of.
pub(super) const SECONDS: u64 = 60;
/// Slots of the ring: a power of two with room for the second that is under way.
const RING: usize = 64;
/// Durations are kept in slices of that many seconds, so that the last minute is seven of them: six whole ones and the
/// one under way.
const SLICE_S: u64 = 10;
const SLICES: usize = 7;

/// What happened of late in a queue or a destination.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The second, counted from the board's start, that the ring and the slices have been brought to.
    second: u64,
    counts: [Counts; RING],
    slices: [Histogram; SLICES],
}

/// What happened in one second, or in several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Attempts ended.
    pub(super) attempts: u32,
    /// Tasks completed.
    pub(super) succeeded: u32,
    /// Attempts that failed.
    pub(super) failed: u32,
}

impl Window {
    pub(super) fn new(second: u64) -> Self {
        Self { second, counts: [Counts::default(); RING], slices: [const { Histogram::new() }; SLICES] }
    }

    /// As new, in the same memory.
    pub(super) fn reset(&mut self, second: u64) {
        self.second = second;
        self.counts.fill(Counts::default());
        self.slices.iter_mut().for_each(Histogram::clear);
    }

    /// The counts of a second to add to. A second before the last one, as by a clock read a moment earlier, is the last.
    pub(super) fn at(&mut self, second: u64) -> &mut Counts {
        self.advance(second);
        &mut self.counts[self.second as usize % RING]
    }

    /// An attempt ended in this second, and took that long.
    pub(super) fn took(&mut self, second: u64, duration: Duration) {
        self.advance(second);
        self.slices[(self.second / SLICE_S) as usize % SLICES].add(duration);
    }

    /// The last 60 whole seconds before this one, oldest first.
    pub(super) fn seconds(&mut self, second: u64) -> impl Iterator<Item = Counts> + '_ {
        self.advance(second);
        (1..=SECONDS).rev().map(|ago| {
            let at = self.second.checked_sub(ago);
            at.map_or_else(Counts::default, |second| self.counts[second as usize % RING])
        })
    }

    /// Percentiles of the durations of the last 60 to 70 seconds; `None` without any.
    pub(super) fn percentiles<const N: usize>(&mut self, second: u64, wanted: [f64; N]) -> Option<[Duration; N]> {
        self.advance(second);
        let mut sum = Histogram::new();
        self.slices.iter().for_each(|slice| sum.merge(slice));
        (sum.total > 0).then(|| wanted.map(|wanted| sum.percentile(wanted)))
    }

    /// Empties what lies between the last second and this one.
    fn advance(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        let ahead = second - self.second;
        for step in 1..=ahead.min(RING as u64) {
            self.counts[(self.second + step) as usize % RING] = Counts::default();
        }
        let (from, to) = (self.second / SLICE_S, second / SLICE_S);
        for step in 1..=(to - from).min(SLICES as u64) {
            self.slices[(from + step) as usize % SLICES].clear();
        }
        self.second = second;
    }
}

/// Each octave of durations has that many buckets of equal width: a percentile, told as the middle of its bucket, is at
/// most 1/16 (6.3 %) off.
const PER_OCTAVE: usize = 8;
/// The first bucket takes everything below 128 us, the last one everything from 2^31 us (36 min) on, which is longer than
/// any attempt may take.
const FIRST_OCTAVE: u32 = 7;
const OCTAVES: usize = 24;
const BUCKETS: usize = 1 + OCTAVES * PER_OCTAVE + 1;

#[derive(Debug, Clone)]
struct Histogram {
    total: u64,
    buckets: [u32; BUCKETS],
}

impl Histogram {
    const fn new() -> Self {
        Self { total: 0, buckets: [0; BUCKETS] }
    }

    fn clear(&mut self) {
        if self.total > 0 {
            *self = Self::new();
        }
    }

    fn add(&mut self, duration: Duration) {
        self.total += 1;
        let bucket = &mut self.buckets[bucket_of(duration)];
        *bucket = bucket.saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        if other.total > 0 {
            self.total += other.total;
            self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
        }
    }

    /// The nearest-rank percentile, `wanted` in 0 to 1.
    fn percentile(&self, wanted: f64) -> Duration {
        let rank = ((self.total as f64 * wanted).ceil() as u64).max(1);
        let mut below = 0;
        let at = self.buckets.iter().position(|n| {
            below += u64::from(*n);
            below >= rank
        });
        middle_of(at.unwrap_or(BUCKETS - 1))
    }
}

fn bucket_of(duration: Duration) -> usize {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = us.checked_ilog2().and_then(|octave| octave.checked_sub(FIRST_OCTAVE)) else { return 0 };
    if octave as usize >= OCTAVES {
        return BUCKETS - 1;
    }
    // The three bits below the highest one.
    let within = (us >> (octave + FIRST_OCTAVE - PER_OCTAVE.ilog2())) as usize % PER_OCTAVE;
    1 + octave as usize * PER_OCTAVE + within
}

fn middle_of(bucket: usize) -> Duration {
    let Some(bucket) = bucket.checked_sub(1) else { return Duration::from_micros(1 << (FIRST_OCTAVE - 1)) };
    let (octave, within) = (bucket / PER_OCTAVE, bucket % PER_OCTAVE);
    let width = 1u64 << (octave as u32 + FIRST_OCTAVE - PER_OCTAVE.ilog2());
    Duration::from_micros(width * (PER_OCTAVE + within) as u64 + width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(window: &mut Window, second: u64) -> Vec<u32> {
        window.seconds(second).map(|counts| counts.attempts).collect()
    }

    #[test]
    fn the_last_minute_is_told_second_by_second_and_then_forgotten() {
        let mut window = Window::new(0);
        for second in 0..5 {
            window.at(second).attempts += second as u32 + 1;
        }
        let told = attempts(&mut window, 4);
        assert_eq!((told.len(), &told[55..]), (60, &[0, 1, 2, 3, 4][..]), "the second under way is not told of");
        assert_eq!(attempts(&mut window, 60)[..5], [1, 2, 3, 4, 5]);
        assert_eq!(attempts(&mut window, 63)[..5], [4, 5, 0, 0, 0]);
        assert_eq!(attempts(&mut window, 65), [0; 60]);
    }

    #[test]
    fn a_long_silence_leaves_nothing_behind() {
        let mut window = Window::new(0);
        (0..70).for_each(|second| window.at(second).attempts += 1);
        window.took(69, Duration::from_millis(5));
        assert_eq!(attempts(&mut window, 10_000), [0; 60]);
        assert_eq!(window.percentiles(10_000, [0.5]), None);
    }

    #[test]
    fn a_clock_that_was_read_a_moment_earlier_counts_in_the_last_second() {
        let mut window = Window::new(0);
        window.at(10).attempts += 1;
        window.at(9).attempts += 1;
        assert_eq!(attempts(&mut window, 11)[59], 2);
    }

    #[test]
    fn percentiles_are_at_most_a_sixteenth_off() {
        for us in (128..4096).chain([1_000_000, 123_456_789, (1 << 31) - 1]) {
            let told = middle_of(bucket_of(Duration::from_micros(us))).as_micros() as f64;
            assert!((told / us as f64 - 1.0).abs() <= 1.0 / 16.0 + 1e-9, "{us} us is told as {told}");
        }
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(Duration::from_micros(127)), 0);
        assert_eq!(bucket_of(Duration::from_micros(128)), 1);
    }

    #[test]
    fn percentiles_are_of_the_last_minute() {
        let mut window = Window::new(0);
        (0..99).for_each(|_| window.took(5, Duration::from_millis(10)));
        window.took(5, Duration::from_millis(900));
        let near = |told: Duration, ms: f64| (told.as_secs_f64() * 1000.0 / ms - 1.0).abs() < 0.07;
        let [p50, p99, p100] = window.percentiles(65, [0.5, 0.99, 1.0]).unwrap();
        assert!(near(p50, 10.0) && near(p99, 10.0) && near(p100, 900.0), "{p50:?} {p99:?} {p100:?}");
        window.took(66, Duration::from_millis(20));
        assert!(near(window.percentiles(70, [0.5]).unwrap()[0], 20.0), "what is older than a minute is forgotten");
    }
}
