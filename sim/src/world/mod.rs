//! A world to test one's own code in: mediators, policies, executors. [`World::builder`] says what is fixed, each seed draws
//! the rest, and [`World::check`] runs the seeds and tells the story of the first task that did not get what it was promised.
//! The world itself (network, broker, judge) is the same that Quebert is tested in.

mod check;
mod parts;
mod seeds;
#[cfg(test)]
mod tests;

pub use check::{Broken, Differs, Failure};
pub use parts::{Faults, Workload};

use crate::{
    case::{
        BrokerSpec, Case, CaseError, DispatcherSpec, Exec, Fault, LaneSpec, TaskSpec, WorldSpec,
        swarm::{self, Size},
    },
    env::Env,
    fleet::Execution,
    history::Entry,
    judge::Oracle,
    net::{Kind, Weather},
    run::{Finding, OwnOracle, Setup},
    shrink::Limits,
};
use quebert_dispatcher::{
    config::CoreConfig,
    ports::{broker::Broker, mediator::Mediator, transport::Transport},
    shell::Builder,
};
use quebert_wire::Envelope;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Sets something of every case's hosts.
type Change = Arc<dyn Fn(&mut WorldSpec) + Send + Sync>;

/// Seeds that are run where nobody says which.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

/// Worlds of one kind, one for each seed. See [`World::builder`].
///
/// (What a single case says of its hosts is a [`WorldSpec`].)
#[derive(Clone)]
pub struct World {
    changes: Vec<Change>,
    /// The broker's limit is the user's, and not to be raised by what faults need.
    own_broker: bool,
    size: Size,
    heal_at_ms: Option<u64>,
    workload: Workload,
    faults: Faults,
    setup: Setup,
    seeds: Vec<u64>,
    kind: Kind,
    replay: Option<PathBuf>,
    limits: Limits,
    kept_in: Option<PathBuf>,
}

/// Says what is the same in the worlds of all seeds. Whatever is not said is drawn by each seed: hosts, limits, windows,
/// latencies, tasks and faults, small and plain in one, large and wild in another.
#[derive(Clone)]
pub struct WorldBuilder(World);

impl World {
    /// Begins with a world of which everything is drawn: up to 3 dispatchers, 5 executors and 200 tasks, all kinds of
    /// faults, two minutes until all heals.
    ///
    /// ```
    /// use quebert_dispatcher::ports::mediator::{Attempt, Before, Mediator};
    /// use quebert_sim::{Faults, Workload, World};
    ///
    /// /// Every request says which shop it is for.
    /// struct Stamp;
    ///
    /// impl Mediator for Stamp {
    ///     async fn before(&self, attempt: &mut Attempt) -> Before {
    ///         attempt.task.headers.append("shop", "berlin".parse().expect("a plain value"));
    ///         Before::Send
    ///     }
    /// }
    ///
    /// World::builder()
    ///     .dispatchers(2)
    ///     .executors(2)
    ///     .mediator(|_env| Stamp)
    ///     .workload(Workload::swarm(30))
    ///     .faults(Faults::swarm())
    ///     .seeds(1..=3)
    ///     .check();
    /// ```
    pub fn builder() -> WorldBuilder {
        WorldBuilder(Self {
            changes: Vec::new(),
            own_broker: false,
            size: Size::default(),
            heal_at_ms: None,
            workload: Workload::swarm(Size::default().tasks),
            faults: Faults::swarm(),
            setup: Setup::default(),
            seeds: SEEDS.collect(),
            kind: Kind::default(),
            replay: None,
            limits: Limits { runs: 1_000, cpu: Duration::from_secs(30) },
            kept_in: None,
        })
    }

    /// The case of a seed.
    ///
    /// # Errors
    /// When what the builder was told can't be run, as a task for an executor that is not there.
    pub fn case(&self, seed: u64) -> Result<Case, CaseError> {
        let change = |world: &mut WorldSpec| self.changes.iter().for_each(|change| change(world));
        let size = Size { tasks: self.workload.most().unwrap_or(self.size.tasks), ..self.size };
        let mut case = swarm::case_with(seed, size, self.heal_at_ms, change);
        if let Some(tasks) = self.workload.tasks_for(&case) {
            case.tasks = tasks;
        }
        if let Some(faults) = self.faults.fixed() {
            case.faults = faults;
        }
        if self.heal_at_ms.is_none() {
            let begins = case.tasks.iter().map(|task| task.at_ms);
            let last = begins.chain(case.faults.iter().map(Fault::end_ms)).max();
            case.heal_at_ms = case.heal_at_ms.max(last.unwrap_or(0));
        }
        if !self.own_broker {
            case.world.broker.delivery_limit = swarm::delivery_limit(case.faults.len());
        }
        case.settle_ms = case.settle_bound_ms();
        case.check().map(|()| case)
    }

    /// What is brought into each world.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }
}

impl WorldBuilder {
    /// So many processes that dispatch.
    #[must_use]
    pub fn dispatchers(self, number: u8) -> Self {
        self.change(move |world| world.dispatchers = number)
    }

    /// So many servers that execute: `http://executor-1` and so on.
    #[must_use]
    pub fn executors(self, number: u8) -> Self {
        self.change(move |world| world.executors = number)
    }

    /// So many processes that enqueue.
    #[must_use]
    pub fn producers(self, number: u8) -> Self {
        self.change(move |world| world.producers = number)
    }

    /// These lanes, the same at each dispatcher.
    #[must_use]
    pub fn lanes(self, lanes: impl IntoIterator<Item = LaneSpec>) -> Self {
        let lanes: Vec<_> = lanes.into_iter().collect();
        self.change(move |world| world.dispatcher.lanes.clone_from(&lanes))
    }

    /// Lanes, limits and everything else that dispatchers are set up with.
    #[must_use]
    pub fn dispatcher(self, spec: DispatcherSpec) -> Self {
        self.change(move |world| world.dispatcher.clone_from(&spec))
    }

    /// What keeps the messages, and how it behaves.
    #[must_use]
    pub fn broker(mut self, spec: BrokerSpec) -> Self {
        self.0.own_broker = true;
        self.change(move |world| world.broker.clone_from(&spec))
    }

    /// The network without faults.
    #[must_use]
    pub fn weather(self, weather: Weather) -> Self {
        self.change(move |world| world.weather = weather)
    }

    /// Anything of the hosts, after what was said before.
    #[must_use]
    pub fn change(mut self, change: impl Fn(&mut WorldSpec) + Send + Sync + 'static) -> Self {
        self.0.changes.push(Arc::new(change));
        self
    }

    /// The tasks.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.0.workload = workload;
        self
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.0.faults = faults;
        self
    }

    /// Everything heals after this much virtual time; from then on all must settle. Without, each seed draws
    /// from half a minute to two minutes.
    #[must_use]
    pub fn heals_after(mut self, time: Duration) -> Self {
        self.0.heal_at_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// A mediator, made at each start of each dispatcher. What it keeps in itself is lost when a dispatcher is killed, as
    /// in life; what outlives dispatchers (a database) is captured by the closure. Time and randomness come from
    /// [`Env`]: a mediator that asks the machine for them makes runs that can't be repeated, and [`World::check`] says so.
    ///
    /// The judge can't know what it will say: what it drops counts as done, and the promise about mediators is left out.
    /// Say what yours is to do by [`WorldBuilder::oracle`].
    #[must_use]
    pub fn mediator<M: Mediator>(mut self, make: impl Fn(&Env) -> M + Send + Sync + 'static) -> Self {
        self.0.setup.mediated = true;
        self.dispatcher_with(move |env, builder| builder.mediator(make(env)))
    }

    /// Observers, codecs, signers: changes each dispatcher before it is built.
    #[must_use]
    pub fn dispatcher_with(mut self, change: impl Fn(&Env, Builder) -> Builder + Send + Sync + 'static) -> Self {
        self.0.setup.dispatcher.push(Arc::new(change));
        self
    }

    /// Policies: changes the config of each dispatcher. The judge goes by the world's specs, so what a lane's spec can say
    /// is better said there; an oracle that can't hold under a changed policy is left out by [`WorldBuilder::without`].
    #[must_use]
    pub fn config(mut self, change: impl Fn(&mut CoreConfig) + Send + Sync + 'static) -> Self {
        self.0.setup.config = Some(Arc::new(change));
        self
    }

    /// Something around each dispatcher's client of the broker.
    #[must_use]
    pub fn around_broker(
        mut self,
        wrap: impl Fn(&Env, Arc<dyn Broker>) -> Arc<dyn Broker> + Send + Sync + 'static,
    ) -> Self {
        self.0.setup.broker = Some(Arc::new(wrap));
        self
    }

    /// Something around each dispatcher's HTTP client.
    #[must_use]
    pub fn around_transport(
        mut self,
        wrap: impl Fn(&Env, Arc<dyn Transport>) -> Arc<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        self.0.setup.transport = Some(Arc::new(wrap));
        self
    }

    /// What executors do with each request, instead of what its task says. Faults still go first, and once the world has
    /// healed everything is answered with 200. The same request must get the same answer in the same place of a run: what
    /// the closure keeps (a database) is made anew by [`WorldBuilder::for_each_run`].
    #[must_use]
    pub fn execute(mut self, execute: impl Fn(&Execution<'_>) -> Exec + Send + Sync + 'static) -> Self {
        self.0.setup.execute = Some(Arc::new(execute));
        self
    }

    /// Changes what producers publish for a task: headers, labels, retry rules. Not the id, nor the body, by which
    /// executors see whether a task came as it was given.
    #[must_use]
    pub fn envelope(mut self, change: impl Fn(&TaskSpec, &mut Envelope) + Send + Sync + 'static) -> Self {
        self.0.setup.envelope = Some(Arc::new(change));
        self
    }

    /// Called before each run: what closures have captured is to be as new. A seed is run more than once, to see that
    /// runs can be repeated and to make a failing case small.
    #[must_use]
    pub fn for_each_run(mut self, reset: impl Fn() + Send + Sync + 'static) -> Self {
        self.0.setup.reset = Some(Arc::new(reset));
        self
    }

    /// A promise of your own, held against everything that happened; see [`Finding`].
    #[must_use]
    pub fn oracle(
        mut self,
        name: &'static str,
        find: impl Fn(&Case, &[Entry]) -> Vec<Finding> + Send + Sync + 'static,
    ) -> Self {
        self.0.setup.oracles.push(OwnOracle { name, find: Arc::new(find) });
        self
    }

    /// Leaves one of the standard promises out, as one that your policies do not mean to keep.
    #[must_use]
    pub fn without(mut self, oracle: Oracle) -> Self {
        self.0.setup.without.insert(oracle);
        self
    }

    /// The seeds to run, unless `QUEBERT_SIM_SEEDS` says others: `7`, `1..=500`, `3,9`.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.0.seeds = seeds.into_iter().collect();
        self
    }

    /// The kind of network, unless `QUEBERT_SIM_WORLD` says another: `fast` or `turmoil`.
    #[must_use]
    pub const fn kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// How long a failing case may be made smaller.
    #[must_use]
    pub const fn shrink(mut self, limits: Limits) -> Self {
        self.0.limits = limits;
        self
    }

    /// Where failing cases and their timelines are kept, instead of `target/sim`.
    #[must_use]
    pub fn keep_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.0.kept_in = Some(folder.into());
        self
    }

    /// The worlds, to be asked for cases or to be checked. The environment is not looked at.
    pub fn build(self) -> World {
        self.0
    }

    /// [`World::check`], with what the environment says.
    ///
    /// # Panics
    /// When a promise is broken, with its story; see [`World::check`].
    #[track_caller]
    pub fn check(self) {
        match self.0.with_environment(|name| std::env::var(name).ok()) {
            Ok(world) => world.check(),
            Err(error) => panic!("{error}"),
        }
    }
}
