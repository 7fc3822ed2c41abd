//! The search for a plan: for each number of dispatchers the fewest slots that fulfil the demand, first where the formulas say,
//! then by the simulation's model. The same seeds everywhere, so that candidates differ by what they are and not by chance.

use super::{Candidate, Demand, Question, formula};
use crate::{
    figures::Kind,
    run::Config,
    simulate::{model, window},
    target::QueueSpec,
};
use quebert_dispatcher::backoff::RetryPolicy;
use std::time::Duration;

/// Seeds of a candidate's figures.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// A demand that so many times the slots of the average load don't fulfil is fulfilled by none.
const SLOTS_TIMES_MAX: u32 = 8;
/// A dispatcher more costs as much as so many slots more: it is a process with its memory and connections.
const DISPATCHER_COSTS: u32 = 16;
/// Alternatives that are told.
const ALTERNATIVES: usize = 3;
/// Slots that are busier than this on average have a queue without end, whatever a simulation of some minutes shows.
const BUSY_MAX: f64 = 0.97;
/// A seed whose percentile is so many times what is demanded speaks for all five.
const CLEARLY: f64 = 1.5;
/// How much of a dispatcher's core may be busy.
const CORE_BUSY_MAX: f64 = 0.7;
/// Delays up to this are waited for in the dispatcher, as in the program.
const HOLD_MAX: Duration = Duration::from_secs(1);

pub(super) struct Search<'a> {
    question: &'a Question,
    config: &'a Config,
    demand: &'a Demand,
    retry: RetryPolicy,
    /// How long an attempt takes its slot.
    attempt_s: f64,
    attempts_per_s: f64,
}

impl<'a> Search<'a> {
    pub(super) fn new(question: &'a Question, config: &'a Config, demand: &'a Demand) -> Self {
        let attempt_s = super::attempt_s(question, demand);
        let attempts_per_s = question.rate * demand.attempts_per_task;
        Self { question, config, demand, retry: super::retry(config), attempt_s, attempts_per_s }
    }

    /// The best one, and what else is best at something.
    pub(super) fn candidates(&self) -> (Option<Candidate>, Vec<Candidate>) {
        let cpu_s = self.question.measured.as_ref().map_or(0.0, |measured| measured.cpu_per_attempt_s);
        let least = (self.attempts_per_s * cpu_s / CORE_BUSY_MAX).ceil().max(1.0) as u32;
        let numbers = (least..=self.question.dispatchers_max.max(least)).collect::<Vec<_>>();
        let found = crate::simulate::each(&numbers, |dispatchers| self.with(*dispatchers));
        let mut all = found.into_iter().flatten().collect::<Vec<_>>();
        let fits = |one: &Candidate| one.holds && (one.survives_loss || !self.question.spare);
        let cost = |one: &Candidate| one.dispatchers * (one.slots + DISPATCHER_COSTS);
        let best = all.iter().filter(|one| fits(one)).min_by_key(|one| cost(one)).copied();
        all.retain(|one| Some(*one) != best);
        let beaten = |one: &Candidate| {
            all.iter().chain(&best).any(|other| {
                let (fewer, shorter) = (other.slots_in_all() <= one.slots_in_all(), other.slo_s <= one.slo_s);
                let safer = other.survives_loss || !one.survives_loss;
                other != one && fewer && shorter && safer && other.dispatchers <= one.dispatchers
            })
        };
        let mut others = all.iter().filter(|one| one.holds && !beaten(one)).copied().collect::<Vec<_>>();
        others.sort_by_key(cost);
        others.truncate(ALTERNATIVES);
        (best, others)
    }

    /// With so many dispatchers: the fewest slots, and the fewest with which one of them may be lost.
    fn with(&self, dispatchers: u32) -> Vec<Candidate> {
        let mut found = Vec::new();
        if let Some(slots) = self.fewest(dispatchers, dispatchers) {
            found.push(self.candidate(dispatchers, slots));
        }
        let survives = found.first().is_some_and(|one: &Candidate| one.survives_loss);
        if dispatchers > 1
            && !survives
            && let Some(slots) = self.fewest(dispatchers, dispatchers - 1)
        {
            found.push(self.candidate(dispatchers, slots));
        }
        found
    }

    /// The fewest slots of each of `dispatchers` with which the demand holds while `up` of them are there.
    fn fewest(&self, dispatchers: u32, up: u32) -> Option<u32> {
        let busy = formula::busy_slots(self.attempts_per_s, self.attempt_s);
        // Not above the share that may be busy with all of them, and not full with those that are up.
        let for_all = (busy / (f64::from(dispatchers) * self.question.busy_max)).ceil();
        let for_up = (busy / (f64::from(up) * BUSY_MAX)).ceil();
        let least = (for_all.max(for_up) as u32).max(1);
        let most = least.saturating_mul(SLOTS_TIMES_MAX);
        let holds = |slots: u32| self.holds(up, slots);
        if holds(least) {
            return Some(least);
        }
        // Upwards by a quarter until it holds, then halves.
        let (mut low, mut high) = (least, least + (least / 4).max(1));
        while !holds(high) {
            if high >= most {
                return None;
            }
            (low, high) = (high, (high + (high / 4).max(1)).min(most));
        }
        while high - low > 1 {
            let middle = low.midpoint(high);
            if holds(middle) { high = middle } else { low = middle }
        }
        Some(high)
    }

    /// Whether the demand holds, the upper end of the interval included.
    fn holds(&self, dispatchers: u32, slots: u32) -> bool {
        let limit = self.question.slo.limit.as_secs_f64();
        self.busy(dispatchers * slots) <= BUSY_MAX
            && self.figure(dispatchers, slots, SEEDS[0]).1 <= limit * CLEARLY
            && self.figures(dispatchers, slots).1.2 <= limit
    }

    /// The share of so many slots that is busy on average.
    fn busy(&self, slots: u32) -> f64 {
        formula::busy_slots(self.attempts_per_s, self.attempt_s) / f64::from(slots)
    }

    /// The median, and the demanded percentile with its interval, in seconds.
    fn figures(&self, dispatchers: u32, slots: u32) -> (f64, (f64, f64, f64)) {
        let figures = SEEDS.map(|seed| self.figure(dispatchers, slots, seed));
        let median = figures.iter().map(|(median, _)| median).sum::<f64>() / SEEDS.len() as f64;
        (median, formula::interval(&figures.map(|(_, demanded)| demanded)))
    }

    /// The median and the demanded percentile of one seed.
    fn figure(&self, dispatchers: u32, slots: u32, seed: u64) -> (f64, f64) {
        let Question { slo, timing, .. } = self.question;
        let config = self.config_of(dispatchers, slots, seed);
        let outcome = model(&config, timing).expect("a plan of random arrivals has no closed phase");
        (outcome.quantile(slo.kind, 0.5), outcome.quantile(slo.kind, slo.share))
    }

    fn candidate(&self, dispatchers: u32, slots: u32) -> Candidate {
        let Question { slo, .. } = self.question;
        let (p50_s, (slo_s, slo_low_s, slo_high_s)) = self.figures(dispatchers, slots);
        let limit = slo.limit.as_secs_f64();
        // What has no end is not told as the length of a simulation.
        let stands = |up: u32| up > 0 && self.busy(up * slots) <= BUSY_MAX;
        let loss = stands(dispatchers - 1).then(|| self.figures(dispatchers - 1, slots).1);
        let in_all = dispatchers * slots;
        let prefetch = self.prefetch(dispatchers, slots);
        let rtt = self.question.timing.broker_rtt().as_secs_f64();
        let attempts_max = f64::from(dispatchers)
            * (f64::from(slots) / self.attempt_s).min(f64::from(prefetch) / (self.attempt_s + rtt));
        // Arrivals at random have a variability of 1.
        let by =
            |scv: f64| formula::wait(in_all, self.attempts_per_s, self.attempt_s, f64::midpoint(1.0, scv), slo.share);
        Candidate {
            dispatchers,
            slots,
            prefetch,
            busy: self.busy(in_all),
            p50_s,
            slo_s,
            slo_low_s,
            slo_high_s,
            erlang_s: by(1.0),
            allen_cunneen_s: by(self.scv()),
            holds: slo_high_s <= limit,
            loss_s: loss.map(|loss| loss.0),
            survives_loss: loss.is_some_and(|loss| loss.2 <= limit),
            tasks_per_s_max: attempts_max / self.demand.attempts_per_task,
        }
    }

    /// The variability of an attempt: that of the work, diluted by what the machine adds.
    fn scv(&self) -> f64 {
        self.demand.work_scv * (self.demand.work_s / self.attempt_s).powi(2)
    }

    /// The window by the rule, and room for tasks that wait in the dispatcher for a retry of at most a second.
    pub(super) fn prefetch(&self, dispatchers: u32, slots: u32) -> u32 {
        let rtt = self.question.timing.broker_rtt();
        let by_rule = window(slots, rtt, Duration::from_secs_f64(self.attempt_s));
        let (least, most) = self.retry.bounds(1);
        let held_s = if most <= HOLD_MAX { (least + most).as_secs_f64() / 2.0 } else { 0.0 };
        let failing_per_s = self.question.rate * (self.demand.attempts_per_task - 1.0).min(1.0);
        let held = (failing_per_s / f64::from(dispatchers) * held_s).ceil() as u32;
        (by_rule + held).min(u16::MAX.into())
    }

    fn config_of(&self, dispatchers: u32, slots: u32, seed: u64) -> Config {
        let Question { rate, tasks, slo, .. } = self.question;
        let mut config = self.config.clone();
        // Long enough for the tasks, and for the queue to forget that it began empty.
        let warm_up = 20.0 * self.attempt_s;
        let length = (*tasks as f64 / rate).max(10.0 * warm_up).clamp(1.0, 36_000.0);
        config.arrivals = format!("poisson {rate:.6}/s {length:.3}s").parse().expect("a plan by the grammar");
        config.warm_up = Duration::from_secs_f64(warm_up.min(length / 4.0));
        // Whoever waits longer than the demand by far has missed it already.
        config.settle = (slo.limit * 10).max(Duration::from_secs(60));
        config.profile.seed = seed;
        config.target.dispatchers = dispatchers;
        let name = &config.rules.queues[0].name;
        let window = self.prefetch(dispatchers, slots);
        config.target.queues = vec![QueueSpec { slots, window, ..QueueSpec::new(name) }];
        config.target.destination_slots = slots;
        debug_assert!(matches!(slo.kind, Kind::Wait | Kind::Done));
        config
    }
}
