//! What goes wrong in a swarm's case: families of faults, each on or off, few and long or many and short.

use super::{Mood, log_between};
use crate::{
    case::{Engine, Exec, Fault, FaultKind, WorldSpec, fault::Step, work::Reply},
    draw::Draw,
    host::Host,
    net::Down,
};

/// The most faults of one family: long ones, and short ones.
const MOST: (u64, u64) = (2, 5);
/// The longest of the short ones, in milliseconds.
const SHORT_MS: u64 = 3_000;
/// How far a clock jumps at most, in milliseconds, and how much it drifts at most, in millionths.
const CLOCK: (u64, u64) = (5_000, 10_000);

pub(super) fn faults(draw: Draw, world: &WorldSpec, heal_at_ms: u64) -> Vec<Fault> {
    let mood = Mood::new(draw);
    let mut faults = Vec::new();
    for family in FAMILIES.into_iter().filter(|family| family.fits(world) && mood.has(family.name)) {
        let draw = draw.of(family.name);
        let long = draw.of("long").chance(500);
        let number = draw.of("number").between(1, if long { MOST.0 } else { MOST.1 });
        let most_ms = if long { heal_at_ms / 4 } else { SHORT_MS.min(heal_at_ms / 4) };
        for nth in 0..number {
            let draw = draw.at(nth);
            let kind = (family.make)(draw, world);
            let for_ms = if kind.lasts() { log_between(draw.of("for"), 10, most_ms.max(10)) } else { 0 };
            // None begins in the first moment, when nobody is connected yet, and most end by themselves.
            let at_ms = draw.of("at").between(100.min(heal_at_ms), heal_at_ms);
            faults.push(Fault { at_ms, for_ms: for_ms.min(heal_at_ms - at_ms), kind });
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// One family of faults.
#[derive(Clone, Copy)]
struct Family {
    name: &'static str,
    needs: Needs,
    make: fn(Draw, &WorldSpec) -> FaultKind,
}

/// What a world must have for a family.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    ThreeNodes,
    Embedded,
}

impl Family {
    const fn new(name: &'static str, make: fn(Draw, &WorldSpec) -> FaultKind) -> Self {
        Self { name, needs: Needs::Nothing, make }
    }

    const fn needing(needs: Needs, name: &'static str, make: fn(Draw, &WorldSpec) -> FaultKind) -> Self {
        Self { name, needs, make }
    }

    fn fits(&self, world: &WorldSpec) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::ThreeNodes => world.broker.nodes == 3,
            Needs::Embedded => world.broker.engine == Engine::Embedded,
        }
    }
}

/// All of them. Their order is part of no draw.
const FAMILIES: [Family; 27] = [
    Family::new("broker down", |d, w| FaultKind::Down { host: broker(d, w), how: how(d) }),
    Family::new("dispatcher down", |d, w| FaultKind::Down { host: dispatcher(d, w), how: how(d) }),
    Family::new("executor down", |d, w| FaultKind::Down { host: executor(d, w), how: how(d) }),
    Family::new("producer down", |d, w| FaultKind::Down { host: producer(d, w), how: how(d) }),
    Family::new("kill at", |d, w| FaultKind::KillAt { host: dispatcher(d, w), step: pick(d.of("step"), &STEPS) }),
    Family::new("freeze", |d, w| FaultKind::Freeze { host: any(d, w) }),
    Family::new("cut", |d, w| {
        let (one, other) = link(d, w);
        FaultKind::Cut { one, other, one_way: d.of("one way").chance(400) }
    }),
    Family::new("hold", |d, w| {
        let (one, other) = link(d, w);
        FaultKind::Hold { one, other }
    }),
    Family::new("slow", |d, w| {
        let (one, other) = link(d, w);
        FaultKind::Slow { one, other, ms: small(log_between(d.of("ms"), 5, 500)) }
    }),
    Family::new("loss", |d, w| {
        let (one, other) = link(d, w);
        FaultKind::Loss { one, other, per_mille: small(log_between(d.of("per mille"), 10, 500)) }
    }),
    Family::new("reset", |d, w| {
        let (one, other) = link(d, w);
        FaultKind::Reset { one, other }
    }),
    Family::new("outage", |d, w| {
        let exec = Exec { after_ms: d.of("after").between(0, 20), reply: Reply::Status(503) };
        FaultKind::Executor { host: executor(d, w), per_mille: 1000, exec }
    }),
    Family::new("wrong answers", |d, w| {
        let exec = Exec { after_ms: d.of("after").between(0, 50), reply: wrong(d.of("wrong")) };
        FaultKind::Executor { host: executor(d, w), per_mille: small(log_between(d.of("per mille"), 30, 900)), exec }
    }),
    Family::new("sluggish", |d, w| {
        let times = pick(d.of("times"), &[1, 2, 10, 100]);
        FaultKind::Sluggish { host: executor(d, w), times, ms: log_between(d.of("ms"), 1, 5_000) }
    }),
    Family::new("clock jump", |d, w| {
        let ms = signed(d.of("back"), log_between(d.of("ms"), 50, CLOCK.0));
        FaultKind::ClockJump { host: clocked(d, w), ms }
    }),
    Family::new("clock drift", |d, w| {
        let ppm = signed(d.of("back"), log_between(d.of("ppm"), 100, CLOCK.1));
        FaultKind::ClockDrift { host: clocked(d, w), ppm }
    }),
    Family::new("alarm", |_, _| FaultKind::Alarm),
    Family::new("confirms late", |d, _| FaultKind::ConfirmLate { ms: log_between(d.of("ms"), 50, 5_000) }),
    Family::new("confirms never", |d, _| FaultKind::ConfirmNever {
        per_mille: small(log_between(d.of("per mille"), 20, 500)),
    }),
    Family::new("refusals", |d, _| FaultKind::ConfirmNack {
        per_mille: small(log_between(d.of("per mille"), 20, 500)),
    }),
    Family::new("connection closed", |d, w| FaultKind::CloseConnection { host: client(d, w) }),
    Family::new("consumer cancelled", |d, w| FaultKind::CancelConsumer { host: dispatcher(d, w), lane: lane(d, w) }),
    Family::needing(Needs::ThreeNodes, "leader change", |_, _| FaultKind::LeaderChange),
    Family::new("drain", |d, w| FaultKind::Drain {
        host: dispatcher(d, w),
        grace_ms: log_between(d.of("grace"), 100, 10_000),
    }),
    Family::new("pause", |d, w| FaultKind::Pause { host: dispatcher(d, w), lane: lane(d, w) }),
    Family::new("reconfigure", |d, w| FaultKind::Reconfigure {
        host: dispatcher(d, w),
        slots_max: pick(d.of("slots"), &[1, 2, 5, 50]),
    }),
    Family::needing(Needs::Embedded, "disk", |d, _| match d.of("disk").below(3) {
        0 => FaultKind::DiskFull,
        1 => FaultKind::DiskReadErrors { per_mille: small(log_between(d.of("per mille"), 10, 300)) },
        _ => FaultKind::DiskSlow { ms: log_between(d.of("ms"), 10, 2_000) },
    }),
];

const STEPS: [Step; 6] =
    [Step::Delivered, Step::Sent, Step::Answered, Step::PublishAsked, Step::PublishConfirmed, Step::AckAsked];

fn pick<T: Copy>(draw: Draw, all: &[T]) -> T {
    *draw.one_of(all).expect("there are some")
}

fn small(n: u64) -> u32 {
    u32::try_from(n).expect("drawn small")
}

fn signed(draw: Draw, n: u64) -> i64 {
    let n = i64::try_from(n).expect("drawn small");
    if draw.chance(500) { -n } else { n }
}

fn how(draw: Draw) -> Down {
    if draw.of("power").chance(300) { Down::Power } else { Down::Kill }
}

fn nth(draw: Draw, number: u8) -> u8 {
    u8::try_from(draw.between(1, number.into())).expect("at most a byte")
}

fn broker(draw: Draw, world: &WorldSpec) -> Host {
    Host::Broker(nth(draw.of("broker"), world.broker.nodes))
}

fn dispatcher(draw: Draw, world: &WorldSpec) -> Host {
    Host::Dispatcher(nth(draw.of("dispatcher"), world.dispatchers))
}

fn executor(draw: Draw, world: &WorldSpec) -> Host {
    Host::Executor(nth(draw.of("executor"), world.executors))
}

fn producer(draw: Draw, world: &WorldSpec) -> Host {
    Host::Producer(nth(draw.of("producer"), world.producers))
}

fn any(draw: Draw, world: &WorldSpec) -> Host {
    match draw.of("role").below(5) {
        0 => broker(draw, world),
        1 => producer(draw, world),
        2 => executor(draw, world),
        _ => dispatcher(draw, world),
    }
}

/// A host whose clock matters.
fn clocked(draw: Draw, world: &WorldSpec) -> Host {
    match draw.of("role").below(4) {
        0 => producer(draw, world),
        1 => executor(draw, world),
        _ => dispatcher(draw, world),
    }
}

fn client(draw: Draw, world: &WorldSpec) -> Host {
    if draw.of("role").chance(250) { producer(draw, world) } else { dispatcher(draw, world) }
}

/// Two hosts that talk to each other, in either order.
fn link(draw: Draw, world: &WorldSpec) -> (Host, Host) {
    let (one, other) = match draw.of("link").below(5) {
        0 | 1 => (dispatcher(draw, world), broker(draw, world)),
        2 | 3 => (dispatcher(draw, world), executor(draw, world)),
        _ => (producer(draw, world), broker(draw, world)),
    };
    if draw.of("turned").chance(500) { (other, one) } else { (one, other) }
}

fn lane(draw: Draw, world: &WorldSpec) -> usize {
    usize::try_from(draw.of("lane").below(world.dispatcher.lanes.len() as u64)).expect("few lanes")
}

fn wrong(draw: Draw) -> Reply {
    let seconds = small(log_between(draw.of("seconds"), 1, 30));
    match draw.of("reply").below(12) {
        0 => Reply::Hang,
        1 => Reply::Reset,
        2 => Reply::Torn { status: 200 },
        3 => Reply::Garbage,
        4 => Reply::RetryAfter { status: 429, seconds, date: false },
        5 => Reply::RetryAfter { status: 503, seconds, date: true },
        6 => Reply::After { seconds },
        7 => Reply::CloseAfter,
        8 => Reply::Trickle { status: 500, every_ms: draw.of("every").between(1, 200) },
        9 => Reply::Status(404),
        _ => Reply::Status(500),
    }
}
