//! The director of a case: turns its faults into what is done to the world, and ends it when nothing is left to happen.
//! Overlapping faults add up; it never judges.

use super::{dispatch::Common, state::Sums};
use crate::{
    broker::Cluster,
    case::{Case, Fault, FaultKind},
    clock::{Clocks, Skew},
    fleet::Executors,
    history::{History, Order, What},
    host::Host,
    net::{Controls, Director, Down},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How often it looks whether all is settled.
const LOOK: Duration = Duration::from_secs(1);
/// How often it looks whether a dispatcher has died at its step.
const WATCH: Duration = Duration::from_millis(20);
/// How long everything must have been settled before the world ends, so that late acks and gauges are seen.
const QUIET: Duration = Duration::from_secs(3);

/// What is to be done at a moment of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    /// A fault ends; before others begin at the same moment.
    End(usize),
    /// A fault begins.
    Begin(usize),
    /// Everything is healed.
    Heal,
}

/// Directs one run of a case.
pub(super) struct CaseDirector {
    pub(super) case: Arc<Case>,
    pub(super) common: Common,
    pub(super) cluster: Cluster,
    pub(super) executors: Executors,
    pub(super) clocks: Clocks,
    pub(super) history: History,
    pub(super) to_the_end: bool,
    schedule: BTreeSet<(Duration, Cue)>,
    active: BTreeSet<usize>,
    /// Hosts that are down now.
    down: BTreeSet<Host>,
    frozen: BTreeSet<Host>,
    skews: BTreeMap<Host, Skew>,
    /// Faults that wait for a dispatcher to reach its step.
    armed: BTreeSet<usize>,
    healed: bool,
    settled_since: Option<Duration>,
    /// When everything was settled for good.
    pub(super) settled_at: Option<Duration>,
}

impl CaseDirector {
    pub(super) fn new(
        common: Common,
        cluster: Cluster,
        executors: Executors,
        clocks: Clocks,
        history: History,
        to_the_end: bool,
    ) -> Self {
        let case = common.case.clone();
        let heal = Duration::from_millis(case.heal_at_ms);
        let mut schedule = BTreeSet::from([(heal, Cue::Heal)]);
        for (index, fault) in case.faults.iter().enumerate() {
            schedule.insert((Duration::from_millis(fault.at_ms), Cue::Begin(index)));
            let end = Duration::from_millis(fault.end_ms()).min(heal);
            // What only happens ends as it begins; its end has no place of its own, since ends go first.
            if end > Duration::from_millis(fault.at_ms) {
                schedule.insert((end, Cue::End(index)));
            }
        }
        Self {
            case,
            common,
            cluster,
            executors,
            clocks,
            history,
            to_the_end,
            schedule,
            active: BTreeSet::new(),
            down: BTreeSet::new(),
            frozen: BTreeSet::new(),
            skews: BTreeMap::new(),
            armed: BTreeSet::new(),
            healed: false,
            settled_since: None,
            settled_at: None,
        }
    }

    fn end(&self) -> Duration {
        Duration::from_millis(self.case.heal_at_ms.saturating_add(self.case.settle_ms))
    }

    fn fault(&self, index: usize) -> &Fault {
        &self.case.faults[index]
    }

    fn active(&self) -> impl Iterator<Item = (usize, &FaultKind)> {
        self.active.iter().map(|index| (*index, &self.fault(*index).kind))
    }

    fn note(&self, now: Duration, host: Host, what: What) {
        self.history.note(now, host, what);
    }

    fn cue(&mut self, now: Duration, cue: Cue, world: &mut dyn Controls) {
        match cue {
            Cue::Begin(index) => {
                self.note(now, self.fault(index).place(), What::Fault { index, begins: true });
                self.active.insert(index);
                self.begin(now, index, world);
                let end = self.fault(index).end_ms().min(self.case.heal_at_ms);
                if Duration::from_millis(end) <= now {
                    self.cue(now, Cue::End(index), world);
                }
            }
            Cue::End(index) => {
                if self.active.remove(&index) {
                    self.armed.remove(&index);
                    self.finish(now, index, world);
                    self.note(now, self.fault(index).place(), What::Fault { index, begins: false });
                }
            }
            Cue::Heal => {
                self.healed = true;
                self.note(now, Host::Broker(1), What::Healed);
                self.set_sums(now, world);
            }
        }
    }

    /// What a fault does at its beginning, beyond its part of the sums.
    fn begin(&mut self, now: Duration, index: usize, world: &mut dyn Controls) {
        match self.fault(index).kind.clone() {
            FaultKind::Down { host, how } => self.take_down(now, host, how, world),
            FaultKind::KillAt { host, step } => {
                self.common.crew.with(host, |member| member.probe.arm(Some(step)));
                self.armed.insert(index);
            }
            FaultKind::Reset { one, other } => world.reset(one, other),
            FaultKind::ClockJump { host, ms } => self.change_skew(now, host, ms),
            FaultKind::ClockDrift { host, .. } => self.change_skew(now, host, 0),
            FaultKind::CloseConnection { host } => self.cluster.close_connection(now, host),
            FaultKind::CancelConsumer { host, lane } => {
                self.cluster.cancel_consumer(now, host, &self.case.world.dispatcher.lanes[lane].name);
            }
            FaultKind::LeaderChange => self.cluster.change_leader(now),
            FaultKind::Drain { host, grace_ms } => {
                let grace = Duration::from_millis(grace_ms);
                self.tell(now, host, Order::Drain(grace));
            }
            FaultKind::Pause { host, lane } => {
                let lane = self.case.world.dispatcher.lanes[lane].name.as_str().into();
                self.tell(now, host, Order::Pause(lane));
            }
            FaultKind::Reconfigure { host, .. } => self.tell(now, host, self.limits_of(host)),
            _ => {}
        }
        self.set_sums(now, world);
    }

    /// What a fault does at its end, beyond its part of the sums.
    fn finish(&mut self, now: Duration, index: usize, world: &mut dyn Controls) {
        match self.fault(index).kind.clone() {
            FaultKind::KillAt { host, .. } => self.common.crew.with(host, |member| member.probe.arm(None)),
            FaultKind::ClockDrift { host, .. } => self.change_skew(now, host, 0),
            FaultKind::Pause { host, lane } => {
                let lane = self.case.world.dispatcher.lanes[lane].name.as_str().into();
                self.tell(now, host, Order::Resume(lane));
            }
            FaultKind::Reconfigure { host, .. } => self.tell(now, host, self.limits_of(host)),
            _ => {}
        }
        self.set_sums(now, world);
    }

    fn tell(&self, now: Duration, host: Host, order: Order) {
        let (handle, starts) = self.common.crew.with(host, |member| (member.handle.clone(), member.starts));
        let Some(handle) = handle.filter(|_| !self.down.contains(&host)) else { return };
        self.note(now, host, What::Told(order.clone()));
        match order {
            Order::Drain(grace) => handle.drain(grace),
            Order::Pause(lane) => handle.pause(&lane),
            Order::Resume(lane) => handle.resume(&lane),
            Order::Reconfigure { slots_max: slots } => {
                let mut config = self.common.config_of(host, starts);
                for lane in &mut config.lanes {
                    lane.slots_max = slots.unwrap_or(lane.slots_max);
                    lane.slots_own = lane.slots_own.min(lane.slots_max);
                }
                handle.reconfigure(config);
            }
        }
    }

    /// The limits that a dispatcher has under the faults that are on now.
    fn limits_of(&self, host: Host) -> Order {
        let slots_max = self.active().find_map(|(_, kind)| match kind {
            FaultKind::Reconfigure { host: other, slots_max } if *other == host => Some(*slots_max),
            _ => None,
        });
        Order::Reconfigure { slots_max }
    }

    fn take_down(&mut self, now: Duration, host: Host, how: Down, world: &mut dyn Controls) {
        if self.down.insert(host) {
            world.down(host, how);
            self.cluster.host_down(now, host, how);
            self.note(now, host, What::Down);
            self.common.crew.with(host, |member| member.handle = None);
        }
    }

    fn bring_up(&mut self, now: Duration, host: Host, world: &mut dyn Controls) {
        if self.down.remove(&host) {
            self.note(now, host, What::Started);
            self.cluster.host_up(now, host);
            world.up(host);
        }
    }

    /// Whether a fault keeps this host from running.
    fn kept_down(&self, host: Host) -> bool {
        self.active().any(|(index, kind)| match kind {
            FaultKind::Down { host: other, .. } => *other == host,
            // Until its step has come it runs.
            FaultKind::KillAt { host: other, .. } => *other == host && !self.armed.contains(&index),
            FaultKind::Drain { host: other, .. } => {
                *other == host && self.common.crew.with(host, |member| member.ended)
            }
            _ => false,
        })
    }

    /// Sets everything that is the sum of the faults that are on now.
    fn set_sums(&mut self, now: Duration, world: &mut dyn Controls) {
        let sums = Sums::of(self.active(), self.healed);
        sums.apply(now, &self.case, world, &self.cluster, &self.executors);
        for host in self.frozen.difference(&sums.frozen) {
            world.freeze(*host, false);
        }
        for host in sums.frozen.difference(&self.frozen) {
            world.freeze(*host, true);
        }
        self.frozen = sums.frozen;
        for host in self.down.clone() {
            if !self.kept_down(host) {
                self.bring_up(now, host, world);
            }
        }
        for host in (1..=self.case.world.dispatchers).map(Host::Dispatcher) {
            // A process that has ended is started again, as a supervisor would.
            let ended = self.common.crew.with(host, |member| std::mem::take(&mut member.ended));
            if ended && !self.down.contains(&host) {
                if self.kept_ended(host) {
                    self.common.crew.with(host, |member| member.ended = true);
                } else {
                    world.down(host, Down::Kill);
                    self.cluster.host_down(now, host, Down::Kill);
                    self.down.insert(host);
                    self.bring_up(now, host, world);
                }
            }
        }
    }

    /// Whether a dispatcher has ended by itself and nothing keeps it so: its drain may outlast its fault, and all faults.
    fn someone_is_to_start_again(&self) -> bool {
        let mut hosts = (1..=self.case.world.dispatchers).map(Host::Dispatcher);
        hosts.any(|host| self.common.crew.with(host, |member| member.ended) && !self.kept_ended(host))
    }

    fn kept_ended(&self, host: Host) -> bool {
        self.active().any(|(_, kind)| matches!(kind, FaultKind::Drain { host: other, .. } if *other == host))
    }

    /// Moves a clock by `ms`, and lets it drift from now on as the active faults say.
    fn change_skew(&mut self, now: Duration, host: Host, ms: i64) {
        let drift_ppm = self.active().filter_map(|(_, kind)| match kind {
            FaultKind::ClockDrift { host: other, ppm } if *other == host => Some(*ppm),
            _ => None,
        });
        let drift_ppm = drift_ppm.sum();
        let ahead = self.skews.get(&host).copied().unwrap_or_default().ahead_ms(now);
        let skew = Skew { offset_ms: ahead + ms, drift_ppm, since: now };
        self.skews.insert(host, skew);
        self.clocks.set(host, skew);
    }

    /// Dispatchers that have come to their step are taken down for the rest of their fault.
    fn watch(&mut self, now: Duration, world: &mut dyn Controls) {
        for index in self.armed.clone() {
            let FaultKind::KillAt { host, .. } = self.fault(index).kind else { continue };
            if self.common.crew.with(host, |member| member.probe.is_dead()) {
                self.armed.remove(&index);
                self.take_down(now, host, Down::Kill, world);
            }
        }
    }

    fn all_settled(&self) -> bool {
        self.history.tally(|tally| {
            tally.confirmed.len() == self.case.tasks.len() && tally.offered == 0 && tally.live_copies.is_empty()
        })
    }
}

impl Director for CaseDirector {
    fn act(&mut self, now: Duration, world: &mut dyn Controls) -> Option<Duration> {
        self.watch(now, world);
        while let Some((at, cue)) = self.schedule.first().copied() {
            if at > now {
                break;
            }
            self.schedule.remove(&(at, cue));
            self.cue(now, cue, world);
        }
        if self.someone_is_to_start_again() {
            self.set_sums(now, world);
        }
        if self.all_settled() {
            let since = *self.settled_since.get_or_insert(now);
            if now >= since + QUIET {
                self.settled_at.get_or_insert(since);
                if !self.to_the_end && now >= Duration::from_millis(self.case.least_ms) {
                    return None;
                }
            }
        } else {
            self.settled_since = None;
            self.settled_at = None;
        }
        if now >= self.end() {
            return None;
        }
        let step = if self.armed.is_empty() { LOOK } else { WATCH };
        let mut next = (now + step).min(self.end());
        if let Some((at, _)) = self.schedule.first() {
            next = next.min(*at);
        }
        Some(next)
    }
}
