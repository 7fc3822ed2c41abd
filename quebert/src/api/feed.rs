//! What happens, as it happens: the last events, and whoever reads on. It keeps nothing beyond the last few thousand.

use quebert_dispatcher::{event::Event, ports::observer::Observer};

/// Events for readers of `/v1/events`.
#[derive(Debug, Default)]
pub struct Feed {}

impl Observer for Feed {
    fn observe(&self, _event: &Event) {}
}
