//! The network itself: what is on its way, when it arrives, and what that does. It knows neither tasks nor programs.

mod faults;

use super::{
    super::{
        Link, Segment, SegmentKind, Weather,
        wire::{Wire, host_key},
    },
    conn::{Conn, Phase, Sent, State, What},
};
use crate::{draw::Draw, host::Host};
use bytes::Bytes;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    io,
    task::Waker,
    time::Duration,
};

/// Bytes that one side can send which the other has not read.
pub(super) const WINDOW_BYTES: usize = 64 * 1024;
/// Connections that wait to be accepted, or to be known as open. A SYN beyond is lost.
pub(super) const BACKLOG_MAX: usize = 128;
/// The first wait before a lost segment is sent again; it doubles with each further loss. Linux's least.
const RESEND_FIRST_US: u64 = 200_000;
/// The longest wait after the end of a cut until a segment is sent again. Linux waits as long again as the cut was, but at
/// most 120 s; less lets a world settle soon after it heals, and only ever makes connections outlive a cut.
const RESEND_LAST_US: u64 = 15_000_000;
/// SYNs that are sent, after 0, 1, 3, 7, 15, 31 and 63 s, before a connect times out at 127 s: Linux's `tcp_syn_retries`.
const SYNS: u32 = 7;
/// How long a sender waits to learn that what it sent has arrived: Linux's 15 `tcp_retries2`.
const GIVE_UP: Duration = Duration::from_millis(924_600);

pub(super) struct Wires {
    pub(super) hosts: Vec<Machine>,
    pub(super) conns: BTreeMap<u64, Conn>,
    pub(super) wire: Wire,
    weather: Weather,
    draw: Draw,
    /// From and to: `from * hosts + to`.
    ways: Vec<Way>,
    /// What happens, by microsecond, then in the order in which it was foreseen.
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    foreseen: u64,
    next_conn: u64,
    /// How many connections there were from one host to another: each has its own draws.
    between: BTreeMap<(usize, usize), u64>,
    /// When the pump looks next, and how to make it look before.
    armed_us: u64,
    pump: Option<Waker>,
    /// The world has ended: nothing is sent any more.
    over: bool,
}

/// A host's kernel.
pub(super) struct Machine {
    pub(super) host: Host,
    pub(super) off: bool,
    pub(super) listeners: BTreeMap<u16, Backlog>,
}

/// A port that is listened on.
#[derive(Default)]
pub(super) struct Backlog {
    pub(super) opening: usize,
    pub(super) ready: VecDeque<u64>,
    pub(super) waker: Option<Waker>,
}

#[derive(Clone, Copy, Default)]
struct Way {
    cut: bool,
    held: bool,
    slower_us: u64,
    loss_per_mille: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It is time for a SYN, the so many-th.
    Ask { conn: u64, try_no: u32 },
    /// A SYN arrives.
    Asked { conn: u64 },
    /// A segment of this side's flow arrives.
    Arrive { conn: u64, side: u8, no: u64 },
    /// The sender of a segment waits no longer.
    GiveUp { conn: u64, side: u8, no: u64 },
}

impl Wires {
    pub(super) fn new(hosts: &[Host], seed: u64, weather: Weather, wire: Wire) -> Self {
        let machine = |host: &Host| Machine { host: *host, off: false, listeners: BTreeMap::new() };
        Self {
            hosts: hosts.iter().map(machine).collect(),
            conns: BTreeMap::new(),
            wire,
            weather,
            draw: Draw::new(seed).of("wires"),
            ways: vec![Way::default(); hosts.len() * hosts.len()],
            events: BinaryHeap::new(),
            foreseen: 0,
            next_conn: 1,
            between: BTreeMap::new(),
            armed_us: 0,
            pump: None,
            over: false,
        }
    }

    // ---- the pump ----

    /// Does everything that happens until `now`. Returns when something happens next.
    pub(super) fn run_until(&mut self, now: Duration, pump: &Waker) -> Option<Duration> {
        let now_us = micros(now);
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if ceil_to_ms(at) > now_us {
                break;
            }
            self.events.pop();
            match event {
                Event::Ask { conn, try_no } => self.ask(now, conn, try_no),
                Event::Asked { conn } => self.asked(now, conn),
                Event::Arrive { conn, side, no } => self.arrive(now, conn, usize::from(side), no),
                Event::GiveUp { conn, side, no } => self.give_up(conn, usize::from(side), no),
            }
        }
        self.pump.get_or_insert_with(|| pump.clone()).clone_from(pump);
        self.armed_us = self.events.peek().map_or(u64::MAX, |Reverse((at, ..))| ceil_to_ms(*at));
        (self.armed_us < u64::MAX).then(|| Duration::from_micros(self.armed_us))
    }

    /// Something waits for the pump.
    pub(super) fn wake_pump(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
    }

    fn foresee(&mut self, at_us: u64, event: Event) {
        self.foreseen += 1;
        self.events.push(Reverse((at_us, self.foreseen, event)));
        let due = ceil_to_ms(at_us);
        if due < self.armed_us {
            self.armed_us = due;
            self.wake_pump();
        }
    }

    // ---- opening ----

    /// A connection is wanted. Returns its number.
    pub(super) fn connect(&mut self, now: Duration, from: usize, to: usize, port: u16) -> u64 {
        let conn = self.next_conn;
        self.next_conn += 1;
        let count = self.between.entry((from, to)).or_default();
        *count += 1;
        let keys = [host_key(self.hosts[from].host), host_key(self.hosts[to].host), *count];
        let draw = keys.into_iter().fold(self.draw, Draw::at);
        self.conns.insert(conn, Conn::new(port, [from, to], draw));
        self.ask(now, conn, 0);
        conn
    }

    fn ask(&mut self, now: Duration, no: u64, try_no: u32) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        if conn.phase != Phase::Asked || conn.ends[0].failed.is_some() || conn.ends[0].closed {
            return;
        }
        if try_no == SYNS {
            conn.ends[0].fail(io::ErrorKind::TimedOut);
            return;
        }
        conn.syn_at = now;
        let (from, to) = (conn.ends[0].host, conn.ends[1].host);
        let draw = conn.flows[0].draw.of("syn").at(u64::from(try_no));
        let way = self.way(from, to);
        self.wire.sent(now, self.hosts[from].host, self.hosts[to].host, no, &SegmentKind::Syn);
        let next = micros(now) + (1_000_000 << try_no);
        if draw.of("loss").chance(way.loss_per_mille) {
            self.settled(now, None, from, to, no, SegmentKind::Syn);
        } else {
            let latency = self.latency_us(draw, way);
            self.foresee(micros(now) + latency, Event::Asked { conn: no });
        }
        self.foresee(next, Event::Ask { conn: no, try_no: try_no + 1 });
    }

    fn asked(&mut self, now: Duration, no: u64) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let (from, to) = (conn.ends[0].host, conn.ends[1].host);
        let at = conn.syn_at;
        if conn.phase != Phase::Asked || conn.ends[0].failed.is_some() {
            return;
        }
        let way = self.ways[from * self.hosts.len() + to];
        if way.cut || self.hosts[to].off {
            self.settled(at, None, from, to, no, SegmentKind::Syn);
            return;
        }
        if way.held {
            conn.syn_held = true;
            return;
        }
        self.settled(at, Some(now), from, to, no, SegmentKind::Syn);
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let answer = match self.hosts[to].listeners.get_mut(&conn.port) {
            None => What::Reset,
            // As Linux does: the SYN is lost, and comes again.
            Some(backlog) if backlog.opening + backlog.ready.len() >= BACKLOG_MAX => return,
            Some(backlog) => {
                backlog.opening += 1;
                conn.phase = Phase::Answered;
                conn.ends[1].closed = false;
                What::Yes
            }
        };
        self.send(now, no, 1, answer);
    }

    // ---- sending ----

    /// Takes as much of these bytes as there is room for; 0 if there is none.
    pub(super) fn write(&mut self, now: Duration, no: u64, side: usize, bytes: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(&no) else { return 0 };
        let flow = &mut conn.flows[side];
        let len = bytes.len().min(WINDOW_BYTES.saturating_sub(flow.used));
        if len == 0 {
            flow.blocked = true;
            return 0;
        }
        flow.used += len;
        self.send(now, no, side, What::Data(Bytes::copy_from_slice(&bytes[..len])));
        len
    }

    /// So many bytes were read by this side.
    pub(super) fn was_read(&mut self, now: Duration, no: u64, side: usize, bytes: usize) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let empty = conn.ends[side].inbox.is_empty();
        let flow = &mut conn.flows[1 - side];
        flow.owed += bytes;
        if !flow.blocked {
            // Nobody can tell when a sender learns of room that it doesn't need yet.
            flow.used -= std::mem::take(&mut flow.owed);
        } else if empty || flow.owed >= WINDOW_BYTES / 2 {
            let room = std::mem::take(&mut flow.owed);
            self.send(now, no, side, What::Room(room));
        }
    }

    /// A port is listened on no more: connections that nobody has taken end with it.
    pub(super) fn unbind(&mut self, now: Duration, host: usize, port: u16) {
        let Some(backlog) = self.hosts[host].listeners.remove(&port) else { return };
        for no in backlog.ready {
            let Some(conn) = self.conns.get_mut(&no) else { continue };
            if !std::mem::replace(&mut conn.ends[1].closed, true) {
                self.send(now, no, 1, What::Reset);
            }
        }
    }

    /// This side sends no more.
    pub(super) fn finish(&mut self, now: Duration, no: u64, side: usize) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        if !conn.flows[side].finished && conn.ends[side].failed.is_none() {
            self.send(now, no, side, What::Fin);
        }
    }

    /// This side's program has dropped the connection, or is no more.
    pub(super) fn close(&mut self, now: Duration, no: u64, side: usize) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let end = &mut conn.ends[side];
        if end.closed {
            return;
        }
        end.closed = true;
        end.reader = None;
        end.writer = None;
        let unread = std::mem::take(&mut end.unread);
        end.inbox.clear();
        let told = end.failed.is_some() || conn.phase == Phase::Asked;
        if !told && unread > 0 {
            self.send(now, no, side, What::Reset);
        } else if !told && !conn.flows[side].finished {
            self.send(now, no, side, What::Fin);
        }
        self.sweep(no);
    }

    fn send(&mut self, now: Duration, no: u64, side: usize, what: What) {
        let n = self.hosts.len();
        let Some(conn) = self.conns.get_mut(&no) else { return };
        if self.over {
            return;
        }
        let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
        let way = self.ways[from * n + to];
        let flow = &mut conn.flows[side];
        if matches!(what, What::Fin | What::Reset) {
            flow.finished = true;
        }
        if matches!(what, What::Reset) {
            // What was not sent yet never is.
            for sent in flow.flight.iter_mut().filter(|sent| matches!(sent.state, State::Stalled { .. })) {
                sent.state = State::Void;
            }
        }
        if let Some(kind) = told(&what) {
            self.wire.sent(now, self.hosts[from].host, self.hosts[to].host, no, &kind);
        }
        let seg = flow.first + flow.flight.len() as u64;
        let draw = flow.draw.at(seg);
        let resent = (0..8).take_while(|n| draw.of("loss").at(*n).chance(way.loss_per_mille)).count();
        // A reset is not sent again.
        let state = if resent > 0 && matches!(what, What::Reset) { State::Void } else { State::Flying };
        flow.flight.push_back(Sent { at: now, what, state });
        let latency = latency_us(self.weather, draw, way);
        let at = micros(now) + latency + RESEND_FIRST_US * ((1 << resent) - 1);
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let flow = &mut conn.flows[side];
        // No segment of a flow is foreseen before the ones ahead of it: they would only wait there.
        flow.latest_us = flow.latest_us.max(at);
        let at = flow.latest_us;
        if state == State::Void {
            self.deliver(now, no, side);
        } else {
            self.foresee(at, Event::Arrive { conn: no, side: u8::from(side == 1), no: seg });
        }
    }

    // ---- arriving ----

    fn arrive(&mut self, now: Duration, no: u64, side: usize, seg: u64) {
        let n = self.hosts.len();
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
        let forgotten = conn.ends[side].forgotten;
        let Some(sent) = conn.flows[side].sent(seg) else { return };
        if sent.state != State::Flying {
            return;
        }
        let way = self.ways[from * n + to];
        if way.cut || self.hosts[to].off {
            if matches!(sent.what, What::Reset) || forgotten {
                sent.state = State::Void;
            } else {
                sent.state = State::Stalled { since: now };
                if matches!(sent.what, What::Data(_) | What::Fin) {
                    let at = micros(now + GIVE_UP);
                    self.foresee(at, Event::GiveUp { conn: no, side: u8::from(side == 1), no: seg });
                }
                return;
            }
        } else if way.held {
            sent.state = State::Held;
            return;
        } else {
            sent.state = State::Arrived;
        }
        self.deliver(now, no, side);
    }

    /// Hands over what has arrived in order.
    fn deliver(&mut self, now: Duration, no: u64, side: usize) {
        while let Some(conn) = self.conns.get_mut(&no) {
            let flow = &mut conn.flows[side];
            let Some(Sent { state: state @ (State::Arrived | State::Void), .. }) = flow.flight.front() else { break };
            let arrived = *state == State::Arrived;
            let Some(sent) = flow.flight.pop_front() else { break };
            flow.first += 1;
            let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
            if self.wire.is_logged()
                && let Some(kind) = told(&sent.what)
            {
                self.settled(sent.at, arrived.then_some(now), from, to, no, kind);
            }
            if arrived {
                self.take(now, no, 1 - side, sent.what);
            }
        }
        self.sweep(no);
    }

    /// An end gets a segment.
    fn take(&mut self, now: Duration, no: u64, side: usize, what: What) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let end = &mut conn.ends[side];
        match what {
            What::Reset => {
                let refused = conn.phase == Phase::Asked;
                end.fail(if refused { io::ErrorKind::ConnectionRefused } else { io::ErrorKind::ConnectionReset });
                self.void(no, side);
                if side == 1 && self.conns.get(&no).is_some_and(|conn| conn.phase == Phase::Answered) {
                    self.forget_opening(no);
                }
            }
            _ if end.failed.is_some() => {}
            What::Room(bytes) => {
                let flow = &mut conn.flows[side];
                flow.used = flow.used.saturating_sub(bytes);
                flow.blocked = false;
                if let Some(writer) = end.writer.take() {
                    writer.wake();
                }
            }
            What::Fin => {
                end.ended = true;
                if let Some(reader) = end.reader.take() {
                    reader.wake();
                }
            }
            // Nobody is there to read it.
            What::Data(_) | What::Yes | What::Open if end.closed => self.send(now, no, side, What::Reset),
            What::Data(bytes) => {
                end.unread += bytes.len();
                end.inbox.push_back(bytes);
                if let Some(reader) = end.reader.take() {
                    reader.wake();
                }
            }
            What::Yes => {
                conn.phase = Phase::Open;
                end.wake();
                self.send(now, no, side, What::Open);
            }
            What::Open => self.opened(now, no),
        }
    }

    /// The side that accepts knows that the other knows.
    fn opened(&mut self, now: Duration, no: u64) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let end = &mut conn.ends[1];
        match self.hosts[end.host].listeners.get_mut(&conn.port) {
            Some(backlog) => {
                backlog.opening = backlog.opening.saturating_sub(1);
                backlog.ready.push_back(no);
                if let Some(waker) = backlog.waker.take() {
                    waker.wake();
                }
            }
            None => {
                end.closed = true;
                self.send(now, no, 1, What::Reset);
            }
        }
    }

    fn forget_opening(&mut self, no: u64) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        conn.ends[1].closed = true;
        if let Some(backlog) = self.hosts[conn.ends[1].host].listeners.get_mut(&conn.port) {
            backlog.opening = backlog.opening.saturating_sub(1);
        }
    }

    fn give_up(&mut self, no: u64, side: usize, seg: u64) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let Some(sent) = conn.flows[side].sent(seg) else { return };
        if matches!(sent.state, State::Stalled { .. }) {
            conn.ends[side].fail(io::ErrorKind::TimedOut);
            self.void(no, side);
            self.sweep(no);
        }
    }

    /// Nothing that this side has sent will arrive.
    fn void(&mut self, no: u64, side: usize) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
        let flow = &mut conn.flows[side];
        let flight = std::mem::take(&mut flow.flight);
        flow.first += flight.len() as u64;
        if self.wire.is_logged() {
            for sent in flight {
                if let Some(kind) = told(&sent.what) {
                    self.settled(sent.at, None, from, to, no, kind);
                }
            }
        }
    }

    /// Forgets a connection that nobody needs.
    fn sweep(&mut self, no: u64) {
        if self.conns.get(&no).is_some_and(Conn::is_over) {
            self.conns.remove(&no);
        }
    }

    // ---- helpers ----

    fn way(&self, from: usize, to: usize) -> Way {
        self.ways[from * self.hosts.len() + to]
    }

    fn latency_us(&self, draw: Draw, way: Way) -> u64 {
        latency_us(self.weather, draw, way)
    }

    fn settled(&self, at: Duration, arrives: Option<Duration>, from: usize, to: usize, conn: u64, what: SegmentKind) {
        let (from, to) = (self.hosts[from].host, self.hosts[to].host);
        self.wire.settled(&Segment { at, from, to, connection: conn, arrives, what });
    }
}

/// What the log says of it; acknowledgements are not told.
fn told(what: &What) -> Option<SegmentKind> {
    match what {
        What::Data(bytes) => Some(SegmentKind::Data(bytes.clone())),
        What::Fin => Some(SegmentKind::Fin),
        What::Reset => Some(SegmentKind::Reset),
        What::Yes | What::Open | What::Room(_) => None,
    }
}

fn latency_us(weather: Weather, draw: Draw, way: Way) -> u64 {
    let least = u64::from(weather.latency_min_ms.max(1)) * 1000;
    let most = u64::from(weather.latency_max_ms) * 1000;
    draw.of("latency").between(least, most.max(least)) + way.slower_us
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The runtime's timers know milliseconds: what happens within one is done at its end, in order.
const fn ceil_to_ms(us: u64) -> u64 {
    us.div_ceil(1000).saturating_mul(1000)
}
