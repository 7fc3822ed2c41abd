//! The system under test as a whole: started in order, looked at, ended in order. What was started here ends here; what was
//! found running is left as it was.

use super::{
    broker::{Broker, Left},
    config,
    dispatcher::{Dispatcher, StartError},
    http::Client,
    metrics::Metrics,
    process::{self, Look},
    spec::{BrokerSpec, TargetSpec},
};
use crate::{
    chaos::{Link, LinkState},
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
    time::Duration,
};

/// Limit of one request to pause a queue.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);

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
    /// A link to RabbitMQ can't be laid.
    #[error("lay a link to RabbitMQ")]
    Link(#[source] io::Error),
    /// The queues can't be paused, or don't go on.
    #[error("pause the queues: {0}")]
    Pause(String),
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
    /// RabbitMQ's, if there is one.
    url: Option<String>,
    rabbit: Option<Arc<PrivateRabbit>>,
    /// One for each dispatcher, if they can be cut.
    links: Vec<Link>,
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
            BrokerSpec::PrivateRabbit => {
                Some(Arc::new(PrivateRabbit::start().await.map_err(TargetError::PrivateRabbit)?))
            }
            _ => None,
        };
        let url = match (&spec.broker, &rabbit) {
            (BrokerSpec::Rabbit(url), _) => Some(url.clone()),
            (_, Some(rabbit)) => Some(rabbit.url()),
            _ => None,
        };
        let address = url.clone().unwrap_or_else(|| format!("embedded:{}", folder.0.join("data").display()));
        let ca = spec.ca_pem.as_ref().map(|pem| (folder.0.join("executors-ca.pem"), pem));
        if let Some((path, pem)) = &ca {
            fs::write(path, pem).map_err(|e| TargetError::Write(path.clone(), e))?;
        }
        let text = config::file(&spec, &address, ca.as_ref().map(|(path, _)| &**path));
        fs::write(&config, text).map_err(|e| TargetError::Write(config.clone(), e))?;
        let admin = match &url {
            Some(url) => Some(Arc::new(prepare(&spec, url).await?)),
            None => None,
        };
        if let Some(admin) = admin.as_ref().filter(|_| spec.external.is_empty()) {
            Broker::rabbit(admin.clone(), &spec).purge().await?;
        }
        let mut links = Vec::new();
        if let Some(url) = url.as_ref().filter(|_| spec.links) {
            for _ in 0..spec.dispatchers {
                links.push(Link::start(&host_of(url)).await.map_err(TargetError::Link)?);
            }
        }
        let dispatchers = start_dispatchers(&spec, &config, url.as_deref(), &links).await?;
        let (broker, door): (_, Arc<dyn Door>) = match (admin, &spec.broker) {
            (Some(admin), _) => {
                let door = RabbitDoor::new(admin.clone(), &spec.prefix, spec.publish_window.into());
                (Broker::rabbit(admin, &spec), Arc::new(door))
            }
            (None, broker) => {
                let api = match broker {
                    BrokerSpec::Api(api) => api,
                    _ => dispatchers[0].api().expect("a dispatcher of ours has an API"),
                };
                let client = Arc::new(Client::new(api));
                (Broker::api(client.clone()), Arc::new(ApiDoor::new(client)))
            }
        };
        Ok(Self { spec, broker, door, dispatchers, config, url, rabbit, links, _folder: folder })
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
        let dispatcher = self.starting(index).await?;
        self.put(index, dispatcher);
        Ok(())
    }

    /// The same beside the run: what becomes ready is to be [`put`](Self::put) into its place.
    pub fn starting(&self, index: usize) -> impl Future<Output = Result<Dispatcher, StartError>> + Send + 'static {
        let name = self.dispatchers[index].name().to_owned();
        let (program, config) = (self.spec.program.clone(), self.config.clone());
        let settings = settings(&self.spec, self.url.as_deref(), self.links.get(index));
        async move {
            let mut dispatcher = Dispatcher::start(&name, &program, &config, &settings).await?;
            dispatcher.ready().await?;
            Ok(dispatcher)
        }
    }

    /// Puts a dispatcher in the place of one that was killed.
    pub fn put(&mut self, index: usize, dispatcher: Dispatcher) {
        if let (BrokerSpec::Embedded, Some(api)) = (&self.spec.broker, dispatcher.api()) {
            self.broker.follow(api);
        }
        self.dispatchers[index] = dispatcher;
    }

    /// Whether every dispatcher that was not killed says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let alive = self.dispatchers.iter().filter(|dispatcher| !dispatcher.is_killed());
        futures_util::future::join_all(alive.map(Dispatcher::is_ready)).await.into_iter().all(|ready| ready)
    }

    /// SIGKILL to the broker, if it is ours: to the private node, or to the dispatcher that has it in itself.
    pub async fn kill_broker(&mut self) {
        match (&self.rabbit, &self.spec.broker) {
            (Some(rabbit), _) => {
                let rabbit = rabbit.clone();
                // It waits for the process to be gone.
                drop(tokio::task::spawn_blocking(move || rabbit.kill()).await);
            }
            (None, BrokerSpec::Embedded) => self.dispatchers[0].kill().await,
            (None, _) => {}
        }
    }

    /// Starts the private node again, beside the run; `None` if there is none.
    pub fn start_broker(&self) -> Option<impl Future<Output = Result<(), TargetError>> + Send + 'static> {
        let rabbit = self.rabbit.clone()?;
        Some(async move { rabbit.restart().await.map_err(TargetError::PrivateRabbit) })
    }

    /// Pauses every queue at every dispatcher, or lets them go on. When this returns, it is so.
    ///
    /// # Errors
    /// When one has no API that is known, or refuses.
    pub async fn pause(&self, paused: bool) -> Result<(), TargetError> {
        let ours = self.dispatchers.iter().map(Dispatcher::api);
        let apis = match &self.spec.broker {
            BrokerSpec::Api(api) => vec![Some(&**api)],
            _ => ours.collect(),
        };
        let word = if paused { "pause" } else { "resume" };
        for api in apis {
            let api = api.ok_or_else(|| TargetError::Pause("a dispatcher's API is not known".to_owned()))?;
            let client = Client::new(api);
            for queue in &self.spec.queues {
                let path = format!("/v1/queues/{}/{word}", queue.name);
                let answer = client.post(&path, "application/json", Vec::new(), PAUSE_LIMIT).await;
                let (status, text) = answer.map_err(|e| TargetError::Pause(e.to_string()))?;
                if status != 200 {
                    return Err(TargetError::Pause(format!(
                        "{path} answered {status}: {}",
                        String::from_utf8_lossy(&text)
                    )));
                }
            }
        }
        Ok(())
    }

    /// What the link of one dispatcher does from now on, or those of all.
    pub fn set_links(&self, of: Option<usize>, state: LinkState) {
        let meant = |(index, _): &(usize, &Link)| of.is_none_or(|of| of == *index);
        self.links.iter().enumerate().filter(meant).for_each(|(_, link)| link.set(state));
    }

    /// The private node, if there is one.
    pub fn rabbit(&self) -> Option<&PrivateRabbit> {
        self.rabbit.as_deref()
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

    /// Tells the ledger what became of the tasks that no executor has completed, as far as that is known while dispatchers
    /// run, and returns what is left in the queues.
    ///
    /// # Errors
    /// When the queues can't be looked through.
    pub async fn look_through(&self, book: &Book) -> Result<Option<Left>, TargetError> {
        let left = self.broker.left().await;
        self.broker.tell_ends(book).await.map_err(TargetError::Look)?;
        Ok(left)
    }

    /// Ends what was started here, without a word about tasks.
    pub async fn end(self) {
        let Self { broker, dispatchers, rabbit, links, door, _folder: folder, .. } = self;
        futures_util::future::join_all(dispatchers.into_iter().map(Dispatcher::stop)).await;
        drop((door, links));
        broker.close().await;
        // The end of a node waits for processes.
        drop(tokio::task::spawn_blocking(move || drop((rabbit, folder))).await);
    }

    /// Tells the ledger what became of the tasks that no executor has completed, ends what was started here, and returns
    /// what was left in the queues and whether every dispatcher ended well.
    ///
    /// # Errors
    /// When the queues can't be looked through.
    pub async fn finish(self, book: &Book) -> Result<(Option<Left>, bool), TargetError> {
        let Self { broker, dispatchers, rabbit, links, door, _folder: folder, .. } = self;
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
        drop((door, links));
        broker.close().await;
        if let Some(rabbit) = rabbit {
            // Its end waits for processes. Nobody else has it any more: what mends it ends before the run.
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

async fn start_dispatchers(
    spec: &TargetSpec,
    config: &Path,
    url: Option<&str>,
    links: &[Link],
) -> Result<Vec<Dispatcher>, TargetError> {
    let mut dispatchers = spec.external.iter().map(|address| Dispatcher::external(address)).collect::<Vec<_>>();
    for n in 0..spec.dispatchers {
        let name = format!("dispatcher {}", n + 1);
        let settings = settings(spec, url, links.get(n as usize));
        dispatchers.push(Dispatcher::start(&name, &spec.program, config, &settings).await?);
    }
    for dispatcher in &mut dispatchers {
        dispatcher.ready().await?;
    }
    Ok(dispatchers)
}

/// The settings of a dispatcher; with a link, that is where RabbitMQ is for it.
fn settings(spec: &TargetSpec, url: Option<&str>, link: Option<&Link>) -> Vec<String> {
    let mut settings = spec.settings.clone();
    if let (Some(url), Some(link)) = (url, link) {
        let (before, _, after) = split(url);
        settings.push(format!("broker.url=\"{before}{}{after}\"", link.address()));
    }
    settings
}

/// Host and port in an `amqp://` address.
fn host_of(url: &str) -> String {
    let (_, host, _) = split(url);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:5672") }
}

/// An address: what stands before its host and port, these, and what stands behind.
fn split(url: &str) -> (&str, &str, &str) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    let start = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&url[..start], &url[start..end], &url[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_found() {
        assert_eq!(split("amqp://me:p%40ss@host:5673/%2f"), ("amqp://me:p%40ss@", "host:5673", "/%2f"));
        assert_eq!(split("amqp://host"), ("amqp://", "host", ""));
        assert_eq!(host_of("amqp://me:x@host/v"), "host:5672");
        assert_eq!(host_of("amqp://[::1]:5/v"), "[::1]:5");
        assert_eq!(host_of("amqp://[::1]"), "[::1]:5672");
    }
}
