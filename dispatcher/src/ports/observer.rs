//! Observers: metrics, logs, consoles and judges. Each sees every event.

use crate::event::Event;

/// Sees every event, in order, from within the dispatcher's loop: must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event);
}

impl<T: Observer + ?Sized> Observer for std::sync::Arc<T> {
    fn observe(&self, event: &Event) {
        (**self).observe(event);
    }
}
