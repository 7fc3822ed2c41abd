//! Pausing a lane, and letting it go on. It cuts off nothing that is under way.

use super::{Action, Core, Inlet, Phase, TicketId, Timer, lanes::Flow};
use crate::{
    event::Event,
    planted::planted,
    ports::broker::{Opening, Source},
};
use std::time::Duration;

/// A lane is opened again when all its former deliveries are settled, and at the latest that long after the longest
/// attempt that could be under way: hooks and publishes take their time as well.
const SETTLING: Duration = Duration::from_secs(30);

impl Core {
    pub(super) fn on_pause(&mut self, name: &str, paused: bool) {
        let Some(lane) = self.config.lanes.iter().position(|lane| *lane.name == *name) else { return };
        let flow = self.lanes.of(lane).flow;
        if paused == (flow == Flow::Paused) {
            return;
        }
        self.emit(Event::LanePaused { lane: self.config.lanes[lane].name.clone(), paused });
        match flow {
            Flow::Open if planted!(PauseIgnored) => {}
            Flow::Paused if planted!(ResumeForgotten) => {}
            Flow::Open => self.pause(lane),
            // At the broker it is paused still.
            Flow::Resuming(timer) => {
                self.timers.cancel(timer);
                self.lanes.of_mut(lane).flow = Flow::Paused;
            }
            Flow::Paused => self.resume(lane),
        }
    }

    /// Nothing new comes, and what waits goes back.
    fn pause(&mut self, lane: usize) {
        self.lanes.of_mut(lane).flow = Flow::Paused;
        self.actions.push_back(Action::Pause(self.source_of(lane)));
        let buffered = |id: &TicketId| self.tickets[*id].lane == lane && self.tickets[*id].state.is_buffered();
        let waiting: Vec<TicketId> = self.tickets.keys().filter(buffered).collect();
        for id in waiting {
            self.hand_back(id);
        }
    }

    /// A source that is opened anew gives back what is unsettled, and another dispatcher could send it a second time. So
    /// the lane goes on once nothing of it is in hand any more.
    fn resume(&mut self, lane: usize) {
        let longest = self.config.lanes[lane].attempt_timeout_max;
        let timer = self.timers.set(self.now.mono + longest + SETTLING, Timer::Resume(lane));
        self.lanes.of_mut(lane).flow = Flow::Resuming(timer);
    }

    /// Opens the lanes that are to go on and have nothing in hand.
    pub(super) fn open_resumed(&mut self) {
        for lane in 0..self.config.lanes.len() {
            let state = self.lanes.of(lane);
            if matches!(state.flow, Flow::Resuming(_)) && state.in_flight == 0 && state.buffered == 0 {
                self.open_again(lane);
            }
        }
    }

    /// Opens a lane that is to go on, whatever is in hand: something takes too long, or can't be settled.
    pub(super) fn open_again(&mut self, lane: usize) {
        let Flow::Resuming(timer) = self.lanes.of(lane).flow else { return };
        if self.phase != Phase::Running {
            return;
        }
        self.timers.cancel(timer);
        self.lanes.of_mut(lane).flow = Flow::Open;
        // Closed first, so that what is still on its way from the former opening is nobody's from here on.
        let former: Vec<Opening> =
            self.inlets.iter().filter(|(_, inlet)| **inlet == Inlet::Lane(lane)).map(|(opening, _)| *opening).collect();
        for opening in former {
            self.inlets.remove(&opening);
            self.on_lane_closed(lane, opening);
        }
        let source = self.source_of(lane);
        self.actions.push_back(Action::Close(source.clone()));
        self.actions.push_back(Action::Open { source, window: self.config.lanes[lane].window });
    }

    /// Whether tasks of that lane may be sent, or wait here to be.
    pub(super) fn is_open(&self, lane: usize) -> bool {
        self.phase == Phase::Running && self.lanes.of(lane).flow == Flow::Open
    }

    pub(super) fn source_of(&self, lane: usize) -> Source {
        Source::Queue(self.config.lanes[lane].queue.clone())
    }
}
