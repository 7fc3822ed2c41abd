//! `sweep` as a function: a run for each point of a grid of rates, slots and windows. A series of rates ends where the
//! backlog grows: what comes above shows nothing new. It draws and prints nothing.

use super::{
    bench::{Bench, BenchError, GROWTH_SHOWS, ProbeLength},
    find::{BROKEN, arrivals, point},
};
use crate::{
    quantity::Span,
    report::{Environment, SWEEP_SCHEMA_VERSION, Sweep, SweepPoint},
    run::{Config, Live, Profile},
    scaling::{Scaling, scalings},
    target::QueueSpec,
};
use std::time::Duration;

/// The grid.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepSpec {
    /// Everything but arrivals and thresholds.
    pub profile: Profile,
    /// Demands that each point is held to.
    pub demands: Vec<String>,
    /// Tasks a second.
    pub rates: Vec<f64>,
    /// Slots of every queue; if empty, those of the profile.
    pub slots: Vec<u32>,
    /// How many dispatchers; if empty, as many as the profile says.
    pub dispatchers: Vec<u32>,
    /// Windows of every queue, where 0 lets the dispatcher derive it; if empty, those of the profile.
    pub windows: Vec<u32>,
    /// How long each run is.
    pub length: ProbeLength,
    /// How tasks come: `poisson` or `constant`.
    pub shape: String,
}

/// Runs the grid. `live` is told of each second, `told` of each point.
///
/// # Errors
/// When the system can't be run.
pub async fn sweep(
    spec: SweepSpec,
    mut live: impl FnMut(&Live),
    mut told: impl FnMut(&SweepPoint),
) -> Result<Sweep, BenchError> {
    let mut rates = spec.rates.clone();
    rates.sort_by(f64::total_cmp);
    let mut points = Vec::new();
    let mut notes = Vec::new();
    let mut first = None;
    let mut shortest = Duration::MAX;
    for (series, profile) in series(&spec)? {
        let mut bench = Bench::new(profile)?;
        for rate in &rates {
            let length = spec.length.at(*rate, bench.work_s());
            shortest = shortest.min(length);
            let probed = bench.probe(arrivals(&spec.shape, *rate, length), true, &mut live).await?;
            let mut point = point(&bench, series.clone(), &probed.report);
            point.offered_per_s = *rate;
            point.ok &= probed.grew.is_none();
            point.saturated = probed.grew.is_some();
            told(&point);
            first.get_or_insert((probed.report.started_at_ms, probed.report.environment));
            points.push(point);
            if let Some(grew) = probed.grew {
                if rates.last() > Some(rate) {
                    notes.push(format!("{}at {rate:.1}/s {grew}: no higher rate was tried", prefix(&series)));
                }
                break;
            }
        }
        bench.close().await;
    }
    let (started_at_ms, environment) = first.unwrap_or_else(|| (0, Environment::default()));
    notes.extend(best(&points));
    let scaling = scalings(&points);
    notes.extend(scaling.iter().map(|one| format!("{} ({}): {}", one.of, one.series, one.note)));
    notes.extend(too_short(shortest, &scaling));
    Ok(Sweep {
        schema_version: SWEEP_SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_ms,
        environment,
        profile: spec.profile.without_secrets(),
        demands: spec.demands,
        points,
        notes,
        scaling,
    })
}

/// What is to be said where there is no law since no backlog could be seen to grow.
fn too_short(shortest: Duration, scaling: &[Scaling]) -> Option<String> {
    let missing = scaling.iter().any(|one| one.law.is_none());
    (missing && shortest < GROWTH_SHOWS).then(|| {
        format!(
            "no scalability: probes under {} end before a backlog is seen to grow, and the shortest took {} (--probe)",
            Span(GROWTH_SHOWS),
            Span(shortest)
        )
    })
}

/// Whether a promise was broken at some point.
pub fn is_broken(sweep: &Sweep) -> bool {
    sweep.points.iter().any(|point| point.bottleneck == BROKEN)
}

/// The name and the profile of each series.
fn series(spec: &SweepSpec) -> Result<Vec<(String, Profile)>, BenchError> {
    let mut profile = spec.profile.clone();
    profile.thresholds.clone_from(&spec.demands);
    let queues = Config::try_from(profile.clone())?.target.queues;
    let of = |values: &[u32]| if values.is_empty() { vec![None] } else { values.iter().copied().map(Some).collect() };
    let mut all = Vec::new();
    for dispatchers in of(&spec.dispatchers) {
        for slots in of(&spec.slots) {
            for window in of(&spec.windows) {
                let line = |queue: &QueueSpec| {
                    let (slots, window) = (slots.unwrap_or(queue.slots), window.unwrap_or(queue.window));
                    format!("name={} priority={} slots={slots} window={window}", queue.name, queue.priority)
                };
                // A dispatcher refuses a window that leaves slots empty.
                let fits = |queue: &QueueSpec| {
                    let window = window.unwrap_or(queue.window);
                    window == 0 || window >= slots.unwrap_or(queue.slots)
                };
                if queues.iter().all(fits) {
                    let queues = queues.iter().map(line).collect();
                    let dispatchers_or = dispatchers.unwrap_or(profile.dispatchers);
                    let one = Profile { queues, dispatchers: dispatchers_or, ..profile.clone() };
                    all.push((name(dispatchers, slots, window), one));
                }
            }
        }
    }
    Ok(all)
}

fn name(dispatchers: Option<u32>, slots: Option<u32>, window: Option<u32>) -> String {
    let dispatchers = dispatchers.map(|dispatchers| format!("dispatchers={dispatchers}"));
    let slots = slots.map(|slots| format!("slots={slots}"));
    let window = window.map(|window| if window == 0 { "window=auto".to_owned() } else { format!("window={window}") });
    dispatchers.into_iter().chain(slots).chain(window).collect::<Vec<_>>().join(" ")
}

fn prefix(series: &str) -> String {
    if series.is_empty() { String::new() } else { format!("{series}: ") }
}

/// The largest rate of each series that was kept, and what came next.
fn best(points: &[SweepPoint]) -> Vec<String> {
    let mut names = points.iter().map(|point| &point.series).collect::<Vec<_>>();
    names.dedup();
    let told = |name: &String| {
        let of = points.iter().filter(|point| point.series == *name);
        let kept = of.clone().take_while(|point| point.ok).last();
        let next = of.clone().find(|point| !point.ok);
        let what = match (kept, next) {
            (Some(kept), None) => format!("kept up to {:.1}/s, the largest tried", kept.offered_per_s),
            (Some(kept), Some(next)) => {
                let by = if next.bottleneck.is_empty() { String::new() } else { format!(" ({})", next.bottleneck) };
                format!("kept up to {:.1}/s, not at {:.1}/s{by}", kept.offered_per_s, next.offered_per_s)
            }
            (None, Some(next)) => format!("not kept at {:.1}/s, the smallest tried", next.offered_per_s),
            (None, None) => return None,
        };
        Some(format!("{}{what}", prefix(name)))
    };
    names.into_iter().filter_map(told).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    fn spec() -> SweepSpec {
        SweepSpec {
            profile: Profile { queues: vec!["name=a priority=2 slots=8 window=9".into()], ..Profile::default() },
            demands: vec!["wait.p99<1s".into()],
            rates: vec![10.0],
            dispatchers: Vec::new(),
            slots: Vec::new(),
            windows: Vec::new(),
            length: ProbeLength::default(),
            shape: "poisson".into(),
        }
    }

    #[test]
    fn a_grid_without_slots_and_windows_is_the_profile_as_it_is() {
        let all = series(&spec()).unwrap();
        let profile = &all[0].1;
        assert_eq!((all.len(), &*all[0].0), (1, ""));
        assert_eq!(profile.queues, ["name=a priority=2 slots=8 window=9"]);
        assert_eq!(profile.thresholds, ["wait.p99<1s"]);
    }

    #[test]
    fn every_pair_is_a_series_but_those_with_slots_that_stay_empty() {
        let all = series(&SweepSpec { slots: vec![4, 16], windows: vec![0, 8], ..spec() }).unwrap();
        let names = all.iter().map(|(name, _)| &**name).collect::<Vec<_>>();
        assert_eq!(names, ["slots=4 window=auto", "slots=4 window=8", "slots=16 window=auto"]);
        assert_eq!(all[1].1.queues, ["name=a priority=2 slots=4 window=8"]);
        let rabbit = Profile { broker: "private-rabbitmq".into(), ..spec().profile };
        let all = series(&SweepSpec { profile: rabbit, dispatchers: vec![1, 3], slots: vec![4], ..spec() }).unwrap();
        let names = all.iter().map(|(name, profile)| (&**name, profile.dispatchers)).collect::<Vec<_>>();
        assert_eq!(names, [("dispatchers=1 slots=4", 1), ("dispatchers=3 slots=4", 3)]);
    }

    #[test]
    fn probes_that_are_too_short_for_a_law_are_told_of() {
        let scaling = crate::report::sweep_fixture().scaling;
        let lawless = vec![Scaling { law: None, ..scaling[0].clone() }];
        let told = too_short(Duration::from_secs(2), &lawless).unwrap();
        assert_eq!(
            told,
            "no scalability: probes under 7.00 s end before a backlog is seen to grow, and the shortest took 2.00 s (--probe)"
        );
        // Long enough; there is a law all the same; nobody asked for one.
        assert_eq!(too_short(GROWTH_SHOWS, &lawless), None);
        assert_eq!(too_short(Duration::from_secs(2), &scaling), None);
        assert_eq!(too_short(Duration::from_secs(2), &[]), None);
    }

    #[test]
    fn the_knee_of_each_series_is_told() {
        let point = |series: &str, rate: f64, ok| SweepPoint {
            series: series.into(),
            offered_per_s: rate,
            ok,
            bottleneck: if ok { "" } else { "prefetch" }.into(),
            ..SweepPoint::default()
        };
        let points = [point("a", 1.0, true), point("a", 2.0, true), point("a", 3.0, false), point("b", 1.0, true)];
        let told = ["a: kept up to 2.0/s, not at 3.0/s (prefetch)", "b: kept up to 1.0/s, the largest tried"];
        assert_eq!(best(&points), told);
        assert_eq!(best(&[point("", 1.0, false)]), ["not kept at 1.0/s, the smallest tried"]);
    }
}
