//! What the dispatcher's side of the broker asks of the store: sessions, openings, settling, publishing, deliveries. What
//! operators ask is in `desk`.

use super::{
    inbox::{Publish, Request},
    journal::Done,
    record,
    store::{Store, Waiting},
};
use crate::queue::{ClientId, Handed, QueueName, Room, Spot};
use bytes::Bytes;
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{BrokerEvent, Delivery, Depth, PublishError, Source, Target},
};
use quebert_wire::{HeaderValue, Message};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Room for events that deliveries leave for changes of state, which must not be missed. What does not fit waits in its
/// queue.
const FOR_STATE: usize = 1024;

/// The header that tells at how many crashes a redelivered task was under way. It is the broker's count that the
/// dispatcher's core looks for.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// A client that has started, or wants something already.
#[derive(Default)]
pub(super) struct Client {
    /// `None` until it starts.
    events: Option<mpsc::Sender<BrokerEvent>>,
    wanted: BTreeMap<Source, u16>,
}

impl Client {
    fn tell(&self, event: BrokerEvent) {
        if let Some(events) = &self.events {
            // There is room: so many changes of state unread mean that nobody listens any more.
            let _ = events.try_send(event);
        }
    }

    fn listens(&self) -> bool {
        self.events.as_ref().is_some_and(|events| !events.is_closed())
    }

    /// How many deliveries it takes now.
    fn room(&self) -> usize {
        let open = self.events.as_ref().filter(|events| !events.is_closed());
        open.map_or(0, |events| events.capacity().saturating_sub(FOR_STATE))
    }
}

impl Store {
    /// Lets the core know of one request.
    pub(super) fn take_in(&mut self, request: Request) {
        match request {
            Request::Start { client, events } => self.start(client, events),
            Request::Cut(client) => self.cut(client),
            Request::Gone(client) => {
                self.core.close(client, None);
                self.clients.remove(&client);
            }
            Request::Stop { client, last, answer } => {
                self.disconnect(client, "closed", "stopped");
                self.clients.remove(&client);
                self.over |= last;
                self.batch.waiting.push(Waiting::Stopped(answer));
            }
            Request::End => self.over = true,
            Request::Declare(queue) => {
                self.core.declare(QueueName::Work(queue.clone()));
                self.open_waiting(&Source::Queue(queue));
            }
            Request::Open { client, source, window } => self.open_source(client, &source, window),
            Request::Close { client, source } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.wanted.remove(&source);
                }
                if let Some(queue) = self.core.queue(&name_of(&source)) {
                    self.core.close(client, Some(queue));
                }
            }
            Request::Pause { client, source } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.wanted.remove(&source);
                }
                if let Some(queue) = self.core.queue(&name_of(&source)) {
                    self.core.pause(client, queue);
                }
            }
            Request::Ack(tag) => {
                if let Some(spot) = self.core.settle(tag) {
                    self.journal.note(|| Done::Settled(spot));
                }
            }
            Request::GiveBack(tag) => self.core.give_back(tag),
            Request::Publish(publish) => self.publish(publish),
            Request::Depth { target, answer } => {
                let figures = self.core.route(&target).and_then(|queue| self.core.figures(queue));
                let depth = figures.map(|figures| Depth { ready: figures.ready, consumers: figures.consumers });
                let _ = answer.send(depth);
            }
            other => self.serve(other),
        }
    }

    /// Tells an event to every client.
    pub(super) fn tell_all(&self, event: impl Fn() -> BrokerEvent) {
        self.clients.values().for_each(|client| client.tell(event()));
    }

    /// Whether any client takes events at all.
    pub(super) fn somebody_listens(&self) -> bool {
        self.clients.values().any(Client::listens)
    }

    /// Makes a delay queue, if it is not there, and lets everybody know.
    pub(super) fn make_delay(&mut self, step: Step) {
        if self.core.queue(&QueueName::Delay(step)).is_none() {
            self.core.declare(QueueName::Delay(step));
            self.tell_all(|| BrokerEvent::DelayExists(step));
            self.tell_all(|| BrokerEvent::DelaySettled(step));
        }
    }

    /// Chooses what is delivered with this transaction, at most so many and about so many bytes, and reads what is not in
    /// memory. Tells whether a bound was met.
    pub(super) fn hand_out(&mut self, limit: usize, bytes: u64) -> bool {
        let mut room: Room = self.clients.iter().map(|(id, client)| (*id, client.room())).collect();
        let handed = self.core.hand_out(&mut room, limit, bytes);
        let more = handed.len() == limit || handed.iter().map(|one| u64::from(one.bytes)).sum::<u64>() >= bytes;
        if handed.is_empty() {
            return false;
        }
        let uncached = handed.iter().map(|handed| handed.spot).filter(|spot| self.cache.get(*spot).is_none());
        let uncached = uncached.collect::<Vec<_>>();
        let mut read = match self.read(&uncached) {
            Ok(read) => read,
            Err(words) => {
                handed.iter().rev().for_each(|handed| self.core.take_back(handed));
                self.begin_trouble(words);
                return false;
            }
        };
        for handed in handed {
            let record = self.cache.take(handed.spot).or_else(|| read.remove(&handed.spot));
            let message = match record {
                Some(record) => self.readable(handed.spot, &record),
                None => {
                    let (queue, number) = (handed.spot.queue.0, handed.spot.seq);
                    tracing::error!(file = %self.medium.path().display(), queue, number, "a message is not in the file");
                    None
                }
            };
            self.batch.handed.push((handed, message));
        }
        more
    }

    /// Sends what was handed out, now that the disk knows.
    pub(super) fn deliver(&mut self, handed: Vec<(Handed, Option<Message>)>) {
        for (handed, message) in handed {
            // What can't be read stays unsettled, and was reported; its place in the window is the price.
            let (Some(client), Some(mut message)) = (self.clients.get(&handed.client), message) else { continue };
            if handed.redelivered {
                message.headers.insert(DELIVERY_COUNT.to_owned(), HeaderValue::Int(handed.crashes.into()));
            }
            self.journal.note(|| Done::Delivered(handed.clone()));
            client.tell(BrokerEvent::Delivered(Delivery { tag: handed.tag, redelivered: handed.redelivered, message }));
        }
    }

    /// Records that are not in memory.
    pub(super) fn read(&mut self, spots: &[Spot]) -> Result<BTreeMap<Spot, Bytes>, String> {
        if spots.is_empty() {
            return Ok(BTreeMap::new());
        }
        let disk = self.disk.as_ref().ok_or_else(|| "it is not open".to_owned())?;
        disk.read(spots.iter().copied()).map_err(|fault| {
            self.disk = None;
            fault.to_string()
        })
    }

    /// The message of a record; what is unreadable is reported.
    pub(super) fn readable(&self, spot: Spot, record: &Bytes) -> Option<Message> {
        let message = record::message(record);
        if let Err(error) = &message {
            let (queue, number) = (spot.queue.0, spot.seq);
            tracing::error!(file = %self.medium.path().display(), queue, number, %error, "a message can't be read");
        }
        message.ok()
    }

    fn start(&mut self, id: ClientId, events: mpsc::Sender<BrokerEvent>) {
        let client = self.clients.entry(id).or_default();
        client.events = Some(events);
        client.tell(BrokerEvent::Connected);
        for (_, name) in self.core.queues() {
            if let QueueName::Delay(step) = name {
                client.tell(BrokerEvent::DelayExists(*step));
                client.tell(BrokerEvent::DelaySettled(*step));
            }
        }
        if self.trouble.is_some() {
            client.tell(BrokerEvent::Blocked(true));
        }
        self.open_wanted(id);
    }

    fn disconnect(&mut self, id: ClientId, reason: &'static str, detail: &str) {
        let closed = self.core.close(id, None);
        let Some(client) = self.clients.get(&id) else { return };
        for closed in closed {
            client.tell(BrokerEvent::Closed { opening: closed.opening });
        }
        client.tell(BrokerEvent::Disconnected { reason, detail: detail.to_owned() });
    }

    fn cut(&mut self, id: ClientId) {
        self.disconnect(id, "io", "cut");
        let Some(client) = self.clients.get(&id).filter(|client| client.listens()) else { return };
        client.tell(BrokerEvent::Connected);
        self.open_wanted(id);
    }

    fn open_wanted(&mut self, id: ClientId) {
        let wanted = self.clients.get(&id).map(|client| client.wanted.clone()).unwrap_or_default();
        for (source, window) in wanted {
            self.open_now(id, &source, window);
        }
    }

    fn open_source(&mut self, id: ClientId, source: &Source, window: u16) {
        let client = self.clients.entry(id).or_default();
        client.wanted.insert(source.clone(), window);
        if client.events.is_none() {
            return;
        }
        if let Some(queue) = self.core.queue(&name_of(source)) {
            self.core.close(id, Some(queue));
        }
        self.open_now(id, source, window);
    }

    fn open_now(&mut self, id: ClientId, source: &Source, window: u16) {
        if let Source::Delay(step) = source {
            self.make_delay(*step);
        }
        let opened = self.core.queue(&name_of(source)).and_then(|queue| self.core.open(id, queue, window));
        let Some(client) = self.clients.get(&id) else { return };
        client.tell(match opened {
            Some(opening) => BrokerEvent::Opened { source: source.clone(), opening },
            None => BrokerEvent::SourceFailed { source: source.clone(), detail: "there is no such queue".to_owned() },
        });
    }

    /// A queue was made that somebody may have wanted before.
    fn open_waiting(&mut self, source: &Source) {
        let Some(queue) = self.core.queue(&name_of(source)) else { return };
        let listening = self.clients.iter().filter(|(_, client)| client.listens());
        let wants = listening.filter_map(|(id, client)| Some((*id, *client.wanted.get(source)?)));
        for (id, window) in wants.collect::<Vec<_>>() {
            if !self.core.has_open(id, queue) {
                self.open_now(id, source, window);
            }
        }
    }

    fn publish(&mut self, publish: Publish) {
        let Publish { target, record, from, permit, answer } = publish;
        match self.place(&target, record, from.is_some()) {
            Ok(_) => {
                if let Some(from) = from {
                    self.relocate(from);
                }
                self.batch.waiting.push(Waiting::Publish(answer, permit));
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Takes a message in for a target; a delay queue is made when first needed.
    pub(super) fn place(&mut self, target: &Target, record: record::Record, moved: bool) -> Result<Spot, PublishError> {
        if let Target::Delay(step) = target {
            self.make_delay(*step);
        }
        let Some(queue) = self.core.route(target) else {
            return Err(PublishError::Returned(format!("there is no {}", QueueName::from(target))));
        };
        if self.is_stuck() || (self.trouble.is_some() && !moved) {
            return Err(PublishError::Refused(self.words()));
        }
        self.add(queue, record, moved).map_err(|full| PublishError::Refused(full.to_string()))
    }
}

fn name_of(source: &Source) -> QueueName {
    match source {
        Source::Queue(name) => QueueName::Work(name.clone()),
        Source::Delay(step) => QueueName::Delay(*step),
    }
}
