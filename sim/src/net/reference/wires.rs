//! What turmoil does not know or does not tell: which ways are cut, which connections lost something, and the hash of what
//! was sent. It moves no bytes.

use super::super::{Link, SegmentKind, wire::Wire};
use crate::{draw::Draw, host::Host};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    task::Waker,
    time::Duration,
};
use turmoil::LinksIter;

/// All ways and connections.
pub(super) struct Wires {
    pub(super) wire: Wire,
    hosts: Vec<Host>,
    by_address: BTreeMap<IpAddr, usize>,
    off: Vec<bool>,
    /// As the director wants them; the lesser host first.
    wanted: BTreeMap<(usize, usize), Link>,
    /// As turmoil was told.
    links: BTreeMap<(usize, usize), Link>,
    /// How often the way between two hosts was cut.
    cuts: BTreeMap<(usize, usize), u64>,
    conns: BTreeMap<u64, Conn>,
    /// Numbers of connections, by the addresses of who asked and who was asked.
    by_pair: BTreeMap<(SocketAddr, SocketAddr), u64>,
    next_conn: u64,
    syns: u64,
    draw: Draw,
    /// The world has ended: nothing is sent any more.
    over: bool,
}

/// A connection. Side 0 asked for it.
struct Conn {
    pair: (SocketAddr, SocketAddr),
    hosts: [usize; 2],
    ends: [End; 2],
    /// Something that was sent never arrives, so that nothing after it does.
    lost: bool,
    reset: bool,
}

#[derive(Default)]
struct End {
    /// Its program has, or had it.
    met: bool,
    closed: bool,
    sent: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// What a SYN meets.
pub(super) enum Syn {
    /// Nothing.
    Lost,
    /// Its way, on which there were so many cuts so far.
    Sent { cuts: u64 },
}

impl Wires {
    pub(super) fn new(hosts: &[Host], addresses: &[IpAddr], draw: Draw, wire: Wire) -> Self {
        Self {
            wire,
            hosts: hosts.to_vec(),
            by_address: addresses.iter().enumerate().map(|(at, address)| (*address, at)).collect(),
            off: vec![false; hosts.len()],
            wanted: BTreeMap::new(),
            links: BTreeMap::new(),
            cuts: BTreeMap::new(),
            conns: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            next_conn: 1,
            syns: 0,
            draw,
            over: false,
        }
    }

    // ---- ways ----

    /// What the director wants of a way. Returns whether that is new.
    pub(super) fn set_link(&mut self, one: usize, other: usize, mut link: Link) -> bool {
        if one > other {
            std::mem::swap(&mut link.cut_to, &mut link.cut_from);
        }
        self.wanted.insert(key(one, other), link).unwrap_or_default() != link
    }

    pub(super) fn is_off(&self, host: usize) -> bool {
        self.off[host]
    }

    /// A machine loses its power, or has it again. Its ends forget what they had.
    pub(super) fn set_off(&mut self, host: usize, off: bool) {
        self.off[host] = off;
        for conn in self.conns.values_mut().filter(|_| off) {
            for (end, at) in conn.ends.iter_mut().zip(conn.hosts) {
                end.closed |= at == host;
            }
        }
        self.sweep();
    }

    /// What turmoil was told of a way, and what it is to be told now: the lesser host first.
    pub(super) fn refresh(&mut self, one: usize, other: usize) -> (Link, Link) {
        let mut link = self.wanted.get(&(one, other)).copied().unwrap_or_default();
        let off = self.off[one] || self.off[other];
        link.cut_to |= off;
        link.cut_from |= off;
        let former = self.links.insert((one, other), link).unwrap_or_default();
        if (link.cut_to && !former.cut_to) || (link.cut_from && !former.cut_from) {
            *self.cuts.entry((one, other)).or_default() += 1;
        }
        (former, link)
    }

    /// Whatever is on this way now is lost.
    pub(super) fn lose(&mut self, links: LinksIter<'_>, from: IpAddr, to: IpAddr) {
        for link in links.filter(|link| [(from, to), (to, from)].contains(&link.pair())) {
            for sent in link {
                let (src, dst) = sent.pair();
                if src.ip() == from {
                    self.lose_of(src, dst);
                }
            }
        }
    }

    fn lose_of(&mut self, src: SocketAddr, dst: SocketAddr) {
        let numbers = [(src, dst), (dst, src)].map(|pair| self.by_pair.get(&pair).copied());
        for no in numbers.into_iter().flatten() {
            if let Some(conn) = self.conns.get_mut(&no) {
                conn.lost = true;
            }
        }
    }

    fn link(&self, one: usize, other: usize) -> Link {
        self.links.get(&key(one, other)).copied().unwrap_or_default()
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        let link = self.link(from, to);
        if from < to { link.cut_to } else { link.cut_from }
    }

    // ---- connections ----

    /// A SYN is sent.
    pub(super) fn syn(&mut self, now: Duration, from: usize, to: usize) -> Syn {
        self.wire.sent(now, self.hosts[from], self.hosts[to], 0, &SegmentKind::Syn);
        self.syns += 1;
        let link = self.link(from, to);
        if link.cut_to || link.cut_from || self.draw.of("syn").at(self.syns).chance(link.loss_per_mille) {
            return Syn::Lost;
        }
        Syn::Sent { cuts: self.cuts_between(from, to) }
    }

    /// How often the way between two hosts was cut so far.
    pub(super) fn cuts_between(&self, one: usize, other: usize) -> u64 {
        self.cuts.get(&key(one, other)).copied().unwrap_or_default()
    }

    /// One side of a connection has it, with these addresses of its own and of the other. Returns its number, and whose it
    /// is on the other side.
    pub(super) fn meet(&mut self, side: usize, own: SocketAddr, other: SocketAddr) -> (u64, Host) {
        let pair = if side == 0 { (own, other) } else { (other, own) };
        let known = self.by_pair.get(&pair).copied();
        // Ports come again: a connection that this side has had is another one.
        let known = known.filter(|no| self.conns.get(no).is_some_and(|conn| !conn.ends[side].met));
        let no = known.unwrap_or_else(|| self.found(pair));
        let conn = self.conns.get_mut(&no).expect("it was found, or has just been made");
        conn.ends[side].met = true;
        (no, self.hosts[conn.hosts[1 - side]])
    }

    fn found(&mut self, pair: (SocketAddr, SocketAddr)) -> u64 {
        let no = self.next_conn;
        self.next_conn += 1;
        let at = |address: SocketAddr| self.by_address[&address.ip()];
        let hosts = [at(pair.0), at(pair.1)];
        self.conns.insert(no, Conn { pair, hosts, ends: Default::default(), lost: false, reset: false });
        self.by_pair.insert(pair, no);
        no
    }

    /// Whether this side's connection was reset.
    pub(super) fn is_reset(&self, no: u64) -> bool {
        self.conns.get(&no).is_none_or(|conn| conn.reset)
    }

    /// Whoever reads, or writes, on this side is to be woken when the connection is reset or its host thaws.
    pub(super) fn wait(&mut self, no: u64, side: usize, writes: bool, waker: &Waker) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        let end = &mut conn.ends[side];
        let slot = if writes { &mut end.writer } else { &mut end.reader };
        match slot {
            Some(slot) => slot.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    /// How long this side's next segment takes longer, since it is lost so many times.
    pub(super) fn resend_delay(&self, no: u64, side: usize) -> Duration {
        let Some(conn) = self.conns.get(&no) else { return Duration::ZERO };
        let loss = self.link(conn.hosts[0], conn.hosts[1]).loss_per_mille;
        let draw = self.draw.of("loss").at(no).at(side as u64).at(conn.ends[side].sent);
        let lost = (0..8).take_while(|n| draw.at(*n).chance(loss)).count();
        RESEND_FIRST * ((1 << lost) - 1)
    }

    /// This side sends bytes.
    pub(super) fn data(&mut self, now: Duration, no: u64, side: usize, bytes: &[u8]) {
        if let Some((from, to)) = self.send(no, side) {
            self.wire.data(now, from, to, no, bytes);
        }
    }

    /// This side sends no more.
    pub(super) fn fin(&mut self, now: Duration, no: u64, side: usize) {
        if let Some((from, to)) = self.send(no, side) {
            self.wire.sent(now, from, to, no, &SegmentKind::Fin);
        }
    }

    fn send(&mut self, no: u64, side: usize) -> Option<(Host, Host)> {
        let conn = self.conns.get(&no).filter(|conn| !conn.reset && !conn.ends[side].closed && !self.over)?;
        let (from, to) = (conn.hosts[side], conn.hosts[1 - side]);
        let cut = self.is_cut(from, to);
        let conn = self.conns.get_mut(&no)?;
        conn.lost |= cut;
        conn.ends[side].sent += 1;
        Some((self.hosts[from], self.hosts[to]))
    }

    /// This side's program has dropped the connection.
    pub(super) fn close(&mut self, no: u64, side: usize) {
        if let Some(conn) = self.conns.get_mut(&no) {
            conn.ends[side].closed = true;
            if conn.ends.iter().all(|end| end.closed) {
                self.forget(no);
            }
        }
    }

    fn forget(&mut self, no: u64) {
        if let Some(conn) = self.conns.remove(&no)
            && self.by_pair.get(&conn.pair) == Some(&no)
        {
            self.by_pair.remove(&conn.pair);
        }
    }

    fn sweep(&mut self) {
        for no in self.numbers(|conn| conn.ends.iter().all(|end| end.closed)) {
            self.forget(no);
        }
    }

    // ---- faults ----

    /// Ends each connection between two hosts.
    pub(super) fn reset(&mut self, now: Duration, one: usize, other: usize) {
        for no in self.numbers(|conn| conn.is_between(one, other)) {
            self.fail(now, no);
        }
    }

    /// Ends each connection between two hosts that lost something, if they can reach each other.
    pub(super) fn reset_the_lost(&mut self, now: Duration, one: usize, other: usize) {
        let link = self.link(one, other);
        if !link.cut_to && !link.cut_from {
            for no in self.numbers(|conn| conn.lost && conn.is_between(one, other)) {
                self.fail(now, no);
            }
        }
    }

    fn fail(&mut self, now: Duration, no: u64) {
        let Some(conn) = self.conns.get_mut(&no) else { return };
        if std::mem::replace(&mut conn.reset, true) {
            return;
        }
        for side in 0..2 {
            if !conn.ends[side].closed {
                let (from, to) = (self.hosts[conn.hosts[1 - side]], self.hosts[conn.hosts[side]]);
                self.wire.sent(now, from, to, no, &SegmentKind::Reset);
                conn.ends[side].wake();
            }
        }
    }

    /// Whatever waits on this host looks again.
    pub(super) fn wake_all(&mut self, host: usize) {
        for conn in self.conns.values_mut() {
            let ends = conn.ends.iter_mut().zip(conn.hosts).filter(|(_, at)| *at == host);
            ends.for_each(|(end, _)| end.wake());
        }
    }

    /// Nothing is sent any more.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    fn numbers(&self, which: impl Fn(&Conn) -> bool) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| which(conn)).map(|(no, _)| *no).collect()
    }
}

impl Conn {
    fn is_between(&self, one: usize, other: usize) -> bool {
        self.hosts == [one, other] || self.hosts == [other, one]
    }
}

/// The first wait before a lost segment is sent again; it doubles with each further loss, as in the fast world.
const RESEND_FIRST: Duration = Duration::from_millis(200);

fn key(one: usize, other: usize) -> (usize, usize) {
    (one.min(other), one.max(other))
}
