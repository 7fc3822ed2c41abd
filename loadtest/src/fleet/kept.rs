//! How an executor kept what it planned: what it works, how long requests stand in line for it, and by how much it is late itself.
//! The first two are the executor's, the last one is the tester's: its timers, on a machine that does not let it run. It judges
//! nothing.

use super::Reply;
use crate::figures::Hist;
use std::time::Duration;

/// Of all requests whose answer took any time.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    answers: u32,
    work: Duration,
    line: Duration,
    late: Hist,
}

/// The same on average, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Means {
    /// The work on a request.
    pub work_s: f64,
    /// What a request waited for others.
    pub line_s: f64,
    /// How much later it was answered than planned.
    pub late_s: f64,
}

impl Kept {
    /// A request was to be answered as `reply` says, and it took that long until it was.
    pub(super) fn took(&mut self, reply: &Reply, planned: Duration, took: Duration) {
        self.answers += 1;
        self.work += reply.after.saturating_sub(reply.line);
        self.line += reply.line;
        self.late.record(took.saturating_sub(planned));
    }

    /// By how much it was late, of each answer.
    pub fn late(&self) -> &Hist {
        &self.late
    }

    /// Zeros without answers.
    pub fn means(&self) -> Means {
        let mean = |sum: Duration| sum.as_secs_f64() / f64::from(self.answers.max(1));
        Means { work_s: mean(self.work), line_s: mean(self.line), late_s: self.late.mean_us() / 1e6 }
    }
}
