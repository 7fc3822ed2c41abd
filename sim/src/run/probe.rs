//! Kills a dispatcher between any two steps: the ports are wrapped, and from the chosen step on nothing that it does
//! reaches the world any more. It decides nothing about when.

use crate::case::fault::Step;
use futures_util::FutureExt;
use quebert_dispatcher::{
    event::Event,
    outcome::Outcome,
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
        observer::Observer,
        transport::{Request, Transport},
    },
};
use quebert_wire::Message;
use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, mpsc};

/// One dispatcher process's switch between life and death.
#[derive(Clone, Default)]
pub(super) struct Probe(Arc<Switch>);

#[derive(Default)]
struct Switch {
    dead: AtomicBool,
    armed: Mutex<Option<Step>>,
    died: Notify,
}

impl Probe {
    /// Dies at the next step of this kind.
    pub(super) fn arm(&self, step: Option<Step>) {
        *self.0.armed.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    /// Whether it has died.
    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Waits for its death.
    pub(super) async fn death(&self) {
        if !self.is_dead() {
            self.0.died.notified().await;
        }
    }

    #[cfg(test)]
    pub(super) fn step_for_tests(&self, step: Step) {
        self.did(step);
    }

    /// A step was done. Dies if that is the one.
    fn did(&self, step: Step) {
        let mut armed = self.0.armed.lock().unwrap_or_else(PoisonError::into_inner);
        if *armed == Some(step) {
            *armed = None;
            self.0.dead.store(true, Ordering::Relaxed);
            self.0.died.notify_one();
        }
    }
}

/// A broker's client that the probe watches.
pub(super) struct ProbedBroker {
    inner: Arc<dyn Broker>,
    probe: Probe,
}

impl ProbedBroker {
    /// Around a client.
    pub(super) fn new(inner: Arc<dyn Broker>, probe: Probe) -> Self {
        Self { inner, probe }
    }

    fn publishing(
        &self,
        asked: BoxFuture<'static, Result<(), PublishError>>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        self.probe.did(Step::PublishAsked);
        let probe = self.probe.clone();
        asked
            .inspect(move |result| {
                if result.is_ok() {
                    probe.did(Step::PublishConfirmed);
                }
            })
            .boxed()
    }
}

impl Broker for ProbedBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        self.inner.start()
    }

    fn open(&self, source: Source, window: u16) {
        if !self.probe.is_dead() {
            self.inner.open(source, window);
        }
    }

    fn close(&self, source: &Source) {
        if !self.probe.is_dead() {
            self.inner.close(source);
        }
    }

    fn pause(&self, source: &Source) {
        if !self.probe.is_dead() {
            self.inner.pause(source);
        }
    }

    fn ack(&self, tag: Tag) {
        if !self.probe.is_dead() {
            self.inner.ack(tag);
            self.probe.did(Step::AckAsked);
        }
    }

    fn give_back(&self, tag: Tag) {
        if !self.probe.is_dead() {
            self.inner.give_back(tag);
        }
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        if self.probe.is_dead() {
            return pending().boxed();
        }
        self.publishing(self.inner.publish(target, message))
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        if self.probe.is_dead() {
            return pending().boxed();
        }
        self.publishing(self.inner.relocate(from, target, message))
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        self.inner.depth(target)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        if self.probe.is_dead() { pending().boxed() } else { self.inner.stop() }
    }
}

/// A transport that the probe watches.
pub(super) struct ProbedTransport {
    inner: Arc<dyn Transport>,
    probe: Probe,
}

impl ProbedTransport {
    /// Around a transport.
    pub(super) fn new(inner: Arc<dyn Transport>, probe: Probe) -> Self {
        Self { inner, probe }
    }
}

impl Transport for ProbedTransport {
    fn send(&self, request: Request) -> BoxFuture<'static, Outcome> {
        if self.probe.is_dead() {
            return pending().boxed();
        }
        let sending = self.inner.send(request);
        self.probe.did(Step::Sent);
        let probe = self.probe.clone();
        sending.inspect(move |_| probe.did(Step::Answered)).boxed()
    }
}

/// Passes events on to the world's book as long as the dispatcher lives.
pub(super) struct ProbedObserver<F> {
    note: F,
    probe: Probe,
}

impl<F: Fn(&Event)> ProbedObserver<F> {
    /// Notes by this function.
    pub(super) const fn new(note: F, probe: Probe) -> Self {
        Self { note, probe }
    }
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for ProbedObserver<F> {
    fn observe(&self, event: &Event) {
        if self.probe.is_dead() {
            return;
        }
        (self.note)(event);
        if matches!(event, Event::Delivered { .. }) {
            self.probe.did(Step::Delivered);
        }
    }
}
