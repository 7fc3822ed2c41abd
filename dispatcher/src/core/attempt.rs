//! An attempt: from its slot to what its outcome means.

use super::{
    Action, Core, TicketId,
    ticket::{Resume, Slot, State, Ticket},
};
use crate::{
    backoff::RetryPolicy,
    config::HookErrorRule,
    event::{Event, ExpiryStage},
    history::{self, Past},
    outcome::Outcome,
    planted::planted,
    ports::mediator::{Attempt, Before, TraceContext},
    verdict::{BuryReason, RetryAfter, RetryReason, Verdict, judge},
};
use quebert_wire::{Destination, HeaderValue, Message, Task};
use rand::Rng;
use std::{sync::Arc, time::Duration};

impl Core {
    /// A task has got its slot, and its destination counts the request already.
    pub(super) fn start(&mut self, id: TicketId, task: Box<Task>, prepared: bool, slot: Slot) {
        let attempt = self.attempt_of(id, task);
        if self.config.mediated && !prepared {
            self.set_state(id, State::Preparing { slot });
            self.actions.push_back(Action::Prepare { ticket: id, attempt });
        } else {
            self.send(id, attempt, slot);
        }
    }

    fn attempt_of(&mut self, id: TicketId, task: Box<Task>) -> Box<Attempt> {
        let ticket = &self.tickets[id];
        let lane = &self.config.lanes[ticket.lane];
        let facts = ticket.facts();
        let mut random = [0; 16];
        self.rng.fill_bytes(&mut random);
        let mut span_id = [0; 8];
        span_id.copy_from_slice(&random[..8]);
        span_id[7] |= 1; // W3C trace context: a span id of zeros only is invalid.
        let timeout = self.timeout_of(ticket);
        Box::new(Attempt {
            lane: lane.name.clone(),
            number: ticket.book.attempts + 1,
            max_attempts: self.policy_of(ticket).max_attempts,
            redelivered: ticket.redelivered,
            previous_status: ticket.book.previous_status,
            retry_reason: ticket.book.retry_reason.as_deref().map(Arc::from),
            delivery_id: hex(&random),
            enqueued_at: facts.enqueued_at,
            due_at: facts.due_at(&ticket.book),
            expires_at: facts.expires_at,
            deadline: self.now.wall.saturating_add(timeout),
            trace: trace_of(&ticket.message, span_id),
            task: *task,
        })
    }

    pub(super) fn on_prepared(&mut self, id: TicketId, mut attempt: Box<Attempt>, before: Result<Before, String>) {
        let Some(ticket) = self.tickets.get(id) else { return };
        let State::Preparing { slot } = ticket.state else { return };
        let (lane, dest) = (ticket.lane, ticket.dest());
        if ticket.tag.is_none() {
            // Its delivery was lost meanwhile, and nothing was sent: whoever gets the redelivery starts afresh, unless
            // attempts before this one stand only here.
            let unsaved = ticket.unsaved;
            self.set_state(id, State::Reviewing);
            self.vacate(dest, lane, slot);
            return if unsaved { self.park(id, Resume::Place) } else { self.forget(id) };
        }
        let before = match (before, self.config.hook_error) {
            (Ok(Before::Drop), _) if planted!(HookDropIgnored) => Before::Send,
            (Err(_), _) if planted!(HookErrorSwallowed) => Before::Send,
            (Ok(before), _) => before,
            (Err(_), HookErrorRule::Send) => Before::Send,
            (Err(detail), HookErrorRule::Bury) => Before::Bury(detail),
            (Err(_), HookErrorRule::PutOff) => Before::PutOff(self.policy_delay(id, RetryAfter::Policy)),
        };
        let over = self.tickets[id].facts().has_expired(self.now.wall) && !planted!(ExpiryOnArrivalOnly);
        let before = match Destination::of(&attempt.task.url) {
            Ok(destination) => {
                attempt.task.destination = destination;
                before
            }
            Err(error) => Before::Bury(format!("a mediator made the URL unusable: {error}")),
        };
        // Not a mediator's to say: requests and figures tell of the lane that it is.
        attempt.lane = self.config.lanes[lane].name.clone();
        let (open, early) = (self.is_open(lane), self.is_early(id));
        let as_granted = self.destinations.of(dest).name == attempt.task.destination;
        if before == Before::Send && as_granted && open && !over && !early {
            return self.send(id, attempt, slot);
        }
        self.set_state(id, State::Reviewing);
        self.vacate(dest, lane, slot);
        match before {
            Before::Send if self.expire_if_over(id, ExpiryStage::BeforeDispatch) => {}
            // A drain or a pause began meanwhile: nothing new starts.
            Before::Send if !open => self.put_back(id),
            // The wall clock went back meanwhile.
            Before::Send if early => self.place_again(id),
            // A mediator sends it elsewhere: it waits for that destination, and is not asked about again.
            Before::Send => self.enqueue(id, Box::new(attempt.task), true),
            Before::Drop => self.settle(id, Verdict::Drop),
            Before::PutOff(delay) => self.put_off(id, RetryReason::Hook, delay),
            Before::Bury(detail) => self.settle(id, Verdict::Bury { reason: BuryReason::Hook, detail }),
        }
    }

    fn send(&mut self, id: TicketId, mut attempt: Box<Attempt>, slot: Slot) {
        self.report_wait(id);
        let ticket = &self.tickets[id];
        let timeout = self.timeout_of(ticket);
        let trace = ticket.facts().trace;
        attempt.deadline = self.now.wall.saturating_add(timeout);
        if planted!(AckBeforeDispatch) && !ticket.unsaved {
            self.actions.extend(ticket.tag.map(Action::Ack));
        }
        self.set_state(id, State::Sending { slot, started: self.now.mono });
        self.emit(Event::AttemptStarted {
            lane: attempt.lane.clone(),
            task: attempt.task.id.clone(),
            number: attempt.number,
            destination: attempt.task.destination.clone(),
            body_bytes: attempt.task.body.len(),
            at: self.now.wall,
            trace,
        });
        self.actions.push_back(Action::Send { ticket: id, attempt, timeout });
    }

    pub(super) fn on_answered(&mut self, id: TicketId, attempt: Box<Attempt>, outcome: Outcome) {
        let Some(ticket) = self.tickets.get_mut(id) else { return };
        let State::Sending { slot, started } = ticket.state else { return };
        let (lane, dest) = (ticket.lane, ticket.dest());
        ticket.book.attempts = attempt.number;
        ticket.book.put_offs = 0;
        ticket.book.redeliveries = 0;
        ticket.book.previous_status = outcome.status().map(|status| status.as_u16());
        ticket.unsaved = true;
        let trace = ticket.facts().trace;
        let duration = self.now.mono.saturating_sub(started);
        self.emit(Event::AttemptEnded {
            lane: attempt.lane.clone(),
            task: attempt.task.id.clone(),
            number: attempt.number,
            destination: attempt.task.destination.clone(),
            class: outcome.class(),
            status: outcome.status().map(|status| status.as_u16()),
            detail: match &outcome {
                Outcome::Answered(_) => None,
                Outcome::Failed(failure) => Some(failure.detail.as_str().into()),
            },
            duration,
            trace,
        });
        let crowd = self.destinations.of_mut(dest);
        match &outcome {
            Outcome::Failed(failure) if failure.kind.is_silence() => crowd.hear_nothing(),
            _ => crowd.hear(duration, self.now.mono, self.config.destinations.patience),
        }
        self.report_trust(dest);
        let proposed = self.proposed(id, &outcome);
        if !matches!(proposed, Verdict::Complete) {
            self.note_history(id, &attempt, &outcome, duration);
        }
        self.set_state(id, State::Reviewing);
        self.vacate(dest, lane, slot);
        if self.config.mediated {
            self.actions.push_back(Action::Review { ticket: id, attempt, outcome: Box::new(outcome), proposed });
        } else {
            self.settle_or_park(id, proposed);
        }
    }

    fn proposed(&self, id: TicketId, outcome: &Outcome) -> Verdict {
        let ticket = &self.tickets[id];
        let verdict = judge(outcome, &self.config.lanes[ticket.lane].status, self.now.wall);
        // Cut off by its own expiry: the request's time limit never reaches beyond it.
        if matches!(verdict, Verdict::Retry(_)) && ticket.facts().has_expired(self.now.wall) {
            return Verdict::Expire;
        }
        verdict
    }

    pub(super) fn on_reviewed(&mut self, id: TicketId, verdict: Verdict) {
        if self.tickets.get(id).is_some_and(|ticket| matches!(ticket.state, State::Reviewing)) {
            self.settle_or_park(id, verdict);
        }
    }

    fn settle_or_park(&mut self, id: TicketId, verdict: Verdict) {
        if self.tickets[id].tag.is_some() {
            self.settle(id, verdict);
        } else {
            self.park(id, Resume::Verdict(verdict));
        }
    }

    /// The limit of an attempt that starts now: the task's, within the lane's, and never beyond the task's expiry.
    fn timeout_of(&self, ticket: &Ticket) -> Duration {
        let lane = &self.config.lanes[ticket.lane];
        let facts = ticket.facts();
        let timeout = facts.timeout.unwrap_or(lane.attempt_timeout).min(lane.attempt_timeout_max);
        match facts.expires_at {
            Some(_) if planted!(ExpiryNotCut) => timeout,
            Some(_) if planted!(ExpiryOnArrivalOnly) => timeout,
            Some(at) => timeout.min(at.since(self.now.wall)),
            None => timeout,
        }
    }

    pub(super) fn policy_of<'a>(&'a self, ticket: &'a Ticket) -> &'a RetryPolicy {
        let own = ticket.facts.as_ref().and_then(|facts| facts.policy.as_deref());
        own.unwrap_or(&self.config.lanes[ticket.lane].retry)
    }

    /// A delay by the task's policy, after the attempts made so far; being put off in a row counts as well, so that a
    /// hook that keeps failing is asked ever more seldom.
    pub(super) fn policy_delay(&mut self, id: TicketId, after: RetryAfter) -> Duration {
        let ticket = &self.tickets[id];
        let own = ticket.facts.as_ref().and_then(|facts| facts.policy.as_deref());
        let policy = own.unwrap_or(&self.config.lanes[ticket.lane].retry);
        let failures = ticket.book.attempts.saturating_add(ticket.book.put_offs).max(1);
        policy.draw(failures, after, &mut self.rng)
    }

    /// How long the task waited for its first attempt, being put off included, and how late this attempt is.
    fn report_wait(&mut self, id: TicketId) {
        let ticket = &self.tickets[id];
        let lane = self.config.lanes[ticket.lane].name.clone();
        let facts = ticket.facts();
        let due = facts.due_at(&ticket.book);
        let now = self.now.wall;
        if let (0, Some(enqueued)) = (ticket.book.attempts, facts.enqueued_at) {
            let since = facts.not_before.map_or(enqueued, |at| at.max(enqueued));
            let (task, trace) = (facts.id.clone(), facts.trace);
            self.emit(Event::Waited {
                lane: lane.clone(),
                task,
                trace,
                wait: now.since(since),
                skewed: since > now,
                at: now,
            });
        }
        if let Some(due) = due {
            self.emit(Event::Lag { lane, lag: now.since(due) });
        }
    }

    /// Keeps what came of the last attempts in the notes: for whoever looks at the dead letter.
    fn note_history(&mut self, id: TicketId, attempt: &Attempt, outcome: &Outcome, duration: Duration) {
        let what = match outcome {
            Outcome::Answered(response) => response.status.as_u16().to_string(),
            Outcome::Failed(failure) => failure.kind.label().to_owned(),
        };
        let past = Past { number: attempt.number, at: self.now.wall, outcome: what, duration };
        let history = &mut self.tickets[id].book.history;
        *history = Some(history::push(history.as_deref().unwrap_or_default(), &past));
    }
}

fn trace_of(message: &Message, span_id: [u8; 8]) -> TraceContext {
    let text = |name: &str| match message.headers.get(name) {
        Some(HeaderValue::Text(text)) => Some(text.clone()),
        _ => None,
    };
    if message.headers.is_empty() {
        return TraceContext { span_id, ..TraceContext::default() };
    }
    TraceContext { traceparent: text("traceparent"), tracestate: text("tracestate"), baggage: text("baggage"), span_id }
}

fn hex(bytes: &[u8; 16]) -> Arc<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    std::str::from_utf8(&text).expect("ASCII digits").into()
}
