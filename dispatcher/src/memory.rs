//! A broker in memory: for tests, for the examples, and as the smallest example of a [`Broker`].
//!
//! It keeps nothing over the end of the process; that is what the embedded broker is for.

use crate::{
    grid::Step,
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, Delivery, Depth, Opening, PublishError, Source, Tag, Target},
    },
};
use quebert_wire::Message;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// Room for events that the dispatcher has not taken yet.
const EVENTS: usize = 2048;

/// Room that deliveries leave for changes of state, which must not be missed. What does not fit waits in its queue.
const FOR_STATE: usize = 1024;

/// Where dead letters go whose queue nobody declared.
const COMMON_DEAD: &str = "dead";

/// The state of the world, which brokers of several dispatchers share.
#[derive(Debug, Default)]
struct World {
    queues: BTreeMap<String, VecDeque<Kept>>,
    consumers: BTreeMap<Opening, Consumer>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    redelivered: bool,
}

#[derive(Debug)]
struct Consumer {
    connection: u64,
    source: Source,
    window: usize,
    paused: bool,
    /// `None` once another message has taken its place: it fills the window until its ack.
    unsettled: BTreeMap<u64, Option<Message>>,
    seq: u64,
}

#[derive(Debug)]
struct Connection {
    events: mpsc::Sender<BrokerEvent>,
    wanted: BTreeMap<Source, u16>,
    up: bool,
}

/// A connection to a world of queues in memory. Clones share the connection.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    world: Arc<Mutex<World>>,
    connection: u64,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// A new world without queues, and a connection to it.
    pub fn new() -> Self {
        Self { world: Arc::default(), connection: 0 }
    }

    /// Another connection to the same world, for another dispatcher.
    pub fn another(&self) -> Self {
        let mut world = self.lock();
        world.next += 1;
        Self { world: self.world.clone(), connection: world.next }
    }

    /// Makes a work queue and the queue of its dead letters. Without, a queue begins to be when it is first opened.
    pub fn declare(&self, queue: &str) {
        let mut world = self.lock();
        world.queues.entry(queue.to_owned()).or_default();
        world.queues.entry(dead_of(queue)).or_default();
    }

    /// Deletes a work queue with what is in it; publishes to it come back from now on.
    pub fn delete(&self, queue: &str) {
        self.lock().queues.remove(queue);
    }

    /// The messages that wait in a queue, its unsettled ones not among them.
    pub fn messages(&self, target: &Target) -> Vec<Message> {
        let world = self.lock();
        let name = world.name_of(target);
        world.queues.get(&name).into_iter().flatten().map(|kept| kept.message.clone()).collect()
    }

    /// Every message that is anywhere in the world, unsettled ones too.
    pub fn everything(&self) -> Vec<Message> {
        let world = self.lock();
        let waiting = world.queues.values().flatten().map(|kept| &kept.message);
        waiting.chain(world.consumers.values().flat_map(|c| c.unsettled.values().flatten())).cloned().collect()
    }

    /// Cuts this connection and makes it again: what was unsettled is delivered again, flagged.
    pub fn cut(&self) {
        let mut world = self.lock();
        world.disconnect(self.connection, "io");
        world.connect(self.connection);
        world.deliver();
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker for MemoryBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let (events, receiver) = mpsc::channel(EVENTS);
        let mut world = self.lock();
        let connection = Connection { events, wanted: BTreeMap::new(), up: false };
        world.connections.insert(self.connection, connection);
        world.connect(self.connection);
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        let mut world = self.lock();
        world.close(self.connection, &source);
        if let Some(connection) = world.connections.get_mut(&self.connection) {
            connection.wanted.insert(source.clone(), window);
            if connection.up {
                world.consume(self.connection, source, window);
            }
        }
        world.deliver();
    }

    fn close(&self, source: &Source) {
        let mut world = self.lock();
        if let Some(connection) = world.connections.get_mut(&self.connection) {
            connection.wanted.remove(source);
        }
        world.close(self.connection, source);
        world.deliver();
    }

    fn pause(&self, source: &Source) {
        let mut world = self.lock();
        let mine = self.connection;
        if let Some(connection) = world.connections.get_mut(&mine) {
            connection.wanted.remove(source);
        }
        for consumer in world.consumers.values_mut().filter(|c| c.connection == mine && c.source == *source) {
            consumer.paused = true;
        }
    }

    fn ack(&self, tag: Tag) {
        let mut world = self.lock();
        if let Some(consumer) = world.consumers.get_mut(&tag.opening) {
            consumer.unsettled.remove(&tag.seq);
        }
        world.deliver();
    }

    fn give_back(&self, tag: Tag) {
        let mut world = self.lock();
        if let Some(consumer) = world.consumers.get_mut(&tag.opening)
            && let Some(Some(message)) = consumer.unsettled.remove(&tag.seq)
        {
            let queue = name_of_source(&consumer.source);
            world.put_back(&queue, message);
        }
        world.deliver();
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        let result = self.lock().publish(&target, message);
        Box::pin(async move { result })
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        let mut world = self.lock();
        let result = world.publish(&target, message);
        if let (Ok(()), Some(consumer)) = (&result, world.consumers.get_mut(&from.opening))
            && let Some(message) = consumer.unsettled.get_mut(&from.seq)
        {
            *message = None;
        }
        Box::pin(async move { result })
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        let world = self.lock();
        let name = world.name_of(&target);
        let depth = world.queues.get(&name).map(|queue| Depth {
            ready: queue.len() as u64,
            consumers: world.consumers.values().filter(|c| !c.paused && name_of_source(&c.source) == name).count()
                as u64,
        });
        Box::pin(async move { depth })
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        let mut world = self.lock();
        world.disconnect(self.connection, "closed");
        world.connections.remove(&self.connection);
        world.deliver();
        Box::pin(async {})
    }
}

impl World {
    fn name_of(&self, target: &Target) -> String {
        match target {
            Target::Queue(queue) => queue.to_string(),
            Target::Delay(step) => delay_name(*step),
            Target::Dead(queue) => {
                let own = dead_of(queue);
                if self.queues.contains_key(&own) { own } else { COMMON_DEAD.to_owned() }
            }
        }
    }

    fn connect(&mut self, id: u64) {
        let delays: BTreeSet<Step> = Step::all().filter(|step| self.queues.contains_key(&delay_name(*step))).collect();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.up = true;
        connection.tell(BrokerEvent::Connected);
        for step in delays {
            connection.tell(BrokerEvent::DelayExists(step));
        }
        for (source, window) in connection.wanted.clone() {
            self.consume(id, source, window);
        }
    }

    fn disconnect(&mut self, id: u64, reason: &'static str) {
        let mine = self.consumers.iter().filter(|(_, c)| c.connection == id).map(|(opening, _)| *opening);
        for opening in mine.collect::<Vec<_>>() {
            self.end(opening);
            if let Some(connection) = self.connections.get(&id) {
                connection.tell(BrokerEvent::Closed { opening });
            }
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.up = false;
            connection.tell(BrokerEvent::Disconnected { reason, detail: "cut".to_owned() });
        }
    }

    fn consume(&mut self, id: u64, source: Source, window: u16) {
        self.next += 1;
        let opening = Opening(self.next);
        if let Source::Queue(queue) = &source {
            self.queues.entry(queue.to_string()).or_default();
            self.queues.entry(dead_of(queue)).or_default();
        }
        if let Some(connection) = self.connections.get(&id) {
            connection.tell(BrokerEvent::Opened { source: source.clone(), opening });
        }
        let consumer = Consumer {
            connection: id,
            source,
            window: usize::from(window),
            paused: false,
            unsettled: BTreeMap::new(),
            seq: 0,
        };
        self.consumers.insert(opening, consumer);
    }

    fn close(&mut self, id: u64, source: &Source) {
        let open = self.consumers.iter().filter(|(_, c)| c.connection == id && c.source == *source);
        for opening in open.map(|(opening, _)| *opening).collect::<Vec<_>>() {
            self.end(opening);
        }
    }

    /// What is unsettled under an opening goes back to the front, in its order.
    fn end(&mut self, opening: Opening) {
        let Some(consumer) = self.consumers.remove(&opening) else { return };
        let queue = name_of_source(&consumer.source);
        for message in consumer.unsettled.into_values().rev().flatten() {
            self.put_back(&queue, message);
        }
    }

    fn put_back(&mut self, queue: &str, message: Message) {
        // A queue that was deleted takes its unsettled messages with it.
        if let Some(queue) = self.queues.get_mut(queue) {
            queue.push_front(Kept { message, redelivered: true });
        }
    }

    fn publish(&mut self, target: &Target, message: Message) -> Result<(), PublishError> {
        let name = self.name_of(target);
        let is_new = !self.queues.contains_key(&name);
        match target {
            Target::Queue(_) if is_new => return Err(PublishError::Returned(format!("no queue {name:?}"))),
            Target::Delay(step) if is_new => {
                for connection in self.connections.values() {
                    connection.tell(BrokerEvent::DelayExists(*step));
                }
            }
            _ => {}
        }
        self.queues.entry(name).or_default().push_back(Kept { message, redelivered: false });
        self.deliver();
        Ok(())
    }

    /// Hands out what the windows allow, to each consumer in turn.
    fn deliver(&mut self) {
        loop {
            let mut handed_out = false;
            for (opening, consumer) in &mut self.consumers {
                let Some(connection) = self.connections.get(&consumer.connection) else { continue };
                if consumer.paused || consumer.unsettled.len() >= consumer.window {
                    continue;
                }
                let Some(queue) = self.queues.get_mut(&name_of_source(&consumer.source)) else { continue };
                if connection.events.capacity() <= FOR_STATE {
                    continue;
                }
                let Some(kept) = queue.pop_front() else { continue };
                consumer.seq += 1;
                consumer.unsettled.insert(consumer.seq, Some(kept.message.clone()));
                let tag = Tag { opening: *opening, seq: consumer.seq };
                let (redelivered, message) = (kept.redelivered, kept.message);
                connection.tell(BrokerEvent::Delivered(Delivery { tag, redelivered, message }));
                handed_out = true;
            }
            if !handed_out {
                return;
            }
        }
    }
}

impl Connection {
    /// There is room for deliveries, and so many changes of state mean that nobody listens any more.
    fn tell(&self, event: BrokerEvent) {
        drop(self.events.try_send(event));
    }
}

fn name_of_source(source: &Source) -> String {
    match source {
        Source::Queue(queue) => queue.to_string(),
        Source::Delay(step) => delay_name(*step),
    }
}

fn delay_name(step: Step) -> String {
    format!("delay.{}", step.millis())
}

fn dead_of(queue: &str) -> String {
    format!("{queue}.dead")
}
