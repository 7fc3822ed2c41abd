//! Which way a command goes: through the API of a running program or, with `--broker`, straight to the broker.

use super::{Failure, SourceArgs, client::ApiArgs, client::Client};
use crate::{
    compose::{self, ComposeError, Engine},
    config::Config,
};
use quebert_broker_adapter::{admin::Admin, amqp::RabbitAdmin, embedded::OpenError};
use quebert_dispatcher::config::LaneConfig;
use std::sync::Arc;

/// A way to what is to be done.
pub(super) enum Way {
    /// Through the API.
    Api(Client),
    /// Straight to the broker.
    Broker(Box<Direct>),
}

/// A broker without the program around it.
pub(super) struct Direct {
    pub(super) config: Config,
    pub(super) admin: Arc<dyn Admin>,
    open: Open,
}

/// What is to be closed in the end.
enum Open {
    Rabbit(Arc<RabbitAdmin>),
    Embedded(Engine),
}

impl Way {
    /// The way that the flags ask for. Nothing is connected yet, but an embedded broker's file is opened.
    pub(super) async fn choose(sources: &SourceArgs, api: &ApiArgs) -> Result<Self, Failure> {
        if sources.broker.is_none() {
            return Ok(Self::Api(api.client(|| sources.load())?));
        }
        if api.is_given() {
            return Err(Failure::Usage("--api and --broker exclude each other".into()));
        }
        Ok(Self::Broker(Box::new(Direct::open(sources.load()?).await?)))
    }

    /// The API, for what only a running program can do.
    pub(super) fn api_only(sources: &SourceArgs, api: &ApiArgs, what: &str) -> Result<Client, Failure> {
        if sources.broker.is_some() {
            let words = format!("{what} is for a running program, not for its broker; leave out --broker");
            return Err(Failure::Usage(words));
        }
        api.client(|| sources.load())
    }
}

impl Direct {
    async fn open(config: Config) -> Result<Self, Failure> {
        let Some(folder) = config.broker.embedded.clone() else {
            let rabbit = Arc::new(super::rabbit(&config)?);
            return Ok(Self { config, admin: rabbit.clone(), open: Open::Rabbit(rabbit) });
        };
        // Nothing here needs a broker that begins with this command; most likely the folder is another one.
        if !folder.exists() {
            let words = format!("there is no embedded broker in {}: no such folder", folder.display());
            return Err(Failure::Usage(words));
        }
        let opening = tokio::task::spawn_blocking(move || (compose::engine(&config), config));
        let (engine, config) = opening.await.map_err(|e| Failure::other("open the embedded broker", e))?;
        let engine = engine.map_err(|e| match e {
            ComposeError::Embedded(OpenError::InUse { path }) => Failure::Usage(format!(
                "{} is in use by a running program: speak to its API, which leaving out --broker does",
                path.display()
            )),
            e => e.into(),
        })?;
        Ok(Self { config, admin: engine.admin.clone(), open: Open::Embedded(engine) })
    }

    /// The lane of this name.
    pub(super) fn lane(&self, name: &str) -> Result<&LaneConfig, Failure> {
        let lanes = &self.config.core.lanes;
        lanes.iter().find(|lane| &*lane.name == name).ok_or_else(|| {
            let names: Vec<_> = lanes.iter().map(|lane| &*lane.name).collect();
            Failure::Usage(format!("there is no queue {name:?}; there are {}", names.join(", ")))
        })
    }

    /// Ends in an orderly way.
    pub(super) async fn close(self) {
        match self.open {
            Open::Rabbit(rabbit) => rabbit.close().await,
            Open::Embedded(engine) => {
                engine.broker.stop().await;
                engine.close().await;
            }
        }
    }
}
