//! What a machine adds, from a report of a run on it: the difference between what attempts took their slots and what the
//! executors' work was drawn as. It measures nothing itself.

use super::{Timing, model};
use crate::{figures::Kind, report::Report, run::Config};

impl Timing {
    /// As a run has shown; `None` if its dispatchers told nothing, if it had no attempts, or if it can't be computed again.
    ///
    /// The executors' work is computed again without anything added, so the difference to what the dispatchers say of their
    /// attempts is all that the machine adds to one: ways, timers, and waiting for a processor.
    pub fn measured(report: &Report) -> Option<Self> {
        let config = Config::try_from(report.profile.clone()).ok()?;
        let nothing = Self { broker_rtt_us: 0, attempt_extra_us: 0, confirm_us: 0 };
        let work_us = model(&config, &nothing).ok()?.figures.total().get(Kind::Attempt).mean_us();
        let confirm_us = report.latency.get(Kind::ConfirmUncorrected.name())?.summary.p50_us;
        let extra_us = (report.attempt_mean_us? - work_us).max(0.0);
        let usual = Self::default();
        Some(Self {
            attempt_extra_us: extra_us.round() as u64,
            confirm_us: confirm_us.saturating_sub(usual.broker_rtt_us),
            ..usual
        })
    }
}
