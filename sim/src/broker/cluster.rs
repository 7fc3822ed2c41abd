//! What outlives the broker's nodes: what is on its disks, who leads, and which faults are on it now.

use super::{
    conns::{ConnNo, Conns, Duty},
    embedded::Embedded,
    engine::Engine,
    rabbit::Rabbit,
    wire::{Ask, Role, Tell},
};
use crate::{
    case::{self, BrokerSpec},
    draw::Draw,
    history::History,
    host::Host,
    net::Down,
};
use bytes::BytesMut;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

/// Faults that are on the broker now: each the sum of all that overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Knobs {
    /// Takes no publishes.
    pub alarm: bool,
    /// Confirms come later by this, in milliseconds.
    pub confirm_late_ms: u64,
    /// Of 1,000 publishes, how many are stored and never confirmed.
    pub confirm_never_per_mille: u32,
    /// Of 1,000 publishes, how many are refused.
    pub confirm_nack_per_mille: u32,
    /// The disk takes no more.
    pub disk_full: bool,
    /// Of 1,000 reads, how many fail.
    pub disk_read_errors_per_mille: u32,
    /// Each sync takes longer by this, in milliseconds.
    pub disk_slow_ms: u64,
}

/// When and where something happens: for the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    /// True time.
    pub(super) now: Duration,
    /// The node.
    pub(super) node: Host,
}

/// A broker of one node or three. Clones are the same.
#[derive(Clone)]
pub struct Cluster(Arc<Mutex<State>>);

struct State {
    spec: BrokerSpec,
    draw: Draw,
    knobs: Knobs,
    up: BTreeSet<u8>,
    leader: Option<u8>,
    /// When there will be a leader again, if nothing happens until then; and who may not be it.
    election: Option<(Duration, Option<u8>)>,
    elections: u64,
    conns: Conns,
    engine: Box<dyn Engine>,
    /// The nodes' clockworks.
    tickers: BTreeMap<u8, Waker>,
}

impl Cluster {
    /// With empty queues of these names, and their dead letters.
    pub fn new(spec: &BrokerSpec, queues: &[Arc<str>], draw: Draw, history: History) -> Self {
        Self(Arc::new(Mutex::new(State {
            spec: spec.clone(),
            draw: draw.of("election"),
            knobs: Knobs::default(),
            up: (1..=spec.nodes).collect(),
            leader: Some(1),
            election: None,
            elections: 0,
            conns: Conns::default(),
            engine: match spec.engine {
                case::Engine::Rabbit => Box::new(Rabbit::new(spec, queues, draw, history)),
                case::Engine::Embedded => Box::new(Embedded::new(spec, queues, draw, history)),
            },
            tickers: BTreeMap::new(),
        })))
    }

    /// Makes a work queue with its dead letters, if it is not there.
    pub fn declare(&self, queue: &Arc<str>) {
        let state = &mut *self.lock();
        state.engine.declare(queue);
        state.ring();
    }

    /// Sets what is wrong with it from now on.
    pub fn set(&self, now: Duration, knobs: Knobs) {
        let state = &mut *self.lock();
        let ends = state.knobs.alarm && !knobs.alarm;
        state.engine.set(&knobs);
        state.knobs = knobs;
        if ends {
            state.unblock(now);
        }
    }

    /// Closes the connections of a client.
    pub fn close_connection(&self, now: Duration, client: Host) {
        let state = &mut *self.lock();
        for conn in state.conns.which(|conn| conn.client == client && !conn.ending) {
            state.hang_up(now, conn, 320, "CONNECTION_FORCED - closed via management plugin");
        }
    }

    /// Cancels a client's consumer of a work queue.
    pub fn cancel_consumer(&self, now: Duration, client: Host, queue: &str) {
        let state = &mut *self.lock();
        let Some(at) = state.at(now) else { return };
        state.engine.cancel(at, &mut state.conns, client, queue);
        state.ring();
    }

    /// A host went down: a node of the broker, or one of its clients. What becomes of a client's connections, the network
    /// tells.
    pub fn host_down(&self, now: Duration, host: Host, how: Down) {
        let state = &mut *self.lock();
        let Host::Broker(node) = host else { return };
        state.up.remove(&node);
        // Before its process went down it led, or did not.
        let led = state.leader == Some(node);
        for conn in state.conns.which(|conn| conn.node == node) {
            if !led {
                state.conns.remove(conn);
            }
        }
        if led {
            state.step_down(now, Some(how));
        } else if !state.has_majority() && state.leader.is_some() {
            state.step_down(now, None);
        }
        state.call_election(now, None);
    }

    /// It is up again.
    pub fn host_up(&self, now: Duration, host: Host) {
        let state = &mut *self.lock();
        let Host::Broker(node) = host else { return };
        state.up.insert(node);
        state.call_election(now, None);
    }

    /// Lets another node lead. A single one goes on.
    pub fn change_leader(&self, now: Duration) {
        let state = &mut *self.lock();
        if let Some(old) = state.leader.filter(|_| state.spec.nodes > 1) {
            state.step_down(now, None);
            state.call_election(now, Some(old));
        }
    }

    /// A client has said what its connection is for. `Err` says who leads instead of this node.
    pub(super) fn hello(&self, now: Duration, node: u8, client: Host, role: Role) -> Result<ConnNo, Option<u8>> {
        let state = &mut *self.lock();
        if state.leader != Some(node) || !state.engine.is_open() {
            return Err(state.leader.filter(|leader| *leader != node));
        }
        let conn = state.conns.add(client, role, node);
        state.conns.tell(conn, &Tell::Welcome);
        state.engine.welcome(At { now, node: Host::Broker(node) }, &mut state.conns, conn);
        state.ring();
        Ok(conn)
    }

    /// A client asks for something. `false` ends the reading for now.
    pub(super) fn ask(&self, now: Duration, conn: ConnNo, ask: Ask) -> bool {
        let state = &mut *self.lock();
        let (Some(at), Some(from)) = (state.at(now), state.conns.get_mut(conn)) else { return false };
        if from.ending {
            return false;
        }
        if state.knobs.alarm && matches!(ask, Ask::Publish { .. }) {
            // RabbitMQ reads the method, and then nothing more: the publish that ran into the alarm hangs with the others.
            from.stuck = Some(ask);
            state.conns.tell(conn, &Tell::Blocked(true));
            return false;
        }
        if ask == Ask::Bye {
            state.engine.gone(at, &mut state.conns, conn);
            state.conns.end(conn, &Tell::Bye { code: 200, words: "goodbye".to_owned() });
            state.ring();
            return false;
        }
        state.engine.ask(at, &mut state.conns, conn, ask);
        state.ring();
        true
    }

    /// A connection has ended, whoever wanted that.
    pub(super) fn gone(&self, now: Duration, conn: ConnNo) {
        let state = &mut *self.lock();
        if let Some(at) = state.at(now) {
            state.engine.gone(at, &mut state.conns, conn);
        }
        state.conns.remove(conn);
        state.ring();
    }

    /// How often either side must be heard of.
    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.lock().spec.heartbeat_ms)
    }

    /// See [`Conns::poll`].
    pub(super) fn poll(&self, conn: ConnNo, out: &mut BytesMut, cx: &Context<'_>) -> Duty {
        self.lock().conns.poll(conn, out, cx)
    }

    /// Does what is due at a node. Says when to come again; the waker is woken when that must be earlier.
    pub(super) fn tick(&self, now: Duration, node: u8, cx: &Context<'_>) -> Option<Duration> {
        let state = &mut *self.lock();
        state.tickers.insert(node, cx.waker().clone());
        if let Some((due, not)) = state.election {
            if due > now {
                return Some(due);
            }
            state.elect(now, not);
        }
        if state.leader != Some(node) {
            return None;
        }
        state.engine.tick(At { now, node: Host::Broker(node) }, &mut state.conns)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The present, at the leader; `None` without one.
    fn at(&self, now: Duration) -> Option<At> {
        self.leader.map(|node| At { now, node: Host::Broker(node) })
    }

    fn has_majority(&self) -> bool {
        self.up.len() * 2 > usize::from(self.spec.nodes)
    }

    /// The leader leads no more. `how` it went down, if it did: then its connections end without a word.
    fn step_down(&mut self, now: Duration, how: Option<Down>) {
        let Some(at) = self.at(now) else { return };
        self.engine.crash(at, how);
        for conn in self.conns.which(|_| true) {
            if how.is_some() {
                self.conns.remove(conn);
            } else {
                let words = "CONNECTION_FORCED - the leader has changed".to_owned();
                self.conns.end(conn, &Tell::Bye { code: 320, words });
            }
        }
        self.leader = None;
        self.election = None;
    }

    /// If there is no leader and there can be one, there will be.
    fn call_election(&mut self, now: Duration, not: Option<u8>) {
        if self.leader.is_some() || !self.has_majority() {
            return;
        }
        if self.spec.nodes == 1 {
            return self.elect(now, None);
        }
        let due = now + Duration::from_millis(self.spec.election_ms);
        if self.election.is_none() {
            self.election = Some((due, not));
        }
        self.wake_tickers();
    }

    fn elect(&mut self, now: Duration, not: Option<u8>) {
        self.election = None;
        let able: Vec<u8> = self.up.iter().copied().filter(|node| Some(*node) != not).collect();
        self.elections += 1;
        self.leader = self.draw.at(self.elections).one_of(&able).copied();
        if let Some(at) = self.at(now) {
            self.engine.resume(at);
        }
        self.wake_tickers();
    }

    /// The broker closes a connection.
    fn hang_up(&mut self, now: Duration, conn: ConnNo, code: u16, words: &str) {
        if let Some(at) = self.at(now) {
            self.engine.gone(at, &mut self.conns, conn);
        }
        self.conns.end(conn, &Tell::Bye { code, words: words.to_owned() });
        self.ring();
    }

    /// The alarm is over: what hung goes on, and what comes behind it is read.
    fn unblock(&mut self, now: Duration) {
        for conn in self.conns.which(|conn| conn.stuck.is_some()) {
            let stuck = self.conns.get_mut(conn).and_then(|conn| conn.stuck.take());
            self.conns.tell(conn, &Tell::Blocked(false));
            if let (Some(at), Some(ask)) = (self.at(now), stuck) {
                self.engine.ask(at, &mut self.conns, conn, ask);
            }
            self.conns.wake(conn);
        }
        self.ring();
    }

    /// Wakes the leader's clockwork, if something is due earlier than it knows.
    fn ring(&mut self) {
        if self.engine.is_earlier()
            && let Some(waker) = self.leader.and_then(|node| self.tickers.remove(&node))
        {
            waker.wake();
        }
    }

    fn wake_tickers(&mut self) {
        std::mem::take(&mut self.tickers).into_values().for_each(Waker::wake);
    }
}
