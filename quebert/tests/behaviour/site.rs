//! Where a test takes place: queues of its own on the shared node, a dispatcher over them, and a producer.

use crate::recorder::{Recorder, Seen};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quebert::{App, Broker, Config, Message, Running, Summary, Target, compose};
use quebert_broker_adapter::{
    amqp::{RIPE_AFTER, RabbitAdmin},
    testing::PrivateRabbit,
};
use quebert_dispatcher::grid::Step;
use std::{
    ops::Deref,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard, watch},
    time::timeout,
};

/// Far beyond what anything takes that must happen.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// No test here has longer delays.
const DELAYS_LOOKED_AT: Duration = Duration::from_secs(128);

/// One node for all tests here. Its guard ends it with this process.
static NODE: OnceCell<PrivateRabbit> = OnceCell::const_new();

/// Tests that measure time run alone, others together.
static FLOOR: RwLock<()> = RwLock::const_new(());

pub(crate) async fn node() -> &'static PrivateRabbit {
    NODE.get_or_init(|| async { PrivateRabbit::start().await.expect("a private RabbitMQ node") }).await
}

#[expect(dead_code, reason = "held, not read")]
enum Turn {
    Together(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Queues and a producer. The lanes are those of the shipped defaults, unless the test's own config defines others.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) admin: Arc<RabbitAdmin>,
    _turn: Turn,
}

impl Site {
    /// Queues whose names begin with `name`, declared; the rest of the config is `toml` (dotted keys) over the shipped
    /// defaults, with executors on loopback allowed.
    pub(crate) async fn new(name: &str, toml: &str) -> Self {
        let turn = Turn::Together(FLOOR.read().await);
        Self::with(name, &format!("http.guard.allow = [\"127.0.0.0/8\"]\n{toml}"), turn).await
    }

    /// The same, with no other test running at the same time.
    pub(crate) async fn alone(name: &str, toml: &str) -> Self {
        let turn = Turn::Alone(FLOOR.write().await);
        Self::with(name, &format!("http.guard.allow = [\"127.0.0.0/8\"]\n{toml}"), turn).await
    }

    async fn with(name: &str, toml: &str, turn: Turn) -> Self {
        let url = node().await.url();
        let text = format!("broker.url = {url:?}\ntopology.prefix = {name:?}\n{toml}");
        let config = Config::from_toml(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let admin = RabbitAdmin::connect(compose::rabbit_config(&config).unwrap()).await.unwrap();
        for report in admin.apply().await.unwrap() {
            assert!(report.state.is_usable(), "{report:?}");
        }
        Self { config, admin: Arc::new(admin), _turn: turn }
    }

    /// The broker's name of a lane's queue.
    pub(crate) fn queue(&self, lane: &str) -> String {
        let lane = self.config.core.lanes.iter().find(|l| &*l.name == lane);
        lane.expect("a lane of this config").queue.to_string()
    }

    /// A dispatcher, with its lanes open.
    pub(crate) async fn run(&self) -> Dispatching {
        self.run_app(App::new(self.config.clone())).await
    }

    /// The same, with a delay queue that is old enough to be relied on from the first task on. RabbitMQ tells of no moment
    /// from which that is so, and the adapter goes by age.
    pub(crate) async fn run_settled(&self) -> Dispatching {
        let dispatching = self.run().await;
        let first = Target::Delay(Step::FIRST);
        eventually("the first delay queue", async || self.admin.depth(&first).await.is_some()).await;
        tokio::time::sleep(RIPE_AFTER + Duration::from_millis(200)).await;
        dispatching
    }

    /// The same over this broker.
    pub(crate) async fn run_over(&self, broker: impl Broker) -> Dispatching {
        self.run_app(App::new(self.config.clone()).broker(broker)).await
    }

    async fn run_app(&self, app: App) -> Dispatching {
        let (sender, seen) = watch::channel(Seen::default());
        let running = app.observer(Recorder(sender)).start().unwrap();
        let dispatching = Dispatching { running, seen };
        let lanes = self.config.core.lanes.len();
        dispatching.until("lanes open", |seen| seen.lanes_open.values().filter(|open| **open).count() == lanes).await;
        dispatching
    }

    /// Publishes to a lane's queue, confirmed.
    pub(crate) async fn publish(&self, lane: &str, message: Message) {
        self.admin.publish_to("", &self.queue(lane), &message).await.unwrap();
    }

    /// The same for many, in about this order.
    pub(crate) async fn publish_all(&self, lane: &str, messages: impl IntoIterator<Item = Message>) {
        let queue = self.queue(lane);
        let publish = |message: Message| {
            let (admin, queue) = (self.admin.clone(), queue.clone());
            async move { admin.publish_to("", &queue, &message).await }
        };
        stream::iter(messages).map(publish).buffer_unordered(16).try_collect::<Vec<()>>().await.unwrap();
    }

    /// How many messages wait; panics if there is no such queue.
    pub(crate) async fn depth(&self, target: Target) -> u64 {
        self.admin.depth(&target).await.unwrap_or_else(|| panic!("no such queue: {target:?}")).ready
    }

    /// Waits until so many dead letters of a lane are there, and returns them.
    pub(crate) async fn dead(&self, lane: &str, n: usize) -> Vec<Message> {
        let queue = self.queue(lane);
        eventually("dead letters", async || self.depth(Target::Dead(queue.as_str().into())).await == n as u64).await;
        let dead_queue = compose::topology(&self.config).dead_queue_of(&queue);
        self.admin.browse(&dead_queue, n as u64).await.unwrap()
    }
}

/// A dispatcher at work.
pub(crate) struct Dispatching {
    pub(crate) running: Running,
    seen: watch::Receiver<Seen>,
}

impl Dispatching {
    /// What it has done so far.
    pub(crate) fn seen(&self) -> impl Deref<Target = Seen> {
        self.seen.borrow()
    }

    /// Waits until it has done what is wanted.
    pub(crate) async fn until(&self, what: &str, mut wanted: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        let reached = timeout(LONG, seen.wait_for(|seen| wanted(seen))).await;
        assert!(reached.is_ok(), "not within {LONG:?}: {what}; seen: {:?}", self.brief());
        drop(reached);
    }

    /// Waits until so many tasks are over.
    pub(crate) async fn until_over(&self, n: u64) {
        self.until(&format!("{n} tasks over"), |seen| seen.over() >= n).await;
    }

    /// What it has done so far, for people.
    pub(crate) fn brief(&self) -> String {
        let seen = self.seen.borrow();
        format!(
            "delivered {}, settled {:?}, attempts {}, sending {}, retries {:?}, published {:?}, failed {:?}, \
             disconnects {:?}, buried {:?}",
            seen.delivered,
            seen.settled,
            seen.attempts.len(),
            seen.sending,
            seen.retries,
            seen.published,
            seen.failed_publishes,
            seen.disconnects,
            seen.buried.iter().take(5).collect::<Vec<_>>(),
        )
    }

    /// Drains, and checks the books: every delivery is settled once, and the summary, the events and the broker agree.
    pub(crate) async fn end(self, site: &Site) -> Summary {
        let disturbed = !self.seen().disconnects.is_empty();
        let summary = self.stop().await;
        if disturbed {
            return summary; // A second copy may still wait for its moment.
        }
        let lanes = site.config.core.lanes.iter().map(|lane| Target::Queue(lane.queue.clone()));
        let delays = Step::all().filter(|step| step.length() <= DELAYS_LOOKED_AT).map(Target::Delay);
        for target in lanes.chain(delays) {
            // What a quorum queue tells of itself may be a moment old.
            let deadline = Instant::now() + LONG;
            while site.admin.depth(&target).await.is_some_and(|depth| depth.ready > 0) {
                if Instant::now() > deadline {
                    let name = match &target {
                        Target::Delay(step) => compose::topology(&site.config).delay_queue(*step),
                        Target::Queue(queue) | Target::Dead(queue) => queue.to_string(),
                    };
                    let left = site.admin.browse(&name, 5).await.unwrap();
                    let left: Vec<_> =
                        left.iter().map(|message| (&message.id, &message.headers, &message.body)).collect();
                    panic!("left in {target:?} after {summary:?}: {left:?}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        summary
    }

    /// The same, where tasks may be left at the broker.
    pub(crate) async fn stop(mut self) -> Summary {
        self.running.handle.drain(Duration::from_secs(30));
        let summary = timeout(LONG, self.running.end()).await.expect("a drain ends");
        assert_eq!(summary.held, 0, "held after a drain: {summary:?}");
        assert_eq!(summary.deliveries, summary.settlements.values().sum::<u64>(), "deliveries and settlements");
        let seen = self.seen.borrow();
        assert_eq!((seen.delivered, &seen.settled), (summary.deliveries, &summary.settlements), "events and summary");
        summary
    }
}

/// Asks until the answer is yes.
pub(crate) async fn eventually(what: &str, mut yes: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !yes().await {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
