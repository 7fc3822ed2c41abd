//! An executor with one manner: quick, flaky, slow, with a rate limit, or down for a while. What a seed can decide, it
//! does: the same task's same attempt has the same fate. It checks no signatures.

use super::bucket::Bucket;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, header::RETRY_AFTER, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, task::JoinHandle, task::JoinSet};

/// How much of a request's body is read.
const BODY_MAX: usize = 1 << 20;

/// How an executor behaves. Whatever it is, the path `/gone` answers 410 and `/broken` answers 500.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Answers within milliseconds.
    Fast,
    /// Answers this percent of the attempts with 503.
    Flaky {
        /// 0 to 100.
        percent: u8,
    },
    /// Takes its time, in milliseconds.
    Slow {
        /// From the shortest to the longest.
        ms: RangeInclusive<u64>,
    },
    /// Answers 429 with `Retry-After` to what comes too fast: a token bucket.
    Limited {
        /// Requests at once.
        burst: u32,
        /// Requests a second after that; above 0.
        per_s: u32,
    },
    /// Refuses connections for a while, again and again.
    Outages {
        /// How long it is up.
        up: Duration,
        /// How long it is down.
        down: Duration,
    },
}

/// What an executor is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It listens.
    Up,
    /// It refuses connections.
    Down,
}

/// A sample executor on a port of 127.0.0.1 that the system picks. It stops when it is dropped.
#[derive(Debug)]
pub struct Executor {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    manner: Manner,
    seed: u64,
    started: Instant,
    bucket: Option<Mutex<Bucket>>,
    up: AtomicBool,
    requests: AtomicU64,
}

impl Executor {
    /// Listens; must be called within a tokio runtime.
    ///
    /// # Errors
    /// When there is no port left.
    pub async fn start(manner: Manner, seed: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let bucket = match manner {
            Manner::Limited { burst, per_s } => Some(Mutex::new(Bucket::new(burst, per_s))),
            _ => None,
        };
        let shared = Arc::new(Shared {
            manner,
            seed,
            started: Instant::now(),
            bucket,
            up: AtomicBool::new(true),
            requests: AtomicU64::new(0),
        });
        let server = tokio::spawn(serve(listener, address, shared.clone()));
        Ok(Self { address, shared, server })
    }

    /// `http://127.0.0.1:<port>`
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it listens now.
    pub fn state(&self) -> State {
        if self.shared.up.load(Ordering::Relaxed) { State::Up } else { State::Down }
    }

    /// Requests that it has seen.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves, with the outages that the manner asks for.
async fn serve(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let Manner::Outages { up, down } = shared.manner else { return accept(listener, shared).await };
    loop {
        // The end of this future closes the listener and every connection.
        drop(tokio::time::timeout(up, accept(listener, shared.clone())).await);
        shared.up.store(false, Ordering::Relaxed);
        tokio::time::sleep(down).await;
        listener = listen_again(address).await;
        shared.up.store(true, Ordering::Relaxed);
    }
}

/// The port was ours; should the system have lent it to somebody in the meantime, it comes back.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
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
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let shared = shared.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, shared.clone()));
                    let server = hyper::server::conn::http1::Builder::new();
                    // A connection that breaks off is the dispatcher's to notice.
                    drop(server.serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let fate = fate(shared.seed, request.headers());
    let path = request.uri().path().to_owned();
    drop(Limited::new(request.into_body(), BODY_MAX).collect().await);
    let plain = |status, words: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
        *response.status_mut() = status;
        response
    };
    match path.as_str() {
        "/gone" => return Ok(plain(StatusCode::GONE, "no such thing any more\n")),
        "/broken" => return Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, "this never works\n")),
        _ => {}
    }
    let (quick_ms, done) = (5 + fate % 20, plain(StatusCode::OK, "done\n"));
    Ok(match &shared.manner {
        Manner::Slow { ms } => {
            let spread = ms.end().saturating_sub(*ms.start()) + 1;
            tokio::time::sleep(Duration::from_millis(ms.start() + fate % spread)).await;
            done
        }
        Manner::Flaky { percent } if fate % 100 < u64::from(*percent) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "not just now\n")
        }
        Manner::Limited { .. } => match shared.take_token() {
            Ok(()) => done,
            Err(wait) => {
                let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "slow down\n");
                // Whole seconds is all that the header can say.
                response.headers_mut().insert(RETRY_AFTER, (wait.as_secs() + 1).into());
                response
            }
        },
        Manner::Fast | Manner::Flaky { .. } | Manner::Outages { .. } => {
            tokio::time::sleep(Duration::from_millis(quick_ms)).await;
            done
        }
    })
}

impl Shared {
    fn take_token(&self) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        // What the lock guards is whole after each statement, so a panic of another holder leaves nothing broken.
        bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.started.elapsed())
    }
}

/// A number that this attempt of this task always has: FNV-1a over the headers that name both.
fn fate(seed: u64, headers: &HeaderMap) -> u64 {
    let names = ["webhook-id", "quebert-attempt"];
    let bytes = names.iter().filter_map(|name| headers.get(*name)).flat_map(http::HeaderValue::as_bytes);
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    // FNV's low bits depend on too little; this is the finalizer of MurmurHash3, which mixes all of them.
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    async fn get(executor: &Executor, path: &str, attempt: u32) -> io::Result<String> {
        let mut stream = TcpStream::connect(executor.address).await?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nwebhook-id: a\r\nquebert-attempt: {attempt}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    #[tokio::test]
    async fn a_flaky_one_fails_the_same_attempts_for_the_same_seed() {
        let flaky = Manner::Flaky { percent: 50 };
        let (one, two) = (Executor::start(flaky.clone(), 7).await.unwrap(), Executor::start(flaky, 7).await.unwrap());
        let mut failed = 0;
        for attempt in 1..=40 {
            let status = get(&one, "/", attempt).await.unwrap()[9..12].to_owned();
            assert_eq!(status, get(&two, "/", attempt).await.unwrap()[9..12]);
            failed += u32::from(status == "503");
        }
        assert!((8..=32).contains(&failed), "{failed} of 40 failed");
        assert_eq!(one.requests(), 40);
    }

    #[tokio::test]
    async fn a_limited_one_says_when_to_come_again() {
        let executor = Executor::start(Manner::Limited { burst: 1, per_s: 1 }, 0).await.unwrap();
        assert!(get(&executor, "/", 1).await.unwrap().starts_with("HTTP/1.1 200"));
        let text = get(&executor, "/", 2).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 429") && text.contains("retry-after: 1\r\n"), "{text}");
        assert!(get(&executor, "/gone", 3).await.unwrap().starts_with("HTTP/1.1 410"));
    }

    #[tokio::test]
    async fn an_outage_refuses_connections_and_ends_on_the_same_port() {
        let brief = Duration::from_millis(50);
        let executor = Executor::start(Manner::Outages { up: brief, down: brief }, 0).await.unwrap();
        let mut kept = TcpStream::connect(executor.address).await.unwrap();
        let outages = async {
            let mut gone = Vec::new();
            assert_eq!(kept.read_to_end(&mut gone).await.unwrap_or(0), 0, "connections that are open end, too");
            while TcpStream::connect(executor.address).await.is_ok() {
                tokio::task::yield_now().await;
            }
            while get(&executor, "/", 1).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), outages).await.expect("it goes down and comes back");
    }
}
