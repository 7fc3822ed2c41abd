//! The engine without a network: each of RabbitMQ's habits by itself.

mod confirms;
mod crashes;
mod dead_letters;
mod deliveries;

use super::{
    super::{
        cluster::{At, Knobs},
        conns::{ConnNo, Conns},
        engine::Engine,
        wire::{Answer, Ask, Role, Tell},
    },
    *,
};
use crate::net::Down;
use bytes::BytesMut;
use quebert_dispatcher::grid::Step;
use std::task::{Context, Waker};

const NODE: Host = Host::Broker(1);
const CLIENT: Host = Host::Dispatcher(1);

/// An engine with its connections, a clock, and a queue `q`.
struct Bench {
    rabbit: Rabbit,
    conns: Conns,
    history: History,
    now: Duration,
    no: u64,
}

/// A delivery, as a client sees it.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    seq: u64,
    redelivered: bool,
    message: Message,
}

impl Bench {
    fn new(change: impl FnOnce(&mut BrokerSpec)) -> Self {
        Self::seeded(1, change)
    }

    fn seeded(seed: u64, change: impl FnOnce(&mut BrokerSpec)) -> Self {
        let mut spec = BrokerSpec { confirm_max_ms: 0, ..BrokerSpec::default() };
        change(&mut spec);
        let history = History::default();
        let rabbit = Rabbit::new(&spec, &["q".into()], Draw::new(seed), history.clone());
        Self { rabbit, conns: Conns::default(), history, now: Duration::ZERO, no: 0 }
    }

    fn at(&self) -> At {
        At { now: self.now, node: NODE }
    }

    fn connect(&mut self, role: Role) -> ConnNo {
        let conn = self.conns.add(CLIENT, role, 1);
        self.rabbit.welcome(self.at(), &mut self.conns, conn);
        conn
    }

    fn ask(&mut self, conn: ConnNo, ask: Ask) {
        self.rabbit.ask(self.at(), &mut self.conns, conn, ask);
    }

    /// Opens a channel on a source, with the number of the connection.
    fn consume(&mut self, source: Source, window: u16) -> ConnNo {
        let conn = self.connect(Role::Consume);
        self.ask(conn, Ask::Open { channel: 1, source, window });
        conn
    }

    fn publish(&mut self, conn: ConnNo, target: Target, message: Message) -> u64 {
        self.no += 1;
        self.ask(conn, Ask::Publish { no: self.no, target, from: None, message });
        self.no
    }

    /// Publishes some to `q`, with these texts as bodies.
    fn fill(&mut self, bodies: &[&str]) {
        let conn = self.connect(Role::Publish);
        for body in bodies {
            self.publish(conn, q(), text(body));
        }
        self.told(conn);
    }

    fn settle(&mut self, conn: ConnNo, acks: &[u64], returns: &[u64]) {
        self.ask(conn, Ask::Settle { channel: 1, acks: acks.to_vec(), returns: returns.to_vec() });
    }

    /// Lets time pass, with all that is due in it at its moment.
    fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.rabbit.tick(self.at(), &mut self.conns).filter(|due| *due <= end) {
            self.now = due.max(self.now);
        }
        self.now = end;
        self.rabbit.tick(self.at(), &mut self.conns);
    }

    /// The node goes down, and up again: its connections are gone.
    fn crash(&mut self, how: Down) {
        self.rabbit.crash(self.at(), Some(how));
        for conn in self.conns.which(|_| true) {
            self.conns.remove(conn);
        }
        self.rabbit.resume(self.at());
    }

    /// What a connection was told since the last time.
    fn told(&mut self, conn: ConnNo) -> Vec<Tell> {
        let mut out = BytesMut::new();
        self.conns.poll(conn, &mut out, &Context::from_waker(Waker::noop()));
        crate::broker::wire::read_all(out)
    }

    fn deliveries(&mut self, conn: ConnNo) -> Vec<Got> {
        let told = self.told(conn).into_iter().filter_map(|tell| match tell {
            Tell::Deliver { seq, redelivered, message, .. } => Some(Got { seq, redelivered, message }),
            _ => None,
        });
        told.collect()
    }

    fn answers(&mut self, conn: ConnNo) -> Vec<(u64, Answer)> {
        let told = self.told(conn).into_iter().filter_map(|tell| match tell {
            Tell::Answers(answers) => Some(answers),
            _ => None,
        });
        told.flatten().collect()
    }

    fn ready(&self, target: &Target) -> u64 {
        self.rabbit.depth(target).expect("it is there").ready
    }

    /// What was noted since the last time, as words that tests look for.
    fn noted(&self) -> Vec<What> {
        self.history.take().into_iter().map(|entry| entry.what).collect()
    }

    fn queue(&self, name: &QueueName) -> QueueId {
        self.rabbit.core.queue(name).expect("it is there")
    }
}

fn q() -> Target {
    Target::Queue("q".into())
}

fn from_q() -> Source {
    Source::Queue("q".into())
}

fn text(body: &str) -> Message {
    Message { body: body.to_owned().into(), ..Message::default() }
}

fn bodies(got: &[Got]) -> Vec<&str> {
    got.iter().map(|one| std::str::from_utf8(&one.message.body).unwrap()).collect()
}

fn classic(spec: &mut BrokerSpec) {
    spec.queues = QueueKind::Classic;
}
