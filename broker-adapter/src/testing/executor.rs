//! Sample executors: HTTP servers on loopback that record what they get and answer by script, as badly as wanted.
//!
//! Written by hand where it speaks HTTP/1.1, since a real server can't be made to misbehave. Not for the outside world.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    fmt::Write as _,
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// One request, as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Counted from 0, over all connections.
    pub number: usize,
    /// The connection it came over, counted from 0.
    pub connection: usize,
    /// Its version.
    pub version: Version,
    /// Its method.
    pub method: Method,
    /// Its target as it stood in the request, such as `/path?query`.
    pub target: String,
    /// The host that an HTTP/2 request names; with HTTP/1.1 the header `host` does.
    pub authority: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When all of it had arrived.
    pub at: Instant,
}

impl Recorded {
    /// The text of a header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answer.
    Answer {
        /// How long to wait before.
        after: Duration,
        /// The status.
        status: StatusCode,
        /// Headers beside `content-length`. `connection: close` is obeyed.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
    /// Never answer, but hold the connection.
    Hang,
    /// Reset the connection. Not over HTTP/2, like all that follows: there it is a hang.
    Reset,
    /// Close the connection.
    Close,
    /// Announce a body of `announced` bytes, send `sent` of them, and close.
    Truncated {
        /// `content-length`.
        announced: usize,
        /// Bytes sent.
        sent: usize,
    },
    /// Answer 200 with the head at once, and then nothing.
    Stall,
    /// Answer 200 with a body that never ends.
    Endless,
    /// Send these bytes and close.
    Raw(Bytes),
}

impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self::body(status, Bytes::new())
    }

    /// An answer with a body.
    ///
    /// # Panics
    /// When the status is none.
    pub fn body(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a status from 100 to 999");
        Self::Answer { after: Duration::ZERO, status, headers: HeaderMap::new(), body: body.into() }
    }

    /// The same, later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Self::Answer { after, .. } = &mut self {
            *after = delay;
        }
        self
    }

    /// The same, with another header.
    ///
    /// # Panics
    /// When it is no header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"));
        }
        self
    }
}

/// What is kept of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// All of it.
    #[default]
    Everything,
    /// All but the body.
    Heads,
    /// Only `webhook-id` and `quebert-attempt`; for many thousands of requests.
    Ids,
}

type Script = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// A running executor. Dropping it closes its port and all its connections.
pub struct Executor {
    address: SocketAddr,
    tls: bool,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    script: Box<Script>,
    keep: Keep,
    idle: Option<Duration>,
    streams: Option<u32>,
    tls: Option<TlsAcceptor>,
    requests: Mutex<Vec<Arc<Recorded>>>,
    counts: watch::Sender<Counts>,
}

/// What an executor has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests.
    pub requests: usize,
    /// Connections, the closed ones included.
    pub connections: usize,
    /// Connections that are open.
    pub open: usize,
}

/// How an executor is to be.
pub struct Builder {
    address: SocketAddr,
    keep: Keep,
    idle: Option<Duration>,
    streams: Option<u32>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Builder {
    /// Where to listen; by default on 127.0.0.1 and a port that the system chooses.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// The address to listen on, such as 127.0.0.7, with a port that the system chooses.
    #[must_use]
    pub fn ip(self, ip: IpAddr) -> Self {
        self.address((ip, 0).into())
    }

    /// What to keep of each request.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// Closes connections that have been idle for so long after a request.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Requests that one HTTP/2 connection may have under way; hyper's 200 unless said.
    #[must_use]
    pub fn streams(mut self, streams: u32) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Speaks TLS; and HTTP/2 if the config's ALPN offers it.
    #[must_use]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// Starts.
    ///
    /// # Panics
    /// When it can't listen.
    pub async fn start(self, script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Executor {
        let listener = TcpListener::bind(self.address).await.expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let tls = self.tls.is_some();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            keep: self.keep,
            idle: self.idle,
            streams: self.streams,
            tls: self.tls.map(TlsAcceptor::from),
            requests: Mutex::default(),
            counts: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Executor { address, tls, shared, accepting }
    }
}

impl Executor {
    /// An executor on 127.0.0.1 that answers by `script`.
    pub async fn start(script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::builder().start(script).await
    }

    /// One that is to be special.
    pub fn builder() -> Builder {
        Builder {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            keep: Keep::default(),
            idle: None,
            streams: None,
            tls: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of it; `path` begins with a slash. Over TLS the host is `localhost`.
    pub fn url(&self, path: &str) -> String {
        match self.tls {
            true => format!("https://localhost:{}{path}", self.address.port()),
            false => format!("http://{}{path}", self.address),
        }
    }

    /// What came so far, in order.
    pub fn requests(&self) -> Vec<Arc<Recorded>> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How much came so far.
    pub fn counts(&self) -> Counts {
        *self.shared.counts.borrow()
    }

    /// Waits until `wanted` says so.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub async fn wait_until(&self, limit: Duration, mut wanted: impl FnMut(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        let reached = timeout(limit, counts.wait_for(&mut wanted)).await.is_ok();
        assert!(reached, "not there within {limit:?}: {:?}", self.counts());
    }

    /// Waits until at least `n` requests have come, and returns all.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub async fn wait_for(&self, n: usize, limit: Duration) -> Vec<Arc<Recorded>> {
        self.wait_until(limit, |counts| counts.requests >= n).await;
        self.requests()
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((tcp, _)) = listener.accept().await else { continue };
        let number = shared.counts.borrow().connections;
        shared.counts.send_modify(|c| {
            c.connections += 1;
            c.open += 1;
        });
        connections.spawn(serve(tcp, number, shared.clone()));
    }
}

/// A connection ends when the client goes away; that is no error here.
async fn serve(tcp: TcpStream, connection: usize, shared: Arc<Shared>) {
    // Also when aborted.
    struct Open(Arc<Shared>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.counts.send_modify(|c| c.open -= 1);
        }
    }
    let open = Open(shared);
    let shared = &open.0;
    let _ = tcp.set_nodelay(true);
    let _ = match &shared.tls {
        None => {
            let mut tcp = tcp;
            let end = serve_h1(&mut tcp, connection, shared).await;
            if let Ok(End::Reset) = end {
                let _ = tcp.set_zero_linger();
            }
            end.map(drop)
        }
        Some(acceptor) => match acceptor.accept(tcp).await {
            Ok(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => serve_h2(tls, connection, shared).await,
            Ok(mut tls) => {
                let end = serve_h1(&mut tls, connection, shared).await;
                if let Ok(End::Reset) = end {
                    let _ = tls.get_ref().0.set_zero_linger();
                }
                end.map(drop)
            }
            Err(error) => Err(error),
        },
    };
}

/// How a connection is to be closed.
enum End {
    Close,
    Reset,
}

async fn serve_h1(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    connection: usize,
    shared: &Shared,
) -> io::Result<End> {
    let mut buffer = BytesMut::with_capacity(4096);
    let mut served = 0;
    loop {
        let next = read_request(io, &mut buffer, connection, shared);
        let request = match shared.idle {
            Some(idle) if served > 0 => match timeout(idle, next).await {
                Ok(request) => request?,
                Err(_) => return Ok(End::Close),
            },
            _ => next.await?,
        };
        let Some(request) = request else { return Ok(End::Close) };
        let reply = (shared.script)(&request);
        let head = request.method == Method::HEAD;
        shared.record(request);
        served += 1;
        if let Some(end) = write_reply(io, reply, head).await? {
            return Ok(end);
        }
    }
}

/// `None` at the end of the connection.
async fn read_request(
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    connection: usize,
    shared: &Shared,
) -> io::Result<Option<Recorded>> {
    let head_bytes = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if io.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = buffer.split_to(head_bytes);
    let mut request = parse_head(&head).ok_or(io::ErrorKind::InvalidData)?;
    let body_bytes = request.header("content-length").parse().unwrap_or(0);
    while buffer.len() < body_bytes {
        if io.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    request.body = buffer.split_to(body_bytes).freeze();
    request.at = Instant::now();
    request.connection = connection;
    request.number = shared.counts.borrow().requests;
    Ok(Some(request))
}

/// Chunked requests are not understood: our client always knows how long its bodies are.
fn parse_head(head: &[u8]) -> Option<Recorded> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.parse().ok()?, first.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?);
    }
    let (version, body, at) = (Version::HTTP_11, Bytes::new(), Instant::now());
    Some(Recorded { number: 0, connection: 0, version, method, target, authority: None, headers, body, at })
}

/// `None` if the connection goes on.
async fn write_reply(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reply: Reply,
    head: bool,
) -> io::Result<Option<End>> {
    match reply {
        Reply::Answer { after, status, headers, body } => {
            if !after.is_zero() {
                sleep(after).await;
            }
            let mut text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in &headers {
                let _ = write!(text, "{name}: {}\r\n", value.to_str().unwrap_or_default());
            }
            text.push_str("\r\n");
            let mut bytes = text.into_bytes();
            if !head {
                bytes.extend_from_slice(&body);
            }
            io.write_all(&bytes).await?;
            io.flush().await?;
            let close = headers.get("connection").is_some_and(|v| v == "close");
            return Ok(close.then_some(End::Close));
        }
        // Until the client goes away.
        Reply::Hang => while io.read(&mut [0; 512]).await? > 0 {},
        Reply::Reset => return Ok(Some(End::Reset)),
        Reply::Close => {}
        Reply::Truncated { announced, sent } => {
            io.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n\r\n").as_bytes()).await?;
            io.write_all(&vec![b'x'; sent]).await?;
            io.flush().await?;
        }
        Reply::Stall => {
            io.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await?;
            io.flush().await?;
            while io.read(&mut [0; 512]).await? > 0 {}
        }
        Reply::Endless => {
            io.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                io.write_all(b"1000\r\n").await?;
                io.write_all(&[b'x'; 0x1000]).await?;
                io.write_all(b"\r\n").await?;
            }
        }
        Reply::Raw(bytes) => {
            io.write_all(&bytes).await?;
            io.flush().await?;
        }
    }
    Ok(Some(End::Close))
}

async fn serve_h2<Io>(io: Io, connection: usize, shared: &Arc<Shared>) -> io::Result<()>
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let shared = shared.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let recorded = Recorded {
                number: shared.counts.borrow().requests,
                connection,
                version: head.version,
                method: head.method,
                target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
                authority: head.uri.authority().map(ToString::to_string),
                headers: head.headers,
                body,
                at: Instant::now(),
            };
            let reply = (shared.script)(&recorded);
            shared.record(recorded);
            let Reply::Answer { after, status, headers, body } = reply else { return pending().await };
            sleep(after).await;
            let mut response = http::Response::new(Full::new(body));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            Ok::<_, Infallible>(response)
        }
    });
    let mut connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    if let Some(streams) = shared.streams {
        connection.max_concurrent_streams(streams);
    }
    connection.serve_connection(TokioIo::new(io), service).await.map_err(io::Error::other)
}

impl Shared {
    fn record(&self, mut request: Recorded) {
        match self.keep {
            Keep::Everything => {}
            Keep::Heads => request.body = Bytes::new(),
            Keep::Ids => {
                let mut ids = HeaderMap::with_capacity(2);
                for name in ["webhook-id", "quebert-attempt"] {
                    if let Some(value) = request.headers.get(name) {
                        ids.insert(HeaderName::from_static(name), value.clone());
                    }
                }
                request.headers = ids;
                request.body = Bytes::new();
            }
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        request.number = requests.len();
        requests.push(Arc::new(request));
        let n = requests.len();
        drop(requests);
        self.counts.send_modify(|c| c.requests = c.requests.max(n));
    }
}
