//! The machine's clocks, for a store on a thread of its own. A host that drives the store by hand brings its own clock.

use quebert_dispatcher::ports::clock::{Clock, Now};
use quebert_wire::Timestamp;
use std::time::{Duration, Instant, SystemTime};

/// The machine's clocks. Not tokio's: tests that pause those don't stop the store's thread.
#[derive(Debug)]
pub(super) struct Machine {
    start: Instant,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for Machine {
    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        Now { mono: self.start.elapsed(), wall }
    }
}

/// Whole milliseconds, for a log line.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
