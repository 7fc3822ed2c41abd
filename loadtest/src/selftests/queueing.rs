//! Executors of c workers against the closed form of an M/M/c queue (Erlang C): plan, distributions and executors together
//! give what theory says. In virtual time, by calling the model alone.

use crate::{
    arrivals::{Class, Mix, Plan},
    figures::Hist,
    fleet::{Executor, ExecutorSpec, Load},
};
use std::time::Duration;

/// The probability that a task must wait (Erlang C), for c workers at this load in Erlangs.
fn erlang_c(c: u32, load: f64) -> f64 {
    // B(n) = a B(n-1) / (n + a B(n-1)), and C from B.
    let b = (1..=c).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
    let rho = load / f64::from(c);
    b / (1.0 - rho + rho * b)
}

/// Adds the waits of a queue of c workers with a mean service of 50 ms at this rate.
fn add_waits(hist: &mut Hist, c: u32, rate: f64, seed: u64) {
    let spec = format!("latency=exp:50ms workers={c}").parse::<ExecutorSpec>().unwrap();
    // The work alone: the same draws without other tasks.
    let mut alone = Executor::new(ExecutorSpec { load: Load::Free, ..spec.clone() }, seed);
    let mut executor = Executor::new(spec, seed);
    let mix = Mix::new(vec![Class::new("load", "main")]).unwrap();
    let text = format!("poisson {rate:.3}/s {:.0}s", 50_000.0 / rate);
    for arrival in Plan::new(text.parse().unwrap(), mix, seed) {
        let after = executor.arrive(arrival.at, arrival.index, 1).after;
        let work = alone.arrive(arrival.at, arrival.index, 1).after;
        executor.leave();
        alone.leave();
        hist.record(after.saturating_sub(work));
    }
}

/// Over eight seeds: waits in one queue depend on each other, so that one long run tells less than its length.
#[track_caller]
fn check(c: u32, rho: f64, tolerance: f64) {
    let rate = rho * f64::from(c) / 0.05;
    let mut hist = Hist::default();
    (0..8).for_each(|seed| add_waits(&mut hist, c, rate, seed));
    let waiting = erlang_c(c, rho * f64::from(c));
    // Waits are exponential with the rate at which free capacity works them off.
    let spare = f64::from(c) / 0.05 - rate;
    let (mean, p99) = (waiting / spare, (waiting / 0.01).ln() / spare);
    let found = hist.mean_us() / 1e6;
    assert!((found / mean - 1.0).abs() < tolerance, "c={c} rho={rho}: mean wait {found} s instead of {mean} s");
    let found = hist.quantile(0.99).as_secs_f64();
    assert!((found / p99 - 1.0).abs() < tolerance, "c={c} rho={rho}: p99 {found} s instead of {p99} s");
}

#[test]
fn workers_queue_as_the_closed_form_says() {
    // Three standard errors of these many tasks, whose waits are correlated; with sixteen times as many both figures are
    // within 1 %. One worker more or less makes more than 30 %.
    check(1, 0.7, 0.05);
    check(4, 0.6, 0.06);
    check(8, 0.8, 0.2);
}

#[test]
fn erlang_c_is_what_the_tables_say() {
    // A single worker waits with the probability of its load; 8 workers at 0.9 have 266 ms at the 99th percentile.
    assert!((erlang_c(1, 0.7) - 0.7).abs() < 1e-12);
    let p99 = (erlang_c(8, 7.2) / 0.01).ln() / (8.0 / 0.05 * 0.1);
    assert!((p99 - 0.266).abs() < 0.001, "{p99}");
}

#[test]
fn an_executor_under_load_slows_down_by_its_slope() {
    let spec = "latency=10ms slope=2 capacity=10".parse::<ExecutorSpec>().unwrap();
    let mut executor = Executor::new(spec, 1);
    let after = |executor: &mut Executor| executor.arrive(Duration::ZERO, 1, 1).after.as_millis();
    assert_eq!([after(&mut executor), after(&mut executor), after(&mut executor)], [10, 12, 14]);
    (0..3).for_each(|_| executor.leave());
    assert_eq!((after(&mut executor), executor.under_way()), (10, 1));
}
