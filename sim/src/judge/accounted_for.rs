//! Promise 11. Accounted for: what a dispatcher has taken in, less what it has settled, is what its gauges say, and what it says it
//! has settled the broker has heard of.
//!
//! * At each change of a lane's gauges: deliveries - settlements = in flight + buffered, exactly. When a process ends, its
//!   own sums agree as well, and with the events that it told.
//! * Acks go out in the order of settling, but for the moment in which they are put together. So when the broker hears of
//!   one, all that were settled through the same opening more than [`TOGETHER`] before it are there already.
//!   And what comes back with its opening was not settled that long before, if nothing was wrong in between.
//! * When everything has settled and nothing is wrong any more, the gauges are at 0.

use super::{
    Found, Oracle, Promise,
    scene::{Hold, Scene},
};
use crate::{
    history::{CopyNo, Entry, What},
    host::Host,
    net::Ran,
};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::broker::Opening,
    shell::Summary,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Acks may be put together and change their order within this: some milliseconds, and a hundred times that to be sure.
const TOGETHER: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct AccountedFor {
    /// What was settled through an opening, in order.
    settled: BTreeMap<(Host, Opening), VecDeque<(Duration, CopyNo)>>,
}

impl Promise for AccountedFor {
    fn oracle(&self) -> Oracle {
        Oracle::AccountedFor
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Event(Event::Held { lane, in_flight, buffered }) => {
                gauges_are_true(scene, entry.host, lane, u64::from(*in_flight) + u64::from(*buffered), found);
            }
            What::Event(Event::Settled { .. }) if !scene.subject.unsure => {
                if let Some(hold) = scene.subject.hold.as_ref().filter(|hold| hold.settled.is_some()) {
                    let of_opening = self.settled.entry((entry.host, hold.tag.opening)).or_default();
                    of_opening.push_back((scene.now, hold.copy));
                }
            }
            What::Acked { by, .. } => self.heard_of(scene, *by, found),
            What::Returned { why, .. } if *why != "give_back" => never_heard_of(scene, found),
            What::Closed { by, opening } => drop(self.settled.remove(&(*by, *opening))),
            What::Ended(summary) => sums_are_true(scene, entry.host, summary, found),
            _ => {}
        }
    }

    fn end(&mut self, scene: &Scene<'_>, _ran: &Ran, found: &mut Found) {
        let settled = scene.tasks.values().all(|task| task.live == 0 && task.confirmed_at.is_some());
        // Where an ack is part of a publish, a dispatcher hears of both only later.
        if scene.healed_at.is_none() || !settled || scene.case.world.broker.relocates {
            return;
        }
        for (host, process) in &scene.processes {
            let ended = process.down || process.ended_at.is_some();
            for (lane, spec) in process.lanes.iter().zip(&scene.case.world.dispatcher.lanes) {
                if !ended && lane.open && lane.gauges != (0, 0) {
                    let (in_flight, buffered) = lane.gauges;
                    let lane = &spec.name;
                    found.broken(
                        None,
                        format_args!(
                            "all is settled, and {host} has {in_flight} in flight and {buffered} buffered in {lane}"
                        ),
                    );
                }
            }
        }
    }
}

impl AccountedFor {
    /// The broker has heard of a settlement: everything that was settled long before is there, too.
    fn heard_of(&mut self, scene: &Scene<'_>, by: Host, found: &mut Found) {
        let Some(hold) = &scene.subject.hold else { return };
        let Some((settled_at, _)) = hold.settled else { return };
        let opening = hold.tag.opening;
        let Some(waiting) = self.settled.get_mut(&(by, opening)) else { return };
        while let Some((at, copy)) = waiting.front().copied() {
            if at + TOGETHER >= settled_at {
                return;
            }
            waiting.pop_front();
            let open = scene.processes.get(&by).and_then(|process| process.holds.get(&copy));
            let parallel =
                |hold: &&Hold| hold.task.and_then(|task| scene.tasks.get(&task)).is_none_or(|task| task.parallel);
            let open = open.filter(|hold| is_open(scene, hold, by, opening) && !parallel(hold));
            if let Some(hold) = open {
                let result = hold.settled.map_or("", |(_, result)| Settlement::label(result));
                let (number, later) = (copy.0, settled_at.saturating_sub(at));
                found.broken(
                    hold.task,
                    format_args!(
                        "{by} counts message {number} as {result} at {at:?}, and the broker has not heard of it, though it \
                         has of what was settled {later:?} later"
                    ),
                );
            }
        }
    }
}

/// A delivery comes back with its opening, though its dispatcher has settled it long ago and nothing was wrong.
fn never_heard_of(scene: &Scene<'_>, found: &mut Found) {
    let Some(hold) = &scene.subject.hold else { return };
    let Some((at, result)) = hold.settled.filter(|(at, _)| *at + TOGETHER < scene.now) else { return };
    let Some(by) = scene.subject.from else { return };
    let certain = scene.task().is_some_and(|task| !task.parallel || result == Settlement::Requeued);
    if certain && scene.is_undisturbed(by, at) {
        let (copy, result) = (hold.copy.0, result.label());
        found.broken(
            hold.task,
            format_args!("{by} counts message {copy} as {result} at {at:?}, and the broker has never heard of it"),
        );
    }
}

/// Whether the broker still waits for the settlement of a delivery through that opening.
fn is_open(scene: &Scene<'_>, hold: &Hold, by: Host, opening: Opening) -> bool {
    use super::scene::Place;
    let place = scene.copies.get(&hold.copy).map(|copy| copy.place);
    hold.settled.is_some() && matches!(place, Some(Place::Unsettled(host, tag)) if host == by && tag.opening == opening)
}

fn gauges_are_true(scene: &Scene<'_>, host: Host, lane: &str, told: u64, found: &mut Found) {
    let Some(process) = scene.processes.get(&host) else { return };
    let Some(of_lane) = scene.lane(lane).map(|lane| &process.lanes[lane]) else { return };
    let (delivered, settled) = (of_lane.delivered, of_lane.settled);
    if delivered.checked_sub(settled) != Some(told) {
        found.broken(
            None,
            format_args!(
                "{host} in {lane}: {delivered} delivered, {settled} settled, and {told} in flight or buffered"
            ),
        );
    }
}

fn sums_are_true(scene: &Scene<'_>, host: Host, summary: &Summary, found: &mut Found) {
    let Some(process) = scene.processes.get(&host) else { return };
    let (deliveries, held) = (summary.deliveries, summary.held);
    let settled: u64 = summary.settlements.values().sum();
    if deliveries.checked_sub(held) != Some(settled) {
        found.broken(
            None,
            format_args!(
                "{host} ended with {deliveries} delivered, {settled} settled and {held} held by its own count"
            ),
        );
    }
    let told: u64 = process.lanes.iter().map(|lane| lane.delivered).sum();
    if told != deliveries {
        found.broken(None, format_args!("{host} counts {deliveries} deliveries, and told of {told}"));
    }
}
