//! One life of the broker, from an opening to a loss of power: clients that publish, take, settle and move, all at once.
//! What they asked for and what they were told goes into the ledger; nothing is judged here but single answers.

use super::ledger::{self, Copy, Fate, Found, Key, Ledger, QUEUES, Spot};
use quebert_broker_adapter::{
    admin::{Admin as _, Position, Sweeper, Take},
    embedded::{EmbeddedBroker, EmbeddedConfig, OpenError, simulation::Disk},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker as _, BrokerEvent, Opening, Tag},
};
use quebert_wire::Message;
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// Far beyond what anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn config() -> EmbeddedConfig {
    EmbeddedConfig { queues: ledger::queues(), cache_bytes: 64 << 10, ..EmbeddedConfig::default() }
}

/// A broker that runs on a disk, with its clients.
pub(crate) struct Life<'a> {
    pub(super) disk: &'a Disk,
    pub(super) ledger: &'a mut Ledger,
    pub(super) rng: &'a mut StdRng,
    pub(super) root: Arc<EmbeddedBroker>,
    pub(super) clients: Vec<Client>,
    /// Messages that something is asked about in this burst.
    pub(super) busy: BTreeSet<Key>,
    /// What was done, for the summary.
    pub(crate) counts: Counts,
}

pub(super) struct Client {
    pub(super) broker: Arc<EmbeddedBroker>,
    events: mpsc::Receiver<BrokerEvent>,
    openings: BTreeMap<Opening, Spot>,
    /// What was asked for and has not opened yet. It is left alone, or its deliveries could be taken for later ones'.
    awaited: BTreeSet<Spot>,
    pub(super) held: Vec<(Tag, Key, Copy)>,
    /// Acked, which is durable once the client has stopped.
    pub(super) acked: Vec<Key>,
}

/// What the lives of a test came to, so that a test that does nothing is found out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) confirmed: u64,
    pub(crate) unanswered: u64,
    pub(crate) delivered: u64,
    pub(crate) acked: u64,
    pub(crate) moved: u64,
    pub(crate) repeated: u64,
    pub(crate) swept: u64,
}

impl<'a> Life<'a> {
    /// Opens the store and starts some clients.
    pub(crate) fn begin(disk: &'a Disk, ledger: &'a mut Ledger, rng: &'a mut StdRng) -> Result<Self, OpenError> {
        let root = Arc::new(EmbeddedBroker::open_on(disk.clone(), config())?);
        let (clients, busy) = Default::default();
        let mut life = Self { disk, ledger, rng, root, clients, busy, counts: Counts::default() };
        for _ in 0..life.rng.random_range(1..=3) {
            life.new_client();
        }
        Ok(life)
    }

    /// Goes on until the power is gone, or for so many bursts.
    pub(crate) async fn live(&mut self, bursts: usize) {
        for _ in 0..bursts {
            if self.disk.is_dead() {
                break;
            }
            if self.disk.is_tight() {
                let room = self.rng.random_range(0..64 << 10);
                self.disk.has_room_for(self.rng.random::<bool>().then_some(room));
            }
            match self.rng.random_range(0..40) {
                0 => self.sweep().await,
                1 => self.purge().await,
                2 => self.replace_client().await,
                3..=6 => self.open_or_close(),
                _ => self.burst().await,
            }
            self.take_in().await;
        }
    }

    /// Ends in an orderly way: what was acked is gone for good, unless the power went meanwhile.
    pub(crate) async fn stop(&mut self) {
        while let Some(client) = self.clients.pop() {
            self.stop_client(client).await;
        }
    }

    pub(super) fn may_fail(&self) -> bool {
        self.disk.is_dead() || self.disk.is_tight()
    }

    fn new_client(&mut self) {
        let broker = Arc::new(self.root.another());
        let events = broker.start();
        let (openings, awaited, held, acked) = Default::default();
        let mut client = Client { broker, events, openings, awaited, held, acked };
        for spot in Spot::all().filter(|spot| spot.source().is_some()) {
            if self.rng.random_bool(0.5) {
                self.ledger.opened(spot);
                client.awaited.insert(spot);
                client.broker.open(spot.source().expect("filtered"), self.rng.random_range(1..20));
            }
        }
        self.clients.push(client);
    }

    async fn replace_client(&mut self) {
        let client = self.rng.random_range(0..self.clients.len());
        let client = self.clients.swap_remove(client);
        self.stop_client(client).await;
        self.new_client();
    }

    async fn stop_client(&mut self, client: Client) {
        within("a stop", client.broker.stop()).await;
        for key in client.acked {
            if !self.may_fail() {
                self.ledger.is(key, "ack durable", None);
            }
        }
    }

    fn open_or_close(&mut self) {
        let client = self.rng.random_range(0..self.clients.len());
        let client = &mut self.clients[client];
        let spots: Vec<Spot> = Spot::all().filter(|spot| spot.source().is_some()).collect();
        let spot = spots[self.rng.random_range(0..spots.len())];
        let source = spot.source().expect("filtered");
        if client.awaited.contains(&spot) {
            return;
        }
        match self.rng.random_range(0..4) {
            0 => client.broker.pause(&source),
            n => {
                // Another window opens again, too; either way what is held goes back.
                let mut forgotten = BTreeSet::new();
                client.openings.retain(|opening, open| *open != spot || !forgotten.insert(*opening));
                client.held.retain(|(tag, ..)| !forgotten.contains(&tag.opening));
                client.broker.close(&source);
                if n > 1 {
                    self.ledger.opened(spot);
                    client.awaited.insert(spot);
                    client.broker.open(source, self.rng.random_range(1..20));
                }
            }
        }
    }

    /// Replays and removes dead letters.
    async fn sweep(&mut self) {
        let spot =
            if self.rng.random() { Spot::Dead(self.rng.random_range(0..QUEUES.len())) } else { Spot::CommonDead };
        let place = spot.place().expect("dead letters are a place");
        let dead = self.ledger.maybe_at(spot);
        let mut decisions = BTreeMap::new();
        for (key, copy) in &dead {
            let to = Copy { spot: Spot::Queue(self.ledger.home(*key)), number: copy.number + 1 };
            let decision = match self.rng.random_range(0..4) {
                0 => (Take::Keep, None),
                1 => (Take::Remove, Some(None)),
                _ => {
                    let message = self.ledger.message(*key, to);
                    (Take::Move { target: to.spot.target(), message }, Some(Some(to)))
                }
            };
            decisions.insert(ledger::id(*key), (*key, decision));
        }
        let mut sweeper = Decided { decisions, made: Vec::new() };
        let limit = self.rng.random_range(1..30);
        let root = self.root.clone();
        let swept = within("a sweep", root.sweep(place, None, limit, &mut sweeper)).await;
        for (key, fate) in sweeper.made {
            self.counts.swept += 1;
            self.ledger.may_become(key, "swept", [fate]);
            if swept.is_ok() {
                self.ledger.is(key, "done", fate);
            }
        }
    }

    async fn purge(&mut self) {
        let spot = self.any_spot();
        let Some(place) = spot.place() else { return };
        // Emptying a queue that clients take from leaves open which were there.
        let before = self.ledger.maybe_at(spot);
        let result = within("a purge", self.root.purge(place)).await;
        for (key, copy) in before {
            self.ledger.may_become(key, "purged", [None]);
            if result.is_ok() && !self.ledger.was_exposed(key, copy) {
                self.ledger.is(key, "done", None);
            }
        }
    }

    /// Takes what the clients were told.
    async fn take_in(&mut self) {
        let patience = Duration::from_micros(self.rng.random_range(0..800));
        for n in 0..self.clients.len() {
            let _ = timeout(patience, async {
                while let Some(event) = self.clients[n].events.recv().await {
                    self.take_in_one(n, event);
                }
            })
            .await;
        }
    }

    fn take_in_one(&mut self, n: usize, event: BrokerEvent) {
        match event {
            BrokerEvent::Opened { source, opening } => {
                let spot = Spot::of(&source);
                self.clients[n].awaited.remove(&spot);
                self.clients[n].openings.insert(opening, spot);
            }
            BrokerEvent::Closed { opening } => {
                self.clients[n].openings.remove(&opening);
                self.clients[n].held.retain(|(tag, ..)| tag.opening != opening);
            }
            BrokerEvent::Delivered(delivery) => {
                // One of an opening that was closed meanwhile is to be ignored.
                let Some(spot) = self.clients[n].openings.get(&delivery.tag.opening).copied() else { return };
                let found = Found { spot, message: delivery.message, redelivered: Some(delivery.redelivered) };
                self.counts.delivered += 1;
                if let Some((key, copy)) = self.ledger.delivered(&found) {
                    self.clients[n].held.push((delivery.tag, key, copy));
                }
            }
            BrokerEvent::SourceFailed { source, detail } if !self.may_fail() => {
                self.ledger.wrong.push(format!("{source:?} failed: {detail}"));
            }
            _ => {}
        }
    }
}

/// Does what was decided before.
struct Decided {
    decisions: BTreeMap<String, (Key, (Take, Option<Fate>))>,
    made: Vec<(Key, Fate)>,
}

impl Sweeper for Decided {
    fn decide<'a>(&'a mut self, _: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        let decision = message.id.as_deref().and_then(|id| self.decisions.remove(id));
        // One that we don't know of is judged after the crash.
        let Some((key, (take, fate))) = decision else { return Box::pin(async { Take::Keep }) };
        self.made.extend(fate.map(|fate| (key, fate)));
        Box::pin(async { take })
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what} did not come within {LIMIT:?}"))
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { confirmed, unanswered, delivered, acked, moved, repeated, swept } = other;
        self.confirmed += confirmed;
        self.unanswered += unanswered;
        self.delivered += delivered;
        self.acked += acked;
        self.moved += moved;
        self.repeated += repeated;
        self.swept += swept;
    }
}
