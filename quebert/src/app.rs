//! Puts a dispatcher together: broker, transport, mediators and observers, from one config. It does no work of its own.

use crate::{
    compose::{self, ComposeError},
    config::Config,
    health::Health,
    logs::Logs,
    metrics::Metrics,
};
use quebert_dispatcher::{
    ports::{
        broker::{Broker, Target},
        mediator::Mediator,
        observer::Observer,
        transport::Transport,
    },
    shell::{Builder, Dispatcher, Handle, Summary},
};
use quebert_wire::Codecs;
use std::sync::Arc;
use tokio::task::JoinHandle;

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
    broker: Option<Arc<dyn Broker>>,
    transport: Option<Arc<dyn Transport>>,
    steps: Vec<Step>,
    hooks: Vec<String>,
}

type Step = Box<dyn FnOnce(Builder) -> Builder + Send>;

impl App {
    /// What the config says, and nothing else.
    pub fn new(config: Config) -> Self {
        Self { config, broker: None, transport: None, steps: Vec::new(), hooks: Vec::new() }
    }

    /// Another broker than the config's, such as a [`MemoryBroker`](crate::MemoryBroker).
    #[must_use]
    pub fn broker(mut self, broker: impl Broker) -> Self {
        self.broker = Some(Arc::new(broker));
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

    /// Starts it; must be called within a tokio runtime. Returns at once: a broker that can't be reached is tried until
    /// it can.
    ///
    /// # Errors
    /// When files that the config names can't be read or used.
    pub fn start(self) -> Result<Running, ComposeError> {
        let Self { config, broker, transport, steps, hooks } = self;
        let broker = match broker {
            Some(broker) => broker,
            None => compose::broker(&config)?,
        };
        let transport = match transport {
            Some(transport) => transport,
            None => compose::transport(&config)?,
        };
        let health = Arc::new(Health::new(config.core.lanes.iter().map(|l| l.name.clone())));
        let metrics = Arc::new(Metrics::new(&config.core.lanes, config.metrics_max_destinations, health.clone()));
        metrics.hooks(&hooks.iter().map(String::as_str).collect::<Vec<_>>());
        let mut builder = Dispatcher::builder(config.core.clone(), broker.clone(), transport)
            .hook_timeout(config.hook_timeout)
            .observer(Logs)
            .observer(health.clone())
            .observer(metrics.clone());
        if let Some(signer) = compose::signer(&config) {
            builder = builder.signer(signer);
        }
        let dispatcher = steps.into_iter().fold(builder, |builder, step| step(builder)).build();
        let handle = dispatcher.handle();
        Ok(Running { dispatcher: tokio::spawn(dispatcher.run()), handle, broker, metrics, health, config })
    }
}

/// A dispatcher that runs. It ends when it is drained or stopped, not when this is dropped.
pub struct Running {
    dispatcher: JoinHandle<Summary>,
    /// Steers it.
    pub handle: Handle,
    /// Its broker, to publish to.
    pub broker: Arc<dyn Broker>,
    /// Its metrics.
    pub metrics: Arc<Metrics>,
    /// Whether it is ready.
    pub health: Arc<Health>,
    /// What it was started with.
    pub config: Config,
}

impl Running {
    /// Waits for its end.
    ///
    /// # Panics
    /// With the dispatcher's own panic, if it had one.
    pub async fn end(&mut self) -> Summary {
        match (&mut self.dispatcher).await {
            Ok(summary) => summary,
            Err(e) => match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(e) => panic!("nobody aborts the dispatcher's task: {e}"),
            },
        }
    }

    /// Runs until SIGINT or SIGTERM, then drains for at most `drain.grace`.
    pub async fn until_signal(mut self) -> Summary {
        let mut signals = crate::signals::Signals::new();
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
        let (broker, metrics, interval) = (self.broker.clone(), self.metrics.clone(), self.config.depth_interval);
        let lanes: Vec<_> = self.config.core.lanes.iter().map(|l| (l.name.clone(), l.queue.clone())).collect();
        async move {
            let depths = async {
                loop {
                    for (lane, queue) in &lanes {
                        let ready = broker.depth(Target::Queue(queue.clone())).await;
                        let dead = broker.depth(Target::Dead(queue.clone())).await;
                        metrics.depth(lane, ready, dead);
                    }
                    tokio::time::sleep(interval).await;
                }
            };
            let lag = async {
                loop {
                    let due = tokio::time::Instant::now() + std::time::Duration::from_millis(500);
                    tokio::time::sleep_until(due).await;
                    metrics.timer_lag(due.elapsed());
                }
            };
            tokio::join!(depths, lag);
        }
    }
}
