//! The system under test as a whole: started in order, looked at, ended in order. What was started here ends here; what was
//! found running is left as it was.

use super::{
    broker::{Broker, Left},
    config,
    dispatcher::{Dispatcher, StartError},
    metrics::Metrics,
    process::{self, Look},
    spec::{BrokerSpec, TargetSpec},
};
use crate::{
    ledger::Book,
    publish::{ApiDoor, Door, RabbitDoor},
};
use quebert_broker_adapter::{
    admin::AdminError,
    amqp::{OpenError, RabbitAdmin},
    testing::PrivateRabbit,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Why there is no system to test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A folder or a config can't be written.
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// RabbitMQ does not start.
    #[error("start a private RabbitMQ node")]
    PrivateRabbit(#[source] io::Error),
    /// RabbitMQ can't be reached.
    #[error("connect to RabbitMQ")]
    Rabbit(#[from] OpenError),
    /// Something can't be asked of it.
    #[error("prepare the queues")]
    Prepare(#[from] AdminError),
    /// A dispatcher does not start.
    #[error(transparent)]
    Dispatcher(#[from] StartError),
    /// The broker could not be looked through after the run.
    #[error("look through the queues")]
    Look(#[source] io::Error),
}

/// A system under test that runs.
pub struct Target {
    spec: TargetSpec,
    broker: Broker,
    door: Arc<dyn Door>,
    dispatchers: Vec<Dispatcher>,
    config: PathBuf,
    rabbit: Option<PrivateRabbit>,
    /// Last, so that it goes last.
    _folder: Folder,
}

/// A folder that ends with its guard.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed stays in the system's folder of temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Target {
    /// Starts what is to be started, and waits until every dispatcher is ready.
    ///
    /// # Errors
    /// What did not start.
    pub async fn start(spec: TargetSpec, tag: &str) -> Result<Self, TargetError> {
        let folder = Folder(std::env::temp_dir().join(format!("quebert-loadtest-{}-{tag}", std::process::id())));
        fs::create_dir_all(&folder.0).map_err(|e| TargetError::Write(folder.0.clone(), e))?;
        let config = folder.0.join("quebert.toml");
        let rabbit = match spec.broker {
            BrokerSpec::PrivateRabbit => Some(PrivateRabbit::start().await.map_err(TargetError::PrivateRabbit)?),
            _ => None,
        };
        let url = match (&spec.broker, &rabbit) {
            (BrokerSpec::Rabbit(url), _) => Some(url.clone()),
            (_, Some(rabbit)) => Some(rabbit.url()),
            _ => None,
        };
        let address = url.clone().unwrap_or_else(|| format!("embedded:{}", folder.0.join("data").display()));
        let text = config::file(&spec, &address);
        fs::write(&config, text).map_err(|e| TargetError::Write(config.clone(), e))?;
        let admin = match &url {
            Some(url) => Some(Arc::new(prepare(&spec, url).await?)),
            None => None,
        };
        if let Some(admin) = admin.as_ref().filter(|_| spec.external.is_empty()) {
            Broker::rabbit(admin.clone(), &spec).purge().await?;
        }
        let dispatchers = start_dispatchers(&spec, &config).await?;
        let (broker, door): (_, Arc<dyn Door>) = match (admin, &spec.broker) {
            (Some(admin), _) => {
                let door = RabbitDoor::new(admin.clone(), &spec.prefix, spec.publish_window.into());
                (Broker::rabbit(admin, &spec), Arc::new(door))
            }
            (None, BrokerSpec::Api(api)) => (Broker::api(api), Arc::new(ApiDoor::new(api))),
            (None, _) => {
                let api = dispatchers[0].api().expect("a dispatcher of ours has an API");
                (Broker::api(api), Arc::new(ApiDoor::new(api)))
            }
        };
        Ok(Self { spec, broker, door, dispatchers, config, rabbit, _folder: folder })
    }

    /// The way in.
    pub fn door(&self) -> Arc<dyn Door> {
        self.door.clone()
    }

    /// The dispatchers.
    pub fn dispatchers(&self) -> &[Dispatcher] {
        &self.dispatchers
    }

    /// The dispatchers, to be killed.
    pub fn dispatchers_mut(&mut self) -> &mut [Dispatcher] {
        &mut self.dispatchers
    }

    /// Starts a dispatcher in the place of one that was killed.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub async fn restart(&mut self, index: usize) -> Result<(), StartError> {
        let name = self.dispatchers[index].name().to_owned();
        let mut dispatcher = Dispatcher::start(&name, &self.spec.program, &self.config, &self.spec.settings).await?;
        dispatcher.ready().await?;
        self.dispatchers[index] = dispatcher;
        Ok(())
    }

    /// The private node, if there is one.
    pub fn rabbit(&self) -> Option<&PrivateRabbit> {
        self.rabbit.as_ref()
    }

    /// What each dispatcher says of itself now; `None` for one that doesn't answer.
    pub async fn metrics(&self) -> Vec<Option<Metrics>> {
        futures_util::future::join_all(self.dispatchers.iter().map(Dispatcher::metrics)).await
    }

    /// What the kernel knows of each process that was started here, by name.
    pub fn looks(&self) -> Vec<(String, Look)> {
        let of = |d: &Dispatcher| Some((d.name().to_owned(), d.look()?));
        let broker =
            self.rabbit.as_ref().and_then(|rabbit| Some(("rabbitmq".to_owned(), process::look(rabbit.pid()?)?)));
        self.dispatchers.iter().filter_map(of).chain(broker).collect()
    }

    /// What is in the queues, as far as that is quickly told.
    pub async fn left(&self) -> Option<Left> {
        self.broker.left().await
    }

    /// Tells the ledger what became of the tasks that no executor has completed, ends what was started here, and returns
    /// what was left in the queues and whether every dispatcher ended well.
    ///
    /// # Errors
    /// When the queues can't be looked through.
    pub async fn finish(self, book: &Book) -> Result<(Option<Left>, bool), TargetError> {
        let Self { broker, dispatchers, rabbit, door, _folder: folder, .. } = self;
        // The API ends with its dispatcher, and RabbitMQ knows all only when nobody holds anything.
        let api = matches!(broker, Broker::Api { .. });
        let mut left = None;
        if api {
            left = broker.left_everywhere().await;
            broker.tell_ends(book).await.map_err(TargetError::Look)?;
        }
        let mut well = true;
        for stopped in futures_util::future::join_all(dispatchers.into_iter().map(Dispatcher::stop)).await {
            well &= stopped;
        }
        if !api {
            left = broker.left_everywhere().await;
            broker.tell_ends(book).await.map_err(TargetError::Look)?;
        }
        drop(door);
        broker.close().await;
        if let Some(rabbit) = rabbit {
            // Its end waits for processes.
            drop(tokio::task::spawn_blocking(move || drop(rabbit)).await);
        }
        drop(folder);
        Ok((left, well))
    }
}

/// Connects; and if the queues are ours, declares and empties them.
async fn prepare(spec: &TargetSpec, url: &str) -> Result<RabbitAdmin, TargetError> {
    let admin = RabbitAdmin::connect(config::rabbit(spec, url)).await?;
    if spec.external.is_empty() {
        admin.apply().await?;
    }
    Ok(admin)
}

async fn start_dispatchers(spec: &TargetSpec, config: &Path) -> Result<Vec<Dispatcher>, TargetError> {
    let mut dispatchers = spec.external.iter().map(|address| Dispatcher::external(address)).collect::<Vec<_>>();
    for n in 1..=spec.dispatchers {
        let name = format!("dispatcher {n}");
        dispatchers.push(Dispatcher::start(&name, &spec.program, config, &spec.settings).await?);
    }
    for dispatcher in &mut dispatchers {
        dispatcher.ready().await?;
    }
    Ok(dispatchers)
}
