//! A client of the broker with one of the bugs that clients have. Everything but the bug is the inner client's.

use crate::{broker::SimBroker, case::BrokerSpec, env::Env};
use quebert_dispatcher::{
    planted::Bug,
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, Delivery, Depth, Opening, PublishError, Source, Tag, Target},
    },
};
use quebert_wire::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// How long acks wait to be sent together.
const ACKS_WAIT: Duration = Duration::from_millis(5);
/// Events that wait for the dispatcher at most.
const EVENTS_MAX: usize = 1024;
/// What tags of the second consumer are ahead of the first one's.
const SECOND: u64 = 1 << 32;

/// A client with a bug.
#[derive(Clone)]
pub(super) struct PlantedBroker(Arc<Shared>);

struct Shared {
    bug: Bug,
    env: Env,
    spec: BrokerSpec,
    inner: Arc<dyn Broker>,
    state: Mutex<State>,
}

/// What the bugs need to know.
#[derive(Default)]
struct State {
    /// What is wanted, with its window.
    wanted: BTreeMap<Source, u16>,
    /// What each opening is of.
    source_of: BTreeMap<Opening, Source>,
    /// The opening of each source.
    current: BTreeMap<Source, Opening>,
    /// What is not settled.
    unsettled: BTreeMap<Opening, BTreeSet<u64>>,
    /// By source, what was not settled when its former opening closed.
    former: BTreeMap<Source, BTreeSet<u64>>,
    /// Acks that are not sent.
    pending: Vec<Tag>,
    /// There is a session.
    connected: bool,
    /// A lane was left out.
    left_out: bool,
    /// The second consumer of everything, and its deliveries by the tags that they go by.
    second: Option<(Arc<dyn Broker>, BTreeMap<Tag, Tag>)>,
}

impl PlantedBroker {
    pub(super) fn new(bug: Bug, env: Env, spec: BrokerSpec, inner: Arc<dyn Broker>) -> Self {
        Self(Arc::new(Shared { bug, env, spec, inner, state: Mutex::default() }))
    }

    fn has(&self, bug: Bug) -> bool {
        self.0.bug == bug
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self) -> Option<Arc<dyn Broker>> {
        self.state().second.as_ref().map(|(second, _)| second.clone())
    }

    /// Passes on what the broker tells, and does what the bug makes of it.
    async fn relay(self, mut events: mpsc::Receiver<BrokerEvent>, out: mpsc::Sender<BrokerEvent>) {
        while let Some(event) = events.recv().await {
            let stale = self.note(&event);
            if let BrokerEvent::Disconnected { .. } = event {
                self.lost(&out);
            }
            if out.send(event).await.is_err() {
                return;
            }
            if let Some(tag) = stale {
                self.0.inner.ack(tag);
            }
        }
    }

    /// Keeps books. Returns a delivery that has a tag which was under way in its source's former opening.
    fn note(&self, event: &BrokerEvent) -> Option<Tag> {
        let mut state = self.state();
        match event {
            BrokerEvent::Connected => state.connected = true,
            BrokerEvent::Opened { source, opening } => {
                state.source_of.insert(*opening, source.clone());
                state.current.insert(source.clone(), *opening);
            }
            BrokerEvent::Delivered(Delivery { tag, .. }) => {
                state.unsettled.entry(tag.opening).or_default().insert(tag.seq);
                let source = state.source_of.get(&tag.opening)?.clone();
                let stale = state.former.get_mut(&source)?.remove(&tag.seq);
                return (stale && self.has(Bug::StaleTag)).then_some(*tag);
            }
            BrokerEvent::Closed { opening } => {
                let unsettled = state.unsettled.remove(opening).unwrap_or_default();
                if let Some(source) = state.source_of.remove(opening) {
                    state.current.remove(&source);
                    state.former.insert(source, unsettled);
                }
            }
            _ => {}
        }
        None
    }

    /// The session was lost.
    fn lost(&self, out: &mpsc::Sender<BrokerEvent>) {
        let (lane, former) = {
            let mut state = self.state();
            if !std::mem::take(&mut state.connected) {
                return;
            }
            let lane = state.wanted.keys().find(|source| matches!(source, Source::Queue(_))).cloned();
            let lane = lane.filter(|_| self.has(Bug::LaneNotReopened) && !state.left_out);
            state.left_out |= lane.is_some();
            (lane, state.second.take())
        };
        if let Some(lane) = lane {
            self.0.inner.close(&lane);
        }
        if let Some((former, _)) = former {
            self.0.env.net.spawn(former.stop());
        }
        if self.has(Bug::ConsumedTwice) {
            self.consume_again(out.clone());
        }
    }

    /// A second consumer of everything that is wanted.
    fn consume_again(&self, out: mpsc::Sender<BrokerEvent>) {
        let second: Arc<dyn Broker> = Arc::new(SimBroker::new(self.0.env.clone(), &self.0.spec));
        let mut events = second.start();
        let wanted = {
            let mut state = self.state();
            state.second = Some((second.clone(), BTreeMap::new()));
            state.wanted.clone()
        };
        for (source, window) in wanted {
            second.open(source, window);
        }
        let this = self.clone();
        self.0.env.net.spawn(async move {
            let mut sources = BTreeMap::new();
            while let Some(event) = events.recv().await {
                match event {
                    BrokerEvent::Opened { source, opening } => drop(sources.insert(opening, source)),
                    BrokerEvent::Delivered(mut delivery) => {
                        let real = delivery.tag;
                        match sources.get(&real.opening).and_then(|source| this.disguise(real, source)) {
                            Some(tag) => delivery.tag = tag,
                            None => {
                                second.give_back(real);
                                continue;
                            }
                        }
                        if out.send(BrokerEvent::Delivered(delivery)).await.is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    /// The tag by which a delivery of the second consumer goes: one of the first.
    fn disguise(&self, real: Tag, source: &Source) -> Option<Tag> {
        let mut state = self.state();
        let opening = *state.current.get(source)?;
        let tag = Tag { opening, seq: real.seq + SECOND };
        state.second.as_mut()?.1.insert(tag, real);
        Some(tag)
    }

    /// Whose delivery this is, and by which tag.
    fn settle(&self, tag: Tag) -> (Arc<dyn Broker>, Tag) {
        let mut state = self.state();
        if let Some(unsettled) = state.unsettled.get_mut(&tag.opening) {
            unsettled.remove(&tag.seq);
        }
        let real = state.second.as_mut().and_then(|(second, tags)| Some((second.clone(), tags.remove(&tag)?)));
        real.unwrap_or_else(|| (self.0.inner.clone(), tag))
    }

    fn ack_later(&self, tag: Tag) {
        let mut state = self.state();
        state.pending.push(tag);
        if state.pending.len() == 1 {
            let this = self.clone();
            self.0.env.net.spawn(async move {
                sleep(ACKS_WAIT).await;
                let pending = std::mem::take(&mut this.state().pending);
                pending.into_iter().for_each(|tag| this.0.inner.ack(tag));
            });
        }
    }

    /// A publish, as the bug has it.
    fn publishing(
        &self,
        mut publish: BoxFuture<'static, Result<(), PublishError>>,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        if !self.has(Bug::PublishUnconfirmed) {
            return publish;
        }
        let net = self.0.env.net.clone();
        Box::pin(async move {
            match poll_fn(|cx| Poll::Ready(publish.as_mut().poll(cx))).await {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    net.spawn(async move { drop(publish.await) });
                    Ok(())
                }
            }
        })
    }
}

impl Broker for PlantedBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let events = self.0.inner.start();
        let (out, receiver) = mpsc::channel(EVENTS_MAX);
        self.0.env.net.spawn(self.clone().relay(events, out));
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        self.state().wanted.insert(source.clone(), window);
        if let Some(second) = self.second() {
            second.open(source.clone(), window);
        }
        self.0.inner.open(source, if self.has(Bug::WindowForgotten) { u16::MAX } else { window });
    }

    fn close(&self, source: &Source) {
        self.state().wanted.remove(source);
        if let Some(second) = self.second() {
            second.close(source);
        }
        self.0.inner.close(source);
    }

    fn pause(&self, source: &Source) {
        if let Some(second) = self.second() {
            second.pause(source);
        }
        self.0.inner.pause(source);
    }

    fn ack(&self, tag: Tag) {
        let (broker, tag) = self.settle(tag);
        if self.has(Bug::LastAcksLost) { self.ack_later(tag) } else { broker.ack(tag) }
    }

    fn give_back(&self, tag: Tag) {
        let (broker, tag) = self.settle(tag);
        broker.give_back(tag);
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.publishing(self.0.inner.publish(target, message))
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.publishing(self.0.inner.relocate(from, target, message))
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        self.0.inner.depth(target)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        // These are the last acks.
        self.state().pending.clear();
        let second = self.state().second.take();
        let inner = self.0.inner.stop();
        Box::pin(async move {
            if let Some((second, _)) = second {
                second.stop().await;
            }
            inner.await;
        })
    }
}
