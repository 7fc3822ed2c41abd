//! Virtual time: the production dispatcher, with its core, its shell and its HTTP client, on the simulation's network and
//! broker, under the same publisher, executors and ledger as a real run. Hours take seconds, and the same seed gives the same
//! figures. What a real machine adds (processors, disks) is not here but as [`Timing`] says.
//!
//! This is the one place that knows the simulation. Its network knows whole milliseconds, one hop takes at least one, and so
//! do its timers: what a request's way takes too long is taken off the executor's work, so that an attempt holds its slot as
//! long as it should, to the millisecond.

mod direct;
mod hosts;
mod scene;
mod spec;

use super::{Outcome, Timing};
use crate::run::Config;
use direct::Conductor;
use quebert_sim::{
    broker::{self, Cluster},
    clock::Clocks,
    draw::Draw,
    env::Cast,
    history::History,
    host::Host,
    net::{Kind, Stage},
};
use scene::Scene;
use std::sync::Arc;

/// Runs a profile in virtual time. Blocks; nothing in it waits in real time. The profile's target is not started: of it only
/// the dispatchers' number and settings count.
///
/// # Panics
/// When a program of the world does, which is a bug of the product or of this tester.
pub fn run(config: &Config, timing: &Timing) -> Outcome {
    let draw = Draw::new(config.profile.seed);
    let world = Arc::new(spec::world(config, timing));
    let (history, clocks) = (History::default(), Clocks::default());
    let queues = world.dispatcher.lanes.iter().map(|lane| Arc::from(lane.name.as_str())).collect::<Vec<_>>();
    let cluster = Cluster::new(&world.broker, &queues, draw.of("broker"), history.clone());
    let scene = Arc::new(Scene::new(config.clone(), *timing));
    let mut cast = Cast::new(draw, history.clone(), clocks);
    cast.add(Host::Broker(1), move |env| broker::serve(env, cluster.clone()));
    for n in 1..=world.executors {
        let scene = scene.clone();
        cast.add(Host::Executor(n), move |env| hosts::executor(env, scene.clone(), usize::from(n) - 1));
    }
    for n in 1..=world.dispatchers {
        let (scene, world) = (scene.clone(), world.clone());
        cast.add(Host::Dispatcher(n), move |env| hosts::dispatcher(env, scene.clone(), world.clone()));
    }
    {
        let (scene, world) = (scene.clone(), world.clone());
        cast.add(Host::Producer(1), move |env| hosts::publisher(env, scene.clone(), world.clone()));
    }
    let stage =
        Stage { seed: draw.of("network").number(), weather: world.weather, hosts: cast.into_hosts(), log: None };
    let mut conductor = Conductor::new(scene, history, world, timing);
    let ran = stage.run(Kind::Fast, &mut conductor);
    assert!(ran.panics.is_empty(), "in the virtual world: {:?}", ran.panics);
    conductor.outcome()
}
