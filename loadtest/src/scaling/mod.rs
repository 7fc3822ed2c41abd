//! How a system grows: the rates of a sweep over slots or dispatchers, and the universal scalability law fitted to them, with what
//! the points leave unsure. It refuses to say more than they do. What is measured stands in the sweep.

mod fit;

use crate::report::SweepPoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The law has three coefficients, and two points more say how well it fits.
const POINTS_MIN: usize = 5;
/// From so many on, it may say something of more than was measured.
const EXTRAPOLATED_MIN: usize = 6;
/// And no further than so many times the largest N: with 3 % of noise, a peak beyond may be anywhere.
const REACH: f64 = 2.0;
/// Places of the curve.
const STEPS: u32 = 60;

/// How rates grow with one dimension of a sweep, all else being equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scaling {
    /// What N counts: `slots` (of each queue of each dispatcher) or `dispatchers`.
    pub of: String,
    /// What all its points have in common, such as `dispatchers=1 window=auto`.
    pub series: String,
    /// What was measured, by N: the largest rate of each series whose backlog grew.
    pub points: Vec<Capacity>,
    /// The law; `null` where there are too few points.
    pub law: Option<Law>,
    /// What it comes to, or why there is none, for people.
    pub note: String,
}

/// What so many could do.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// So many.
    pub n: u32,
    /// Tasks a second.
    pub per_s: f64,
}

/// X(N) = γN / (1 + α(N - 1) + βN(N - 1)), fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Law {
    /// γ: tasks a second of one.
    pub gamma: Estimate,
    /// α, contention: the share of the work that all wait for.
    pub alpha: Estimate,
    /// β, crosstalk: what each pair costs.
    pub beta: Estimate,
    /// The N with the largest rate; `null` if that is not within `reach`.
    pub peak_n: Option<f64>,
    /// The lower end of its 95 % interval; `null` if that is not within `reach`.
    pub peak_low_n: Option<f64>,
    /// The upper end, likewise.
    pub peak_high_n: Option<f64>,
    /// The largest relative difference between a point and the law.
    pub off_max: f64,
    /// Up to which N anything is said.
    pub reach: f64,
    /// The law from the least N to `reach`, with its band.
    pub curve: Vec<Place>,
}

/// A coefficient with its 95 % interval, from a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The best fit.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A place on the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// So many.
    pub n: f64,
    /// Tasks a second, with the 95 % band.
    pub per_s: Estimate,
}

/// One for each line of points along which only the slots or only the dispatchers change.
pub fn scalings(points: &[SweepPoint]) -> Vec<Scaling> {
    let mut lines: BTreeMap<(&str, String), BTreeMap<u32, Vec<&SweepPoint>>> = BTreeMap::new();
    for point in points {
        let (Some(dispatchers), Some(slots)) = (point.dispatchers, point.slots) else { continue };
        let window = match point.window {
            Some(0) => " window=auto".to_owned(),
            Some(window) => format!(" window={window}"),
            None => String::new(),
        };
        let along = [
            ("dispatchers", format!("slots={slots}{window}"), dispatchers),
            ("slots", format!("dispatchers={dispatchers}{window}"), slots),
        ];
        for (of, series, n) in along {
            lines.entry((of, series)).or_default().entry(n).or_default().push(point);
        }
    }
    let several = lines.into_iter().filter(|(_, line)| line.len() > 1);
    several.map(|((of, series), line)| scaling(of, series, &line)).collect()
}

fn scaling(of: &str, series: String, line: &BTreeMap<u32, Vec<&SweepPoint>>) -> Scaling {
    let capacity = |(n, points): (&u32, &Vec<&SweepPoint>)| {
        // What kept up with the rate could have done more: how much, nobody knows.
        let full = points.iter().any(|point| point.saturated && point.valid);
        let rates = points.iter().filter(|point| point.valid).map(|point| point.achieved_per_s);
        full.then(|| Capacity { n: *n, per_s: rates.fold(0.0, f64::max) })
    };
    let points = line.iter().filter_map(capacity).filter(|point| point.per_s > 0.0).collect::<Vec<_>>();
    let law = law(&points);
    let note = match &law {
        Some(law) => told(law, points.len()),
        None => format!(
            "no scalability law: it takes {POINTS_MIN} numbers of {of} at which the backlog grew, and there are {} of {}; \
             try higher rates, or more of them",
            points.len(),
            line.len()
        ),
    };
    Scaling { of: of.to_owned(), series, points, law, note }
}

/// `None` with too few points.
fn law(points: &[Capacity]) -> Option<Law> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let measured = points.iter().map(|point| (f64::from(point.n), point.per_s)).collect::<Vec<_>>();
    let (least, most) = (measured.first()?.0, measured.last()?.0);
    let best = fit::fit(&measured)?;
    let all = fit::repetitions(&best, &measured);
    let estimate = |of: &dyn Fn(&fit::Law) -> f64| {
        let (low, high) = interval(all.iter().map(of));
        // The best fit may lie outside where a coefficient can't become smaller.
        let value = of(&best);
        Estimate { value, low: low.min(value), high: high.max(value) }
    };
    let reach = if points.len() < EXTRAPOLATED_MIN { most } else { most * REACH };
    let within = |n: f64| (n <= reach).then_some(n);
    let peak = estimate(&fit::Law::peak);
    let step = (reach - least) / f64::from(STEPS);
    let place = |i: u32| {
        let n = least + step * f64::from(i);
        Place { n, per_s: estimate(&|law| law.at(n)) }
    };
    Some(Law {
        gamma: estimate(&|law| law.gamma),
        alpha: estimate(&|law| law.alpha),
        beta: estimate(&|law| law.beta),
        peak_n: within(peak.value),
        peak_low_n: within(peak.low),
        peak_high_n: within(peak.high),
        off_max: measured.iter().map(|(n, x)| (x / best.at(*n) - 1.0).abs()).fold(0.0, f64::max),
        reach,
        curve: (0..=STEPS).map(place).collect(),
    })
}

/// Between the 2.5th and the 97.5th percentile.
fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    if values.is_empty() { (f64::NEG_INFINITY, f64::INFINITY) } else { (at(0.025), at(0.975)) }
}

fn told(law: &Law, points: usize) -> String {
    let Law { gamma, alpha, beta, reach, .. } = law;
    let mut text = format!(
        "one does {:.1}/s [{:.1}..{:.1}], contention {:.2} % [{:.2}..{:.2}], crosstalk {:.4} % [{:.4}..{:.4}]",
        gamma.value,
        gamma.low,
        gamma.high,
        alpha.value * 100.0,
        alpha.low * 100.0,
        alpha.high * 100.0,
        beta.value * 100.0,
        beta.low * 100.0,
        beta.high * 100.0,
    );
    let end = |n: Option<f64>| n.map_or(format!("beyond {reach:.0}"), |n| format!("{n:.1}"));
    text.push_str(&match (law.peak_n, law.peak_low_n) {
        (Some(n), _) => format!("; most at N = {n:.1} [{}..{}]", end(law.peak_low_n), end(law.peak_high_n)),
        (None, Some(low)) => format!("; no peak up to N = {reach:.0}, though it may be from {low:.1} on"),
        (None, None) => format!("; no peak up to N = {reach:.0}"),
    });
    if points < EXTRAPOLATED_MIN {
        text.push_str(&format!("; nothing is said of more, since that takes {EXTRAPOLATED_MIN} points"));
    }
    if law.off_max > 0.1 {
        text.push_str(&format!("; points are up to {:.0} % off the law", law.off_max * 100.0));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(dispatchers: u32, slots: u32, per_s: f64, saturated: bool) -> SweepPoint {
        SweepPoint {
            dispatchers: Some(dispatchers),
            slots: Some(slots),
            window: Some(0),
            achieved_per_s: per_s,
            valid: true,
            saturated,
            ..SweepPoint::default()
        }
    }

    const TRUE: fit::Law = fit::Law { gamma: 20.0, alpha: 0.03, beta: 0.002 };

    fn sweep(slots: &[u32]) -> Vec<SweepPoint> {
        let both = |slots: &u32| {
            let most = TRUE.at(f64::from(*slots));
            [point(1, *slots, most / 2.0, false), point(1, *slots, most, true)]
        };
        slots.iter().flat_map(both).collect()
    }

    #[test]
    fn the_peak_is_found_and_nothing_is_said_of_more_than_twice_what_was_measured() {
        let all = scalings(&sweep(&[1, 2, 4, 8, 12, 16]));
        assert_eq!(all.len(), 1, "{all:?}");
        let law = all[0].law.as_ref().unwrap();
        assert_eq!((&*all[0].of, &*all[0].series), ("slots", "dispatchers=1 window=auto"));
        assert!((law.peak_n.unwrap() - 22.02).abs() < 0.01 && law.reach == 32.0, "{law:?}");
        assert!((law.alpha.value - 0.03).abs() < 1e-6 && (law.beta.value - 0.002).abs() < 1e-7, "{law:?}");
        assert_eq!((law.curve.first().unwrap().n, law.curve.last().unwrap().n), (1.0, 32.0));
        assert!(all[0].note.contains("most at N = 22.0 [22.0..22.0]"), "{}", all[0].note);
        // The same with a peak too far away to be told.
        let all = scalings(&sweep(&[1, 2, 3, 4, 5, 6]));
        assert_eq!(all[0].law.as_ref().unwrap().peak_n, None);
        assert!(all[0].note.contains("no peak up to N = 12"), "{}", all[0].note);
    }

    #[test]
    fn with_few_points_it_says_less_and_with_fewer_nothing() {
        let all = scalings(&sweep(&[1, 2, 4, 8, 16]));
        let law = all[0].law.as_ref().unwrap();
        assert_eq!((law.reach, law.peak_n), (16.0, None));
        assert!(all[0].note.contains("nothing is said of more, since that takes 6 points"), "{}", all[0].note);
        let mut points = sweep(&[1, 2, 4, 8, 16]);
        // What kept up, and what means nothing, is no limit.
        points.last_mut().unwrap().saturated = false;
        points[7].valid = false;
        let all = scalings(&points);
        assert!(all[0].law.is_none() && all[0].points.len() == 3, "{all:?}");
        assert!(all[0].note.contains("and there are 3 of 5; try higher rates"), "{}", all[0].note);
    }

    #[test]
    fn each_line_of_a_grid_is_looked_at_by_itself_and_points_of_older_sweeps_not_at_all() {
        let mut points = Vec::new();
        for dispatchers in [1, 2, 3] {
            for slots in [4, 8] {
                points.push(point(dispatchers, slots, f64::from(dispatchers * slots), true));
            }
        }
        let names = scalings(&points).into_iter().map(|one| format!("{} {}", one.of, one.series)).collect::<Vec<_>>();
        let wanted = [
            "dispatchers slots=4 window=auto",
            "dispatchers slots=8 window=auto",
            "slots dispatchers=1 window=auto",
            "slots dispatchers=2 window=auto",
            "slots dispatchers=3 window=auto",
        ];
        assert_eq!(names, wanted);
        points.iter_mut().for_each(|point| point.slots = None);
        assert!(scalings(&points).is_empty() && scalings(&[]).is_empty());
    }

    #[test]
    fn what_the_law_does_not_describe_is_told_with_how_far_it_is_off() {
        let rates = [(1, 10.0), (2, 40.0), (4, 20.0), (8, 90.0), (16, 30.0), (32, 31.0)];
        let all = scalings(&rates.map(|(slots, rate)| point(1, slots, rate, true)));
        assert!(all[0].note.contains("% off the law"), "{}", all[0].note);
        // Rates that are all the same: a single thing does everything.
        let all = scalings(&[1, 2, 4, 8, 16, 32].map(|slots| point(1, slots, 50.0, true)));
        let law = all[0].law.as_ref().unwrap();
        assert!((law.alpha.value - 1.0).abs() < 1e-6 && law.off_max < 1e-6, "{law:?}");
    }
}
