//! The promises, each as a function that looks at the machine after an input. They change nothing.

use super::{
    super::{ticket::Slot, *},
    model::{Machine, Place, number_of},
};
use crate::{
    core::ticket::State,
    event::ExpiryStage,
    verdict::{RetryAfter, RetryReason},
};
use std::{collections::BTreeSet, fmt};

/// A promise that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) invariant: &'static str,
    pub(super) detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}", self.invariant, self.detail)
    }
}

type Invariant = fn(&Machine) -> Result<(), String>;

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), $name as Invariant)),*] };
}

/// All of them, with their names.
pub(super) const INVARIANTS: &[(&str, Invariant)] = named! {
    invariant_no_loss
    invariant_ack_after_confirm
    invariant_never_early
    invariant_never_late
    invariant_priority
    invariant_slots_and_windows
    invariant_destination_caps
    invariant_work_conservation
    invariant_conservation
    invariant_attempt_numbers
    invariant_backoff_bounds
    invariant_one_send_per_tag
    invariant_few_duplicates
    invariant_nothing_new_after_drain
    invariant_nothing_new_from_a_paused_lane
    invariant_steering
};

macro_rules! hold {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

/// A task that has not ended is somewhere at the broker.
fn invariant_no_loss(machine: &Machine) -> Result<(), String> {
    let kept: BTreeSet<usize> = machine.world.everything().map(number_of).collect();
    for (n, known) in machine.tasks.iter().enumerate() {
        hold!(known.ended || kept.contains(&n), "task {n} is nowhere: {known:?}");
    }
    Ok(())
}

/// A delivery is acked only when its task has ended or its next copy is confirmed.
fn invariant_ack_after_confirm(machine: &Machine) -> Result<(), String> {
    hold!(machine.step.unfounded_acks.is_empty(), "acked for no reason: {:?}", machine.step.unfounded_acks);
    Ok(())
}

fn invariant_never_early(machine: &Machine) -> Result<(), String> {
    for n in &machine.step.sent {
        let known = &machine.tasks[*n];
        let sent = known.sends.last().unwrap();
        hold!(known.not_before.is_none_or(|at| sent.at >= at), "task {n} before its moment: {known:?}");
        hold!(sent.forked || sent.floor.is_none_or(|at| sent.at >= at), "task {n} before its backoff: {known:?}");
    }
    Ok(())
}

/// No attempt starts at or after the expiry, none may last longer than that, and no task expires before it.
fn invariant_never_late(machine: &Machine) -> Result<(), String> {
    for n in &machine.step.sent {
        let known = &machine.tasks[*n];
        let sent = known.sends.last().unwrap();
        let Some((_, expires)) = known.expires else { continue };
        hold!(sent.at < expires, "task {n} after its expiry: {known:?}");
        hold!(sent.timeout <= expires.since(sent.at), "task {n} may outlive its expiry: {known:?}");
    }
    for (n, stage) in &machine.step.expired {
        let Some(n) = n else { continue };
        let known = &machine.tasks[*n];
        // What was decided when it was time stays decided, though the clock goes back.
        let over = known.expires.is_some_and(|(first, _)| first <= machine.wall_max);
        let by_verdict = machine.config.mediated && *stage == ExpiryStage::InFlight;
        let ahead = *stage == ExpiryStage::BeforeRetry && known.expires.is_some();
        hold!(over || by_verdict || ahead, "task {n} expired at {stage:?}, before its time: {known:?}");
    }
    Ok(())
}

/// Whoever got a shared slot was the one whose turn it was, among those that could have been sent instead.
fn invariant_priority(machine: &Machine) -> Result<(), String> {
    let lanes = &machine.config.lanes;
    let most = match machine.config.schedule {
        Schedule::Strict { pass_over_max: None } => {
            for place in machine.step.granted.iter().filter(|place| place.slot == Slot::Shared) {
                let better = waiting(machine).find(|(lane, destination, _)| {
                    lanes[*lane].priority > lanes[place.lane].priority && could_send(machine, *lane, destination)
                });
                hold!(better.is_none(), "a slot went to {place:?}, before {better:?}");
            }
            return Ok(());
        }
        // Where several lanes have come to their bound together, each waits for the others.
        Schedule::Strict { pass_over_max: Some(most) } => vec![most + lanes.len() as u32; lanes.len()],
        Schedule::Weighted => {
            let sum: u32 = lanes.iter().map(|lane| lane.weight).sum();
            lanes.iter().map(|lane| sum.div_ceil(lane.weight) + lanes.len() as u32).collect()
        }
    };
    for (lane, passed) in machine.passed_over.iter().enumerate() {
        hold!(*passed <= most[lane], "lane {lane} was passed over {passed} times in a row");
    }
    Ok(())
}

/// No lane gets more slots than it may have, and no source more deliveries than its window.
fn invariant_slots_and_windows(machine: &Machine) -> Result<(), String> {
    let used = |right: &dyn Fn(&Place) -> bool| machine.occupied.values().filter(|place| right(place)).count();
    for granted in &machine.step.granted {
        let lane = &machine.config.lanes[granted.lane];
        let of_lane = |place: &Place| place.lane == granted.lane;
        let count = match granted.slot {
            Slot::Own => (used(&|p| of_lane(p) && p.slot == Slot::Own), lane.slots_own),
            Slot::Shared => (used(&|p| p.slot == Slot::Shared), machine.config.slots_shared),
        };
        hold!(count.0 <= count.1 as usize, "{granted:?}: {} of {} slots", count.0, count.1);
        let all = used(&of_lane);
        hold!(all <= lane.slots_max as usize, "{granted:?}: {all} slots of at most {}", lane.slots_max);
    }
    for (source, window) in &machine.world.wanted {
        let right = match source {
            Source::Queue(queue) => machine.config.lanes.iter().find(|lane| lane.queue == *queue).unwrap().window,
            Source::Delay(_) => machine.config.delay_window,
        };
        hold!(*window == right, "{source:?} has a window of {window}");
    }
    Ok(())
}

/// No destination gets more requests at a time than it may have, and the gauges say what there is.
fn invariant_destination_caps(machine: &Machine) -> Result<(), String> {
    let cap = machine.config.destinations.slots as usize;
    for granted in &machine.step.granted {
        let count = machine.occupied.values().filter(|place| place.destination == granted.destination).count();
        hold!(count <= cap, "{count} requests to {}", granted.destination);
    }
    if machine.world.stopped {
        return Ok(());
    }
    for (destination, told) in &machine.told_of {
        let count = machine.occupied.values().filter(|place| place.destination == *destination).count();
        hold!(count == *told as usize, "{count} requests to {destination}, but {told} were told of");
    }
    for (ticket, attempt, _) in &machine.world.sending {
        let place = machine.occupied.get(ticket);
        let right = place.is_none_or(|place| place.destination == attempt.task.destination);
        hold!(right, "a request to {} counts as one of {place:?}", attempt.task.destination);
    }
    Ok(())
}

/// A free slot, and a task that could have it, are never there at the same time.
fn invariant_work_conservation(machine: &Machine) -> Result<(), String> {
    if machine.drained_until.is_some() {
        return Ok(());
    }
    let shared = machine.occupied.values().filter(|place| place.slot == Slot::Shared).count();
    for (lane, destination, id) in waiting(machine) {
        let own = machine.occupied.values().filter(|place| place.lane == lane && place.slot == Slot::Own).count();
        let config = &machine.config.lanes[lane];
        let free = own < config.slots_own as usize || shared < machine.config.slots_shared as usize;
        let idle = free && could_send(machine, lane, &destination);
        hold!(!idle, "{id} waits for {destination} in lane {lane} though there is a slot: {:?}", machine.occupied);
    }
    Ok(())
}

/// Deliveries less settlements are what is held: by the core's books, by its gauges, and at the broker.
fn invariant_conservation(machine: &Machine) -> Result<(), String> {
    let core = &machine.world.core;
    let settled: u64 = core.settlements().values().sum();
    let open = core.deliveries().checked_sub(settled);
    hold!(open == Some(core.held()), "{} deliveries, {settled} settlements, {}", core.deliveries(), core.held());
    if machine.world.stopped {
        return Ok(());
    }
    let told: u32 = machine.told.values().map(|(in_flight, buffered)| in_flight + buffered).sum();
    hold!(u64::from(told) == core.held(), "{told} told of, {} held", core.held());
    let buffered: u32 = machine.told.values().map(|(_, buffered)| buffered).sum();
    let waits = core.tickets.values().filter(|t| t.tag.is_some() && t.state.is_buffered()).count();
    hold!(buffered as usize == waits, "{buffered} told of as buffered, {waits} are");
    let at_broker = machine.world.unsettled.values().filter(|(source, _)| matches!(source, Source::Queue(_))).count();
    let relocated = machine.world.relocated.values().filter(|source| matches!(source, Source::Queue(_))).count();
    let at_broker = at_broker + relocated - machine.on_their_way;
    hold!(at_broker as u64 == core.held(), "{at_broker} unsettled at the broker, {} held", core.held());
    Ok(())
}

/// Attempts are numbered from 1, each number once, and there are no more than allowed.
fn invariant_attempt_numbers(machine: &Machine) -> Result<(), String> {
    for n in &machine.step.sent {
        let known = &machine.tasks[*n];
        let sent = known.sends.last().unwrap();
        let most = known.policy.max_attempts;
        hold!(most.is_none_or(|most| sent.number <= most), "task {n}: attempt {} of {most:?}", sent.number);
        if !sent.forked {
            hold!(sent.number as usize == known.sends.len(), "task {n} was sent as {}: {known:?}", sent.number);
        }
    }
    Ok(())
}

/// Each delay lies within what the policy, or the executor within the policy's cap, says.
fn invariant_backoff_bounds(machine: &Machine) -> Result<(), String> {
    for (n, attempts, reason, delay) in &machine.step.retries {
        let known = &machine.tasks[*n];
        let (lo, hi) = known.policy.bounds(*attempts);
        let cap = known.policy.retry_after_max;
        let (lo, hi) = match (reason, known.asked) {
            (RetryReason::Hook, _) => continue,
            (RetryReason::Overload, _) => {
                let most = machine.config.destinations.put_off_max.max(Duration::from_secs(1));
                (Duration::from_secs(1), most)
            }
            _ if known.policy.max_attempts.is_some_and(|most| *attempts >= most) => {
                return Err(format!("task {n} goes on after attempt {attempts}, its last one"));
            }
            // Two copies' answers can come in any order.
            _ if known.forked => continue,
            (_, RetryAfter::Policy) => (lo, hi),
            (_, RetryAfter::AtLeast(wish)) => {
                (lo.max(wish.min(cap)), hi.max(wish + wish / 4).min(cap.max(known.policy.backoff_max)))
            }
            (_, RetryAfter::Exactly(wish)) => (wish.min(cap), wish.min(cap)),
        };
        hold!((lo..=hi).contains(delay), "task {n}: {delay:?} is not within {lo:?} to {hi:?}, {reason:?}, {known:?}");
    }
    Ok(())
}

/// A delivery's task is sent once per attempt, and one at a time. What holds a slot is under way, and the other way round.
fn invariant_one_send_per_tag(machine: &Machine) -> Result<(), String> {
    for n in &machine.step.sent {
        let sends = &machine.tasks[*n].sends;
        let (sent, before) = sends.split_last().unwrap();
        let again = before.iter().any(|other| other.ticket == sent.ticket && other.number >= sent.number);
        hold!(!again, "task {n}: attempt {} again", sent.number);
        let path = format!("/{n}");
        let under_way = machine.world.sending.iter().filter(|(_, a, _)| a.task.url.path() == path).count();
        hold!(under_way <= 1 || sent.forked, "task {n} is sent {under_way} times at once");
    }
    if machine.world.stopped {
        return Ok(());
    }
    let sending = machine.world.sending.iter().map(|(id, ..)| *id);
    let asked = machine.world.preparing.iter().map(|(id, _)| *id);
    let under_way: BTreeSet<TicketId> = sending.chain(asked).collect();
    let holding: BTreeSet<TicketId> = machine.occupied.keys().copied().collect();
    hold!(under_way == holding, "{under_way:?} are under way, {holding:?} hold slots");
    let tags: Vec<_> = machine.world.core.tickets.values().filter_map(|ticket| ticket.tag).collect();
    hold!(tags.iter().collect::<BTreeSet<_>>().len() == tags.len(), "two tickets have one delivery");
    Ok(())
}

/// After a success nothing is sent again, unless a fault has left open whether there are two.
fn invariant_few_duplicates(machine: &Machine) -> Result<(), String> {
    for n in &machine.step.sent {
        let known = &machine.tasks[*n];
        let sent = known.sends.last().unwrap();
        hold!(sent.forked || !sent.after_success, "task {n} was sent again after its success: {known:?}");
        hold!(sent.forked || !sent.after_cancel, "task {n} was sent after it was cancelled: {known:?}");
        hold!(known.spec.junk.is_none(), "task {n} is junk and was sent");
    }
    Ok(())
}

fn invariant_nothing_new_after_drain(machine: &Machine) -> Result<(), String> {
    let (step, now) = (&machine.step, machine.world.now.mono);
    if step.draining || machine.drained_until.is_some() {
        hold!(
            step.sent.is_empty() && step.asked.is_empty(),
            "{:?} were sent and {:?} asked about",
            step.sent,
            step.asked
        );
        hold!(step.opened == 0, "{} sources were opened", step.opened);
        hold!(machine.drained_until.is_none_or(|end| now < end) || machine.world.stopped, "the grace is over");
        let waits = machine.world.core.tickets.values().any(|t| t.tag.is_some() && t.state.is_buffered());
        hold!(!waits, "a task waits for what will not come");
    }
    Ok(())
}

/// From a paused lane nothing is sent, nothing is wanted, and nothing waits; and it is said when that begins and ends.
fn invariant_nothing_new_from_a_paused_lane(machine: &Machine) -> Result<(), String> {
    let step = &machine.step;
    hold!(step.pauses == step.pauses_due, "{:?} was said, not {:?}", step.pauses, step.pauses_due);
    for lane in &machine.paused {
        let of_it = |n: &&usize| usize::from(machine.tasks[**n].spec.lane) % machine.config.lanes.len() == *lane;
        let new: Vec<_> = step.sent.iter().chain(&step.asked).filter(of_it).collect();
        hold!(new.is_empty(), "{new:?} were sent or asked about in paused lane {lane}");
        let queue = Source::Queue(machine.config.lanes[*lane].queue.clone());
        hold!(!machine.world.wanted.contains_key(&queue), "paused lane {lane} is open");
        let mut tickets = machine.world.core.tickets.values();
        let waits = tickets.any(|ticket| ticket.lane == *lane && ticket.state.is_buffered());
        hold!(!waits, "a task waits in paused lane {lane}");
    }
    Ok(())
}

/// Each question about a task is answered once, by what is held of it: what waits can be steered, the rest is left alone.
fn invariant_steering(machine: &Machine) -> Result<(), String> {
    let (told, steered) = (&machine.world.steered, &machine.step.steered);
    let due: Vec<_> = steered.iter().map(|(_, _, due)| *due).collect();
    hold!(machine.world.stopped || *told == due, "{told:?} was answered, not {due:?}");
    let Some((id, how, _)) = steered else { return Ok(()) };
    for held in machine.world.core.find(id) {
        let waits = held.state == HeldState::Delayed || (held.state == HeldState::Waiting && *how == Steer::Cancel);
        hold!(!waits, "{id} is still {:?} after {how:?}", held.state);
    }
    Ok(())
}

/// What waits in the core for a slot: lane, destination and id.
fn waiting(machine: &Machine) -> impl Iterator<Item = (usize, quebert_wire::Destination, String)> {
    machine.world.core.tickets.values().filter_map(|ticket| match &ticket.state {
        State::Waiting { task, .. } => Some((ticket.lane, task.destination.clone(), task.id.to_string())),
        _ => None,
    })
}

/// Whether lane and destination leave room for one more request, whatever the destination has shown so far: in a lane
/// that others use too it may have one under way before it has answered.
pub(super) fn could_send(machine: &Machine, lane: usize, destination: &quebert_wire::Destination) -> bool {
    let config = &machine.config.lanes[lane];
    let of_lane = machine.occupied.values().filter(|place| place.lane == lane).count();
    let to_it = machine.occupied.values().filter(|place| place.destination == *destination);
    let to_it_of_lane = to_it.clone().filter(|place| place.lane == lane).count();
    let slots = config.slots_max.min(config.slots_own.saturating_add(machine.config.slots_shared));
    let share = (u64::from(slots) * u64::from(machine.config.destinations.window_share)).div_ceil(100).max(1);
    of_lane < config.slots_max as usize
        && to_it.count() < machine.config.destinations.slots as usize
        && to_it_of_lane < share.min(1) as usize
}

impl Machine {
    /// Counts, after a step, how often each lane that could have sent was passed over. A lower bound: what could send
    /// in the end could send all the time.
    pub(super) fn count_passed_over(&mut self) {
        let shared: Vec<usize> =
            self.step.granted.iter().filter(|place| place.slot == Slot::Shared).map(|place| place.lane).collect();
        for lane in 0..self.passed_over.len() {
            let could = waiting(self).any(|(of, destination, _)| of == lane && could_send(self, lane, &destination));
            let others = shared.iter().filter(|other| **other != lane).count() as u32;
            self.passed_over[lane] = if could && !shared.contains(&lane) { self.passed_over[lane] + others } else { 0 };
        }
    }
}
