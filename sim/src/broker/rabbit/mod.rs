//! The engine that is like RabbitMQ: queues with its rules about confirms, windows, redeliveries and limits. Order, windows
//! and ownership are the queue core's; this adds what RabbitMQ does and clients trip over.
//!
//! Everything that it does to a message goes into the book, at the moment at which it is true.

mod crash;
mod dead;
mod publish;
mod rules;
mod settle;
#[cfg(test)]
mod tests;

pub(super) use rules::{DeadLetter, Kind, Rules};

use super::{
    cluster::{At, Knobs},
    conns::{ConnNo, Conns},
    engine::Engine,
    wire::{Ask, Role, Tell},
};
use crate::{
    case::{BrokerSpec, QueueKind},
    draw::Draw,
    history::{CopyNo, History, TaskNo, What},
    host::Host,
    net::Down,
};
use publish::{Batch, Pending};
use quebert_broker_adapter::queue::{ClientId, Limits, QueueCore, QueueId, QueueName, Room, Spot};
use quebert_dispatcher::ports::broker::{Depth, Opening, Source, Tag, Target};
use quebert_wire::{HeaderValue, Message};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// A message in a queue.
#[derive(Debug, Clone)]
struct Parcel {
    copy: CopyNo,
    task: Option<TaskNo>,
    message: Message,
    /// How often it came back; only quorum queues count.
    returns: u32,
    /// When it came into this queue.
    at: Duration,
}

/// A client's channel, with its consumer.
#[derive(Debug)]
struct Channel {
    client: Host,
    queue: QueueId,
    opening: Opening,
    /// What is unsettled, by its number.
    held: BTreeMap<u64, Held>,
    /// Whether a look at the age of what is unsettled is planned.
    watched: bool,
}

/// A delivery that is unsettled.
#[derive(Debug, Clone, Copy)]
struct Held {
    spot: Spot,
    since: Duration,
}

/// What is done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// A publish is safe.
    Commit(u64),
    /// Its answer goes out.
    Answer(u64),
    /// Answers that were held back go out.
    Flush(ConnNo),
    /// Whether a delivery has been unsettled for too long.
    Overdue(ConnNo, u64),
    /// Whether the head of a queue has lived long enough.
    Expire(QueueId),
    /// A dead letter arrives where it is sent.
    Dead(u64),
}

/// An ack that a crash could undo.
#[derive(Debug)]
struct Acked {
    /// When it is safe.
    at: Duration,
    spot: Spot,
    parcel: Parcel,
}

/// The engine.
pub(super) struct Rabbit {
    spec: BrokerSpec,
    knobs: Knobs,
    draw: Draws,
    history: History,
    core: QueueCore<()>,
    /// Every client has room: what it has not read yet is bounded by its windows.
    room: Room,
    rules: BTreeMap<QueueId, Rules>,
    parcels: BTreeMap<Spot, Parcel>,
    channels: BTreeMap<(ConnNo, u64), Channel>,
    openings: BTreeMap<Opening, (ConnNo, u64)>,
    pending: BTreeMap<u64, Pending>,
    /// Messages that a quorum queue has not taken in yet, by queue: when the last of them will be.
    committed_by: BTreeMap<QueueId, Duration>,
    batches: BTreeMap<ConnNo, Batch>,
    acked: VecDeque<Acked>,
    /// Dead letters on their way.
    transfers: BTreeMap<u64, dead::Transfer>,
    /// When each delay queue was made.
    delays: BTreeMap<QueueId, Duration>,
    /// Queues whose heads are to be looked at for their age.
    touched: BTreeSet<QueueId>,
    timers: BTreeMap<(Duration, u64), Timer>,
    /// When the clockwork comes again, as far as it knows.
    next_tick: Option<Duration>,
    last_copy: u64,
    last: u64,
    /// How often something was drawn for a task: the key of its next draw.
    drawn: BTreeMap<Option<TaskNo>, u64>,
}

/// What is drawn, by purpose.
#[derive(Debug, Clone, Copy)]
struct Draws {
    commit: Draw,
    never: Draw,
    nack: Draw,
    ack: Draw,
    kept: Draw,
    revived: Draw,
    forgotten: Draw,
}

impl Rabbit {
    pub(super) fn new(spec: &BrokerSpec, queues: &[Arc<str>], draw: Draw, history: History) -> Self {
        let mut engine = Self {
            spec: spec.clone(),
            knobs: Knobs::default(),
            draw: Draws {
                commit: draw.of("commit"),
                never: draw.of("never"),
                nack: draw.of("nack"),
                ack: draw.of("ack"),
                kept: draw.of("kept"),
                revived: draw.of("revived"),
                forgotten: draw.of("forgotten"),
            },
            history,
            core: QueueCore::new(Limits { queue_messages_max: u64::MAX, total_bytes_max: u64::MAX }),
            room: Room::new(),
            rules: BTreeMap::new(),
            parcels: BTreeMap::new(),
            channels: BTreeMap::new(),
            openings: BTreeMap::new(),
            pending: BTreeMap::new(),
            committed_by: BTreeMap::new(),
            batches: BTreeMap::new(),
            acked: VecDeque::new(),
            transfers: BTreeMap::new(),
            delays: BTreeMap::new(),
            touched: BTreeSet::new(),
            timers: BTreeMap::new(),
            next_tick: None,
            last_copy: 0,
            last: 0,
            drawn: BTreeMap::new(),
        };
        queues.iter().for_each(|queue| engine.declare_work(queue));
        engine
    }

    /// A work queue as Quebert declares it, with its dead letters.
    fn declare_work(&mut self, name: &Arc<str>) {
        let queue = self.core.declare(QueueName::Work(name.clone()));
        let dead = self.core.queue(&QueueName::Dead(name.clone())).expect("declared with its work queue");
        let rules = match self.spec.queues {
            QueueKind::Quorum => Rules {
                delivery_limit: Some(self.spec.delivery_limit),
                dead: Some((dead, DeadLetter::AtLeastOnce)),
                ..Rules::of(Kind::Quorum)
            },
            QueueKind::Classic => Rules { dead: Some((dead, DeadLetter::AtMostOnce)), ..Rules::of(Kind::Classic) },
        };
        self.rules.insert(queue, Rules { messages_max: Some(self.spec.queue_messages_max), ..rules });
    }

    fn rules(&self, queue: QueueId) -> Rules {
        self.rules.get(&queue).copied().unwrap_or(Rules::of(Kind::Quorum))
    }

    fn depth(&self, target: &Target) -> Option<Depth> {
        let figures = self.core.figures(self.core.route(target)?)?;
        Some(Depth { ready: figures.ready, consumers: figures.consumers })
    }

    fn make_delay(&mut self, at: At, conns: &mut Conns, step: quebert_dispatcher::grid::Step) {
        let name = QueueName::Delay(step);
        if self.core.queue(&name).is_some() {
            return;
        }
        let queue = self.core.declare(name);
        self.delays.insert(queue, at.now);
        for conn in conns.which(|conn| conn.role == Role::Consume) {
            conns.tell(conn, &Tell::Delay { step, age_ms: 0 });
        }
    }

    fn open(&mut self, at: At, conns: &mut Conns, channel: (ConnNo, u64), source: &Source, window: u16) {
        if let Source::Delay(step) = source {
            self.make_delay(at, conns, *step);
        }
        let (conn, number) = channel;
        let client = conns.get(conn).expect("who asks is there").client;
        let opened =
            self.core.queue(&name_of(source)).map(|queue| (queue, self.core.open(ClientId(conn), queue, window)));
        let Some((queue, Some(opening))) = opened else {
            let words = format!("NOT_FOUND - no queue '{}' in vhost '/'", name_of(source));
            return conns.tell(conn, &Tell::Failed { channel: number, code: 404, words });
        };
        self.channels.insert(channel, Channel { client, queue, opening, held: BTreeMap::new(), watched: false });
        self.openings.insert(opening, channel);
        self.note(at, What::Opened { by: client, source: source.clone(), opening, window });
        conns.tell(conn, &Tell::Opened { channel: number, opening });
    }

    /// Closes a channel; what is unsettled goes back.
    fn close(&mut self, at: At, channel: (ConnNo, u64), why: &'static str) {
        let Some(closed) = self.channels.remove(&channel) else { return };
        self.openings.remove(&closed.opening);
        self.core.close(ClientId(channel.0), Some(closed.queue));
        for held in closed.held.into_values() {
            self.returned(at, held.spot, why);
        }
        self.note(at, What::Closed { by: closed.client, opening: closed.opening });
    }

    /// The broker closes a channel for a client's fault.
    fn fail(&mut self, at: At, conns: &mut Conns, channel: (ConnNo, u64), code: u16, words: String, why: &'static str) {
        self.close(at, channel, why);
        conns.tell(channel.0, &Tell::Failed { channel: channel.1, code, words });
    }

    /// Hands out what can be.
    fn pump(&mut self, at: At, conns: &mut Conns) {
        self.expire_heads(at);
        let handed = self.core.hand_out(&mut self.room, usize::MAX, u64::MAX);
        // Here nothing has to be written.
        drop(self.core.changes());
        for handed in handed {
            let (conn, number) = self.openings[&handed.tag.opening];
            let channel = self.channels.get_mut(&(conn, number)).expect("an opening is a channel's");
            let parcel = &self.parcels[&handed.spot];
            channel.held.insert(handed.tag.seq, Held { spot: handed.spot, since: at.now });
            let watch = !std::mem::replace(&mut channel.watched, true);
            let to = channel.client;
            let name = self.core.name(handed.spot.queue).expect("queues stay");
            let source = source_of(name);
            let (tag, redelivered) = (handed.tag, handed.redelivered);
            let mut message = parcel.message.clone();
            if parcel.returns > 0 {
                message.headers.insert(DELIVERY_COUNT.to_owned(), HeaderValue::Int(parcel.returns.into()));
            }
            self.history.note(at.now, at.node, What::Delivered { copy: parcel.copy, tag, source, to, redelivered });
            conns.tell(conn, &Tell::Deliver { channel: number, seq: tag.seq, redelivered, message });
            if watch {
                self.plan(at.now + Duration::from_millis(self.spec.consumer_timeout_ms), Timer::Overdue(conn, number));
            }
        }
    }

    fn plan(&mut self, due: Duration, timer: Timer) {
        self.last += 1;
        self.timers.insert((due, self.last), timer);
    }

    fn note(&self, at: At, what: What) {
        self.history.note(at.now, at.node, what);
    }

    fn next_copy(&mut self) -> CopyNo {
        self.last_copy += 1;
        CopyNo(self.last_copy)
    }

    /// The key of the next draw for a task: it counts by task, so that a case without another task draws the same.
    fn key(&mut self, task: Option<TaskNo>) -> u64 {
        let count = self.drawn.entry(task).or_default();
        *count += 1;
        (u64::from(task.map_or(0, |task| task.0)) << 32) | *count
    }

    /// How long storing takes this time.
    fn storing(&mut self, draw: Draw, key: u64) -> Duration {
        Duration::from_millis(draw.at(key).between(self.spec.confirm_min_ms, self.spec.confirm_max_ms))
    }

    fn tag_owner(&self, tag: Tag) -> Option<&Channel> {
        self.channels.get(self.openings.get(&tag.opening)?)
    }
}

impl Engine for Rabbit {
    fn declare(&mut self, queue: &Arc<str>) {
        self.declare_work(queue);
    }

    fn set(&mut self, knobs: &Knobs) {
        self.knobs = knobs.clone();
    }

    fn is_open(&self) -> bool {
        true
    }

    fn welcome(&mut self, at: At, conns: &mut Conns, conn: ConnNo) {
        if conns.get(conn).is_none_or(|conn| conn.role != Role::Consume) {
            return;
        }
        self.room.insert(ClientId(conn), usize::MAX);
        for (queue, made_at) in &self.delays {
            let Some(QueueName::Delay(step)) = self.core.name(*queue) else { continue };
            conns.tell(conn, &Tell::Delay { step: *step, age_ms: millis(at.now.saturating_sub(*made_at)) });
        }
    }

    fn ask(&mut self, at: At, conns: &mut Conns, conn: ConnNo, ask: Ask) {
        match ask {
            Ask::Hello(_) | Ask::Beat | Ask::Bye => {}
            Ask::Open { channel, source, window } => self.open(at, conns, (conn, channel), &source, window),
            Ask::Pause { channel } => {
                if let Some(channel) = self.channels.get(&(conn, channel)) {
                    self.core.pause(ClientId(conn), channel.queue);
                }
            }
            Ask::Close { channel } => {
                self.close(at, (conn, channel), "closed");
                conns.tell(conn, &Tell::Closed { channel });
            }
            Ask::Settle { channel, acks, returns } => self.settle(at, conns, (conn, channel), &acks, &returns),
            Ask::Publish { no, target, from, message } => {
                let client = conns.get(conn).expect("who asks is there").client;
                self.publish(at, conns, &publish::Asked { conn, no, client, target, from }, message);
            }
            Ask::Declare { no, step } => {
                self.make_delay(at, conns, step);
                conns.tell(conn, &Tell::Declared { no });
            }
            Ask::Depth { no, target } => conns.tell(conn, &Tell::DepthIs { no, depth: self.depth(&target) }),
        }
        self.pump(at, conns);
    }

    fn cancel(&mut self, at: At, conns: &mut Conns, client: Host, queue: &str) {
        let Some(queue) = self.core.queue(&QueueName::Work(queue.into())) else { return };
        let of_client = self.channels.iter().filter(|(_, one)| one.client == client && one.queue == queue);
        for (conn, channel) in of_client.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.core.pause(ClientId(conn), queue);
            conns.tell(conn, &Tell::Cancelled { channel });
        }
        self.pump(at, conns);
    }

    fn gone(&mut self, at: At, conns: &mut Conns, conn: ConnNo) {
        let channels = self.channels.range((conn, 0)..=(conn, u64::MAX)).map(|(key, _)| *key).collect::<Vec<_>>();
        channels.into_iter().for_each(|channel| self.close(at, channel, "connection"));
        self.room.remove(&ClientId(conn));
        self.batches.remove(&conn);
        self.pump(at, conns);
    }

    fn tick(&mut self, at: At, conns: &mut Conns) -> Option<Duration> {
        let mut done = false;
        while let Some(((due, _), timer)) = self.timers.first_key_value().map(|(key, timer)| (*key, *timer)) {
            if due > at.now {
                break;
            }
            self.timers.pop_first();
            done = true;
            match timer {
                Timer::Commit(publish) => self.commit(at, conns, publish),
                Timer::Answer(publish) => self.answer_publish(at, conns, publish),
                Timer::Flush(conn) => self.flush(conns, conn),
                Timer::Overdue(conn, channel) => self.look_for_overdue(at, conns, (conn, channel)),
                Timer::Expire(queue) => drop(self.touched.insert(queue)),
                Timer::Dead(transfer) => self.transfer(at, transfer),
            }
        }
        if done {
            self.pump(at, conns);
        }
        self.next_tick = self.timers.first_key_value().map(|((due, _), _)| *due);
        self.next_tick
    }

    fn is_earlier(&self) -> bool {
        let due = self.timers.first_key_value().map(|((due, _), _)| *due);
        due.is_some_and(|due| self.next_tick.is_none_or(|next| due < next))
    }

    fn crash(&mut self, at: At, how: Option<Down>) {
        self.end(at, how);
    }

    fn resume(&mut self, at: At) {
        self.go_on(at);
    }
}

/// The header in which quorum queues tell how often a message came back.
const DELIVERY_COUNT: &str = "x-delivery-count";

fn name_of(source: &Source) -> QueueName {
    match source {
        Source::Queue(name) => QueueName::Work(name.clone()),
        Source::Delay(step) => QueueName::Delay(*step),
    }
}

fn source_of(name: &QueueName) -> Source {
    match name {
        QueueName::Work(name) | QueueName::Dead(name) => Source::Queue(name.clone()),
        QueueName::CommonDead => Source::Queue("".into()),
        QueueName::Delay(step) => Source::Delay(*step),
    }
}

fn target_of(name: &QueueName) -> Target {
    match name {
        QueueName::Work(name) => Target::Queue(name.clone()),
        QueueName::Dead(name) => Target::Dead(name.clone()),
        QueueName::CommonDead => Target::Dead("".into()),
        QueueName::Delay(step) => Target::Delay(*step),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
