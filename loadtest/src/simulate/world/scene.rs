//! What the hosts of a virtual world share: the run's clock, its ledger, its executors. It is made by whoever needs it first,
//! since only within the world there is the world's time.

use super::spec;
use crate::{
    clock::Clock,
    fleet::Shared,
    ledger::Book,
    publish::Paced,
    run::{Config, tell_outages},
    simulate::Timing,
};
use quebert_sim::clock::EPOCH_MS;
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Between the start of the world and that of the plan: enough to connect and to open queues.
const LEAD: Duration = Duration::from_millis(500);

pub(super) struct Scene {
    pub(super) config: Config,
    timing: Timing,
    props: OnceLock<Props>,
    /// What became of the publishes, once all have been answered.
    paced: Mutex<Option<Paced>>,
}

/// What has the world's time in it.
pub(super) struct Props {
    pub(super) book: Arc<Book>,
    pub(super) executors: Vec<Arc<Shared>>,
}

impl Scene {
    pub(super) fn new(config: Config, timing: Timing) -> Self {
        Self { config, timing, props: OnceLock::new(), paced: Mutex::new(None) }
    }

    /// To be asked from within the world, at its beginning.
    pub(super) fn props(&self) -> &Props {
        self.props.get_or_init(|| Props::new(&self.config, &self.timing))
    }

    pub(super) fn book(&self) -> &Arc<Book> {
        &self.props().book
    }

    /// Everything is published.
    pub(super) fn published(&self, paced: Paced) {
        *self.paced.lock().unwrap_or_else(PoisonError::into_inner) = Some(paced);
    }

    pub(super) fn is_published(&self) -> bool {
        self.paced.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Props {
    fn new(config: &Config, timing: &Timing) -> Self {
        let epoch = Duration::from_millis(EPOCH_MS.unsigned_abs());
        let clock = Clock::virtual_from(Instant::now() + LEAD, epoch + LEAD);
        let book = Arc::new(Book::new(clock, "virtual", config.rules.clone(), config.layout()));
        tell_outages(&book, &config.executors);
        let executor = |(index, spec)| {
            let shared = Shared::new(index, spec, config.profile.seed, clock, book.clone());
            Arc::new(shared.shorter_by(spec::on_the_way(timing)))
        };
        let executors = (0..).zip(&config.executors).map(executor).collect();
        Self { book, executors }
    }
}
