//! The core's part of the config as it is gone by at the moment: what reloads have taken over is in it. It reads no files.

use quebert_dispatcher::config::CoreConfig;
use std::sync::{Arc, PoisonError, RwLock};

/// Shared by whoever must go by the same limits as the dispatcher.
#[derive(Debug, Clone)]
pub struct Current(Arc<RwLock<Arc<CoreConfig>>>);

impl Current {
    /// As at the start.
    pub fn new(core: CoreConfig) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(core))))
    }

    /// As it is now. What is done with it should be done soon, since it does not change with a reload.
    pub fn now(&self) -> Arc<CoreConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the dispatcher takes over: see [`CoreConfig::reload`].
    pub fn reload(&self, next: CoreConfig) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut current).reload(next);
    }
}
