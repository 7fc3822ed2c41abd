//! A program's side of turmoil's network: streams and listeners that can be reset, frozen and cut off, and connecting that
//! goes on where turmoil gives up.

use super::{
    TurmoilNet,
    wires::{Syn, Wires},
};
use crate::{host::Host, net::tasks::lock};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::MutexGuard,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use turmoil::net::{TcpListener, TcpStream};

/// SYNs that are sent, after 0, 1, 3, 7, 15, 31 and 63 s, before a connect times out at 127 s: Linux's `tcp_syn_retries`.
const SYNS: u32 = 7;

impl TurmoilNet {
    pub(crate) async fn connect(&self, to: Host, port: u16) -> io::Result<TurmoilStream> {
        self.alive().await;
        let to = *self.world.names.get(&to).ok_or(io::ErrorKind::HostUnreachable)?;
        let first = Instant::now();
        let end = first + Duration::from_secs((1 << SYNS) - 1);
        for try_no in 0..SYNS {
            let syn = self.wires().syn(self.now(), self.at, to);
            if let Syn::Sent { cuts } = syn {
                match timeout_at(end, self.ask(to, port)).await.unwrap_or(Err(io::ErrorKind::TimedOut.into())) {
                    // turmoil drops a SYN that a cut catches on its way, which looks like a refusal.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && self.was_cut(to, cuts) => {}
                    result => return result,
                }
            }
            sleep_until(first + Duration::from_secs((2 << try_no) - 1)).await;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn was_cut(&self, to: usize, cuts: u64) -> bool {
        self.wires().cuts_between(self.at, to) != cuts
    }

    /// One SYN. What comes of it is a connection even if nobody waits for it any more: it is closed then, as a kernel does.
    #[expect(clippy::disallowed_methods, reason = "it is the kernel's, which goes on when a program is no more")]
    async fn ask(&self, to: usize, port: u16) -> io::Result<TurmoilStream> {
        let address = SocketAddr::new(self.world.machines[to].address, port);
        let (tell, told) = oneshot::channel();
        let net = self.clone();
        tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.and_then(|inner| TurmoilStream::new(net, inner, 0));
            drop(tell.send(stream.map(|(stream, _)| stream)));
        });
        told.await.unwrap_or(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    pub(crate) async fn bind(&self, port: u16) -> io::Result<TurmoilListener> {
        self.alive().await;
        let inner = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(TurmoilListener { net: self.clone(), inner })
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        lock(&self.world.wires)
    }
}

/// A port that is listened on.
pub(crate) struct TurmoilListener {
    net: TurmoilNet,
    inner: TcpListener,
}

impl TurmoilListener {
    pub(crate) async fn accept(&mut self) -> io::Result<(TurmoilStream, Host)> {
        let (inner, _) = self.inner.accept().await?;
        TurmoilStream::new(self.net.clone(), inner, 1)
    }
}

/// One side of a connection.
pub(crate) struct TurmoilStream {
    net: TurmoilNet,
    conn: u64,
    side: usize,
    inner: TcpStream,
    /// The next segment was lost: it goes on its way when it is sent again.
    resend: Option<Pin<Box<Sleep>>>,
    /// That was looked at for the next segment.
    drawn: bool,
    finished: bool,
}

impl TurmoilStream {
    fn new(net: TurmoilNet, inner: TcpStream, side: usize) -> io::Result<(Self, Host)> {
        let (conn, host) = net.wires().meet(side, inner.local_addr()?, inner.peer_addr()?);
        Ok((Self { net, conn, side, inner, resend: None, drawn: false, finished: false }, host))
    }

    /// Ready when a program may use it; an error if that is of no use any more.
    fn poll_usable(&self, cx: &Context<'_>, writes: bool) -> Poll<io::Result<()>> {
        if !self.net.is_alive() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.net.wires().wait(self.conn, self.side, writes, cx.waker());
        if self.net.machine().tasks.is_frozen() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn is_reset(&self) -> bool {
        self.net.wires().is_reset(self.conn)
    }

    /// Ready when the next segment gets through.
    fn poll_sendable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_usable(cx, true))?;
        if self.is_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if !std::mem::replace(&mut self.drawn, true) {
            let delay = self.net.wires().resend_delay(self.conn, self.side);
            self.resend = (!delay.is_zero()).then(|| Box::pin(sleep(delay)));
        }
        if let Some(resend) = &mut self.resend {
            ready!(resend.as_mut().poll(cx));
            self.resend = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TurmoilStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_usable(cx, false))?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        // What had arrived before a reset can still be read.
        let nothing = buf.filled().len() == before && buf.remaining() > 0;
        if nothing && self.is_reset() { Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())) } else { read }
    }
}

impl AsyncWrite for TurmoilStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_sendable(cx))?;
        let finished = self.finished;
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes)).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe if !finished => io::ErrorKind::ConnectionReset.into(),
            _ => error,
        })?;
        self.drawn = false;
        if written > 0 {
            self.net.wires().data(self.net.now(), self.conn, self.side, &bytes[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.finished {
            return Poll::Ready(Ok(()));
        }
        // A connection that is no more needs no end.
        if ready!(self.poll_sendable(cx)).is_ok() && ready!(Pin::new(&mut self.inner).poll_shutdown(cx)).is_ok() {
            self.net.wires().fin(self.net.now(), self.conn, self.side);
        }
        self.finished = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for TurmoilStream {
    fn drop(&mut self) {
        let mut wires = self.net.wires();
        if !self.finished {
            wires.fin(self.net.now(), self.conn, self.side);
        }
        wires.close(self.conn, self.side);
    }
}
