//! The dispatcher's contract suite, within the fast world.

use crate::{
    broker::{Cluster, SimBroker, serve},
    case::{BrokerSpec, Engine, QueueKind},
    clock::Clocks,
    draw::Draw,
    env::Env,
    history::History,
    host::Host,
    net::{Controls, Director, Kind, Net, Program, Stage, Weather},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    contract::{self, Harness},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A client's host with the suite on it.
struct Bench {
    env: Env,
    cluster: Cluster,
    spec: BrokerSpec,
    names: AtomicU64,
}

impl Harness for Bench {
    type Broker = SimBroker;

    fn fresh_name(&self) -> Arc<str> {
        format!("queue-{}", self.names.fetch_add(1, Relaxed)).into()
    }

    fn client(&self, queues: &[Arc<str>]) -> impl Future<Output = SimBroker> + Send {
        queues.iter().for_each(|queue| self.cluster.declare(queue));
        let client = SimBroker::new(self.env.clone(), &self.spec);
        async move { client }
    }

    fn cut(&self) -> Option<BoxFuture<'_, ()>> {
        Some(Box::pin(async { self.cluster.close_connection(self.env.now(), self.env.host()) }))
    }
}

/// Ends the world when the suite is through.
struct UntilDone(Arc<AtomicBool>);

impl Director for UntilDone {
    fn act(&mut self, now: Duration, _: &mut dyn Controls) -> Option<Duration> {
        assert!(now < Duration::from_secs(3600), "the suite hangs");
        (!self.0.load(Relaxed)).then(|| now + Duration::from_secs(1))
    }
}

fn passes(spec: BrokerSpec) {
    let (history, clocks, draw) = (History::default(), Clocks::default(), Draw::new(3));
    let cluster = Cluster::new(&spec, &[], draw, history.clone());
    let done = Arc::new(AtomicBool::new(false));
    let env = move |net: Net| Env { net, clocks: clocks.clone(), draw, history: history.clone() };
    let mut hosts: Vec<(Host, Program)> = Vec::new();
    for node in 1..=spec.nodes {
        let (env, cluster) = (env.clone(), cluster.clone());
        let program = move |net| -> BoxFuture<'static, ()> { Box::pin(serve(env(net), cluster.clone())) };
        hosts.push((Host::Broker(node), Arc::new(program)));
    }
    let (end, suite_spec) = (done.clone(), spec);
    let program = move |net| -> BoxFuture<'static, ()> {
        let (env, cluster, end) = (env(net), cluster.clone(), end.clone());
        let bench = Bench { env, cluster, spec: suite_spec.clone(), names: AtomicU64::new(0) };
        Box::pin(async move {
            contract::all(&bench).await;
            end.store(true, Relaxed);
        })
    };
    hosts.push((Host::Dispatcher(1), Arc::new(program)));
    let stage = Stage { seed: 5, weather: Weather::default(), hosts, log: None };
    let ran = stage.run(Kind::Fast, &mut UntilDone(done.clone()));
    assert_eq!(ran.panics, [], "the suite passes");
    assert!(done.load(Relaxed), "the suite came to its end");
}

#[test]
fn quorum_queues_pass_the_contract() {
    passes(BrokerSpec::default());
}

#[test]
fn classic_queues_pass_the_contract() {
    passes(BrokerSpec { queues: QueueKind::Classic, ..BrokerSpec::default() });
}

#[test]
fn a_relocating_broker_passes_the_contract() {
    passes(BrokerSpec { relocates: true, confirm_max_ms: 20, ..BrokerSpec::default() });
}

#[test]
fn three_nodes_pass_the_contract() {
    passes(BrokerSpec { nodes: 3, requeue_first: true, confirm_batch: 4, ..BrokerSpec::default() });
}

#[test]
fn the_embedded_broker_passes_the_contract() {
    passes(BrokerSpec { engine: Engine::Embedded, relocates: true, ..BrokerSpec::default() });
}
