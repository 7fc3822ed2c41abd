//! The core against a naive model, with random operations and failing transactions; and the cases that it does not reach.

use super::*;
use proptest::prelude::*;
use quebert_dispatcher::ports::broker::{Opening, Tag};
use std::collections::{BTreeMap, BTreeSet};

const CLIENTS: u64 = 3;
const QUEUES: usize = 2;
const MESSAGES_MAX: u64 = 12;

/// What may happen. Indices are taken modulo what there is.
#[derive(Debug, Clone)]
enum Op {
    Publish {
        queue: usize,
        moved: bool,
    },
    PublishDelayed {
        home: usize,
    },
    Open {
        client: u64,
        queue: usize,
        window: u16,
    },
    Close {
        client: u64,
        queue: usize,
    },
    Pause {
        client: u64,
        queue: usize,
    },
    Disconnect {
        client: u64,
    },
    Ack {
        which: usize,
    },
    GiveBack {
        which: usize,
    },
    Relocate {
        which: usize,
        queue: usize,
    },
    Take {
        which: usize,
    },
    /// Hand out to clients with so much room, and write it all down, or fail to.
    Commit {
        room: usize,
        fails: bool,
    },
    /// The process dies, and comes back with what was written down.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let queue = 0..QUEUES;
    let client = 0..CLIENTS;
    let commit = (0..6usize, prop::bool::weighted(0.2)).prop_map(|(room, fails)| Op::Commit { room, fails });
    prop_oneof![
        6 => (queue.clone(), any::<bool>()).prop_map(|(queue, moved)| Op::Publish { queue, moved }),
        1 => queue.clone().prop_map(|home| Op::PublishDelayed { home }),
        2 => (client.clone(), queue.clone(), 1..5u16)
            .prop_map(|(client, queue, window)| Op::Open { client, queue, window }),
        1 => (client.clone(), queue.clone()).prop_map(|(client, queue)| Op::Close { client, queue }),
        1 => (client.clone(), queue.clone()).prop_map(|(client, queue)| Op::Pause { client, queue }),
        1 => client.prop_map(|client| Op::Disconnect { client }),
        5 => any::<usize>().prop_map(|which| Op::Ack { which }),
        2 => any::<usize>().prop_map(|which| Op::GiveBack { which }),
        2 => (any::<usize>(), queue).prop_map(|(which, queue)| Op::Relocate { which, queue }),
        1 => any::<usize>().prop_map(|which| Op::Take { which }),
        6 => commit,
        1 => Just(Op::Crash),
    ]
}

/// A message in the model.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    body: u64,
    delivered: bool,
    owner: Option<Tag>,
}

/// The naive model: every message by its place. It is what the core must look like from outside.
#[derive(Debug, Clone, Default)]
struct Model {
    messages: BTreeMap<Spot, Known>,
    /// Deliveries whose message was moved away and that are not acked.
    gone: BTreeSet<Tag>,
    windows: BTreeMap<Opening, (ClientId, QueueId, u16, bool)>,
}

impl Model {
    fn owned(&self) -> Vec<(Tag, Spot)> {
        self.messages.iter().filter_map(|(spot, known)| Some((known.owner?, *spot))).collect()
    }

    fn release(&mut self, opening: Opening) {
        self.windows.remove(&opening);
        self.gone.retain(|tag| tag.opening != opening);
        for known in self.messages.values_mut().filter(|known| known.owner.is_some_and(|tag| tag.opening == opening)) {
            known.owner = None;
        }
    }

    fn held(&self, opening: Opening) -> usize {
        let owned = self.messages.values().filter(|known| known.owner.is_some_and(|tag| tag.opening == opening));
        owned.count() + self.gone.iter().filter(|tag| tag.opening == opening).count()
    }
}

/// What a disk would have: messages, marks, notes, as the embedded broker keeps them.
#[derive(Debug, Clone, Default)]
struct OnDisk {
    queues: Vec<(QueueId, QueueName)>,
    messages: BTreeMap<Spot, u64>,
    marks: BTreeMap<QueueId, u64>,
    /// Crashes, and whether it is out.
    notes: BTreeMap<Spot, (u32, bool)>,
}

struct World {
    core: QueueCore<u64>,
    model: Model,
    /// The model at the last transaction that succeeded.
    committed: Model,
    disk: OnDisk,
    pending: Vec<Change>,
    /// Of the transaction under way: the model as it was before each undoable step.
    added: Vec<Spot>,
    taken: Vec<(Taken<u64>, Known)>,
    next: u64,
    work: Vec<QueueId>,
    published: u64,
    ended: u64,
    /// Where delayed messages return to, by their bodies.
    homes: BTreeMap<u64, QueueId>,
}

impl World {
    fn new() -> Self {
        let mut core = Self::empty_core();
        let work = (0..QUEUES).map(|n| core.declare(QueueName::Work(format!("q{n}").into()))).collect();
        let pending = core.changes();
        let mut world = Self {
            core,
            model: Model::default(),
            committed: Model::default(),
            disk: OnDisk::default(),
            pending,
            added: Vec::new(),
            taken: Vec::new(),
            next: 0,
            work,
            published: 0,
            ended: 0,
            homes: BTreeMap::new(),
        };
        world.write_down();
        world
    }

    fn empty_core() -> QueueCore<u64> {
        QueueCore::new(Limits { queue_messages_max: MESSAGES_MAX, total_bytes_max: u64::MAX })
    }

    fn letter(&mut self, home: Option<QueueId>) -> Letter<u64> {
        self.next += 1;
        Letter { payload: self.next, bytes: 10, at_ms: self.next as i64, id: self.next, home }
    }

    fn publish(&mut self, queue: QueueId, home: Option<QueueId>, moved: bool) -> bool {
        let in_queue = self.model.messages.keys().filter(|spot| spot.queue == queue).count() as u64;
        let letter = self.letter(home);
        let body = letter.payload;
        self.homes.extend(home.map(|home| (body, home)));
        let limited = !moved && self.work.contains(&queue);
        match self.core.publish(queue, letter, moved) {
            Ok(spot) => {
                assert!(!limited || in_queue < MESSAGES_MAX, "invariant_limit: taken over the limit");
                let known = Known { body, delivered: false, owner: None };
                assert_eq!(self.model.messages.insert(spot, known), None, "a place is given once");
                self.added.push(spot);
                self.published += 1;
                true
            }
            Err(_) => {
                assert!(limited && in_queue >= MESSAGES_MAX, "invariant_limit: refused below the limit");
                false
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Publish { queue, moved } => drop(self.publish(self.work[queue], None, moved)),
            Op::PublishDelayed { home } => {
                let delay = self.core.declare(QueueName::Delay(Step::FIRST));
                self.publish(delay, Some(self.work[home]), false);
            }
            Op::Open { client, queue, window } => {
                let (client, queue) = (ClientId(client), self.work[queue]);
                let opening = self.core.open(client, queue, window).unwrap();
                let known = self.model.windows.insert(opening, (client, queue, window, false));
                assert_eq!(known, None, "an opening's name is never used again");
            }
            Op::Close { client, queue } => self.close(ClientId(client), Some(self.work[queue])),
            Op::Disconnect { client } => self.close(ClientId(client), None),
            Op::Pause { client, queue } => {
                self.core.pause(ClientId(client), self.work[queue]);
                for (of, on, _, paused) in self.model.windows.values_mut() {
                    *paused |= *of == ClientId(client) && *on == self.work[queue];
                }
            }
            Op::Ack { which } => self.ack(which),
            Op::GiveBack { which } => {
                let Some((tag, spot)) = pick(&self.model.owned(), which) else { return };
                self.core.give_back(tag);
                self.model.messages.get_mut(&spot).unwrap().owner = None;
            }
            Op::Relocate { which, queue } => {
                let Some((tag, spot)) = pick(&self.model.owned(), which) else { return };
                self.publish(self.work[queue], None, true);
                let taken = self.core.relocate(tag).expect("it is held");
                self.model.gone.insert(tag);
                let known = self.model.messages.remove(&spot).unwrap();
                self.taken.push((taken, known));
                self.ended += 1;
            }
            Op::Take { which } => {
                let ready = self.model.messages.iter().filter(|(_, known)| known.owner.is_none());
                let ready = ready.map(|(spot, _)| *spot).collect::<Vec<_>>();
                let Some(spot) = pick(&ready, which) else { return };
                let taken = self.core.take(spot).expect("it is ready");
                let known = self.model.messages.remove(&spot).unwrap();
                self.taken.push((taken, known));
                self.ended += 1;
            }
            Op::Commit { room, fails } => self.commit(room, fails),
            Op::Crash => self.crash(),
        }
    }

    fn ack(&mut self, which: usize) {
        let gone = self.model.gone.iter().map(|tag| (*tag, None));
        let owned = self.model.owned().into_iter().map(|(tag, spot)| (tag, Some(spot)));
        let Some((tag, spot)) = pick(&owned.chain(gone).collect::<Vec<_>>(), which) else { return };
        // A moved delivery's owner waits for its confirmation before it acks.
        if spot.is_none() && !self.taken.is_empty() {
            return;
        }
        assert_eq!(self.core.settle(tag), spot);
        assert_eq!(self.core.settle(tag), None, "a delivery is settled once");
        self.model.gone.remove(&tag);
        if let Some(spot) = spot {
            self.model.messages.remove(&spot);
            self.ended += 1;
        }
    }

    fn close(&mut self, client: ClientId, queue: Option<QueueId>) {
        let closed = self.core.close(client, queue).into_iter().map(|closed| closed.opening).collect::<BTreeSet<_>>();
        let known = self.model.windows.iter();
        let known = known.filter(|(_, (of, on, _, _))| *of == client && queue.is_none_or(|queue| queue == *on));
        assert_eq!(closed, known.map(|(opening, _)| *opening).collect());
        closed.into_iter().for_each(|opening| self.model.release(opening));
    }

    fn commit(&mut self, room: usize, fails: bool) {
        let mut rooms = (0..CLIENTS).map(|client| (ClientId(client), room)).collect::<Room>();
        let handed = self.core.hand_out(&mut rooms, 50);
        self.pending.extend(self.core.changes());
        for one in &handed {
            self.check_order(one);
            let known = self.model.messages.get_mut(&one.spot).expect("what is handed out is there");
            assert_eq!(known.owner, None, "invariant_one_owner: {:?}", one.spot);
            assert_eq!(one.redelivered, known.delivered, "flagged if, and only if, delivered before");
            if !fails {
                known.delivered = true;
            }
            known.owner = Some(one.tag);
        }
        if fails {
            self.undo(&handed);
        } else {
            self.write_down();
            self.committed = self.model.clone();
            self.added.clear();
            self.taken.clear();
            self.check_nothing_is_left_out(&rooms);
        }
    }

    fn undo(&mut self, handed: &[Handed]) {
        for one in handed.iter().rev() {
            self.core.take_back(one);
            self.model.messages.get_mut(&one.spot).unwrap().owner = None;
        }
        for (taken, known) in std::mem::take(&mut self.taken) {
            let spot = taken.spot();
            self.pending.retain(|change| !matches!(change, Change::Removed { spot: of, .. } if *of == spot));
            self.core.put_back(taken);
            let held = known.owner.filter(|tag| self.model.gone.remove(tag));
            self.model.messages.insert(spot, Known { owner: held, ..known });
            self.ended -= 1;
        }
        for spot in std::mem::take(&mut self.added) {
            self.core.forget(spot);
            self.model.messages.remove(&spot);
            self.published -= 1;
            self.pending.retain(|change| *change != Change::Added(spot));
        }
        self.pending.extend(self.core.changes());
    }

    /// What the embedded broker writes in a transaction.
    fn write_down(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Made { queue, name } => self.disk.queues.push((queue, name)),
                Change::Added(spot) => {
                    let body = self.model.messages.get(&spot).map_or(0, |known| known.body);
                    self.disk.messages.insert(spot, body);
                }
                Change::Removed { spot, noted } => {
                    self.disk.messages.remove(&spot);
                    let note = self.disk.notes.remove(&spot);
                    assert!(noted || note.is_none(), "the core knows of every note");
                }
                Change::HandedOut { spot, again: true, crashes } => drop(self.disk.notes.insert(spot, (crashes, true))),
                Change::HandedOut { spot, again: false, .. } => {
                    self.disk.marks.insert(spot.queue, self.core.mark(spot.queue).unwrap());
                }
                Change::Returned { spot, crashes } => drop(self.disk.notes.insert(spot, (crashes, false))),
            }
        }
    }

    /// Everything that was not written down never was; a new core takes in the rest.
    fn crash(&mut self) {
        let mut core = Self::empty_core();
        core.changes();
        for (queue, name) in &self.disk.queues {
            core.restore_queue(*queue, name.clone(), self.disk.marks.get(queue).copied().unwrap_or(0));
        }
        self.model = Model::default();
        let was = std::mem::take(&mut self.committed);
        assert_eq!(self.disk.messages.len(), was.messages.len(), "invariant_durable: a loss");
        for (spot, body) in &self.disk.messages {
            let delivered = *spot <= Spot { queue: spot.queue, seq: core.mark(spot.queue).unwrap() };
            let note = self.disk.notes.get(spot).copied().unwrap_or((0, delivered));
            let known = was.messages.get(spot).expect("invariant_durable: a ghost");
            assert_eq!(known.body, *body);
            assert!(delivered || !known.delivered, "invariant_redelivered: {spot:?} was delivered and looks new");
            assert_eq!(note.1, known.owner.is_some(), "invariant_counted: whether {spot:?} was out");
            let letter = Letter { payload: *body, bytes: 10, at_ms: 0, id: *body, home: self.homes.get(body).copied() };
            core.restore(*spot, letter, delivered.then_some(note.0));
            self.model.messages.insert(*spot, Known { body: *body, delivered, owner: None });
            if delivered {
                self.disk.notes.insert(*spot, (note.0, false));
            }
        }
        self.core = core;
        self.committed = self.model.clone();
        self.pending.clear();
        self.added.clear();
        self.taken.clear();
        self.published = self.disk.messages.len() as u64;
        self.ended = 0;
    }

    /// What is handed out is the first of what was ready.
    fn check_order(&self, one: &Handed) {
        let mut before = self.model.messages.range(Spot { seq: 0, ..one.spot }..one.spot);
        let passed_over = before.find(|(_, known)| known.owner.is_none());
        assert_eq!(passed_over, None, "invariant_order: passed over for {:?}", one.spot);
    }

    /// Nothing is ready where a window and a client have room.
    fn check_nothing_is_left_out(&self, rooms: &Room) {
        for (opening, (client, queue, window, paused)) in &self.model.windows {
            let open = !paused && self.model.held(*opening) < usize::from(*window) && rooms[client] > 0;
            let ready = self.model.messages.iter().any(|(spot, known)| spot.queue == *queue && known.owner.is_none());
            assert!(!(open && ready), "invariant_no_stall: {queue:?} has something for {opening:?}");
        }
    }

    fn invariants(&self) {
        // invariant_conservation: all that was published is ready, unsettled, or ended.
        assert_eq!(self.core.len(), self.model.messages.len());
        assert_eq!(self.published, self.core.len() as u64 + self.ended, "invariant_conservation");
        assert_eq!(self.core.bytes(), 10 * self.core.len() as u64, "invariant_bytes");
        for (opening, (_, _, window, _)) in &self.model.windows {
            assert!(self.model.held(*opening) <= usize::from(*window), "invariant_window: {opening:?}");
        }
        for (queue, _) in self.core.queues() {
            let of_queue = || self.model.messages.iter().filter(|(spot, _)| spot.queue == queue);
            let ready = of_queue().filter(|(_, known)| known.owner.is_none()).map(|(spot, known)| (*spot, known.body));
            let figures = self.core.figures(queue).unwrap();
            let listed = self.core.ready_after(queue, 0).map(|(spot, letter)| (spot, letter.payload));
            let listed = listed.collect::<Vec<_>>();
            assert_eq!(listed, ready.collect::<Vec<_>>(), "invariant_ready: in order, and all of it");
            assert_eq!(figures.ready, listed.len() as u64);
            assert_eq!(figures.bytes, 10 * figures.ready);
            assert_eq!(figures.unsettled + figures.ready, of_queue().count() as u64);
            let returning = self.model.messages.values().filter(|known| self.homes.get(&known.body) == Some(&queue));
            assert_eq!(figures.delayed, returning.count() as u64, "invariant_delayed");
        }
        for (spot, known) in &self.model.messages {
            let found = self.core.find(known.body);
            let found = found.iter().map(|found| (found.spot, found.ready)).collect::<Vec<_>>();
            assert_eq!(found, [(*spot, known.owner.is_none())], "invariant_index");
        }
    }
}

/// Few by default; `QUEBERT_LONG=1` makes them many.
fn cases() -> u32 {
    if std::env::var_os("QUEBERT_LONG").is_some() { 10_000 } else { 400 }
}

fn pick<T: Copy>(from: &[T], which: usize) -> Option<T> {
    (!from.is_empty()).then(|| from[which % from.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_core_does_what_the_model_does(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
            world.invariants();
        }
    }
}

/// A message that was never delivered falls behind the mark when its taking-out is undone.
#[test]
fn what_falls_behind_the_mark_by_an_undo_is_still_known_after_a_crash() {
    let mut world = World::new();
    let ops = [
        Op::Publish { queue: 0, moved: false },
        Op::Publish { queue: 0, moved: false },
        Op::Commit { room: 0, fails: false },
        Op::Take { which: 0 },
        Op::Open { client: 0, queue: 0, window: 1 },
        Op::Commit { room: 1, fails: true },
        Op::Commit { room: 1, fails: true },
        Op::Commit { room: 1, fails: false },
        Op::Crash,
    ];
    for op in &ops {
        world.apply(op);
        world.invariants();
    }
}
