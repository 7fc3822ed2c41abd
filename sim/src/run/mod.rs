//! Runs a case: composes the world, directs its faults, and asks the judge.

pub mod config;
mod direct;
mod dispatch;
mod mediator;
mod probe;
mod state;
#[cfg(test)]
mod tests;

pub use mediator::{Expected, hush_expected_panics};

use crate::{
    broker::{self, Cluster, SimBroker},
    case::{Case, Exec, TaskSpec},
    clock::Clocks,
    draw::Draw,
    env::{Cast, Env},
    fleet::{self, Execution, Executors, Producers},
    history::{Entry, History, TaskNo, What},
    host::Host,
    judge::{MakePromise, Oracle, Violation, judge_mediated, judge_with},
    net::{Kind, Ran, SegmentLog, Stage},
};
use direct::CaseDirector;
use dispatch::{Common, Crew};
use quebert_dispatcher::{
    config::CoreConfig,
    ports::{broker::Broker, transport::Transport},
    shell::Builder,
};
use quebert_wire::Envelope;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Changes a dispatcher before it is built, at each of its starts.
pub type DispatcherHook = Arc<dyn Fn(&Env, Builder) -> Builder + Send + Sync>;
/// Puts something around a port.
pub type Wrap<T> = Arc<dyn Fn(&Env, Arc<T>) -> Arc<T> + Send + Sync>;

/// Changes the config of every dispatcher.
pub type ConfigHook = Arc<dyn Fn(&mut CoreConfig) + Send + Sync>;

/// What executors do with each request, instead of what its task says.
pub type Execute = Arc<dyn Fn(&Execution<'_>) -> Exec + Send + Sync>;

/// Changes what producers publish for a task, but neither its id nor its body.
pub type EnvelopeHook = Arc<dyn Fn(&TaskSpec, &mut Envelope) + Send + Sync>;

/// Looks through all that happened for broken promises.
pub type Find = Arc<dyn Fn(&Case, &[Entry]) -> Vec<Finding> + Send + Sync>;

/// A promise of a user's own.
#[derive(Clone)]
pub struct OwnOracle {
    /// Its name.
    pub name: &'static str,
    /// Finds where it was broken.
    pub find: Find,
}

/// Where a promise of a user's own was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose, if it is about one task.
    pub task: Option<TaskNo>,
    /// When: true time.
    pub at: Duration,
    /// What happened instead.
    pub detail: String,
}

impl Finding {
    /// About one task.
    pub fn of(task: TaskNo, at: Duration, detail: impl Into<String>) -> Self {
        Self { task: Some(task), at, detail: detail.into() }
    }

    /// About no task in particular.
    pub fn at(at: Duration, detail: impl Into<String>) -> Self {
        Self { task: None, at, detail: detail.into() }
    }
}

/// What a user of the library brings into a world.
#[derive(Clone, Default)]
pub struct Setup {
    /// Mediators, observers, codecs: each is called at each start of each dispatcher.
    pub dispatcher: Vec<DispatcherHook>,
    /// Changes the config that the case gives. The judge goes by the case.
    pub config: Option<ConfigHook>,
    /// Around each dispatcher's client of the broker.
    pub broker: Option<Wrap<dyn Broker>>,
    /// Around each dispatcher's transport.
    pub transport: Option<Wrap<dyn Transport>>,
    /// What executors do.
    pub execute: Option<Execute>,
    /// What producers publish.
    pub envelope: Option<EnvelopeHook>,
    /// There is a mediator among them: what it says is not judged.
    pub mediated: bool,
    /// Called before each run.
    pub reset: Option<Arc<dyn Fn() + Send + Sync>>,
    /// More promises, held against the whole history.
    pub oracles: Vec<OwnOracle>,
    /// More promises, held against each entry and what is so then.
    pub promises: Vec<MakePromise>,
    /// Promises that are not held against a run.
    pub without: BTreeSet<Oracle>,
}

/// How to run.
#[derive(Clone, Default)]
pub struct Options {
    /// In which world.
    pub kind: Kind,
    /// Sees each segment.
    pub log: Option<SegmentLog>,
    /// Goes on to the case's end, even if all is settled before.
    pub to_the_end: bool,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What happened.
    pub entries: Vec<Entry>,
    /// What the network tells.
    pub ran: Ran,
    /// Broken promises, in order of time.
    pub violations: Vec<Violation>,
    /// When everything was settled.
    pub settled_at: Option<Duration>,
}

/// Runs a case, and judges it. Blocks; nothing in it waits in real time.
pub fn run(case: &Case, setup: &Setup, options: &Options) -> Report {
    let mut report = play(case, setup, options);
    let judge = if setup.mediated { judge_mediated } else { judge_with };
    let mut violations = judge(case, &report.entries, &report.ran, &setup.promises);
    violations.retain(|violation| !setup.without.contains(&violation.oracle));
    for OwnOracle { name, find } in &setup.oracles {
        let found = find(case, &report.entries).into_iter();
        violations.extend(found.map(|Finding { task, at, detail }| Violation {
            oracle: Oracle::Own(name),
            task,
            at,
            detail,
        }));
    }
    violations.sort_by_key(|violation| violation.at);
    report.violations = violations;
    report
}

/// Runs a case without a judge.
pub fn play(case: &Case, setup: &Setup, options: &Options) -> Report {
    hush_expected_panics();
    if let Some(reset) = &setup.reset {
        reset();
    }
    let case = Arc::new(case.clone());
    let draw = Draw::new(case.seed);
    let (history, clocks) = (History::default(), Clocks::default());
    let queues: Vec<Arc<str>> = case.world.dispatcher.lanes.iter().map(|lane| lane.name.as_str().into()).collect();
    let cluster = Cluster::new(&case.world.broker, &queues, draw.of("broker"), history.clone());
    let (executors, producers) = (
        Executors::new(case.clone()).doing(setup.execute.clone()),
        Producers::new(case.clone()).changing(setup.envelope.clone()),
    );
    let common = Common {
        case: case.clone(),
        setup: setup.clone(),
        crew: Crew::default(),
        hooks: mediator::HookBook::default(),
    };
    let mut cast = Cast::new(draw, history.clone(), clocks.clone());
    for host in (1..=case.world.broker.nodes).map(Host::Broker) {
        let cluster = cluster.clone();
        cast.add(host, move |env| broker::serve(env, cluster.clone()));
    }
    for host in (1..=case.world.executors).map(Host::Executor) {
        let executors = executors.clone();
        cast.add(host, move |env| fleet::executor(env, executors.clone()));
    }
    for host in (1..=case.world.dispatchers).map(Host::Dispatcher) {
        let common = common.clone();
        cast.add(host, move |env| dispatch::dispatch(env, common.clone()));
    }
    for host in (1..=case.world.producers).map(Host::Producer) {
        let (case, producers) = (case.clone(), producers.clone());
        cast.add(host, move |env| {
            let broker = Arc::new(SimBroker::new(env.clone(), &case.world.broker));
            fleet::producer(env, producers.clone(), broker)
        });
    }
    let hosts = cast.into_hosts();
    for (host, _) in &hosts {
        history.note(Duration::ZERO, *host, What::Started);
    }
    let stage =
        Stage { seed: draw.of("network").number(), weather: case.world.weather, hosts, log: options.log.clone() };
    let mut director = CaseDirector::new(common, cluster, executors, clocks, history.clone(), options.to_the_end);
    let ran = stage.run(options.kind, &mut director);
    Report { entries: history.take(), ran, violations: Vec::new(), settled_at: director.settled_at }
}
