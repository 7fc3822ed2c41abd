//! Live figures of lanes and destinations, from the dispatcher's events. Metrics for machines are elsewhere.

use quebert_dispatcher::{event::Event, ports::observer::Observer};

/// Counts what the dispatcher does, lane by lane and destination by destination.
#[derive(Debug, Default)]
pub struct Board {}

impl Observer for Board {
    fn observe(&self, _event: &Event) {}
}
