//! What each event does to the metrics.

use crate::{list::PUBLISH_RESULTS, registry::Metrics};
use quebert_dispatcher::{event::Event, ports::observer::Observer};
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
                let confirms = &self.confirms[*purpose as usize];
                if let Some(at) = PUBLISH_RESULTS.iter().position(|known| known == result) {
                    confirms.results[at].inc();
                }
                confirms.duration.time(*duration);
            }
            Event::HookFailed { hook, phase, .. } => self.hook_errors.with_label_values(&[&**hook, *phase]).inc(),
            Event::HookRan { hook, phase, duration } => self.hook_duration.of(&[hook, phase]).time(*duration),
            Event::DestinationInFlight { .. } | Event::DestinationTrusted { .. } => {
                self.destinations.observe(None, event);
            }
            Event::AttemptStarted { lane, .. } | Event::AttemptEnded { lane, .. } => {
                self.of_lane(lane, event);
                self.destinations.observe(self.lane(lane).map(|(at, _)| at), event);
            }
            Event::LaneOpen { lane, .. }
            | Event::LanePaused { lane, .. }
            | Event::Delivered { lane, .. }
            | Event::Settled { lane, .. }
            | Event::Waited { lane, .. }
            | Event::Lag { lane, .. }
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
    fn of_lane(&self, lane: &Arc<str>, event: &Event) {
        if let Some((_, lane)) = self.lane(lane) {
            lane.observe(event);
        }
    }
}
