//! How long a case may take to settle once it has healed: a sum of everything that can be under way at that moment. It is
//! generous on purpose, since idle virtual time costs little and a run ends as soon as all is settled.

use super::{
    Case, Exec, FaultKind,
    work::{HookSpec, Reply},
};
use crate::run::config::PUT_OFF_MAX;

/// Until a connection over a link that was cut is used or given up: 127 s of unanswered SYNs (1 + 2 + .. + 64), and the
/// same again for a client that has just begun to wait.
const NETWORK_MS: u64 = 2 * 127_000;
/// Publishes whose confirms never came, of a producer or a dispatcher: their limit and the rest before the next try,
/// twice, since a task may be published to the delay grid and from there.
const PUBLISH_MS: u64 = 2 * (30_000 + 5_000);
/// Starts, elections, reopened consumers, and what nobody thought of.
const SLACK_MS: u64 = 60_000;

/// A bound for [`Case::settle_ms`]: the sum of
///
/// * the network: what waits for SYNs and retransmissions ([`NETWORK_MS`]), four heartbeats until the silent are given
///   up on both sides, an election, late confirms;
/// * the clocks: twice the largest error that any of them can have, since a task may be made by the one and judged by
///   another;
/// * the longest delay that a producer asks for;
/// * two attempts to their limit, one that is under way and one that was sent over a connection that is no more;
/// * two backoffs at their longest, or what executors ask for within the lanes' caps, with the quarter that is added;
/// * hooks that fail, each with its limit and a backoff, and the longest that one puts a task off;
/// * being put off by a busy destination, four times at its longest;
/// * publishes whose confirms never came;
/// * the backlog: all tasks one after the other, as if there were one slot and a window of one: each takes eight hops
///   through broker and executor for itself and as many for a round through the grid, and its work.
pub(super) fn settle_bound_ms(case: &Case) -> u64 {
    let (world, broker) = (&case.world, &case.world.broker);
    let lanes = &world.dispatcher.lanes;
    let longest = |of: fn(&super::LaneSpec) -> u64| lanes.iter().map(of).max().unwrap_or(0);

    let network = NETWORK_MS
        + broker.heartbeat_ms.saturating_mul(4)
        + broker.election_ms
        + broker.confirm_max_ms.saturating_mul(u64::from(broker.confirm_batch));
    let delay = case.tasks.iter().filter_map(|task| task.delay_ms).max().unwrap_or(0);
    let attempts = longest(|lane| lane.attempt_timeout_ms).saturating_mul(2);
    let backoff = longest(|lane| lane.backoff_max_ms);
    let asked = asked_ms(case).min(longest(|lane| lane.retry_after_max_ms));
    let backoffs = backoff.max(asked + asked / 4).saturating_mul(2);
    let hooks = hooks_ms(case, backoff);
    let put_off = u64::try_from(PUT_OFF_MAX.as_millis()).unwrap_or(u64::MAX).saturating_mul(4);
    let hop = u64::from(world.weather.latency_max_ms);
    let backlog = (case.tasks.len() as u64).saturating_mul(16 * hop + broker.confirm_max_ms * 2 + 10);

    [network, clocks_ms(case), delay, attempts, backoffs, hooks, put_off, PUBLISH_MS, backlog, SLACK_MS]
        .into_iter()
        .fold(0, u64::saturating_add)
}

/// Twice the largest error that a clock can have: all jumps and drifts of the case, as if they were one clock's.
fn clocks_ms(case: &Case) -> u64 {
    let errors = case.faults.iter().map(|fault| match fault.kind {
        FaultKind::ClockJump { ms, .. } => ms.unsigned_abs(),
        FaultKind::ClockDrift { ppm, .. } => fault.for_ms.saturating_mul(ppm.unsigned_abs()) / 1_000_000,
        _ => 0,
    });
    errors.fold(0, u64::saturating_add).saturating_mul(2)
}

/// The longest delay that an executor asks for.
fn asked_ms(case: &Case) -> u64 {
    let wishes = |exec: &Exec| match exec.reply {
        Reply::RetryAfter { seconds, .. } | Reply::After { seconds } => u64::from(seconds) * 1000,
        _ => 0,
    };
    let of_tasks = case.tasks.iter().flat_map(|task| &task.exec).map(wishes);
    let of_faults = case.faults.iter().map(|fault| match &fault.kind {
        FaultKind::Executor { exec, .. } => wishes(exec),
        _ => 0,
    });
    of_tasks.chain(of_faults).max().unwrap_or(0)
}

fn hooks_ms(case: &Case, backoff: u64) -> u64 {
    let of_task = case.tasks.iter().filter_map(|task| task.hook).map(|hook| match hook {
        HookSpec::PutOff { ms } => ms,
        HookSpec::Panic { until } | HookSpec::Hang { until } => {
            u64::from(until).saturating_mul(case.world.dispatcher.hook_timeout_ms.saturating_add(backoff))
        }
        HookSpec::Drop | HookSpec::Bury | HookSpec::PanicAfter => 0,
    });
    of_task.max().unwrap_or(0)
}
