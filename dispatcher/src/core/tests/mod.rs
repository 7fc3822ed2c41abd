//! The core's tests: tables of single cases, and a machine of weighted random inputs against a model of the world.

mod cases;
mod edges;
mod faults;
mod machine;
mod neighbours;
mod steering;
mod world;

use super::*;
use crate::{
    backoff::{Curve, Jitter, RetryPolicy},
    config::{DestinationConfig, HookErrorRule, LaneConfig, Schedule},
    verdict::StatusRules,
};
use quebert_wire::{Limits, Timestamp};

/// A wall clock reading to start from: 2026-01-01T00:00:00Z.
pub(super) const EPOCH: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// A policy whose delays are easily told: 2, 4, 8, 8, ... seconds, five attempts.
pub(super) fn policy() -> RetryPolicy {
    RetryPolicy {
        curve: Curve::Exponential { factor: 2.0 },
        jitter: Jitter::None,
        backoff_min: Duration::from_secs(2),
        backoff_max: Duration::from_secs(8),
        max_attempts: Some(5),
        max_age: None,
        retry_after_max: Duration::from_secs(60),
    }
}

pub(super) fn lane(name: &str, priority: u8) -> LaneConfig {
    LaneConfig {
        name: name.into(),
        queue: format!("q.{name}").into(),
        priority,
        weight: 1,
        slots_own: 0,
        slots_max: u32::MAX,
        window: 8,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        retry: policy(),
        status: StatusRules::default(),
    }
}

pub(in crate::core) fn config(lanes: Vec<LaneConfig>) -> CoreConfig {
    CoreConfig {
        lanes,
        slots_shared: 4,
        schedule: Schedule::Strict { pass_over_max: None },
        destinations: DestinationConfig {
            slots: 3,
            slots_of: BTreeMap::new(),
            window_share: 50,
            patience: Duration::from_secs(1),
            put_off_min: Duration::from_secs(2),
            put_off_max: Duration::from_secs(60),
        },
        limits: Limits::default(),
        hold_max: Duration::from_secs(1),
        consumer_timeout: Duration::from_secs(1800),
        redeliveries_max: None,
        delay_window: 4,
        bury_expired: false,
        bury_unknown_fields: false,
        hook_error: HookErrorRule::PutOff,
        mediated: false,
        seed: 1,
    }
}
