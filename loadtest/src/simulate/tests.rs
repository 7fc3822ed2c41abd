//! The simulations against each other, against closed forms, and against themselves.

use super::*;
use crate::{
    figures::Kind,
    plan::formula::wait,
    run::{Config, Profile},
};

fn profile(arrivals: &str, executor: &str, dispatchers: u32, queue: &str) -> Profile {
    Profile {
        arrivals: arrivals.into(),
        executors: vec![executor.into()],
        broker: "private-rabbitmq".into(),
        dispatchers,
        queues: vec![format!("name=load {queue}")],
        ..Profile::default()
    }
}

fn config(arrivals: &str, executor: &str, dispatchers: u32, queue: &str) -> Config {
    Config::try_from(profile(arrivals, executor, dispatchers, queue)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_one_others() {
    let busy = |seed| {
        let executor = "latency=lognormal:30ms,200ms status=503:5%";
        let profile = Profile { seed, ..profile("poisson 60/s 5s", executor, 2, "slots=2 window=4") };
        let outcome = world::run(&Config::try_from(profile).unwrap(), &Timing::default());
        let verdict = outcome.verdict.as_ref().unwrap();
        assert!(verdict.ok, "{:#?}", verdict.findings);
        let kinds = Kind::ALL.map(|kind| outcome.figures.total().get(kind).buckets());
        (kinds, outcome.ends, outcome.settled_at)
    };
    let first = busy(1);
    assert!(first.1.attempts > first.1.tasks && first.2.is_some(), "{:?}", first.1);
    assert!(first == busy(1), "two runs of one seed differ");
    assert!(first != busy(2));
}

/// A window that never binds, and ways that take no time: an M/G/c queue.
fn pure(executor: &str, slots: u32, rate: f64, tasks: f64) -> Outcome {
    let arrivals = format!("poisson {rate:.3}/s {:.0}s", tasks / rate);
    let queue = format!("slots={slots} window=60000");
    let nothing = Timing { broker_rtt_us: 0, attempt_extra_us: 0, confirm_us: 0 };
    model(&config(&arrivals, executor, 1, &queue), &nothing).unwrap()
}

/// With a mean service of 50 ms.
#[track_caller]
fn p99_is(executor: &str, slots: u32, rho: f64, tasks: f64, expected_ms: f64, tolerance: f64) {
    let outcome = pure(executor, slots, rho * f64::from(slots) / 0.05, tasks);
    let found = outcome.quantile(Kind::Wait, 0.99) * 1e3;
    assert!(
        (found / expected_ms - 1.0).abs() < tolerance,
        "{executor} on {slots}: {found} ms and not {expected_ms} ms"
    );
}

const LOGNORMAL: &str = "latency=lognormal:30.327ms,310.6ms";
const BIMODAL: &str = "latency=bimodal:21.053ms,600ms,5%";

#[test]
fn the_model_queues_as_the_closed_form_says() {
    p99_is("latency=exp:50ms", 8, 0.8, 60_000.0, wait(8, 128.0, 0.05, 1.0, 0.99) * 1e3, 0.15);
    p99_is("latency=exp:50ms", 1, 0.5, 40_000.0, wait(1, 10.0, 0.05, 1.0, 0.99) * 1e3, 0.15);
}

#[test]
fn the_model_queues_as_long_simulations_of_others_do() {
    // From runs of 400,000 tasks each, by another program. Waits that depend on each other make the rest of the difference.
    p99_is("latency=50ms", 8, 0.9, 60_000.0, 126.0, 0.2);
    p99_is(BIMODAL, 32, 0.8, 60_000.0, 70.0, 0.2);
    p99_is(BIMODAL, 128, 0.9, 60_000.0, 28.0, 0.35);
}

#[test]
fn a_window_that_is_too_small_costs_throughput_and_one_that_is_too_large_costs_patience() {
    // Four dispatchers of eight slots at 85 %.
    let p99 = |rtt_us, window: u32| {
        let timing = Timing { broker_rtt_us: rtt_us, attempt_extra_us: 0, confirm_us: 0 };
        let queue = format!("slots=8 window={window}");
        let profile = Profile { seed: 2, ..profile("poisson 544/s 60s", LOGNORMAL, 4, &queue) };
        model(&Config::try_from(profile).unwrap(), &timing).unwrap().quantile(Kind::Wait, 0.99) * 1e3
    };
    let (tight, double, fourfold) = (p99(1_000, 9), p99(1_000, 16), p99(1_000, 32));
    assert!(tight < 70.0 && double > 1.4 * tight && fourfold > 1.3 * double, "{tight} {double} {fourfold}");
    // Each place in the window takes S + RTT: 8 of 70 ms make 457/s, and tasks that come faster wait ever longer.
    let (starved, by_rule) =
        (p99(20_000, 8), p99(20_000, window(8, Duration::from_millis(20), Duration::from_millis(50))));
    assert!(starved > 5_000.0 && by_rule < 150.0, "{starved} {by_rule}");
}

#[test]
fn the_rule_for_windows() {
    let ms = Duration::from_millis;
    assert_eq!(window(8, ms(1), ms(50)), 10);
    assert_eq!(window(8, ms(20), ms(50)), 13);
    assert_eq!(window(10, ms(10), ms(50)), 13);
    assert_eq!((window(4, ms(1), ms(0)), window(60_000, ms(50), ms(1))), (9, 65_535));
}

/// The same arrivals and fates, once through the dispatcher and once through the model.
#[track_caller]
fn agree(arrivals: &str, executor: &str, dispatchers: u32, queue: &str, tolerance: f64) {
    let config = config(arrivals, executor, dispatchers, queue);
    let timing = Timing::default();
    let (world, model) = (world::run(&config, &timing), model(&config, &timing).unwrap());
    assert_eq!((world.ends.tasks, world.ends.succeeded), (model.ends.tasks, model.ends.succeeded));
    for kind in [Kind::Wait, Kind::Done] {
        let (ours, theirs) = (model.quantile(kind, 0.99), world.quantile(kind, 0.99));
        let off = (ours / theirs - 1.0).abs();
        assert!(
            off < tolerance,
            "{executor}: {} p99 is {ours} s by the model, {theirs} s by the dispatcher",
            kind.name()
        );
    }
}

#[test]
fn the_model_agrees_with_the_dispatcher() {
    agree("poisson 64/s 12s", "latency=50ms", 1, "slots=4 window=6", 0.1);
    agree("poisson 70/s 12s", "latency=lognormal:40ms,250ms", 2, "slots=3 window=5", 0.15);
    agree("poisson 50/s 12s", "latency=exp:50ms status=503:10%", 1, "slots=4", 0.2);
}

#[test]
fn an_outage_fills_the_queue_and_it_drains_as_fast_as_capacity_is_spare() {
    // 20 tasks a second for 40 s, of which nobody takes any from 10 s on; four slots make 40 a second.
    let executor = "latency=100ms outage=refuse:10s..20s";
    let config = config("constant 20/s 40s", executor, 1, "slots=4 window=8");
    for outcome in [model(&config, &Timing::default()).unwrap(), world::run(&config, &Timing::default())] {
        assert_eq!((outcome.ends.tasks, outcome.ends.succeeded, outcome.ends.dead), (800, 800, 0));
        assert!((150..=230).contains(&outcome.backlog_max), "{}", outcome.backlog_max);
        let at = |s: usize, figures: &mut crate::figures::Figures| figures.seconds()[s].held.unwrap_or(0);
        let mut figures = outcome.figures;
        assert!(
            at(19, &mut figures) > 150 && at(39, &mut figures) < 30,
            "{} {}",
            at(19, &mut figures),
            at(39, &mut figures)
        );
    }
}

#[test]
fn a_grid_has_a_row_for_each_combination_and_the_table_shows_it() {
    let timing = Timing::default();
    let grid = Grid {
        dispatchers: Some("1..2".parse().unwrap()),
        slots: Some("2,4".parse().unwrap()),
        prefetch: "rule".parse().unwrap(),
    };
    let profile = profile("poisson 60/s 20s", "latency=exp:50ms", 1, "slots=9");
    let configs = grid.configs(&profile, &timing).unwrap();
    assert_eq!(suited(&configs), Engine::Dispatcher);
    let rows = rows(&configs, &timing, Engine::Model).unwrap();
    let shapes = rows.iter().map(|row| (row.dispatchers, row.slots, row.prefetch)).collect::<Vec<_>>();
    assert_eq!(shapes, [(1, 2, 4), (1, 4, 6), (2, 2, 4), (2, 4, 6)]);
    assert!(rows[0].busy > 0.9 && (0.35..0.45).contains(&rows[3].busy), "{} {}", rows[0].busy, rows[3].busy);
    assert_eq!(rows.iter().map(|row| row.growing).collect::<Vec<_>>(), [true, false, false, false]);
    let text = table(&rows);
    assert!(text.lines().count() == 1 + 4 + 1 + 1 + 8 && text.contains("2 x 4 x 6"), "{text}");
    for bad in ["0", "", "3..2", "a", "4,0"] {
        assert!(bad.parse::<Numbers>().is_err(), "{bad:?}");
    }
    let killing = Profile { faults: vec!["kill dispatcher at 1s".into()], ..profile };
    assert!(grid.configs(&killing, &timing).unwrap_err().to_string().starts_with("faults: outages"));
    let closed = config("closed n=4 1s", "latency=1ms", 1, "slots=1");
    assert_eq!(model(&closed, &timing).unwrap_err(), Unsuited::Closed);
    assert_eq!(suited(&[closed]), Engine::Dispatcher);
}
