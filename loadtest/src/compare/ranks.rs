//! Two small samples, compared by ranks alone: which is larger, how sure that is, and by what factor. It assumes nothing of how
//! values are distributed, which of percentiles nobody knows.

/// Samples with at most this many ways to be split are judged by all of them, others by the normal approximation.
const SPLITS_MAX: f64 = 20_000.0;
/// Values of one sample at most, so that exact distributions stay small.
pub(super) const SAMPLE_MAX: usize = 64;

/// What ranks say of `after` beside `before`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ranks {
    /// The probability that a value of `after` is larger than one of `before`; ties count half. 0.5 without a difference.
    /// (Vargha and Delaney's A, which is U / nm.)
    pub(super) superiority: f64,
    /// How likely so large a superiority is without a difference.
    pub(super) p_larger: f64,
    /// How likely one so small is.
    pub(super) p_smaller: f64,
}

/// The rank sum test of Mann and Whitney (1947), one-sided in both directions: exact, ties included, where the splits can be
/// counted; otherwise by the normal approximation with corrections for ties and continuity.
pub(super) fn ranks(before: &[f64], after: &[f64]) -> Ranks {
    let (n, m) = (before.len(), after.len());
    let all = before.iter().chain(after).copied().collect::<Vec<_>>();
    let ranks = mid_ranks(&all);
    // U of `after`: its rank sum without the least that it could be.
    let least = (m * (m + 1)) as f64 / 2.0;
    let u = ranks[n..].iter().sum::<f64>() - least;
    let pairs = (n * m) as f64;
    let (p_larger, p_smaller) = if binomial(n + m, m) <= SPLITS_MAX {
        let (mut larger, mut smaller, mut splits) = (0.0, 0.0, 0.0);
        for_each_split(n + m, m, |chosen| {
            let other = chosen.iter().map(|i| ranks[*i]).sum::<f64>() - least;
            // Half ranks are exact in binary.
            larger += f64::from(u8::from(other >= u));
            smaller += f64::from(u8::from(other <= u));
            splits += 1.0;
        });
        (larger / splits, smaller / splits)
    } else {
        let total = (n + m) as f64;
        let ties = tie_sizes(&all).map(|t| t * t * t - t).sum::<f64>();
        let variance = pairs / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        let tail = |d: f64| if variance > 0.0 { upper_tail((d - 0.5) / variance.sqrt()) } else { 1.0 };
        (tail(u - pairs / 2.0), tail(pairs / 2.0 - u))
    };
    Ranks { superiority: u / pairs, p_larger, p_smaller }
}

/// The factor from `before` to `after`, with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factor {
    /// The median of all quotients.
    pub(super) value: f64,
    /// The interval in which it lies with 1 - 2 `tail`; `None` if there are too few values for one.
    pub(super) interval: Option<(f64, f64)>,
}

/// The estimate of Hodges and Lehmann (1963) on a logarithmic scale, and the interval that belongs to the rank sum test
/// (Hollander and Wolfe, Nonparametric Statistical Methods, 4.3): the quotients of all pairs, without so many at either end as
/// U is at most with a probability below `tail`. Values must be positive.
pub(super) fn factor(before: &[f64], after: &[f64], tail: f64) -> Factor {
    let mut quotients = before.iter().flat_map(|a| after.iter().map(move |b| b / a)).collect::<Vec<_>>();
    quotients.sort_by(f64::total_cmp);
    let value = (quotients[(quotients.len() - 1) / 2] * quotients[quotients.len() / 2]).sqrt();
    let mut below = 0.0;
    let cut = u_distribution(before.len(), after.len()).into_iter().take_while(|p| {
        below += p;
        below < tail
    });
    let interval = match cut.count() {
        0 => None,
        cut => Some((quotients[cut - 1], quotients[quotients.len() - cut])),
    };
    Factor { value, interval }
}

/// The probabilities of U = 0, 1, .. nm without a difference and without ties: the coefficients of the Gaussian binomial,
/// built by N(n, m, u) = N(n - 1, m, u - m) + N(n, m - 1, u), as Mann and Whitney give it.
fn u_distribution(n: usize, m: usize) -> Vec<f64> {
    // `row[j]` is the distribution for i and j values.
    let mut row = vec![vec![1.0]; m + 1];
    for i in 1..=n {
        let mut next: Vec<Vec<f64>> = vec![vec![1.0]];
        for j in 1..=m {
            let (first, second) = (&row[j], &next[j - 1]);
            // The largest value is one of `i` with this probability; then it is larger than all `j`.
            let share = i as f64 / (i + j) as f64;
            let at = |of: &[f64], u: Option<usize>| u.and_then(|u| of.get(u)).copied().unwrap_or(0.0);
            let of = |u: usize| share * at(first, u.checked_sub(j)) + (1.0 - share) * at(second, Some(u));
            next.push((0..=i * j).map(of).collect());
        }
        row = next;
    }
    row.swap_remove(m)
}

/// Ranks from 1; equal values share the mean of theirs.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// How many values are equal, for each group of equal ones.
fn tie_sizes(values: &[f64]) -> impl Iterator<Item = f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let sizes = sorted.chunk_by(|a, b| a == b).map(|group| group.len() as f64).collect::<Vec<_>>();
    sizes.into_iter()
}

pub(super) fn binomial(n: usize, k: usize) -> f64 {
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64).round()
}

/// Every way to choose `k` of `n`, in order.
pub(super) fn for_each_split(n: usize, k: usize, mut each: impl FnMut(&[usize])) {
    let mut chosen = (0..k).collect::<Vec<_>>();
    loop {
        each(&chosen);
        // The last one that can move does, and those after it follow it closely.
        let Some(i) = (0..k).rev().find(|i| chosen[*i] < n - k + i) else { return };
        let from = chosen[i] + 1;
        for (step, place) in chosen[i..].iter_mut().enumerate() {
            *place = from + step;
        }
    }
}

/// The probability that a standard normal value is larger. Abramowitz and Stegun, Handbook of Mathematical Functions, 26.2.17:
/// within 7.5e-8.
fn upper_tail(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - upper_tail(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let powers = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = powers.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not near {b}");
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        // Of 4 and 4, one split of 70 has all larger values on one side.
        let apart = ranks(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]);
        assert_eq!(apart.superiority, 1.0);
        near(apart.p_larger, 1.0 / 70.0, 1e-12);
        near(apart.p_smaller, 1.0, 1e-12);
        // The tables' critical value of 5 and 5 for 5 %, two-sided, is 2: of 252 splits, 4 have a U of at most 2.
        let below = u_distribution(5, 5).iter().take(3).sum::<f64>();
        near(below, 4.0 / 252.0, 1e-12);
        near(u_distribution(7, 3).iter().sum(), 1.0, 1e-12);
        // U = 3: the 4 beats one value, the 5.5 two.
        let three = ranks(&[3.0, 5.0, 6.0, 7.0, 8.0], &[0.0, 1.0, 2.0, 4.0, 5.5]);
        near(three.superiority, 3.0 / 25.0, 1e-12);
        near(three.p_smaller, u_distribution(5, 5).iter().take(4).sum(), 1e-12);
    }

    #[test]
    fn equal_samples_show_no_difference() {
        let same = ranks(&[5.0; 4], &[5.0; 4]);
        assert_eq!((same.superiority, same.p_larger, same.p_smaller), (0.5, 1.0, 1.0));
        let same = ranks(&[5.0; 30], &[5.0; 30]);
        assert_eq!((same.superiority, same.p_larger, same.p_smaller), (0.5, 1.0, 1.0));
    }

    #[test]
    fn the_approximation_of_large_samples_is_near_the_exact_probability() {
        let before = (0..20).map(f64::from).collect::<Vec<_>>();
        let after = before.iter().map(|value| value + 4.4).collect::<Vec<_>>();
        let told = ranks(&before, &after);
        let u = told.superiority * 400.0;
        let exact = u_distribution(20, 20).iter().skip(u as usize).sum::<f64>();
        near(told.p_larger, exact, 0.002);
        assert!(told.p_larger < 0.05 && told.p_smaller > 0.95, "{told:?}");
        near(upper_tail(1.959_964), 0.025, 1e-6);
    }

    #[test]
    fn a_factor_has_the_interval_of_the_test() {
        let told = factor(&[10.0, 11.0, 12.0, 13.0], &[20.0, 22.0, 24.0, 26.0], 0.025);
        near(told.value, 2.0, 1e-9);
        // Of 4 and 4 the interval is that of all pairs.
        assert_eq!(told.interval, Some((20.0 / 13.0, 2.6)));
        assert_eq!(factor(&[10.0, 11.0, 12.0], &[20.0, 22.0, 24.0], 0.025).interval, None);
        // Of 5 and 5, two pairs at each end are left out: P(U <= 1) is 2/252, P(U <= 2) 4/252, P(U <= 3) 7/252.
        let (five, ten) = ([1.0, 1.1, 1.2, 1.3, 1.4], [2.0, 2.1, 2.2, 2.3, 2.4]);
        let mut quotients = five.iter().flat_map(|a| ten.iter().map(move |b| b / a)).collect::<Vec<_>>();
        quotients.sort_by(f64::total_cmp);
        assert_eq!(factor(&five, &ten, 0.025).interval, Some((quotients[2], quotients[22])));
    }

    #[test]
    fn every_split_comes_once() {
        let mut splits = Vec::new();
        for_each_split(5, 2, |chosen| splits.push(chosen.to_vec()));
        let all = splits.iter().collect::<std::collections::BTreeSet<_>>();
        assert_eq!((splits.len(), all.len()), (10, 10));
        assert_eq!((splits[0].clone(), splits[9].clone(), binomial(5, 2)), (vec![0, 1], vec![3, 4], 10.0));
    }
}
