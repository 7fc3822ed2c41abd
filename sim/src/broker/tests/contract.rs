//! The dispatcher's contract suite, within the fast world.

use super::stage::play;
use crate::{
    broker::{Cluster, SimBroker},
    case::{BrokerSpec, Engine, QueueKind},
    env::Env,
};
use quebert_dispatcher::ports::{
    BoxFuture,
    contract::{self, Harness},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
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

fn passes(spec: BrokerSpec) {
    play(&spec.clone(), Vec::new(), move |env, cluster| {
        let bench = Bench { env, cluster, spec: spec.clone(), names: AtomicU64::new(0) };
        async move { contract::all(&bench).await }
    });
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
