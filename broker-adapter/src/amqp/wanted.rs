//! What is to be open: written by the broker's handle, read by its supervisor, which is told that it changed. It says how
//! things should be and not what to do, so whoever comes late misses nothing.

use super::{
    RabbitConfig,
    session::{KnownDelays, Session},
    source::Openings,
};
use quebert_dispatcher::ports::broker::Source;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};
use tokio::sync::Notify;

/// What the broker's handle and its supervisor share.
pub(crate) struct Shared {
    pub(crate) config: Arc<RabbitConfig>,
    pub(crate) openings: Arc<Openings>,
    pub(crate) known: Arc<KnownDelays>,
    session: RwLock<Option<Arc<Session>>>,
    wanted: Mutex<Wanted>,
    pub(super) changed: Notify,
}

/// The sources that are to be open.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) sources: BTreeMap<Source, Want>,
    /// The newest generation of each source that its user has closed: nothing is told of it any more.
    pub(super) closed: BTreeMap<Source, u64>,
    generation: u64,
}

/// How one of them is to be open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) window: u16,
    pub(super) paused: bool,
    /// Counted up by each `open` that asks for something else than is there.
    pub(super) generation: u64,
}

impl Shared {
    pub(crate) fn new(config: RabbitConfig) -> Self {
        Self {
            config: Arc::new(config),
            openings: Arc::default(),
            known: Arc::new(KnownDelays::new()),
            session: RwLock::default(),
            wanted: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(crate) fn want(&self, source: Source, window: u16) {
        let mut wanted = self.wanted();
        if wanted.sources.get(&source).is_some_and(|want| want.window == window && !want.paused) {
            return;
        }
        wanted.generation += 1;
        let generation = wanted.generation;
        wanted.sources.insert(source, Want { window, paused: false, generation });
        self.changed.notify_one();
    }

    pub(crate) fn pause(&self, source: &Source) {
        if let Some(want) = self.wanted().sources.get_mut(source) {
            want.paused = true;
            self.changed.notify_one();
        }
    }

    pub(crate) fn forget(&self, source: &Source) {
        let mut wanted = self.wanted();
        if let Some(want) = wanted.sources.remove(source) {
            wanted.closed.insert(source.clone(), want.generation);
            self.changed.notify_one();
        }
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_session(&self, session: Option<Arc<Session>>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    pub(super) fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
