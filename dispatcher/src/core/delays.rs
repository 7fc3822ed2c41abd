//! The delay grid, from this side: takes the heads of the delay queues, holds them until they are due, and moves them
//! on. The broker only keeps them; it needs no timer, no TTL and no plugin.

use super::{
    Action, CopyKey, Core, Mover, Phase, PublishId, Timer,
    recall::LastAcks,
    settle::{publish_again_after, shed_headers, step_after_failures},
    ticket::Move,
    timers::TimerId,
};
use crate::{
    event::{Event, Purpose, Settlement},
    grid::Step,
    planted::planted,
    ports::broker::{Delivery, Opening, PublishError, Source, Tag, Target},
    trace::TraceParent,
    verdict::BuryReason,
};
use quebert_wire::{Bookkeeping, HeaderValue, Message, TaskId, Timestamp, bookkeeping::header};
use slotmap::{SlotMap, new_key_type};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

new_key_type! {
    /// Names a head of a delay queue in hand.
    pub(crate) struct HeadId;
}

/// A delay queue is opened again that long before its head is due, and a hundredth of its length on top, since the
/// clocks of two dispatchers may differ.
const OPEN_AHEAD: Duration = Duration::from_secs(2);

/// One message of a delay queue, in hand.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) step: Step,
    /// `None` once its delivery is lost.
    tag: Option<Tag>,
    pub(super) message: Message,
    pub(super) book: Bookkeeping,
    key: Option<CopyKey>,
    /// When it leaves this queue.
    ready_at: Timestamp,
    pub(super) state: HeadState,
}

#[derive(Debug)]
pub(super) enum HeadState {
    Waiting(TimerId),
    Moving(Move),
}

/// One delay queue that is known to be there.
#[derive(Debug, Default)]
struct Lane {
    opening: Option<Opening>,
    /// Closed by the core, since its head is due in a long time only.
    asleep: bool,
    /// Takes messages without delay of its own.
    settled: bool,
    last_acks: LastAcks,
}

/// All delay queues that are known, and what is in hand of them.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    steps: BTreeMap<Step, Lane>,
    pub(super) heads: SlotMap<HeadId, Head>,
    orphans: BTreeMap<CopyKey, HeadId>,
}

impl Delays {
    /// A delay queue is open; whether that is still wanted.
    pub(crate) fn opened(&mut self, step: Step, opening: Opening) -> bool {
        let Some(lane) = self.steps.get_mut(&step).filter(|lane| !lane.asleep) else { return false };
        lane.opening = Some(opening);
        true
    }

    /// Heads in hand whose deliveries are not settled.
    pub(crate) fn in_hand(&self) -> usize {
        self.heads.values().filter(|head| head.tag.is_some()).count()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty() && self.orphans.is_empty()
    }

    /// The heads of one queue in hand.
    fn of(&self, step: Step) -> Vec<HeadId> {
        self.heads.iter().filter(|(_, head)| head.step == step).map(|(id, _)| id).collect()
    }
}

impl Core {
    pub(super) fn on_delay_exists(&mut self, step: Step) {
        if !planted!(DelayNotLearned) {
            self.know_delay(step);
        }
    }

    pub(super) fn on_delay_settled(&mut self, step: Step) {
        if let Some(lane) = self.delays.steps.get_mut(&step) {
            lane.settled = true;
        }
    }

    /// The delay queue for a wait: the longest that does not overshoot; the shortest for less than that. As long as that
    /// one is so new that publishing to it takes its time, a shorter one that is not, if there is one: the task comes
    /// round again with the rest.
    pub(super) fn delay_for(&mut self, wait: Duration) -> Step {
        let step = Step::floor(wait).unwrap_or_else(|| Step::ceil(wait));
        self.know_delay(step);
        let mut settled = self.delays.steps.range(..=step).rev().filter(|(_, lane)| lane.settled);
        settled.next().map_or(step, |(step, _)| *step)
    }

    /// From now on this dispatcher takes its part of that delay queue.
    pub(super) fn know_delay(&mut self, step: Step) {
        if self.phase == Phase::Running && !self.delays.steps.contains_key(&step) {
            self.delays.steps.insert(step, Lane::default());
            self.open_delay(step);
        }
    }

    pub(super) fn open_delay(&mut self, step: Step) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(lane) = self.delays.steps.get_mut(&step) {
            lane.asleep = false;
            let window = self.config.delay_window;
            self.actions.push_back(Action::Open { source: Source::Delay(step), window });
        }
    }

    pub(super) fn on_head_delivered(&mut self, step: Step, delivery: Delivery) {
        if self.phase != Phase::Running {
            self.actions.push_back(Action::GiveBack(delivery.tag));
            return;
        }
        let book = Bookkeeping::read(&delivery.message.headers);
        let key = book.id.clone().map(|id| CopyKey::Head { step, id, copy: book.copy });
        if delivery.redelivered
            && let Some(key) = &key
        {
            if let Some(orphan) = self.delays.orphans.remove(key)
                && let Some(head) = self.delays.heads.get_mut(orphan)
            {
                head.tag = Some(delivery.tag);
                return;
            }
            if self.recall.recognise(self.now.mono, key) {
                self.actions.push_back(Action::Ack(delivery.tag));
                // This ack may be lost as well.
                if let Some(lane) = self.delays.steps.get_mut(&step) {
                    lane.last_acks.push(key.clone(), self.config.delay_window);
                }
                return;
            }
        }
        // Somebody else's message, without our notes, is taken as due: it is then moved or buried, not kept for ever.
        let hop_over = book.hop_at.unwrap_or(self.now.wall).saturating_add(step.length());
        let ready_at = book.due_at.map_or(self.now.wall, |due| due.min(hop_over));
        let wait = ready_at.since(self.now.wall);
        let id = self.delays.heads.insert_with_key(|id| Head {
            step,
            tag: Some(delivery.tag),
            message: delivery.message,
            book,
            key,
            ready_at,
            state: HeadState::Waiting(self.timers.set(self.now.mono + wait, Timer::Head(id))),
        });
        if wait.is_zero() {
            self.on_head_due(id);
        } else {
            self.sleep_if_far(step);
        }
    }

    pub(super) fn on_head_due(&mut self, id: HeadId) {
        let now = self.now;
        let Some(head) = self.delays.heads.get_mut(id) else { return };
        let HeadState::Waiting(timer) = &mut head.state else { return };
        self.timers.cancel(*timer);
        let wait = head.ready_at.since(now.wall);
        if !wait.is_zero() {
            // The wall clock went back meanwhile.
            *timer = self.timers.set(now.mono + wait, Timer::Head(id));
            return;
        }
        self.move_head_on(id);
    }

    /// Its time in this queue is over: to its work queue, or round again with the rest.
    pub(super) fn move_head_on(&mut self, id: HeadId) {
        let now = self.now;
        let Some(head) = self.delays.heads.get_mut(id) else { return };
        let rest = head.book.due_at.map_or(Duration::ZERO, |due| due.since(now.wall));
        let Some(queue) = head.book.return_to.clone() else {
            let detail = "a message in a delay queue that does not say where to return to".to_owned();
            return self.bury_head(id, BuryReason::Undecodable, detail);
        };
        let goes_round = rest > self.config.hold_max;
        head.book.hop_at = goes_round.then_some(now.wall);
        let (target, purpose) = if goes_round {
            (Target::Delay(self.delay_for(rest)), Purpose::Retry)
        } else {
            (Target::Queue(queue.into()), Purpose::Due)
        };
        self.move_head(id, target, purpose, &[]);
    }

    fn bury_head(&mut self, id: HeadId, reason: BuryReason, detail: String) {
        let Some(head) = self.delays.heads.get(id) else { return };
        let queue: Arc<str> = head.book.return_to.as_deref().unwrap_or_default().into();
        let lane = self.config.lanes.iter().find(|lane| lane.queue == queue).map(|lane| lane.name.clone());
        let lane = lane.unwrap_or_else(|| queue.clone());
        let notes = [
            (header::DEAD_REASON, HeaderValue::Text(reason.label().to_owned())),
            (header::DEAD_DETAIL, HeaderValue::Text(detail.clone())),
            (header::DEAD_AT, HeaderValue::Int(self.now.wall.as_millis())),
            (header::DEAD_LANE, HeaderValue::Text(lane.to_string())),
        ];
        let task = head.book.id.as_deref().and_then(|id| TaskId::new(id).ok());
        let trace = TraceParent::of(&head.message).map(|parent| parent.trace);
        self.emit(Event::Buried { lane, task, reason, detail, trace });
        self.move_head(id, Target::Dead(queue), Purpose::DeadLetter, &notes);
    }

    fn move_head(&mut self, id: HeadId, target: Target, purpose: Purpose, notes: &[(&str, HeaderValue)]) {
        let Some(head) = self.delays.heads.get_mut(id) else { return };
        let mut message = head.message.clone();
        message.strip_broker_headers();
        if matches!(target, Target::Dead(_)) {
            shed_headers(&mut message);
        }
        head.book.copy = head.book.copy.saturating_add(1);
        head.book.write(&mut message.headers);
        for (name, value) in notes {
            message.headers.insert((*name).to_owned(), value.clone());
        }
        let settles_as = Settlement::Retried;
        head.state = HeadState::Moving(Move { target, message, purpose, settles_as, published_at: None, failures: 0 });
        self.publish_head(id);
    }

    pub(super) fn publish_head(&mut self, id: HeadId) {
        let Some(head) = self.delays.heads.get_mut(id) else { return };
        let HeadState::Moving(next) = &mut head.state else { return };
        if next.published_at.is_some() {
            return;
        }
        next.published_at = Some(self.now.mono);
        let (target, message, replaces) = (next.target.clone(), next.message.clone(), head.tag);
        self.actions.push_back(Action::Publish {
            id: PublishId(Mover::Head(id)),
            target,
            message: Box::new(message),
            replaces,
        });
    }

    pub(super) fn on_head_published(&mut self, id: HeadId, result: Result<(), PublishError>) {
        let Some(head) = self.delays.heads.get_mut(id) else { return };
        let HeadState::Moving(next) = &mut head.state else { return };
        let Some(published_at) = next.published_at.take() else { return };
        if result.is_err() {
            next.failures += 1;
        }
        let (purpose, failures) = (next.purpose, next.failures);
        let lost_queue = matches!((&next.target, &result), (Target::Queue(_), Err(PublishError::Returned(_))));
        let (step, orphaned) = (head.step, head.tag.is_none());
        self.report_publish(purpose, &result, published_at);
        match result {
            Ok(()) => self.end_head(id),
            Err(_) if orphaned => drop(self.forget_head(id)),
            Err(error) if lost_queue => self.bury_head(id, BuryReason::Unroutable, error.to_string()),
            Err(_) => {
                if let HeadState::Moving(Move { target: Target::Delay(step), .. }) = &mut self.delays.heads[id].state {
                    *step = step_after_failures(*step, failures);
                    let step = *step;
                    self.know_delay(step);
                }
                let at = self.now.mono + publish_again_after(failures);
                self.timers.set(at, Timer::PublishAgain(PublishId(Mover::Head(id))));
            }
        }
        self.sleep_if_far(step);
    }

    /// Its next copy is safe: the old one is acked, or known when it comes again.
    pub(super) fn end_head(&mut self, id: HeadId) {
        let Some(head) = self.forget_head(id) else { return };
        match (head.tag, head.key) {
            (Some(tag), key) => {
                self.actions.push_back(Action::Ack(tag));
                if let (Some(key), Some(lane)) = (key, self.delays.steps.get_mut(&head.step)) {
                    lane.last_acks.push(key, self.config.delay_window);
                }
            }
            (None, Some(key)) => self.recall.remember(self.now.mono, key),
            (None, None) => {}
        }
    }

    fn forget_head(&mut self, id: HeadId) -> Option<Head> {
        let head = self.delays.heads.remove(id)?;
        if let HeadState::Waiting(timer) = &head.state {
            self.timers.cancel(*timer);
        }
        if let Some(key) = &head.key
            && self.delays.orphans.get(key) == Some(&id)
        {
            self.delays.orphans.remove(key);
        }
        Some(head)
    }

    pub(super) fn on_delay_closed(&mut self, step: Step, opening: Opening) {
        if let Some(lane) = self.delays.steps.get_mut(&step) {
            lane.opening = None;
            for key in lane.last_acks.take() {
                self.recall.remember(self.now.mono, key);
            }
        }
        for id in self.delays.of(step) {
            let head = &mut self.delays.heads[id];
            if head.tag.is_none_or(|tag| tag.opening != opening) {
                continue;
            }
            head.tag = None;
            let publishing = matches!(&head.state, HeadState::Moving(next) if next.published_at.is_some());
            match head.key.clone() {
                Some(key) if publishing => drop(self.delays.orphans.insert(key, id)),
                _ if publishing => {}
                _ => drop(self.forget_head(id)),
            }
        }
    }

    /// Closes a delay queue whose next head is due in a long time only, lest the broker's consumer timeout strikes; its
    /// heads go back, and it is opened again shortly before.
    pub(super) fn sleep_if_far(&mut self, step: Step) {
        let far = self.config.consumer_timeout * 2 / 5;
        if step.length() <= far || self.phase != Phase::Running {
            return;
        }
        let heads = self.delays.of(step);
        let now = self.now.wall;
        let all_far = heads.iter().all(|id| {
            let head = &self.delays.heads[*id];
            matches!(head.state, HeadState::Waiting(_)) && head.ready_at.since(now) > far
        });
        let first = heads.iter().map(|id| self.delays.heads[*id].ready_at).min();
        let (Some(first), true) = (first, all_far) else { return };
        for id in heads {
            self.forget_head(id);
        }
        let Some(lane) = self.delays.steps.get_mut(&step) else { return };
        lane.asleep = true;
        // What was acked through this opening is not in doubt: the channel is closed in order, not lost.
        lane.last_acks.take();
        if let Some(opening) = lane.opening.take() {
            self.inlets.remove(&opening);
        }
        self.actions.push_back(Action::Close(Source::Delay(step)));
        // Looked at again after a day at the latest, so that a jump of the wall clock does no lasting harm.
        let ahead = OPEN_AHEAD + step.length() / 100;
        let wait = first.since(now).saturating_sub(ahead).min(Duration::from_secs(86_400));
        self.timers.set(self.now.mono + wait, Timer::OpenDelay(step));
    }

    /// No new heads from now on; those that wait go back.
    pub(super) fn drain_delays(&mut self) {
        for step in self.delays.steps.keys() {
            self.actions.push_back(Action::Pause(Source::Delay(*step)));
        }
        let waiting: Vec<HeadId> = self
            .delays
            .heads
            .iter()
            .filter(|(_, head)| matches!(head.state, HeadState::Waiting(_)))
            .map(|(id, _)| id)
            .collect();
        for id in waiting {
            if let Some(tag) = self.forget_head(id).and_then(|head| head.tag) {
                self.actions.push_back(Action::GiveBack(tag));
            }
        }
    }
}
