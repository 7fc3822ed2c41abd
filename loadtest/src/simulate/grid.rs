//! Which combinations are simulated: lists of numbers as people type them, and a profile for each combination. It runs
//! nothing but what it is asked to, on as many threads as there are processors.

use super::{Engine, Outcome, Row, Timing, Unsuited, model, window, world};
use crate::{
    dist::Dist,
    quantity::{self, Unclear},
    run::{Config, ConfigError, Profile},
    target::QueueSpec,
};
use std::{
    num::NonZero,
    str::FromStr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The most combinations of one grid.
const COMBINATIONS_MAX: usize = 1_000;
/// With more tasks than this, all combinations together, the model computes them if nobody says otherwise: the dispatcher
/// was measured to take 1.1 ms of CPU for each in a debug build, the model a hundredth of that (docs/loadtest.md says how).
const DISPATCHER_TASKS_MAX: f64 = 300_000.0;

/// Numbers: `4`, `8,16,32` or `2..6`, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers(pub Vec<u32>);

impl FromStr for Numbers {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Self, Unclear> {
        let wanted = || Unclear::new("numbers above 0 such as 4, 8,16,32 or 2..6", text);
        let one = |word: &str| quantity::count(word).ok().and_then(|n| u32::try_from(n).ok()).ok_or_else(wanted);
        let numbers = match text.split_once("..") {
            Some((from, to)) => (one(from)?..=one(to)?).take(COMBINATIONS_MAX).collect(),
            None => text.split(',').map(one).collect::<Result<Vec<_>, _>>()?,
        };
        if numbers.is_empty() || numbers.contains(&0) { Err(wanted()) } else { Ok(Self(numbers)) }
    }
}

/// The windows of a combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefetch {
    /// What the dispatcher derives: half as many again as there are slots, and one.
    Derived,
    /// By the rule of [`window`].
    Rule,
    /// These.
    These(Numbers),
}

impl FromStr for Prefetch {
    type Err = Unclear;

    fn from_str(text: &str) -> Result<Self, Unclear> {
        match text {
            "derived" => Ok(Self::Derived),
            "rule" => Ok(Self::Rule),
            _ => text
                .parse()
                .map(Self::These)
                .map_err(|e: Unclear| Unclear::new("derived, rule, or numbers such as 8,16,32", e.at)),
        }
    }
}

/// A grid of combinations. What is empty stays as the profile has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    /// Dispatchers.
    pub dispatchers: Option<Numbers>,
    /// Slots of each queue of each dispatcher.
    pub slots: Option<Numbers>,
    /// The window of each queue.
    pub prefetch: Prefetch,
}

impl Grid {
    /// A checked profile for each combination.
    ///
    /// # Errors
    /// What is wrong with the profile, or that there are too many combinations.
    pub fn configs(&self, profile: &Profile, timing: &Timing) -> Result<Vec<Config>, ConfigError> {
        if !profile.faults.is_empty() {
            let words = "faults: outages of executors are simulated, and no others";
            return Err(ConfigError::Contradiction(words.to_owned()));
        }
        // Nothing is started: what counts is that several dispatchers may share it.
        let base = Profile { broker: "private-rabbitmq".into(), ..profile.clone().without_external() };
        let checked = Config::try_from(base.clone())?;
        let mut configs = Vec::new();
        let or = |numbers: &Option<Numbers>, other: u32| numbers.clone().map_or_else(|| vec![other], |n| n.0);
        for dispatchers in or(&self.dispatchers, profile.dispatchers) {
            // Zero: as each queue has it.
            for slots in or(&self.slots, 0) {
                for prefetch in self.prefetches() {
                    if configs.len() == COMBINATIONS_MAX {
                        return Err(ConfigError::Contradiction(format!("at most {COMBINATIONS_MAX} combinations")));
                    }
                    let queue = |queue: &QueueSpec| line(queue, slots, prefetch, &checked, timing);
                    let queues = checked.target.queues.iter().map(queue).collect();
                    configs.push(Config::try_from(Profile { dispatchers, queues, ..base.clone() })?);
                }
            }
        }
        Ok(configs)
    }

    fn prefetches(&self) -> Vec<Option<u32>> {
        match &self.prefetch {
            Prefetch::Derived => vec![Some(0)],
            Prefetch::Rule => vec![None],
            Prefetch::These(numbers) => numbers.0.iter().copied().map(Some).collect(),
        }
    }
}

/// A queue's line with other slots and another window; `None` is by the rule.
fn line(queue: &QueueSpec, slots: u32, prefetch: Option<u32>, config: &Config, timing: &Timing) -> String {
    let slots = if slots > 0 { slots } else { queue.slots };
    let window = prefetch.unwrap_or_else(|| {
        let means = config.executors.iter().map(|executor| executor.latency.mean());
        let mean = means.fold(0.0, f64::max).min(Dist::MEAN_MAX);
        window(slots, timing.broker_rtt(), Duration::from_secs_f64(mean) + timing.attempt_extra())
    });
    // A window that is smaller than its slots is refused by the program.
    let window = if window == 0 { 0 } else { window.max(slots) };
    format!("name={} priority={} slots={slots} window={window}", queue.name, queue.priority)
}

/// The engine for these, if nobody says which.
pub fn suited(configs: &[Config]) -> Engine {
    let tasks = configs.iter().map(|config| config.arrivals.expected().unwrap_or(0.0)).sum::<f64>();
    let closed = configs.iter().any(|config| config.arrivals.is_closed());
    if closed || tasks <= DISPATCHER_TASKS_MAX { Engine::Dispatcher } else { Engine::Model }
}

/// Computes one.
///
/// # Errors
/// When the model is not suited for it.
pub fn simulate(config: &Config, timing: &Timing, engine: Engine) -> Result<Outcome, Unsuited> {
    match engine {
        Engine::Dispatcher => Ok(world::run(config, timing)),
        Engine::Model => model(config, timing),
    }
}

/// Computes all of them; rows come in the order of the combinations.
///
/// # Errors
/// When the model is not suited for them.
pub fn rows(configs: &[Config], timing: &Timing, engine: Engine) -> Result<Vec<Row>, Unsuited> {
    let rows = each(configs, |config| Ok(Row::new(config, timing, engine, &simulate(config, timing, engine)?)));
    rows.into_iter().collect()
}

/// The same for each, on as many threads as there are processors; results come in order.
pub(crate) fn each<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(all.iter().map(|_| None).collect::<Vec<_>>());
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(all.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((n, one)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, all.get(n)?)))
                {
                    let result = work(one);
                    results.lock().unwrap_or_else(PoisonError::into_inner)[n] = Some(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results
        .into_iter()
        .map(|result| result.expect("each was worked on, or a panic has gone on from its thread"))
        .collect()
}
