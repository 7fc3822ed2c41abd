//! What each host's wall clock showed: the clock faults of the case, replayed in the order in which they happened.

use crate::{
    case::{Case, FaultKind},
    clock::{EPOCH_MS, Skew},
    host::Host,
};
use quebert_wire::Timestamp;
use std::{collections::BTreeMap, time::Duration};

/// The clocks of a run, up to now.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    skews: BTreeMap<Host, Skew>,
    /// Drifts that are on now, by their faults.
    drifts: BTreeMap<usize, (Host, i64)>,
}

impl Clocks {
    /// A fault begins or ends: each clock moves just as the director moved it.
    pub(super) fn fault(&mut self, case: &Case, index: usize, begins: bool, at: Duration) {
        match case.faults.get(index).map(|fault| &fault.kind) {
            Some(FaultKind::ClockJump { host, ms }) if begins => self.change(*host, *ms, at),
            Some(FaultKind::ClockDrift { host, ppm }) => {
                if begins {
                    self.drifts.insert(index, (*host, *ppm));
                } else {
                    self.drifts.remove(&index);
                }
                self.change(*host, 0, at);
            }
            _ => {}
        }
    }

    /// What a host's clock shows.
    pub(super) fn wall(&self, host: Host, at: Duration) -> Timestamp {
        let since = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(EPOCH_MS + since + self.skew(host).ahead_ms(at))
    }

    /// Whether it was ever touched.
    pub(super) fn is_true(&self, host: Host) -> bool {
        !self.skews.contains_key(&host)
    }

    fn skew(&self, host: Host) -> Skew {
        self.skews.get(&host).copied().unwrap_or_default()
    }

    fn change(&mut self, host: Host, ms: i64, at: Duration) {
        let drift_ppm = self.drifts.values().filter(|(other, _)| *other == host).map(|(_, ppm)| ppm).sum();
        let offset_ms = self.skew(host).ahead_ms(at) + ms;
        self.skews.insert(host, Skew { offset_ms, drift_ppm, since: at });
    }
}
