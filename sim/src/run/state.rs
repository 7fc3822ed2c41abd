//! What all active faults come to together. Pure; the director applies it.

use crate::{
    broker::{Cluster, Knobs},
    case::{Case, Fault, FaultKind},
    fleet::{ExecKnobs, Executors},
    host::Host,
    net::{Controls, Link},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A link never loses everything: that would be a cut.
const LOSS_MAX: u32 = 900;

/// The sums.
pub(super) struct Sums {
    links: BTreeMap<(Host, Host), Link>,
    knobs: Knobs,
    executors: BTreeMap<Host, ExecKnobs>,
    pub(super) frozen: BTreeSet<Host>,
    healed: bool,
}

impl Sums {
    pub(super) fn of<'a>(active: impl Iterator<Item = (usize, &'a FaultKind)>, healed: bool) -> Self {
        let mut sums = Self {
            links: BTreeMap::new(),
            knobs: Knobs::default(),
            executors: BTreeMap::new(),
            frozen: BTreeSet::new(),
            healed,
        };
        for (index, kind) in active {
            sums.add(index, kind);
        }
        sums
    }

    fn add(&mut self, index: usize, kind: &FaultKind) {
        let knobs = &mut self.knobs;
        match kind {
            FaultKind::Cut { one, other, one_way } => {
                let turned = one > other;
                let link = self.link(*one, *other);
                link.cut_to |= !one_way || !turned;
                link.cut_from |= !one_way || turned;
            }
            FaultKind::Hold { one, other } => self.link(*one, *other).held = true,
            FaultKind::Slow { one, other, ms } => self.link(*one, *other).slower_ms += ms,
            FaultKind::Loss { one, other, per_mille } => {
                let link = self.link(*one, *other);
                link.loss_per_mille = (link.loss_per_mille + per_mille).min(LOSS_MAX);
            }
            FaultKind::Freeze { host } => drop(self.frozen.insert(*host)),
            FaultKind::Executor { host, per_mille, exec } => {
                self.executor(*host).instead.push((index, *per_mille, exec.clone()));
            }
            FaultKind::Sluggish { host, times, ms } => {
                let executor = self.executor(*host);
                executor.times = executor.times.max(1).saturating_mul(*times);
                executor.longer_ms += ms;
            }
            FaultKind::Alarm => knobs.alarm = true,
            FaultKind::ConfirmLate { ms } => knobs.confirm_late_ms += ms,
            FaultKind::ConfirmNever { per_mille } => {
                knobs.confirm_never_per_mille = (knobs.confirm_never_per_mille + per_mille).min(1000);
            }
            FaultKind::ConfirmNack { per_mille } => {
                knobs.confirm_nack_per_mille = (knobs.confirm_nack_per_mille + per_mille).min(1000);
            }
            FaultKind::DiskFull => knobs.disk_full = true,
            FaultKind::DiskReadErrors { per_mille } => {
                knobs.disk_read_errors_per_mille = (knobs.disk_read_errors_per_mille + per_mille).min(1000);
            }
            FaultKind::DiskSlow { ms } => knobs.disk_slow_ms += ms,
            FaultKind::Down { .. }
            | FaultKind::KillAt { .. }
            | FaultKind::Reset { .. }
            | FaultKind::ClockJump { .. }
            | FaultKind::ClockDrift { .. }
            | FaultKind::CloseConnection { .. }
            | FaultKind::CancelConsumer { .. }
            | FaultKind::LeaderChange
            | FaultKind::Drain { .. }
            | FaultKind::Pause { .. }
            | FaultKind::Reconfigure { .. } => {}
        }
    }

    /// The link between two hosts, the lesser one first.
    fn link(&mut self, one: Host, other: Host) -> &mut Link {
        self.links.entry((one.min(other), one.max(other))).or_default()
    }

    fn executor(&mut self, host: Host) -> &mut ExecKnobs {
        self.executors.entry(host).or_default()
    }

    /// Sets everything, links without faults among them.
    pub(super) fn apply(
        &self,
        now: Duration,
        case: &Case,
        world: &mut dyn Controls,
        cluster: &Cluster,
        executors: &Executors,
    ) {
        for pair in pairs(case) {
            world.link(pair.0, pair.1, self.links.get(&pair).copied().unwrap_or_default());
        }
        cluster.set(now, self.knobs.clone());
        for host in (1..=case.world.executors).map(Host::Executor) {
            let mut knobs = self.executors.get(&host).cloned().unwrap_or_default();
            knobs.healed = self.healed;
            executors.set(host, knobs);
        }
    }
}

/// Every pair of hosts that some fault of the case touches.
fn pairs(case: &Case) -> BTreeSet<(Host, Host)> {
    let of = |fault: &Fault| match &fault.kind {
        FaultKind::Cut { one, other, .. }
        | FaultKind::Hold { one, other }
        | FaultKind::Slow { one, other, .. }
        | FaultKind::Loss { one, other, .. } => Some((*one.min(other), *one.max(other))),
        _ => None,
    };
    case.faults.iter().filter_map(of).collect()
}

impl Fault {
    /// The host that it is told of in the history.
    pub(super) const fn place(&self) -> Host {
        match &self.kind {
            FaultKind::Down { host, .. }
            | FaultKind::KillAt { host, .. }
            | FaultKind::Freeze { host }
            | FaultKind::Executor { host, .. }
            | FaultKind::Sluggish { host, .. }
            | FaultKind::ClockJump { host, .. }
            | FaultKind::ClockDrift { host, .. }
            | FaultKind::CloseConnection { host }
            | FaultKind::CancelConsumer { host, .. }
            | FaultKind::Drain { host, .. }
            | FaultKind::Pause { host, .. }
            | FaultKind::Reconfigure { host, .. } => *host,
            FaultKind::Cut { one, .. }
            | FaultKind::Hold { one, .. }
            | FaultKind::Slow { one, .. }
            | FaultKind::Loss { one, .. }
            | FaultKind::Reset { one, .. } => *one,
            FaultKind::Alarm
            | FaultKind::ConfirmLate { .. }
            | FaultKind::ConfirmNever { .. }
            | FaultKind::ConfirmNack { .. }
            | FaultKind::LeaderChange
            | FaultKind::DiskFull
            | FaultKind::DiskReadErrors { .. }
            | FaultKind::DiskSlow { .. } => Host::Broker(1),
        }
    }
}
