//! The tasks of a swarm's case: when they come, what they ask for, and what becomes of their attempts.

use super::{Mood, Size, log_between};
use crate::{
    case::{
        Exec, TaskSpec, WorldSpec,
        spec::HookError,
        work::{HookSpec, Poison, Reply},
    },
    draw::Draw,
    history::TaskNo,
};

pub(super) fn tasks(draw: Draw, mood: Mood, size: Size, world: &WorldSpec, heal_at_ms: u64) -> Vec<TaskSpec> {
    let most = u64::from(size.tasks.max(1));
    // By logarithm, so that small cases are as likely as large ones.
    let number = if size.exact { most } else { log_between(draw.of("number"), (most / 16).max(1), most) };
    let maker = Maker::new(draw, mood, world, heal_at_ms);
    (1..=number).map(|no| maker.task(u32::try_from(no).expect("at most size.tasks"))).collect()
}

/// How tasks come.
#[derive(Clone, Copy)]
enum Arrivals {
    /// Evenly, over most of the time.
    Spread,
    /// All at once.
    Burst,
    /// In so many bursts.
    Bursts(u64),
}

/// Makes tasks, each from its own number.
struct Maker<'a> {
    draw: Draw,
    mood: Mood,
    world: &'a WorldSpec,
    heal_at_ms: u64,
    arrivals: Arrivals,
    /// How long good work takes at most, in milliseconds.
    work_max_ms: u64,
}

impl<'a> Maker<'a> {
    fn new(draw: Draw, mood: Mood, world: &'a WorldSpec, heal_at_ms: u64) -> Self {
        let arrivals = match draw.of("arrivals").below(4) {
            0 => Arrivals::Burst,
            1 => Arrivals::Bursts(draw.of("bursts").between(2, 6)),
            _ => Arrivals::Spread,
        };
        let work_max_ms = *draw.of("work").one_of(&[10, 50, 300, 2_000]).expect("there are some");
        Self { draw, mood, world, heal_at_ms, arrivals, work_max_ms }
    }

    /// Whether this task is of those that a family marks.
    fn marked(&self, draw: Draw, family: &str) -> bool {
        draw.of("marked").of(family).chance(self.mood.strength(family))
    }

    fn task(&self, no: u32) -> TaskSpec {
        let draw = self.draw.of("task").at(no.into());
        let world = self.world;
        let lanes = world.dispatcher.lanes.len() as u64;
        // One lane and one executor may be much busier than the others.
        let (hot_lane, hot_executor) = (self.draw.of("hot lane"), self.draw.of("hot executor"));
        let lane = if self.marked(draw, "hot lane") { hot_lane.below(lanes) } else { draw.of("lane").below(lanes) };
        let executors = world.executors.into();
        let executor = if self.marked(draw, "hot executor") {
            hot_executor.below(executors)
        } else {
            draw.of("to").below(executors)
        };
        let byte = |n: u64| u8::try_from(n).expect("drawn below 256");
        let hook = (world.dispatcher.mediator && self.marked(draw, "hooks")).then(|| hook(draw.of("hook")));
        TaskSpec {
            no: TaskNo(no),
            at_ms: self.at_ms(draw.of("at")),
            producer: byte(draw.of("producer").between(1, world.producers.into())),
            lane: usize::try_from(lane).expect("few lanes"),
            executor: byte(executor + 1),
            delay_ms: self.marked(draw, "delays").then(|| log_between(draw.of("delay"), 10, 120_000)),
            ttl_ms: self.ttl_ms(draw, hook),
            max_attempts: self.marked(draw, "attempts").then(|| number(draw.of("attempts"), 1, 6)),
            body_bytes: self.body_bytes(draw.of("body")),
            poison: self.marked(draw, "poison").then(|| poison(draw.of("poison"))),
            hook,
            exec: self.plan(draw),
        }
    }

    fn at_ms(&self, draw: Draw) -> u64 {
        // The last fifth is left to what is under way.
        let last = self.heal_at_ms / 5 * 4;
        match self.arrivals {
            Arrivals::Spread => draw.between(0, last),
            Arrivals::Burst => draw.between(0, 200.min(last)),
            Arrivals::Bursts(n) => {
                draw.of("burst").below(n) * last / n + draw.of("within").between(0, 100.min(last / n))
            }
        }
    }

    fn ttl_ms(&self, draw: Draw, hook: Option<HookSpec>) -> Option<u64> {
        // A hook that fails at the first attempt puts it off for ever, since that counts no attempt.
        let endless = self.world.dispatcher.hook_error == HookError::PutOff
            && matches!(hook, Some(HookSpec::Panic { .. } | HookSpec::Hang { .. }));
        (endless || self.marked(draw, "ttl")).then(|| log_between(draw.of("ttl"), 200, 120_000))
    }

    fn body_bytes(&self, draw: Draw) -> u32 {
        match draw.of("size").below(1000) {
            0..=9 if self.mood.has("large bodies") => number(draw.of("large"), 10_000, 100_000),
            10..=199 => number(draw.of("some"), 50, 2_000),
            _ => 0,
        }
    }

    /// Some attempts that fail, mostly none, and then one that does well; or none ever does, until the world heals.
    fn plan(&self, draw: Draw) -> Vec<Exec> {
        let timeout_ms = self.world.dispatcher.lanes.iter().map(|lane| lane.attempt_timeout_ms).max().unwrap_or(0);
        let failing = if self.marked(draw, "failures") { draw.of("failures").between(1, 4) } else { 0 };
        let mut plan: Vec<Exec> = (0..failing).map(|n| self.failure(draw.of("failure").at(n), timeout_ms)).collect();
        if failing == 0 || !draw.of("for ever").chance(60) {
            plan.push(self.success(draw.of("success")));
        }
        plan
    }

    fn success(&self, draw: Draw) -> Exec {
        let after_ms = draw.of("after").between(0, self.work_max_ms);
        let reply = match draw.of("how").below(1000) {
            0..=39 if self.mood.has("odd answers") => Reply::CloseAfter,
            40..=59 if self.mood.has("odd answers") => {
                Reply::Trickle { status: 200, every_ms: draw.of("every").between(1, 20) }
            }
            60..=69 if self.mood.has("large answers") => {
                Reply::Large { bytes: number(draw.of("large"), 10_000, 200_000) }
            }
            70..=199 => Reply::Status(204),
            _ => Reply::Status(200),
        };
        Exec { after_ms, reply }
    }

    fn failure(&self, draw: Draw, timeout_ms: u64) -> Exec {
        let usual_ms = draw.of("after").between(0, 100.min(self.work_max_ms));
        let on: Vec<&str> = FAILURES.into_iter().filter(|family| self.mood.has(family)).collect();
        let exec = |after_ms, reply| Exec { after_ms, reply };
        let seconds = u32::try_from(log_between(draw.of("seconds"), 1, 60)).expect("at most 60");
        match draw.of("family").one_of(&on).copied() {
            Some("busy") => {
                let status = *draw.of("status").one_of(&[429, 503]).expect("two");
                exec(usual_ms, Reply::RetryAfter { status, seconds, date: draw.of("date").chance(500) })
            }
            Some("quebert retry") if draw.of("never").chance(200) => exec(usual_ms, Reply::Never),
            Some("quebert retry") => exec(usual_ms, Reply::After { seconds }),
            Some("timeouts") if draw.of("hang").chance(300) => exec(usual_ms, Reply::Hang),
            // Around the limit: some just make it, some don't.
            Some("timeouts") => exec(draw.of("long").between(timeout_ms / 2, timeout_ms * 3 / 2), Reply::Status(200)),
            Some("torn") => {
                let torn = [Reply::Reset, Reply::Torn { status: 200 }, Reply::Torn { status: 500 }, Reply::Garbage];
                exec(usual_ms, draw.of("torn").one_of(&torn).expect("four").clone())
            }
            Some("slow answers") => {
                exec(usual_ms, Reply::Trickle { status: 500, every_ms: draw.of("every").between(1, timeout_ms / 20) })
            }
            _ => {
                let statuses = [500, 500, 502, 503, 404, 408, 400, 429, 302, 410, 501];
                exec(usual_ms, Reply::Status(*draw.of("status").one_of(&statuses).expect("there are some")))
            }
        }
    }
}

/// Families of failing attempts; with none of them on, statuses.
const FAILURES: [&str; 6] = ["statuses", "busy", "quebert retry", "timeouts", "torn", "slow answers"];

fn number(draw: Draw, least: u32, most: u32) -> u32 {
    u32::try_from(draw.between(least.into(), most.into())).expect("between two of them")
}

fn poison(draw: Draw) -> Poison {
    *draw.one_of(&[Poison::Garbage, Poison::NoUrl, Poison::Scheme]).expect("three")
}

fn hook(draw: Draw) -> HookSpec {
    match draw.below(6) {
        0 => HookSpec::Drop,
        1 => HookSpec::PutOff { ms: log_between(draw.of("ms"), 10, 20_000) },
        2 => HookSpec::Panic { until: number(draw.of("until"), 1, 3) },
        3 => HookSpec::Hang { until: number(draw.of("until"), 1, 2) },
        4 => HookSpec::Bury,
        _ => HookSpec::PanicAfter,
    }
}
