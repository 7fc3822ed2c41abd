//! A broker, and one client's host with a program of the test's own, in the fast world.

use crate::{
    broker::{Cluster, serve},
    case::BrokerSpec,
    clock::Clocks,
    draw::Draw,
    env::Env,
    history::History,
    host::Host,
    net::{Controls, Director, Kind, Net, Program, Stage, Weather},
};
use quebert_dispatcher::ports::BoxFuture;
use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// What is done to the world at a moment.
pub(super) type Play = Box<dyn FnOnce(&mut dyn Controls, &Cluster)>;

struct Cues {
    cluster: Cluster,
    left: VecDeque<(u64, Play)>,
    done: Arc<AtomicBool>,
}

impl Director for Cues {
    fn act(&mut self, now: Duration, world: &mut dyn Controls) -> Option<Duration> {
        assert!(now < Duration::from_secs(3600), "the program hangs");
        while let Some((_, play)) = self.left.pop_front_if(|(ms, _)| Duration::from_millis(*ms) <= now) {
            play(world, &self.cluster);
        }
        let cue = self.left.front().map(|(ms, _)| Duration::from_millis(*ms));
        let look = now + Duration::from_secs(1);
        (!self.done.load(Relaxed)).then(|| cue.map_or(look, |cue| cue.min(look)))
    }
}

/// Plays until the program has ended.
pub(super) fn play<F>(
    spec: &BrokerSpec,
    cues: Vec<(u64, Play)>,
    program: impl Fn(Env, Cluster) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (history, clocks, draw) = (History::default(), Clocks::default(), Draw::new(3));
    let cluster = Cluster::new(spec, &[], draw, history.clone());
    let done = Arc::new(AtomicBool::new(false));
    let env = move |net: Net| Env { net, clocks: clocks.clone(), draw, history: history.clone() };
    let mut hosts: Vec<(Host, Program)> = Vec::new();
    for node in 1..=spec.nodes {
        let (env, cluster) = (env.clone(), cluster.clone());
        let node_program = move |net| -> BoxFuture<'static, ()> { Box::pin(serve(env(net), cluster.clone())) };
        hosts.push((Host::Broker(node), Arc::new(node_program)));
    }
    let (end, of_program) = (done.clone(), cluster.clone());
    let client_program = move |net| -> BoxFuture<'static, ()> {
        let (played, end) = (program(env(net), of_program.clone()), end.clone());
        Box::pin(async move {
            played.await;
            end.store(true, Relaxed);
        })
    };
    hosts.push((Host::Dispatcher(1), Arc::new(client_program)));
    let stage = Stage { seed: 5, weather: Weather::default(), hosts, log: None };
    let ran = stage.run(Kind::Fast, &mut Cues { cluster, left: cues.into(), done: done.clone() });
    assert_eq!(ran.panics, [], "nothing in it fails");
    assert!(done.load(Relaxed), "the program came to its end");
}
