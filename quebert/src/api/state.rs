//! What every handler of the API works with. Made in one place, by the app.

use super::{board::Board, feed::Feed};
use crate::{
    config::{Config, Current},
    health::Health,
};
use quebert_broker_adapter::admin::Admin;
use quebert_dispatcher::shell::Handle;
use quebert_metrics::Metrics;
use std::{sync::Arc, time::Instant};

/// Shared by all handlers.
#[derive(Clone)]
pub struct ApiState {
    /// As the program was started with it.
    pub config: Arc<Config>,
    /// The core's part of it with what was reloaded since: lanes, slots and limits are looked up here.
    pub core: Current,
    /// The operators' side of the broker.
    pub admin: Arc<dyn Admin>,
    /// Steers the dispatcher.
    pub handle: Handle,
    /// Whether it is ready.
    pub health: Arc<Health>,
    /// Figures of lanes and destinations; observes the dispatcher.
    pub board: Arc<Board>,
    /// What happens, as it happens; observes the dispatcher.
    pub feed: Arc<Feed>,
    /// Where the broker's answers to enqueued tasks are counted.
    pub metrics: Arc<Metrics>,
    /// When the process started.
    pub started: Instant,
}
