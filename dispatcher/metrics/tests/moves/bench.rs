//! One dispatcher in paused time, on a broker in memory that can be made to fail, with executors that do as their path
//! says: `/<status>`, `/<status>/<milliseconds>`, `/fail/<failure>`, `/then/<first status>/<all others>`.

use quebert_dispatcher::{
    backoff::{Jitter, RetryPolicy},
    config::{CoreConfig, DestinationConfig, HookErrorRule, LaneConfig, Schedule},
    memory::MemoryBroker,
    outcome::{Failure, FailureKind, Outcome, Response},
    ports::{
        BoxFuture,
        broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
        clock::{Clock, SystemClock},
        mediator::{Attempt, Before, Mediator},
        transport::{Request, Transport},
    },
    shell::{Dispatcher, Handle, Summary},
    verdict::StatusRules,
};
use quebert_metrics::{Format, Health, Metrics};
use quebert_wire::{Limits, Message, Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

/// When the wall clock starts.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A dispatcher with the lane `a`, its metrics, and everything that it sees.
pub(crate) struct Bench {
    pub(crate) broker: Faulty,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) handle: Handle,
    pub(crate) running: JoinHandle<Summary>,
    clock: Arc<SystemClock>,
}

/// A broker in memory whose next publishes fail as told, and that says what it is told to say.
#[derive(Clone)]
pub(crate) struct Faulty {
    memory: MemoryBroker,
    faults: Arc<Mutex<VecDeque<PublishError>>>,
    says: Arc<Mutex<Option<mpsc::Sender<BrokerEvent>>>>,
}

impl Faulty {
    fn new() -> Self {
        Self { memory: MemoryBroker::new(), faults: Arc::default(), says: Arc::default() }
    }

    pub(crate) fn fail_next(&self, error: PublishError) {
        self.faults.lock().unwrap().push_back(error);
    }

    pub(crate) async fn say(&self, event: BrokerEvent) {
        let says = self.says.lock().unwrap().clone().expect("it was started");
        says.send(event).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }

    pub(crate) fn cut(&self) {
        self.memory.cut();
    }
}

impl Broker for Faulty {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let (says, said) = mpsc::channel(256);
        *self.says.lock().unwrap() = Some(says.clone());
        let mut events = self.memory.start();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if says.send(event).await.is_err() {
                    return;
                }
            }
        });
        said
    }

    fn open(&self, source: Source, window: u16) {
        self.memory.open(source, window);
    }

    fn close(&self, source: &Source) {
        self.memory.close(source);
    }

    fn pause(&self, source: &Source) {
        self.memory.pause(source);
    }

    fn ack(&self, tag: Tag) {
        self.memory.ack(tag);
    }

    fn give_back(&self, tag: Tag) {
        self.memory.give_back(tag);
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        let fault = self.faults.lock().unwrap().pop_front();
        match fault {
            Some(fault) => Box::pin(async { Err(fault) }),
            None => self.memory.publish(target, message),
        }
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        self.memory.depth(target)
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        self.memory.stop()
    }
}

struct Scripted;

impl Transport for Scripted {
    fn send(&self, request: Request) -> BoxFuture<'static, Outcome> {
        let limit = request.timeout;
        let answer = answer(request);
        Box::pin(
            async move { tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| failed(FailureKind::Timeout)) },
        )
    }
}

async fn answer(request: Request) -> Outcome {
    let path = request.http.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let first = request.http.headers()["quebert-attempt"] == "1";
    let status = match parts[..] {
        ["fail", "timeout"] => std::future::pending().await,
        ["fail", "dns"] => return failed(FailureKind::Dns),
        ["then", first_status, status] => {
            if first {
                first_status
            } else {
                status
            }
        }
        [status, ms] => {
            sleep(Duration::from_millis(ms.parse().unwrap())).await;
            status
        }
        _ => parts[0],
    };
    let status = http::StatusCode::from_bytes(status.as_bytes()).unwrap();
    let (headers, body) = (http::HeaderMap::new(), bytes::Bytes::new());
    Outcome::Answered(Response { status, headers, body, truncated: false })
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed(Failure { kind, detail: kind.label().to_owned(), reached: true })
}

/// Does as a task's label `do` says.
struct Labelled;

impl Mediator for Labelled {
    fn name(&self) -> &str {
        "labelled"
    }

    async fn before(&self, attempt: &mut Attempt) -> Before {
        match attempt.task.labels.get("do").map(String::as_str) {
            Some("drop") => Before::Drop,
            Some("slow") => {
                sleep(Duration::from_millis(300)).await;
                Before::Send
            }
            Some("hang") => std::future::pending().await,
            _ => Before::Send,
        }
    }
}

/// The series at one moment: everything but the buckets' exemplars.
pub(crate) type Readings = BTreeMap<String, f64>;

pub(crate) fn read(metrics: &Metrics) -> Readings {
    let text = metrics.text(Format::Classic);
    let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    samples.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

fn lane() -> LaneConfig {
    LaneConfig {
        name: "a".into(),
        queue: "q.a".into(),
        priority: 1,
        weight: 1,
        slots_own: 0,
        slots_max: 64,
        window: 16,
        attempt_timeout: Duration::from_secs(30),
        attempt_timeout_max: Duration::from_secs(60),
        ttl_default: None,
        // A second after each failure, so that what is tried again is held and not moved.
        retry: RetryPolicy { max_attempts: Some(3), jitter: Jitter::None, ..RetryPolicy::default() },
        status: StatusRules::default(),
    }
}

pub(crate) fn config() -> CoreConfig {
    CoreConfig {
        lanes: vec![lane()],
        slots_shared: 8,
        schedule: Schedule::Strict { pass_over_max: None },
        destinations: DestinationConfig {
            slots: 8,
            slots_of: BTreeMap::new(),
            window_share: 100,
            patience: Duration::from_secs(1),
            put_off_min: Duration::from_secs(2),
            put_off_max: Duration::from_secs(60),
        },
        limits: Limits::default(),
        hold_max: Duration::from_secs(1),
        consumer_timeout: Duration::from_secs(1800),
        redeliveries_max: None,
        delay_window: 16,
        bury_expired: false,
        bury_unknown_fields: false,
        hook_error: HookErrorRule::PutOff,
        mediated: false,
        seed: 7,
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let (broker, config) = (Faulty::new(), config());
        broker.memory.declare("q.a");
        let health = Arc::new(Health::new(config.lanes.iter().map(|l| l.name.clone())));
        let metrics = Arc::new(Metrics::new(&config.lanes, 2, health.clone(), START));
        metrics.hooks(&["labelled"]);
        let clock = Arc::new(SystemClock::starting_at(START));
        let dispatcher = Dispatcher::builder(config, Arc::new(broker.clone()), Arc::new(Scripted))
            .clock(clock.clone())
            .mediator(Labelled)
            .observer(health.clone())
            .observer(metrics.clone())
            .build();
        let handle = dispatcher.handle();
        let bench = Self { broker, metrics, health, handle, running: tokio::spawn(dispatcher.run()), clock };
        sleep(Duration::from_millis(10)).await;
        bench
    }

    /// Enqueues an envelope, and lets `ms` pass.
    pub(crate) async fn task(&self, json: &str, ms: u64) {
        self.message(Message { body: json.to_owned().into(), ..Message::default() }, ms).await;
    }

    pub(crate) async fn message(&self, message: Message, ms: u64) {
        self.broker.memory.publish(Target::Queue("q.a".into()), message).await.unwrap();
        sleep(Duration::from_millis(ms)).await;
    }

    /// What the program asks the broker again and again.
    pub(crate) async fn look(&self) {
        let ready = self.broker.depth(Target::Queue("q.a".into())).await;
        self.metrics.depth("a", ready, self.broker.depth(Target::Dead("q.a".into())).await);
        if let Some(depth) = ready {
            self.metrics.head_age("a", depth.ready, self.now());
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }
}
