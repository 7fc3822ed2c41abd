//! Deliveries of work queues: read, recognised, and put where they belong.

use super::{
    Action, CopyKey, Core, TicketId, Timer,
    destinations::DestId,
    ticket::{Facts, Resume, State, Ticket},
};
use crate::{
    event::{Event, ExpiryStage, Purpose, Settlement},
    planted::planted,
    ports::broker::{Delivery, Opening, Tag, Target},
    trace::{TraceId, TraceParent},
    verdict::BuryReason,
};
use quebert_wire::{Bookkeeping, DecodeError, Decoded, Message, Task, TaskId, decode, limits::MESSAGE_HEAD_BYTES_MAX};
use rand::Rng;
use std::time::Duration;

/// RabbitMQ sets this on what a quorum queue delivers again.
const COUNTED_BY_BROKER: &str = "x-delivery-count";

/// How long an orphan is kept for the redelivery that claims it.
const ORPHAN_KEPT: Duration = Duration::from_secs(15 * 60);

/// Whose delivery was settled.
struct Whose {
    task: TaskId,
    trace: Option<TraceId>,
}

impl Core {
    pub(super) fn on_delivered(&mut self, lane: usize, delivery: Delivery) {
        self.deliveries += 1;
        let name = self.config.lanes[lane].name.clone();
        self.emit(Event::Delivered { lane: name, tag: delivery.tag, redelivered: delivery.redelivered });
        if !self.is_open(lane) {
            self.actions.push_back(Action::GiveBack(delivery.tag));
            return self.count_settlement(lane, Settlement::Requeued, None, 0, None);
        }
        let head_bytes = delivery.message.head_bytes();
        let read = match head_bytes {
            0..=MESSAGE_HEAD_BYTES_MAX => self.read(&delivery.message),
            _ => Err(DecodeError::NotAllowed(format!(
                "the message's headers take {head_bytes} bytes, at most {MESSAGE_HEAD_BYTES_MAX} are allowed"
            ))),
        };
        match read {
            Ok(decoded) => self.on_task(lane, delivery, decoded),
            Err(_) if planted!(PoisonLoop) => {
                self.actions.push_back(Action::GiveBack(delivery.tag));
                self.count_settlement(lane, Settlement::Requeued, None, 0, None);
            }
            Err(error) => {
                let reason = match error {
                    DecodeError::NotAllowed(_) => BuryReason::NotAllowed,
                    _ => BuryReason::Undecodable,
                };
                let id = self.admit(lane, delivery, Bookkeeping::default(), None, None);
                self.bury(id, reason, error.to_string());
            }
        }
    }

    fn on_task(&mut self, lane: usize, delivery: Delivery, decoded: Decoded) {
        let Decoded { task, mut book, enqueued_at, unknown_fields } = decoded;
        let key =
            (task.id_given || book.id.is_some()).then(|| CopyKey::Task { lane, id: task.id.clone(), copy: book.copy });
        if delivery.redelivered
            && let Some(key) = &key
        {
            if let Some(orphan) = self.orphans.remove(key) {
                return self.adopt(orphan, delivery.tag);
            }
            if self.recall.recognise(self.now.mono, key) {
                self.actions.push_back(Action::Ack(delivery.tag));
                // This ack may be lost as well.
                let window = self.config.lanes[lane].window;
                self.lanes.of_mut(lane).last_acks.push(key.clone(), window);
                let whose = Whose { task: task.id.clone(), trace: TraceParent::of(&delivery.message).map(|p| p.trace) };
                return self.count_settlement(lane, Settlement::Duplicate, Some(whose), book.attempts, None);
            }
        }
        // A task without an enqueue time counts from here on; the note keeps it over its copies.
        book.enqueued_at = enqueued_at.or(Some(self.now.wall));
        let facts = self.facts_of(lane, &task, &book, &delivery.message);
        let id = self.admit(lane, delivery, book, key, Some(facts));
        if !unknown_fields.is_empty() {
            let detail = format!("unknown fields: {}", unknown_fields.join(", "));
            let lane = self.config.lanes[lane].name.clone();
            self.emit(Event::UnknownFields { lane, fields: unknown_fields });
            if self.config.bury_unknown_fields {
                return self.bury(id, BuryReason::Undecodable, detail);
            }
        }
        if !self.recount_if_redelivered(id) {
            self.place(id, Box::new(task), ExpiryStage::Received);
        }
    }

    /// A task that kills every dispatcher it meets must not do so for ever. Quorum queues count deliveries and bury it
    /// themselves; for others a redelivery is moved to the end of its queue with its count, before anything is sent. If
    /// that queue is full it goes on all the same, uncounted: else it could hold up for ever what the queue is full of.
    fn recount_if_redelivered(&mut self, id: TicketId) -> bool {
        let Some(max) = self.config.redeliveries_max else { return false };
        let ticket = &mut self.tickets[id];
        if !ticket.redelivered || ticket.message.headers.contains_key(COUNTED_BY_BROKER) {
            return false;
        }
        ticket.book.redeliveries = ticket.book.redeliveries.saturating_add(1);
        if ticket.book.redeliveries > max {
            let detail = format!("delivered again {max} times without an attempt that ended");
            self.bury(id, BuryReason::MaxDeliveries, detail);
        } else {
            let target = Target::Queue(self.config.lanes[ticket.lane].queue.clone());
            self.begin_move(id, target, Purpose::Recount, Settlement::Retried, &[]);
        }
        true
    }

    fn facts_of(&self, lane: usize, task: &Task, book: &Bookkeeping, message: &Message) -> Facts {
        let config = &self.config.lanes[lane];
        let ttl = || config.ttl_default.map(|ttl| book.enqueued_at.unwrap_or(self.now.wall).saturating_add(ttl));
        Facts {
            id: task.id.clone(),
            trace: TraceParent::of(message).map(|parent| parent.trace),
            // Looked up when it waits for it: what only passes through must not fill the memory with its destinations.
            dest: DestId::default(),
            expires_at: task.expires_at.or_else(ttl),
            not_before: task.not_before,
            enqueued_at: book.enqueued_at,
            timeout: task.timeout,
            policy: match config.retry.for_task(&task.retry) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(policy) => Some(Box::new(policy)),
            },
        }
    }

    fn read(&mut self, message: &Message) -> Result<Decoded, DecodeError> {
        let now = self.now.wall;
        let rng = &mut self.rng;
        decode(message, &self.codecs, &self.config.limits, now, || {
            let mut random = [0; 10];
            rng.fill_bytes(&mut random);
            TaskId::v7(now, random)
        })
    }

    /// Takes a delivery in. Its state is set by what happens to it next.
    fn admit(
        &mut self,
        lane: usize,
        delivery: Delivery,
        book: Bookkeeping,
        key: Option<CopyKey>,
        facts: Option<Facts>,
    ) -> TicketId {
        let state = self.lanes.of_mut(lane);
        state.in_flight += 1;
        state.changed = true;
        self.tickets.insert(Ticket {
            lane,
            tag: Some(delivery.tag),
            redelivered: delivery.redelivered,
            delivered_at: self.now.mono,
            message: delivery.message,
            book,
            key,
            facts,
            unsaved: false,
            state: State::Reviewing,
        })
    }

    /// Puts a task where it belongs at this moment: over, in hand until its moment, off into the grid, or in the queue.
    pub(super) fn place(&mut self, id: TicketId, task: Box<Task>, stage: ExpiryStage) {
        if self.expire_if_over(id, stage) {
            return;
        }
        let ticket = &self.tickets[id];
        let attempts = ticket.book.attempts;
        if self
            .policy_of(ticket)
            .max_attempts
            .is_some_and(|max| attempts >= max + u32::from(planted!(AttemptsOffByOne)))
        {
            return self.bury(id, BuryReason::MaxAttempts, format!("{attempts} attempts were made already"));
        }
        let due = ticket.facts().due_at(&ticket.book);
        match due.map(|due| due.since(self.now.wall)).filter(|wait| !wait.is_zero()) {
            None => self.enqueue(id, task, false),
            Some(wait) if wait <= self.config.hold_max => {
                let never = if planted!(HeldForgotten) { Duration::from_secs(1 << 30) } else { Duration::ZERO };
                let timer = self.timers.set(self.now.mono + wait + never, Timer::Due(id));
                self.set_state(id, State::Held { timer, task });
            }
            Some(wait) => self.delay(id, wait),
        }
    }

    /// Whether its moment has not come.
    pub(super) fn is_early(&self, id: TicketId) -> bool {
        let ticket = &self.tickets[id];
        ticket.facts().due_at(&ticket.book).is_some_and(|due| due > self.now.wall)
    }

    pub(super) fn on_due(&mut self, id: TicketId) {
        if self.tickets.get(id).is_some_and(|ticket| matches!(ticket.state, State::Held { .. })) {
            let task = self.take_held(id);
            // The wall clock may have gone back meanwhile: then it is held again.
            self.place(id, task, ExpiryStage::BeforeDispatch);
        }
    }

    /// Takes a task out that is held for its moment. The caller puts the ticket into its next state at once.
    pub(super) fn take_held(&mut self, id: TicketId) -> Box<Task> {
        let ticket = &mut self.tickets[id];
        let State::Held { timer, task } = std::mem::replace(&mut ticket.state, State::Reviewing) else {
            panic!("only a held task is taken out");
        };
        let (lane, counts) = (ticket.lane, ticket.tag.is_some());
        self.timers.cancel(timer);
        if counts {
            self.count_state_change(lane, true, false);
        }
        task
    }

    /// A redelivery of a task for which something was still under way: from now on it is settled by the new tag.
    fn adopt(&mut self, id: TicketId, tag: Tag) {
        let ticket = &mut self.tickets[id];
        ticket.tag = Some(tag);
        ticket.redelivered = true;
        ticket.delivered_at = self.now.mono;
        let state = self.lanes.of_mut(ticket.lane);
        state.in_flight += 1;
        state.changed = true;
        let State::Decided { then, .. } = &ticket.state else { return };
        match then.clone() {
            Resume::Verdict(verdict) => {
                self.set_state(id, State::Reviewing);
                self.settle(id, verdict);
            }
            Resume::Move(next) => {
                self.set_state(id, State::Moving(next));
                self.publish_ticket(id);
            }
            Resume::Place => self.place_again(id),
        }
    }

    /// Reads the task anew from its message, and puts it where it belongs. Used when the task itself went out with an
    /// attempt and another one is near.
    pub(super) fn place_again(&mut self, id: TicketId) {
        self.set_state(id, State::Reviewing);
        let message = self.tickets[id].message.clone();
        match self.read(&message) {
            Ok(decoded) => {
                let mut task = decoded.task;
                task.id = self.tickets[id].facts().id.clone();
                self.place(id, Box::new(task), ExpiryStage::BeforeRetry);
            }
            // Limits were made tighter by a reload meanwhile.
            Err(error) => self.bury(id, BuryReason::NotAllowed, error.to_string()),
        }
    }

    /// The deliveries of a lane are lost: they will come again, here or elsewhere. What is under way goes on, and waits
    /// for the redelivery that claims it.
    pub(super) fn on_lane_closed(&mut self, lane: usize, opening: Opening) {
        self.emit(Event::LaneOpen { lane: self.config.lanes[lane].name.clone(), open: false });
        let now = self.now.mono;
        for key in self.lanes.of_mut(lane).last_acks.take() {
            self.recall.remember(now, key);
        }
        let lost: Vec<TicketId> = self
            .tickets
            .iter()
            .filter(|(_, ticket)| ticket.tag.is_some_and(|tag| tag.opening == opening))
            .map(|(id, _)| id)
            .collect();
        for id in lost {
            self.lose(id);
        }
    }

    fn lose(&mut self, id: TicketId) {
        let ticket = &self.tickets[id];
        let buffered = ticket.state.is_buffered();
        let worth_keeping = ticket.facts.is_some() && (!buffered || (ticket.unsaved && ticket.key.is_some()));
        self.count_settled(id, Settlement::Requeued);
        self.tickets[id].tag = None;
        match &self.tickets[id].state {
            State::Waiting { .. } => drop(self.unqueue(id)),
            State::Held { timer, .. } => {
                let timer = *timer;
                self.timers.cancel(timer);
            }
            _ => {}
        }
        if !worth_keeping {
            self.tickets.remove(id);
            return;
        }
        let ticket = &mut self.tickets[id];
        if let Some(key) = ticket.key.clone().filter(|_| !planted!(OrphanForgotten)) {
            self.orphans.insert(key, id);
        }
        match &ticket.state {
            _ if buffered => self.park(id, Resume::Place),
            State::Moving(next) if next.published_at.is_none() => {
                let next = next.clone();
                self.park(id, Resume::Move(next));
            }
            _ => {}
        }
    }

    /// Forgets orphans whose redelivery has not come: another dispatcher got it, or it was acked after all.
    pub(super) fn forget_orphans(&mut self) {
        let now = self.now.mono;
        let old: Vec<TicketId> = self
            .tickets
            .iter()
            .filter(|(_, ticket)| {
                matches!(ticket.state, State::Decided { since, .. } if now.saturating_sub(since) > ORPHAN_KEPT)
            })
            .map(|(id, _)| id)
            .collect();
        for id in old {
            self.forget(id);
        }
    }

    /// Drops a ticket without settling anything.
    pub(super) fn forget(&mut self, id: TicketId) {
        if let Some(ticket) = self.tickets.remove(id)
            && let Some(key) = &ticket.key
            && self.orphans.get(key) == Some(&id)
        {
            self.orphans.remove(key);
        }
    }

    pub(super) fn set_state(&mut self, id: TicketId, state: State) {
        let ticket = &mut self.tickets[id];
        let (was, is) = (ticket.state.is_buffered(), state.is_buffered());
        ticket.state = state;
        if ticket.tag.is_some() {
            let lane = ticket.lane;
            self.count_state_change(lane, was, is);
        }
    }

    /// Keeps the lane's gauges when a delivery in hand goes from one state to another.
    pub(super) fn count_state_change(&mut self, lane: usize, was_buffered: bool, is_buffered: bool) {
        if was_buffered == is_buffered {
            return;
        }
        let state = self.lanes.of_mut(lane);
        state.changed = true;
        if is_buffered {
            state.in_flight -= 1;
            state.buffered += 1;
        } else {
            state.buffered -= 1;
            state.in_flight += 1;
        }
    }

    /// The delivery's end, in the books: one for each delivery. The verdict itself is told by other events.
    pub(super) fn count_settled(&mut self, id: TicketId, result: Settlement) {
        let ticket = &self.tickets[id];
        debug_assert!(ticket.tag.is_some(), "a delivery is settled once");
        let (lane, buffered) = (ticket.lane, ticket.state.is_buffered());
        let whose = ticket.facts.as_ref().map(|facts| Whose { task: facts.id.clone(), trace: facts.trace });
        let enqueued = ticket.facts.as_ref().and_then(|facts| facts.enqueued_at);
        let age = enqueued.map(|at| self.now.wall.since(at));
        let attempts = ticket.book.attempts;
        let state = self.lanes.of_mut(lane);
        state.changed = true;
        if buffered {
            state.buffered -= 1;
        } else {
            state.in_flight -= 1;
        }
        self.count_settlement(lane, result, whose, attempts, age);
    }

    fn count_settlement(
        &mut self,
        lane: usize,
        result: Settlement,
        whose: Option<Whose>,
        attempts: u32,
        age: Option<Duration>,
    ) {
        *self.settlements.entry(result).or_default() += if planted!(SettledTwice) { 2 } else { 1 };
        let lane = self.config.lanes[lane].name.clone();
        let (task, trace) = whose.map_or((None, None), |whose| (Some(whose.task), whose.trace));
        self.emit(Event::Settled { lane, result, task, attempts, age, trace });
    }

    /// Decides an orphan for which nothing is under way any more.
    pub(super) fn park(&mut self, id: TicketId, then: Resume) {
        let ticket = &mut self.tickets[id];
        if ticket.key.is_none() {
            // Nothing could ever claim it: the redelivery looks like any other task.
            self.forget(id);
            return;
        }
        ticket.state = State::Decided { then, since: self.now.mono };
    }
}
