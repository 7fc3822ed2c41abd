//! From a checked profile to the simulation's plain numbers, with the defaults of the program where a profile says nothing.

use crate::{run::Config, simulate::Timing, target::QueueSpec};
use quebert_sim::{
    case::{BrokerSpec, DispatcherSpec, LaneSpec, WorldSpec},
    net::Weather,
};
use std::time::Duration;

/// The least that a hop takes in the simulated network.
pub(super) const HOP: Duration = Duration::from_millis(1);
/// `pool.pass_over_max`, as in the program.
const PASS_OVER_MAX: u32 = 100;
/// `lane_defaults.attempt_timeout`, as in the program.
const ATTEMPT_TIMEOUT_MS: u64 = 30_000;

pub(super) fn world(config: &Config, timing: &Timing) -> WorldSpec {
    let target = &config.target;
    let few = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    let confirm_ms = timing.confirm_us.div_ceil(1000);
    WorldSpec {
        dispatchers: few(target.dispatchers as usize),
        executors: few(config.executors.len()),
        producers: 1,
        broker: BrokerSpec {
            confirm_min_ms: confirm_ms,
            confirm_max_ms: confirm_ms,
            queue_messages_max: u64::MAX,
            ..BrokerSpec::default()
        },
        dispatcher: DispatcherSpec {
            lanes: target.queues.iter().map(|queue| lane(queue, config)).collect(),
            slots_shared: target.queues.iter().map(|queue| queue.slots).sum(),
            weighted: false,
            pass_over_max: Some(PASS_OVER_MAX),
            destination_slots: target.destination_slots,
            ..DispatcherSpec::default()
        },
        weather: Weather { latency_min_ms: 1, latency_max_ms: 1, yields_per_mille: 0 },
    }
}

fn lane(queue: &QueueSpec, config: &Config) -> LaneSpec {
    let retry = &config.target.retry;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    LaneSpec {
        priority: queue.priority,
        weight: 1,
        slots_own: 0,
        slots_max: queue.slots,
        window: u16::try_from(queue.window_or_derived()).unwrap_or(u16::MAX),
        attempt_timeout_ms: ATTEMPT_TIMEOUT_MS,
        backoff_min_ms: ms(retry.backoff_min),
        backoff_max_ms: ms(retry.backoff_max),
        max_attempts: (retry.max_attempts > 0).then_some(retry.max_attempts),
        retry_after_max_ms: ms(config.rules.retry_after_max),
        ..LaneSpec::named(&queue.name, 0)
    }
}

/// What an executor is to work less, since a request's way there and back takes two hops, and its timer half a millisecond
/// more than it should.
pub(super) fn on_the_way(timing: &Timing) -> Duration {
    (2 * HOP + HOP / 2).saturating_sub(timing.attempt_extra())
}

/// What each hop between dispatchers and executors takes longer, in milliseconds.
pub(super) fn attempt_slower_ms(timing: &Timing) -> u32 {
    slower_ms(timing.attempt_extra())
}

/// What each hop between the broker and its clients takes longer, in milliseconds.
pub(super) fn broker_slower_ms(timing: &Timing) -> u32 {
    slower_ms(timing.broker_rtt())
}

/// Of a round trip of two hops, to the nearest millisecond a hop.
fn slower_ms(round_trip: Duration) -> u32 {
    let each = round_trip.as_secs_f64() / 2.0 - HOP.as_secs_f64();
    (each * 1e3).round().max(0.0) as u32
}
