//! Settling: a verdict is carried out so that a crash at any point loses nothing.
//!
//! A task's *move* is: publish the next copy, wait for the broker's confirmation, then ack the old one. A crash in
//! between leaves two copies, never none.

use super::{
    Action, Core, Mover, PUBLISH_AGAIN, PublishId, TicketId, Timer,
    ticket::{Move, Resume, State},
};
use crate::{
    event::{Event, ExpiryStage, Purpose, Settlement},
    grid::Step,
    planted::planted,
    ports::broker::{PublishError, Target},
    verdict::{BuryReason, Retry, RetryReason, Verdict},
};
use quebert_wire::{HeaderValue, Message, header, limits::MESSAGE_HEAD_BYTES_MAX};
use rand::RngExt;
use std::time::Duration;

/// The shortest time that a task is put off for: a mediator that says "not now" at once must not be asked in a hot loop.
const PUT_OFF_MIN: Duration = Duration::from_millis(100);

/// A dead letter's detail is cut to this many bytes.
const DETAIL_MAX: usize = 1024;
/// So many names of headers that did not fit into a dead letter are kept, of at most 255 bytes each.
const SHED_NAMES_MAX: usize = 16;

impl Core {
    /// Carries a verdict out for a task whose delivery is in hand.
    pub(super) fn settle(&mut self, id: TicketId, verdict: Verdict) {
        match verdict {
            Verdict::Complete => self.finish(id, Settlement::Succeeded),
            Verdict::Drop => self.finish(id, Settlement::Filtered),
            Verdict::Expire => self.expire(id, ExpiryStage::InFlight),
            Verdict::Bury { reason, detail } => self.bury(id, reason, detail),
            Verdict::Retry(retry) => self.retry(id, &retry),
        }
    }

    /// Acks, and is done with it.
    fn finish(&mut self, id: TicketId, result: Settlement) {
        self.count_settled(id, result);
        let ticket = self.tickets.remove(id).expect("what is settled is in hand");
        let tag = ticket.tag.expect("only a delivery in hand is settled");
        let acked = match &ticket.state {
            _ if planted!(AckBeforeDispatch) => ticket.unsaved,
            State::Moving(_) if planted!(AckBeforeConfirm) => true,
            _ => planted!(LeakedDelivery) && self.deliveries.is_multiple_of(3),
        };
        if !acked {
            self.actions.push_back(Action::Ack(tag));
        }
        if let Some(key) = ticket.key {
            let window = self.config.lanes[ticket.lane].window;
            self.lanes.of_mut(ticket.lane).last_acks.push(key, window);
        }
    }

    fn retry(&mut self, id: TicketId, retry: &Retry) {
        let delay = self.policy_delay(id, retry.after);
        let now = self.now.wall;
        let due = now.saturating_add(delay);
        let ticket = &self.tickets[id];
        let facts = ticket.facts();
        let policy = self.policy_of(ticket);
        let attempts = ticket.book.attempts;
        if policy.max_attempts.is_some_and(|max| attempts >= max + u32::from(planted!(AttemptsOffByOne))) {
            let detail =
                format!("{attempts} of {attempts} attempts failed, the last one with {}", retry.reason.label());
            return self.bury(id, BuryReason::MaxAttempts, detail);
        }
        let age = facts.enqueued_at.map(|at| due.since(at));
        if let (Some(age), Some(max)) = (age, policy.max_age)
            && age > max
        {
            let detail =
                format!("the next attempt would come {}s after the task, of {}s", age.as_secs(), max.as_secs());
            return self.bury(id, BuryReason::MaxAttempts, detail);
        }
        if facts.expires_at.is_some_and(|at| due >= at) && !planted!(RetryBeyondExpiry) {
            return self.expire(id, ExpiryStage::BeforeRetry);
        }
        self.schedule_again(id, retry.reason, delay);
    }

    /// Not now, and it uses up no attempt.
    pub(super) fn put_off(&mut self, id: TicketId, reason: RetryReason, delay: Duration) {
        let delay = delay.max(PUT_OFF_MIN);
        let due = self.now.wall.saturating_add(delay);
        if self.tickets[id].facts().expires_at.is_some_and(|at| due >= at) {
            return self.expire(id, ExpiryStage::BeforeRetry);
        }
        let book = &mut self.tickets[id].book;
        book.put_offs = book.put_offs.saturating_add(1);
        self.schedule_again(id, reason, delay);
    }

    /// Its destination has its share already: off it goes for a while, longer each time.
    pub(super) fn put_off_for_overload(&mut self, id: TicketId) {
        let config = &self.config.destinations;
        let doublings = self.tickets[id].book.put_offs.min(31);
        let most = config.put_off_min.saturating_mul(1 << doublings).min(config.put_off_max);
        let least = (most / 2).max(config.put_off_min.min(most));
        let spread = most.saturating_sub(least).as_millis() as u64;
        let delay = least + Duration::from_millis(self.rng.random_range(0..=spread));
        // A length of the grid, so that it is one hop; at least the shortest, so that it leaves the window.
        let step = Step::floor(delay).unwrap_or_else(|| Step::ceil(delay));
        self.put_off(id, RetryReason::Overload, step.length());
    }

    fn schedule_again(&mut self, id: TicketId, reason: RetryReason, delay: Duration) {
        let ticket = &mut self.tickets[id];
        let lane = ticket.lane;
        ticket.book.due_at = Some(self.now.wall.saturating_add(delay));
        ticket.book.retry_reason = Some(reason.label().to_owned());
        let event = Event::RetryScheduled {
            lane: self.config.lanes[ticket.lane].name.clone(),
            task: ticket.facts().id.clone(),
            reason,
            attempts: ticket.book.attempts,
            delay,
            trace: ticket.facts().trace,
        };
        self.emit(event);
        // What is put off for overload makes room in the window, however short the delay.
        let short = delay <= self.config.hold_max && reason != RetryReason::Overload;
        if short && self.is_open(lane) {
            self.place_again(id);
        } else {
            self.delay(id, delay);
        }
    }

    /// Off into the delay grid: the largest step that does not overshoot; whoever takes it out sends it round again
    /// with the rest.
    pub(super) fn delay(&mut self, id: TicketId, wait: Duration) {
        let step = self.delay_for(wait);
        let now = self.now.wall;
        let ticket = &mut self.tickets[id];
        let queue = self.config.lanes[ticket.lane].queue.clone();
        // Whoever takes it out of the grid reads the notes only, not the task.
        ticket.book.due_at = match ticket.facts().due_at(&ticket.book) {
            Some(_) if planted!(GridRoundsDown) => Some(now.saturating_add(step.length())),
            due => due,
        };
        ticket.book.hop_at = Some(now);
        ticket.book.return_to = Some(queue.to_string());
        self.begin_move(id, Target::Delay(step), Purpose::Retry, Settlement::Retried, &[]);
    }

    /// Whether its time is over; if so it is expired.
    pub(super) fn expire_if_over(&mut self, id: TicketId, stage: ExpiryStage) -> bool {
        let late = planted!(ExpiryOnArrivalOnly) && !matches!(stage, ExpiryStage::Received);
        let over = self.tickets[id].facts().has_expired(self.now.wall) && !late;
        if over {
            if matches!(self.tickets[id].state, State::Waiting { .. }) {
                self.unqueue(id);
            }
            self.expire(id, stage);
        }
        over
    }

    fn expire(&mut self, id: TicketId, stage: ExpiryStage) {
        let ticket = &self.tickets[id];
        let lane = self.config.lanes[ticket.lane].name.clone();
        let (task, trace) = (ticket.facts().id.clone(), ticket.facts().trace);
        self.emit(Event::Expired { lane, task, stage, trace });
        if self.config.bury_expired && !planted!(LostExpired) {
            let detail = format!("expired {}", stage.label().replace('_', " "));
            self.bury_as(id, BuryReason::Expired, detail, Settlement::Expired);
        } else {
            self.finish(id, Settlement::Expired);
        }
    }

    /// Keeps it as a dead letter, as it came, with the reason.
    pub(super) fn bury(&mut self, id: TicketId, reason: BuryReason, detail: String) {
        self.bury_as(id, reason, detail, Settlement::DeadLettered);
    }

    fn bury_as(&mut self, id: TicketId, reason: BuryReason, mut detail: String, settles_as: Settlement) {
        truncate(&mut detail, DETAIL_MAX);
        let ticket = &self.tickets[id];
        let config = &self.config.lanes[ticket.lane];
        let target = Target::Dead(config.queue.clone());
        let notes = [
            (header::DEAD_REASON, HeaderValue::Text(reason.label().to_owned())),
            (header::DEAD_DETAIL, HeaderValue::Text(detail.clone())),
            (header::DEAD_AT, HeaderValue::Int(self.now.wall.as_millis())),
            (header::DEAD_LANE, HeaderValue::Text(config.name.to_string())),
        ];
        let task = ticket.facts.as_ref().map(|facts| facts.id.clone());
        let trace = ticket.facts.as_ref().and_then(|facts| facts.trace);
        self.emit(Event::Buried { lane: config.name.clone(), task, reason, detail, trace });
        if planted!(LostDeadLetter) {
            return self.finish(id, settles_as);
        }
        self.begin_move(id, target, Purpose::DeadLetter, settles_as, &notes);
    }

    pub(super) fn begin_move(
        &mut self,
        id: TicketId,
        target: Target,
        purpose: Purpose,
        settles_as: Settlement,
        notes: &[(&str, HeaderValue)],
    ) {
        let ticket = &mut self.tickets[id];
        let mut message = ticket.message.clone();
        message.strip_broker_headers();
        if matches!(target, Target::Dead(_)) {
            shed_headers(&mut message);
        }
        // A message that could not be read keeps its headers as they came, reserved ones too.
        if let Some(facts) = &ticket.facts {
            ticket.book.id = Some(facts.id.as_str().to_owned());
            ticket.book.copy = ticket.book.copy.saturating_add(1);
            if planted!(AttemptsReset) && purpose == Purpose::Retry {
                ticket.book.attempts = 0;
            }
            ticket.book.write(&mut message.headers);
        }
        for (name, value) in notes {
            message.headers.insert((*name).to_owned(), value.clone());
        }
        let next = Move { target, message, purpose, settles_as, published_at: None, failures: 0 };
        self.set_state(id, State::Moving(Box::new(next)));
        self.publish_ticket(id);
    }

    /// Publishes the next copy, for the first time or once more.
    pub(super) fn publish_ticket(&mut self, id: TicketId) {
        let Some(ticket) = self.tickets.get_mut(id) else { return };
        let State::Moving(next) = &mut ticket.state else { return };
        if next.published_at.is_some() {
            return;
        }
        next.published_at = Some(self.now.mono);
        let (target, message) = (next.target.clone(), next.message.clone());
        let mut replaces = ticket.tag;
        if planted!(AckBeforeConfirm) && next.failures == 0 {
            self.actions.extend(replaces.take().map(Action::Ack));
        }
        self.actions.push_back(Action::Publish {
            id: PublishId(Mover::Ticket(id)),
            target,
            message: Box::new(message),
            replaces,
        });
    }

    pub(super) fn on_ticket_published(&mut self, id: TicketId, result: &Result<(), PublishError>) {
        let taken = match result {
            Err(PublishError::Unknown(_)) => planted!(TimeoutIsStored),
            Err(PublishError::Refused(_)) => planted!(NackIsStored),
            _ => false,
        };
        let result = if taken { &Ok(()) } else { result };
        let Some(ticket) = self.tickets.get_mut(id) else { return };
        let State::Moving(next) = &mut ticket.state else { return };
        let Some(published_at) = next.published_at.take() else { return };
        let (purpose, settles_as) = (next.purpose, next.settles_as);
        let orphaned = ticket.tag.is_none();
        if result.is_err() {
            next.failures += 1;
        }
        let (failures, again) = (next.failures, next.clone());
        self.report_publish(purpose, result, published_at);
        match result {
            Ok(()) if orphaned => {
                // The old copy comes again, and is known to be done with.
                let key = self.tickets[id].key.clone();
                self.forget(id);
                if let Some(key) = key {
                    self.recall.remember(self.now.mono, key);
                }
            }
            Ok(()) => self.finish(id, settles_as),
            Err(_) if orphaned => self.park(id, Resume::Move(again)),
            // Its own queue is full of others, which wait for the room in the window that it takes: it is sent uncounted.
            Err(PublishError::Refused(_) | PublishError::Unfit(_)) if purpose == Purpose::Recount => {
                self.place_again(id);
            }
            Err(_) => {
                if let (Target::Delay(step), State::Moving(next)) = (again.target, &mut self.tickets[id].state) {
                    let step = step_after_failures(step, failures);
                    next.target = Target::Delay(step);
                    self.know_delay(step);
                }
                let at = self.now.mono + publish_again_after(failures);
                if !planted!(PublishNotRetried) {
                    self.timers.set(at, Timer::PublishAgain(PublishId(Mover::Ticket(id))));
                }
            }
        }
    }

    pub(super) fn report_publish(&mut self, purpose: Purpose, result: &Result<(), PublishError>, since: Duration) {
        let result = result.as_ref().map_or_else(PublishError::label, |()| "ack");
        let duration = self.now.mono.saturating_sub(since);
        self.emit(Event::Published { purpose, result, duration });
    }
}

/// One delay queue that is broken must not hold tasks for ever: after two failures each further one goes to the next
/// shorter length, and comes round again with the rest. From the shortest it goes to the next longer one.
pub(super) fn step_after_failures(step: Step, failures: u32) -> Step {
    if failures < 2 {
        return step;
    }
    let millisecond = Duration::from_millis(1);
    Step::floor(step.length() - millisecond).unwrap_or_else(|| Step::ceil(step.length() + millisecond))
}

/// Makes room for the notes of a dead letter, in the rare case that its headers leave none: those that go are named.
pub(super) fn shed_headers(message: &mut Message) {
    let shed = message.shed_headers(MESSAGE_HEAD_BYTES_MAX);
    if !shed.is_empty() {
        let names = shed.into_iter().take(SHED_NAMES_MAX).map(HeaderValue::Text).collect();
        message.headers.insert(header::DEAD_SHED.to_owned(), HeaderValue::List(names));
    }
}

/// How long a publish rests after so many failures: 100 ms, doubling, at most 5 s.
pub(super) fn publish_again_after(failures: u32) -> Duration {
    let (first, most) = PUBLISH_AGAIN;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

/// Cuts a text to at most `max` bytes, at a character's border.
fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::truncate;

    #[test]
    fn a_text_is_cut_at_a_character_s_border() {
        for (text, kept) in [("abc", "abc"), ("abcd", "abc"), ("abä", "ab"), ("ä", "ä"), ("", "")] {
            let mut cut = text.to_owned();
            truncate(&mut cut, 3);
            assert_eq!(cut, kept);
        }
    }
}
