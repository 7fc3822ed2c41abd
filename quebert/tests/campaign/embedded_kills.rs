//! kill -9 of the program with its embedded broker, at random points, while producers enqueue over its HTTP API. The
//! broker dies with it, so this is about what is on the disk; what a loss of power does is for the adapter's own tests.

use super::{
    dispatcher::{Dispatcher, LIMIT},
    ledger::{Ledger, Moment},
    producer::Plan,
    world::{LANES, ONE_AT_A_TIME, answer, long, say, settings},
};
use quebert_broker_adapter::{
    embedded::{EmbeddedBroker, EmbeddedConfig},
    testing::executor::{Executor, Keep, Recorded},
};
use quebert_dispatcher::{
    grid::Step,
    ports::broker::{Broker as _, Target},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Producers at a time.
const PRODUCERS: usize = 8;
/// Tasks a second that they try to enqueue, all together.
const RATE: f64 = 800.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_an_embedded_broker_killed_at_random_points_loses_no_confirmed_task() {
    let _turn = ONE_AT_A_TIME.lock().await;
    let kills: usize = if long() { 200 } else { 50 };
    let mut rng = StdRng::seed_from_u64(3);
    let site = Site::start().await;
    let (address, at) = watch::channel(String::new());
    let (stop, stopped) = watch::channel(false);
    let producers = site.producers(&at, &stopped);
    let mut dispatcher = Dispatcher::start(&site.config).await;
    let mut slowest = Duration::ZERO;
    for n in 1..=kills {
        slowest = slowest.max(dispatcher.ready(LIMIT).await);
        address.send_replace(dispatcher.api().await);
        // Mid-run: it has taken up its work again, and then at any moment.
        let before = site.ledger.counts();
        let at_work = |what: &str| format!("{what} after {n} starts");
        site.ledger.wait_until(&at_work("requests"), LIMIT, |now| now.executions >= before.executions + 20).await;
        site.ledger.wait_until(&at_work("confirms"), LIMIT, |now| now.confirmed >= before.confirmed + 20).await;
        sleep(Duration::from_micros(rng.random_range(0..600_000))).await;
        site.kill(&mut dispatcher).await;
        dispatcher = Dispatcher::start(&site.config).await;
    }
    dispatcher.ready(LIMIT).await;
    address.send_replace(dispatcher.api().await);
    stop.send_replace(true);
    producers.join_all().await;
    site.ledger.wait_until("all confirmed tasks completed", LIMIT * 3, |counts| counts.open == 0).await;
    dispatcher.stop().await;
    site.nothing_is_left().await;
    let judgement = site.ledger.judge();
    assert!(judgement.is_clean(), "{}", site.ledger.story());
    assert!(judgement.confirmed > kills * 40, "hardly anything was confirmed: {judgement}");
    // A kill can repeat what was unsettled in the lanes' windows, once.
    let held: usize = LANES.iter().map(|(_, window)| usize::from(*window)).sum();
    assert!(judgement.extra <= kills * held, "{} extra executions\n{}", judgement.extra, site.ledger.story());
    say(&format!("campaign embedded_kills: {kills} kills, {judgement}; ready within {slowest:.1?} of each start"));
}

/// A folder for the store and the config, an executor, and the books.
struct Site {
    folder: PathBuf,
    config: PathBuf,
    ledger: Ledger,
    executor: Executor,
}

impl Site {
    async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("quebert-campaign-embedded-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ledger = Ledger::default();
        let books = ledger.clone();
        let script = move |request: &Recorded| answer(&books, request);
        let executor = Executor::builder().keep(Keep::Ids).start(script).await;
        let config = folder.join("quebert.toml");
        let store = format!("embedded:{}", folder.join("store").display());
        std::fs::write(&config, settings(&store, "[api]\nlisten = \"127.0.0.1:0\"\n")).unwrap();
        Self { folder, config, ledger, executor }
    }

    /// kill -9, over when the executor has read the last requests out of its sockets.
    async fn kill(&self, dispatcher: &mut Dispatcher) {
        let from = Moment::now();
        dispatcher.kill().await;
        self.executor.wait_until(LIMIT, |counts| counts.open == 0).await;
        self.ledger.fault_since("kill -9 of the program", from);
    }

    fn producers(&self, at: &watch::Receiver<String>, stopped: &watch::Receiver<bool>) -> JoinSet<()> {
        let plans = Arc::<Plans>::default();
        let start = |_| {
            let producer = Producer {
                plans: plans.clone(),
                ledger: self.ledger.clone(),
                target: self.executor.url(""),
                at: at.clone(),
                stopped: stopped.clone(),
            };
            producer.run()
        };
        (0..PRODUCERS).map(start).collect()
    }

    /// Sees to it that nothing is left in the store: no task, no delayed task, no dead letter. To be asked once the program has
    /// ended. A task without a confirm may have come into the store all the same, and have waited for its moment then, so
    /// what is left is given to another program, whose requests go into the ledger as all others.
    async fn nothing_is_left(&self) {
        let end = Instant::now() + LIMIT;
        loop {
            let left = self.left().await;
            if left.is_empty() {
                return;
            }
            let dead = left.keys().any(|target| target.starts_with("Dead"));
            assert!(!dead && Instant::now() < end, "left over: {left:?}\n{}", self.ledger.story());
            let dispatcher = Dispatcher::start(&self.config).await;
            dispatcher.ready(LIMIT).await;
            // Time for what is delayed, by 2.5 s at most, and for a retry after that.
            sleep(Duration::from_secs(5)).await;
            dispatcher.stop().await;
        }
    }

    /// Tasks by where they stand, as the store says that nobody has open now.
    async fn left(&self) -> BTreeMap<String, u64> {
        let queues = LANES.iter().map(|(lane, _)| format!("quebert.{lane}").into()).collect::<Vec<Arc<str>>>();
        let folder = self.folder.join("store");
        let config = EmbeddedConfig { folder, queues: queues.clone(), ..EmbeddedConfig::default() };
        let broker = EmbeddedBroker::open(config).unwrap();
        let work = queues.iter().flat_map(|queue| [Target::Queue(queue.clone()), Target::Dead(queue.clone())]);
        let mut left = BTreeMap::new();
        for target in work.chain(Step::all().map(Target::Delay)) {
            let ready = broker.depth(target.clone()).await.map_or(0, |depth| depth.ready);
            if ready > 0 {
                left.insert(format!("{target:?}"), ready);
            }
        }
        broker.stop().await;
        left
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What is to be enqueued next, without end.
#[derive(Default)]
struct Plans(AtomicUsize);

impl Plans {
    fn next(&self) -> Plan {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        let kind = if n % 20 == 7 { "fails" } else { "task" };
        let delay = (n % 25 == 3).then(|| Duration::from_millis(500 + n as u64 % 2000));
        Plan { id: format!("{kind}-{n:06}"), queue: LANES[n % LANES.len()].0.to_owned(), delay }
    }
}

/// One that enqueues over HTTP, each task once: one without an answer has an open fate, and is not missed.
struct Producer {
    plans: Arc<Plans>,
    ledger: Ledger,
    target: String,
    at: watch::Receiver<String>,
    stopped: watch::Receiver<bool>,
}

impl Producer {
    async fn run(mut self) {
        let mut connection = None;
        while !*self.stopped.borrow() {
            let begin = Instant::now();
            let stream = match &mut connection {
                Some(stream) => stream,
                None => match self.connect().await {
                    Some(stream) => connection.insert(stream),
                    None => continue,
                },
            };
            let plan = self.plans.next();
            let not_before = plan.delay.map(|delay| Moment::now().plus(delay).whole_millis());
            self.ledger.publishes(&plan.id, not_before);
            let mut envelope = serde_json::json!({
                "id": plan.id, "url": format!("{}/{}", self.target, plan.id), "queue": plan.queue
            });
            if let Some(due) = not_before {
                envelope["not_before"] = due.as_millis().into();
            }
            match timeout(LIMIT, post(stream, &envelope.to_string())).await.expect("an answer within its limit") {
                Ok(201) => self.ledger.confirmed(&plan.id),
                Ok(503) => {}
                Ok(status) => panic!("a task is answered {status}"),
                Err(_) => connection = None,
            }
            sleep(Duration::from_secs_f64(PRODUCERS as f64 / RATE).saturating_sub(begin.elapsed())).await;
        }
    }

    /// Where the program is now, if it takes the connection.
    async fn connect(&mut self) -> Option<TcpStream> {
        let at = self.at.wait_for(|at| !at.is_empty()).await.unwrap().clone();
        match TcpStream::connect(at).await {
            Ok(stream) => Some(stream),
            Err(_) => {
                sleep(Duration::from_millis(5)).await;
                None
            }
        }
    }
}

/// One request on a connection that is kept; its status.
async fn post(stream: &mut TcpStream, body: &str) -> std::io::Result<u16> {
    let head = format!(
        "POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(status) = whole(&answer) {
            return Ok(status);
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The status of an answer that is there as a whole.
fn whole(answer: &[u8]) -> Option<u16> {
    let head_bytes = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_bytes]).expect("an ASCII head");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = head.split(' ').nth(1)?.parse().expect("a status");
    (answer.len() >= head_bytes + length.unwrap_or(0)).then_some(status)
}
