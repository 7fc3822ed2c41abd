//! The model: slots, prefetch windows and queues, event by event, with the ways between them, retries and outages. Plan,
//! executors and fates are those of a run, so that model, virtual world and reality see the same arrivals and the same work.
//!
//! Each lane is by itself, as it is where the pool has as many slots as all lanes together. What it leaves out: how trust in a
//! destination grows where several share a lane, tasks that are put off for a busy destination, the steps of the delay grid,
//! crashes. The virtual world has all of that.

mod agenda;
mod state;

use super::{Outcome, Timing};
use crate::{
    arrivals::Plan,
    fleet::{Act, Executor, Reply},
    run::Config,
};
use agenda::{Agenda, Event};
use state::{Fate, State};
use std::time::Duration;

/// Limit of one attempt, as in the program.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// Delays up to this are waited for in the dispatcher, as in the program.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// What the model can't compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsuited {
    /// The next task depends on the one before.
    #[error("the model has no closed phases: simulate with the dispatcher itself")]
    Closed,
}

/// Computes a profile.
///
/// # Errors
/// When the model is not suited for it.
pub fn model(config: &Config, timing: &Timing) -> Result<Outcome, Unsuited> {
    if config.arrivals.is_closed() {
        return Err(Unsuited::Closed);
    }
    let mut plan = Plan::new(config.arrivals.clone(), config.mix.clone(), config.profile.seed);
    let mut run = Run {
        agenda: Agenda::default(),
        state: State::new(config),
        executors: config.executors.iter().map(|spec| Executor::new(spec.clone(), config.profile.seed)).collect(),
        hop: timing.broker_rtt() / 2,
        confirm: timing.confirm(),
        extra: timing.attempt_extra(),
        now: Duration::ZERO,
    };
    let end = config.arrivals.length() + config.settle;
    let mut next = plan.next();
    loop {
        let arrives = next.as_ref().map(|arrival| arrival.at);
        let happens = run.agenda.next_at();
        let Some(at) = arrives.into_iter().chain(happens).min().filter(|at| *at <= end) else { break };
        run.state.look_until(at);
        run.now = at;
        if arrives == Some(at) {
            let arrival = next.take().expect("it has a moment");
            let stored = at + run.hop + run.confirm;
            let (task, due) = run.state.arrive(&arrival, stored + run.hop);
            run.agenda.add(stored.max(due), Event::Ready { task });
            next = plan.next();
        } else if let Some(event) = run.agenda.pop() {
            run.happen(event);
        }
    }
    Ok(run.state.outcome(run.now))
}

struct Run {
    agenda: Agenda,
    state: State,
    executors: Vec<Executor>,
    /// From a dispatcher to the broker.
    hop: Duration,
    confirm: Duration,
    /// How much longer an attempt takes its slot than the executor works on it.
    extra: Duration,
    now: Duration,
}

impl Run {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Ready { task } => {
                let lane = self.state.queue(task);
                self.feed(lane);
            }
            Event::Delivered { dispatcher, task } => {
                let lane = self.state.buffer(dispatcher, task);
                self.send(dispatcher, lane);
            }
            Event::Ended { dispatcher, task, fate } => self.ended(dispatcher, task, fate),
            Event::Credit { dispatcher, lane } => {
                self.state.credit(dispatcher, lane);
                self.feed(lane);
            }
        }
    }

    /// The broker delivers to whoever has room, in turns.
    fn feed(&mut self, lane: usize) {
        while let Some((dispatcher, task)) = self.state.deliver(lane) {
            self.agenda.add(self.now + self.hop, Event::Delivered { dispatcher, task });
        }
    }

    /// A dispatcher fills its free slots.
    fn send(&mut self, dispatcher: usize, lane: usize) {
        while let Some(task) = self.state.take_slot(dispatcher, lane) {
            // The way there is half of what an attempt takes beyond the work.
            let arrives = self.now + self.extra / 2;
            let left = self.state.time_left(task, self.now);
            if left.is_some_and(|left| left.is_zero()) {
                self.agenda.add(self.now, Event::Ended { dispatcher, task, fate: Fate::Expired });
                continue;
            }
            let (executor, attempt) = self.state.begin(task, arrives);
            let reply = self.executors[executor].arrive(arrives, task, attempt);
            let (took, fate) = ended(&reply);
            let limit = left.unwrap_or(Duration::MAX).min(ATTEMPT_TIMEOUT);
            let (took, fate) = match left {
                Some(left) if took >= left && left <= ATTEMPT_TIMEOUT => (left, Fate::Expired),
                _ if took >= limit => (limit, Fate::Failed),
                _ => (took, fate),
            };
            self.agenda.add(self.now + self.extra + took, Event::Ended { dispatcher, task, fate });
        }
    }

    fn ended(&mut self, dispatcher: usize, task: u64, fate: Fate) {
        let (lane, begun) = self.state.free_slot(dispatcher, task);
        if let Some(executor) = begun {
            self.executors[executor].leave();
        }
        // The executor's answer left half of the way ago.
        let answered = self.now.saturating_sub(self.extra / 2);
        let settled = match self.state.judge(task, fate, answered, self.now) {
            None => self.now + self.hop,
            // Held until it is due, it keeps its place in the window.
            Some(delay) if !delay.is_zero() && delay <= HOLD_MAX => {
                self.agenda.add(self.now + delay, Event::Delivered { dispatcher, task });
                self.send(dispatcher, lane);
                return;
            }
            // The copy is confirmed before the ack goes out.
            Some(delay) => {
                let moved = self.now + 2 * self.hop + self.confirm;
                if !delay.is_zero() {
                    self.agenda.add((self.now + delay).max(moved) + 2 * self.hop, Event::Ready { task });
                }
                moved + self.hop
            }
        };
        self.agenda.add(settled, Event::Credit { dispatcher, lane });
        for other in self.state.lanes_beside(lane) {
            self.send(dispatcher, other);
        }
        self.send(dispatcher, lane);
    }
}

/// How long an attempt takes from its arrival to the end of the answer, and what it is then.
fn ended(reply: &Reply) -> (Duration, Fate) {
    match &reply.act {
        Act::Answer { status, retry_after, body_after } => {
            let fate = if status.is_success() {
                Fate::Succeeded
            } else {
                // Whole seconds are all that an answer can say.
                let asked = retry_after.map(|(wait, _)| Duration::from_secs(wait.as_secs() + 1));
                Fate::Answered(status.as_u16(), asked)
            };
            (reply.after + *body_after, fate)
        }
        Act::Reset | Act::Truncate => (reply.after, Fate::Failed),
        Act::Hang => (Duration::MAX, Fate::Failed),
    }
}
