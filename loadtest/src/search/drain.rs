//! `drain` as a function: a backlog is made while every queue is paused, then they go on, and it is measured how long it
//! takes until nothing waits. That is held against B / (X - R): the backlog, over what the slots can do less what still
//! comes. It draws and prints nothing.

use super::bench::{Bench, BenchError};
use crate::{
    arrivals::PLAN_MAX,
    report::{Report, exit},
    run::{Config, Live, Profile, Session},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_millis(20);
/// As many tasks as come in this time always wait while more come.
const ALWAYS: Duration = Duration::from_millis(100);

/// What to drain.
#[derive(Debug, Clone, PartialEq)]
pub struct DrainSpec {
    /// Everything but arrivals and thresholds.
    pub profile: Profile,
    /// Tasks that wait at the start.
    pub backlog: u64,
    /// Tasks a second that come in the meantime.
    pub rate: f64,
    /// How long filling takes: the backlog comes evenly over it.
    pub fill: Duration,
    /// How long it may take to drain.
    pub limit: Duration,
    /// What the system can do, in tasks a second, if that is known; otherwise slots over work.
    pub capacity: Option<f64>,
}

/// The version of [`Drain`]. Version 4 has a report of version 4. Until 3 it was the report's.
pub(crate) const SCHEMA_VERSION: u32 = 4;

/// What a drain came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// 4 as this is written; the whole report has a version of its own.
    pub schema_version: u32,
    /// Tasks that waited when the queues went on.
    pub backlog: u64,
    /// Tasks a second that came in the meantime.
    pub rate_per_s: f64,
    /// From the moment at which the queues went on until nothing waited; `null` if that did not come.
    pub drained_s: Option<f64>,
    /// Tasks that were sent for the first time in that time, a second.
    pub drain_per_s: f64,
    /// What the system can do, in tasks a second: as said, or slots over work (Little); `null` if neither is known.
    pub capacity_per_s: Option<f64>,
    /// By that: B / (X - R) in seconds; `null` if it can't be told or never ends.
    pub predicted_s: Option<f64>,
    /// How much longer it took than predicted, as a share; less than 0 is shorter.
    pub off: Option<f64>,
    /// The whole run, with its verdict. Its waits count from each task's own moment, so the pause is in them.
    pub report: Report,
    /// What the program ends with: 0 drained, 1 not within the limit, 2 a promise was broken.
    pub exit_code: u8,
}

/// Fills, lets go, and measures. `live` is told of each second.
///
/// # Errors
/// When the system can't be run or paused.
pub async fn drain(spec: DrainSpec, mut live: impl FnMut(&Live)) -> Result<Drain, BenchError> {
    let profile = Profile { arrivals: plan(&spec), ..spec.profile.clone() };
    let bench = Bench::new(profile.clone())?;
    let capacity = spec.capacity.or_else(|| bench.capacity());
    let mut session = Session::start(Config::try_from(profile)?).await?;
    session.target().pause(true).await?;
    let mut publishing = session.publish();
    let mut published = session.watch_until(&mut publishing, spec.fill, &mut live).await?;
    let start = session.book().clock().now().run;
    let before = session.book().counts();
    session.target().pause(false).await?;
    let backlog = before.offered - before.executed;
    let few = (spec.rate * ALWAYS.as_secs_f64()).ceil() as u64;
    let (drained, at_end) = loop {
        let now = session.book().clock().now().run;
        let counts = session.book().counts();
        // What was refused never waits.
        if counts.offered - counts.executed <= few + counts.unconfirmed {
            break (Some(now - start), counts);
        }
        if now - start > spec.limit {
            break (None, counts);
        }
        if published {
            session.look_until(now + LOOK, &mut live).await;
        } else {
            published = session.watch_until(&mut publishing, now + LOOK, &mut live).await?;
        }
    };
    session.stop();
    if !published {
        session.watch(publishing, &mut live).await?;
    }
    let took = session.book().clock().now().run.min(start + spec.limit) - start;
    session.settle(&mut live).await;
    let report = session.finish(None).await?;
    let drained_s = drained.map(|drained| drained.as_secs_f64());
    let seconds = drained_s.unwrap_or(took.as_secs_f64()).max(1e-3);
    let predicted_s = capacity.filter(|x| *x > spec.rate).map(|x| backlog as f64 / (x - spec.rate));
    Ok(Drain {
        schema_version: SCHEMA_VERSION,
        backlog,
        rate_per_s: spec.rate,
        drained_s,
        drain_per_s: (at_end.executed - before.executed) as f64 / seconds,
        capacity_per_s: capacity,
        predicted_s,
        off: drained_s.zip(predicted_s).filter(|(_, p)| *p > 0.0).map(|(drained, predicted)| drained / predicted - 1.0),
        exit_code: match (report.verdict.ok, drained) {
            (false, _) => exit::VERIFICATION,
            (true, None) => exit::THRESHOLD,
            (true, Some(_)) => exit::OK,
        },
        report,
    })
}

/// The backlog, evenly; then what comes in the meantime, until it is stopped.
fn plan(spec: &DrainSpec) -> String {
    let (fill, limit) = (spec.fill.as_millis().max(1), spec.limit.min(PLAN_MAX / 2).as_millis().max(1));
    let rate = spec.backlog as f64 * 1000.0 / fill as f64;
    let fill = format!("constant {rate:.6}/s {fill}ms as fill");
    if spec.rate > 0.0 { format!("{fill} then poisson {:.3}/s {limit}ms as drain", spec.rate) } else { fill }
}

impl std::fmt::Display for Drain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.drained_s {
            Some(drained) => write!(f, "{} tasks drained in {drained:.1} s", self.backlog)?,
            None => write!(f, "{} tasks did not drain", self.backlog)?,
        }
        write!(f, ", at {:.1}/s while {:.1}/s came", self.drain_per_s, self.rate_per_s)?;
        match (self.capacity_per_s, self.predicted_s) {
            (Some(x), Some(predicted)) => {
                write!(f, "; by B / (X - R) with X = {x:.1}/s {predicted:.1} s")?;
                self.off.map_or(Ok(()), |off| write!(f, " ({:+.0} %)", off * 100.0))
            }
            (Some(x), None) => write!(f, "; with X = {x:.1}/s it never does"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::arrivals::Arrivals;

    #[test]
    fn the_plan_is_the_backlog_and_then_what_comes_in_the_meantime() {
        let s = Duration::from_secs;
        let spec = DrainSpec {
            profile: Profile::default(),
            backlog: 1000,
            rate: 0.0,
            fill: s(3),
            limit: s(60),
            capacity: None,
        };
        let plan = |spec: &DrainSpec| plan(spec).parse::<Arrivals>().unwrap();
        let alone = plan(&spec);
        assert_eq!((alone.phases.len(), alone.length()), (1, s(3)));
        assert!((alone.expected().unwrap() - 1000.0).abs() < 0.5, "{:?}", alone.expected());
        let beside = plan(&DrainSpec { rate: 5.0, ..spec });
        assert_eq!((beside.phases.len(), beside.length()), (2, s(63)));
    }
}
