//! The series of one lane, looked up once, and what its events do to them.

use crate::{
    head::Head,
    histogram::Histogram,
    list::ENDS,
    maker::Maker,
    registry::{lock, whole},
};
use prometheus::{Gauge, IntCounter, IntGauge};
use quebert_dispatcher::{
    config::LaneConfig,
    event::{Event, ExpiryStage, Settlement},
    ports::broker::Depth,
    verdict::{BuryReason, RetryReason},
};
use quebert_wire::Timestamp;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    pub(crate) deliveries: [IntCounter; 2],
    /// These stand in the order of their enum.
    pub(crate) settlements: [IntCounter; Settlement::ALL.len()],
    retries: [IntCounter; RetryReason::ALL.len()],
    buried: [IntCounter; BuryReason::ALL.len()],
    expired: [IntCounter; ExpiryStage::ALL.len()],
    /// Of the settlements that end a task.
    ends: [Option<End>; Settlement::ALL.len()],
    unknown_fields: IntCounter,
    skew: IntCounter,
    wait: Arc<Histogram>,
    lag: Arc<Histogram>,
    body: Arc<Histogram>,
    pub(crate) in_flight: IntGauge,
    pub(crate) buffered: IntGauge,
    pub(crate) slots: IntGauge,
    open: IntGauge,
    ready: IntGauge,
    consumers: IntGauge,
    dead: IntGauge,
    pub(crate) head_age: Gauge,
    head: Mutex<Head>,
}

struct End {
    duration: Arc<Histogram>,
    attempts: Arc<Histogram>,
}

impl Lane {
    /// One for each lane, with all label sets at 0.
    pub(crate) fn all(lanes: &[LaneConfig], r: &Maker<'_>) -> Vec<Self> {
        let (deliveries, settlements) =
            (r.counters("quebert_deliveries_total"), r.counters("quebert_settlements_total"));
        let (durations, attempts) =
            (r.histograms("quebert_task_duration_seconds"), r.histograms("quebert_task_attempts"));
        let (retries, buried) =
            (r.counters("quebert_retries_scheduled_total"), r.counters("quebert_dead_lettered_total"));
        let expired = r.counters("quebert_tasks_expired_total");
        let (unknown, skew) = (r.counters("quebert_unknown_fields_total"), r.counters("quebert_clock_skew_total"));
        let (wait, lag) = (r.histograms("quebert_task_wait_seconds"), r.histograms("quebert_schedule_lag_seconds"));
        let body = r.histograms("quebert_task_body_bytes");
        let (in_flight, buffered) = (r.gauges("quebert_tasks_in_flight"), r.gauges("quebert_tasks_buffered"));
        let (slots, window) = (r.gauges("quebert_queue_concurrency_limit"), r.gauges("quebert_queue_prefetch_limit"));
        let (open, ready) = (r.gauges("quebert_queue_open"), r.gauges("quebert_queue_ready_messages"));
        let (consumers, dead) = (r.gauges("quebert_queue_consumers"), r.gauges("quebert_dead_letter_messages"));
        let head_age = r.float_gauges("quebert_queue_head_age_seconds");
        let of = |config: &LaneConfig| {
            let name = &*config.name;
            let end = |result: Settlement| {
                let values = [name, result.label()];
                ENDS.contains(&result).then(|| End { duration: durations.of(&values), attempts: attempts.of(&values) })
            };
            window.with_label_values(&[name]).set(i64::from(config.window));
            let lane = Self {
                name: config.name.clone(),
                deliveries: ["false", "true"].map(|again| deliveries.with_label_values(&[name, again])),
                settlements: Settlement::ALL.map(|x| settlements.with_label_values(&[name, x.label()])),
                retries: RetryReason::ALL.map(|x| retries.with_label_values(&[name, x.label()])),
                buried: BuryReason::ALL.map(|x| buried.with_label_values(&[name, x.label()])),
                expired: ExpiryStage::ALL.map(|x| expired.with_label_values(&[name, x.label()])),
                ends: Settlement::ALL.map(end),
                unknown_fields: unknown.with_label_values(&[name]),
                skew: skew.with_label_values(&[name]),
                wait: wait.of(&[name]),
                lag: lag.of(&[name]),
                body: body.of(&[name]),
                in_flight: in_flight.with_label_values(&[name]),
                buffered: buffered.with_label_values(&[name]),
                slots: slots.with_label_values(&[name]),
                open: open.with_label_values(&[name]),
                ready: ready.with_label_values(&[name]),
                consumers: consumers.with_label_values(&[name]),
                dead: dead.with_label_values(&[name]),
                head_age: head_age.with_label_values(&[name]),
                head: Mutex::default(),
            };
            lane.slots.set(i64::from(config.slots_max));
            lane
        };
        lanes.iter().map(of).collect()
    }

    /// What an event of this lane does, but for what it does to its destination.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::LaneOpen { open, .. } => self.open.set(i64::from(*open)),
            // It is told to be open once more when it goes on.
            Event::LanePaused { paused: true, .. } => self.open.set(0),
            Event::Delivered { redelivered, .. } => self.deliveries[usize::from(*redelivered)].inc(),
            Event::Settled { result, task, attempts, age, trace, .. } => {
                self.settlements[*result as usize].inc();
                if let (Some(end), Some(task)) = (&self.ends[*result as usize], task) {
                    end.attempts.count_of(u64::from(*attempts), task, *trace);
                    if let Some(age) = age {
                        end.duration.time_of(*age, task, *trace);
                    }
                }
            }
            Event::Waited { wait, skewed, at, task, trace, .. } => {
                self.wait.time_of(*wait, task, *trace);
                if *skewed {
                    self.skew.inc();
                }
                lock(&self.head).left(before(*at, *wait));
            }
            Event::Lag { lag, .. } => self.lag.time(*lag),
            Event::AttemptStarted { body_bytes, task, trace, .. } => {
                self.body.count_of(*body_bytes as u64, task, *trace);
            }
            Event::RetryScheduled { reason, .. } => self.retries[*reason as usize].inc(),
            Event::Buried { reason, .. } => self.buried[*reason as usize].inc(),
            Event::Expired { stage, .. } => self.expired[*stage as usize].inc(),
            Event::UnknownFields { .. } => self.unknown_fields.inc(),
            Event::Held { in_flight, buffered, .. } => {
                self.in_flight.set(i64::from(*in_flight));
                self.buffered.set(i64::from(*buffered));
            }
            _ => {}
        }
    }

    /// What the broker says of the queue and of its dead letters.
    pub(crate) fn depth(&self, queue: Option<Depth>, dead: Option<Depth>) {
        if let Some(depth) = queue {
            self.ready.set(whole(depth.ready));
            self.consumers.set(whole(depth.consumers));
        }
        if let Some(depth) = dead {
            self.dead.set(whole(depth.ready));
        }
    }

    /// How old the head of the queue is at most.
    pub(crate) fn head_age(&self, ready: u64, now: Timestamp) {
        let age = lock(&self.head).age(ready, now);
        self.head_age.set(age.as_secs_f64());
    }

    /// Deliveries less settlements less what is held.
    pub(crate) fn imbalance(&self) -> i64 {
        let delivered: u64 = self.deliveries.iter().map(IntCounter::get).sum();
        let settled: u64 = self.settlements.iter().map(IntCounter::get).sum();
        whole(delivered) - whole(settled) - self.in_flight.get() - self.buffered.get()
    }
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_sub_unsigned(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_by_its_place_stands_there() {
        assert!(Settlement::ALL.iter().enumerate().all(|(at, x)| *x as usize == at));
        assert!(RetryReason::ALL.iter().enumerate().all(|(at, x)| *x as usize == at));
        assert!(BuryReason::ALL.iter().enumerate().all(|(at, x)| *x as usize == at));
        assert!(ExpiryStage::ALL.iter().enumerate().all(|(at, x)| *x as usize == at));
    }
}
