//! Disasters: cases of two hours each, with one fault from minute 60 to minute 80 and a little work all the time, for
//! alerts and dashboards, which look at hours. `tests/disasters` says which alerts each sets off. They are no part of
//! [`scenario::ALL`](super::scenario::ALL), which is run again and again, in both worlds.

use super::{
    Case, FaultKind, LaneSpec, TaskSpec,
    scenario::{Scenario, case, fault, kill, ok, power, reply, world},
    work::{Poison, Reply},
};
use crate::host::Host::{Broker, Dispatcher, Executor};

/// When the fault begins: true time, in milliseconds.
pub const BEGINS_MS: u64 = 60 * MINUTE_MS;
/// When it ends.
pub const ENDS_MS: u64 = 80 * MINUTE_MS;
/// When the last task is published, and the case heals.
pub const HEALS_MS: u64 = 120 * MINUTE_MS;

const MINUTE_MS: u64 = 60_000;
/// Between two tasks.
const EVERY_MS: u64 = 1_000;

/// All of them, and at first the two hours without one.
pub const ALL: &[Scenario] = &[
    Scenario { name: "disaster_none", about: "two hours in which nothing goes wrong", case: none },
    Scenario {
        name: "disaster_executor_outage",
        about: "every executor answers 503 for 20 minutes of two hours",
        case: executor_outage,
    },
    Scenario {
        name: "disaster_dead_destination",
        about: "one of two executors loses power for 20 minutes of two hours",
        case: dead_destination,
    },
    Scenario {
        name: "disaster_broker_outage",
        about: "the broker is down for 20 minutes of two hours",
        case: broker_outage,
    },
    Scenario {
        name: "disaster_poison_flood",
        about: "for 20 minutes of two hours two messages in three are no tasks",
        case: poison_flood,
    },
    Scenario {
        name: "disaster_slow_hosts",
        about: "every executor takes 25 s longer for 20 minutes of two hours",
        case: slow_hosts,
    },
    Scenario {
        name: "disaster_dispatcher_loss",
        about: "one of two dispatchers loses power for 20 minutes of two hours",
        case: dispatcher_loss,
    },
];

/// Two dispatchers, two executors and two lanes, in which a task is given up after eight attempts, which takes two minutes.
fn usual(faults: Vec<FaultKind>) -> Case {
    let mut world = world(2, 2);
    let lane = |name, priority| LaneSpec {
        slots_own: 4,
        slots_max: 4,
        window: 8,
        attempt_timeout_ms: 30_000,
        backoff_min_ms: 1_000,
        backoff_max_ms: 60_000,
        max_attempts: Some(8),
        ..LaneSpec::named(name, priority)
    };
    world.dispatcher.lanes = vec![lane("high", 2), lane("low", 1)];
    let last = u32::try_from(HEALS_MS / EVERY_MS).expect("some thousand tasks");
    let faults = faults.into_iter().map(|kind| fault(BEGINS_MS, ENDS_MS - BEGINS_MS, kind)).collect();
    case(world, (1..=last).map(task).collect(), faults, HEALS_MS)
}

/// Every lane has tasks for every executor.
fn task(no: u32) -> TaskSpec {
    TaskSpec {
        lane: usize::from(!no.is_multiple_of(2)),
        executor: if (no / 2).is_multiple_of(2) { 1 } else { 2 },
        exec: vec![ok(u64::from(no % 7) * 10)],
        ..TaskSpec::new(no, u64::from(no - 1) * EVERY_MS)
    }
}

fn none() -> Case {
    usual(vec![])
}

fn executor_outage() -> Case {
    let refuses = |host| FaultKind::Executor { host, per_mille: 1000, exec: reply(2, Reply::Status(503)) };
    usual(vec![refuses(Executor(1)), refuses(Executor(2))])
}

fn dead_destination() -> Case {
    usual(vec![power(Executor(1))])
}

fn broker_outage() -> Case {
    usual(vec![kill(Broker(1))])
}

fn poison_flood() -> Case {
    let mut case = usual(vec![]);
    let usual = u32::try_from(case.tasks.len()).expect("some thousand tasks");
    let kinds = [Poison::Garbage, Poison::NoUrl, Poison::Scheme];
    let flood = (0..).zip((BEGINS_MS..ENDS_MS).step_by(500)).map(|(n, at_ms)| TaskSpec {
        poison: Some(kinds[n % kinds.len()]),
        lane: n % 2,
        ..TaskSpec::new(usual + 1 + u32::try_from(n).expect("some thousand"), at_ms)
    });
    case.tasks.extend(flood);
    case.settle_ms = case.settle_bound_ms();
    case
}

/// With eight slots a lane and 25 s an attempt, a lane gets a third of a task done in a second, and half of one comes.
fn slow_hosts() -> Case {
    let slow = |host| FaultKind::Sluggish { host, times: 1, ms: 25_000 };
    usual(vec![slow(Executor(1)), slow(Executor(2))])
}

fn dispatcher_loss() -> Case {
    usual(vec![power(Dispatcher(1))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_disaster_is_sound_and_has_a_name_that_no_scenario_has() {
        for disaster in ALL {
            assert_eq!((disaster.case)().check(), Ok(()), "{}", disaster.name);
            assert!(super::super::scenario::named(disaster.name).is_none(), "{} is there twice", disaster.name);
        }
    }
}
