//! From a case's plain numbers to the dispatcher's config, as the program's config file would say it.

use crate::case::{DispatcherSpec, LaneSpec, WorldSpec, spec::HookError};
use quebert_dispatcher::{
    backoff::{Curve, Jitter, RetryPolicy},
    config::{CoreConfig, DestinationConfig, HookErrorRule, LaneConfig, Schedule},
    verdict::StatusRules,
};
use quebert_wire::Limits;
use std::{collections::BTreeMap, time::Duration};

/// Delays up to this are waited for in the dispatcher, as in the program.
pub const HOLD_MAX: Duration = Duration::from_secs(1);
/// The window of each delay queue, as in the program.
pub const DELAY_WINDOW: u16 = 64;
/// How long a task beyond its destination's share waits before it is put off, as in the program.
const PATIENCE: Duration = Duration::from_secs(1);
/// For how long a task beyond its destination's share is put off at least, as in the program.
pub const PUT_OFF_MIN: Duration = Duration::from_secs(1);
/// And at most.
pub const PUT_OFF_MAX: Duration = Duration::from_secs(60);

/// The config of every dispatcher of a world, but for its seed.
pub fn core_config(world: &WorldSpec) -> CoreConfig {
    let spec = &world.dispatcher;
    let consumer_timeout = Duration::from_millis(world.broker.consumer_timeout_ms);
    CoreConfig {
        lanes: spec.lanes.iter().map(lane).collect(),
        slots_shared: spec.slots_shared,
        schedule: schedule(spec),
        destinations: DestinationConfig {
            slots: spec.destination_slots,
            slots_of: BTreeMap::new(),
            window_share: spec.window_share,
            patience: PATIENCE,
            put_off_min: PUT_OFF_MIN,
            put_off_max: PUT_OFF_MAX,
        },
        limits: Limits::default(),
        hold_max: HOLD_MAX,
        consumer_timeout,
        redeliveries_max: Some(world.broker.delivery_limit),
        delay_window: DELAY_WINDOW,
        bury_expired: spec.bury_expired,
        bury_unknown_fields: false,
        hook_error: match spec.hook_error {
            HookError::Send => HookErrorRule::Send,
            HookError::PutOff => HookErrorRule::PutOff,
            HookError::Bury => HookErrorRule::Bury,
        },
        mediated: false,
        seed: 0,
    }
}

const fn schedule(spec: &DispatcherSpec) -> Schedule {
    if spec.weighted { Schedule::Weighted } else { Schedule::Strict { pass_over_max: spec.pass_over_max } }
}

fn lane(spec: &LaneSpec) -> LaneConfig {
    let attempt_timeout = Duration::from_millis(spec.attempt_timeout_ms);
    LaneConfig {
        name: spec.name.as_str().into(),
        queue: spec.name.as_str().into(),
        priority: spec.priority,
        weight: spec.weight,
        slots_own: spec.slots_own,
        slots_max: spec.slots_max,
        window: spec.window,
        attempt_timeout,
        attempt_timeout_max: attempt_timeout,
        ttl_default: spec.ttl_ms.map(Duration::from_millis),
        retry: retry_policy(spec),
        status: StatusRules::default(),
    }
}

/// A lane's retry policy. Ages are without limit: a case bounds its tasks by attempts and times to live.
pub fn retry_policy(spec: &LaneSpec) -> RetryPolicy {
    RetryPolicy {
        curve: Curve::Exponential { factor: 2.0 },
        jitter: if spec.jitter { Jitter::Equal } else { Jitter::None },
        backoff_min: Duration::from_millis(spec.backoff_min_ms),
        backoff_max: Duration::from_millis(spec.backoff_max_ms),
        max_attempts: spec.max_attempts,
        max_age: None,
        retry_after_max: Duration::from_millis(spec.retry_after_max_ms),
    }
}
