//! One session with the broker: two connections, watched, and what is done over them.
//!
//! Never repairs itself. Once lost, it is thrown away and the supervisor builds the next.

use super::{
    RabbitConfig,
    address::Address,
    apply::{self, Report},
    connect::{ConnectError, Link, connect, describe},
    delays::Announcement,
    publish::Publisher,
    rpc::{Fault, Requests},
    topology::Queue,
};
use futures_util::StreamExt;
use lapin::{Connection, Event};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Depth, PublishError, Target},
};
use quebert_wire::Message;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OnceCell, watch},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior},
};

/// How often a connection's state is looked at, beside the events that tell of it.
const WATCH_PERIOD: Duration = Duration::from_millis(500);

/// How old a queue is before a message in it is as safe as its confirmation says. RabbitMQ (seen on 3.10.8) enters a new
/// quorum queue into a table (`names.dets`) whose writes are held back for up to 3 s, and saved up to 1 s after that. A
/// node that is killed before never finds the queue's log again, whatever it has confirmed. So until then a confirmed
/// publish is not told, and the old copy not acked: one that is killed meanwhile delivers that one again.
pub const RIPE_AFTER: Duration = Duration::from_secs(5);

/// Why a session ended.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    /// A metric label.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) detail: String,
}

/// A session. Consuming and publishing have a connection each: on one that the broker has blocked not even acks are
/// written.
pub(crate) struct Session {
    pub(crate) config: Arc<RabbitConfig>,
    consume: Link,
    publish: Link,
    publisher: Publisher,
    address: Address,
    /// The connection over which the announcements are read, while they are. A fault of it costs nothing else.
    reading: Mutex<Option<Arc<Link>>>,
    /// Delay queues are declared one at a time: a new quorum queue is work for the broker, and a burst of them was seen to
    /// end in an internal error of a loaded one.
    declaring: tokio::sync::Mutex<()>,
    /// Delay queues that this session has declared and announced.
    delays: Mutex<BTreeMap<Step, Arc<OnceCell<()>>>>,
    /// Lengths that the stream tells of, and those made here; shared with all sessions of one broker.
    pub(crate) known: Arc<KnownDelays>,
    lost: watch::Receiver<Option<Lost>>,
    blocked: watch::Receiver<bool>,
    watchers: [AbortHandle; 2],
}

/// The delay queues that are known to be at the broker, and since when.
#[derive(Debug)]
pub(crate) struct KnownDelays {
    steps: watch::Sender<BTreeMap<Step, Known>>,
    since: Instant,
}

/// A delay queue that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// When it was made, or the latest moment at which that can have been.
    since: Instant,
    /// Whether it was deleted and made anew here, so that what the stream tells of it is about the former one.
    anew: bool,
}

impl KnownDelays {
    pub(crate) fn new() -> Self {
        Self { steps: watch::Sender::new(BTreeMap::new()), since: Instant::now() }
    }

    /// It is there, and has been for `age` at least.
    pub(crate) fn add(&self, step: Step, age: Duration) {
        let now = Instant::now();
        let since = now.checked_sub(age.min(RIPE_AFTER)).unwrap_or(now);
        self.steps.send_if_modified(|known| match known.get_mut(&step) {
            Some(known) if known.anew || known.since <= since => false,
            Some(known) => {
                known.since = since;
                true
            }
            None => known.insert(step, Known { since, anew: false }).is_none(),
        });
    }

    /// It was gone and is made anew, so it is young again.
    fn renew(&self, step: Step) {
        self.steps.send_if_modified(|known| {
            known.insert(step, Known { since: Instant::now(), anew: true });
            false
        });
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeMap<Step, Known>> {
        self.steps.subscribe()
    }

    fn contains(&self, step: Step) -> bool {
        self.steps.borrow().contains_key(&step)
    }

    /// When each known delay queue is old enough to be relied on.
    pub(crate) fn ripe(&self) -> impl Iterator<Item = (Step, Instant)> {
        let known: Vec<_> = self.steps.borrow().iter().map(|(step, known)| (*step, known.since + RIPE_AFTER)).collect();
        known.into_iter()
    }

    /// From when on a confirmation from that target can be relied on. Whoever publishes to a work queue knows that it is
    /// old enough by the tasks that came from it; the others may have been made as late as when we first heard of them.
    fn ripe_at(&self, target: &Target) -> Option<Instant> {
        match target {
            Target::Queue(_) => None,
            Target::Delay(step) => self.steps.borrow().get(step).map(|known| known.since + RIPE_AFTER),
            Target::Dead(_) => Some(self.since + RIPE_AFTER),
        }
    }
}

impl Session {
    /// Connects twice, within the connect limit each.
    pub(crate) async fn open(
        address: &Address,
        config: Arc<RabbitConfig>,
        known: Arc<KnownDelays>,
    ) -> Result<Self, ConnectError> {
        let (consume, publish) =
            tokio::try_join!(connect(address, &config, "consume"), connect(address, &config, "publish"))?;
        let (lost_sender, lost) = watch::channel(None);
        let (blocked_sender, blocked) = watch::channel(false);
        let lost_sender = Arc::new(lost_sender);
        let watchers = [
            watch_connection(&consume.connection, lost_sender.clone(), watch::Sender::new(false)),
            watch_connection(&publish.connection, lost_sender, blocked_sender),
        ];
        let publisher = Publisher::new(
            config.publish_channels,
            blocked.clone(),
            config.operation_timeout,
            address.header_bytes_max(),
        );
        Ok(Self {
            config,
            consume,
            publish,
            publisher,
            address: address.clone(),
            reading: Mutex::default(),
            declaring: tokio::sync::Mutex::default(),
            delays: Mutex::default(),
            known,
            lost,
            blocked,
            watchers,
        })
    }

    /// The connection for consuming, acks and questions.
    pub(crate) fn consuming(&self) -> &Connection {
        &self.consume.connection
    }

    /// A connection of its own for reading the announcements: a stream that is not ready yet costs the connection that
    /// asks for it (seen on 3.10.8: "Stream not found", right after it was declared).
    pub(crate) async fn connect_for_reading(&self) -> Result<Arc<Link>, ConnectError> {
        let link = Arc::new(connect(&self.address, &self.config, "announcements").await?);
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    /// Requests over the connection that the broker doesn't block.
    pub(crate) fn requests(&self) -> Requests<'_> {
        Requests::new(&self.consume.connection, self.config.operation_timeout)
    }

    /// Tells when and why the session is lost.
    pub(crate) fn lost(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.clone()
    }

    /// Tells whether the broker takes publishes.
    pub(crate) fn blocked(&self) -> watch::Receiver<bool> {
        self.blocked.clone()
    }

    /// Whether both connections still seem to live.
    pub(crate) fn is_alive(&self) -> bool {
        self.lost.borrow().is_none()
            && self.consume.connection.status().connected()
            && self.publish.connection.status().connected()
    }

    /// Cuts both connections at once.
    pub(crate) fn cut(&self) {
        self.consume.cut();
        self.publish.cut();
        if let Some(link) = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take() {
            link.cut();
        }
    }

    /// Closes both connections in the orderly way.
    pub(crate) async fn close(&self, limit: Duration) {
        // Closed on purpose, so nobody is to report it.
        self.watchers.iter().for_each(AbortHandle::abort);
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner).take();
        let close_reading = async {
            if let Some(link) = &reading {
                link.close(limit).await;
            }
        };
        tokio::join!(self.consume.close(limit), self.publish.close(limit), close_reading);
    }

    /// Declares and checks the topology.
    pub(crate) async fn apply(&self) -> Result<Vec<Report>, Fault> {
        apply::apply(&mut self.requests(), &self.config.topology).await
    }

    /// Declares one work queue and its binding again, where that is ours to do.
    pub(crate) async fn redeclare_lane(&self, queue: &str) -> Result<(), Fault> {
        let topology = &self.config.topology;
        if topology.declare {
            let mut requests = self.requests();
            for object in topology.lane_of(queue) {
                log(&apply::declare(&mut requests, &object).await?);
            }
        }
        Ok(())
    }

    /// Publishes to a target; declares a delay queue or dead letters that are missing. Ends when the message is safe.
    pub(crate) async fn publish(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        self.publish_confirmed(target, message).await?;
        let mut lost = self.lost();
        // The stream may tell meanwhile that the queue is older than it seems.
        let mut known = self.known.subscribe();
        let mut was_young = false;
        while let Some(ripe_at) = self.known.ripe_at(target).filter(|at| *at > Instant::now()) {
            was_young = true;
            tokio::select! {
                biased;
                _ = lost.wait_for(Option::is_some) => {
                    return Err(PublishError::Unknown("the session was lost while the queue was new".into()));
                }
                Ok(()) = known.changed() => {}
                () = tokio::time::sleep_until(ripe_at) => {}
            }
        }
        if was_young { self.has_outlived_its_youth(target).await } else { Ok(()) }
    }

    /// A node whose machine lost its power says nothing, and may be back without the queue before the silence is noticed.
    /// Only an answer over this very session shows that the node has lived on while the queue was new.
    async fn has_outlived_its_youth(&self, target: &Target) -> Result<(), PublishError> {
        let looked = apply::look_at_queue(&mut self.requests(), &self.queue_of(target)).await;
        looked.map(drop).map_err(|fault| {
            if let Target::Delay(step) = target {
                self.forget_delay(*step);
            }
            PublishError::Unknown(format!("the queue is new, and whether it is still there: {}", fault.words()))
        })
    }

    fn queue_of(&self, target: &Target) -> String {
        let topology = &self.config.topology;
        match target {
            Target::Queue(queue) => queue.to_string(),
            Target::Delay(step) => topology.delay_queue(*step),
            Target::Dead(queue) => topology.dead_queue_of(queue),
        }
    }

    async fn publish_confirmed(&self, target: &Target, message: &Message) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.config.publish_timeout;
        let topology = &self.config.topology;
        match target {
            Target::Queue(queue) => self.send("", queue, message, deadline).await,
            Target::Delay(step) => {
                let queue = topology.delay_queue(*step);
                self.ensure_delay(*step, deadline).await?;
                match self.send("", &queue, message, deadline).await {
                    Err(PublishError::Returned(_)) => {
                        // Somebody has deleted it since.
                        self.forget_delay(*step);
                        self.ensure_delay(*step, deadline).await?;
                        self.send("", &queue, message, deadline).await
                    }
                    result => result,
                }
            }
            Target::Dead(queue) => {
                let dead = topology.dead_queue_of(queue);
                match self.send("", &dead, message, deadline).await {
                    Err(PublishError::Returned(_)) => {
                        self.declare_unsent(&topology.dead(dead.clone())).await?;
                        self.send("", &dead, message, deadline).await
                    }
                    result => result,
                }
            }
        }
    }

    /// Publishes to an exchange.
    pub(crate) async fn publish_to(&self, exchange: &str, key: &str, message: &Message) -> Result<(), PublishError> {
        self.send(exchange, key, message, Instant::now() + self.config.publish_timeout).await
    }

    /// How many messages and consumers a target has.
    pub(crate) async fn depth(&self, target: &Target) -> Option<Depth> {
        let (ready, consumers) = apply::look_at_queue(&mut self.requests(), &self.queue_of(target)).await.ok()?;
        Some(Depth { ready: ready.into(), consumers: consumers.into() })
    }

    /// Declares the delay queue of one length, and tells the other dispatchers before the first task goes there.
    pub(crate) async fn ensure_delay(&self, step: Step, deadline: Instant) -> Result<(), PublishError> {
        let cell = self.delays.lock().unwrap_or_else(PoisonError::into_inner).entry(step).or_default().clone();
        let ensure = cell.get_or_try_init(|| async {
            let _one_at_a_time = self.declaring.lock().await;
            self.declare_unsent(&self.config.topology.delay(step)).await?;
            if !self.known.contains(step) {
                self.announce(step, deadline).await?;
                self.known.add(step, Duration::ZERO);
            }
            Ok(())
        });
        match tokio::time::timeout_at(deadline, ensure).await {
            Ok(result) => result.map(drop),
            Err(_) => Err(PublishError::NotConnected("the delay queue could not be declared in time".into())),
        }
    }

    fn forget_delay(&self, step: Step) {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).remove(&step);
        self.known.renew(step);
    }

    async fn announce(&self, step: Step, deadline: Instant) -> Result<(), PublishError> {
        let message = Message { body: Announcement::now(step).to_string().into(), ..Message::default() };
        match self.send("", &self.config.topology.announcement_stream(), &message, deadline).await {
            Err(PublishError::Returned(words) | PublishError::Refused(words)) => {
                // Where there can be no stream, the others look for delay queues by themselves.
                tracing::warn!(?step, words, "a new delay queue could not be announced to other dispatchers");
                Ok(())
            }
            Err(PublishError::Unknown(words)) => {
                Err(PublishError::NotConnected(format!("the delay queue could not be announced: {words}")))
            }
            result => result,
        }
    }

    /// Declares a queue that a publish needs. A refusal is left for the publish to meet: the queue may be there, only
    /// not be ours to declare.
    async fn declare_unsent(&self, queue: &Queue) -> Result<(), PublishError> {
        match apply::declare_queue(&mut self.requests(), queue).await {
            Ok(()) => Ok(()),
            Err(Fault::Refused { words, .. }) => {
                tracing::warn!(queue = queue.name, words, "a queue could not be declared; used as it is");
                Ok(())
            }
            Err(lost) => Err(PublishError::NotConnected(lost.words().into())),
        }
    }

    /// Sees to it that the delay queue of one length is there, for consuming. `again` is whether an earlier try failed.
    ///
    /// Through the same gate as publishing: while a quorum queue is being made, RabbitMQ (seen on 3.10.8) answers another
    /// declare of it as if it were there, and a `basic.consume` before its process runs crashes the whole connection
    /// (`INTERNAL_ERROR`, `noproc` in the broker's log).
    pub(crate) async fn delay_ready(&self, step: Step, again: bool) -> Result<(), Fault> {
        if again {
            self.delays.lock().unwrap_or_else(PoisonError::into_inner).remove(&step);
        }
        let deadline = Instant::now() + self.config.operation_timeout;
        let ready = self.ensure_delay(step, deadline).await;
        ready.map_err(|error| Fault::Lost { reason: "channel", words: error.to_string() })
    }

    async fn send(&self, exchange: &str, key: &str, m: &Message, deadline: Instant) -> Result<(), PublishError> {
        self.publisher.publish(&self.publish.connection, exchange, key, m, deadline).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
    }
}

/// Says what is not as it should be.
pub(crate) fn log(report: &Report) {
    match &report.state {
        apply::State::Ready | apply::State::Unchecked => {}
        apply::State::Differs(words) => tracing::warn!(object = report.object, words, "used as it is"),
        apply::State::Missing(words) => tracing::warn!(object = report.object, words, "is missing"),
        apply::State::Failed(words) => tracing::warn!(object = report.object, words, "could not be declared"),
    }
}

/// Watches a connection on a task of its own until it is lost.
fn watch_connection(
    connection: &Connection,
    lost: Arc<watch::Sender<Option<Lost>>>,
    blocked: watch::Sender<bool>,
) -> AbortHandle {
    // One listener per connection: listeners share one queue.
    let mut events = Box::pin(connection.events_listener());
    let status = connection.status().clone();
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(WATCH_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Lost { reason: "closed", detail: "the connection is closed".into() };
        let mut listening = true;
        loop {
            tokio::select! {
                event = events.next(), if listening => match event {
                    Some(Event::ConnectionBlocked(_)) => {
                        blocked.send_replace(true);
                    },
                    Some(Event::ConnectionUnblocked) => {
                        blocked.send_replace(false);
                    },
                    Some(Event::Error(error)) => {
                        // A channel's error comes here too, and is none of the connection's.
                        if let Fault::Lost { reason, .. } = Fault::from(&error) {
                            last = Lost { reason, detail: describe(&error) };
                        }
                    }
                    Some(_) => {}
                    None => listening = false,
                },
                _ = ticks.tick() => {}
            }
            if !status.connected() {
                lost.send_if_modified(|lost| lost.is_none().then(|| *lost = Some(last)).is_some());
                return;
            }
        }
    });
    task.abort_handle()
}
