//! The engine that is the embedded broker's own store, on a simulated disk. It is driven turn by turn: a turn is one
//! transaction, and what it did becomes true, and is told, when its sync is done. A crash before that leaves of it what the
//! disk leaves.

mod book;
mod crash;

use super::{
    cluster::{At, Knobs},
    conns::{ConnNo, Conns},
    engine::Engine,
    wire::{Answer, Ask, Role, Tell},
};
use crate::{
    case::BrokerSpec,
    clock::EPOCH_MS,
    draw::Draw,
    history::{History, What},
    host::Host,
    net::Down,
};
use book::Book;
use quebert_broker_adapter::embedded::{
    EmbeddedBroker, EmbeddedConfig,
    simulation::{ByHand, Disk, Done},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, Opening, PublishError, Source, Tag},
    clock::{Clock, Now},
};
use quebert_wire::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::mpsc;

/// How long a process that can't open its file waits before it is started again.
const RESTART: Duration = Duration::from_secs(1);
/// Old enough for anything.
const LONG_MS: u64 = 3_600_000;

/// The engine.
pub(super) struct Embedded {
    spec: BrokerSpec,
    config: EmbeddedConfig,
    draw: Draw,
    knobs: Knobs,
    clock: Arc<StoreClock>,
    disk: Disk,
    /// `None` while its process is down.
    life: Option<Life>,
    /// When the process is started, if it is not there.
    open_at: Option<Duration>,
    book: Book,
    /// What the turn did that was under way when the process ended.
    interrupted: Vec<Done>,
    /// Turns so far: the key of what is drawn for one.
    turns: u64,
    reopened: u64,
    /// When the clockwork comes again, as far as it knows; and whether something was asked since.
    next_tick: Option<Duration>,
    asked: bool,
}

/// One life of the process.
struct Life {
    store: ByHand,
    /// The client that publishes for everybody: a store doesn't care who does.
    voice: EmbeddedBroker,
    clients: BTreeMap<ConnNo, Client>,
    waiting: Vec<Waiting>,
    /// A turn whose sync is not done.
    turn: Option<Turn>,
    /// What was closed since the last turn began, and what was before it did.
    closing: Vec<Closing>,
}

/// One client's session.
struct Client {
    host: Host,
    broker: EmbeddedBroker,
    events: mpsc::Receiver<BrokerEvent>,
    channels: BTreeMap<u64, Channel>,
}

/// A channel of a session.
struct Channel {
    source: Source,
    window: u16,
    /// By the store's name, which is used again in its next life.
    opening: Option<Opening>,
}

/// A turn whose sync is not done.
struct Turn {
    until: Duration,
    done: Vec<Done>,
    closed: Vec<Closing>,
}

/// An opening that ends with a turn.
struct Closing {
    conn: ConnNo,
    channel: u64,
    host: Host,
    opening: Option<Opening>,
    /// Whether the client waits for it.
    told: bool,
}

/// Somebody who waits for an answer.
struct Waiting {
    conn: ConnNo,
    no: u64,
    what: Question,
}

enum Question {
    Publish { key: u64, host: Host, never: bool, fate: BoxFuture<'static, Result<(), PublishError>> },
    Depth(BoxFuture<'static, Option<Depth>>),
}

/// The store's clock: the moment of the latest call.
#[derive(Debug, Default)]
struct StoreClock(AtomicU64);

impl StoreClock {
    fn set(&self, now: Duration) {
        self.0.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Clock for StoreClock {
    fn now(&self) -> Now {
        let ms = self.0.load(Relaxed);
        let wall = Timestamp::from_millis(EPOCH_MS.saturating_add_unsigned(ms));
        Now { mono: Duration::from_millis(ms), wall }
    }
}

impl Embedded {
    /// With a file that is made now.
    pub(super) fn new(spec: &BrokerSpec, queues: &[Arc<str>], draw: Draw, history: History) -> Self {
        let config = EmbeddedConfig {
            queues: queues.to_vec(),
            queue_messages_max: spec.queue_messages_max,
            delivery_limit: spec.delivery_limit,
            ..EmbeddedConfig::default()
        };
        let mut engine = Self {
            spec: spec.clone(),
            config,
            draw,
            knobs: Knobs::default(),
            clock: Arc::default(),
            disk: Disk::new(),
            life: None,
            open_at: None,
            book: Book::new(history),
            interrupted: Vec::new(),
            turns: 0,
            reopened: 0,
            next_tick: None,
            asked: false,
        };
        engine.start(At { now: Duration::ZERO, node: Host::Broker(1) });
        engine
    }

    fn begin_turn(&mut self, at: At) {
        let Some(life) = &mut self.life else { return };
        if life.turn.is_some() || !life.store.has_work() {
            return;
        }
        self.turns += 1;
        let changes = self.disk.changes();
        self.disk.hold();
        let done = life.store.turn();
        let sync = if self.disk.changes() == changes {
            Duration::ZERO
        } else {
            let (least, most) = (self.spec.confirm_min_ms, self.spec.confirm_max_ms);
            let drawn = self.draw.of("sync").at(self.turns).between(least, most);
            Duration::from_millis(drawn.saturating_add(self.knobs.disk_slow_ms))
        };
        life.turn = Some(Turn { until: at.now + sync, done, closed: std::mem::take(&mut life.closing) });
    }

    /// The sync is done: what the turn did is true, and told.
    fn end_turn(&mut self, at: At, conns: &mut Conns) {
        let Some(life) = &mut self.life else { return };
        let Some(turn) = life.turn.take() else { return };
        self.disk.release();
        let told = life.events();
        for (conn, channel, opening) in life.openings(&told) {
            let Some(client) = life.clients.get_mut(&conn) else { continue };
            let one = client.channels.get_mut(&channel).expect("just found");
            one.opening = Some(opening);
            let (source, window) = (one.source.clone(), one.window);
            self.book.opened(at, client.host, (conn, channel), source, opening, window);
        }
        self.book.turned(at, turn.done);
        for (conn, event) in told {
            self.tell(conns, conn, event);
        }
        for Closing { conn, channel, host, opening, told } in turn.closed {
            if let Some(opening) = opening {
                self.book.closed(at, host, opening);
            }
            if told {
                conns.tell(conn, &Tell::Closed { channel });
            }
        }
        self.answer(at, conns, 0);
    }

    /// Passes on what the store told a client.
    fn tell(&mut self, conns: &mut Conns, conn: ConnNo, event: BrokerEvent) {
        let Some(client) = self.life.as_mut().and_then(|life| life.clients.get_mut(&conn)) else { return };
        match event {
            BrokerEvent::Opened { opening, .. } => {
                if let Some((_, channel)) = self.book.channel(opening) {
                    conns.tell(conn, &Tell::Opened { channel, opening: self.book.name(opening) });
                }
            }
            BrokerEvent::Delivered(delivery) => {
                let (seq, redelivered, message) = (delivery.tag.seq, delivery.redelivered, delivery.message);
                if let Some((_, channel)) = self.book.channel(delivery.tag.opening) {
                    conns.tell(conn, &Tell::Deliver { channel, seq, redelivered, message });
                }
            }
            BrokerEvent::SourceFailed { source, detail } => {
                client.broker.close(&source);
                let failed = client.channels.iter().find(|(_, channel)| channel.source == source);
                if let Some(channel) = failed.map(|(number, _)| *number) {
                    client.channels.remove(&channel);
                    conns.tell(conn, &Tell::Failed { channel, code: 404, words: detail });
                }
            }
            BrokerEvent::DelayExists(step) => conns.tell(conn, &Tell::Delay { step, age_ms: LONG_MS }),
            BrokerEvent::Blocked(blocked) => conns.tell(conn, &Tell::Blocked(blocked)),
            // Sessions end with their connections here, and queues are old enough at once.
            BrokerEvent::Connected
            | BrokerEvent::Disconnected { .. }
            | BrokerEvent::Closed { .. }
            | BrokerEvent::DelaySettled(_) => {}
        }
    }

    /// Answers whoever can be answered, of those who wait from this one on. The store's own answers are there as soon as its
    /// turn is made; they are nobody's before its sync is done.
    fn answer(&mut self, at: At, conns: &mut Conns, first: usize) {
        let Some(life) = &mut self.life else { return };
        let mut cx = Context::from_waker(Waker::noop());
        let waiting = life.waiting.split_off(first);
        let mut still = std::mem::take(&mut life.waiting);
        for mut one in waiting {
            match &mut one.what {
                Question::Publish { key, host, never, fate } => match fate.as_mut().poll(&mut cx) {
                    Poll::Pending => still.push(one),
                    Poll::Ready(fate) => {
                        let (answer, how) = answer_of(&fate);
                        let copy = self.book.answered(*key);
                        if *never {
                            self.book.note(at, What::Answered { copy, to: *host, how: "never" });
                        } else if conns.get(one.conn).is_some_and(|conn| !conn.ending) {
                            self.book.note(at, What::Answered { copy, to: *host, how });
                            conns.tell(one.conn, &Tell::Answers(vec![(one.no, answer)]));
                        }
                    }
                },
                Question::Depth(depth) => match depth.as_mut().poll(&mut cx) {
                    Poll::Pending => still.push(one),
                    Poll::Ready(depth) => conns.tell(one.conn, &Tell::DepthIs { no: one.no, depth }),
                },
            }
        }
        life.waiting = still;
    }

    /// Closes a channel with the next turn.
    fn close(&mut self, conn: ConnNo, number: u64, told: bool) {
        let Some(life) = &mut self.life else { return };
        let Some(client) = life.clients.get_mut(&conn) else { return };
        let channel = client.channels.remove(&number);
        if let Some(channel) = &channel {
            client.broker.close(&channel.source);
        }
        let (opening, host) = (channel.and_then(|channel| channel.opening), client.host);
        if let Some(opening) = opening {
            self.book.gives_back(opening, "closed");
        }
        life.closing.push(Closing { conn, channel: number, host, opening, told });
        self.asked = true;
    }
}

impl Engine for Embedded {
    fn declare(&mut self, queue: &Arc<str>) {
        self.config.queues.push(queue.clone());
        if let Some(life) = &self.life {
            life.voice.declare(queue);
        }
        self.asked = true;
    }

    fn set(&mut self, knobs: &Knobs) {
        if self.knobs.disk_full != knobs.disk_full {
            self.disk.has_room_for(knobs.disk_full.then_some(0));
        }
        if self.knobs.disk_read_errors_per_mille != knobs.disk_read_errors_per_mille {
            let seed = self.draw.of("reads").at(self.turns).number();
            self.disk.fails_reads(knobs.disk_read_errors_per_mille, seed);
        }
        self.knobs = knobs.clone();
    }

    fn is_open(&self) -> bool {
        self.life.is_some()
    }

    fn welcome(&mut self, _: At, conns: &mut Conns, conn: ConnNo) {
        let (Some(life), Some(one)) = (&mut self.life, conns.get(conn)) else { return };
        if one.role == Role::Consume {
            let broker = life.store.client();
            let events = broker.start();
            life.clients.insert(conn, Client { host: one.client, broker, events, channels: BTreeMap::new() });
            self.asked = true;
        }
    }

    fn ask(&mut self, at: At, conns: &mut Conns, conn: ConnNo, ask: Ask) {
        self.clock.set(at.now);
        self.asked = true;
        let Some(host) = conns.get(conn).map(|conn| conn.client) else { return };
        let Some(life) = &mut self.life else { return };
        match ask {
            Ask::Hello(_) | Ask::Beat | Ask::Bye => {}
            Ask::Open { channel, source, window } => {
                let Some(client) = life.clients.get_mut(&conn) else { return };
                client.broker.open(source.clone(), window);
                client.channels.insert(channel, Channel { source, window, opening: None });
            }
            Ask::Pause { channel } => {
                let Some(client) = life.clients.get(&conn) else { return };
                if let Some(channel) = client.channels.get(&channel) {
                    client.broker.pause(&channel.source);
                }
            }
            Ask::Close { channel } => self.close(conn, channel, true),
            Ask::Settle { channel, acks, returns } => {
                let Some(client) = life.clients.get(&conn) else { return };
                let Some(opening) = client.channels.get(&channel).and_then(|channel| channel.opening) else { return };
                acks.into_iter().for_each(|seq| client.broker.ack(Tag { opening, seq }));
                for tag in returns.into_iter().map(|seq| Tag { opening, seq }) {
                    self.book.give_back(tag);
                    client.broker.give_back(tag);
                }
            }
            Ask::Publish { no, target, from, message } => {
                let key = self.book.expects(host, &target, &message);
                if self.draw.of("nack").at(key).chance(self.knobs.confirm_nack_per_mille) {
                    self.book.answered(key);
                    self.book.note(at, What::Answered { copy: None, to: host, how: "nack" });
                    return conns.tell(conn, &Tell::Answers(vec![(no, Answer::Nack)]));
                }
                let never = self.draw.of("never").at(key).chance(self.knobs.confirm_never_per_mille);
                // A tag of a former life of the store is nobody's any more.
                let fate = match from.and_then(|tag| self.book.tag_of(tag, host)) {
                    Some(tag) => life.voice.relocate(tag, target, message),
                    None => life.voice.publish(target, message),
                };
                life.waiting.push(Waiting { conn, no, what: Question::Publish { key, host, never, fate } });
                let last = life.waiting.len() - 1;
                // The question is asked when it is looked at first.
                self.answer(at, conns, last);
            }
            Ask::Declare { no, .. } => conns.tell(conn, &Tell::Declared { no }),
            Ask::Depth { no, target } => {
                life.waiting.push(Waiting { conn, no, what: Question::Depth(life.voice.depth(target)) });
                let last = life.waiting.len() - 1;
                self.answer(at, conns, last);
            }
        }
    }

    fn cancel(&mut self, _: At, conns: &mut Conns, client: Host, queue: &str) {
        let Some(life) = &self.life else { return };
        for (conn, one) in life.clients.iter().filter(|(_, one)| one.host == client) {
            for (number, channel) in &one.channels {
                if matches!(&channel.source, Source::Queue(name) if **name == *queue) {
                    one.broker.pause(&channel.source);
                    conns.tell(*conn, &Tell::Cancelled { channel: *number });
                }
            }
        }
        self.asked = true;
    }

    fn gone(&mut self, _: At, _: &mut Conns, conn: ConnNo) {
        let Some(client) = self.life.as_mut().and_then(|life| life.clients.remove(&conn)) else { return };
        for (number, channel) in client.channels {
            if let Some(opening) = channel.opening {
                self.book.gives_back(opening, "connection");
            }
            let closing = Closing { conn, channel: number, host: client.host, opening: channel.opening, told: false };
            self.life.as_mut().expect("it had that client").closing.push(closing);
        }
        self.asked = true;
    }

    fn tick(&mut self, at: At, conns: &mut Conns) -> Option<Duration> {
        self.clock.set(at.now);
        self.asked = false;
        if self.open_at.is_some_and(|due| due <= at.now) {
            self.start(at);
        }
        loop {
            self.begin_turn(at);
            let turn = self.life.as_ref().and_then(|life| life.turn.as_ref());
            let Some(turn) = turn.filter(|turn| turn.until <= at.now) else { break };
            debug_assert!(turn.until <= at.now, "its time has come");
            self.end_turn(at, conns);
        }
        let life = self.life.as_ref();
        let turn = life.and_then(|life| life.turn.as_ref()).map(|turn| turn.until);
        let idle = life.filter(|life| life.turn.is_none()).and_then(|life| life.store.next_wakeup());
        let idle = idle.map(|due| due.max(at.now + Duration::from_millis(1)));
        self.next_tick = self.open_at.into_iter().chain(turn).chain(idle).min();
        self.next_tick
    }

    fn is_earlier(&self) -> bool {
        // What is asked during a turn waits for its end.
        self.asked && self.life.as_ref().is_none_or(|life| life.turn.is_none())
    }

    fn crash(&mut self, at: At, how: Option<Down>) {
        self.go_down(at, how.unwrap_or(Down::Kill));
    }

    fn resume(&mut self, at: At) {
        self.open_at = Some(at.now);
        self.asked = true;
    }
}

impl Life {
    /// What the store has told its clients.
    fn events(&mut self) -> Vec<(ConnNo, BrokerEvent)> {
        let mut told = Vec::new();
        for (conn, client) in &mut self.clients {
            while let Ok(event) = client.events.try_recv() {
                told.push((*conn, event));
            }
        }
        told
    }

    /// Which channels were opened.
    fn openings(&self, told: &[(ConnNo, BrokerEvent)]) -> Vec<(ConnNo, u64, Opening)> {
        let opened = told.iter().filter_map(|(conn, event)| match event {
            BrokerEvent::Opened { source, opening } => Some((conn, source, *opening)),
            _ => None,
        });
        let found = opened.filter_map(|(conn, source, opening)| {
            let channels = &self.clients.get(conn)?.channels;
            let channel = channels.iter().rfind(|(_, channel)| channel.source == *source)?;
            Some((*conn, *channel.0, opening))
        });
        found.collect()
    }
}

fn answer_of(fate: &Result<(), PublishError>) -> (Answer, &'static str) {
    match fate {
        Ok(()) => (Answer::Ack, "ack"),
        Err(PublishError::Returned(_)) => (Answer::Returned, "returned"),
        Err(PublishError::Refused(_) | PublishError::Unfit(_) | PublishError::NotConnected(_)) => {
            (Answer::Nack, "nack")
        }
        Err(_) => (Answer::Unknown, "never"),
    }
}
