//! What clients ask for in the middle of a life: bursts of requests, each about another message, and what the answers mean
//! to the ledger.

use super::{
    ledger::{self, Copy, Fate, Key, OnceKey, QUEUES, Spot},
    life::{Life, within},
};
use futures_util::future::join_all;
use quebert_broker_adapter::admin::{Admin as _, AdminError, Enqueue, Enqueued};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker as _, PublishError, Tag, Target},
};
use quebert_wire::TaskId;
use rand::RngExt as _;
use std::collections::BTreeSet;

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

impl Life<'_> {
    /// Many requests at once, each about another message.
    pub(super) async fn burst(&mut self) {
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

    pub(super) fn any_spot(&mut self) -> Spot {
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
}

fn task_id(key: Key) -> TaskId {
    TaskId::new(&ledger::id(key)).expect("a proper id")
}
