//! The whole chain in one process: producers enqueue, the dispatcher takes and sends, an executor gets the request. All
//! times are of one clock.

use crate::{
    Fault, Options,
    broker::{self, Folder},
    probe::{Times, fsync},
    stub,
};
use quebert::{App, Event, Observer, Running};
use quebert_broker_adapter::testing::PrivateRabbit;
use quebert_dispatcher::ports::broker::Broker;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinSet,
    time::{interval, sleep},
};

/// Tasks that are enqueued and not yet at the executor, at most, when the chain is driven as fast as it goes.
const UNDER_WAY_MAX: usize = 500;
/// Enqueues under way, at most, at a fixed rate.
const PRODUCERS_MAX: usize = 5000;

pub(crate) async fn measure(options: &Options) -> Result<(), Fault> {
    println!("\nFrom the enqueue to the executor: the whole chain in one process, {} producers", options.producers);
    for round in 1..=options.rounds {
        let store = Folder::new(&options.folder)?;
        let sync = fsync(&store.0)?;
        let embedded = broker::embedded(&store.0)?;
        let app = App::new(broker::config(None)?).broker(embedded);
        println!("{round}  embedded  {}", one(app, options).await?);
        println!("   fsync of 4 KiB: {sync}");
        if !options.no_rabbit {
            let node = PrivateRabbit::start().await?;
            let app = App::new(broker::config(Some(&node.url()))?);
            println!("{round}  rabbitmq  {}", one(app, options).await?);
        }
    }
    Ok(())
}

async fn one(app: App, options: &Options) -> Result<String, Fault> {
    let arrivals = Arc::new(Arrivals::default());
    let url = executor(arrivals.clone())?;
    let settled = Arc::new(AtomicU64::new(0));
    let mut running = app.observer(Counter(settled.clone())).start()?;
    while !running.health.obstacles().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let length = Duration::from_secs(options.seconds);
    let chain = Chain { broker: running.broker.clone(), arrivals, url };
    // Warm: connections to the executor, pages of the store.
    chain.saturate(options.producers, Duration::from_secs(1)).await?;
    let saturation = chain.saturate(options.producers, length).await?;
    chain.quiet(&settled).await?;
    let rate = if options.rate > 0 { f64::from(options.rate) } else { saturation / 2.0 };
    let times = chain.pace(rate, length).await?;
    chain.quiet(&settled).await?;
    end(&mut running).await;
    Ok(format!("saturated {saturation:.0}/s; at {rate:.0}/s to the first byte within {times}"))
}

async fn end(running: &mut Running) {
    running.handle.drain(Duration::from_secs(5));
    running.end().await;
}

/// Counts what is settled.
struct Counter(Arc<AtomicU64>);

impl Observer for Counter {
    fn observe(&self, event: &Event) {
        if let Event::Settled { .. } = event {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// When each task was to be enqueued, and how long it took to the executor.
#[derive(Default)]
struct Arrivals {
    books: Mutex<Books>,
    count: AtomicU64,
    slots: std::sync::OnceLock<Arc<Semaphore>>,
}

#[derive(Default)]
struct Books {
    /// By number.
    enqueued: Vec<Instant>,
    times: Vec<Duration>,
}

impl Arrivals {
    fn enqueued(&self, at: Instant) -> u64 {
        let mut books = self.books.lock().expect("no one panics with the books in hand");
        books.enqueued.push(at);
        books.enqueued.len() as u64 - 1
    }

    fn arrived(&self, path: &str) {
        let now = Instant::now();
        let n: Option<usize> = path.rsplit('/').next().and_then(|n| n.parse().ok());
        {
            let mut books = self.books.lock().expect("no one panics with the books in hand");
            let Some(at) = n.and_then(|n| books.enqueued.get(n).copied()) else { return };
            books.times.push(now - at);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.slots().add_permits(1);
    }

    fn slots(&self) -> &Arc<Semaphore> {
        self.slots.get_or_init(|| Arc::new(Semaphore::new(UNDER_WAY_MAX)))
    }
}

/// The executor, in a thread of its own.
fn executor(arrivals: Arc<Arrivals>) -> Result<String, Fault> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                let arrivals = arrivals.clone();
                tokio::spawn(stub::answer(stream, move |path| arrivals.arrived(path)));
            }
            #[expect(unreachable_code, reason = "names the type")]
            std::io::Result::Ok(())
        })
    });
    Ok(url)
}

struct Chain {
    broker: Arc<dyn Broker>,
    arrivals: Arc<Arrivals>,
    url: String,
}

impl Chain {
    /// As fast as it goes, for this long; tasks a second at the executor.
    async fn saturate(&self, producers: usize, length: Duration) -> Result<f64, Fault> {
        let end = Instant::now() + length;
        let mut running = JoinSet::new();
        let before = self.arrivals.count.load(Ordering::Relaxed);
        let start = Instant::now();
        for _ in 0..producers {
            let (broker, arrivals, url) = (self.broker.clone(), self.arrivals.clone(), self.url.clone());
            running.spawn(async move {
                while Instant::now() < end {
                    arrivals.slots().acquire().await?.forget();
                    let n = arrivals.enqueued(Instant::now());
                    broker::publish(broker.as_ref(), n, &url).await?;
                }
                Ok::<_, Fault>(())
            });
        }
        sleep(length).await;
        let count = self.arrivals.count.load(Ordering::Relaxed) - before;
        let rate = count as f64 / start.elapsed().as_secs_f64();
        while let Some(producer) = running.join_next().await {
            producer??;
        }
        Ok(rate)
    }

    /// At this rate, whatever happens, by as many producers as that takes. Each task's time counts from the moment that it
    /// was due to be enqueued, so that a stall counts for all that it held up.
    async fn pace(&self, rate: f64, length: Duration) -> Result<Times, Fault> {
        self.arrivals.books.lock().expect("no one panics with the books in hand").times.clear();
        let start = Instant::now();
        let mut running = JoinSet::new();
        for n in 0..(rate * length.as_secs_f64()) as u64 {
            let due = start + Duration::from_secs_f64(n as f64 / rate);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            while running.len() >= PRODUCERS_MAX {
                running.join_next().await.ok_or("just counted")???;
            }
            let (broker, n, url) = (self.broker.clone(), self.arrivals.enqueued(due), self.url.clone());
            running.spawn(async move { broker::publish(broker.as_ref(), n, &url).await });
        }
        while let Some(published) = running.join_next().await {
            published??;
        }
        self.arrived().await;
        let times =
            std::mem::take(&mut self.arrivals.books.lock().expect("no one panics with the books in hand").times);
        Ok(Times::new(times))
    }

    /// Waits until all that was enqueued is at the executor.
    async fn arrived(&self) {
        let mut ticks = interval(Duration::from_millis(5));
        loop {
            let enqueued = self.arrivals.books.lock().expect("no one panics with the books in hand").enqueued.len();
            if self.arrivals.count.load(Ordering::Relaxed) >= enqueued as u64 {
                return;
            }
            ticks.tick().await;
        }
    }

    /// Waits until everything is settled.
    async fn quiet(&self, settled: &AtomicU64) -> Result<(), Fault> {
        self.arrived().await;
        let end = Instant::now() + Duration::from_secs(60);
        while settled.load(Ordering::Relaxed) < self.arrivals.count.load(Ordering::Relaxed) {
            if Instant::now() > end {
                return Err("not everything was settled".into());
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
