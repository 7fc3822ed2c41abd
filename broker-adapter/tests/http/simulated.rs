//! A connector of one's own, and time that is simulated: what no socket can show to the millisecond.

use super::common::{answer, failure, get, is};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use quebert_broker_adapter::http::{Connect, ConnectError, Connected, HttpConfig, HttpTransport, Target};
use quebert_dispatcher::{outcome::FailureKind, ports::transport::Request};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::DuplexStream,
    time::{Instant, sleep},
};

/// Connects to a server in memory, which takes `delay` to be reached and answers at once.
#[derive(Clone, Default)]
struct InMemory {
    delay: Duration,
    connections: Arc<AtomicUsize>,
    targets: Arc<Mutex<Vec<Target>>>,
}

impl Connect for InMemory {
    type Io = TokioIo<DuplexStream>;

    async fn connect(&self, target: &Target, limit: Duration) -> Result<Connected<Self::Io>, ConnectError> {
        sleep(self.delay.min(limit)).await;
        if self.delay > limit {
            return Err(ConnectError::new(FailureKind::ConnectTimeout, "too far away"));
        }
        self.connections.fetch_add(1, SeqCst);
        self.targets.lock().unwrap().push(target.clone());
        let (ours, theirs) = tokio::io::duplex(1024);
        let service = service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::new()))) });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(theirs), service));
        Ok(Connected { io: TokioIo::new(ours), h2: false })
    }
}

fn transport(connector: &InMemory) -> HttpTransport<InMemory> {
    HttpTransport::new(connector.clone(), HttpConfig::default())
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_used_again_until_just_before_its_idle_limit() {
    let connector = InMemory::default();
    let transport = transport(&connector);
    for (wait, connections) in [(0, 1), (3_999, 1), (3_999, 1), (4_001, 2), (100_000, 3)] {
        sleep(Duration::from_millis(wait)).await;
        answer(&transport, get("http://executor/")).await;
        assert_eq!(connector.connections.load(SeqCst), connections, "after {wait} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_before_five_seconds() {
    let connector = InMemory::default();
    let transport = transport(&connector);
    answer(&transport, get("http://executor/")).await;
    // Used out of step with the reaper.
    sleep(Duration::from_millis(777)).await;
    answer(&transport, get("http://executor/")).await;
    sleep(Duration::from_millis(3_999)).await;
    assert_eq!(transport.idle_connections(), 1);
    sleep(Duration::from_millis(600)).await;
    assert_eq!(transport.idle_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_connecting_are_exact() {
    let far = InMemory { delay: Duration::from_secs(6), ..InMemory::default() };
    let started = Instant::now();
    is(&failure(&transport(&far), get("http://executor/")).await, FailureKind::ConnectTimeout, false);
    assert_eq!(started.elapsed(), Duration::from_secs(5));

    let started = Instant::now();
    let request = Request { timeout: Duration::from_secs(2), ..get("http://executor/") };
    is(&failure(&transport(&far), request).await, FailureKind::Timeout, false);
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_connector_is_told_where_to_connect() {
    let connector = InMemory::default();
    let transport = transport(&connector);
    for (url, host, port) in [
        ("http://EXECUTOR/path", "executor", 80),
        ("http://executor:8080/", "executor", 8080),
        ("http://[2001:db8::1]/", "2001:db8::1", 80),
    ] {
        answer(&transport, get(url)).await;
        let target = connector.targets.lock().unwrap().pop().unwrap();
        assert_eq!(target, Target { tls: false, host: host.into(), port });
    }
}
