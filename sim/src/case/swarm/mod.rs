//! From a seed to a case, by swarm: each seed switches a random subset of everything on, at random strength. It runs
//! nothing, and draws by key, so that what is added to one family leaves the others as they were.
//!
//! After Groce, Zhang, Eide, Chen and Regehr, "Swarm Testing" (ISSTA 2012): cases that leave out find what cases that
//! have everything hide.

mod faults;
mod setup;
mod workload;

use super::{Case, VERSION, WorldSpec};
use crate::draw::Draw;

/// How large a swarm's cases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Processes that dispatch, at most.
    pub dispatchers: u8,
    /// Servers that execute, at most.
    pub executors: u8,
    /// Tasks, at most.
    pub tasks: u32,
    /// True time until everything heals, in seconds, at most.
    pub seconds: u32,
    /// All of the above are exact, and there is one broker node and one producer: cases of one size for measuring.
    pub exact: bool,
    /// Of 1,000 cases, how many have the embedded broker's store.
    pub embedded_per_mille: u32,
}

impl Default for Size {
    /// For many seeds: small worlds, two minutes.
    fn default() -> Self {
        Self { dispatchers: 3, executors: 5, tasks: 200, seconds: 120, exact: false, embedded_per_mille: 100 }
    }
}

impl Size {
    /// The size that speed is measured by: 3 dispatchers, 5 executors, 1 broker, 500 tasks, 10 minutes.
    pub const fn bench() -> Self {
        Self { dispatchers: 3, executors: 5, tasks: 500, seconds: 600, exact: true, embedded_per_mille: 0 }
    }

    /// A number up to `most`, at least 1; `most` itself if sizes are exact.
    fn up_to(self, draw: Draw, most: u64) -> u64 {
        if self.exact { most.max(1) } else { draw.between(1, most.max(1)) }
    }
}

/// The case of a seed. Passes [`Case::check`].
pub fn case(seed: u64, size: Size) -> Case {
    let mut case = case_with(seed, size, None, |_| {});
    case.world.broker.delivery_limit = delivery_limit(case.faults.len());
    case.settle_ms = case.settle_bound_ms();
    // Speed is virtual time over real time: of all of it, the quiet end as well.
    case.least_ms = if size.exact { case.heal_at_ms } else { 0 };
    case
}

/// The case of a seed, with some of it said: when it heals, if that is not drawn, and whatever `change` sets of its hosts.
/// Tasks and faults are drawn for what comes of that. Whether it
/// can be run, and the broker's delivery limit, is for whoever says so.
pub fn case_with(seed: u64, size: Size, heal_at_ms: Option<u64>, change: impl FnOnce(&mut WorldSpec)) -> Case {
    let draw = Draw::new(seed).of("swarm");
    let mut world = setup::world(draw.of("world"), size);
    change(&mut world);
    let mood = Mood::new(draw);
    // A quarter of the longest at least: shorter ones have no time for anything.
    let most = u64::from(size.seconds.max(1)) * 1000;
    let drawn = if size.exact { most } else { draw.of("heal").between(most / 4, most) };
    let heal_at_ms = heal_at_ms.unwrap_or(drawn).max(1);
    let tasks = workload::tasks(draw.of("tasks"), mood, size, &world, heal_at_ms);
    let faults = faults::faults(draw.of("faults"), &world, heal_at_ms);
    let mut case = Case {
        version: VERSION,
        name: String::new(),
        seed,
        world,
        tasks,
        faults,
        heal_at_ms,
        settle_ms: 0,
        least_ms: 0,
    };
    case.settle_ms = case.settle_bound_ms();
    case
}

/// A broker's limit that no case with so many faults reaches: each may send a message back once, and what a fault sends
/// back must not be buried for it.
pub fn delivery_limit(faults: usize) -> u32 {
    u32::try_from(faults).unwrap_or(u32::MAX).saturating_mul(4).saturating_add(100)
}

/// What a seed has switched on.
#[derive(Clone, Copy)]
struct Mood(Draw);

impl Mood {
    const fn new(draw: Draw) -> Self {
        Self(draw)
    }

    /// Whether a family is on: six times in ten.
    fn has(self, family: &str) -> bool {
        self.0.of("has").of(family).chance(600)
    }

    /// How strongly, of 1,000: weakly more often than strongly; 0 if it is off.
    fn strength(self, family: &str) -> u32 {
        let draw = self.0.of("strength").of(family);
        match *draw.of("most").one_of(&[20, 60, 200, 600]).expect("there are some") {
            most if self.has(family) => u32::try_from(draw.between(most / 4, most)).expect("at most 600"),
            _ => 0,
        }
    }
}

/// A number of this range, shorter ones as likely as longer ones by their logarithm.
fn log_between(draw: Draw, least: u64, most: u64) -> u64 {
    let least = least.max(1);
    let most = most.max(least);
    let octaves = u64::from((most / least).ilog2());
    let low = least << draw.of("octave").between(0, octaves);
    draw.of("within").between(low, low.saturating_mul(2).min(most).max(low))
}

#[cfg(test)]
mod tests;
