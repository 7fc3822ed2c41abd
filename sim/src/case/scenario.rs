//! Cases by name, each about one thing, written to be read. Swarms find more; these say what to look for.

use super::{
    BrokerSpec, Case, DispatcherSpec, Exec, Fault, FaultKind, LaneSpec, QueueKind, TaskSpec, VERSION, WorldSpec,
    fault::Step,
    spec::HookError,
    work::{HookSpec, Poison, Reply},
};
use crate::{
    host::Host::{self, Broker, Dispatcher, Executor, Producer},
    net::{Down, Weather},
};

/// A case that has a name.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// On the command line.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Makes it; the same each time. It passes [`Case::check`].
    pub case: fn() -> Case,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario { name: "quiet", about: "nothing goes wrong: each task is done once, in time", case: quiet },
    Scenario {
        name: "mixed_work",
        about: "delays, times to live, retries and bodies, without a fault",
        case: mixed_work,
    },
    Scenario {
        name: "broker_restart",
        about: "the broker's process dies, then its machine loses power",
        case: broker_restart,
    },
    Scenario { name: "leader_loss", about: "three nodes: the leader moves, dies, and comes back", case: leader_loss },
    Scenario {
        name: "two_dispatchers_one_dies",
        about: "the other takes over what it held",
        case: two_dispatchers_one_dies,
    },
    Scenario {
        name: "executor_outage",
        about: "one of two executors answers 503, then is not there at all",
        case: executor_outage,
    },
    Scenario {
        name: "cut_between_all",
        about: "every pair of hosts is cut, one way or both, one after the other",
        case: cut_between_all,
    },
    Scenario {
        name: "kill_between_settle_steps",
        about: "a dispatcher dies after each of its steps",
        case: kill_between_settle_steps,
    },
    Scenario {
        name: "clock_jumps",
        about: "clocks jump and drift while delays and times to live run",
        case: clock_jumps,
    },
    Scenario { name: "poison_flood", about: "every second message is no task", case: poison_flood },
    Scenario { name: "hooks_that_fail", about: "hooks panic, hang, drop, bury and put off", case: hooks_that_fail },
    Scenario {
        name: "slow_executor",
        about: "one executor is a hundred times slower; the other must not suffer",
        case: slow_executor,
    },
    Scenario {
        name: "drain_and_restart",
        about: "dispatchers are drained one after the other under load",
        case: drain_and_restart,
    },
    Scenario {
        name: "retry_after_storm",
        about: "429 and 503 with both forms of Retry-After, and Quebert-Retry",
        case: retry_after_storm,
    },
    Scenario {
        name: "confirms_never_come",
        about: "half of what is published is stored and never confirmed",
        case: confirms_never_come,
    },
    Scenario { name: "alarm", about: "the broker takes no publishes for a while, twice", case: alarm },
    Scenario { name: "priorities", about: "three lanes share two slots; the lowest may not starve", case: priorities },
    Scenario {
        name: "torn_answers",
        about: "resets, garbage, torn and trickled answers, closed connections",
        case: torn_answers,
    },
    Scenario {
        name: "pause_and_reconfigure",
        about: "a lane is paused and limits change while consumers are cancelled",
        case: pause_and_reconfigure,
    },
    Scenario { name: "everything", about: "a little of all of it at once", case: everything },
];

/// The scenario of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// A world of these sizes with nothing wrong.
pub(super) fn world(dispatchers: u8, executors: u8) -> WorldSpec {
    WorldSpec {
        dispatchers,
        executors,
        producers: 1,
        broker: BrokerSpec::default(),
        dispatcher: DispatcherSpec::default(),
        weather: Weather::default(),
    }
}

/// So many tasks, one each `every_ms`, over all lanes and executors in turn, each a little work.
fn tasks(world: &WorldSpec, number: u32, every_ms: u64) -> Vec<TaskSpec> {
    let lanes = u32::try_from(world.dispatcher.lanes.len()).expect("few lanes");
    let task = |no: u32| TaskSpec {
        lane: usize::try_from(no % lanes).expect("few lanes"),
        executor: u8::try_from(no % u32::from(world.executors) + 1).expect("few executors"),
        exec: vec![ok(u64::from(no % 7) * 10)],
        ..TaskSpec::new(no, u64::from(no - 1) * every_ms)
    };
    (1..=number).map(task).collect()
}

pub(super) fn case(world: WorldSpec, tasks: Vec<TaskSpec>, faults: Vec<Fault>, heal_at_ms: u64) -> Case {
    let mut case = Case {
        version: VERSION,
        name: String::new(),
        seed: 1,
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

pub(super) fn ok(after_ms: u64) -> Exec {
    reply(after_ms, Reply::Status(200))
}

pub(super) const fn reply(after_ms: u64, reply: Reply) -> Exec {
    Exec { after_ms, reply }
}

pub(super) const fn fault(at_ms: u64, for_ms: u64, kind: FaultKind) -> Fault {
    Fault { at_ms, for_ms, kind }
}

pub(super) const fn kill(host: Host) -> FaultKind {
    FaultKind::Down { host, how: Down::Kill }
}

pub(super) const fn power(host: Host) -> FaultKind {
    FaultKind::Down { host, how: Down::Power }
}

fn quiet() -> Case {
    let world = world(2, 2);
    let tasks = tasks(&world, 60, 100);
    case(world, tasks, vec![], 10_000)
}

fn mixed_work() -> Case {
    let world = world(2, 2);
    let mut tasks = tasks(&world, 60, 200);
    for task in &mut tasks {
        match task.no.0 % 6 {
            // Below a second the dispatcher holds it, above it the broker does.
            0 => task.delay_ms = Some(u64::from(task.no.0) * 150),
            1 => task.ttl_ms = Some(2_000),
            2 => task.exec = vec![reply(5, Reply::Status(500)), reply(5, Reply::Status(502)), ok(5)],
            3 => task.body_bytes = task.no.0 * 1_000,
            4 => (task.max_attempts, task.exec) = (Some(2), vec![reply(5, Reply::Status(500))]),
            _ => (task.ttl_ms, task.exec) = (Some(3_000), vec![reply(5, Reply::Status(500))]),
        }
    }
    case(world, tasks, vec![], 40_000)
}

fn broker_restart() -> Case {
    let world = world(2, 2);
    let tasks = tasks(&world, 80, 250);
    let faults = vec![fault(5_000, 2_000, kill(Broker(1))), fault(12_000, 6_000, power(Broker(1)))];
    case(world, tasks, faults, 30_000)
}

fn leader_loss() -> Case {
    let mut world = world(2, 2);
    world.broker.nodes = 3;
    let tasks = tasks(&world, 80, 250);
    let faults = vec![
        fault(3_000, 0, FaultKind::LeaderChange),
        fault(7_000, 5_000, kill(Broker(1))),
        fault(14_000, 4_000, power(Broker(2))),
        fault(16_000, 0, FaultKind::LeaderChange),
    ];
    case(world, tasks, faults, 30_000)
}

fn two_dispatchers_one_dies() -> Case {
    let world = world(2, 2);
    let mut tasks = tasks(&world, 60, 200);
    tasks.iter_mut().for_each(|task| task.exec = vec![ok(400)]);
    let faults = vec![fault(3_000, 8_000, kill(Dispatcher(1))), fault(14_000, 5_000, power(Dispatcher(2)))];
    case(world, tasks, faults, 25_000)
}

fn executor_outage() -> Case {
    let world = world(2, 2);
    let tasks = tasks(&world, 80, 200);
    let outage = FaultKind::Executor { host: Executor(1), per_mille: 1000, exec: reply(2, Reply::Status(503)) };
    let faults = vec![fault(2_000, 6_000, outage), fault(10_000, 6_000, kill(Executor(1)))];
    case(world, tasks, faults, 25_000)
}

fn cut_between_all() -> Case {
    let world = world(2, 2);
    let tasks = tasks(&world, 120, 250);
    let pairs = [
        (Dispatcher(1), Broker(1)),
        (Dispatcher(2), Broker(1)),
        (Producer(1), Broker(1)),
        (Dispatcher(1), Executor(1)),
        (Dispatcher(1), Executor(2)),
        (Dispatcher(2), Executor(1)),
        (Dispatcher(2), Executor(2)),
    ];
    let cut = |(n, (one, other)): (u64, (Host, Host))| {
        let both = fault(2_000 + n * 5_000, 2_000, FaultKind::Cut { one, other, one_way: false });
        let back = fault(4_500 + n * 5_000, 2_000, FaultKind::Cut { one: other, other: one, one_way: true });
        [both, back]
    };
    let faults = (0..).zip(pairs).flat_map(cut).collect();
    case(world, tasks, faults, 45_000)
}

fn kill_between_settle_steps() -> Case {
    let world = world(2, 1);
    let mut tasks = tasks(&world, 90, 200);
    // Every second one is moved, so that there are publishes to die after.
    for task in tasks.iter_mut().filter(|task| task.no.0 % 2 == 0) {
        task.exec = vec![reply(20, Reply::Status(500)), reply(20, Reply::Status(503)), ok(20)];
    }
    let steps =
        [Step::Delivered, Step::Sent, Step::Answered, Step::PublishAsked, Step::PublishConfirmed, Step::AckAsked];
    let kill =
        |(n, step): (u64, Step)| fault(1_000 + n * 4_000, 1_500, FaultKind::KillAt { host: Dispatcher(1), step });
    let faults = (0..).zip(steps).map(kill).collect();
    case(world, tasks, faults, 30_000)
}

fn clock_jumps() -> Case {
    let mut world = world(3, 1);
    world.dispatcher.bury_expired = false;
    let mut tasks = tasks(&world, 60, 300);
    for task in &mut tasks {
        match task.no.0 % 3 {
            0 => task.delay_ms = Some(3_000),
            1 => task.ttl_ms = Some(4_000),
            _ => task.exec = vec![reply(5, Reply::Status(500)), ok(5)],
        }
    }
    let faults = vec![
        fault(2_000, 0, FaultKind::ClockJump { host: Dispatcher(1), ms: 3_000 }),
        fault(5_000, 0, FaultKind::ClockJump { host: Dispatcher(2), ms: -2_000 }),
        fault(6_000, 10_000, FaultKind::ClockDrift { host: Dispatcher(3), ppm: 10_000 }),
        fault(9_000, 0, FaultKind::ClockJump { host: Producer(1), ms: -1_500 }),
        fault(12_000, 0, FaultKind::ClockJump { host: Dispatcher(1), ms: -5_000 }),
    ];
    case(world, tasks, faults, 25_000)
}

fn poison_flood() -> Case {
    let world = world(2, 1);
    let mut tasks = tasks(&world, 80, 50);
    let kinds = [Poison::Garbage, Poison::NoUrl, Poison::Scheme];
    for (n, task) in tasks.iter_mut().step_by(2).enumerate() {
        task.poison = Some(kinds[n % kinds.len()]);
    }
    let faults = vec![fault(1_500, 1_000, kill(Dispatcher(1))), fault(2_000, 500, kill(Broker(1)))];
    case(world, tasks, faults, 10_000)
}

fn hooks_that_fail() -> Case {
    let mut world = world(2, 1);
    world.dispatcher.mediator = true;
    world.dispatcher.hook_error = HookError::PutOff;
    world.dispatcher.hook_timeout_ms = 500;
    let mut tasks = tasks(&world, 70, 150);
    for task in &mut tasks {
        let hook = match task.no.0 % 7 {
            0 => HookSpec::Drop,
            1 => HookSpec::PutOff { ms: 1_500 },
            2 => HookSpec::Panic { until: 1 },
            3 => HookSpec::Hang { until: 1 },
            4 => HookSpec::Bury,
            5 => HookSpec::PanicAfter,
            _ => continue,
        };
        task.hook = Some(hook);
        // A hook that always fails puts its task off until it expires.
        task.ttl_ms = matches!(hook, HookSpec::Panic { .. } | HookSpec::Hang { .. }).then_some(6_000);
    }
    case(world, tasks, vec![fault(5_000, 2_000, kill(Dispatcher(2)))], 20_000)
}

fn slow_executor() -> Case {
    let mut world = world(1, 2);
    world.dispatcher.lanes = vec![LaneSpec { window: 20, ..LaneSpec::named("high", 1) }];
    world.dispatcher.window_share = 50;
    let tasks = tasks(&world, 120, 100);
    let faults = vec![fault(2_000, 8_000, FaultKind::Sluggish { host: Executor(1), times: 100, ms: 1_000 })];
    case(world, tasks, faults, 20_000)
}

fn drain_and_restart() -> Case {
    let world = world(2, 2);
    let mut tasks = tasks(&world, 120, 150);
    tasks.iter_mut().for_each(|task| task.exec = vec![ok(300)]);
    let drain = |host, grace_ms| FaultKind::Drain { host, grace_ms };
    let faults = vec![
        fault(3_000, 3_000, drain(Dispatcher(1), 2_000)),
        fault(7_000, 3_000, drain(Dispatcher(2), 2_000)),
        // Too short for what is under way.
        fault(12_000, 3_000, drain(Dispatcher(1), 100)),
    ];
    case(world, tasks, faults, 25_000)
}

fn retry_after_storm() -> Case {
    let mut world = world(2, 2);
    world.dispatcher.lanes.iter_mut().for_each(|lane| lane.retry_after_max_ms = 8_000);
    let mut tasks = tasks(&world, 60, 100);
    for task in &mut tasks {
        let answer = match task.no.0 % 5 {
            0 => Reply::RetryAfter { status: 429, seconds: 3, date: false },
            1 => Reply::RetryAfter { status: 503, seconds: 5, date: true },
            2 => Reply::After { seconds: 2 },
            // Beyond the cap.
            3 => Reply::RetryAfter { status: 429, seconds: 60, date: false },
            _ => Reply::Never,
        };
        task.exec = vec![reply(5, answer.clone()), reply(5, answer), ok(5)];
    }
    case(world, tasks, vec![], 40_000)
}

fn confirms_never_come() -> Case {
    let world = world(2, 1);
    let mut tasks = tasks(&world, 50, 200);
    for task in tasks.iter_mut().filter(|task| task.no.0 % 2 == 0) {
        task.exec = vec![reply(5, Reply::Status(500)), ok(5)];
    }
    let faults = vec![
        fault(2_000, 8_000, FaultKind::ConfirmNever { per_mille: 500 }),
        fault(12_000, 4_000, FaultKind::ConfirmNack { per_mille: 500 }),
        fault(14_000, 4_000, FaultKind::ConfirmLate { ms: 2_000 }),
    ];
    case(world, tasks, faults, 25_000)
}

fn alarm() -> Case {
    let world = world(2, 1);
    let mut tasks = tasks(&world, 60, 200);
    for task in tasks.iter_mut().filter(|task| task.no.0 % 3 == 0) {
        task.exec = vec![reply(5, Reply::Status(500)), ok(5)];
    }
    let faults = vec![fault(2_000, 4_000, FaultKind::Alarm), fault(8_000, 3_000, FaultKind::Alarm)];
    case(world, tasks, faults, 20_000)
}

fn priorities() -> Case {
    let mut world = world(1, 1);
    let lane = |name, priority| LaneSpec { slots_own: 0, slots_max: 2, window: 20, ..LaneSpec::named(name, priority) };
    world.dispatcher.lanes = vec![lane("high", 3), lane("medium", 2), lane("low", 1)];
    world.dispatcher.slots_shared = 2;
    world.dispatcher.pass_over_max = Some(4);
    // More than two slots can do, from the first moment.
    let mut tasks = tasks(&world, 150, 10);
    tasks.iter_mut().for_each(|task| task.exec = vec![ok(50)]);
    case(world, tasks, vec![], 10_000)
}

fn torn_answers() -> Case {
    let world = world(2, 2);
    let mut tasks = tasks(&world, 80, 100);
    for task in &mut tasks {
        let answer = match task.no.0 % 8 {
            0 => Reply::Reset,
            1 => Reply::Torn { status: 200 },
            2 => Reply::Garbage,
            3 => Reply::Trickle { status: 200, every_ms: 20 },
            4 => Reply::CloseAfter,
            5 => Reply::Hang,
            6 => Reply::Large { bytes: 200_000 },
            _ => continue,
        };
        task.exec = vec![reply(10, answer), ok(5)];
    }
    let faults = vec![fault(4_000, 0, FaultKind::Reset { one: Dispatcher(1), other: Executor(1) })];
    case(world, tasks, faults, 25_000)
}

fn pause_and_reconfigure() -> Case {
    let mut world = world(2, 1);
    world.broker.queues = QueueKind::Classic;
    let tasks = tasks(&world, 100, 150);
    let faults = vec![
        fault(2_000, 4_000, FaultKind::Pause { host: Dispatcher(1), lane: 0 }),
        fault(3_000, 5_000, FaultKind::Reconfigure { host: Dispatcher(2), slots_max: 1 }),
        fault(5_000, 0, FaultKind::CancelConsumer { host: Dispatcher(2), lane: 1 }),
        fault(7_000, 0, FaultKind::CloseConnection { host: Dispatcher(1) }),
        fault(9_000, 3_000, FaultKind::Pause { host: Dispatcher(2), lane: 2 }),
    ];
    case(world, tasks, faults, 20_000)
}

fn everything() -> Case {
    let mut world = world(3, 3);
    world.broker.nodes = 3;
    world.producers = 2;
    world.dispatcher.mediator = true;
    world.dispatcher.hook_error = HookError::Send;
    world.dispatcher.slots_shared = 2;
    world.weather = Weather { latency_min_ms: 1, latency_max_ms: 10, yields_per_mille: 50 };
    let mut tasks = tasks(&world, 150, 250);
    for task in &mut tasks {
        task.producer = u8::try_from(task.no.0 % 2 + 1).expect("one of two");
        match task.no.0 % 10 {
            0 => task.delay_ms = Some(4_000),
            1 => task.ttl_ms = Some(5_000),
            2 => task.exec = vec![reply(5, Reply::Status(500)), ok(5)],
            3 => task.exec = vec![reply(5, Reply::RetryAfter { status: 429, seconds: 2, date: true }), ok(5)],
            4 => task.exec = vec![reply(5, Reply::Torn { status: 200 }), reply(5, Reply::Hang), ok(5)],
            5 => task.poison = (task.no.0 % 20 == 5).then_some(Poison::Garbage),
            6 => task.hook = Some(HookSpec::Panic { until: 1 }),
            7 => (task.max_attempts, task.exec) = (Some(2), vec![reply(5, Reply::Status(500))]),
            _ => {}
        }
    }
    let faults = vec![
        fault(3_000, 3_000, FaultKind::Cut { one: Dispatcher(1), other: Broker(1), one_way: true }),
        fault(5_000, 4_000, FaultKind::Loss { one: Dispatcher(2), other: Executor(1), per_mille: 200 }),
        fault(8_000, 2_000, kill(Broker(1))),
        fault(11_000, 5_000, FaultKind::Freeze { host: Dispatcher(3) }),
        fault(13_000, 2_000, FaultKind::KillAt { host: Dispatcher(1), step: Step::PublishConfirmed }),
        fault(15_000, 0, FaultKind::ClockJump { host: Dispatcher(2), ms: 2_000 }),
        fault(17_000, 4_000, FaultKind::ConfirmNever { per_mille: 200 }),
        fault(20_000, 2_000, kill(Producer(2))),
        fault(
            23_000,
            4_000,
            FaultKind::Executor { host: Executor(2), per_mille: 600, exec: reply(5, Reply::Status(503)) },
        ),
        fault(26_000, 3_000, FaultKind::Drain { host: Dispatcher(2), grace_ms: 1_000 }),
        fault(30_000, 3_000, FaultKind::Hold { one: Dispatcher(1), other: Broker(2) }),
        fault(33_000, 2_000, power(Executor(3))),
    ];
    case(world, tasks, faults, 45_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_scenario_is_sound_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for scenario in ALL {
            assert_eq!((scenario.case)().check(), Ok(()), "{}", scenario.name);
            assert!(names.insert(scenario.name), "{} is there twice", scenario.name);
            assert_eq!(named(scenario.name).map(|found| found.about), Some(scenario.about));
        }
    }
}
