//! A program's side of the fast world's network: streams and listeners. What happens on the wire is `wires`' business.

use super::{
    FastNet,
    conn::{Conn, Phase},
    wires::{Backlog, Wires},
};
use crate::{host::Host, net::tasks::lock};
use std::{
    collections::btree_map::Entry,
    future::poll_fn,
    io,
    pin::Pin,
    sync::MutexGuard,
    task::{Context, Poll, Waker},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One side of a connection.
pub(crate) struct FastStream {
    net: FastNet,
    conn: u64,
    side: usize,
}

impl FastStream {
    pub(super) const fn new(net: FastNet, conn: u64, side: usize) -> Self {
        Self { net, conn, side }
    }

    /// Ready when the other side has said yes or no.
    pub(super) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let frozen = self.net.tasks().is_frozen();
        let mut wires = self.wires();
        let conn = self.conn(&mut wires)?;
        let end = &mut conn.ends[self.side];
        match end.failed {
            _ if frozen => {}
            Some(kind) => return Poll::Ready(Err(kind.into())),
            None if conn.phase == Phase::Open => return Poll::Ready(Ok(())),
            None => {}
        }
        wait(&mut end.reader, cx);
        Poll::Pending
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        lock(&self.net.world.wires)
    }

    /// The connection, unless this side of it went down with its host.
    fn conn<'w>(&self, wires: &'w mut Wires) -> io::Result<&'w mut Conn> {
        let conn = wires.conns.get_mut(&self.conn).filter(|conn| !conn.ends[self.side].closed);
        conn.ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for FastStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let frozen = self.net.tasks().is_frozen();
        let mut wires = self.wires();
        let end = &mut self.conn(&mut wires)?.ends[self.side];
        if frozen {
            wait(&mut end.reader, cx);
            return Poll::Pending;
        }
        let mut read = 0;
        while buf.remaining() > 0
            && let Some(bytes) = end.inbox.front_mut()
        {
            let part = bytes.split_to(bytes.len().min(buf.remaining()));
            buf.put_slice(&part);
            read += part.len();
            if bytes.is_empty() {
                end.inbox.pop_front();
            }
        }
        if read > 0 {
            end.unread -= read;
            wires.was_read(self.net.now(), self.conn, self.side, read);
            return Poll::Ready(Ok(()));
        }
        match end.failed {
            _ if buf.remaining() == 0 || end.ended => Poll::Ready(Ok(())),
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => {
                wait(&mut end.reader, cx);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for FastStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let frozen = self.net.tasks().is_frozen();
        let mut wires = self.wires();
        let conn = self.conn(&mut wires)?;
        if !frozen {
            if let Some(kind) = conn.ends[self.side].failed {
                return Poll::Ready(Err(kind.into()));
            }
            if conn.flows[self.side].finished {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let written = wires.write(self.net.now(), self.conn, self.side, bytes);
            if written > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(written));
            }
        }
        wait(&mut self.conn(&mut wires)?.ends[self.side].writer, cx);
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wires().finish(self.net.now(), self.conn, self.side);
        Poll::Ready(Ok(()))
    }
}

impl Drop for FastStream {
    fn drop(&mut self) {
        self.wires().close(self.net.now(), self.conn, self.side);
    }
}

/// A port that is listened on.
pub(crate) struct FastListener {
    net: FastNet,
    port: u16,
}

impl FastListener {
    pub(super) fn bind(net: FastNet, port: u16) -> io::Result<Self> {
        match lock(&net.world.wires).hosts[net.at].listeners.entry(port) {
            Entry::Occupied(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Entry::Vacant(entry) => entry.insert(Backlog::default()),
        };
        Ok(Self { net, port })
    }

    pub(crate) async fn accept(&mut self) -> io::Result<(FastStream, Host)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<(FastStream, Host)>> {
        if !self.net.is_alive() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let mut wires = lock(&self.net.world.wires);
        let backlog = wires.hosts[self.net.at].listeners.get_mut(&self.port);
        let backlog = backlog.expect("a listener's port is its own while its program runs");
        match backlog.ready.pop_front() {
            Some(conn) if !self.net.tasks().is_frozen() => {
                let from = wires.conns.get(&conn).map(|conn| wires.hosts[conn.ends[0].host].host);
                let from = from.expect("a connection that nobody has taken is not forgotten");
                Poll::Ready(Ok((FastStream::new(self.net.clone(), conn, 1), from)))
            }
            back => {
                back.into_iter().for_each(|conn| backlog.ready.push_front(conn));
                wait(&mut backlog.waker, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for FastListener {
    fn drop(&mut self) {
        if self.net.is_alive() {
            lock(&self.net.world.wires).unbind(self.net.now(), self.net.at, self.port);
        }
    }
}

fn wait(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
