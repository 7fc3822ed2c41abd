//! A cable between a dispatcher and RabbitMQ: a TCP proxy on loopback that passes bytes on, unless it is told to cut, stall
//! or slow them. It knows no AMQP, and reads nothing of what it passes on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

/// Bytes that are read at a time.
const CHUNK: usize = 16 << 10;
/// Chunks that a connection holds in each direction: 1 MiB. More waits in the sockets.
const CHUNKS: usize = 64;

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// Passes on.
    Open,
    /// Ends every connection, and lets no new one through.
    Cut,
    /// Keeps everything to itself, until it does something else.
    Stalled,
    /// Passes on later by this.
    Slow(Duration),
}

/// A link. It ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<LinkState>,
    server: JoinHandle<()>,
}

impl Link {
    /// An open one to `upstream`, host and port.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub async fn start(upstream: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, told) = watch::channel(LinkState::Open);
        let server = tokio::spawn(serve(listener, upstream.to_owned(), told));
        Ok(Self { address, state, server })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it does this.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, upstream: String, state: watch::Receiver<LinkState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    connections.spawn(connection(near, upstream.clone(), state.clone()));
                }
            }
        }
    }
}

/// Until either side ends, or the link is cut.
async fn connection(near: TcpStream, upstream: String, mut state: watch::Receiver<LinkState>) {
    let (up, down) = (state.clone(), state.clone());
    let pass = async move {
        let far = TcpStream::connect(&upstream).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::try_join!(pass_on(near_in, far_out, up), pass_on(far_in, near_out, down)).map(drop)
    };
    tokio::select! {
        biased;
        _ = state.wait_for(|state| *state == LinkState::Cut) => {}
        // How it ended is for both ends to know.
        ended = pass => drop(ended),
    }
}

async fn pass_on(input: OwnedReadHalf, output: OwnedWriteHalf, state: watch::Receiver<LinkState>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let (read, written) = tokio::join!(read(input, sender, state.clone()), write(output, receiver, state));
    read.and(written)
}

/// Bytes, and when they may go on.
type Chunk = (Instant, Vec<u8>);

async fn read(
    mut input: OwnedReadHalf,
    sender: mpsc::Sender<Chunk>,
    state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        if input.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        let delay = match *state.borrow() {
            LinkState::Slow(delay) => delay,
            _ => Duration::ZERO,
        };
        if sender.send((Instant::now() + delay, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut output: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<Chunk>,
    mut state: watch::Receiver<LinkState>,
) -> io::Result<()> {
    while let Some((due, chunk)) = receiver.recv().await {
        sleep_until(due).await;
        // The other end of this is the link's; without it the connection is over, too.
        if state.wait_for(|state| *state != LinkState::Stalled).await.is_err() {
            return Ok(());
        }
        output.write_all(&chunk).await?;
    }
    output.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    /// Long enough for a busy machine; a test that is right never waits that long.
    const LONG: Duration = Duration::from_secs(60);
    /// Long enough to notice bytes that come although they must not; they need microseconds.
    const SHORT: Duration = Duration::from_millis(100);

    /// A server that echoes, and a link to it.
    async fn echo() -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut input, mut output) = stream.into_split();
                    drop(tokio::io::copy(&mut input, &mut output).await);
                });
            }
        });
        Link::start(&upstream).await.unwrap()
    }

    async fn answer(stream: &mut TcpStream) -> io::Result<usize> {
        let mut byte = [0; 1];
        timeout(LONG, stream.read(&mut byte)).await.expect("something happens")
    }

    #[tokio::test]
    async fn an_open_link_passes_on_and_a_cut_one_ends_what_is_and_what_comes() {
        let link = echo().await;
        let mut old = TcpStream::connect(link.address()).await.unwrap();
        old.write_all(b"a").await.unwrap();
        assert_eq!(answer(&mut old).await.unwrap(), 1);
        link.set(LinkState::Cut);
        assert!(matches!(answer(&mut old).await, Ok(0) | Err(_)));
        let mut new = TcpStream::connect(link.address()).await.unwrap();
        assert!(matches!(answer(&mut new).await, Ok(0) | Err(_)));
        link.set(LinkState::Open);
        let mut again = TcpStream::connect(link.address()).await.unwrap();
        again.write_all(b"b").await.unwrap();
        assert_eq!(answer(&mut again).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_stalled_link_keeps_what_it_is_given_and_loses_nothing() {
        let link = echo().await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        link.set(LinkState::Stalled);
        stream.write_all(b"abc").await.unwrap();
        let mut bytes = [0; 3];
        assert!(timeout(SHORT, stream.read(&mut bytes)).await.is_err());
        link.set(LinkState::Open);
        timeout(LONG, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        assert_eq!(&bytes, b"abc");
    }

    #[tokio::test]
    async fn a_slow_link_delays_each_way_and_the_end_comes_through() {
        let link = echo().await;
        link.set(LinkState::Slow(Duration::from_millis(60)));
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        let start = Instant::now();
        stream.write_all(b"a").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 1);
        assert!(start.elapsed() >= Duration::from_millis(120));
        assert_eq!(answer(&mut stream).await.unwrap(), 0);
    }
}
