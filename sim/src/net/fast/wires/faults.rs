//! What faults do to the fast world's network: cut, held and slow ways, resets, and hosts that die. It foresees nothing by
//! itself.

use super::*;
use crate::net::fast::conn::End;

impl Wires {
    /// Whatever waits on this host looks again.
    pub(in crate::net::fast) fn wake_all(&mut self, host: usize) {
        let ends = self.conns.values_mut().flat_map(|conn| &mut conn.ends);
        ends.filter(|end| end.host == host).for_each(End::wake);
        for backlog in self.hosts[host].listeners.values_mut() {
            if let Some(waker) = backlog.waker.take() {
                waker.wake();
            }
        }
    }

    /// Sets both ways between two hosts.
    pub(in crate::net::fast) fn set_link(&mut self, now: Duration, one: usize, other: usize, link: Link) {
        let n = self.hosts.len();
        let way = |cut| Way {
            cut,
            held: link.held,
            slower_us: u64::from(link.slower_ms) * 1000,
            loss_per_mille: link.loss_per_mille,
        };
        self.ways[one * n + other] = way(link.cut_to);
        self.ways[other * n + one] = way(link.cut_from);
        self.resume(now, |from, to| (from, to) == (one, other) || (from, to) == (other, one));
    }

    /// Sends again what was kept back between hosts, where nothing keeps it back any more.
    fn resume(&mut self, now: Duration, between: impl Fn(usize, usize) -> bool) {
        let n = self.hosts.len();
        let now_us = micros(now);
        let mut coming = Vec::new();
        for (&no, conn) in &mut self.conns {
            for side in 0..2 {
                let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
                if !between(from, to) {
                    continue;
                }
                let way = self.ways[from * n + to];
                let gone = way.cut || self.hosts[to].off;
                if side == 0 && conn.syn_held && !way.held {
                    conn.syn_held = false;
                    coming.push((now_us, Event::Asked { conn: no }));
                }
                let flow = &mut conn.flows[side];
                let (draw, first) = (flow.draw, flow.first);
                let mut resend = None;
                for (index, sent) in flow.flight.iter_mut().enumerate() {
                    let seg = first + index as u64;
                    let at = match sent.state {
                        State::Held if !way.held => now_us,
                        State::Stalled { since } if !gone => *resend.get_or_insert_with(|| {
                            let draw = draw.of("resend").at(seg);
                            let cut = micros(now.saturating_sub(since)).clamp(RESEND_FIRST_US, RESEND_LAST_US);
                            now_us + draw.below(cut) + latency_us(self.weather, draw, way)
                        }),
                        _ => continue,
                    };
                    sent.state = State::Flying;
                    flow.latest_us = flow.latest_us.max(at);
                    coming.push((at, Event::Arrive { conn: no, side: u8::from(side == 1), no: seg }));
                }
            }
        }
        for (at, event) in coming {
            self.foresee(at, event);
        }
    }

    /// Ends each connection between two hosts, for both of them at once.
    pub(in crate::net::fast) fn reset(&mut self, now: Duration, one: usize, other: usize) {
        let touches = |conn: &Conn| {
            let hosts = [conn.ends[0].host, conn.ends[1].host];
            hosts == [one, other] || hosts == [other, one]
        };
        for no in self.numbers(touches) {
            for side in 0..2 {
                let Some(conn) = self.conns.get_mut(&no) else { continue };
                let (from, to) = (conn.ends[side].host, conn.ends[1 - side].host);
                let known = !conn.ends[1 - side].closed && conn.ends[1 - side].failed.is_none();
                if side == 0 && conn.phase == Phase::Answered {
                    self.forget_opening(no);
                }
                self.void(no, side);
                if known {
                    self.wire.sent(now, self.hosts[from].host, self.hosts[to].host, no, &SegmentKind::Reset);
                    self.settled(now, Some(now), from, to, no, SegmentKind::Reset);
                }
                if let Some(conn) = self.conns.get_mut(&no) {
                    conn.ends[1 - side].fail(io::ErrorKind::ConnectionReset);
                }
            }
            self.sweep(no);
        }
    }

    /// A host's process is no more: its kernel closes what it had.
    pub(in crate::net::fast) fn kill(&mut self, now: Duration, host: usize) {
        let ports = self.hosts[host].listeners.keys().copied().collect::<Vec<_>>();
        for port in ports {
            self.unbind(now, host, port);
        }
        for no in self.numbers(|conn| conn.ends[0].host == host || conn.ends[1].host == host) {
            for side in 0..2 {
                if self.conns.get(&no).is_some_and(|conn| conn.ends[side].host == host) {
                    self.close(now, no, side);
                }
            }
        }
    }

    /// A host loses power: nobody is told.
    pub(in crate::net::fast) fn power_off(&mut self, host: usize) {
        self.hosts[host].off = true;
        self.hosts[host].listeners.clear();
        for no in self.numbers(|conn| conn.ends[0].host == host || conn.ends[1].host == host) {
            let Some(conn) = self.conns.get_mut(&no) else { continue };
            for side in 0..2 {
                if conn.ends[side].host == host {
                    let end = &mut conn.ends[side];
                    *end = End { host, closed: true, forgotten: true, ..Default::default() };
                    for sent in &mut conn.flows[side].flight {
                        if matches!(sent.state, State::Stalled { .. }) {
                            sent.state = State::Void;
                        }
                    }
                }
            }
            self.sweep(no);
        }
    }

    /// A host has power again.
    pub(in crate::net::fast) fn power_on(&mut self, now: Duration, host: usize) {
        if std::mem::take(&mut self.hosts[host].off) {
            self.resume(now, |_, to| to == host);
        }
    }

    /// Nothing is sent any more; what is on its way never arrives.
    pub(in crate::net::fast) fn end(&mut self) {
        self.over = true;
        for no in self.numbers(|_| true) {
            self.void(no, 0);
            self.void(no, 1);
        }
    }

    fn numbers(&self, which: impl Fn(&Conn) -> bool) -> Vec<u64> {
        self.conns.iter().filter(|(_, conn)| which(conn)).map(|(no, _)| *no).collect()
    }
}
