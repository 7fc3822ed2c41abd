//! One life of the broker, from an opening to a loss of power: clients that publish, take, settle and move, all at once.
//! What they asked for and what they were told goes into the ledger; nothing is judged here but single answers.

use super::{
    disk::Disk,
    ledger::{self, Copy, Fate, Found, Key, Ledger, OnceKey, QUEUES, Spot},
};
use futures_util::future::join_all;
use quebert_broker_adapter::{
    admin::{Admin, AdminError, Enqueue, Enqueued, Position, Sweeper, Take},
    embedded::{EmbeddedBroker, EmbeddedConfig, OpenError},
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Opening, PublishError, Tag, Target},
};
use quebert_wire::{Message, TaskId};
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
    disk: &'a Disk,
    ledger: &'a mut Ledger,
    rng: &'a mut StdRng,
    root: Arc<EmbeddedBroker>,
    clients: Vec<Client>,
    /// Messages that something is asked about in this burst.
    busy: BTreeSet<Key>,
    /// What was done, for the summary.
    pub(crate) counts: Counts,
}

struct Client {
    broker: Arc<EmbeddedBroker>,
    events: mpsc::Receiver<BrokerEvent>,
    openings: BTreeMap<Opening, Spot>,
    /// What was asked for and has not opened yet. It is left alone, or its deliveries could be taken for later ones'.
    awaited: BTreeSet<Spot>,
    held: Vec<(Tag, Key, Copy)>,
    /// Acked, which is durable once the client has stopped.
    acked: Vec<Key>,
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

enum Answer {
    Published(Result<(), PublishError>),
    Enqueued(Vec<Result<Enqueued, PublishError>>),
    Did(Result<bool, AdminError>),
    Noted(Result<(), AdminError>),
}

/// What was asked in a burst.
enum Asked {
    Publish { key: Key, to: Copy },
    Stray { key: Key },
    Relocate { client: usize, tag: Tag, key: Key, from: Copy, to: Copy },
    Once { slot: usize, keys: Vec<Key>, spot: Spot, other: bool },
    Cancel { key: Key, sure: bool },
    RunNow { key: Key, to: Copy, sure: bool },
    Pause { queue: usize, paused: bool },
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
                self.disk.has_room_for(if self.rng.random() { u64::MAX } else { self.disk.bytes() + room });
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

    fn may_fail(&self) -> bool {
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

    /// Many requests at once, each about another message.
    async fn burst(&mut self) {
        self.busy.clear();
        let mut asked = Vec::new();
        let mut answers: Vec<BoxFuture<'static, Answer>> = Vec::new();
        for _ in 0..self.rng.random_range(1..=12) {
            if let Some((what, answer)) = self.ask() {
                asked.push(what);
                answers.push(answer);
            }
        }
        let answers = within("an answer", join_all(answers)).await;
        for (asked, answer) in asked.into_iter().zip(answers) {
            self.note(asked, answer);
        }
    }

    fn ask(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        match self.rng.random_range(0..100) {
            0..34 => Some(self.publish()),
            34..36 => Some(self.stray()),
            36..60 => self.settle(),
            60..80 => self.relocate(),
            80..91 => self.once(),
            91..95 => self.take_out(),
            95..98 => self.run_now(),
            _ => Some(self.pause()),
        }
    }

    fn new_message(&mut self) -> Key {
        let bytes = match self.rng.random_range(0..20) {
            0 => self.rng.random_range(2_000..20_000),
            _ => self.rng.random_range(0..600),
        };
        let home = self.rng.random_range(0..QUEUES.len());
        let key = self.ledger.new_message(bytes, home);
        self.busy.insert(key);
        key
    }

    fn any_spot(&mut self) -> Spot {
        match self.rng.random_range(0..10) {
            0 => Spot::CommonDead,
            1 => Spot::Dead(self.rng.random_range(0..QUEUES.len())),
            2 | 3 => Spot::Delay(self.rng.random_range(0..2)),
            _ => Spot::Queue(self.rng.random_range(0..QUEUES.len())),
        }
    }

    fn client(&mut self) -> usize {
        self.rng.random_range(0..self.clients.len())
    }

    fn publish(&mut self) -> (Asked, BoxFuture<'static, Answer>) {
        let key = self.new_message();
        let to = Copy { spot: self.any_spot(), number: 0 };
        let client = self.client();
        let message = self.ledger.message(key, to);
        let published = self.clients[client].broker.publish(to.spot.target(), message);
        (Asked::Publish { key, to }, Box::pin(async { Answer::Published(published.await) }))
    }

    /// To a queue that is not there.
    fn stray(&mut self) -> (Asked, BoxFuture<'static, Answer>) {
        let key = self.new_message();
        let message = self.ledger.message(key, Copy { spot: Spot::Queue(0), number: 0 });
        let published = self.root.publish(Target::Queue("missing".into()), message);
        (Asked::Stray { key }, Box::pin(async { Answer::Published(published.await) }))
    }

    /// Acks or gives back one that is held, at once and without an answer.
    fn settle(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        let (client, (tag, key, copy)) = self.held()?;
        let client = &mut self.clients[client];
        if self.rng.random_bool(0.8) {
            client.broker.ack(tag);
            client.acked.push(key);
            self.ledger.may_become(key, "ack", [None]);
            self.counts.acked += 1;
        } else {
            client.broker.give_back(tag);
            self.ledger.may_become(key, "given back", [Some(copy)]);
        }
        None
    }

    fn held(&mut self) -> Option<(usize, (Tag, Key, Copy))> {
        let client = self.client();
        let held = &mut self.clients[client].held;
        if held.is_empty() {
            return None;
        }
        let held = held.swap_remove(self.rng.random_range(0..held.len()));
        self.busy.insert(held.1).then_some((client, held))
    }

    fn relocate(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        let (client, (tag, key, from)) = self.held()?;
        let to = Copy { spot: self.any_spot(), number: from.number + 1 };
        let message = self.ledger.message(key, to);
        let moved = self.clients[client].broker.relocate(tag, to.spot.target(), message);
        let asked = Asked::Relocate { client, tag, key, from, to };
        Some((asked, Box::pin(async { Answer::Published(moved.await) })))
    }

    /// A new idempotency key, with one request or two at once, or one that is in use.
    fn once(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        let used = self.ledger.once.len();
        let slot = if used > 0 && self.rng.random() { self.rng.random_range(0..used) } else { used };
        if slot == used {
            let once = ledger::once(used, 1);
            self.ledger.once.push(OnceKey { once, owners: BTreeSet::new(), none: true, forgotten: false });
        }
        let OnceKey { once, owners, none, forgotten } = self.ledger.once[slot].clone();
        let in_use = !none;
        // Open is the fate of the first, or a request of this burst has the key.
        if forgotten || none && !owners.is_empty() || owners.iter().any(|key| self.busy.contains(key)) {
            return None;
        }
        let other = in_use && self.rng.random_bool(0.3);
        let once = if other { ledger::once(slot, 2) } else { once };
        let spot = Spot::Queue(self.rng.random_range(0..QUEUES.len()));
        let count = if !in_use && self.rng.random_bool(0.3) { 2 } else { 1 };
        let keys: Vec<Key> = (0..count).map(|_| self.new_message()).collect();
        if !in_use {
            self.ledger.once[slot].owners = keys.iter().copied().collect();
        } else {
            self.busy.extend(owners);
        }
        let Target::Queue(queue) = spot.target() else { return None };
        let task = |key: &Key| Enqueue {
            queue: queue.clone(),
            message: self.ledger.message(*key, Copy { spot, number: 0 }),
            once: Some(once.clone()),
        };
        let tasks: Vec<Enqueue> = keys.iter().map(task).collect();
        let root = self.root.clone();
        let answer = async move { Answer::Enqueued(root.enqueue(tasks).await) };
        Some((Asked::Once { slot, keys, spot, other }, Box::pin(answer)))
    }

    /// A message that waits in `spot` as far as known, and whether no client could have it in hand.
    fn waiting(&mut self, spot: Spot) -> Option<(Key, Copy, bool)> {
        let held: BTreeSet<Key> = self.clients.iter().flat_map(|c| c.held.iter().map(|(_, key, _)| *key)).collect();
        let keys: Vec<Key> =
            self.ledger.at(spot).into_iter().filter(|key| !self.busy.contains(key) && !held.contains(key)).collect();
        if keys.is_empty() {
            return None;
        }
        let key = keys[self.rng.random_range(0..keys.len())];
        self.busy.insert(key);
        let copy = self.ledger.certain(key).expect("it is at a spot");
        Some((key, copy, !self.ledger.was_exposed(key, copy)))
    }

    fn take_out(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        let spot = self.any_spot();
        spot.source()?;
        let (key, _, sure) = self.waiting(spot)?;
        let root = self.root.clone();
        let answer = async move { Answer::Did(root.cancel(task_id(key)).await) };
        Some((Asked::Cancel { key, sure }, Box::pin(answer)))
    }

    fn run_now(&mut self) -> Option<(Asked, BoxFuture<'static, Answer>)> {
        let spot = Spot::Delay(self.rng.random_range(0..2));
        let (key, copy, sure) = self.waiting(spot)?;
        let to = Copy { spot: Spot::Queue(self.ledger.home(key)), number: copy.number };
        let root = self.root.clone();
        let answer = async move { Answer::Did(root.run_now(task_id(key)).await) };
        Some((Asked::RunNow { key, to, sure }, Box::pin(answer)))
    }

    fn pause(&mut self) -> (Asked, BoxFuture<'static, Answer>) {
        let (queue, paused) = (self.rng.random_range(0..QUEUES.len()), self.rng.random());
        let root = self.root.clone();
        let answer = async move { Answer::Noted(root.remember_pause(QUEUES[queue].into(), paused).await) };
        (Asked::Pause { queue, paused }, Box::pin(answer))
    }

    /// Writes an answer into the ledger.
    fn note(&mut self, asked: Asked, answer: Answer) {
        match (asked, answer) {
            (Asked::Publish { key, to }, Answer::Published(result)) => {
                self.stored(key, "published", &result, [None], to);
            }
            (Asked::Stray { key }, Answer::Published(result)) => {
                if !matches!(result, Err(PublishError::Returned(_))) && !self.may_fail() {
                    self.ledger.fault(key, &format!("has nowhere to go, and the answer is {result:?}"));
                }
            }
            (Asked::Relocate { client, tag, key, from, to }, Answer::Published(result)) => {
                self.stored(key, "moved", &result, [Some(from)], to);
                if result.is_ok() {
                    self.counts.moved += 1;
                    self.clients[client].broker.ack(tag);
                }
            }
            (Asked::Once { slot, keys, spot, other }, Answer::Enqueued(answers)) => {
                self.note_once(slot, &keys, spot, other, &answers);
            }
            (Asked::Cancel { key, sure }, Answer::Did(result)) => self.did(key, "taken out", &result, None, sure),
            (Asked::RunNow { key, to, sure }, Answer::Did(result)) => {
                self.did(key, "run now", &result, Some(to), sure);
            }
            (Asked::Pause { queue, paused }, Answer::Noted(result)) => {
                let possible = self.ledger.paused.entry(queue).or_insert_with(|| [false].into());
                match result {
                    Ok(()) => *possible = [paused].into(),
                    Err(_) => _ = possible.insert(paused),
                }
            }
            _ => unreachable!("an answer of another kind"),
        }
    }

    fn stored<const N: usize>(
        &mut self,
        key: Key,
        what: &'static str,
        result: &Result<(), PublishError>,
        before: [Fate; N],
        to: Copy,
    ) {
        match result {
            Ok(()) => {
                self.ledger.may_become(key, what, [Some(to)]);
                self.ledger.is(key, "confirmed", Some(to));
                self.counts.confirmed += 1;
            }
            Err(PublishError::Unknown(_)) => {
                self.counts.unanswered += 1;
                self.ledger.may_become(key, what, [Some(to)]);
            }
            Err(error) => {
                if !self.may_fail() {
                    self.ledger.fault(key, &format!("is refused without a reason: {error}"));
                }
                self.counts.unanswered += 1;
                self.ledger.may_become(key, "refused", before);
            }
        }
    }

    fn note_once(
        &mut self,
        slot: usize,
        keys: &[Key],
        spot: Spot,
        other: bool,
        answers: &[Result<Enqueued, PublishError>],
    ) {
        let in_use = !self.ledger.once[slot].none;
        let to = Copy { spot, number: 0 };
        for (key, answer) in keys.iter().zip(answers) {
            let key = *key;
            match answer {
                Ok(Enqueued::Stored) if self.ledger.once[slot].none => {
                    self.stored(key, "enqueued once", &Ok(()), [None], to);
                    self.ledger.once[slot].none = false;
                    self.ledger.once[slot].owners = [key].into();
                }
                Ok(Enqueued::Repeated { id }) if !other => {
                    let owners = &self.ledger.once[slot].owners;
                    let right = owners.iter().any(|owner| *owner != key && ledger::id(*owner) == *id);
                    if !right {
                        self.ledger.fault(key, &format!("is said to repeat {id}, and the key is of {slot}"));
                    }
                    self.counts.repeated += 1;
                }
                Ok(Enqueued::Conflict) if other => self.counts.repeated += 1,
                Ok(Enqueued::UnderWay) if keys.len() > 1 => {}
                Ok(answer) => self.ledger.fault(key, &format!("under key {slot} is answered {answer:?}")),
                Err(PublishError::Unknown(_)) if !in_use => {
                    self.counts.unanswered += 1;
                    self.ledger.may_become(key, "enqueued once", [Some(to)]);
                }
                Err(error) => {
                    if !self.may_fail() {
                        self.ledger.fault(key, &format!("is refused without a reason: {error}"));
                    }
                }
            }
        }
        // Nobody was stored, and nobody may have been: the key is free.
        let once = &self.ledger.once[slot];
        if once.none && keys.iter().all(|key| self.ledger.is_nowhere(*key)) {
            self.ledger.once[slot].owners.clear();
        }
    }

    fn did(&mut self, key: Key, what: &'static str, result: &Result<bool, AdminError>, to: Fate, sure: bool) {
        match result {
            Ok(true) => {
                self.ledger.may_become(key, what, [to]);
                self.ledger.is(key, "done", to);
            }
            Ok(false) if sure => self.ledger.fault(key, &format!("is not {what}, and waits")),
            // A client has it in hand.
            Ok(false) => {}
            Err(_) => self.ledger.may_become(key, what, [to]),
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

fn task_id(key: Key) -> TaskId {
    TaskId::new(&ledger::id(key)).expect("a proper id")
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
