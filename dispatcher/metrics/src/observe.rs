//! What each event does to the metrics.

use crate::registry::{DestinationGauges, DestinationHandles, Metrics, lock};
use quebert_dispatcher::{event::Event, ports::observer::Observer};
use quebert_wire::{Destination, Timestamp};
use std::sync::Arc;

impl Observer for Metrics {
    fn observe(&self, event: &Event) {
        match event {
            Event::BrokerConnected => self.broker_connected.set(1),
            Event::BrokerDisconnected { reason, .. } => {
                self.broker_connected.set(0);
                self.broker_blocked.set(0);
                self.reconnects.with_label_values(&[reason]).inc();
            }
            Event::BrokerBlocked(blocked) => self.broker_blocked.set(i64::from(*blocked)),
            Event::Published { purpose, result, duration } => {
                self.confirms.with_label_values(&[purpose.label(), result]).inc();
                if let Some(histogram) = self.confirm_duration.get(purpose.label()) {
                    histogram.observe(duration.as_secs_f64());
                }
            }
            Event::HookFailed { hook, phase, .. } => self.hook_errors.with_label_values(&[&**hook, *phase]).inc(),
            Event::HookRan { hook, phase, duration } => {
                self.hook_duration.with_label_values(&[&**hook, *phase]).observe(duration.as_secs_f64());
            }
            Event::DestinationInFlight { destination, in_flight, limit } => {
                if let Some(gauges) = &self.destination(destination).gauges {
                    gauges.in_flight.set(i64::from(*in_flight));
                    gauges.limit.set(i64::from(*limit));
                }
            }
            Event::DestinationTrusted { destination, trusted } => {
                if let Some(gauges) = &self.destination(destination).gauges {
                    gauges.circuit_open.set(i64::from(!trusted));
                }
            }
            Event::LaneOpen { lane, .. }
            | Event::Delivered { lane, .. }
            | Event::Settled { lane, .. }
            | Event::Waited { lane, .. }
            | Event::Lag { lane, .. }
            | Event::AttemptStarted { lane, .. }
            | Event::AttemptEnded { lane, .. }
            | Event::RetryScheduled { lane, .. }
            | Event::Buried { lane, .. }
            | Event::Expired { lane, .. }
            | Event::UnknownFields { lane, .. }
            | Event::Held { lane, .. } => self.of_lane(lane, event),
            _ => {}
        }
    }
}

impl Metrics {
    fn destination(&self, destination: &Destination) -> Arc<DestinationHandles> {
        let mut all = lock(&self.destinations);
        if let Some(handles) = all.known.get(destination) {
            return handles.clone();
        }
        if all.known.len() >= all.max {
            self.overflow.inc();
            return all.other.clone();
        }
        let name = destination.as_str();
        let gauges = DestinationGauges {
            in_flight: self.destination_in_flight.with_label_values(&[name]),
            limit: self.destination_limit.with_label_values(&[name]),
            circuit_open: self.circuit_open.with_label_values(&[name]),
        };
        let lanes: Vec<_> = self.lanes.keys().cloned().collect();
        let handles = DestinationHandles::new(name, &lanes, &self.attempts, &self.dispatch_duration, Some(gauges));
        let handles = Arc::new(handles);
        all.known.insert(destination.clone(), handles.clone());
        handles
    }

    fn of_lane(&self, lane: &Arc<str>, event: &Event) {
        let Some(m) = self.lanes.get(lane) else { return };
        match event {
            Event::LaneOpen { open, .. } => m.open.set(i64::from(*open)),
            Event::Delivered { redelivered, .. } => m.deliveries[usize::from(*redelivered)].inc(),
            Event::Settled { result, attempts, age, .. } => {
                m.settlements[result].inc();
                if let (Some(histogram), Some(age)) = (m.durations.get(result), age) {
                    histogram.observe(age.as_secs_f64());
                }
                if let Some(histogram) = m.attempts.get(result) {
                    histogram.observe(f64::from(*attempts));
                }
            }
            Event::Waited { wait, skewed, at, .. } => {
                m.wait.observe(wait.as_secs_f64());
                let entered =
                    at.as_millis().saturating_sub_unsigned(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                lock(&m.head).left(Timestamp::from_millis(entered));
                m.skew.inc_by(u64::from(*skewed));
            }
            Event::Lag { lag, .. } => m.lag.observe(lag.as_secs_f64()),
            Event::AttemptStarted { body_bytes, .. } => m.body.observe(*body_bytes as f64),
            Event::AttemptEnded { destination, class, duration, .. } => {
                let handles = self.destination(destination);
                if let Some(counter) = handles.attempts.get(&(lane.clone(), *class)) {
                    counter.inc();
                }
                let histogram = if *class == "2xx" { &handles.ok } else { &handles.error };
                histogram.observe(duration.as_secs_f64());
            }
            Event::RetryScheduled { reason, .. } => m.retries[reason].inc(),
            Event::Buried { reason, .. } => m.buried[reason].inc(),
            Event::Expired { stage, .. } => m.expired[stage].inc(),
            Event::UnknownFields { .. } => m.unknown_fields.inc(),
            Event::Held { in_flight, buffered, .. } => {
                m.in_flight.set(i64::from(*in_flight));
                m.buffered.set(i64::from(*buffered));
            }
            _ => {}
        }
    }
}
