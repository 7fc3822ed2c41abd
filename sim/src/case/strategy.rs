//! proptest strategies for workloads and fault schedules, for tests of one's own that are better served by proptest than by
//! seeds. Everything they make can be run ([`Case::check`] passes); they run nothing.
//!
//! They shrink well: tasks and faults are taken out first and the rest keeps its numbers, and with them its draws; then
//! each loses what is special about it, until a plain task is left that is answered with 200. Neither a seed nor a number
//! is ever shrunk, since another one is another run and not a smaller one.

use super::{
    Case, Engine, Exec, Fault, FaultKind, TaskSpec, VERSION, WorldSpec,
    fault::Step,
    spec::HookError,
    swarm,
    work::{HookSpec, Poison, Reply},
};
use crate::{history::TaskNo, host::Host, net::Down};
use proptest::{
    collection::{btree_map, vec},
    option::weighted,
    prelude::*,
    sample::select,
};
use std::ops::RangeInclusive;

/// The numbers that tasks get.
const NUMBERS: RangeInclusive<u32> = 1..=9_999;
/// No fault begins in the first moment, when nobody is connected yet.
const FIRST_MS: u64 = 100;
/// How long a task whose hook puts it off for ever lives at the most.
const HOOKED_TTL_MS: u64 = 30_000;

/// A whole case for these hosts, which heals after `heal_at_ms`: at most so many tasks and so many faults.
///
/// ```
/// use proptest::prelude::*;
/// use quebert_sim::{World, case::strategy};
///
/// let hosts = World::builder().dispatchers(2).executors(2).build().case(1)?.world;
/// proptest!(ProptestConfig::with_cases(5), |(case in strategy::case(&hosts, 10_000, 10, 3))| {
///     let report = World::builder().build().play(&case);
///     prop_assert_eq!(report.violations, []);
/// });
/// # Ok::<(), quebert_sim::case::CaseError>(())
/// ```
pub fn case(world: &WorldSpec, heal_at_ms: u64, tasks: usize, faults: usize) -> impl Strategy<Value = Case> + use<> {
    let world = world.clone();
    let parts =
        (any::<u64>().no_shrink(), workload(&world, heal_at_ms, tasks), self::faults(&world, heal_at_ms, faults));
    parts.prop_map(move |(seed, tasks, faults)| {
        let mut world = world.clone();
        world.broker.delivery_limit = world.broker.delivery_limit.max(swarm::delivery_limit(faults.len()));
        let name = String::new();
        let mut case =
            Case { version: VERSION, name, seed, world, tasks, faults, heal_at_ms, settle_ms: 1, least_ms: 0 };
        case.settle_ms = case.settle_bound_ms();
        case
    })
}

/// At most `most` tasks for these hosts, in the order in which they come: all of them before `heal_at_ms`.
pub fn workload(world: &WorldSpec, heal_at_ms: u64, most: usize) -> impl Strategy<Value = Vec<TaskSpec>> + use<> {
    btree_map(NUMBERS.no_shrink(), task(world, heal_at_ms), 0..=most).prop_map(|tasks| {
        let numbered = tasks.into_iter().map(|(no, task)| TaskSpec { no: TaskNo(no), ..task });
        let mut tasks: Vec<_> = numbered.collect();
        tasks.sort_by_key(|task| (task.at_ms, task.no));
        tasks
    })
}

/// One task for these hosts. Its number is 1.
pub fn task(world: &WorldSpec, heal_at_ms: u64) -> impl Strategy<Value = TaskSpec> + use<> {
    let dispatcher = &world.dispatcher;
    let (hooked, endless) = (dispatcher.mediator, dispatcher.hook_error == HookError::PutOff);
    let when = (0..=heal_at_ms / 5 * 4, 1..=world.producers, 0..dispatcher.lanes.len().max(1), 1..=world.executors);
    let asks = (weighted(0.2, 10..=30_000_u64), weighted(0.2, 200..=60_000_u64), weighted(0.15, 1..=6_u32));
    let odd = (weighted(0.1, 10..=20_000_u32), weighted(0.05, poison()), weighted(0.2, hook()));
    let what = (asks, odd, vec(exec(), 0..=3));
    (when, what).prop_map(move |((at_ms, producer, lane, executor), ((delay_ms, ttl_ms, max_attempts), odd, exec))| {
        let (body_bytes, poison, hook) = odd;
        let hook = hook.filter(|_| hooked);
        let fails = matches!(hook, Some(HookSpec::Panic { .. } | HookSpec::Hang { .. }));
        let ttl_ms = ttl_ms.or((fails && endless).then_some(HOOKED_TTL_MS));
        let body_bytes = body_bytes.unwrap_or(0);
        let task = TaskSpec::new(1, at_ms);
        TaskSpec { producer, lane, executor, delay_ms, ttl_ms, max_attempts, body_bytes, poison, hook, exec, ..task }
    })
}

/// What an executor does with one request; 200 is the plainest.
pub fn exec() -> impl Strategy<Value = Exec> {
    (0..=200_u64, reply()).prop_map(|(after_ms, reply)| Exec { after_ms, reply })
}

fn reply() -> impl Strategy<Value = Reply> {
    let retry_after = (select(vec![429, 503]), 1..=20_u32, any::<bool>());
    prop_oneof![
        4 => select(vec![200, 204]).prop_map(Reply::Status),
        4 => select(vec![500, 503, 404, 429, 302]).prop_map(Reply::Status),
        2 => retry_after.prop_map(|(status, seconds, date)| Reply::RetryAfter { status, seconds, date }),
        1 => (1..=20_u32).prop_map(|seconds| Reply::After { seconds }),
        1 => Just(Reply::Never),
        1 => Just(Reply::Reset),
        1 => Just(Reply::Hang),
        1 => select(vec![200, 500]).prop_map(|status| Reply::Torn { status }),
        1 => Just(Reply::Garbage),
        1 => Just(Reply::CloseAfter),
        1 => (select(vec![200, 500]), 1..=50_u64).prop_map(|(status, every_ms)| Reply::Trickle { status, every_ms }),
        1 => (1_000..=100_000_u32).prop_map(|bytes| Reply::Large { bytes }),
    ]
}

fn poison() -> impl Strategy<Value = Poison> {
    select(vec![Poison::Garbage, Poison::NoUrl, Poison::Scheme])
}

fn hook() -> impl Strategy<Value = HookSpec> {
    prop_oneof![
        Just(HookSpec::PanicAfter),
        Just(HookSpec::Drop),
        Just(HookSpec::Bury),
        (10..=20_000_u64).prop_map(|ms| HookSpec::PutOff { ms }),
        (1..=3_u32).prop_map(|until| HookSpec::Panic { until }),
        (1..=2_u32).prop_map(|until| HookSpec::Hang { until }),
    ]
}

/// At most `most` faults of these hosts, in the order in which they begin; all of them have ended at `heal_at_ms`.
pub fn faults(world: &WorldSpec, heal_at_ms: u64, most: usize) -> impl Strategy<Value = Vec<Fault>> + use<> {
    vec(fault(world, heal_at_ms), 0..=most).prop_map(|mut faults| {
        faults.sort_by_key(|fault| fault.at_ms);
        faults
    })
}

/// One fault of these hosts.
pub fn fault(world: &WorldSpec, heal_at_ms: u64) -> impl Strategy<Value = Fault> + use<> {
    let first = FIRST_MS.min(heal_at_ms);
    (first..=heal_at_ms, 10..=(heal_at_ms / 4).max(10), kind(world)).prop_map(move |(at_ms, for_ms, kind)| {
        let for_ms = if kind.lasts() { for_ms.min(heal_at_ms - at_ms) } else { 0 };
        Fault { at_ms, for_ms, kind }
    })
}

/// Any kind of fault that these hosts can have; the plainest first.
fn kind(world: &WorldSpec) -> impl Strategy<Value = FaultKind> + use<> {
    let mut all = vec![of_hosts(world), of_links(world), of_clients(world), of_confirms()];
    if world.broker.nodes == 3 {
        all.push(Just(FaultKind::LeaderChange).boxed());
    }
    if world.broker.engine == Engine::Embedded {
        all.push(of_disks());
    }
    proptest::strategy::Union::new(all)
}

fn of_hosts(world: &WorldSpec) -> BoxedStrategy<FaultKind> {
    let how = select(vec![Down::Kill, Down::Power]);
    let steps =
        [Step::Delivered, Step::Sent, Step::Answered, Step::PublishAsked, Step::PublishConfirmed, Step::AckAsked];
    let (one, clocked) = (host(world), host(world));
    prop_oneof![
        (one.clone(), how).prop_map(|(host, how)| FaultKind::Down { host, how }),
        (dispatcher(world), select(steps.to_vec())).prop_map(|(host, step)| FaultKind::KillAt { host, step }),
        one.prop_map(|host| FaultKind::Freeze { host }),
        (executor(world), 1..=1000_u32, exec()).prop_map(|(host, per_mille, exec)| FaultKind::Executor {
            host,
            per_mille,
            exec
        }),
        (executor(world), 1..=100_u32, 0..=2_000_u64).prop_map(|(host, times, ms)| FaultKind::Sluggish {
            host,
            times,
            ms
        }),
        (clocked.clone(), -5_000..=5_000_i64).prop_map(|(host, ms)| FaultKind::ClockJump { host, ms }),
        (clocked, -10_000..=10_000_i64).prop_map(|(host, ppm)| FaultKind::ClockDrift { host, ppm }),
    ]
    .boxed()
}

fn of_links(world: &WorldSpec) -> BoxedStrategy<FaultKind> {
    let link = || link(world);
    prop_oneof![
        (link(), any::<bool>()).prop_map(|((one, other), one_way)| FaultKind::Cut { one, other, one_way }),
        link().prop_map(|(one, other)| FaultKind::Reset { one, other }),
        link().prop_map(|(one, other)| FaultKind::Hold { one, other }),
        (link(), 1..=500_u32).prop_map(|((one, other), ms)| FaultKind::Slow { one, other, ms }),
        (link(), 1..=500_u32).prop_map(|((one, other), per_mille)| FaultKind::Loss { one, other, per_mille }),
    ]
    .boxed()
}

fn of_clients(world: &WorldSpec) -> BoxedStrategy<FaultKind> {
    let lane = 0..world.dispatcher.lanes.len().max(1);
    let client = prop_oneof![dispatcher(world), producer(world)];
    prop_oneof![
        client.prop_map(|host| FaultKind::CloseConnection { host }),
        (dispatcher(world), lane.clone()).prop_map(|(host, lane)| FaultKind::CancelConsumer { host, lane }),
        (dispatcher(world), 100..=10_000_u64).prop_map(|(host, grace_ms)| FaultKind::Drain { host, grace_ms }),
        (dispatcher(world), lane).prop_map(|(host, lane)| FaultKind::Pause { host, lane }),
        (dispatcher(world), 1..=20_u32).prop_map(|(host, slots_max)| FaultKind::Reconfigure { host, slots_max }),
    ]
    .boxed()
}

fn of_confirms() -> BoxedStrategy<FaultKind> {
    prop_oneof![
        Just(FaultKind::Alarm),
        (1..=5_000_u64).prop_map(|ms| FaultKind::ConfirmLate { ms }),
        (1..=500_u32).prop_map(|per_mille| FaultKind::ConfirmNack { per_mille }),
        (1..=500_u32).prop_map(|per_mille| FaultKind::ConfirmNever { per_mille }),
    ]
    .boxed()
}

fn of_disks() -> BoxedStrategy<FaultKind> {
    prop_oneof![
        Just(FaultKind::DiskFull),
        (1..=300_u32).prop_map(|per_mille| FaultKind::DiskReadErrors { per_mille }),
        (1..=2_000_u64).prop_map(|ms| FaultKind::DiskSlow { ms }),
    ]
    .boxed()
}

fn dispatcher(world: &WorldSpec) -> BoxedStrategy<Host> {
    (1..=world.dispatchers).prop_map(Host::Dispatcher).boxed()
}

fn executor(world: &WorldSpec) -> BoxedStrategy<Host> {
    (1..=world.executors).prop_map(Host::Executor).boxed()
}

fn producer(world: &WorldSpec) -> BoxedStrategy<Host> {
    (1..=world.producers).prop_map(Host::Producer).boxed()
}

fn broker(world: &WorldSpec) -> BoxedStrategy<Host> {
    (1..=world.broker.nodes).prop_map(Host::Broker).boxed()
}

fn host(world: &WorldSpec) -> BoxedStrategy<Host> {
    prop_oneof![dispatcher(world), broker(world), executor(world), producer(world)].boxed()
}

/// Two hosts that talk to each other, in either order.
fn link(world: &WorldSpec) -> BoxedStrategy<(Host, Host)> {
    let pairs = prop_oneof![
        (dispatcher(world), broker(world)),
        (dispatcher(world), executor(world)),
        (producer(world), broker(world)),
    ];
    (pairs, any::<bool>()).prop_map(|((one, other), turned)| if turned { (other, one) } else { (one, other) }).boxed()
}
