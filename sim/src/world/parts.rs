//! Tasks and faults of a world: drawn by each seed, or given. They run nothing.

use crate::{
    case::{Case, Fault, TaskSpec},
    history::TaskNo,
};
use std::sync::Arc;

/// Makes tasks for a case that has everything else.
type Make = Arc<dyn Fn(&Case) -> Vec<TaskSpec> + Send + Sync>;

/// The tasks of a world.
#[derive(Clone)]
pub struct Workload(Tasks);

#[derive(Clone)]
enum Tasks {
    Swarm(u32),
    Made(Make),
}

impl Workload {
    /// Each seed draws them, at most so many: when they come, what they ask for, and how their attempts end.
    pub const fn swarm(most: u32) -> Self {
        Self(Tasks::Swarm(most))
    }

    /// Just these, the same for all seeds. Their numbers must differ.
    pub fn tasks(tasks: impl IntoIterator<Item = TaskSpec>) -> Self {
        let tasks: Vec<_> = tasks.into_iter().collect();
        Self::made(move |_| tasks.clone())
    }

    /// So many plain ones, one each `every_ms`, over all producers, lanes and executors in turn: each is answered with
    /// 200, unless a fault or [`execute`](super::WorldBuilder::execute) says otherwise.
    pub fn even(number: u32, every_ms: u64) -> Self {
        Self::made(move |case| (0..number).map(|n| nth(case, n, every_ms)).collect())
    }

    /// Made for each case from its seed, its hosts and its time.
    pub fn made(make: impl Fn(&Case) -> Vec<TaskSpec> + Send + Sync + 'static) -> Self {
        Self(Tasks::Made(Arc::new(make)))
    }

    /// The most that are drawn.
    pub(super) const fn most(&self) -> Option<u32> {
        match self.0 {
            Tasks::Swarm(most) => Some(most),
            Tasks::Made(_) => None,
        }
    }

    /// The tasks, unless they are drawn.
    pub(super) fn tasks_for(&self, case: &Case) -> Option<Vec<TaskSpec>> {
        match &self.0 {
            Tasks::Swarm(_) => None,
            Tasks::Made(make) => Some(make(case)),
        }
    }
}

fn nth(case: &Case, n: u32, every_ms: u64) -> TaskSpec {
    let world = &case.world;
    let turn = |of: u8| u8::try_from(n % u32::from(of.max(1))).expect("less than a byte") + 1;
    let lanes = u32::try_from(world.dispatcher.lanes.len().max(1)).unwrap_or(1);
    TaskSpec {
        no: TaskNo(n + 1),
        producer: turn(world.producers),
        lane: usize::try_from(n % lanes).expect("few lanes"),
        executor: turn(world.executors),
        ..TaskSpec::new(n + 1, u64::from(n).saturating_mul(every_ms))
    }
}

/// What goes wrong in a world.
#[derive(Clone)]
pub struct Faults(Option<Vec<Fault>>);

impl Faults {
    /// Each seed draws them: families on or off, few and long or many and short.
    pub const fn swarm() -> Self {
        Self(None)
    }

    /// Nothing.
    pub const fn none() -> Self {
        Self(Some(Vec::new()))
    }

    /// Just these, the same for all seeds.
    pub fn these(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(Some(faults.into_iter().collect()))
    }

    /// The faults, unless they are drawn.
    pub(super) fn fixed(&self) -> Option<Vec<Fault>> {
        self.0.clone()
    }
}
