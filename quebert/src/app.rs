//! Puts a dispatcher together: broker, transport, mediators and observers, from one config. It does no work of its own.

use crate::{
    api::{board::Board, feed::Feed, state::ApiState},
    compose::{self, ComposeError, Engine},
    config::{Config, Current},
    health::Health,
    intake::now,
    logs::Logs,
    metrics::{Metrics, Waiting},
};
use quebert_broker_adapter::{
    admin::{Admin, Place, PlaceStatus},
    embedded::{self, Look},
};
use quebert_dispatcher::{
    config::CoreConfig,
    ports::{
        broker::{Broker, Target},
        mediator::Mediator,
        observer::Observer,
        transport::Transport,
    },
    shell::{Builder, Dispatcher, Handle, Summary},
};
use quebert_wire::Codecs;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::{JoinError, JoinHandle};
use tracing::warn;

/// How long the last spans may take to reach their collector, once the dispatcher has ended.
const SPANS_GRACE: Duration = Duration::from_secs(3);

/// A dispatcher to be: the config's, with your own mediators, observers and codecs.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use quebert::{App, Config, MemoryBroker};
///
/// let config = Config::from_toml("[lanes.mail]\nslots_max = 5\n[http.guard]\nenabled = false")?;
/// let app = App::new(config).broker(MemoryBroker::new()).start()?;
/// app.until_signal().await;
/// # Ok(())
/// # }
/// ```
pub struct App {
    config: Config,
    engine: Option<Engine>,
    admin: Option<Arc<dyn Admin>>,
    transport: Option<Arc<dyn Transport>>,
    steps: Vec<Step>,
    hooks: Vec<String>,
}

type Step = Box<dyn FnOnce(Builder) -> Builder + Send>;

impl App {
    /// What the config says, and nothing else.
    pub fn new(config: Config) -> Self {
        Self { config, engine: None, admin: None, transport: None, steps: Vec::new(), hooks: Vec::new() }
    }

    /// Another broker than the config's, such as a [`MemoryBroker`](crate::MemoryBroker). Unless there is an
    /// [`admin`](Self::admin) as well, operators can only enqueue and see depths: [`BareAdmin`](crate::BareAdmin).
    #[must_use]
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.engine = Some(Engine::bare(Arc::new(broker)));
        self
    }

    /// Another operators' side than the broker's own.
    #[must_use]
    pub fn admin(mut self, admin: impl Admin) -> Self {
        self.admin = Some(Arc::new(admin));
        self
    }

    /// A broker that was [opened](compose::engine) elsewhere, from both of its sides.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Another transport than the one over hyper.
    #[must_use]
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Adds a mediator; see [`Mediator`]. Several are asked in the order in which they were added.
    #[must_use]
    pub fn mediator(mut self, mediator: impl Mediator) -> Self {
        self.hooks.push(mediator.name().to_owned());
        self.steps.push(Box::new(move |builder| builder.mediator(mediator)));
        self
    }

    /// Adds an observer besides the logs and the metrics.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.steps.push(Box::new(move |builder| builder.observer(observer)));
        self
    }

    /// Other codecs than JSON and MessagePack.
    #[must_use]
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.steps.push(Box::new(move |builder| builder.codecs(codecs)));
        self
    }

    /// Starts it; must be called within a tokio runtime. Returns at once if the broker is RabbitMQ, which is tried until
    /// it can be reached. An embedded broker's file is opened here, which blocks for as long as its recovery takes; where
    /// that matters, open it elsewhere and bring it along by [`engine`](Self::engine).
    ///
    /// # Errors
    /// When files that the config names can't be read or used.
    pub fn start(self) -> Result<Running, ComposeError> {
        let Self { config, engine, admin, transport, steps, hooks } = self;
        let engine = match engine {
            Some(engine) => engine,
            None => compose::engine(&config)?,
        };
        let engine = match admin {
            Some(admin) => engine.with_admin(admin),
            None => engine,
        };
        let transport = match transport {
            Some(transport) => transport,
            None => compose::transport(&config)?,
        };
        let (transport, exporting) = compose::traced(transport, &config)?;
        let health = Arc::new(Health::new(config.core.lanes.iter().map(|l| l.name.clone())));
        let (lanes, most) = (&config.core.lanes, config.metrics_max_destinations);
        let metrics = Arc::new(Metrics::with_slos(lanes, most, &config.metrics_slo, health.clone(), now()));
        metrics.hooks(&hooks.iter().map(String::as_str).collect::<Vec<_>>());
        let board = Arc::new(Board::new(config.core.lanes.iter().map(|lane| lane.name.clone())));
        let feed = Arc::new(Feed::default());
        let mut builder = Dispatcher::builder(config.core.clone(), engine.broker.clone(), transport)
            .hook_timeout(config.hook_timeout)
            .observer(Logs)
            .observer(health.clone())
            .observer(metrics.clone())
            .observer(board.clone())
            .observer(feed.clone());
        if let Some(signer) = compose::signer(&config) {
            builder = builder.signer(signer);
        }
        let dispatcher = steps.into_iter().fold(builder, |builder, step| step(builder)).build();
        let handle = dispatcher.handle();
        let config = Arc::new(config);
        let paused = pause_as_before(engine.admin.clone(), handle.clone(), config.clone());
        let dispatcher = tokio::spawn(async move {
            // First, so that not a single task of a paused lane is taken.
            paused.await;
            dispatcher.run().await
        });
        let (broker, admin) = (engine.broker.clone(), engine.admin.clone());
        let started = Instant::now();
        Ok(Running {
            dispatcher,
            ended: None,
            handle,
            broker,
            admin,
            engine,
            metrics,
            health,
            board,
            feed,
            core: Current::new(config.core.clone()),
            config,
            started,
            exporting,
        })
    }
}

/// Pauses the lanes that the broker remembers as paused.
async fn pause_as_before(admin: Arc<dyn Admin>, handle: Handle, config: Arc<Config>) {
    if !admin.abilities().durable_pause {
        return;
    }
    match admin.paused().await {
        Ok(queues) => {
            for lane in config.core.lanes.iter().filter(|lane| queues.contains(&lane.queue)) {
                handle.pause(&lane.name);
            }
        }
        Err(error) => warn!(%error, "which lanes are paused is not known; all of them start"),
    }
}

/// A dispatcher that runs. It ends when it is drained or stopped, not when this is dropped.
pub struct Running {
    dispatcher: JoinHandle<Summary>,
    /// How the dispatcher ended, once it has: a handle tells that only once.
    ended: Option<Result<Summary, JoinError>>,
    /// Steers it.
    pub handle: Handle,
    /// Its broker, to publish to.
    pub broker: Arc<dyn Broker>,
    /// The operators' side of its broker.
    pub admin: Arc<dyn Admin>,
    engine: Engine,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Whether it is ready.
    pub health: Arc<Health>,
    /// Live figures of its lanes and destinations.
    pub board: Arc<Board>,
    /// What happens in it.
    pub feed: Arc<Feed>,
    /// What it was started with.
    pub config: Arc<Config>,
    core: Current,
    started: Instant,
    /// Sends spans as long as the dispatcher makes some.
    exporting: Option<JoinHandle<()>>,
}

impl Running {
    /// What the HTTP API works with.
    pub fn api_state(&self) -> ApiState {
        ApiState {
            config: self.config.clone(),
            core: self.core.clone(),
            admin: self.admin.clone(),
            handle: self.handle.clone(),
            health: self.health.clone(),
            board: self.board.clone(),
            feed: self.feed.clone(),
            metrics: self.metrics.clone(),
            started: self.started,
        }
    }

    /// Takes over what may change while it runs, wherever it is gone by: in the dispatcher, the API and the metrics. See
    /// [`Handle::reconfigure`].
    pub fn reconfigure(&self, next: CoreConfig) {
        self.metrics.limits(&next.lanes);
        // First, so that nothing is taken in that the dispatcher would bury by its old limits.
        self.handle.reconfigure(next.clone());
        self.core.reload(next);
    }

    /// Waits for its end. Whoever stops waiting, as a `select!` does, may wait again.
    ///
    /// # Panics
    /// With the dispatcher's own panic, if it had one.
    pub async fn end(&mut self) -> Summary {
        if self.ended.is_none() {
            self.ended = Some((&mut self.dispatcher).await);
        }
        if let Some(exporting) = &mut self.exporting {
            if tokio::time::timeout(SPANS_GRACE, exporting).await.is_err() {
                warn!("the collector takes too long; the last spans are lost");
            }
            self.exporting = None;
        }
        match self.ended.take().expect("it is put there above") {
            Ok(summary) => {
                self.ended = Some(Ok(summary.clone()));
                summary
            }
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(e) => panic!("nobody aborts the dispatcher's task: {e}"),
            },
        }
    }

    /// Closes an embedded broker's file, once the dispatcher has ended: see [`Engine::close`].
    pub async fn close(self) {
        self.engine.close().await;
    }

    /// Runs until SIGINT or SIGTERM, then drains for at most `drain.grace`, and closes what is open.
    pub async fn until_signal(mut self) -> Summary {
        let mut signals = crate::signals::Signals::new();
        let summary = self.until_ended(&mut signals).await;
        self.close().await;
        summary
    }

    async fn until_ended(&mut self, signals: &mut crate::signals::Signals) -> Summary {
        let grace = self.config.drain_grace;
        tokio::select! {
            summary = self.end() => return summary,
            _ = signals.stop() => self.handle.drain(grace),
        }
        tokio::select! {
            summary = self.end() => return summary,
            _ = signals.stop() => self.handle.stop_now(),
        }
        self.end().await
    }

    /// Asks the broker, again and again, how much waits, and measures how late timers fire. Runs until it is dropped.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        let (broker, admin) = (self.broker.clone(), self.admin.clone());
        let (metrics, config) = (self.metrics.clone(), self.config.clone());
        async move {
            let depths = async {
                loop {
                    for lane in &config.core.lanes {
                        let ready = broker.depth(Target::Queue(lane.queue.clone())).await;
                        let dead = broker.depth(Target::Dead(lane.queue.clone())).await;
                        metrics.depth(&lane.name, ready, dead);
                        if !admin.abilities().ages {
                            if let Some(depth) = ready {
                                metrics.head_age(&lane.name, depth.ready, now());
                            }
                        } else if let Ok(status) = admin.status(Place::Queue(lane.queue.clone())).await {
                            metrics.waiting(&lane.name, &waiting(&status));
                        }
                    }
                    if let Some(folder) = &config.broker.embedded
                        && let Ok(Look { bytes: Some(bytes), .. }) = embedded::look(folder)
                    {
                        metrics.store_bytes(bytes);
                    }
                    tokio::time::sleep(config.depth_interval).await;
                }
            };
            let lag = async {
                loop {
                    let due = tokio::time::Instant::now() + Duration::from_millis(500);
                    tokio::time::sleep_until(due).await;
                    metrics.timer_lag(due.elapsed());
                }
            };
            tokio::join!(depths, lag);
        }
    }
}

/// As metrics tell it.
fn waiting(status: &PlaceStatus) -> Waiting {
    let head_age = status.oldest.map_or(Duration::ZERO, |oldest| now().since(oldest));
    Waiting { delayed: status.delayed, bytes: status.bytes, head_age }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_dispatcher::memory::MemoryBroker;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_reload_reaches_the_api() {
        let core = |toml: &str| Config::from_toml(toml).unwrap();
        let mut running = App::new(core("[lanes.a]\nwindow = 20")).broker(MemoryBroker::new()).start().unwrap();
        let api = running.api_state();
        let next = "[lanes.a]\nslots_max = 17\nwindow = 40\n[lanes.b]\n[limits]\nurl_bytes = 99\n[pool]\nslots = 77";
        running.reconfigure(core(next).core);
        let now = api.core.now();
        assert_eq!((now.limits.url_bytes, now.slots_shared, now.lanes[0].slots_max), (99, 77, 17));
        assert_eq!((now.lanes.len(), now.lanes[0].window), (1, 20), "what needs a restart stays");
        running.handle.stop_now();
        running.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stopped_waiting_for_the_end_may_wait_again() {
        let config = Config::from_toml("").unwrap();
        let mut running = App::new(config).broker(MemoryBroker::new()).start().unwrap();
        running.exporting = Some(tokio::spawn(std::future::pending()));
        running.handle.stop_now();
        // The dispatcher has ended by then, and its spans are still on their way.
        assert!(timeout(SPANS_GRACE / 2, running.end()).await.is_err());
        assert!(running.dispatcher.is_finished() && running.exporting.is_some());
        assert_eq!(running.end().await.held, 0);
        assert_eq!(running.end().await.held, 0);
    }
}
