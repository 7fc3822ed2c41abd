//! The fit of the universal scalability law, X(N) = γN / (1 + α(N - 1) + βN(N - 1)) (Gunther, Guerrilla Capacity Planning, 2007),
//! and how far it may be off. It is pure, and knows nothing of what N counts.
//!
//! N / X is linear in 1/γ, α/γ and β/γ, so the best fit is found by solving equations, without a search. None of the three may
//! be negative: of the ways to leave out α, β or both, the best one that obeys is taken.

use crate::draw::Draw;

/// Parameters of the law.
const PARAMETERS: usize = 3;
/// Synthetic repetitions of the measurement.
const DRAWN: u64 = 1_000;
/// The normal distribution's 97.5th percentile.
const Z: f64 = 1.959_964;

/// The law's coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Law {
    /// The rate of one.
    pub(super) gamma: f64,
    /// Contention: what all wait for.
    pub(super) alpha: f64,
    /// Crosstalk: what each spends on each other.
    pub(super) beta: f64,
}

impl Law {
    /// The rate of `n`.
    pub(super) fn at(&self, n: f64) -> f64 {
        self.gamma * n / (1.0 + self.alpha * (n - 1.0) + self.beta * n * (n - 1.0))
    }

    /// The N with the largest rate; infinite if more is always better.
    pub(super) fn peak(&self) -> f64 {
        match self.beta {
            _ if self.alpha >= 1.0 => 1.0,
            beta if beta > 0.0 => ((1.0 - self.alpha) / beta).sqrt().max(1.0),
            _ => f64::INFINITY,
        }
    }
}

/// The law that is nearest to the points, each N with its rate, by the squares of relative errors; `None` with fewer points
/// than parameters, or with one that is no rate.
pub(super) fn fit(points: &[(f64, f64)]) -> Option<Law> {
    let sane = points.iter().all(|(n, x)| n.is_finite() && *n >= 1.0 && x.is_finite() && *x > 0.0);
    if !sane || points.len() < PARAMETERS {
        return None;
    }
    // Rows of N/X = a + b(N - 1) + cN(N - 1), each divided by its N/X, so that errors are relative ones.
    let row = |(n, x): &(f64, f64)| [1.0, n - 1.0, n * (n - 1.0)].map(|term| term * x / n);
    let rows = points.iter().map(row).collect::<Vec<_>>();
    let ways = [[true, true], [true, false], [false, true], [false, false]];
    let solved = ways.into_iter().filter_map(|[b, c]| {
        let [a, b, c] = solve(&rows, [true, b, c])?;
        (a > 0.0 && b >= 0.0 && c >= 0.0).then(|| Law { gamma: 1.0 / a, alpha: b / a, beta: c / a })
    });
    solved.min_by(|one, other| squares(one, points).total_cmp(&squares(other, points)))
}

/// The sum of squared relative errors.
fn squares(law: &Law, points: &[(f64, f64)]) -> f64 {
    points.iter().map(|(n, x)| (1.0 - x / law.at(*n)).powi(2)).sum()
}

/// Least squares of rows that should each come to 1, with the unknowns that are `free`, the others being 0; `None` if the rows
/// don't determine them.
fn solve(rows: &[[f64; 3]], free: [bool; 3]) -> Option<[f64; 3]> {
    // Columns of like size, since N(N - 1) is larger than 1 by far.
    let size = |column: usize| rows.iter().map(|row| row[column].abs()).fold(f64::MIN_POSITIVE, f64::max);
    let sizes = [size(0), size(1), size(2)];
    let mut system = [[0.0; 4]; 3];
    for (i, line) in system.iter_mut().enumerate() {
        if !free[i] {
            line[i] = 1.0;
            continue;
        }
        for row in rows {
            let scaled = |column: usize| row[column] / sizes[column];
            (0..3).filter(|j| free[*j]).for_each(|j| line[j] += scaled(i) * scaled(j));
            line[3] += scaled(i);
        }
    }
    for pivot in 0..3 {
        let best = (pivot..3).max_by(|a, b| system[*a][pivot].abs().total_cmp(&system[*b][pivot].abs()))?;
        system.swap(pivot, best);
        if system[pivot][pivot].abs() < 1e-12 {
            return None;
        }
        for other in (0..3).filter(|other| *other != pivot) {
            let times = system[other][pivot] / system[pivot][pivot];
            let from = system[pivot];
            system[other].iter_mut().zip(from).for_each(|(value, from)| *value -= times * from);
        }
    }
    Some([0, 1, 2].map(|i| system[i][3] / system[i][i] / sizes[i]))
}

/// The laws of so many repetitions of the measurement, made up: each rate of the law, with a normal relative error as large as
/// the points' own, and by Student's t as much larger as few points leave it unsure (a parametric bootstrap). Always the same
/// for the same points; needs a point more than there are parameters.
pub(super) fn repetitions(law: &Law, points: &[(f64, f64)]) -> Vec<Law> {
    let Some(freedom) = points.len().checked_sub(PARAMETERS).filter(|freedom| *freedom > 0) else { return Vec::new() };
    let freedom = freedom as f64;
    let error = (squares(law, points) / freedom).sqrt() * student(freedom) / Z;
    let again = |i: u64| {
        let draw = Draw::new(0).of("scaling").at(i);
        let one = |(k, (n, _)): (u64, &(f64, f64))| (*n, law.at(*n) * (1.0 + error * normal(draw.at(k))).max(0.01));
        fit(&(0..).zip(points).map(one).collect::<Vec<_>>())
    };
    (0..DRAWN).filter_map(again).collect()
}

/// The 97.5th percentile of Student's t. Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.5, within 1 % from
/// five degrees of freedom on; below, the tables.
fn student(freedom: f64) -> f64 {
    let tables = [12.706, 4.303, 3.182, 2.776];
    if freedom < 5.0 {
        return tables[(freedom as usize).clamp(1, 4) - 1];
    }
    let first = (Z.powi(3) + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / 96.0;
    Z + first / freedom + second / (freedom * freedom)
}

/// A standard normal number (Box and Muller, 1958).
fn normal(draw: Draw) -> f64 {
    let [a, b] = ["a", "b"].map(|of| draw.of(of).unit());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUE: Law = Law { gamma: 20.0, alpha: 0.03, beta: 0.002 };

    fn exact(law: &Law, all: &[f64]) -> Vec<(f64, f64)> {
        all.iter().map(|n| (*n, law.at(*n))).collect()
    }

    #[track_caller]
    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() <= 1e-6 * wanted.abs().max(1e-3), "{found} and not {wanted}");
    }

    #[test]
    fn coefficients_of_exact_points_are_found_again() {
        let cases = [
            TRUE,
            Law { alpha: 0.0, ..TRUE },
            Law { beta: 0.0, ..TRUE },
            Law { alpha: 0.0, beta: 0.0, gamma: 1e-3 },
            Law { gamma: 5e4, alpha: 0.9, beta: 0.05 },
        ];
        for law in cases {
            let found = fit(&exact(&law, &[1.0, 2.0, 4.0, 8.0, 16.0, 64.0])).unwrap();
            near(found.gamma, law.gamma);
            near(found.alpha, law.alpha);
            near(found.beta, law.beta);
        }
        near(TRUE.peak(), (0.97_f64 / 0.002).sqrt());
        assert_eq!((Law { beta: 0.0, ..TRUE }.peak(), Law { alpha: 1.2, ..TRUE }.peak()), (f64::INFINITY, 1.0));
    }

    #[test]
    fn what_grows_faster_than_in_proportion_has_neither_contention_nor_crosstalk() {
        let points = [1.0, 2.0, 4.0, 8.0].map(|n: f64| (n, n.powf(1.3)));
        let law = fit(&points).unwrap();
        assert!(law.alpha == 0.0 && law.beta == 0.0 && law.gamma > 1.0, "{law:?}");
    }

    #[test]
    fn what_determines_nothing_has_no_fit_or_the_plainest_one() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&exact(&TRUE, &[1.0, 2.0])), None);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(fit(&[(1.0, 1.0), (2.0, bad), (3.0, 3.0), (4.0, 4.0)]), None, "{bad}");
            assert_eq!(fit(&[(1.0, 1.0), (bad, 2.0), (3.0, 3.0), (4.0, 4.0)]), None, "{bad}");
        }
        // One N alone says nothing of how rates grow.
        let law = fit(&[(8.0, 10.0); 5]).unwrap();
        near(law.at(8.0), 10.0);
        assert!(repetitions(&TRUE, &exact(&TRUE, &[1.0, 2.0, 4.0])).is_empty());
    }

    #[test]
    fn exact_points_leave_nothing_unsure_and_the_same_points_are_the_same_again() {
        let points = exact(&TRUE, &[1.0, 2.0, 4.0, 8.0, 16.0]);
        let all = repetitions(&TRUE, &points);
        assert_eq!((all.len() as u64, &all), (DRAWN, &repetitions(&TRUE, &points)));
        all.iter().for_each(|law| near(law.peak(), TRUE.peak()));
    }

    /// Six points with 3 % noise, of which 95 of 100 intervals should hold the true coefficient; in 200 tries fewer than 180 do so
    /// with a probability below 1 %.
    #[test]
    fn intervals_hold_the_truth_as_often_as_promised() {
        let mut held = [0; 3];
        for seed in 0..200 {
            let draw = Draw::new(seed).of("points");
            let noisy = |(i, (n, x)): (u64, (f64, f64))| (n, x * (1.0 + 0.03 * normal(draw.at(i))));
            let points = (0..).zip(exact(&TRUE, &[1.0, 2.0, 4.0, 8.0, 12.0, 16.0])).map(noisy).collect::<Vec<_>>();
            let all = repetitions(&fit(&points).unwrap(), &points);
            let figures = |law: &Law| [law.gamma, law.peak(), law.at(16.0)];
            for (i, truth) in figures(&TRUE).into_iter().enumerate() {
                let (low, high) = super::super::interval(all.iter().map(|law| figures(law)[i]));
                held[i] += u32::from((low..=high).contains(&truth));
            }
        }
        assert!(held.iter().all(|held| (180..=200).contains(held)), "{held:?}");
    }

    #[test]
    fn students_t_is_that_of_the_tables() {
        let wanted = [(1.0, 12.706), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042)];
        assert!(wanted.iter().all(|(freedom, t)| (student(*freedom) / t - 1.0).abs() < 0.01));
    }
}
