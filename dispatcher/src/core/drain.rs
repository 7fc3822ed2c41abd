//! The end: nothing new starts, what is under way ends and is settled, the rest goes back.

use super::{Action, Core, Phase, TicketId, Timer, ticket::State};
use crate::{
    event::{Event, Settlement},
    grid::Step,
    planted::planted,
    ports::broker::Source,
};
use quebert_wire::Bookkeeping;
use std::time::Duration;

impl Core {
    pub(super) fn on_drain(&mut self, deadline: Duration) {
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Draining;
        self.emit(Event::Draining);
        for lane in &self.config.lanes {
            self.actions.push_back(Action::Pause(Source::Queue(lane.queue.clone())));
        }
        self.drain_delays();
        self.timers.set(deadline, Timer::DrainOver);
        let waiting: Vec<TicketId> =
            self.tickets.iter().filter(|(_, ticket)| ticket.state.is_buffered()).map(|(id, _)| id).collect();
        for id in waiting.into_iter().filter(|_| !planted!(DrainSends)) {
            self.hand_back(id);
        }
        if planted!(DrainCuts) {
            self.on_drain_over();
        }
    }

    /// A task that waits goes back.
    pub(super) fn hand_back(&mut self, id: TicketId) {
        match &self.tickets[id].state {
            State::Waiting { .. } => drop(self.unqueue(id)),
            State::Held { .. } => drop(self.take_held(id)),
            _ => return,
        }
        self.put_back(id);
    }

    /// Back to its queue; or into the grid, if its last attempt, or the moment until which it was put off, stands only
    /// here.
    pub(super) fn put_back(&mut self, id: TicketId) {
        let ticket = &self.tickets[id];
        let due = ticket.book.due_at.filter(|due| *due > self.now.wall);
        let put_off = due.is_some() && due != Bookkeeping::read(&ticket.message.headers).due_at;
        if ticket.unsaved || put_off {
            let shortest = Step::ceil(Duration::ZERO).length();
            self.delay(id, shortest);
        } else {
            self.give_back(id);
        }
    }

    fn give_back(&mut self, id: TicketId) {
        self.count_settled(id, Settlement::Requeued);
        if let Some(tag) = self.tickets.remove(id).and_then(|ticket| ticket.tag)
            && !planted!(GiveBackForgotten)
        {
            self.actions.push_back(if planted!(GiveBackIsAck) { Action::Ack(tag) } else { Action::GiveBack(tag) });
        }
    }

    /// The grace is over: whatever is still under way goes back as it is.
    pub(super) fn on_drain_over(&mut self) {
        if self.phase != Phase::Draining {
            return;
        }
        let left: Vec<TicketId> =
            self.tickets.iter().filter(|(_, ticket)| ticket.tag.is_some()).map(|(id, _)| id).collect();
        for id in left {
            self.give_back(id);
        }
        self.stop();
    }

    pub(super) fn end_drain_if_done(&mut self) {
        let in_hand = self.tickets.values().any(|ticket| ticket.tag.is_some()) || self.delays.in_hand() > 0;
        if self.phase == Phase::Draining && !in_hand {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.report_held();
        self.phase = Phase::Stopped;
        self.actions.push_back(Action::Stop);
    }
}
