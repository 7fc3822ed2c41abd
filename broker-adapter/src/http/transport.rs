//! The transport: one exchange from the request to its outcome.
//!
//! Follows no redirect, decompresses nothing, keeps no cookies, and sends a request at most once: it goes to another
//! connection only if hyper gave it back unsent.

use super::{
    config::{BodyOver, HttpConfig},
    conn::{Conn, H1, H2, Outgoing},
    connect::{Connect, ConnectError, Target},
    failure,
    pool::Pool,
};
use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use quebert_dispatcher::{
    outcome::{Failure, FailureKind, Outcome, Response},
    ports::{
        BoxFuture,
        transport::{Request, Transport},
    },
};
use quebert_wire::Destination;
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Sends requests over HTTP/1.1 and HTTP/2. Cloning shares the connections.
pub struct HttpTransport<C: Connect> {
    inner: Arc<Inner<C>>,
}

impl<C: Connect> Clone for HttpTransport<C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<C: Connect> {
    connector: C,
    config: HttpConfig,
    pool: Arc<Pool<C::Io>>,
}

impl<C: Connect> HttpTransport<C> {
    /// With a connector and limits.
    pub fn new(connector: C, config: HttpConfig) -> Self {
        let pool = Pool::new(&config);
        Self { inner: Arc::new(Inner { connector, config, pool }) }
    }

    /// HTTP/1.1 connections that wait for their next request; for metrics.
    pub fn idle_connections(&self) -> usize {
        self.inner.pool.idle()
    }
}

impl<C: Connect> Transport for HttpTransport<C> {
    fn send(&self, request: Request) -> BoxFuture<'static, Outcome> {
        let inner = self.inner.clone();
        let Request { destination, http, timeout } = request;
        // A future has room for each thing that is moved within it: the request is borrowed from here on.
        let mut http = Some(http.map(Full::new));
        Box::pin(async move {
            inner.run(&destination, &mut http, timeout).await.map_or_else(Outcome::Failed, Outcome::Answered)
        })
    }
}

/// The time limits of one exchange.
#[derive(Clone, Copy)]
struct Limits {
    started: Instant,
    timeout: Duration,
    end: Instant,
    head_end: Instant,
}

impl Limits {
    fn new(timeout: Duration, header_timeout: Option<Duration>) -> Self {
        let started = Instant::now();
        // Some weeks is as good as for ever, and can be added without overflow.
        let timeout = timeout.min(TIMEOUT_MAX);
        let end = started + timeout;
        Self { started, timeout, end, head_end: header_timeout.map_or(end, |t| end.min(started + t.min(TIMEOUT_MAX))) }
    }

    fn passed(&self, what: &str, reached: bool) -> Failure {
        let waited = self.started.elapsed().min(self.timeout);
        Failure { kind: FailureKind::Timeout, detail: format!("{what} after {} ms", waited.as_millis()), reached }
    }
}

impl<C: Connect> Inner<C> {
    async fn run(
        &self,
        destination: &Destination,
        http: &mut Option<Outgoing>,
        timeout: Duration,
    ) -> Result<Response, Failure> {
        let limits = Limits::new(timeout, self.config.header_timeout);
        if timeout.is_zero() {
            return Err(limits.passed("no time left", false));
        }
        if let Some(http) = http {
            frame(http);
        }
        for _ in 0..REUSE_TRIES {
            let Some(conn) = self.reuse(destination) else { break };
            match self.exchange(conn, http, destination, limits).await {
                Done::Outcome(outcome) => return outcome,
                Done::Unsent(_) => {}
            }
        }
        // Most requests find a connection; the others need not make room in each request for how one is made.
        let conn = Box::pin(self.connect(destination, limits)).await?;
        // A limit looks at what it limits before it looks at the time, and one look is enough to send a request.
        if Instant::now() >= limits.head_end {
            return Err(limits.passed("no time left", false));
        }
        match self.exchange(conn, http, destination, limits).await {
            Done::Outcome(outcome) => outcome,
            Done::Unsent(failure) => Err(failure),
        }
    }

    /// A connection that is there already and, as far as can be seen, still open.
    fn reuse(&self, destination: &Destination) -> Option<Conn<C::Io>> {
        if let Some(h2) = self.pool.h2(destination) {
            return Some(Conn::H2(h2));
        }
        while let Some(mut h1) = self.pool.take_h1(destination) {
            if h1.is_ready() {
                return Some(Conn::H1(h1));
            }
        }
        None
    }

    async fn connect(&self, destination: &Destination, limits: Limits) -> Result<Conn<C::Io>, Failure> {
        let target = Target::of(destination).ok_or_else(|| {
            failure::unreached(ConnectError::new(FailureKind::Connect, "the destination is no origin"))
        })?;
        let connecting = async {
            // Only TLS can say that a server speaks HTTP/2.
            let gate = if target.tls { self.pool.gate(destination) } else { None };
            let _held = match &gate {
                None => None,
                Some(gate) => {
                    let held = gate.lock().await;
                    if let Some(h2) = self.pool.h2(destination) {
                        return Ok(Conn::H2(h2));
                    }
                    // Whoever went first may have found out that there is nothing to share.
                    self.pool.gate(destination).map(|_| held)
                }
            };
            let opened = self.open(&target, destination).await;
            if target.tls && !matches!(opened, Ok(Conn::H2(_))) {
                self.pool.open_gate(destination);
            }
            opened
        };
        timeout_at(limits.end, connecting).await.unwrap_or_else(|_| Err(limits.passed("no connection", false)))
    }

    async fn open(&self, target: &Target, destination: &Destination) -> Result<Conn<C::Io>, Failure> {
        let connected =
            self.connector.connect(target, self.config.connect_timeout).await.map_err(failure::unreached)?;
        let handshake = if connected.h2 {
            H2::new(connected.io, destination, &self.config).await.map(|h2| {
                self.pool.put_h2(destination.clone(), h2.clone());
                Conn::H2(h2)
            })
        } else {
            H1::new(connected.io, destination, &self.config).await.map(Conn::H1)
        };
        handshake.map_err(|error| Failure { reached: false, ..failure::of_exchange(&error) })
    }

    async fn exchange(
        &self,
        mut conn: Conn<C::Io>,
        http: &mut Option<Outgoing>,
        destination: &Destination,
        limits: Limits,
    ) -> Done {
        let head = match timeout_at(limits.head_end, conn.send(http)).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                let failure = failure::of_exchange(&error);
                return match http {
                    Some(_) => Done::Unsent(Failure { reached: false, ..failure }),
                    None => Done::Outcome(Err(failure)),
                };
            }
            Err(_) => return Done::Outcome(Err(limits.passed("no answer", true))),
        };
        let (head, body) = head.into_parts();
        let read = timeout_at(limits.end, self.read(&mut conn, body)).await;
        let read = match read.unwrap_or_else(|_| Err(limits.passed("no complete answer", true))) {
            Ok(read) => read,
            Err(failure) => return Done::Outcome(Err(failure)),
        };
        if let Conn::H1(mut h1) = conn
            && read.to_the_end
            && h1.is_ready()
        {
            self.pool.put_h1(destination.clone(), h1);
        }
        let response =
            Response { status: head.status, headers: head.headers, body: read.kept, truncated: read.truncated };
        Done::Outcome(Ok(response))
    }

    /// Reads a body as far as the limits allow.
    async fn read(&self, conn: &mut Conn<C::Io>, mut body: Incoming) -> Result<Read, Failure> {
        let HttpConfig { body_keep, body_read_max, body_over, .. } = self.config;
        let mut kept = Vec::new();
        let mut bytes: u64 = 0;
        loop {
            // What the executor announces counts too: no need to read 64 KiB of a gigabyte.
            if bytes.saturating_add(body.size_hint().lower()) > body_read_max as u64 {
                if body_over == BodyOver::Fail {
                    let detail = format!("the answer's body is longer than {body_read_max} bytes");
                    return Err(Failure { kind: FailureKind::BodyLimit, detail, reached: true });
                }
                if kept.len() == body_keep || bytes > body_read_max as u64 {
                    return Ok(Read { kept: kept.into(), truncated: true, to_the_end: body.is_end_stream() });
                }
            }
            if body.is_end_stream() {
                let truncated = bytes > kept.len() as u64;
                return Ok(Read { kept: kept.into(), truncated, to_the_end: true });
            }
            match conn.drive(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                None => {
                    let truncated = bytes > kept.len() as u64;
                    return Ok(Read { kept: kept.into(), truncated, to_the_end: true });
                }
                Some(Err(error)) => return Err(failure::of_exchange(&error)),
                Some(Ok(frame)) => {
                    // Trailers mean nothing to us. The bytes are copied: a slice would hold the connection's buffer.
                    if let Some(data) = frame.data_ref() {
                        bytes += data.len() as u64;
                        kept.extend_from_slice(&data[..data.len().min(body_keep - kept.len())]);
                    }
                }
            }
        }
    }
}

/// How an exchange over one connection ended.
enum Done {
    Outcome(Result<Response, Failure>),
    /// Nothing was written; what this is if there is no other connection to try.
    Unsent(Failure),
}

/// What was read of a body.
struct Read {
    kept: Bytes,
    truncated: bool,
    to_the_end: bool,
}

/// Open connections tried before a new one is made. Each try means that one was closed in the very moment of its use.
const REUSE_TRIES: usize = 4;

/// 30 days; AMQP's consumer timeout ends any attempt long before.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Leaves the length of the body to hyper, which counts it: a second opinion could split the request in two. Of an empty one it
/// says nothing over HTTP/1.1, and where a body is usual some servers ask for its length all the same (RFC 9110, section 8.6).
fn frame(http: &mut Outgoing) {
    let empty = http.body().is_end_stream();
    let usual = matches!(*http.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = http.headers_mut();
    headers.remove(http::header::CONTENT_LENGTH);
    headers.remove(http::header::TRANSFER_ENCODING);
    if empty && usual {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
}
