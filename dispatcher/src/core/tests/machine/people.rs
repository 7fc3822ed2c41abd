//! What people do to the machine's dispatcher: drain it, pause its lanes, steer single tasks. Says what must be said of it;
//! what may happen otherwise is up to the invariants.

use super::{
    super::*,
    invariants::Broken,
    model::{Machine, Step, index},
};

impl Machine {
    /// Begins a drain, with a delivery of each source on its way.
    pub(super) fn drain(&mut self, deadline: Duration) -> Result<(), Broken> {
        let sources = self.world.deliverable();
        let late: Vec<_> = sources.iter().map(|source| (source.clone(), self.world.next_delivery(source))).collect();
        self.on_their_way = late.iter().filter(|(source, _)| matches!(source, Source::Queue(_))).count();
        self.drained_until = Some(deadline);
        self.feed(Input::Drain { deadline })?;
        for (source, delivery) in late {
            self.on_their_way -= usize::from(matches!(source, Source::Queue(_)));
            if !self.world.stopped {
                self.deliver_one(&source, delivery)?;
            }
        }
        Ok(())
    }

    /// Pauses a lane with a delivery on its way, or lets it go on.
    pub(super) fn pause(&mut self, lane: usize, paused: bool) -> Result<(), Broken> {
        let config = &self.config.lanes[lane];
        let (name, source) = (config.name.clone(), Source::Queue(config.queue.clone()));
        let changed = if paused { self.paused.insert(lane) } else { self.paused.remove(&lane) };
        let on_its_way = paused && self.world.deliverable().contains(&source);
        let late = on_its_way.then(|| self.world.next_delivery(&source));
        self.on_their_way = usize::from(late.is_some());
        let pauses_due = if changed { vec![(name.clone(), paused)] } else { Vec::new() };
        self.feed_with(Input::Pause { lane: name, paused }, Step { pauses_due, ..Step::default() })?;
        self.on_their_way = 0;
        late.map_or(Ok(()), |delivery| self.deliver_one(&source, delivery))
    }

    pub(super) fn steer(&mut self, which: u8, how: Steer) -> Result<(), Broken> {
        let Some(at) = index(self.ids.len(), which) else { return Ok(()) };
        let (id, n) = self.ids.iter().nth(at).map(|(id, n)| (TaskId::new(id).unwrap(), *n)).unwrap();
        let held = self.world.core.find(&id);
        let waits = held.iter().any(|held| matches!(held.state, HeldState::Waiting | HeldState::Delayed));
        let expect = match (waits, held.is_empty()) {
            (true, _) => Steered::Done,
            (false, false) => Steered::UnderWay,
            (false, true) => Steered::NotHeld,
        };
        let known = &mut self.tasks[n];
        match how {
            _ if !waits => {}
            Steer::RunNow => (known.hurried, known.not_before, known.floor) = (true, None, None),
            Steer::Cancel => (known.cancelled, known.ended) = (true, true),
        }
        let steered = Some((id.clone(), how, expect));
        self.feed_with(Input::Steer { task: id, how }, Step { steered, ..Step::default() })
    }
}
