//! Runs the mediators: one after the other, each within its time limit, and none of their panics gets any further.

use crate::{
    core::{Input, TicketId},
    event::Event,
    outcome::Outcome,
    ports::{
        BoxFuture,
        mediator::{Attempt, Before, Mediator},
    },
    verdict::Verdict,
};
use futures_util::FutureExt;
use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// Unless the builder says otherwise.
const LIMIT: Duration = Duration::from_secs(5);

/// A [`Mediator`] as a trait object.
trait Erased: Send + Sync {
    fn before<'a>(&'a self, attempt: &'a mut Attempt) -> BoxFuture<'a, Before>;
    fn verdict(&self, attempt: &Attempt, outcome: &Outcome, proposed: Verdict) -> Verdict;
    fn after<'a>(&'a self, attempt: &'a Attempt, outcome: &'a Outcome, verdict: &'a Verdict) -> BoxFuture<'a, ()>;
}

impl<M: Mediator> Erased for M {
    fn before<'a>(&'a self, attempt: &'a mut Attempt) -> BoxFuture<'a, Before> {
        Box::pin(Mediator::before(self, attempt))
    }

    fn verdict(&self, attempt: &Attempt, outcome: &Outcome, proposed: Verdict) -> Verdict {
        Mediator::verdict(self, attempt, outcome, proposed)
    }

    fn after<'a>(&'a self, attempt: &'a Attempt, outcome: &'a Outcome, verdict: &'a Verdict) -> BoxFuture<'a, ()> {
        Box::pin(Mediator::after(self, attempt, outcome, verdict))
    }
}

/// The mediators of a dispatcher, in order.
pub(super) struct Hooks {
    all: Vec<(Arc<str>, Box<dyn Erased>)>,
    pub(super) limit: Duration,
    events: Mutex<VecDeque<Event>>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { all: Vec::new(), limit: LIMIT, events: Mutex::default() }
    }
}

impl Hooks {
    pub(super) fn push(&mut self, mediator: impl Mediator) {
        self.all.push((mediator.name().into(), Box::new(mediator)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// What observers should hear of the hooks.
    pub(super) fn take_event(&self) -> Option<Event> {
        if self.all.is_empty() {
            return None;
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(super) async fn before(self: Arc<Self>, ticket: TicketId, mut attempt: Box<Attempt>) -> Input {
        for (name, mediator) in &self.all {
            match self.run(name, "before", mediator.before(&mut attempt)).await {
                Ok(Before::Send) => {}
                Ok(other) => return Input::Prepared { ticket, attempt, before: Ok(other) },
                Err(detail) => {
                    let detail = format!("hook {name:?} before the attempt: {detail}");
                    return Input::Prepared { ticket, attempt, before: Err(detail) };
                }
            }
        }
        Input::Prepared { ticket, attempt, before: Ok(Before::Send) }
    }

    pub(super) async fn review(
        self: Arc<Self>,
        ticket: TicketId,
        attempt: Box<Attempt>,
        outcome: Outcome,
        proposed: Verdict,
    ) -> Input {
        let mut verdict = proposed;
        for (name, mediator) in &self.all {
            let so_far = verdict.clone();
            let decide = AssertUnwindSafe(|| mediator.verdict(&attempt, &outcome, verdict));
            verdict = match std::panic::catch_unwind(decide) {
                Ok(verdict) => verdict,
                Err(_) => {
                    self.failed(name, "verdict", "panicked");
                    so_far
                }
            };
        }
        for (name, mediator) in &self.all {
            // What fails after the fact is counted; the verdict stands.
            let _ = self.run(name, "after", mediator.after(&attempt, &outcome, &verdict)).await;
        }
        Input::Reviewed { ticket, verdict }
    }

    async fn run<T>(&self, name: &Arc<str>, phase: &'static str, hook: BoxFuture<'_, T>) -> Result<T, &'static str> {
        let started = Instant::now();
        let result = match timeout(self.limit, AssertUnwindSafe(hook).catch_unwind()).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err("panicked"),
            Err(_) => Err("took too long"),
        };
        self.push_event(Event::HookRan { hook: name.clone(), phase, duration: started.elapsed() });
        if let Err(detail) = &result {
            self.failed(name, phase, detail);
        }
        result
    }

    fn failed(&self, name: &Arc<str>, phase: &'static str, detail: &str) {
        self.push_event(Event::HookFailed { hook: name.clone(), phase, detail: detail.to_owned() });
    }

    fn push_event(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}
