//! The clocks of hosts: each shows true time with a fault of its own. The monotonic side is true; only the wall is wrong.

use crate::{host::Host, net::Net};
use quebert_dispatcher::ports::clock::{Clock, Now};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The wall time at which every world begins: 2026-01-01T00:00:00Z.
pub const EPOCH_MS: i64 = 1_767_225_600_000;

/// A clock's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skew {
    /// Ahead of true time by this, in milliseconds.
    pub offset_ms: i64,
    /// Gains this many milliseconds in 1,000 seconds of true time, from `since` on.
    pub drift_ppm: i64,
    /// When the drift began.
    pub since: Duration,
}

impl Skew {
    /// How far ahead it is at this moment.
    pub fn ahead_ms(&self, at: Duration) -> i64 {
        let drifting = i64::try_from(at.saturating_sub(self.since).as_millis()).unwrap_or(i64::MAX);
        self.offset_ms + drifting.saturating_mul(self.drift_ppm) / 1_000_000
    }
}

/// The faults of all hosts' clocks.
#[derive(Debug, Clone, Default)]
pub struct Clocks(Arc<Mutex<BTreeMap<Host, Skew>>>);

impl Clocks {
    /// Gives a host's clock a fault, instead of the one it has.
    pub fn set(&self, host: Host, skew: Skew) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host, skew);
    }

    /// A host's fault.
    pub fn get(&self, host: Host) -> Skew {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied().unwrap_or_default()
    }
}

/// A host's clock.
#[derive(Clone)]
pub struct SimClock {
    net: Net,
    clocks: Clocks,
}

impl SimClock {
    /// Of the host whose network this is.
    pub const fn new(net: Net, clocks: Clocks) -> Self {
        Self { net, clocks }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        let mono = self.net.now();
        let ahead = self.clocks.get(self.net.host()).ahead_ms(mono);
        let since = i64::try_from(mono.as_millis()).unwrap_or(i64::MAX);
        Now { mono, wall: Timestamp::from_millis(EPOCH_MS + since + ahead) }
    }
}
