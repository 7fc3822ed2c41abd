//! Runs one after the other on the same system, drained in between: what a search is made with. It decides nothing but when
//! a run is hopeless.

use crate::{
    fleet::Load,
    report::Report,
    run::{Config, ConfigError, Live, Profile, RunError, Session, Standing},
};
use std::time::Duration;

/// A backlog that grows for so many seconds in a row is not going to shrink.
const GROWS_SECONDS: usize = 5;
/// A probe that is shorter may end before that many seconds were seen to be over: nothing tells then that it was too much.
pub(super) const GROWTH_SHOWS: Duration = Duration::from_secs(GROWS_SECONDS as u64 + 2);
/// It must grow by this share of what has come in that time; a queue near its limit swings by less.
const GROWS_SHARE: f64 = 0.05;
/// Between two looks at the backlog.
const LOOK: Duration = Duration::from_secs(1);
/// A wait that grows by this in a second (in seconds) is that of a queue that never ends.
const WAIT_SLOPE: f64 = 0.01;
/// Seconds with waits that a slope is drawn from, at least.
const SLOPE_SECONDS: usize = 6;
/// The longest probe.
const PROBE_MAX: Duration = Duration::from_secs(3600);

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// What was asked for.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The system under test.
    #[error(transparent)]
    Target(#[from] crate::target::TargetError),
    /// A system that was found running still has tasks of one run, which would disturb the next one.
    #[error("the system still had open tasks {0:?} after a run; let it drain, or give it longer (settle)")]
    NotDrained(Duration),
}

/// How long a probe is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProbeLength {
    /// At least this.
    pub least: Duration,
    /// And as long as so many tasks take to come.
    pub tasks: u64,
    /// And so many times the work on one task.
    pub works: f64,
}

impl Default for ProbeLength {
    /// 20 s, 2000 tasks, 20 times the work: 20 s were measured to be as good as 60.
    fn default() -> Self {
        Self { least: Duration::from_secs(20), tasks: 2000, works: 20.0 }
    }
}

impl ProbeLength {
    /// At this rate, with work that takes so many seconds. At most an hour.
    pub fn at(&self, rate: f64, work_s: f64) -> Duration {
        let seconds = self.least.as_secs_f64().max(self.tasks as f64 / rate).max(self.works * work_s);
        // Work may be endless by its distribution.
        Duration::from_secs_f64(seconds.min(PROBE_MAX.as_secs_f64()))
    }
}

/// What a run of a bench came to.
#[derive(Debug)]
pub struct Probed {
    /// Its report.
    pub report: Report,
    /// Why it ended early, or what its end shows: that the backlog grew.
    pub grew: Option<String>,
}

/// A system, and what is run on it.
pub struct Bench {
    profile: Profile,
    config: Config,
    standing: Option<Standing>,
}

impl Bench {
    /// Of a profile; its arrivals take the place of those of each run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(profile: Profile) -> Result<Self, BenchError> {
        Ok(Self { config: Config::try_from(profile.clone())?, profile, standing: None })
    }

    /// The profile, checked.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The longest mean work of an executor that the mix names, in seconds.
    pub fn work_s(&self) -> f64 {
        let named = |name: &str| self.config.mix.classes().iter().any(|class| class.to == name);
        let all = self.config.executors.iter().filter(|executor| named(&executor.name));
        all.map(|executor| executor.latency.mean()).fold(0.0, f64::max)
    }

    /// Slots of all dispatchers over the queues of the mix, if that is known.
    pub fn slots(&self) -> Option<f64> {
        self.config.rules.queues.iter().map(|queue| queue.slots.map(f64::from)).sum()
    }

    /// What its slots can do, in tasks a second: all of them, each busy for as long as a task's work (Little); less if an
    /// executor has fewer workers.
    pub fn capacity(&self) -> Option<f64> {
        let work = self.work_s();
        let slots = self.slots()?;
        let workers = self.config.executors.iter().filter_map(|executor| match executor.load {
            Load::Workers(workers) => Some(f64::from(workers)),
            _ => None,
        });
        let at_a_time = workers.fold(slots, f64::min);
        (work > 0.0 && work.is_finite()).then(|| at_a_time / work)
    }

    /// Runs a plan, and waits until nothing is left of it. With `give_up` it ends as soon as it is hopeless.
    ///
    /// # Errors
    /// When there is no report of it.
    pub async fn probe(
        &mut self,
        arrivals: String,
        give_up: bool,
        live: &mut impl FnMut(&Live),
    ) -> Result<Probed, BenchError> {
        let config = Config::try_from(Profile { arrivals, ..self.profile.clone() })?;
        let mut session = match self.standing.take() {
            Some(standing) => Session::start_on(config, standing).await?,
            None => Session::start(config).await?,
        };
        let mut publishing = session.publish();
        let mut backlog = Backlog::default();
        let mut grew = None;
        let mut next = LOOK;
        while !session.watch_until(&mut publishing, next, live).await? {
            next += LOOK;
            let counts = session.book().counts();
            if give_up && grew.is_none() && backlog.grows(counts.offered, counts.executed) {
                session.stop();
                grew = Some(format!("{} tasks waited, more each second", counts.offered - counts.executed));
            }
        }
        session.settle(live).await;
        let report = if session.is_settled() {
            let (report, standing) = session.finish_keeping().await?;
            self.standing = Some(standing);
            report
        } else if session.config().target.external.is_empty() {
            // What is left would be in the way; the next run gets a new system.
            session.finish(None).await?
        } else {
            return Err(BenchError::NotDrained(session.config().settle));
        };
        let grew = grew.or_else(|| wait_grew(&report));
        Ok(Probed { report, grew })
    }

    /// Ends the system, as far as it was started here.
    pub async fn close(self) {
        if let Some(standing) = self.standing {
            standing.end().await;
        }
    }
}

/// Whether what waits grows and grows.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Offered, and waiting, at each look.
    looks: Vec<(u64, u64)>,
}

impl Backlog {
    /// A second later: so many were offered so far, and so many of them executed.
    pub(super) fn grows(&mut self, offered: u64, executed: u64) -> bool {
        self.looks.push((offered, offered.saturating_sub(executed)));
        let Some(last) = self.looks.len().checked_sub(GROWS_SECONDS + 1).map(|start| &self.looks[start..]) else {
            return false;
        };
        let each = last.windows(2).all(|pair| pair[1].1 > pair[0].1);
        let (first, last) = (last[0], last[GROWS_SECONDS]);
        each && (last.1 - first.1) as f64 > GROWS_SHARE * (last.0 - first.0) as f64
    }
}

/// Whether the waits grew over the second half of the plan: the median of the slopes between any two seconds, which a
/// hiccup does not move (Theil and Sen).
fn wait_grew(report: &Report) -> Option<String> {
    let whole = report.seconds.iter().take(report.plan_s as usize).enumerate();
    let half = whole.skip(report.plan_s as usize / 2).filter(|(_, second)| second.first > 0);
    let waits = half.map(|(n, second)| (n as f64, second.wait_p50_us as f64 / 1e6)).collect::<Vec<_>>();
    if waits.len() < SLOPE_SECONDS {
        return None;
    }
    let pairs =
        waits.iter().enumerate().flat_map(|(i, a)| waits[i + 1..].iter().map(move |b| (b.1 - a.1) / (b.0 - a.0)));
    let mut slopes = pairs.collect::<Vec<_>>();
    slopes.sort_by(f64::total_cmp);
    let slope = slopes[slopes.len() / 2];
    (slope > WAIT_SLOPE).then(|| format!("waits grew by {:.0} ms each second", slope * 1e3))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_probe_is_as_long_as_its_slowest_demand() {
        let length = ProbeLength::default();
        let s = |rate, work_s| length.at(rate, work_s).as_secs_f64();
        assert_eq!([s(1000.0, 0.05), s(10.0, 0.05), s(1000.0, 3.0)], [20.0, 200.0, 60.0]);
        assert_eq!(s(1000.0, f64::INFINITY), 3600.0);
    }

    #[test]
    fn only_a_backlog_that_grows_and_grows_is_hopeless() {
        let looks = |waiting: &[u64]| {
            let mut backlog = Backlog::default();
            (1..).zip(waiting).any(|(n, waiting)| backlog.grows(n * 100, n * 100 - waiting))
        };
        assert!(looks(&[0, 20, 40, 60, 80, 100]));
        assert!(!looks(&[0, 20, 40, 60, 80]), "not yet five seconds");
        assert!(!looks(&[0, 20, 40, 40, 80, 100, 120]), "not each second");
        assert!(!looks(&[0, 1, 2, 3, 4, 5, 6]), "by next to nothing");
    }
}
