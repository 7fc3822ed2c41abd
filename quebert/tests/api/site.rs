//! A place to ask the API: the server on a port of its own, a dispatcher that runs, and a broker's operators' side that
//! does as each test says. It dispatches only what a test hands to its broker.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use quebert::{
    Config, MemoryBroker,
    adapters::{
        admin::{
            Abilities, Admin, AdminError, Enqueue, Enqueued, Found, FoundState, Place, PlaceStatus, Position, Sweeper,
            Swept,
        },
        http::{AddressGuard, HttpConfig, HttpTransport, TcpConnector, TlsClient, TlsSettings},
    },
    api::{Server, board::Board, feed::Feed, state::ApiState},
    config::Current,
    dispatcher::{
        event::Event,
        ports::{BoxFuture, broker::PublishError, observer::Observer as _},
        shell::Dispatcher,
    },
    health::Health,
    metrics::{Format, Metrics},
    wire::{TaskId, Timestamp},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

/// Tokens that tests use. They must have 16 bytes.
pub(crate) const ENQUEUE: &str = "enqueue-enqueue-enqueue";
pub(crate) const READ: &str = "read-read-read-read-read";
pub(crate) const OPERATE: &str = "operate-operate-operate";

/// The config that gives them their roles.
pub(crate) fn tokens() -> String {
    let token = |role: &str, token: &str| format!("[api.tokens.{role}]\nroles = [\"{role}\"]\ntoken = \"{token}\"\n");
    token("enqueue", ENQUEUE) + &token("read", READ) + &token("operate", OPERATE)
}

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Arc<Fake>,
    pub(crate) health: Arc<Health>,
    pub(crate) feed: Arc<Feed>,
    core: Current,
    metrics: Arc<Metrics>,
    /// What the dispatcher takes its tasks from.
    pub(crate) memory: MemoryBroker,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code; panics if it is no problem in order.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("https://quebert.dev/problems/{code}"));
        assert!(!problem["title"].as_str().unwrap().is_empty());
        code
    }
}

impl Site {
    /// One with this config over the defaults, connected and ready.
    pub(crate) async fn new(toml: &str) -> Self {
        let fake = Arc::new(Fake::default());
        Self::of(toml, fake.clone(), fake).await
    }

    /// One whose broker has another operators' side.
    pub(crate) async fn over(toml: &str, admin: Arc<dyn Admin>) -> Self {
        Self::of(toml, admin, Arc::default()).await
    }

    async fn of(toml: &str, admin: Arc<dyn Admin>, broker: Arc<Fake>) -> Self {
        let config = Config::from_toml(toml).unwrap_or_else(|e| panic!("{e}"));
        let lanes: Vec<_> = config.core.lanes.iter().map(|l| (l.name.clone(), l.queue.clone())).collect();
        let memory = MemoryBroker::new();
        lanes.iter().for_each(|(_, queue)| memory.declare(queue));
        let guard = AddressGuard::off();
        let transport = HttpTransport::new(
            TcpConnector::new(guard, TlsClient::new(&TlsSettings::default()).unwrap()),
            HttpConfig::default(),
        );
        let board = Arc::new(Board::new(lanes.iter().map(|(name, _)| name.clone())));
        let feed = Arc::new(Feed::default());
        let dispatcher = Dispatcher::builder(config.core.clone(), Arc::new(memory.clone()), Arc::new(transport))
            .observer(board.clone())
            .observer(feed.clone())
            .build();
        let handle = dispatcher.handle();
        tokio::spawn(dispatcher.run());

        let health = Arc::new(Health::new(lanes.iter().map(|(name, _)| name.clone())));
        health.observe(&Event::BrokerConnected);
        lanes.iter().for_each(|(lane, _)| health.observe(&Event::LaneOpen { lane: lane.clone(), open: true }));
        let metrics = Arc::new(Metrics::new(&config.core.lanes, 1, health.clone(), Timestamp::from_millis(0)));
        let core = Current::new(config.core.clone());
        let state = ApiState {
            core: core.clone(),
            config: Arc::new(config),
            admin,
            handle,
            health: health.clone(),
            board,
            feed: feed.clone(),
            metrics: metrics.clone(),
            started: Instant::now(),
        };
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(server.serve(state, async move { drop(stopped.await) }));
        Self { address, broker, health, feed, core, metrics, memory, stop, server }
    }

    /// As if this config over the defaults had been reloaded.
    pub(crate) fn reload(&self, toml: &str) {
        self.core.reload(Config::from_toml(toml).unwrap_or_else(|e| panic!("{e}")).core);
    }

    /// How many publishes for new tasks were answered so.
    pub(crate) fn enqueues(&self, result: &str) -> u64 {
        let text = self.metrics.text(Format::Classic);
        let series = format!(r#"quebert_publish_confirms_total{{purpose="enqueue",result="{result}"}} "#);
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// Asks on a connection of its own. `Host` is the address unless a header says otherwise.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header(header::HOST, self.address.to_string());
        }
        let request = request.body(Full::new(Bytes::from(body.into()))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        self.ask(Method::POST, path, &[("content-type", "application/json")], body).await
    }

    /// Ends the server in order.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.server.await.unwrap().unwrap();
    }
}

/// A broker that keeps what it is given in a list and answers as it is told.
pub(crate) struct Fake {
    /// What was stored.
    pub(crate) stored: Mutex<Vec<Enqueue>>,
    /// Whether it can look into its queues.
    pub(crate) lookup: Mutex<bool>,
    /// What it says to each enqueue instead of storing.
    pub(crate) failing: Mutex<Option<PublishError>>,
    /// Whether it panics instead.
    pub(crate) panicking: Mutex<bool>,
    /// What it finds, whatever is looked for, besides what was stored.
    pub(crate) found: Mutex<Vec<Found>>,
    /// Whether what it finds is free to be run or cancelled.
    pub(crate) steerable: Mutex<bool>,
    /// What it was asked to steer.
    pub(crate) steered: Mutex<Vec<String>>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            stored: Mutex::default(),
            lookup: Mutex::default(),
            failing: Mutex::default(),
            panicking: Mutex::default(),
            found: Mutex::default(),
            steerable: Mutex::new(true),
            steered: Mutex::default(),
        }
    }
}

impl Fake {
    fn free(&self) -> bool {
        *self.steerable.lock().unwrap() && !self.found.lock().unwrap().is_empty()
    }

    fn store(&self, task: Enqueue) -> Result<Enqueued, PublishError> {
        let panicking = *self.panicking.lock().unwrap();
        assert!(!panicking, "as the test wants it");
        if let Some(error) = self.failing.lock().unwrap().clone() {
            return Err(error);
        }
        let mut stored = self.stored.lock().unwrap();
        let same_key = |t: &&Enqueue| t.once.as_ref().map(|o| &o.key) == task.once.as_ref().map(|o| &o.key);
        match stored.iter().find(|t| task.once.is_some() && same_key(t)) {
            Some(first) if first.once.as_ref().unwrap().fingerprint == task.once.as_ref().unwrap().fingerprint => {
                Ok(Enqueued::Repeated { id: first.message.id.clone().unwrap() })
            }
            Some(_) => Ok(Enqueued::Conflict),
            None => {
                stored.push(task);
                Ok(Enqueued::Stored)
            }
        }
    }

    fn steer<'a, T: Send + 'a>(&self, what: &str, id: &TaskId, answer: T) -> BoxFuture<'a, Result<T, AdminError>> {
        self.steered.lock().unwrap().push(format!("{what} {id}"));
        let known = *self.lookup.lock().unwrap();
        Box::pin(async move { if known { Ok(answer) } else { Err(AdminError::Unsupported("it can't look")) } })
    }
}

impl Admin for Fake {
    fn abilities(&self) -> Abilities {
        let lookup = *self.lookup.lock().unwrap();
        Abilities { engine: "fake", lookup, durable_once: true, durable_pause: true, ages: true }
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        Box::pin(async move { tasks.into_iter().map(|task| self.store(task)).collect() })
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        let of = |queue: &str| self.stored.lock().unwrap().iter().filter(|t| &*t.queue == queue).count();
        let ready = match &place {
            Place::Queue(queue) => of(queue),
            Place::Dead(_) | Place::CommonDead => 0,
        };
        Box::pin(async move { Ok(PlaceStatus { ready: ready as u64, ..PlaceStatus::default() }) })
    }

    fn sweep<'a>(
        &'a self,
        _place: Place,
        _after: Option<Position>,
        _limit: u64,
        _sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        Box::pin(async { Ok(Swept { complete: true, ..Swept::default() }) })
    }

    fn purge(&self, _place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        let purged = self.stored.lock().unwrap().drain(..).count();
        Box::pin(async move { Ok(purged as u64) })
    }

    fn find(&self, id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        let mut found = self.found.lock().unwrap().clone();
        let stored = self.stored.lock().unwrap();
        let same = stored.iter().filter(|task| task.message.id.as_deref() == Some(id.as_str()));
        let ready = |task: &Enqueue| (task.queue.clone(), FoundState::Ready, task.message.clone());
        found.extend(same.map(ready).map(|(queue, state, message)| Found { queue, state, message }));
        self.steer("find", &id, found)
    }

    fn run_now(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        let any = self.free();
        self.steer("run", &id, any)
    }

    fn cancel(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        let mut stored = self.stored.lock().unwrap();
        let before = stored.len();
        stored.retain(|task| task.message.id.as_deref() != Some(id.as_str()));
        let any = self.free() || stored.len() < before;
        self.steer("cancel", &id, any)
    }

    fn remember_pause(&self, _queue: Arc<str>, _paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async { Ok(()) })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
