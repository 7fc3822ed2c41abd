//! Known bugs, planted to show that the judge sees: those of the dispatcher's own code are behind its switches; here are
//! the ones that an adapter may have, put around the port of the broker, and the campaign that looks for each of them. No
//! program has any of it: it is behind the feature `planted`.

mod broker;
mod campaign;
#[cfg(test)]
mod tests;

pub use campaign::{Found, SMALL, Search, look_for, median};

use crate::{case::Case, run::Setup};
use broker::PlantedBroker;
use quebert_dispatcher::{
    planted::{Bug, is},
    ports::broker::Broker,
};
use std::sync::Arc;

/// The bugs that are planted here.
const OF_ADAPTERS: [Bug; 6] = [
    Bug::StaleTag,
    Bug::ConsumedTwice,
    Bug::WindowForgotten,
    Bug::LastAcksLost,
    Bug::LaneNotReopened,
    Bug::PublishUnconfirmed,
];

/// What a world needs for the bug that is planted on this thread, whichever that is.
pub fn setup(case: &Case) -> Setup {
    let spec = case.world.broker.clone();
    let Some(bug) = OF_ADAPTERS.into_iter().find(|bug| is(*bug)) else { return Setup::default() };
    let wrap = move |env: &crate::env::Env, inner: Arc<dyn Broker>| -> Arc<dyn Broker> {
        Arc::new(PlantedBroker::new(bug, env.clone(), spec.clone(), inner))
    };
    Setup { broker: Some(Arc::new(wrap)), ..Setup::default() }
}
