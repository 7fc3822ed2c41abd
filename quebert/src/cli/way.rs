//! Which way a command goes: through the API of a running program or, with `--broker`, straight to the broker.

use super::{Failure, SourceArgs, client::ApiArgs, client::Client};
use crate::config::Config;
use quebert_broker_adapter::{admin::Admin, amqp::RabbitAdmin};
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
    rabbit: Option<Arc<RabbitAdmin>>,
}

impl Way {
    /// The way that the flags ask for. Nothing is connected yet.
    pub(super) fn choose(sources: &SourceArgs, api: &ApiArgs) -> Result<Self, Failure> {
        if sources.broker.is_none() {
            return Ok(Self::Api(api.client(|| sources.load())?));
        }
        if api.is_given() {
            return Err(Failure::Usage("--api and --broker exclude each other".into()));
        }
        Ok(Self::Broker(Box::new(Direct::new(sources.load()?)?)))
    }

    /// The API, for what only a running program can do.
    pub(super) fn api_only(sources: &SourceArgs, api: &ApiArgs, what: &str) -> Result<Client, Failure> {
        match Self::choose(sources, api)? {
            Self::Api(client) => Ok(client),
            Self::Broker(_) => {
                Err(Failure::Usage(format!("{what} is for a running program, not for its broker; leave out --broker")))
            }
        }
    }
}

impl Direct {
    fn new(config: Config) -> Result<Self, Failure> {
        let rabbit = Arc::new(super::rabbit(&config)?);
        Ok(Self { config, admin: rabbit.clone(), rabbit: Some(rabbit) })
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
        if let Some(rabbit) = self.rabbit {
            rabbit.close().await;
        }
    }
}
