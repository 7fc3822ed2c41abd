//! Steering single tasks: what is held here, sent at once or dropped, on somebody's word. It looks at no other place;
//! what waits in the broker is the broker's.

use super::{
    Action, Core, TicketId,
    delays::{HeadId, HeadState},
    ticket::State,
};
use crate::{
    event::{Event, ExpiryStage},
    verdict::Verdict,
};
use quebert_wire::{Decoded, Message, TaskId, Timestamp, decode};
use std::sync::Arc;

/// What to do with the held copies of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steer {
    /// Strike out the moment that it waits for: the one exception to the promise that no attempt is early.
    RunNow,
    /// Drop it for good.
    Cancel,
}

/// What came of steering one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steered {
    /// It was done.
    Done,
    /// No task of that id is held here.
    NotHeld,
    /// An attempt is under way, or the task is being settled: nothing was changed.
    UnderWay,
}

/// A task that a dispatcher holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTask {
    /// The lane's name; of a head of a delay queue, the lane that it goes back to, if it is one of ours.
    pub lane: Option<Arc<str>>,
    /// What it is doing.
    pub state: HeldState,
    /// Attempts begun.
    pub attempts: u32,
    /// No attempt before this.
    pub due_at: Option<Timestamp>,
    /// When it was enqueued, as far as known.
    pub enqueued_at: Option<Timestamp>,
    /// The request's URL, as the producer wrote it, if the message can be read.
    pub url: Option<String>,
}

/// What a held task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldState {
    /// It waits for a slot.
    Waiting,
    /// It waits for its moment.
    Delayed,
    /// An attempt is under way.
    InFlight,
    /// It is being settled.
    Settling,
}

impl Core {
    /// Every copy of a task that is held here, among them those whose delivery was lost while an attempt was under way.
    /// Looks at all that is held, so it is for people who ask.
    pub fn find(&self, task: &TaskId) -> Vec<HeldTask> {
        let tickets = self.tickets_of(task).into_iter().map(|id| self.held_ticket(id));
        tickets.chain(self.heads_of(task).into_iter().map(|id| self.held_head(id))).collect()
    }

    pub(super) fn on_steer(&mut self, task: &TaskId, how: Steer) {
        let mut results = Vec::new();
        for id in self.tickets_of(task) {
            results.push(self.steer_ticket(id, how));
        }
        for id in self.heads_of(task) {
            results.push(self.steer_head(id, task, how));
        }
        // One copy that could be steered is enough.
        let found = [Steered::Done, Steered::UnderWay].into_iter().find(|result| results.contains(result));
        self.actions.push_back(Action::Steered(found.unwrap_or(Steered::NotHeld)));
    }

    fn steer_ticket(&mut self, id: TicketId, how: Steer) -> Steered {
        match (&self.tickets[id].state, how) {
            (State::Waiting { .. }, Steer::RunNow) => {}
            (State::Waiting { .. }, Steer::Cancel) => {
                self.unqueue(id);
                self.settle(id, Verdict::Drop);
            }
            (State::Held { .. }, _) => {
                let task = self.take_held(id);
                if how == Steer::Cancel {
                    self.settle(id, Verdict::Drop);
                } else {
                    self.strike_due(id);
                    self.place(id, task, ExpiryStage::BeforeDispatch);
                }
            }
            _ => return Steered::UnderWay,
        }
        Steered::Done
    }

    /// From here on the task has no moment to wait for, and neither have its next copies but for their backoff.
    fn strike_due(&mut self, id: TicketId) {
        let ticket = &mut self.tickets[id];
        ticket.book.due_at = None;
        ticket.book.run_now = true;
        if let Some(facts) = &mut ticket.facts {
            facts.not_before = None;
        }
    }

    fn steer_head(&mut self, id: HeadId, task: &TaskId, how: Steer) -> Steered {
        let Some(head) = self.delays.heads.get_mut(id) else { return Steered::NotHeld };
        let HeadState::Waiting(timer) = head.state else { return Steered::UnderWay };
        self.timers.cancel(timer);
        match how {
            Steer::RunNow => {
                head.book.due_at = None;
                head.book.run_now = true;
                self.move_head_on(id);
            }
            Steer::Cancel => {
                let step = head.step;
                let HeldTask { lane, attempts, .. } = self.held_head(id);
                self.emit(Event::DelayedCancelled { lane, task: task.clone(), attempts });
                self.end_head(id);
                self.sleep_if_far(step);
            }
        }
        Steered::Done
    }

    fn tickets_of(&self, task: &TaskId) -> Vec<TicketId> {
        let of = |id: &TicketId| self.tickets[*id].facts.as_ref().is_some_and(|facts| facts.id == *task);
        self.tickets.keys().filter(of).collect()
    }

    fn heads_of(&self, task: &TaskId) -> Vec<HeadId> {
        let of = |id: &HeadId| {
            let head = &self.delays.heads[*id];
            match &head.book.id {
                Some(noted) => *noted == *task.as_str(),
                // Put there by somebody who left no note.
                None => self
                    .look_into(&head.message)
                    .is_some_and(|Decoded { task: own, .. }| own.id_given && own.id == *task),
            }
        };
        self.delays.heads.keys().filter(of).collect()
    }

    fn held_ticket(&self, id: TicketId) -> HeldTask {
        let ticket = &self.tickets[id];
        let (state, under_way) = match ticket.state {
            State::Waiting { .. } => (HeldState::Waiting, 0),
            State::Held { .. } => (HeldState::Delayed, 0),
            State::Preparing { .. } => (HeldState::InFlight, 0),
            State::Sending { .. } => (HeldState::InFlight, 1),
            State::Reviewing | State::Moving(_) | State::Decided { .. } => (HeldState::Settling, 0),
        };
        HeldTask {
            lane: Some(self.config.lanes[ticket.lane].name.clone()),
            state,
            attempts: ticket.book.attempts.saturating_add(under_way),
            due_at: ticket.facts().due_at(&ticket.book),
            enqueued_at: ticket.facts().enqueued_at,
            url: self.look_into(&ticket.message).map(|decoded| decoded.task.url.to_string()),
        }
    }

    fn held_head(&self, id: HeadId) -> HeldTask {
        let head = &self.delays.heads[id];
        let queue = head.book.return_to.as_deref();
        let lane = self.config.lanes.iter().find(|lane| Some(&*lane.queue) == queue);
        let decoded = self.look_into(&head.message);
        HeldTask {
            lane: lane.map(|lane| lane.name.clone()),
            state: match head.state {
                HeadState::Waiting(_) => HeldState::Delayed,
                HeadState::Moving(_) => HeldState::Settling,
            },
            attempts: head.book.attempts,
            due_at: head.book.due_at,
            enqueued_at: head.book.enqueued_at,
            url: decoded.map(|decoded| decoded.task.url.to_string()),
        }
    }

    /// Reads a message for somebody who asks. A task without an id of its own gets one that nobody can name.
    fn look_into(&self, message: &Message) -> Option<Decoded> {
        let now = self.now.wall;
        let nobody = || TaskId::v7(now, [0; 10]);
        decode(message, &self.codecs, &self.config.limits, now, nobody).ok()
    }
}
