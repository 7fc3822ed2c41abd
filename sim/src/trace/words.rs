//! A case in words, for people: hosts, tasks, faults, a line each. No data is read back from it.

use crate::{
    case::{
        Case, Engine, Exec, Fault, FaultKind, QueueKind, TaskSpec,
        fault::Step,
        work::{HookSpec, Poison, Reply},
    },
    net::Down,
};
use std::fmt::Write as _;

/// A whole case.
pub fn case(case: &Case) -> String {
    let mut text = summary(case);
    for task in &case.tasks {
        let _ = write!(text, "\n  {}", self::task(case, task));
    }
    for (index, fault) in case.faults.iter().enumerate() {
        let _ = write!(text, "\n  #{index} {}", self::fault(case, fault));
    }
    let _ = write!(text, "\n  everything heals at {}", seconds(case.heal_at_ms));
    text
}

/// Hosts and numbers, in one line.
pub fn summary(case: &Case) -> String {
    let world = &case.world;
    let mut text = String::new();
    if !case.name.is_empty() {
        let _ = write!(text, "{}: ", case.name);
    }
    let broker = match (world.broker.engine, world.broker.queues) {
        (Engine::Embedded, _) => "an embedded broker".to_owned(),
        (Engine::Rabbit, QueueKind::Quorum) => format!("a broker of {} with quorum queues", nodes(world.broker.nodes)),
        (Engine::Rabbit, QueueKind::Classic) => {
            format!("a broker of {} with classic queues", nodes(world.broker.nodes))
        }
    };
    let _ = write!(
        text,
        "{}, {}, {}, {broker}, {}, {}",
        plural(world.dispatchers.into(), "dispatcher"),
        plural(world.executors.into(), "executor"),
        plural(world.producers.into(), "producer"),
        plural(case.tasks.len(), "task"),
        plural(case.faults.len(), "fault"),
    );
    text
}

fn nodes(number: u8) -> String {
    plural(number.into(), "node")
}

/// A task: when, where, for whom, and what becomes of its attempts.
pub fn task(case: &Case, task: &TaskSpec) -> String {
    let lane = case.world.dispatcher.lanes.get(task.lane).map_or("?", |lane| lane.name.as_str());
    let mut text = format!("{} at {} into {lane}, for executor-{}", task.no, seconds(task.at_ms), task.executor);
    if let Some(ms) = task.delay_ms {
        let _ = write!(text, ", not before {} later", seconds(ms));
    }
    if let Some(ms) = task.ttl_ms {
        let _ = write!(text, ", lives {}", seconds(ms));
    }
    if let Some(most) = task.max_attempts {
        let _ = write!(text, ", at most {most} attempts");
    }
    match task.poison {
        Some(Poison::Garbage) => text.push_str(", which is garbage"),
        Some(Poison::NoUrl) => text.push_str(", without url"),
        Some(Poison::Scheme) => text.push_str(", of a forbidden scheme"),
        None => {}
    }
    match task.hook {
        Some(HookSpec::Drop) => text.push_str(", dropped by its hook"),
        Some(HookSpec::Bury) => text.push_str(", buried by its hook"),
        Some(HookSpec::PutOff { ms }) => {
            let _ = write!(text, ", put off by {} by its hook", seconds(ms));
        }
        Some(HookSpec::Panic { until }) => {
            let _ = write!(text, ", its hook panics up to attempt {until}");
        }
        Some(HookSpec::Hang { until }) => {
            let _ = write!(text, ", its hook hangs up to attempt {until}");
        }
        Some(HookSpec::PanicAfter) => text.push_str(", its hook panics after each attempt"),
        None => {}
    }
    if !task.exec.is_empty() {
        let all: Vec<_> = task.exec.iter().map(exec).collect();
        let _ = write!(text, ": {}", all.join("; then "));
    }
    text
}

fn exec(exec: &Exec) -> String {
    let reply = match exec.reply {
        Reply::Status(status) => format!("{status}"),
        Reply::RetryAfter { status, seconds, date } => {
            format!("{status} with Retry-After of {seconds} s{}", if date { " as a date" } else { "" })
        }
        Reply::Never => "Quebert-Retry: never".to_owned(),
        Reply::After { seconds } => format!("Quebert-Retry: after={seconds}"),
        Reply::Hang => "no answer".to_owned(),
        Reply::Reset => "a reset".to_owned(),
        Reply::Torn { status } => format!("a torn {status}"),
        Reply::Garbage => "something that is not HTTP".to_owned(),
        Reply::Large { bytes } => format!("200 with {bytes} bytes"),
        Reply::Trickle { status, every_ms } => format!("{status}, a byte every {every_ms} ms"),
        Reply::CloseAfter => "200, then the end of the connection".to_owned(),
    };
    format!("{reply} after {}", seconds(exec.after_ms))
}

/// A fault: when, how long, what.
pub fn fault(case: &Case, fault: &Fault) -> String {
    let what = fault_kind(case, &fault.kind);
    if fault.for_ms == 0 {
        format!("at {}: {what}", seconds(fault.at_ms))
    } else {
        format!("at {} for {}: {what}", seconds(fault.at_ms), seconds(fault.for_ms))
    }
}

/// What a fault does.
pub fn fault_kind(case: &Case, kind: &FaultKind) -> String {
    let lane = |index: usize| case.world.dispatcher.lanes.get(index).map_or("?", |lane| lane.name.as_str());
    match kind {
        FaultKind::Down { host, how: Down::Kill } => format!("{host} is killed"),
        FaultKind::Down { host, how: Down::Power } => format!("{host} loses power"),
        FaultKind::KillAt { host, step } => format!("{host} is killed {}", step_words(*step)),
        FaultKind::Freeze { host } => format!("{host} freezes"),
        FaultKind::Cut { one, other, one_way: false } => format!("nothing gets through between {one} and {other}"),
        FaultKind::Cut { one, other, one_way: true } => format!("nothing gets from {one} to {other}"),
        FaultKind::Hold { one, other } => format!("what is sent between {one} and {other} waits"),
        FaultKind::Slow { one, other, ms } => format!("{ms} ms more between {one} and {other}"),
        FaultKind::Loss { one, other, per_mille } => format!("{} lost between {one} and {other}", percent(*per_mille)),
        FaultKind::Reset { one, other } => format!("connections between {one} and {other} are reset"),
        FaultKind::Executor { host, per_mille, exec } => {
            format!("{host} answers {} with {}", percent(*per_mille), self::exec(exec))
        }
        FaultKind::Sluggish { host, times, ms } => format!("{host} takes {times} times as long and {ms} ms more"),
        FaultKind::ClockJump { host, ms } => format!("the clock of {host} jumps by {ms} ms"),
        FaultKind::ClockDrift { host, ppm } => format!("the clock of {host} gains {ppm} ms in 1,000 s"),
        FaultKind::Alarm => "the broker takes no publishes".to_owned(),
        FaultKind::ConfirmLate { ms } => format!("confirms come {ms} ms later"),
        FaultKind::ConfirmNever { per_mille } => format!("{} of confirms never come", percent(*per_mille)),
        FaultKind::ConfirmNack { per_mille } => format!("{} of publishes are refused", percent(*per_mille)),
        FaultKind::CloseConnection { host } => format!("the broker closes the connection of {host}"),
        FaultKind::CancelConsumer { host, lane: index } => {
            format!("the broker cancels {host}'s consumer of {}", lane(*index))
        }
        FaultKind::LeaderChange => "the leading node gives up leading".to_owned(),
        FaultKind::Drain { host, grace_ms } => format!("{host} drains within {}", seconds(*grace_ms)),
        FaultKind::Pause { host, lane: index } => format!("{} is paused at {host}", lane(*index)),
        FaultKind::Reconfigure { host, slots_max } => format!("{host} gets {slots_max} slots a lane"),
        FaultKind::DiskFull => "the broker's disk is full".to_owned(),
        FaultKind::DiskReadErrors { per_mille } => format!("{} of the disk's reads fail", percent(*per_mille)),
        FaultKind::DiskSlow { ms } => format!("the disk's syncs take {ms} ms more"),
    }
}

const fn step_words(step: Step) -> &'static str {
    match step {
        Step::Delivered => "right after a delivery",
        Step::Sent => "right after sending a request",
        Step::Answered => "right after an answer, before settling",
        Step::PublishAsked => "right after asking for a publish",
        Step::PublishConfirmed => "between a publish's confirm and the ack",
        Step::AckAsked => "right after asking for an ack",
    }
}

/// `1 fault`, `2 faults`.
pub fn plural(number: usize, one: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {one}{end}", count(number as u64))
}

/// A whole number with commas between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Of 1,000, as a percentage.
fn percent(per_mille: u32) -> String {
    if per_mille.is_multiple_of(10) {
        format!("{} %", per_mille / 10)
    } else {
        format!("{}.{} %", per_mille / 10, per_mille % 10)
    }
}

/// Milliseconds, as seconds.
fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{}.{:03} s", ms / 1000, ms % 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{case::TaskSpec, host::Host};

    #[test]
    fn thousands_are_parted() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(plural(1, "fault"), "1 fault");
        assert_eq!(plural(1200, "fault"), "1,200 faults");
    }

    #[test]
    fn a_case_reads_as_a_few_plain_lines() {
        let mut small = crate::case::swarm::case(1, crate::case::swarm::Size::default());
        small.name = "small".to_owned();
        small.tasks = vec![TaskSpec { ttl_ms: Some(1500), ..TaskSpec::new(3, 20) }];
        small.tasks[0].exec = vec![Exec { after_ms: 5, reply: Reply::Status(503) }];
        let kind = FaultKind::Loss { one: Host::Broker(1), other: Host::Dispatcher(1), per_mille: 125 };
        small.faults = vec![Fault { at_ms: 1000, for_ms: 500, kind }];
        small.heal_at_ms = 9000;
        let text = case(&small);
        let lane = &small.world.dispatcher.lanes[0].name;
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                format!("  t3 at 0.020 s into {lane}, for executor-1, lives 1.500 s: 503 after 0.005 s").as_str(),
                "  #0 at 1 s for 0.500 s: 12.5 % lost between broker-1 and dispatcher-1",
                "  everything heals at 9 s",
            ]
        );
    }
}
