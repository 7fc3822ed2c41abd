//! The network, as hosts see it, and the stage that hosts stand on. Two worlds are behind it: [`fast`], an event-driven
//! network in memory on one paused clock, and [`mod@reference`], turmoil. Code on hosts can't tell which.

pub mod fast;
pub mod reference;
mod tasks;
#[cfg(test)]
mod tests;
mod wire;

use crate::host::Host;
use quebert_dispatcher::ports::BoxFuture;
use serde::{Deserialize, Serialize};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Which world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In memory, event-driven: thousands of cases.
    #[default]
    Fast,
    /// turmoil: a second opinion, by a network of somebody else's.
    Turmoil,
}

/// One host's way to the network. Clones are the same host's.
#[derive(Clone)]
pub struct Net(NetInner);

#[derive(Clone)]
pub(crate) enum NetInner {
    Fast(fast::FastNet),
    Turmoil(reference::TurmoilNet),
}

impl Net {
    pub(crate) const fn new(inner: NetInner) -> Self {
        Self(inner)
    }

    /// Whose it is.
    pub fn host(&self) -> Host {
        match &self.0 {
            NetInner::Fast(net) => net.host(),
            NetInner::Turmoil(net) => net.host(),
        }
    }

    /// True time since the world began. No host's clock shows it.
    pub fn now(&self) -> Duration {
        match &self.0 {
            NetInner::Fast(net) => net.now(),
            NetInner::Turmoil(net) => net.now(),
        }
    }

    /// Connects. Has no time limit of its own but that of the network's (127 s of silence).
    ///
    /// # Errors
    /// Refused if nobody listens there, reset, or timed out.
    pub async fn connect(&self, to: Host, port: u16) -> io::Result<Stream> {
        match &self.0 {
            NetInner::Fast(net) => net.connect(to, port).await.map(Stream::fast),
            NetInner::Turmoil(net) => net.connect(to, port).await.map(Stream::turmoil),
        }
    }

    /// Listens on a port of this host.
    ///
    /// # Errors
    /// If somebody does already.
    pub async fn bind(&self, port: u16) -> io::Result<Listener> {
        match &self.0 {
            NetInner::Fast(net) => net.bind(port).await.map(|l| Listener(ListenerInner::Fast(l))),
            NetInner::Turmoil(net) => net.bind(port).await.map(|l| Listener(ListenerInner::Turmoil(l))),
        }
    }

    /// Runs a task of this host. It ends with the host, and a panic in it ends the run as a violation.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            NetInner::Fast(net) => net.spawn(Box::pin(task)),
            NetInner::Turmoil(net) => net.spawn(Box::pin(task)),
        }
    }
}

/// A port that is listened on; closed when dropped.
pub struct Listener(ListenerInner);

enum ListenerInner {
    Fast(fast::FastListener),
    Turmoil(reference::TurmoilListener),
}

impl Listener {
    /// The next connection, and whose it is.
    ///
    /// # Errors
    /// When the listener is of no use any more.
    pub async fn accept(&mut self) -> io::Result<(Stream, Host)> {
        match &mut self.0 {
            ListenerInner::Fast(listener) => listener.accept().await.map(|(s, host)| (Stream::fast(s), host)),
            ListenerInner::Turmoil(listener) => listener.accept().await.map(|(s, host)| (Stream::turmoil(s), host)),
        }
    }
}

/// A connection: bytes in order, or an error.
pub struct Stream(StreamInner);

enum StreamInner {
    Fast(fast::FastStream),
    Turmoil(reference::TurmoilStream),
}

impl Stream {
    const fn fast(stream: fast::FastStream) -> Self {
        Self(StreamInner::Fast(stream))
    }

    const fn turmoil(stream: reference::TurmoilStream) -> Self {
        Self(StreamInner::Turmoil(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamInner::Fast(stream) => Pin::new(stream).poll_read(cx, buf),
            StreamInner::Turmoil(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            StreamInner::Fast(stream) => Pin::new(stream).poll_write(cx, bytes),
            StreamInner::Turmoil(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamInner::Fast(stream) => Pin::new(stream).poll_flush(cx),
            StreamInner::Turmoil(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            StreamInner::Fast(stream) => Pin::new(stream).poll_shutdown(cx),
            StreamInner::Turmoil(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What runs on a host, from each of its starts until it ends or the host goes down.
pub type Program = Arc<dyn Fn(Net) -> BoxFuture<'static, ()> + Send + Sync>;

/// The state of the way between two hosts: the sum of all faults that are on it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Nothing gets from the first to the second host. Not lost for ever: senders try again, as TCP does, where the world
    /// can do that.
    pub cut_to: bool,
    /// The other way round.
    pub cut_from: bool,
    /// What is sent waits until the hold ends, both ways.
    pub held: bool,
    /// Added to each hop's latency, in milliseconds.
    pub slower_ms: u32,
    /// Of 1,000 segments, how many are lost and must be sent again.
    pub loss_per_mille: u32,
}

/// How a host goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Down {
    /// The process dies: its kernel closes its connections, which peers see.
    Kill,
    /// The machine loses power: silence, until it is up again and answers with resets.
    Power,
}

/// What can be done to a world. All of it takes effect at once, and doing it twice does nothing more.
pub trait Controls {
    /// Sets the way between two hosts.
    fn link(&mut self, one: Host, other: Host, link: Link);
    /// Ends each connection between two hosts with a reset that both see.
    fn reset(&mut self, one: Host, other: Host);
    /// Takes a host down.
    fn down(&mut self, host: Host, how: Down);
    /// Starts a host's program anew, if it is down.
    fn up(&mut self, host: Host);
    /// Freezes a host's program (`true`) as `SIGSTOP` would, or lets it go on. Its kernel goes on.
    fn freeze(&mut self, host: Host, frozen: bool);
}

/// Says what is done to a world, and when.
pub trait Director {
    /// Acts at `now`. Returns when it wants to be called next, after `now`; `None` ends the world.
    fn act(&mut self, now: Duration, world: &mut dyn Controls) -> Option<Duration>;
}

/// What the network is like without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weather {
    /// Shortest time that a segment takes, in milliseconds; at least 1.
    pub latency_min_ms: u32,
    /// Longest.
    pub latency_max_ms: u32,
    /// Of 1,000 turns of a task, how many are put behind the others that are ready (fast world): so seeds differ in what
    /// runs first.
    pub yields_per_mille: u32,
}

impl Default for Weather {
    fn default() -> Self {
        Self { latency_min_ms: 1, latency_max_ms: 3, yields_per_mille: 0 }
    }
}

/// What a run of a stage came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// True time at its end.
    pub end: Duration,
    /// Panics of tasks on hosts, in order.
    pub panics: Vec<(Host, String)>,
    /// A hash of every segment that was sent: when, from where, to where, and its bytes. 0 where the world can't tell.
    pub wire_hash: u64,
    /// Segments sent.
    pub segments: u64,
}

/// One segment of a message log, for [`Stage::log`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// When it was sent.
    pub at: Duration,
    /// From.
    pub from: Host,
    /// To.
    pub to: Host,
    /// The connection's number.
    pub connection: u64,
    /// When it arrives; `None` if it never does.
    pub arrives: Option<Duration>,
    /// What kind of segment.
    pub what: SegmentKind,
}

/// What a segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentKind {
    /// A connection is wanted.
    Syn,
    /// Bytes.
    Data(bytes::Bytes),
    /// The sender sends no more.
    Fin,
    /// The connection is no more.
    Reset,
}

/// Sees each segment (fast world only).
pub type SegmentLog = Arc<dyn Fn(&Segment) + Send + Sync>;

/// A world to be run: hosts with programs, in their order.
pub struct Stage {
    /// Seeds latencies, losses and the order of turns.
    pub seed: u64,
    /// Without faults.
    pub weather: Weather,
    /// The hosts, each once.
    pub hosts: Vec<(Host, Program)>,
    /// Sees each segment, if wanted.
    pub log: Option<SegmentLog>,
}

impl Stage {
    /// Runs the world until the director ends it. Blocks; nothing in it waits in real time.
    pub fn run(self, kind: Kind, director: &mut dyn Director) -> Ran {
        match kind {
            Kind::Fast => fast::run(self, director),
            Kind::Turmoil => reference::run(self, director),
        }
    }
}
