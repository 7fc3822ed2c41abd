//! The hosts of a swarm's case: how many, and how they are set up.

use super::{Mood, Size, log_between};
use crate::{
    case::{BrokerSpec, DispatcherSpec, Engine, LaneSpec, QueueKind, WorldSpec, spec::HookError},
    draw::Draw,
    net::Weather,
};

/// Lanes' names, the first with the highest priority.
const NAMES: [&str; 4] = ["high", "medium", "low", "idle"];

pub(super) fn world(draw: Draw, size: Size) -> WorldSpec {
    let mood = Mood::new(draw);
    let byte = |n: u64| u8::try_from(n).expect("drawn below 256");
    let broker = broker(draw.of("broker"), mood, size);
    WorldSpec {
        dispatchers: byte(size.up_to(draw.of("dispatchers"), size.dispatchers.into())),
        executors: byte(size.up_to(draw.of("executors"), size.executors.into())),
        producers: if size.exact { 1 } else { byte(draw.of("producers").between(1, 3)) },
        dispatcher: dispatcher(draw.of("dispatcher"), mood),
        broker,
        weather: weather(draw.of("weather"), mood),
    }
}

fn pick<T: Copy>(draw: Draw, all: &[T]) -> T {
    *draw.one_of(all).expect("there are some")
}

fn weather(draw: Draw, mood: Mood) -> Weather {
    let latency_min_ms = pick(draw.of("min"), &[1, 1, 2, 5]);
    let more = pick(draw.of("max"), &[0, 2, 2, 10, 40]);
    Weather { latency_min_ms, latency_max_ms: latency_min_ms + more, yields_per_mille: mood.strength("yields") / 2 }
}

fn broker(draw: Draw, mood: Mood, size: Size) -> BrokerSpec {
    let usual = BrokerSpec::default();
    let embedded = draw.of("embedded").chance(size.embedded_per_mille);
    let three = !size.exact && !embedded && draw.of("nodes").chance(250);
    let slow = mood.has("slow confirms");
    let small = mood.has("small queues") && draw.of("small").chance(150);
    let hasty = mood.has("consumer timeout") && draw.of("hasty").chance(250);
    let confirm_min_ms = if slow { draw.of("confirm min").between(0, 20) } else { usual.confirm_min_ms };
    let more = if slow { draw.of("confirm max").between(1, 200) } else { usual.confirm_max_ms };
    BrokerSpec {
        engine: if embedded { Engine::Embedded } else { Engine::Rabbit },
        nodes: if three { 3 } else { 1 },
        queues: if draw.of("classic").chance(300) { QueueKind::Classic } else { QueueKind::Quorum },
        delivery_limit: usual.delivery_limit,
        consumer_timeout_ms: if hasty {
            draw.of("timeout").between(60_000, 180_000)
        } else {
            usual.consumer_timeout_ms
        },
        heartbeat_ms: pick(draw.of("heartbeat"), &[2_000, 5_000, 5_000, 10_000]),
        confirm_min_ms,
        confirm_max_ms: confirm_min_ms + more,
        confirm_batch: pick(draw.of("batch"), &[1, 1, 1, 4, 16]),
        queue_messages_max: if small { draw.of("queue").between(20, 60) } else { usual.queue_messages_max },
        election_ms: draw.of("election").between(200, 5_000),
        requeue_first: draw.of("requeue").chance(300),
        relocates: embedded || draw.of("relocates").chance(150),
    }
}

fn dispatcher(draw: Draw, mood: Mood) -> DispatcherSpec {
    let number = usize::try_from(draw.of("lanes").between(2, 4)).expect("small");
    // Slots of each lane's own, shared ones, or both.
    let (own, shared) = pick(draw.of("slots"), &[(true, false), (false, true), (false, true), (true, true)]);
    let weighted = draw.of("weighted").chance(300);
    // One slot for all of them, by priority: only where many wait for few slots does it show who goes first, and only
    // without hooks, which have slots before their attempts start.
    if draw.of("narrow").chance(120) {
        return DispatcherSpec {
            lanes: (0..number)
                .map(|index| lane(draw.of("lane").at(index as u64), index, number, false, true))
                .collect(),
            slots_shared: 1,
            pass_over_max: pick(draw.of("pass over"), &[Some(1), Some(1), Some(4), None]),
            destination_slots: pick(draw.of("destination"), &[3, 100]),
            bury_expired: draw.of("bury expired").chance(500),
            ..DispatcherSpec::default()
        };
    }
    DispatcherSpec {
        lanes: (0..number).map(|index| lane(draw.of("lane").at(index as u64), index, number, own, shared)).collect(),
        slots_shared: if shared { pick(draw.of("shared"), &[1, 2, 5, 20]) } else { 0 },
        weighted,
        pass_over_max: pick(draw.of("pass over"), &[None, Some(1), Some(4), Some(16)]),
        destination_slots: pick(draw.of("destination"), &[1, 3, 10, 100, 100]),
        window_share: pick(draw.of("share"), &[10, 50, 50, 100]),
        bury_expired: draw.of("bury expired").chance(500),
        // Hooks hide who has a slot from the judge, so most worlds have none.
        mediator: mood.has("mediator") && draw.of("mediator").chance(600),
        hook_error: pick(draw.of("hook error"), &[HookError::Send, HookError::PutOff, HookError::Bury]),
        hook_timeout_ms: draw.of("hook timeout").between(100, 5_000),
    }
}

fn lane(draw: Draw, index: usize, number: usize, own: bool, shared: bool) -> LaneSpec {
    let priority = u8::try_from(number - index).expect("few lanes");
    let slots_own = if own { pick(draw.of("own"), &[1, 2, 5, 10]) } else { 0 };
    let more = if shared { pick(draw.of("max"), &[1, 3, 20]) } else { 0 };
    let backoff_min_ms = log_between(draw.of("backoff min"), 50, 2_000);
    LaneSpec {
        weight: pick(draw.of("weight"), &[1, 2, 3, 6]),
        slots_own,
        slots_max: slots_own + more,
        window: pick(draw.of("window"), &[1, 3, 20, 20, 100]),
        attempt_timeout_ms: log_between(draw.of("attempt timeout"), 500, 10_000),
        ttl_ms: draw.of("has ttl").chance(100).then(|| log_between(draw.of("ttl"), 5_000, 120_000)),
        backoff_min_ms,
        backoff_max_ms: backoff_min_ms.saturating_mul(pick(draw.of("backoff max"), &[1, 4, 16, 64])).min(60_000),
        jitter: draw.of("jitter").chance(800),
        max_attempts: draw.of("has attempts").chance(250).then(|| pick(draw.of("attempts"), &[1, 3, 5, 20])),
        retry_after_max_ms: pick(draw.of("retry after"), &[2_000, 10_000, 60_000]),
        ..LaneSpec::named(NAMES[index], priority)
    }
}
