//! The formulas that bracket a plan: Erlang, Allen and Cunneen, Little, and the arithmetic of retries and backlogs. They are
//! pure, in seconds and tasks a second. None of them knows prefetch windows: what is near their limits is simulated.

use quebert_dispatcher::backoff::RetryPolicy;
use std::time::Duration;

/// The probability that a task must wait in a queue of `slots` with Poisson arrivals and exponential services (Erlang C), for
/// `load` busy slots; 1 where that is more than there are.
pub fn erlang_c(slots: u32, load: f64) -> f64 {
    // Erlang's B by recursion, B(n) = a B(n-1) / (n + a B(n-1)), and C from it.
    let b = (1..=slots).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
    let busy = load / f64::from(slots);
    if busy >= 1.0 { 1.0 } else { b / (1.0 - busy + busy * b) }
}

/// A percentile of the wait in seconds, by Allen and Cunneen's mean with an exponential tail; infinite when tasks come faster
/// than they can be done. `variability` is (ca² + cs²) / 2, of arrivals and services.
pub fn wait(slots: u32, rate: f64, service: f64, variability: f64, share: f64) -> f64 {
    let load = rate * service;
    let spare = f64::from(slots) / service - rate;
    if spare <= 0.0 {
        return f64::INFINITY;
    }
    let waits = erlang_c(slots, load);
    ((waits / (1.0 - share)).ln() / spare * variability).max(0.0)
}

/// Slots that are busy on average (Little): a rate times a time.
pub fn busy_slots(rate: f64, service: f64) -> f64 {
    rate * service
}

/// Attempts of a task, of which each fails with this probability, up to so many: (1 - p^m) / (1 - p).
pub fn attempts_per_task(failing: f64, most: Option<u32>) -> f64 {
    match most {
        _ if failing >= 1.0 => most.map_or(f64::INFINITY, f64::from),
        None => 1.0 / (1.0 - failing),
        Some(most) => (1.0 - failing.powf(f64::from(most))) / (1.0 - failing),
    }
}

/// How long a backlog takes until it is gone, while tasks go on to come at this rate and this many can be done; `None` if
/// it never is.
pub fn drain_s(backlog: f64, rate: f64, capacity: f64) -> Option<f64> {
    (capacity > rate).then(|| backlog / (capacity - rate))
}

/// How long a task's attempts last at least, when all of them fail at once; `None` is without limit.
pub fn attempts_last(retry: &RetryPolicy) -> Option<Duration> {
    // A million is without limit: a task of one backoff a second is as old as two weeks then.
    let most = retry.max_attempts.filter(|most| *most < 1_000_000)?;
    Some((1..most).map(|made| retry.bounds(made).0).sum())
}

/// Student's t: the 97.5th percentile with four degrees of freedom, for intervals from five seeds.
const T_4: f64 = 2.776;

/// The mean of the same figure from five seeds, with its 95 % interval.
pub fn interval(figures: &[f64; 5]) -> (f64, f64, f64) {
    let mean = figures.iter().sum::<f64>() / 5.0;
    let variance = figures.iter().map(|figure| (figure - mean).powi(2)).sum::<f64>() / 4.0;
    let half = T_4 * (variance / 5.0).sqrt();
    (mean, (mean - half).max(0.0), mean + half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found / expected - 1.0).abs() < tolerance, "{found} and not {expected}");
    }

    #[test]
    fn erlang_c_is_what_the_tables_say() {
        near(erlang_c(1, 0.7), 0.7, 1e-12);
        near(erlang_c(8, 6.4), 0.45764, 1e-4);
        assert_eq!(erlang_c(2, 2.0), 1.0);
    }

    #[test]
    fn waits_are_those_of_the_study() {
        // Mean service 50 ms at 90 %: exponential, constant, lognormal with sigma 1 (cs² = e - 1), and 5 % that take 600 ms.
        near(wait(8, 144.0, 0.05, 1.0, 0.99), 0.266, 0.01);
        near(wait(8, 144.0, 0.05, 0.5, 0.99), 0.133, 0.01);
        near(wait(8, 144.0, 0.05, f64::midpoint(1.0, std::f64::consts::E - 1.0), 0.99), 0.361, 0.01);
        near(wait(8, 144.0, 0.05, f64::midpoint(1.0, 6.37), 0.99), 0.979, 0.01);
        assert_eq!((wait(8, 160.0, 0.05, 1.0, 0.99), wait(8, 1.0, 0.05, 1.0, 0.99)), (f64::INFINITY, 0.0));
    }

    #[test]
    fn retries_multiply_the_load() {
        near(attempts_per_task(0.03, Some(5)), 1.0309, 1e-4);
        near(attempts_per_task(0.5, None), 2.0, 1e-12);
        assert_eq!((attempts_per_task(1.0, Some(5)), attempts_per_task(0.0, Some(5))), (5.0, 1.0));
        near(busy_slots(2062.0, 0.05), 103.1, 1e-9);
    }

    #[test]
    fn a_backlog_drains_by_what_is_spare() {
        assert_eq!(drain_s(1_200_000.0, 2_000.0, 2_880.0).map(f64::round), Some(1364.0));
        assert_eq!(drain_s(1.0, 2.0, 2.0), None);
    }

    #[test]
    fn attempts_last_as_long_as_their_shortest_backoffs() {
        let s = Duration::from_secs;
        let retry = RetryPolicy { backoff_max: s(8), max_attempts: Some(6), ..RetryPolicy::default() };
        // 1, 2, 4, 8 and 8 seconds, of which jitter takes at most half, and never less than the minimum.
        assert_eq!(attempts_last(&retry), Some(s(1 + 1 + 2 + 4 + 4)));
        assert_eq!(attempts_last(&RetryPolicy { max_attempts: None, ..retry }), None);
    }

    #[test]
    fn an_interval_of_equal_figures_is_a_point() {
        assert_eq!(interval(&[2.0; 5]), (2.0, 2.0, 2.0));
        let (mean, low, high) = interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        near(mean, 3.0, 1e-12);
        near(high - low, 2.0 * 2.776 * (2.5_f64 / 5.0).sqrt(), 1e-9);
    }
}
