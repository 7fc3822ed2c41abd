//! Promise 8. Few duplicates: a task is sent again only after a fault that leaves its fate open.
//!
//! * Requests of one attempt beyond the first are explained, one by one, by happenings to that task: a delivery that went
//!   back after its attempt or its move had begun, or whose attempt began after it had gone back; a message stored beside
//!   another one; an ack that a crash undid.
//! * A process never sends a message again, flagged as a repetition, whose end it knew or whose next copy it had confirmed;
//!   and it never makes the same attempt of one message twice. What it may forget is left out: acks that a crash of the
//!   broker undid, which may be older than the last window, and what is older than [`REMEMBERED`].
//! * Nobody has two attempts of one delivery under way at a time.

use super::{Found, Oracle, Promise, scene::Scene};
use crate::{
    history::{CopyNo, Entry, TaskNo, What},
    host::Host,
};
use quebert_dispatcher::event::Event;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a dispatcher remembers what it settled.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

#[derive(Default)]
pub(super) struct FewDuplicates {
    requests: BTreeMap<(TaskNo, u32), u32>,
    /// Attempts begun, by host, process and message: their latest number and when.
    sent: BTreeMap<(Host, u32, CopyNo), (u32, Duration)>,
    /// Messages of which an ack was undone.
    revived: BTreeSet<CopyNo>,
}

impl Promise for FewDuplicates {
    fn oracle(&self) -> Oracle {
        Oracle::FewDuplicates
    }

    fn see(&mut self, scene: &Scene<'_>, entry: &Entry, found: &mut Found) {
        match &entry.what {
            What::Request { task, attempt, .. } => {
                let seen = self.requests.entry((*task, *attempt)).or_default();
                *seen += 1;
                let doubts = scene.tasks.get(task).map_or(0, |task| task.doubts);
                if *seen > 1 + doubts {
                    found.broken(
                        Some(*task),
                        format_args!(
                            "attempt {attempt} was sent {seen} times, and {doubts} faults explain one more each"
                        ),
                    );
                }
            }
            What::Revived { copy, .. } => drop(self.revived.insert(*copy)),
            What::Event(Event::AttemptStarted { number, .. }) => self.on_started(scene, entry.host, *number, found),
            _ => {}
        }
    }
}

impl FewDuplicates {
    fn on_started(&mut self, scene: &Scene<'_>, host: Host, number: u32, found: &mut Found) {
        let (Some(hold), Some(task)) = (&scene.subject.hold, scene.task()) else { return };
        let Some(process) = scene.processes.get(&host) else { return };
        let certain = !scene.subject.unsure && !task.parallel && !self.revived.contains(&hold.copy);
        let key = (host, process.number, hold.copy);
        let before = self.sent.insert(key, (number, scene.now));
        let fresh = before.is_some_and(|(_, at)| scene.now.saturating_sub(at) < REMEMBERED);
        if !certain || !hold.redelivered || !fresh {
            return;
        }
        let copy = hold.copy.0;
        if hold.known {
            found.broken(Some(task.no()), format_args!("{host} sent message {copy} again, whose end it knew"));
        } else if let Some((same, at)) = before.filter(|(before, _)| *before >= number) {
            found.broken(
                Some(task.no()),
                format_args!(
                    "{host} sent attempt {number} of message {copy} again: it had sent attempt {same} at {at:?}"
                ),
            );
        }
    }
}
