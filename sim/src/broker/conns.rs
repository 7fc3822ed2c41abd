//! The connections that nodes hold: what is to be sent over each, and who is to be woken for it. It reads nothing.

use super::wire::{Ask, Frame, Role, Tell};
use crate::host::Host;
use bytes::BytesMut;
use std::{
    collections::BTreeMap,
    task::{Context, Waker},
};

/// A connection's number; given once.
pub(super) type ConnNo = u64;

/// One connection.
pub(super) struct Conn {
    /// Whose.
    pub(super) client: Host,
    /// What for.
    pub(super) role: Role,
    /// The node that holds it.
    pub(super) node: u8,
    /// The publish that ran into an alarm. As long as there is one, nothing more is read.
    pub(super) stuck: Option<Ask>,
    /// Everything is said: when that is sent, the connection ends.
    pub(super) ending: bool,
    out: BytesMut,
    waker: Option<Waker>,
}

impl Conn {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What the task of a connection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Send and read.
    Serve,
    /// Send, and read nothing for now.
    SendOnly,
    /// Send, and end.
    End,
}

/// All connections.
#[derive(Default)]
pub(super) struct Conns {
    all: BTreeMap<ConnNo, Conn>,
    last: ConnNo,
}

impl Conns {
    /// A new one.
    pub(super) fn add(&mut self, client: Host, role: Role, node: u8) -> ConnNo {
        self.last += 1;
        let (out, waker) = (BytesMut::new(), None);
        self.all.insert(self.last, Conn { client, role, node, stuck: None, ending: false, out, waker });
        self.last
    }

    pub(super) fn get(&self, conn: ConnNo) -> Option<&Conn> {
        self.all.get(&conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnNo) -> Option<&mut Conn> {
        self.all.get_mut(&conn)
    }

    /// Forgets one whose task has ended.
    pub(super) fn remove(&mut self, conn: ConnNo) -> Option<Conn> {
        self.all.remove(&conn)
    }

    /// Those for which something holds.
    pub(super) fn which(&self, holds: impl Fn(&Conn) -> bool) -> Vec<ConnNo> {
        self.all.iter().filter(|(_, conn)| holds(conn)).map(|(no, _)| *no).collect()
    }

    /// Sends something.
    pub(super) fn tell(&mut self, conn: ConnNo, tell: &Tell) {
        if let Some(conn) = self.all.get_mut(&conn).filter(|conn| !conn.ending) {
            tell.frame(&mut conn.out);
            conn.wake();
        }
    }

    /// Sends a last word and ends.
    pub(super) fn end(&mut self, conn: ConnNo, last: &Tell) {
        self.tell(conn, last);
        if let Some(conn) = self.all.get_mut(&conn) {
            conn.ending = true;
            conn.wake();
        }
    }

    /// Has the task look again.
    pub(super) fn wake(&mut self, conn: ConnNo) {
        if let Some(conn) = self.all.get_mut(&conn) {
            conn.wake();
        }
    }

    /// Moves what is to be sent into `out`, and says what else is to do. The task is woken when that changes.
    pub(super) fn poll(&mut self, conn: ConnNo, out: &mut BytesMut, cx: &Context<'_>) -> Duty {
        let Some(conn) = self.all.get_mut(&conn) else { return Duty::End };
        if out.is_empty() {
            std::mem::swap(out, &mut conn.out);
        } else {
            out.extend_from_slice(&conn.out.split());
        }
        match &mut conn.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => conn.waker = Some(cx.waker().clone()),
        }
        match conn {
            Conn { ending: true, .. } => Duty::End,
            Conn { stuck: Some(_), .. } => Duty::SendOnly,
            _ => Duty::Serve,
        }
    }
}
