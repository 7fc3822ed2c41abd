//! What happened in a dispatcher, kept for the tests to wait for and to look at. Judges nothing.

use quebert::{BuryReason, Event, Observer, Settlement, TaskId, Timestamp};
use quebert_dispatcher::event::{ExpiryStage, Purpose};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::watch;

/// Everything seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) delivered: u64,
    pub(crate) settled: BTreeMap<Settlement, u64>,
    /// Whether each lane's queue is open, by lane.
    pub(crate) lanes_open: BTreeMap<String, bool>,
    pub(crate) attempts: Vec<AttemptSeen>,
    /// By id: when the last attempt began, and then ended, by the dispatcher's own clock; and then when the next is due.
    due: BTreeMap<String, Timestamp>,
    /// Retries and put-offs, by reason.
    pub(crate) retries: BTreeMap<&'static str, u64>,
    pub(crate) buried: Vec<(Option<String>, BuryReason, String)>,
    pub(crate) expired: Vec<(String, ExpiryStage)>,
    /// Confirmed publishes.
    pub(crate) published: BTreeMap<Purpose, u64>,
    /// Publishes that came to nothing, by what came of them.
    pub(crate) failed_publishes: BTreeMap<&'static str, u64>,
    /// Sessions and queues that were lost.
    pub(crate) disconnects: Vec<String>,
    /// Attempts under way now.
    pub(crate) sending: u64,
}

/// The start of an attempt.
#[derive(Debug)]
pub(crate) struct AttemptSeen {
    pub(crate) task: String,
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
    /// When it was due, for attempts after the first.
    pub(crate) due: Option<Timestamp>,
}

impl Seen {
    pub(crate) fn settled_as(&self, settlement: Settlement) -> u64 {
        self.settled.get(&settlement).copied().unwrap_or(0)
    }

    /// Tasks that are done with, however they ended.
    pub(crate) fn over(&self) -> u64 {
        let ends = [Settlement::Succeeded, Settlement::DeadLettered, Settlement::Expired, Settlement::Filtered];
        ends.iter().map(|end| self.settled_as(*end)).sum()
    }
}

/// Sees for a [`watch::Receiver`].
pub(crate) struct Recorder(pub(crate) watch::Sender<Seen>);

impl Observer for Recorder {
    fn observe(&self, event: &Event) {
        self.0.send_modify(|seen| seen.add(event));
    }
}

impl Seen {
    fn add(&mut self, event: &Event) {
        match event {
            Event::BrokerDisconnected { reason, detail } => self.disconnects.push(format!("{reason}: {detail}")),
            Event::Delivered { .. } => self.delivered += 1,
            Event::Settled { result, .. } => *self.settled.entry(*result).or_default() += 1,
            Event::LaneOpen { lane, open } => {
                self.lanes_open.insert(lane.to_string(), *open);
                if !open {
                    self.disconnects.push(format!("lane {lane} closed"));
                }
            }
            Event::SourceFailed { source, detail } => self.disconnects.push(format!("{source:?}: {detail}")),
            Event::AttemptStarted { task, number, at, .. } => {
                self.sending += 1;
                let task = task.to_string();
                let due = self.due.insert(task.clone(), *at);
                self.attempts.push(AttemptSeen { task, number: *number, at: *at, due });
            }
            Event::AttemptEnded { task, duration, .. } => {
                self.sending -= 1;
                self.put_forward(task, *duration);
            }
            Event::RetryScheduled { task, delay, reason, .. } => {
                *self.retries.entry(reason.label()).or_default() += 1;
                self.put_forward(task, *delay);
            }
            Event::Buried { task, reason, detail, .. } => {
                self.buried.push((task.as_ref().map(ToString::to_string), *reason, detail.clone()));
            }
            Event::Expired { task, stage, .. } => self.expired.push((task.to_string(), *stage)),
            Event::Published { purpose, result: "ack", .. } => *self.published.entry(*purpose).or_default() += 1,
            Event::Published { result, .. } => *self.failed_publishes.entry(result).or_default() += 1,
            _ => {}
        }
    }

    /// In whole milliseconds, as timestamps are: never more than it was.
    fn put_forward(&mut self, task: &TaskId, by: Duration) {
        if let Some(due) = self.due.get_mut(task.as_str()) {
            *due = Timestamp::from_millis(due.as_millis() + i64::try_from(by.as_millis()).unwrap());
        }
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap())
}
