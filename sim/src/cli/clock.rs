//! The machine's own time, for speed and limits. Nothing of it reaches a run.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Real time that goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    /// From now on.
    #[expect(clippy::disallowed_methods, reason = "how long a run takes is no part of the run")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// So far.
    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// CPU time of this process's threads that are there now; `None` where the system has no /proc/self/task. A run has one
/// thread, so threads that have ended are not missed.
pub(super) fn cpu() -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        nanos += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}
