//! The fleet on real sockets: one port of 127.0.0.1 for each executor, HTTP/1.1, in clear or over TLS. What is done is decided by
//! [`Executor`]; what came is told to a [`Witness`]. It checks no signatures.

use super::{
    io::{AnswerBody, Broken, Late, Line},
    kept::Kept,
    spec::{ExecutorSpec, RetryAfterForm},
    state::{Act, Executor},
    tls::Identity,
};
use crate::clock::Clock;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// How much of a request's body is read.
const BODY_MAX: usize = 2 << 20;
/// Between two tries to listen again on a port that was ours.
const LISTEN_AGAIN: Duration = Duration::from_millis(20);

/// A request that has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Index of the executor.
    pub executor: u16,
    /// As its headers say: the task, the attempt (from 1), the most attempts, when it was due (RFC 3339).
    pub task: &'a str,
    /// From 1; 1 if no header says otherwise.
    pub attempt: u32,
    /// If there is a limit.
    pub max_attempts: Option<u32>,
    /// When the attempt was due, in milliseconds since the Unix epoch.
    pub due_ms: Option<i64>,
    /// Requests under way at this executor, this one included.
    pub under_way: u32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// With this status, and the least time until another attempt, if the answer said one.
    Status(StatusCode, Option<Duration>),
    /// With a fault that was planned: a reset, no answer, or half of one.
    Fault,
    /// The dispatcher closed the connection before.
    Abandoned,
}

/// Is told what an executor sees. Called from many tasks; must be quick.
pub trait Witness: Send + Sync + 'static {
    /// A request has arrived. The answer is the task's number, or `None` if it belongs to nobody.
    fn arrived(&self, seen: Seen<'_>) -> Option<u64>;
    /// It is over. `number` is what `arrived` answered.
    fn answered(&self, number: u64, attempt: u32, took: Duration, how: Answered);
}

/// Why a fleet can't be started.
#[derive(Debug, thiserror::Error)]
#[error("listen for executor {name:?}")]
pub struct FleetError {
    /// Which one.
    pub name: String,
    #[source]
    source: io::Error,
}

/// Running executors. They stop when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    members: Vec<Member>,
    scheme: &'static str,
}

#[derive(Debug)]
struct Member {
    name: String,
    address: SocketAddr,
    peak: Arc<AtomicU32>,
    kept: Arc<Mutex<Kept>>,
    server: JoinHandle<()>,
}

/// What the connections of one executor share.
pub(crate) struct Shared {
    index: u16,
    keep_alive: bool,
    clock: Clock,
    state: Mutex<Executor>,
    peak: Arc<AtomicU32>,
    kept: Arc<Mutex<Kept>>,
    witness: Arc<dyn Witness>,
    /// Who it is over TLS; otherwise it speaks in clear.
    tls: Option<TlsAcceptor>,
    /// Of the time that it works, what the way to it and back takes already.
    on_the_way: Duration,
}

impl Fleet {
    /// Listens on a port of 127.0.0.1 for each, which the system picks unless `ports` says one; over TLS, if there is an
    /// identity.
    ///
    /// # Errors
    /// When one can't listen.
    pub async fn start(
        specs: &[ExecutorSpec],
        ports: &[u16],
        tls: Option<&Identity>,
        seed: u64,
        clock: Clock,
        witness: Arc<dyn Witness>,
    ) -> Result<Self, FleetError> {
        let mut members = Vec::new();
        for (index, spec) in (0..).zip(specs) {
            let failed = |source| FleetError { name: spec.name.clone(), source };
            let port = ports.get(usize::from(index)).copied().unwrap_or(0);
            let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            let shared = Arc::new(Shared {
                tls: tls.map(Identity::acceptor),
                ..Shared::new(index, spec, seed, clock, witness.clone())
            });
            let (peak, kept) = (shared.peak.clone(), shared.kept.clone());
            let server = tokio::spawn(serve(listener, address, shared));
            members.push(Member { name: spec.name.clone(), address, peak, kept, server });
        }
        Ok(Self { members, scheme: if tls.is_some() { "https" } else { "http" } })
    }

    /// `http://127.0.0.1:<port>` of the executor of this name, or `https`.
    pub fn origin(&self, name: &str) -> Option<String> {
        let member = self.members.iter().find(|member| member.name == name)?;
        Some(format!("{}://{}", self.scheme, member.address))
    }

    /// The ports, in the order of the executors: for a fleet that takes the place of this one.
    pub fn ports(&self) -> Vec<u16> {
        self.members.iter().map(|member| member.address.port()).collect()
    }

    /// Ends it, with its connections, and returns when its ports are free.
    pub async fn stop(mut self) {
        for member in &mut self.members {
            member.server.abort();
            // Its only end is the one that was just asked for.
            drop((&mut member.server).await);
        }
    }

    /// What each of them planned and kept so far, in the order of the executors.
    pub fn kept(&self) -> impl Iterator<Item = Kept> {
        self.members.iter().map(|member| member.kept.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Name, origin, and the most requests that were under way at a time, of each.
    pub fn peaks(&self) -> impl Iterator<Item = (&str, String, u32)> {
        self.members.iter().map(|member| {
            let origin = format!("{}://{}", self.scheme, member.address);
            (&*member.name, origin, member.peak.load(Ordering::Relaxed))
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    /// The executor of this index.
    pub(crate) fn new(index: u16, spec: &ExecutorSpec, seed: u64, clock: Clock, witness: Arc<dyn Witness>) -> Self {
        Self {
            index,
            keep_alive: spec.keep_alive,
            clock,
            state: Mutex::new(Executor::new(spec.clone(), seed)),
            peak: Arc::default(),
            kept: Arc::default(),
            witness,
            tls: None,
            on_the_way: Duration::ZERO,
        }
    }

    /// The same, which works so much shorter: for a network in which the way takes longer than it should.
    #[must_use]
    pub(crate) fn shorter_by(self, on_the_way: Duration) -> Self {
        Self { on_the_way, ..self }
    }

    /// What the lock guards is whole after each call, so a panic of another holder leaves nothing broken.
    pub(crate) fn state(&self) -> MutexGuard<'_, Executor> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now().run
    }

    /// The date after so many seconds, by the run's clock.
    fn date(&self, seconds: u64) -> SystemTime {
        let now = u64::try_from(self.clock.epoch_ms(self.clock.now().wall)).unwrap_or(0);
        UNIX_EPOCH + Duration::from_millis(now) + Duration::from_secs(seconds)
    }
}

/// Serves, and stops listening while connections are to be refused.
async fn serve(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        let (now, until) = (shared.now(), shared.state().refuses_until(shared.now()));
        if let Some(until) = until {
            drop(listener.take());
            sleep(until.saturating_sub(now)).await;
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => listen_again(address).await,
        };
        let from = shared.state().refuses_from(now);
        match from {
            // The end of `accept` ends all connections.
            Some(from) => drop(tokio::time::timeout(from.saturating_sub(now), accept(open, shared.clone())).await),
            None => accept(open, shared.clone()).await,
        }
    }
}

/// The port was ours; should the system have lent it to somebody in the meantime, it comes back.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(LISTEN_AGAIN).await,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // Out of file descriptors, most likely: it passes, and asking again at once would spin.
                let Ok((stream, _)) = accepted else {
                    sleep(LISTEN_AGAIN).await;
                    continue;
                };
                let shared = shared.clone();
                connections.spawn(async move {
                    let reset = Arc::new(AtomicBool::new(false));
                    let line = Line::new(stream, reset.clone());
                    match shared.tls.clone() {
                        None => converse(line, shared, reset).await,
                        // Who does not trust the certificate ends it here, and tells of it itself.
                        Some(tls) => if let Ok(line) = tls.accept(line).await { converse(line, shared, reset).await },
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end. One that breaks off is the dispatcher's to notice.
async fn converse(line: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>, reset: Arc<AtomicBool>) {
    let service = service_fn(move |request| answer(request, shared.clone(), reset.clone()));
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(line), service).await);
}

/// One request under way; whichever way it ends, the executor and the witness are told once.
struct Visit {
    shared: Arc<Shared>,
    number: Option<u64>,
    attempt: u32,
    since: Duration,
    how: Answered,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.shared.state().leave();
        if let Some(number) = self.number {
            let took = self.shared.now().saturating_sub(self.since);
            self.shared.witness.answered(number, self.attempt, took, self.how);
        }
    }
}

/// Does with a request what the executor's state says. `reset` is set when the connection is to be reset at its end.
pub(crate) async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
) -> io::Result<Response<AnswerBody>> {
    let (head, body) = request.into_parts();
    let seen = read(&head.headers, shared.index);
    // The number comes first, since the fate is drawn by it. It is the witness' to tell, and arrival is told once.
    let under_way = shared.state().under_way() + 1;
    let number = shared.witness.arrived(Seen { under_way, ..seen });
    let attempt = seen.attempt;
    let since = shared.now();
    let reply = shared.state().arrive(since, number.unwrap_or(u64::MAX), attempt);
    shared.peak.fetch_max(under_way, Ordering::Relaxed);
    let mut visit = Visit { shared: shared.clone(), number, attempt, since, how: Answered::Abandoned };
    drop(Limited::new(body, BODY_MAX).collect().await);
    let after = reply.after.saturating_sub(shared.on_the_way);
    if !after.is_zero() {
        let begun = shared.now();
        sleep(after).await;
        let took = shared.now().saturating_sub(begun);
        shared.kept.lock().unwrap_or_else(PoisonError::into_inner).took(&reply, after, took);
    }
    match reply.act {
        Act::Answer { status, retry_after, body_after } => {
            visit.how = Answered::Status(status, retry_after.and_then(said));
            Ok(respond(status, retry_after, body_after, &shared))
        }
        Act::Truncate => {
            visit.how = Answered::Fault;
            Ok(Response::new(AnswerBody::new(Broken::new(b"half of "))))
        }
        Act::Hang => {
            visit.how = Answered::Fault;
            match pending::<Infallible>().await {}
        }
        Act::Reset => {
            visit.how = Answered::Fault;
            reset.store(true, Ordering::Relaxed);
            Err(io::Error::other("the plan resets it here"))
        }
    }
}

/// The least time until another attempt that an answer says. A date is cut to whole seconds.
fn said((wait, form): (Duration, RetryAfterForm)) -> Option<Duration> {
    let seconds = whole_seconds(wait);
    (form != RetryAfterForm::None).then(|| Duration::from_secs(seconds))
}

/// Whole seconds are all that `Retry-After` can say.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + 1
}

fn respond(
    status: StatusCode,
    retry_after: Option<(Duration, RetryAfterForm)>,
    body_after: Duration,
    shared: &Shared,
) -> Response<AnswerBody> {
    const TEXT: &[u8] = b"thank you\n";
    let body = if body_after.is_zero() {
        AnswerBody::new(Full::new(Bytes::from_static(TEXT)).map_err(|never| match never {}))
    } else {
        AnswerBody::new(Late::new(body_after, TEXT))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some((wait, form)) = retry_after {
        let seconds = whole_seconds(wait);
        let text = match form {
            // A second more, since the date is cut to whole ones.
            RetryAfterForm::Date => httpdate::fmt_http_date(shared.date(seconds + 1)),
            RetryAfterForm::Seconds | RetryAfterForm::None => seconds.to_string(),
        };
        headers.insert(header::RETRY_AFTER, text.parse().expect("digits or a date are a header value"));
    }
    if !shared.keep_alive {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

fn read(headers: &HeaderMap, executor: u16) -> Seen<'_> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Seen {
        executor,
        task: text("webhook-id").unwrap_or_default(),
        attempt: text("quebert-attempt").and_then(|text| text.parse().ok()).unwrap_or(1),
        max_attempts: text("quebert-max-attempts").and_then(|text| text.parse().ok()),
        due_ms: text("quebert-eta").and_then(|text| Some(text.parse::<quebert_wire::Timestamp>().ok()?.as_millis())),
        under_way: 0,
    }
}
