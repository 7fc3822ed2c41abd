//! Small worlds in few lines: programs as closures, a director as a list of moments. It asserts nothing.

use super::super::{Controls, Director, Kind, Net, Program, Ran, Segment, Stage, Weather};
use crate::host::Host;
use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Milliseconds.
pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What programs write down: when, in milliseconds, and what.
#[derive(Clone, Default)]
pub(super) struct Notes(Arc<Mutex<Vec<(u64, String)>>>);

impl Notes {
    pub(super) fn add(&self, net: &Net, what: impl Into<String>) {
        self.0.lock().unwrap().push((u64::try_from(net.now().as_millis()).unwrap(), what.into()));
    }

    pub(super) fn all(&self) -> Vec<(u64, String)> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.all().into_iter().map(|(_, text)| text).collect()
    }

    /// When this was noted first.
    #[track_caller]
    pub(super) fn when(&self, what: &str) -> u64 {
        let all = self.all();
        all.iter().find(|(_, text)| text == what).unwrap_or_else(|| panic!("no {what:?} in {all:?}")).0
    }
}

type Act = Box<dyn FnMut(&mut dyn Controls)>;

/// A world, and what is done to it when.
pub(super) struct Scene {
    pub(super) stage: Stage,
    acts: Vec<(Duration, Act)>,
    pub(super) calls: Vec<Duration>,
    end: Duration,
}

impl Scene {
    pub(super) fn new(end: Duration) -> Self {
        let stage = Stage { seed: 7, weather: Weather::default(), hosts: Vec::new(), log: None };
        Self { stage, acts: Vec::new(), calls: Vec::new(), end }
    }

    pub(super) fn host<F>(mut self, host: Host, program: impl Fn(Net) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let program: Program = Arc::new(move |net| Box::pin(program(net)));
        self.stage.hosts.push((host, program));
        self
    }

    pub(super) fn seed(mut self, seed: u64) -> Self {
        self.stage.seed = seed;
        self
    }

    pub(super) fn weather(mut self, least: u32, most: u32, yields: u32) -> Self {
        self.stage.weather = Weather { latency_min_ms: least, latency_max_ms: most, yields_per_mille: yields };
        self
    }

    /// In the order of time.
    pub(super) fn at(mut self, at: u64, act: impl FnMut(&mut dyn Controls) + 'static) -> Self {
        self.acts.push((ms(at), Box::new(act)));
        self
    }

    pub(super) fn log(mut self) -> (Self, Arc<Mutex<Vec<Segment>>>) {
        let all = Arc::<Mutex<Vec<Segment>>>::default();
        let log = all.clone();
        self.stage.log = Some(Arc::new(move |segment| log.lock().unwrap().push(segment.clone())));
        (self, all)
    }

    pub(super) fn run(self, kind: Kind) -> Ran {
        self.run_with_calls(kind).0
    }

    pub(super) fn run_with_calls(mut self, kind: Kind) -> (Ran, Vec<Duration>) {
        let hosts = std::mem::take(&mut self.stage.hosts);
        let stage = Stage { seed: self.stage.seed, weather: self.stage.weather, hosts, log: self.stage.log.take() };
        let ran = stage.run(kind, &mut self);
        (ran, self.calls)
    }
}

impl Director for Scene {
    fn act(&mut self, now: Duration, world: &mut dyn Controls) -> Option<Duration> {
        self.calls.push(now);
        while self.acts.first().is_some_and(|(at, _)| *at <= now) {
            let (_, mut act) = self.acts.remove(0);
            act(world);
        }
        (now < self.end).then(|| self.acts.first().map_or(self.end, |(at, _)| (*at).min(self.end)))
    }
}
