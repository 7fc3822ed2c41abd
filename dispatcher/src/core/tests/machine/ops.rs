//! What can happen to the machine, and how often. Operations name things by small numbers that are taken modulo what
//! there is, so that any list of them makes sense, and stays so while proptest shortens it.

use super::super::{config as base_config, lane as base_lane, *};
use proptest::{collection::vec, option, prelude::*};
use std::fmt;

/// A whole run: the config, and what happens.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) config: CoreConfig,
    /// Whether the broker moves a message in one step.
    pub(super) transactional: bool,
    pub(super) ops: Vec<Op>,
}

/// One operation a line, however verbose the output is that somebody asks for.
impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, transactional: {}", self.config, self.transactional)?;
        self.ops.iter().try_for_each(|op| writeln!(f, "{op:?}"))
    }
}

/// What the world is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// The broker does what it is asked, and executors answer as they like.
    Calm,
    /// Connections are lost, with acks; publishes fail, or nobody knows.
    Faults,
    /// Faults, and a wall clock that jumps.
    Jumps,
}

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// So many tasks alike, but for their ids.
    Produce {
        count: u8,
        spec: Spec,
    },
    Deliver {
        source: u8,
        count: u8,
    },
    Prepared {
        which: u8,
        reply: Says,
    },
    Answer {
        which: u8,
        reply: Reply,
    },
    Reviewed {
        which: u8,
        reply: Decides,
    },
    Published {
        which: u8,
        result: Fate,
    },
    Advance {
        ms: u32,
    },
    /// One source, or all.
    Cut {
        source: Option<u8>,
        acks_lost: u8,
    },
    JumpWall {
        ms: i32,
    },
    Reconfigure(Knobs),
    Pause {
        lane: u8,
        paused: bool,
    },
    /// One of the tasks whose ids are known.
    Steer {
        which: u8,
        how: Steer,
    },
    Drain {
        grace_ms: u32,
    },
}

/// A task, as its producer makes it.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) lane: u8,
    pub(super) host: u8,
    /// Whether its producer gives it an id.
    pub(super) named: bool,
    /// Whether it says when it was made.
    pub(super) stamped: bool,
    pub(super) delay: Delay,
    pub(super) ttl_ms: Option<u32>,
    pub(super) wishes: Option<Wishes>,
    pub(super) junk: Option<Junk>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Delay {
    None,
    /// `delay_ms`.
    Relative(u32),
    /// `not_before`, so many milliseconds from now.
    Absolute(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Wishes {
    pub(super) max_attempts: u32,
    pub(super) backoff_min_ms: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Junk {
    BrokenJson,
    OtherScheme,
}

/// What a mediator's `before` says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Says {
    Send,
    Elsewhere(u8),
    NoUrl,
    Drop,
    PutOff(u32),
    Bury,
    Fails,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    Status(u16),
    RetryAfter(u8),
    Exactly(u16),
    Never,
    Fails(crate::outcome::FailureKind),
}

/// What a mediator makes of the proposed verdict.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decides {
    AsProposed,
    Complete,
    RetryExactly(u16),
    Bury,
    Expire,
    Drop,
}

/// What becomes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Confirmed,
    StoredButUnknown,
    LostAndUnknown,
    Refused,
    NotConnected,
    /// For work queues only; else it is as if it were refused.
    Returned,
}

/// What a reload changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Knobs {
    pub(super) slots_shared: u32,
    pub(super) slots_own: u32,
    pub(super) slots_max: u32,
    pub(super) slots_of_destinations: u32,
    pub(super) schedule: Schedule,
}

pub(super) fn plan(weather: Weather) -> impl Strategy<Value = Plan> {
    // Most runs end without a drain, so that it does not hide what would come later.
    let drain = option::weighted(0.3, (0u32..20_000, vec(op(weather), 0..15)));
    (any_config(), any::<bool>(), vec(op(weather), 1..80), drain).prop_map(|(config, transactional, mut ops, drain)| {
        if let Some((grace_ms, more)) = drain {
            ops.push(Op::Drain { grace_ms });
            ops.extend(more);
        }
        Plan { config, transactional, ops }
    })
}

fn op(weather: Weather) -> impl Strategy<Value = Op> {
    use crate::outcome::FailureKind::*;
    let failures = [Dns, ConnectRefused, Timeout, ResetBeforeResponse, Protocol, Cancelled, ForbiddenAddress];
    let reply = prop_oneof![
        8 => prop::sample::select(vec![200u16, 204, 299]).prop_map(Reply::Status),
        6 => prop::sample::select(vec![500u16, 503, 404, 302]).prop_map(Reply::Status),
        1 => prop::sample::select(vec![410u16, 501]).prop_map(Reply::Status),
        2 => (0u8..90).prop_map(Reply::RetryAfter),
        1 => (0u16..2500).prop_map(Reply::Exactly),
        1 => Just(Reply::Never),
        3 => prop::sample::select(failures.to_vec()).prop_map(Reply::Fails),
    ];
    let says = prop_oneof![
        8 => Just(Says::Send),
        2 => any::<u8>().prop_map(Says::Elsewhere),
        1 => Just(Says::NoUrl),
        1 => Just(Says::Drop),
        1 => (0u32..4000).prop_map(Says::PutOff),
        1 => Just(Says::Bury),
        1 => Just(Says::Fails),
    ];
    let decides = prop_oneof![
        10 => Just(Decides::AsProposed),
        1 => Just(Decides::Complete),
        1 => (0u16..2500).prop_map(Decides::RetryExactly),
        1 => Just(Decides::Bury),
        1 => Just(Decides::Expire),
        1 => Just(Decides::Drop),
    ];
    let fate = if weather == Weather::Calm {
        Just(Fate::Confirmed).boxed()
    } else {
        let faults = [Fate::StoredButUnknown, Fate::LostAndUnknown, Fate::Refused, Fate::NotConnected, Fate::Returned];
        prop_oneof![6 => Just(Fate::Confirmed), 3 => prop::sample::select(faults.to_vec())].boxed()
    };
    let advance = prop_oneof![
        6 => 0u32..1500,
        3 => 0u32..10_000,
        1 => 0u32..60_000,
    ];
    let cuts = u32::from(weather != Weather::Calm) * 3;
    let jumps = u32::from(weather == Weather::Jumps) * 6;
    let any_which = any::<u8>;
    let steer = prop_oneof![2 => Just(Steer::RunNow), 1 => Just(Steer::Cancel)];
    // A weight of zero would be refused; such an op is made to do nothing instead.
    prop_oneof![
        12 => (prop_oneof![2 => Just(1u8), 1 => 2u8..7], spec()).prop_map(|(count, spec)| Op::Produce { count, spec }),
        14 => (any_which(), 1u8..8).prop_map(|(source, count)| Op::Deliver { source, count }),
        10 => (any_which(), says).prop_map(|(which, reply)| Op::Prepared { which, reply }),
        14 => (any_which(), reply).prop_map(|(which, reply)| Op::Answer { which, reply }),
        10 => (any_which(), decides).prop_map(|(which, reply)| Op::Reviewed { which, reply }),
        14 => (any_which(), fate).prop_map(|(which, result)| Op::Published { which, result }),
        8 => advance.prop_map(|ms| Op::Advance { ms }),
        1 => knobs().prop_map(Op::Reconfigure),
        4 => (any_which(), any::<bool>()).prop_map(|(lane, paused)| Op::Pause { lane, paused }),
        4 => (any_which(), steer).prop_map(|(which, how)| Op::Steer { which, how }),
        cuts.max(1) => (option::weighted(0.4, any_which()), 0u8..8).prop_map(move |(source, acks_lost)| {
            if cuts == 0 { Op::Advance { ms: 0 } } else { Op::Cut { source, acks_lost } }
        }),
        jumps.max(1) => (-20_000i32..20_000).prop_map(move |ms| {
            if jumps == 0 { Op::Advance { ms: 0 } } else { Op::JumpWall { ms } }
        }),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let delay = prop_oneof![
        6 => Just(Delay::None),
        1 => (0u32..2500).prop_map(Delay::Relative),
        1 => (0u32..45_000).prop_map(Delay::Relative),
        1 => (0u32..45_000).prop_map(Delay::Absolute),
    ];
    let wishes =
        (1u32..6, 0u64..20_000).prop_map(|(max_attempts, backoff_min_ms)| Wishes { max_attempts, backoff_min_ms });
    let junk = prop_oneof![Just(Junk::BrokenJson), Just(Junk::OtherScheme)];
    (
        any::<u8>(),
        0u8..4,
        prop::bool::weighted(0.7),
        any::<bool>(),
        delay,
        option::weighted(0.25, 1u32..40_000),
        option::weighted(0.2, wishes),
        option::weighted(0.05, junk),
    )
        .prop_map(|(lane, host, named, stamped, delay, ttl_ms, wishes, junk)| Spec {
            lane,
            host,
            named,
            stamped,
            delay,
            ttl_ms,
            wishes,
            junk,
        })
}

fn schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![
        3 => Just(Schedule::Strict { pass_over_max: None }),
        2 => (1u32..5).prop_map(|most| Schedule::Strict { pass_over_max: Some(most) }),
        2 => Just(Schedule::Weighted),
    ]
}

fn knobs() -> impl Strategy<Value = Knobs> {
    (1u32..5, 0u32..3, prop_oneof![1u32..4, Just(u32::MAX)], 1u32..5, schedule()).prop_map(
        |(slots_shared, slots_own, slots_max, slots_of_destinations, schedule)| Knobs {
            slots_shared,
            slots_own,
            slots_max,
            slots_of_destinations,
            schedule,
        },
    )
}

fn any_policy() -> impl Strategy<Value = RetryPolicy> {
    let curve = prop_oneof![
        (1.0..3.0f64).prop_map(|factor| Curve::Exponential { factor }),
        (0u32..4).prop_map(|max_doublings| Curve::Doublings { max_doublings }),
    ];
    let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)];
    (curve, jitter, 10u64..4000, 0u64..10_000, option::of(1u32..6)).prop_map(
        |(curve, jitter, min_ms, more_ms, max_attempts)| RetryPolicy {
            curve,
            jitter,
            backoff_min: Duration::from_millis(min_ms),
            backoff_max: Duration::from_millis(min_ms + more_ms),
            max_attempts,
            max_age: None,
            retry_after_max: Duration::from_secs(60),
        },
    )
}

fn any_lane(n: usize) -> impl Strategy<Value = LaneConfig> {
    let slots_max = prop_oneof![1u32..4, Just(u32::MAX)];
    (0u8..3, 1u32..5, 0u32..3, slots_max, 1u16..=16, option::weighted(0.2, 1000u64..60_000), any_policy()).prop_map(
        move |(priority, weight, slots_own, slots_max, window, ttl_ms, retry)| LaneConfig {
            weight,
            slots_own,
            slots_max,
            window,
            ttl_default: ttl_ms.map(Duration::from_millis),
            retry,
            ..base_lane(["a", "b", "c"][n], priority)
        },
    )
}

fn any_config() -> impl Strategy<Value = CoreConfig> {
    let lanes = prop_oneof![
        any_lane(0).prop_map(|a| vec![a]).boxed(),
        (any_lane(0), any_lane(1)).prop_map(|(a, b)| vec![a, b]).boxed(),
        (any_lane(0), any_lane(1), any_lane(2)).prop_map(|(a, b, c)| vec![a, b, c]).boxed(),
    ];
    let destinations = (1u32..5, 10u8..=100, 200u64..3000, 1u64..4).prop_map(|(slots, window_share, patience, min)| {
        DestinationConfig {
            slots,
            slots_of: BTreeMap::new(),
            window_share,
            patience: Duration::from_millis(patience),
            put_off_min: Duration::from_secs(min),
            put_off_max: Duration::from_secs(4 * min),
        }
    });
    let hook_error = prop_oneof![Just(HookErrorRule::Send), Just(HookErrorRule::PutOff), Just(HookErrorRule::Bury)];
    (
        lanes,
        (1u32..7, schedule()),
        destinations,
        (any::<bool>(), any::<bool>(), hook_error),
        (prop_oneof![Just(60u64), Just(1800)], 1u16..5, any::<u64>()),
    )
        .prop_map(
            |(
                lanes,
                (slots_shared, schedule),
                destinations,
                (bury_expired, mediated, hook_error),
                (consumer_timeout, delay_window, seed),
            )| CoreConfig {
                slots_shared,
                schedule,
                destinations,
                bury_expired,
                mediated,
                hook_error,
                consumer_timeout: Duration::from_secs(consumer_timeout),
                delay_window,
                seed,
                ..base_config(lanes)
            },
        )
}
