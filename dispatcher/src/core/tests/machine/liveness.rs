//! The end of a run: faults stop, executors answer, and within a bounded time everything has ended and the core is
//! empty. Asks no more than that: safety is looked at all along.

use super::{
    super::*,
    invariants::Broken,
    model::Machine,
    ops::{Decides, Fate, Reply, Says, Weather},
};

/// Longer than any delay of a run: a minute of ETA, a minute and a quarter of `Retry-After`, some turns of being put
/// off, and what the wall clock can have been put back by.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// More than the steps of all tasks of a run at one moment: hop, due, prepared, answered, reviewed and buried.
const HOT: usize = 2000;

/// Longer than settled copies and orphans are kept.
const FORGOTTEN: Duration = Duration::from_secs(20 * 60);

impl Machine {
    /// Ends the run.
    pub(super) fn settle_down(&mut self) -> Result<(), Broken> {
        self.end_drain()?;
        for lane in self.paused.clone() {
            self.pause(lane, false)?;
        }
        let end = self.world.now.mono + LIMIT;
        while !self.all_is_quiet() {
            self.serve_all()?;
            if self.world.now.mono > end {
                return Err(liveness(format!("still there: {}", self.what_is_left())));
            }
            let next = self.world.core.next_wakeup().unwrap_or(end).saturating_sub(self.world.now.mono);
            self.advance(next.clamp(Duration::from_millis(1), Duration::from_secs(5)))?;
        }
        self.each_task_has_ended()?;
        self.advance(FORGOTTEN)?;
        self.nothing_is_left()
    }

    /// If there was a drain, it ends in time, and another dispatcher goes on.
    fn end_drain(&mut self) -> Result<(), Broken> {
        let Some(deadline) = self.drained_until else { return Ok(()) };
        if !self.world.stopped {
            self.advance(deadline.saturating_sub(self.world.now.mono))?;
        }
        if !self.world.stopped {
            return Err(liveness("the drain does not end".to_owned()));
        }
        // Drawn anew for each process; the ids of two must not be the same.
        self.config.seed = self.config.seed.wrapping_add(1);
        self.world.restart(self.config.clone());
        self.drained_until = None;
        self.paused.clear();
        self.occupied.clear();
        self.told.clear();
        self.told_of.clear();
        self.passed_over.fill(0);
        for known in &mut self.tasks {
            // The next one knows nothing of what was under way.
            known.forked = true;
            known.sends.clear();
        }
        Ok(())
    }

    /// Everything goes well from now on.
    fn serve_all(&mut self) -> Result<(), Broken> {
        for _ in 0..HOT {
            if let Some(source) = self.world.deliverable().first() {
                let delivery = self.world.next_delivery(source);
                self.deliver_one(source, delivery)?;
            } else if !self.world.preparing.is_empty() {
                self.prepared(0, Says::Send)?;
            } else if !self.world.sending.is_empty() {
                self.answer(0, Reply::Status(200))?;
            } else if !self.world.reviewing.is_empty() {
                self.reviewed(0, Decides::AsProposed)?;
            } else if !self.world.publishing.is_empty() {
                self.published(0, Fate::Confirmed)?;
            } else {
                return Ok(());
            }
        }
        Err(liveness(format!("{HOT} steps, and no time has passed: {}", self.what_is_left())))
    }

    fn all_is_quiet(&self) -> bool {
        let world = &self.world;
        world.queues.values().all(VecDeque::is_empty)
            && world.unsettled.is_empty()
            && world.relocated.is_empty()
            && world.sending.is_empty()
            && world.preparing.is_empty()
            && world.reviewing.is_empty()
            && world.publishing.is_empty()
    }

    fn each_task_has_ended(&self) -> Result<(), Broken> {
        for (n, known) in self.tasks.iter().enumerate() {
            if !known.ended && !known.dead && !known.forked {
                return Err(liveness(format!("task {n} has neither ended nor is it buried: {known:?}")));
            }
            let once = known.successes <= 1 || known.forked;
            if !once || (self.weather == Weather::Calm && self.ended_twice(n)) {
                return Err(liveness(format!("task {n} was done {} times: {known:?}", known.successes)));
            }
        }
        Ok(())
    }

    /// Without faults, a task is either done or buried, and buried once.
    fn ended_twice(&self, n: usize) -> bool {
        let buried = self.world.dead.iter().filter(|message| super::model::number_of(message) == n).count();
        !self.tasks[n].forked && buried + usize::from(self.tasks[n].ended) != 1
    }

    fn nothing_is_left(&self) -> Result<(), Broken> {
        let core = &self.world.core;
        let empty = core.held() == 0
            && core.tickets.is_empty()
            && core.orphans.is_empty()
            && core.delays.in_hand() == 0
            && core.delays.is_empty()
            && self.occupied.is_empty()
            && core
                .destinations
                .ids()
                .iter()
                .map(|id| core.destinations.of(*id))
                .all(|dest| dest.in_flight == 0 && dest.of_lane.iter().all(|lane| lane.in_flight == 0))
            && (0..self.config.lanes.len()).all(|lane| core.lanes.slots_used(lane) == 0)
            && core.inlets.len() == self.world.open.len();
        if empty { Ok(()) } else { Err(liveness(format!("the core still holds: {}", self.what_is_left()))) }
    }

    fn what_is_left(&self) -> String {
        let core = &self.world.core;
        format!(
            "{:?}; unsettled {:?}; tickets {:?}; orphans {:?}; heads in hand {}",
            self.world.queues.iter().filter(|(_, queue)| !queue.is_empty()).collect::<Vec<_>>(),
            self.world.unsettled,
            core.tickets.iter().collect::<Vec<_>>(),
            core.orphans,
            core.delays.in_hand(),
        )
    }
}

fn liveness(detail: String) -> Broken {
    Broken { invariant: "liveness", detail }
}
