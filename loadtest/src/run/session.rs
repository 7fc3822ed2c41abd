//! One run, step by step: start, drive, settle, finish. It does nothing to the system but use it; whoever wants to kill or
//! cut something does so between the steps, and tells the book of it. For planned faults that is the director.

use super::{
    Config, Profile, place, sum,
    watch::{Live, Looks, held},
};
use crate::{
    arrivals::{PLAN_MAX, Plan},
    chaos::Director,
    clock::Clock,
    draw::Draw,
    fleet::{ExecutorSpec, Fleet, FleetError, Identity, IdentityError},
    ledger::{Book, Counts, Findings},
    publish::{self, Maker, Paced},
    report::{self, Report},
    target::{Left, Target, TargetError, TargetSpec},
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The system under test.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The executors.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Who the executors are.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A part of the tester itself ended: a bug.
    #[error("the tester's publisher ended too early")]
    Publisher(#[source] tokio::task::JoinError),
    /// The ledger can't be written.
    #[error("write the ledger")]
    Ledger(#[source] std::io::Error),
}

/// Runs a profile, and reports. `live` is told of each second; `ledger` is where to write the ledger, if anywhere.
///
/// # Errors
/// When the system can't be started or looked through. What it does wrong is in the report.
pub async fn run(config: Config, live: impl FnMut(&Live), ledger: Option<&Path>) -> Result<Report, RunError> {
    let mut session = Session::start(config).await?;
    let mut live = live;
    session.drive(&mut live).await?;
    session.settle(&mut live).await;
    session.finish(ledger).await
}

/// A system that runs on from one run to the next.
pub struct Standing {
    target: Target,
    /// The executors come back where they were: to a dispatcher others would be further destinations, among which it shares
    /// out its slots.
    ports: Vec<u16>,
    /// Who the executors are: the dispatchers trust this alone.
    tls: Option<Identity>,
}

impl Standing {
    /// Ends what was started for it.
    pub async fn end(self) {
        self.target.end().await;
    }
}

/// A run on its way.
pub struct Session {
    config: Config,
    target: Target,
    book: Arc<Book>,
    fleet: Fleet,
    tls: Option<Identity>,
    looks: Looks,
    environment: report::Environment,
    paced: Paced,
    /// What had happened when the plan ended.
    at_end: Counts,
    settle: Duration,
    drift: i64,
    next_look: Instant,
    /// Ends the plan early.
    stop: watch::Sender<bool>,
    /// How long the plan lasted.
    plan: Duration,
    /// Dead letters of former runs on the same system.
    dead_before: u64,
    is_settled: bool,
}

impl Session {
    /// Starts the system under test and the executors. The run's clock starts now; the plan is still to be driven.
    ///
    /// # Errors
    /// What can't be started.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        let tls = identity(&config.profile)?;
        let ca_pem = tls.as_ref().and_then(Identity::ca_pem).map(str::to_owned);
        let spec = TargetSpec { ca_pem, ..config.target.clone() };
        let target = Target::start(spec, &tag(config.profile.seed)).await?;
        Self::start_on(config, Standing { target, ports: Vec::new(), tls }).await
    }

    /// The same on a system that runs already, with nothing in its queues but dead letters.
    ///
    /// # Errors
    /// When the executors can't be started.
    pub async fn start_on(config: Config, standing: Standing) -> Result<Self, RunError> {
        let Standing { target, ports, tls } = standing;
        let mut environment = place::environment(&config);
        let tag = tag(config.profile.seed);
        let dead_before = target.left().await.map_or(0, |left| left.dead);
        let first = target.metrics().await;
        let build = first.iter().flatten().next();
        environment.quebert =
            build.and_then(|m| m.by("quebert_build_info", "version").into_keys().next()).unwrap_or_default();
        let clock = Clock::start();
        let book = Arc::new(Book::new(clock, &tag, config.rules.clone(), config.layout()));
        let fleet =
            Fleet::start(&config.executors, &ports, tls.as_ref(), config.profile.seed, clock, book.clone()).await?;
        tell_outages(&book, &config.executors);
        let plan = config.arrivals.length();
        Ok(Self {
            config,
            target,
            book,
            fleet,
            tls,
            looks: Looks::new(first),
            environment,
            paced: Paced::default(),
            at_end: Counts::default(),
            settle: Duration::ZERO,
            drift: 0,
            next_look: Instant::now() + LOOK_EVERY,
            stop: watch::Sender::new(false),
            plan,
            dead_before,
            is_settled: false,
        })
    }

    /// The ledger's book: tell it of every fault.
    pub fn book(&self) -> &Arc<Book> {
        &self.book
    }

    /// The system under test.
    pub fn target(&mut self) -> &mut Target {
        &mut self.target
    }

    /// What the run is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Begins to publish; to be passed to [`watch`](Self::watch).
    pub fn publish(&self) -> JoinHandle<Paced> {
        let plan = Plan::new(self.config.arrivals.clone(), self.config.mix.clone(), self.config.profile.seed);
        let origin = |to: &str| self.fleet.origin(to).expect("a checked mix names executors that there are");
        let classes = self.config.mix.classes().iter().map(|class| (class.queue.clone(), origin(&class.to)));
        let maker = Maker::new(classes.collect::<Vec<_>>());
        let mut stop = self.stop.subscribe();
        let stopped = async move {
            if stop.wait_for(|stop| *stop).await.is_err() {
                // The session is gone, and nobody asks any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::spawn(publish::drive_until(plan, maker, self.target.door(), self.book.clone(), stopped))
    }

    /// Ends the plan here: no more tasks come. To be watched all the same until everything is published.
    pub fn stop(&mut self) {
        self.plan = self.plan.min(self.book.clock().now().run);
        self.stop.send_replace(true);
    }

    /// Follows the plan to its end, with the faults that are planned.
    ///
    /// # Errors
    /// When what was killed does not start again.
    pub async fn drive(&mut self, live: &mut impl FnMut(&Live)) -> Result<(), RunError> {
        Director::new(&self.config.faults).drive(self, live).await
    }

    /// Watches until everything is published.
    ///
    /// # Errors
    /// Only when the tester has a bug.
    pub async fn watch(
        &mut self,
        mut publishing: JoinHandle<Paced>,
        live: &mut impl FnMut(&Live),
    ) -> Result<(), RunError> {
        self.watch_until(&mut publishing, Duration::MAX, live).await.map(drop)
    }

    /// Watches until this moment of the run, or until everything is published, which is when it returns `true`; then it
    /// must not be asked again. In between, do to the system what is to be done.
    ///
    /// # Errors
    /// Only when the tester has a bug.
    pub async fn watch_until(
        &mut self,
        publishing: &mut JoinHandle<Paced>,
        moment: Duration,
        live: &mut impl FnMut(&Live),
    ) -> Result<bool, RunError> {
        let left = moment.saturating_sub(self.book.clock().now().run).min(PLAN_MAX);
        let end = sleep(left);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                paced = &mut *publishing => {
                    self.paced = paced.map_err(RunError::Publisher)?;
                    break;
                }
                () = &mut end, if moment < PLAN_MAX => return Ok(false),
                () = sleep_until(self.next_look) => live(&self.look().await),
            }
        }
        self.at_end = self.book.counts();
        let now = self.book.clock().now();
        self.drift = micros(now.wall) - micros(now.run);
        Ok(true)
    }

    /// Watches until this moment of the run, after everything is published.
    pub async fn look_until(&mut self, moment: Duration, live: &mut impl FnMut(&Live)) {
        let end = self.book.clock().instant(moment);
        while self.next_look < end {
            sleep_until(self.next_look).await;
            live(&self.look().await);
        }
        sleep_until(end).await;
    }

    /// Waits until nothing is open, or the limit has passed.
    pub async fn settle(&mut self, live: &mut impl FnMut(&Live)) {
        self.is_settled = false;
        let start = Instant::now();
        let mut every = interval(Duration::from_millis(100));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Instant::now();
        while start.elapsed() < self.config.settle {
            every.tick().await;
            if self.book.counts().open == 0 && self.is_idle().await {
                self.is_settled = true;
                break;
            }
            if looked.elapsed() < LOOK_EVERY {
                continue;
            }
            looked = Instant::now();
            let seen = self.look().await;
            live(&seen);
            let dead = self.target.left().await.map_or(0, |left| left.dead.saturating_sub(self.dead_before));
            if seen.counts.open <= dead && self.is_idle().await {
                self.is_settled = true;
                break;
            }
        }
        self.settle = start.elapsed();
    }

    /// Whether [`settle`](Self::settle) has seen that nothing is open.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Whether no dispatcher holds a delivery, and none waits.
    async fn is_idle(&self) -> bool {
        let metrics = self.target.metrics().await;
        let left = self.target.left().await;
        let nothing_waits =
            left.is_some_and(|left| left.ready == 0 && left.delayed.unwrap_or(0) == 0 && left.held.unwrap_or(0) == 0);
        nothing_waits && metrics.iter().flatten().all(|metrics| held(metrics) == 0.0)
    }

    /// One look at everything.
    pub async fn look(&mut self) -> Live {
        let at = self.book.clock().now().run;
        let mut end = Duration::ZERO;
        let phase = self.config.arrivals.phases.iter().find(|phase| {
            end += phase.length;
            at < end
        });
        let name = phase.map(|phase| phase.name.clone()).unwrap_or_default();
        self.next_look = Instant::now() + LOOK_EVERY;
        self.looks.look(&self.target, &self.book, &name).await
    }

    /// Looks through the queues, ends the system, and draws the sum.
    ///
    /// # Errors
    /// When the queues can't be looked through, or the ledger not written.
    pub async fn finish(self, ledger: Option<&Path>) -> Result<Report, RunError> {
        self.end(ledger, false).await.map(|(report, _)| report)
    }

    /// Looks through the queues and draws the sum, and leaves the system as it is, for another run.
    ///
    /// # Errors
    /// When the queues can't be looked through.
    pub async fn finish_keeping(self) -> Result<(Report, Standing), RunError> {
        let (report, standing) = self.end(None, true).await?;
        Ok((report, standing.expect("it was to be kept")))
    }

    async fn end(mut self, ledger: Option<&Path>, keep: bool) -> Result<(Report, Option<Standing>), RunError> {
        self.look().await;
        let accounts = sum::accounts(&self.looks, &self.book);
        let peaks = self.book.peaks();
        let (left, ended_well, kept) = if keep {
            let left = self.target.look_through(&self.book).await?;
            let ports = self.fleet.ports();
            (left, true, Some(Standing { target: self.target, ports, tls: self.tls }))
        } else {
            let (left, ended_well) = self.target.finish(&self.book).await?;
            (left, ended_well, None)
        };
        let found = Findings {
            left_unnamed: left.map(unnamed),
            left: left.map(|left| unnamed(left) + left.ready),
            peaks: peaks.clone(),
            accounts,
        };
        if let Some(path) = ledger {
            self.book.save(path, &found).map_err(RunError::Ledger)?;
        }
        self.fleet.stop().await;
        let facts = sum::Facts {
            config: self.config,
            book: &self.book,
            looks: &self.looks,
            environment: self.environment,
            paced: self.paced,
            plan: self.plan,
            at_end: self.at_end,
            settle: self.settle,
            drift_us: self.drift,
            peaks,
            ended_well,
            found,
        };
        Ok((facts.report(), kept))
    }
}

/// Who the executors are: whoever was given, or somebody new.
fn identity(profile: &Profile) -> Result<Option<Identity>, IdentityError> {
    match (&profile.tls_cert, &profile.tls_key) {
        _ if !profile.tls => Ok(None),
        (Some(certificate), Some(key)) => Identity::read(certificate.as_ref(), key.as_ref()).map(Some),
        _ => Identity::new().map(Some),
    }
}

/// What tells this run from others, also from those of the same process that start in the same millisecond.
fn tag(seed: u64) -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let started = Clock::start().start_epoch_ms().unsigned_abs();
    let draw = Draw::new(seed).of("tag").at(started).at(std::process::id().into());
    format!("{:08x}", draw.at(RUNS.fetch_add(1, Ordering::Relaxed)).number() as u32)
}

/// An outage of an executor is a fault: what comes twice because of it is explained.
pub(crate) fn tell_outages(book: &Book, executors: &[ExecutorSpec]) {
    for executor in executors {
        for outage in &executor.outages {
            let what = format!("outage of executor {:?}: {:?}", executor.name, outage.kind);
            book.fault(what, outage.during.start, outage.during.end);
        }
    }
}

/// Messages whose ids nobody looks up: those in delay queues, and those that somebody holds.
fn unnamed(left: Left) -> u64 {
    left.delayed.unwrap_or(0) + left.held.unwrap_or(0)
}

fn micros(run: Duration) -> i64 {
    i64::try_from(run.as_micros()).unwrap_or(i64::MAX)
}
