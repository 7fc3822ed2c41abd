//! Shrinking, with promises that a test makes up: what is left still breaks the same one.

use super::*;
use crate::{
    case::{
        BrokerSpec, DispatcherSpec, Exec, Fault, FaultKind, LaneSpec, TaskSpec, VERSION, WorldSpec,
        work::{Poison, Reply},
    },
    history::TaskNo,
    host::Host,
    net::{Down, Weather},
};

/// Two hundred tasks of all kinds, forty faults, eleven hosts, three lanes.
fn large() -> Case {
    let mut lanes = vec![LaneSpec::named("high", 3), LaneSpec::named("medium", 2), LaneSpec::named("low", 1)];
    lanes[2].slots_own = 1;
    lanes[0].backoff_max_ms = 777;
    let task = |no: u32| TaskSpec {
        producer: 1 + u8::from(no.is_multiple_of(2)),
        lane: no as usize % 3,
        executor: 1 + (no % 5) as u8,
        ttl_ms: Some(40_000),
        body_bytes: no * 10,
        poison: no.is_multiple_of(50).then_some(Poison::Garbage),
        exec: vec![
            Exec { after_ms: 77, reply: Reply::Status(500) },
            Exec { after_ms: 1234, reply: Reply::RetryAfter { status: 429, seconds: 7, date: false } },
            Exec { after_ms: 5, reply: Reply::Hang },
        ],
        ..TaskSpec::new(no, 1_000 + u64::from(no) * 317)
    };
    let fault = |n: u64| Fault {
        at_ms: 2_000 + n * 900,
        for_ms: 3_000,
        kind: match n % 4 {
            0 => FaultKind::Down { host: Host::Dispatcher(1 + (n / 4 % 3) as u8), how: Down::Kill },
            1 => FaultKind::Cut { one: Host::Broker(2), other: Host::Executor(1 + (n % 5) as u8), one_way: true },
            2 => FaultKind::Pause { host: Host::Dispatcher(2), lane: n as usize / 4 % 3 },
            _ => FaultKind::ClockJump { host: Host::Executor(5), ms: -2_345 },
        },
    };
    Case {
        version: VERSION,
        name: String::new(),
        seed: 99,
        world: WorldSpec {
            dispatchers: 3,
            executors: 5,
            producers: 2,
            broker: BrokerSpec { nodes: 3, confirm_batch: 9, ..BrokerSpec::default() },
            dispatcher: DispatcherSpec { lanes, weighted: true, ..DispatcherSpec::default() },
            weather: Weather { latency_max_ms: 50, ..Weather::default() },
        },
        tasks: (1..=200).map(task).collect(),
        faults: (0..40).map(fault).collect(),
        heal_at_ms: 90_000,
        settle_ms: 60_000,
        least_ms: 0,
    }
}

fn shrunk(fails: impl FnMut(&Case) -> bool) -> Shrunk {
    let shrunk = shrink(&large(), fails, Limits::default()).unwrap();
    assert!(shrunk.done, "{} runs were not enough", shrunk.runs);
    shrunk
}

fn has(case: &Case, no: u32) -> bool {
    case.tasks.iter().any(|task| task.no == TaskNo(no))
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    assert_eq!(shrink(&large(), |_| false, Limits::default()), None);
}

#[test]
fn what_fails_without_anything_is_left_with_nothing() {
    let Shrunk { case, runs, .. } = shrunk(|_| true);
    assert_eq!(
        (case.tasks.len(), case.faults.len(), case.heal_at_ms),
        (0, 0, 1),
        "the end of a world is after its beginning"
    );
    let world = &case.world;
    assert_eq!((world.dispatchers, world.executors, world.producers, world.broker.nodes), (1, 1, 1, 1));
    assert_eq!((world.dispatcher.lanes.len(), world.dispatcher.weighted), (1, false));
    assert_eq!((world.broker.clone(), world.weather), (BrokerSpec::default(), Weather::default()));
    assert!(runs < 40, "{runs}");
}

#[test]
fn the_seed_and_the_time_to_settle_stay() {
    let Shrunk { case, .. } = shrunk(|_| true);
    assert_eq!((case.seed, case.settle_ms, case.version), (99, 60_000, VERSION));
}

#[test]
fn just_the_tasks_and_faults_that_matter_are_left() {
    let jumps = |case: &Case| case.faults.iter().filter(|f| matches!(f.kind, FaultKind::ClockJump { .. })).count();
    let Shrunk { case, runs, .. } = shrunk(|case| has(case, 17) && has(case, 190) && jumps(case) >= 2);
    let left: Vec<_> = case.tasks.iter().map(|task| task.no.0).collect();
    assert_eq!((left, case.faults.len()), (vec![17, 190], 2));
    assert!(runs < 400, "{runs}");
}

#[test]
fn hosts_close_up_and_faults_follow_them() {
    let down = |case: &Case| {
        let kill = |f: &Fault| matches!(f.kind, FaultKind::Down { host: Host::Dispatcher(_), .. });
        case.world.dispatchers >= 2 && case.faults.iter().any(kill)
    };
    let lane_of_three = |case: &Case| {
        let low = |task: &TaskSpec| case.world.dispatcher.lanes[task.lane].name == "low";
        case.tasks.iter().any(|task| task.no == TaskNo(20) && low(task))
    };
    let Shrunk { case, .. } = shrunk(|case| {
        for fault in &case.faults {
            if let FaultKind::Down { host: Host::Dispatcher(n), .. } = fault.kind {
                assert!(n <= case.world.dispatchers, "a fault names a host that is not there");
            }
        }
        assert!(case.tasks.iter().all(|task| task.executor <= case.world.executors));
        assert!(case.tasks.iter().all(|task| task.producer <= case.world.producers));
        assert!(case.tasks.iter().all(|task| task.lane < case.world.dispatcher.lanes.len()));
        down(case) && lane_of_three(case)
    });
    let world = &case.world;
    assert_eq!((world.dispatchers, world.executors, world.producers, world.broker.nodes), (2, 1, 1, 1));
    assert_eq!((case.tasks.len(), case.faults.len()), (1, 1));
    let lanes: Vec<_> = world.dispatcher.lanes.iter().map(|lane| lane.name.as_str()).collect();
    assert_eq!((lanes, case.tasks[0].lane), (vec!["low"], 0));
}

#[test]
fn a_lane_that_goes_takes_its_faults_along_and_the_others_close_up() {
    let paused = |case: &Case| {
        let low = |f: &Fault| matches!(f.kind, FaultKind::Pause { lane, .. } if case.world.dispatcher.lanes[lane].name == "low");
        case.faults.iter().any(low)
    };
    let Shrunk { case, .. } = shrunk(paused);
    assert!(matches!(case.faults[..], [Fault { kind: FaultKind::Pause { lane: 0, .. }, .. }]), "{:?}", case.faults);
    assert_eq!(case.world.dispatcher.lanes.len(), 1);
}

#[test]
fn only_the_settings_that_matter_differ_from_the_defaults() {
    let Shrunk { case, .. } = shrunk(|case| {
        let spec = &case.world.dispatcher;
        spec.weighted && spec.lanes.iter().any(|lane| lane.name == "high" && lane.backoff_max_ms == 777)
    });
    let lane = LaneSpec { backoff_max_ms: 777, ..LaneSpec::named("high", 3) };
    let expect = DispatcherSpec { lanes: vec![lane], weighted: true, ..DispatcherSpec::default() };
    assert_eq!(case.world.dispatcher, expect);
}

#[test]
fn tasks_lose_what_they_can_do_without_and_numbers_come_down() {
    let Shrunk { case, .. } = shrunk(|case| {
        case.tasks.iter().any(|task| {
            let asks = |exec: &Exec| matches!(exec.reply, Reply::RetryAfter { seconds, .. } if seconds >= 3);
            task.exec.iter().any(asks) && task.ttl_ms.is_some_and(|ttl| ttl >= 9_000) && task.at_ms >= 1_500
        })
    });
    let [task] = &case.tasks[..] else { panic!("{:?}", case.tasks) };
    let [Exec { after_ms: 0, reply: Reply::RetryAfter { seconds: 3..=4, .. } }] = task.exec[..] else {
        panic!("{:?}", task.exec)
    };
    assert!((9_000..=10_000).contains(&task.ttl_ms.unwrap()), "{:?}", task.ttl_ms);
    assert!((1_500..2_000).contains(&task.at_ms), "{}", task.at_ms);
    assert_eq!((task.body_bytes, task.poison), (0, None));
}

#[test]
fn the_story_moves_to_the_beginning_as_a_whole() {
    let apart = |case: &Case| {
        let fault = case.faults.iter().find(|f| matches!(f.kind, FaultKind::ClockJump { .. }))?;
        let task = case.tasks.iter().find(|task| task.no == TaskNo(60))?;
        Some(task.at_ms.checked_sub(fault.at_ms)? == 20_020 - 8_300 + 3_600 && fault.for_ms == 3_000)
    };
    let mut case = large();
    case.faults.retain(|f| f.at_ms == 4_700);
    case.tasks.retain(|task| task.no == TaskNo(60));
    let Shrunk { case, .. } = shrink(&case, |case| apart(case) == Some(true), Limits::default()).unwrap();
    assert_eq!((case.faults[0].at_ms, case.tasks[0].at_ms), (0, 15_320));
}

#[test]
fn a_limit_ends_the_search_with_the_best_so_far() {
    let mut runs = 0;
    let fails = |case: &Case| {
        runs += 1;
        has(case, 17)
    };
    let shrunk = shrink(&large(), fails, Limits { runs: 12, cpu: Duration::MAX }).unwrap();
    assert!(!shrunk.done && has(&shrunk.case, 17) && shrunk.case.tasks.len() < 200);
    assert_eq!((shrunk.runs, runs), (12, 12));
    let cpu = Duration::from_millis(1);
    // Takes as long as that by the clock that the limit goes by, which the kernel moves on in steps.
    let spin = |_: &Case| {
        let from = cpu_time();
        while !from.is_zero() && cpu_time().saturating_sub(from) < cpu {}
        true
    };
    let shrunk = shrink(&large(), spin, Limits { runs: u32::MAX, cpu }).unwrap();
    assert!(shrunk.runs <= 2 || cpu_time().is_zero(), "{}", shrunk.runs);
}

#[test]
fn what_needs_every_slot_taken_is_shown_with_one_slot() {
    let full = |case: &Case| {
        let spec = &case.world.dispatcher.lanes[0];
        case.tasks.iter().filter(|task| task.lane == 0).count() > spec.slots_max as usize
    };
    let Shrunk { case, .. } = shrunk(full);
    assert_eq!((case.tasks.len(), case.world.dispatcher.lanes[0].slots_max), (2, 1));
    assert_eq!(
        case.world.dispatcher.lanes[0].window,
        LaneSpec::named("high", 3).window,
        "what does not matter is plain"
    );
}

#[test]
fn what_needs_many_attempts_is_shown_with_few_tasks() {
    let attempts = |case: &Case| case.tasks.iter().map(|task| task.exec.len().max(1)).sum::<usize>();
    let Shrunk { case, .. } = shrunk(|case| attempts(case) >= 6);
    assert_eq!((case.tasks.len(), attempts(&case)), (1, 6));
}
