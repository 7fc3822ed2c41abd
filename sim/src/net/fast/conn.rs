//! What a connection is made of: two ends, and a flow of segments each way. It moves nothing by itself.

use crate::draw::Draw;
use bytes::Bytes;
use std::{collections::VecDeque, io, task::Waker, time::Duration};

/// A connection. Side 0 asked for it, side 1 accepts it; flow `n` is what side `n` sends.
pub(super) struct Conn {
    pub(super) port: u16,
    pub(super) phase: Phase,
    pub(super) ends: [End; 2],
    pub(super) flows: [Flow; 2],
    /// When its last SYN was sent.
    pub(super) syn_at: Duration,
    /// A SYN waits for the end of a hold.
    pub(super) syn_held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The other side doesn't know of it.
    Asked,
    /// The other side has said yes.
    Answered,
    /// This side knows that it has.
    Open,
}

impl Conn {
    pub(super) fn new(port: u16, hosts: [usize; 2], draw: Draw) -> Self {
        let end = |host, closed| End { host, closed, ..End::default() };
        Self {
            port,
            phase: Phase::Asked,
            ends: [end(hosts[0], false), end(hosts[1], true)],
            flows: [Flow::new(draw.at(0)), Flow::new(draw.at(1))],
            syn_at: Duration::ZERO,
            syn_held: false,
        }
    }

    /// Nobody has it any more, and nothing of it is on its way.
    pub(super) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| end.closed) && self.flows.iter().all(|flow| flow.flight.is_empty())
    }
}

/// One host's end of a connection.
#[derive(Default)]
pub(super) struct End {
    pub(super) host: usize,
    /// Arrived, and not read.
    pub(super) inbox: VecDeque<Bytes>,
    pub(super) unread: usize,
    /// The other side sends no more, and everything before that has arrived.
    pub(super) ended: bool,
    /// The connection is no more.
    pub(super) failed: Option<io::ErrorKind>,
    /// Its program has dropped it, or is no more.
    pub(super) closed: bool,
    /// The machine lost power: its kernel doesn't know of it.
    pub(super) forgotten: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl End {
    pub(super) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    pub(super) fn fail(&mut self, kind: io::ErrorKind) {
        self.failed.get_or_insert(kind);
        self.wake();
    }
}

/// What one end sends to the other.
pub(super) struct Flow {
    pub(super) draw: Draw,
    /// The number of the first of `flight`.
    pub(super) first: u64,
    /// Sent, and not arrived in order.
    pub(super) flight: VecDeque<Sent>,
    /// Bytes sent that were not read, as the sender knows.
    pub(super) used: usize,
    /// The sender waits for room.
    pub(super) blocked: bool,
    /// Bytes read that a blocked sender was not told of.
    pub(super) owed: usize,
    /// The sender has ended it.
    pub(super) finished: bool,
    /// The latest arrival that is foreseen.
    pub(super) latest_us: u64,
}

impl Flow {
    const fn new(draw: Draw) -> Self {
        Self {
            draw,
            first: 0,
            flight: VecDeque::new(),
            used: 0,
            blocked: false,
            owed: 0,
            finished: false,
            latest_us: 0,
        }
    }

    pub(super) fn sent(&mut self, no: u64) -> Option<&mut Sent> {
        let at = usize::try_from(no.checked_sub(self.first)?).ok()?;
        self.flight.get_mut(at)
    }
}

/// A segment that was sent.
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) what: What,
    pub(super) state: State,
}

/// Where a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Flying,
    /// Lost to a cut; its sender will send it again.
    Stalled {
        since: Duration,
    },
    /// Kept back by a hold.
    Held,
    /// There, but one before it is not.
    Arrived,
    /// It will never arrive.
    Void,
}

/// What a segment says.
#[derive(Debug)]
pub(super) enum What {
    /// Yes to a SYN.
    Yes,
    /// The yes has come.
    Open,
    Data(Bytes),
    /// So many bytes were read: there is room again.
    Room(usize),
    Fin,
    Reset,
}
