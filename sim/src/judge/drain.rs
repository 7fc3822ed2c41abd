//! Promise 9. Drain: once a drain or a pause has begun nothing new starts; what is under way ends within the grace time and is not
//! cut off before; what ended in time is not sent twice.
//!
//! * From the moment when a dispatcher tells that it drains, none of its attempts starts; the same for a lane that is
//!   paused, or not yet open again.
//! * A dispatcher that drains ends by its deadline. The slack, [`STOP`], is for the last acks and the end of the connection.
//!   Not judged if something was wrong between it and the broker: then there is somebody to wait for.
//! * It does not end before its deadline while an attempt is under way whose delivery it has.
//! * What it has settled before its orderly end does not come back with its connection's end, if nothing was wrong between
//!   it and the broker: acks go out before, and what is given back goes back on purpose.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::{
    history::{Entry, What},
    host::Host,
    net::Ran,
};
use quebert_dispatcher::event::Event;
use std::{collections::BTreeSet, time::Duration};

/// How long a broker's client may take for its last words.
const STOP: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Drain {
    told: BTreeSet<(Host, u32)>,
}

impl Promise for Drain {
    fn oracle(&self) -> Oracle {
        Oracle::Drain
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Event(Event::AttemptStarted { lane, number, .. }) => {
                let Some(process) = scene.processes.get(&entry.host) else { return };
                let Some(at) = scene.lane(lane) else { return };
                let of_lane = &process.lanes[at];
                let why = if process.draining {
                    "it drains"
                } else if of_lane.paused {
                    "the lane is paused"
                } else if of_lane.resuming {
                    "the lane is not open again"
                } else {
                    return;
                };
                let host = entry.host;
                found.broken(scene.subject.task, format_args!("attempt {number} started at {host}, though {why}"));
            }
            What::Ended(_) => ended(scene, entry.host, found),
            What::Returned { why, .. } if *why != "give_back" => came_back(scene, why, found),
            _ => {}
        }
        if let Host::Dispatcher(_) = entry.host {
            self.must_end(scene, entry.host, found);
        }
    }

    fn end(&mut self, scene: &Scene<'_>, _ran: &Ran, found: &mut Found) {
        for host in scene.processes.keys() {
            self.must_end(scene, *host, found);
        }
    }
}

impl Drain {
    fn must_end(&mut self, scene: &Scene<'_>, host: Host, found: &mut Found) {
        let Some(process) = scene.processes.get(&host) else { return };
        let Some((deadline, since)) = process.drain else { return };
        if process.down || process.ended_at.is_some_and(|at| at <= deadline + STOP) || scene.now <= deadline + STOP {
            return;
        }
        if scene.is_undisturbed(host, since) && self.told.insert((host, process.number)) {
            let over = scene.now.saturating_sub(deadline);
            found.broken(
                None,
                format_args!("{host} was told at {since:?} to drain, and has not ended {over:?} after its grace"),
            );
        }
    }
}

fn ended(scene: &Scene<'_>, host: Host, found: &mut Found) {
    let Some(process) = scene.processes.get(&host) else { return };
    let Some((deadline, _)) = process.drain.filter(|(deadline, _)| scene.now < *deadline) else { return };
    let left = deadline.saturating_sub(scene.now);
    for hold in process.holds.values().filter(|hold| hold.running.is_some() && hold.is_in_hand()) {
        let (number, since) = (hold.running.unwrap_or(0), hold.started_at);
        found.broken(
            hold.task,
            format_args!(
                "{host} ended with attempt {number}, begun at {since:?}, under way, {left:?} before its grace is over"
            ),
        );
    }
}

/// Something came back that its dispatcher had settled before it ended.
fn came_back(scene: &Scene<'_>, why: &str, found: &mut Found) {
    let Some(hold) = &scene.subject.hold else { return };
    let Some((settled_at, result)) = hold.settled else { return };
    let holds = |process: &super::scene::Process| {
        process.draining && !process.down && process.holds.get(&hold.copy).is_some_and(|h| h.tag == hold.tag)
    };
    let Some((host, _)) = scene.processes.iter().find(|(_, process)| holds(process)) else { return };
    if scene.is_undisturbed(*host, settled_at.saturating_sub(Duration::from_secs(1))) {
        let (copy, result) = (hold.copy.0, result.label());
        found.broken(
            hold.task,
            format_args!(
                "message {copy} came back ({why}): {host} had counted it as {result} at {settled_at:?}, and drained"
            ),
        );
    }
}
