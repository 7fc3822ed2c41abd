//! One thing that happened, as the feed keeps it: names and ids are shared, and what a task holds never gets in. It isn't
//! put into words before somebody reads it.

use crate::api::types::EventView;
use quebert_dispatcher::event::{Event, Settlement};
use quebert_wire::{Destination, TaskId, Timestamp};
use std::{sync::Arc, time::Duration};

/// Bytes of words for people that are kept.
const DETAIL_BYTES_MAX: usize = 300;

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Enqueued,
    AttemptStarted,
    AttemptEnded,
    RetryScheduled,
    Settled,
    Buried,
    Expired,
    HookFailed,
    BrokerConnected,
    BrokerDisconnected,
    BrokerBlocked,
    QueuePaused,
    QueueResumed,
    Reconfigured,
    Draining,
    Missed,
}

impl Kind {
    pub(super) const ALL: [Self; 16] = [
        Self::Enqueued,
        Self::AttemptStarted,
        Self::AttemptEnded,
        Self::RetryScheduled,
        Self::Settled,
        Self::Buried,
        Self::Expired,
        Self::HookFailed,
        Self::BrokerConnected,
        Self::BrokerDisconnected,
        Self::BrokerBlocked,
        Self::QueuePaused,
        Self::QueueResumed,
        Self::Reconfigured,
        Self::Draining,
        Self::Missed,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::AttemptStarted => "attempt_started",
            Self::AttemptEnded => "attempt_ended",
            Self::RetryScheduled => "retry_scheduled",
            Self::Settled => "settled",
            Self::Buried => "buried",
            Self::Expired => "expired",
            Self::HookFailed => "hook_failed",
            Self::BrokerConnected => "broker_connected",
            Self::BrokerDisconnected => "broker_disconnected",
            Self::BrokerBlocked => "broker_blocked",
            Self::QueuePaused => "queue_paused",
            Self::QueueResumed => "queue_resumed",
            Self::Reconfigured => "reconfigured",
            Self::Draining => "draining",
            Self::Missed => "missed",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) queue: Option<Arc<str>>,
    pub(super) task: Option<TaskId>,
    pub(super) attempt: Option<u32>,
    pub(super) destination: Option<Destination>,
    pub(super) status: Option<u16>,
    pub(super) result: Option<&'static str>,
    pub(super) detail: Option<Box<str>>,
    pub(super) duration: Option<Duration>,
    pub(super) count: Option<u64>,
}

impl Record {
    pub(super) const fn new(kind: Kind) -> Self {
        Self {
            seq: 0,
            at: Timestamp::from_millis(0),
            kind,
            queue: None,
            task: None,
            attempt: None,
            destination: None,
            status: None,
            result: None,
            detail: None,
            duration: None,
            count: None,
        }
    }

    /// What readers are told of it.
    pub(super) fn view(&self) -> EventView {
        EventView {
            seq: self.seq,
            at: self.at.to_string(),
            kind: self.kind.label().to_owned(),
            queue: self.queue.as_deref().map(str::to_owned),
            task: self.task.as_ref().map(|id| id.as_str().to_owned()),
            attempt: self.attempt,
            destination: self.destination.as_ref().map(ToString::to_string),
            status: self.status,
            result: self.result.map(str::to_owned),
            detail: self.detail.as_deref().map(str::to_owned),
            duration_ms: self.duration.map(|d| d.as_micros() as f64 / 1000.0),
            count: self.count,
        }
    }

    /// What readers may want to know of an event, without its number and moment.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let new = |kind, lane: &Arc<str>| Self { queue: Some(lane.clone()), ..Self::new(kind) };
        Some(match event {
            Event::AttemptStarted { lane, task, number, destination, .. } => Self {
                task: Some(task.clone()),
                attempt: Some(*number),
                destination: Some(destination.clone()),
                ..new(Kind::AttemptStarted, lane)
            },
            Event::AttemptEnded { lane, task, number, destination, class, status, detail, duration, .. } => Self {
                task: Some(task.clone()),
                attempt: Some(*number),
                destination: Some(destination.clone()),
                status: *status,
                result: Some(class),
                detail: detail.as_deref().map(words),
                duration: Some(*duration),
                ..new(Kind::AttemptEnded, lane)
            },
            Event::RetryScheduled { lane, task, reason, attempts, delay, .. } => Self {
                task: Some(task.clone()),
                attempt: Some(*attempts),
                result: Some(reason.label()),
                duration: Some(*delay),
                ..new(Kind::RetryScheduled, lane)
            },
            Event::Settled { lane, result, task, attempts, .. } => Self {
                task: task.clone(),
                attempt: Some(*attempts),
                result: Some(result.label()),
                ..new(Kind::Settled, lane)
            },
            Event::Buried { lane, task, reason, detail, .. } => Self {
                task: task.clone(),
                result: Some(reason.label()),
                detail: Some(words(detail)),
                ..new(Kind::Buried, lane)
            },
            Event::Expired { lane, task, stage, .. } => {
                Self { task: Some(task.clone()), result: Some(stage.label()), ..new(Kind::Expired, lane) }
            }
            Event::DelayedCancelled { lane, task, attempts } => Self {
                queue: lane.clone(),
                task: Some(task.clone()),
                attempt: Some(*attempts),
                result: Some(Settlement::Filtered.label()),
                ..Self::new(Kind::Settled)
            },
            Event::HookFailed { hook, phase, detail } => Self {
                result: Some(phase),
                detail: Some(words(&format!("{hook}: {detail}"))),
                ..Self::new(Kind::HookFailed)
            },
            Event::BrokerConnected => Self::new(Kind::BrokerConnected),
            Event::BrokerDisconnected { reason, detail } => {
                Self { result: Some(reason), detail: Some(words(detail)), ..Self::new(Kind::BrokerDisconnected) }
            }
            Event::BrokerBlocked(blocked) => {
                let result = if *blocked { "blocked" } else { "unblocked" };
                Self { result: Some(result), ..Self::new(Kind::BrokerBlocked) }
            }
            Event::LanePaused { lane, paused: true } => new(Kind::QueuePaused, lane),
            Event::LanePaused { lane, paused: false } => new(Kind::QueueResumed, lane),
            Event::Reconfigured => Self::new(Kind::Reconfigured),
            Event::Draining => Self::new(Kind::Draining),
            _ => return None,
        })
    }

    /// Whether [`of`](Self::of) makes something of an event; for counting those that nobody reads.
    pub(super) const fn is_told(event: &Event) -> bool {
        matches!(
            event,
            Event::AttemptStarted { .. }
                | Event::AttemptEnded { .. }
                | Event::RetryScheduled { .. }
                | Event::Settled { .. }
                | Event::Buried { .. }
                | Event::Expired { .. }
                | Event::DelayedCancelled { .. }
                | Event::HookFailed { .. }
                | Event::BrokerConnected
                | Event::BrokerDisconnected { .. }
                | Event::BrokerBlocked(_)
                | Event::LanePaused { .. }
                | Event::Reconfigured
                | Event::Draining
        )
    }
}

fn words(text: &str) -> Box<str> {
    let max = DETAIL_BYTES_MAX.min(text.len());
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_dispatcher::{
        event::ExpiryStage,
        ports::broker::{Opening, Tag},
        verdict::{BuryReason, RetryReason},
    };

    fn events() -> Vec<Event> {
        let (lane, task): (Arc<str>, _) = ("high".into(), TaskId::new("t-1").unwrap());
        let destination: Destination = "http://h".parse().unwrap();
        vec![
            Event::AttemptStarted {
                lane: lane.clone(),
                task: task.clone(),
                number: 2,
                destination: destination.clone(),
                body_bytes: 5,
                at: Timestamp::from_millis(0),
                trace: None,
            },
            Event::AttemptEnded {
                lane: lane.clone(),
                task: task.clone(),
                number: 2,
                destination: destination.clone(),
                class: "5xx",
                status: Some(503),
                detail: None,
                duration: Duration::from_micros(1500),
                trace: None,
            },
            Event::RetryScheduled {
                lane: lane.clone(),
                task: task.clone(),
                reason: RetryReason::ServerError,
                attempts: 2,
                delay: Duration::from_secs(4),
                trace: None,
            },
            Event::Settled {
                lane: lane.clone(),
                result: Settlement::Retried,
                task: Some(task.clone()),
                attempts: 2,
                age: None,
                trace: None,
            },
            Event::Buried {
                lane: lane.clone(),
                task: None,
                reason: BuryReason::Undecodable,
                detail: "é".repeat(200),
                trace: None,
            },
            Event::Expired { lane: lane.clone(), task, stage: ExpiryStage::InFlight, trace: None },
            Event::HookFailed { hook: "filter".into(), phase: "before", detail: "took too long".into() },
            Event::BrokerConnected,
            Event::BrokerDisconnected { reason: "io", detail: "broken pipe".into() },
            Event::BrokerBlocked(true),
            Event::LanePaused { lane: lane.clone(), paused: true },
            Event::LanePaused { lane: lane.clone(), paused: false },
            Event::Reconfigured,
            Event::Draining,
            Event::Delivered { lane: lane.clone(), tag: Tag { opening: Opening(1), seq: 1 }, redelivered: false },
            Event::Held { lane, in_flight: 1, buffered: 1 },
            Event::DestinationInFlight { destination, in_flight: 1, limit: 2 },
        ]
    }

    #[test]
    fn each_event_is_told_in_its_own_words() {
        let told: Vec<_> = events().iter().filter_map(Record::of).map(|record| record.view()).collect();
        let kinds: Vec<_> = told.iter().map(|view| &*view.kind).collect();
        // All but what the API tells of itself.
        let expect = Kind::ALL.iter().map(|kind| kind.label()).filter(|k| !["enqueued", "missed"].contains(k));
        assert_eq!(kinds, expect.collect::<Vec<_>>());
        let ended = &told[1];
        assert_eq!(
            (ended.queue.as_deref(), ended.task.as_deref(), ended.attempt),
            (Some("high"), Some("t-1"), Some(2))
        );
        assert_eq!((ended.status, ended.result.as_deref(), ended.duration_ms), (Some(503), Some("5xx"), Some(1.5)));
        assert_eq!(ended.destination.as_deref(), Some("http://h:80"));
        assert_eq!(told[2].duration_ms, Some(4000.0));
        assert_eq!(told[4].detail.as_ref().unwrap().len(), DETAIL_BYTES_MAX);
        assert_eq!(told[6].detail.as_deref(), Some("filter: took too long"));
    }

    fn cancelled() -> Event {
        Event::DelayedCancelled { lane: Some("high".into()), task: TaskId::new("t-1").unwrap(), attempts: 1 }
    }

    #[test]
    fn a_task_cancelled_in_the_delay_grid_is_told_as_one_in_a_lane() {
        let told = Record::of(&cancelled()).unwrap().view();
        assert_eq!((&*told.kind, told.result.as_deref()), ("settled", Some("filtered")));
        assert_eq!((told.queue.as_deref(), told.task.as_deref(), told.attempt), (Some("high"), Some("t-1"), Some(1)));
    }

    #[test]
    fn what_is_counted_is_what_is_told() {
        for event in events().into_iter().chain([cancelled()]) {
            assert_eq!(Record::is_told(&event), Record::of(&event).is_some(), "{event:?}");
        }
    }
}
