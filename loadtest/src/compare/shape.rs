//! Two sets of histograms, compared over their whole shape: what a percentile hides, such as a second hump, moves a share of
//! all tasks. How sure that is comes from shuffling whole runs: tasks of one run wait for each other, and counted one by one
//! they would make every small difference look certain.

use super::ranks::{binomial, for_each_split};
use crate::draw::Draw;

/// Splits of the runs that are looked at: all, or else so many drawn ones.
const SPLITS_MAX: u64 = 2_000;
/// Steps of the values that are looked at: 2 %, which costs a gap at most what lies within one.
const STEP: f64 = 1.02;

/// How far two distributions are apart, as shares of all tasks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Gap {
    /// The largest distance of the two distribution functions: the statistic of Kolmogorov and Smirnov.
    pub(super) distance: f64,
    /// The largest share of tasks that are slower, even if the slack were granted to them.
    pub(super) slower: f64,
    /// The largest share of tasks that are faster by more than the slack.
    pub(super) faster: f64,
}

/// The gaps, and how likely gaps so large are if it makes no difference which run is on which side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) gap: Gap,
    pub(super) p_distance: f64,
    pub(super) p_slower: f64,
    pub(super) p_faster: f64,
    /// The gap, slower or faster, that runs shuffled at random stay below in all but a small share of cases: what runs differ
    /// by anyway.
    pub(super) usual: f64,
}

/// Buckets of a histogram: upper bounds, and how many values.
type Buckets = [(u64, u64)];

/// One run's values: how many are at most each step, and at most each step without and with the slack.
struct Steps {
    plain: Vec<f64>,
    less: Vec<f64>,
    more: Vec<f64>,
    count: f64,
}

/// Compares the shapes. `slack` is a share by which a value may be larger without counting as slower, `rare` the share of cases
/// that may be beyond what is usual.
pub(super) fn shape(before: &[&Buckets], after: &[&Buckets], slack: f64, rare: f64) -> Shape {
    let all = before.iter().chain(after).copied().collect::<Vec<_>>();
    let values = || all.iter().flat_map(|buckets| buckets.iter()).map(|(us, _)| *us as f64);
    let (least, most) = (values().fold(f64::INFINITY, f64::min).max(1.0), values().fold(1.0, f64::max));
    let count = ((most / least).ln() / STEP.ln()).ceil() as i32 + 1;
    // A step more at both ends, so that slack leads nowhere.
    let places = (-1..=count).map(|i| least * STEP.powi(i)).collect::<Vec<_>>();
    let runs = all.iter().map(|buckets| Steps::new(buckets, &places, slack)).collect::<Vec<_>>();
    let (n, total) = (before.len(), all.len());
    let found = gap(&runs, &(n..total).collect::<Vec<_>>());
    let (mut gaps, mut hits) = (Vec::new(), [0.0; 3]);
    let mut look = |chosen: &[usize]| {
        let other = gap(&runs, chosen);
        // Sums in another order differ in the last digits.
        let as_large = |other: f64, found: f64| f64::from(u8::from(other >= found - 1e-9));
        hits[0] += as_large(other.distance, found.distance);
        hits[1] += as_large(other.slower, found.slower);
        hits[2] += as_large(other.faster, found.faster);
        gaps.push(other.slower.max(other.faster));
    };
    if binomial(total, total - n) <= SPLITS_MAX as f64 {
        for_each_split(total, total - n, &mut look);
    } else {
        // The split that was found is one of them, so that no probability is 0.
        look(&(n..total).collect::<Vec<_>>());
        (1..SPLITS_MAX).for_each(|i| look(&drawn(total, total - n, i)));
    }
    let [p_distance, p_slower, p_faster] = hits.map(|hits| hits / gaps.len() as f64);
    gaps.sort_by(f64::total_cmp);
    let usual = gaps[((gaps.len() as f64 * (1.0 - rare)).ceil() as usize).clamp(1, gaps.len()) - 1];
    Shape { gap: found, p_distance, p_slower, p_faster, usual }
}

/// So many of all, drawn: always the same for the same `i`.
fn drawn(total: usize, count: usize, i: u64) -> Vec<usize> {
    let draw = Draw::new(0).of("splits").at(i);
    let mut all = (0..total).collect::<Vec<_>>();
    all.sort_by_key(|run| draw.at(*run as u64).number());
    all.truncate(count);
    all
}

impl Steps {
    fn new(buckets: &Buckets, places: &[f64], slack: f64) -> Self {
        let at_most = |factor: f64| {
            let (mut below, mut next) = (0.0, buckets.iter().peekable());
            let mut at = |place: f64| {
                while let Some((_, n)) = next.next_if(|(us, _)| *us as f64 <= place) {
                    below += *n as f64;
                }
                below
            };
            places.iter().map(|place| at(place * factor)).collect::<Vec<_>>()
        };
        let count = buckets.iter().map(|(_, n)| *n as f64).sum();
        Self { plain: at_most(1.0), less: at_most(1.0 / (1.0 + slack)), more: at_most(1.0 + slack), count }
    }
}

/// The gap between the runs that are chosen as `after` and the others.
fn gap(runs: &[Steps], after: &[usize]) -> Gap {
    let is_after = (0..runs.len()).map(|i| after.contains(&i)).collect::<Vec<_>>();
    let count = |side: bool| {
        let runs = runs.iter().zip(&is_after).filter(|(_, is)| **is == side);
        runs.map(|(run, _)| run.count).sum::<f64>().max(1.0)
    };
    let (before_count, after_count) = (count(false), count(true));
    let mut gap = Gap::default();
    for place in 0..runs.first().map_or(0, |run| run.plain.len()) {
        let (mut before, mut less, mut more, mut now) = (0.0, 0.0, 0.0, 0.0);
        for (run, is_after) in runs.iter().zip(&is_after) {
            if *is_after {
                now += run.plain[place];
            } else {
                before += run.plain[place];
                less += run.less[place];
                more += run.more[place];
            }
        }
        let now = now / after_count;
        let [before, less, more] = [before, less, more].map(|n| n / before_count);
        gap.distance = gap.distance.max((before - now).abs());
        // Of `before`, so many are within a place less the slack; of `after`, only so many within the place itself.
        gap.slower = gap.slower.max(less - now);
        gap.faster = gap.faster.max(now - more);
    }
    gap
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [(u64, u64); 2] = [(1_000, 900), (50_000, 100)];

    fn four(run: &Buckets) -> [&Buckets; 4] {
        [run; 4]
    }

    #[test]
    fn the_gap_is_the_share_of_tasks_that_moved() {
        // 80 of 1,000 tasks take three times as long; median and 99th percentile are as before.
        let humped = [(1_000_u64, 820_u64), (3_000, 80), (50_000, 100)];
        let told = shape(&four(&PLAIN), &four(&humped), 0.1, 0.025);
        assert!((told.gap.slower - 0.08).abs() < 1e-9 && (told.gap.distance - 0.08).abs() < 1e-9, "{told:?}");
        assert!(told.gap.faster < 1e-9 && (told.p_slower - 1.0 / 70.0).abs() < 1e-9, "{told:?}");
        let back = shape(&four(&humped), &four(&PLAIN), 0.1, 0.025);
        assert!((back.gap.faster - 0.08).abs() < 1e-9 && back.gap.slower < 1e-9, "{back:?}");
    }

    #[test]
    fn what_is_within_the_slack_is_not_slower() {
        let slower = PLAIN.map(|(us, n)| (us * 105 / 100, n));
        let told = shape(&four(&PLAIN), &four(&slower), 0.1, 0.025);
        assert!(told.gap.slower < 1e-9 && told.gap.faster < 1e-9 && told.gap.distance > 0.8, "{told:?}");
        let told = shape(&four(&PLAIN), &four(&slower), 0.02, 0.025);
        assert!(told.gap.slower > 0.8, "{told:?}");
    }

    #[test]
    fn many_runs_are_shuffled_by_chance_and_the_same_chance_again() {
        let runs = (0..18_u64).map(|i| vec![(1_000 + i * 10, 100), (2_000, 100)]).collect::<Vec<_>>();
        let (before, after) =
            (runs.iter().step_by(2).map(|run| &**run), runs.iter().skip(1).step_by(2).map(|run| &**run));
        let (before, after) = (before.collect::<Vec<_>>(), after.collect::<Vec<_>>());
        let told = shape(&before, &after, 0.0, 0.025);
        assert_eq!(told, shape(&before, &after, 0.0, 0.025));
        assert!(told.p_distance > 0.1 && (0.0..0.5).contains(&told.usual), "{told:?}");
    }
}
