//! One session that many requests share: opened when first needed, and again after a fault. It never tries by itself, so
//! a broker that is away costs one attempt per request at most.

use super::{
    RabbitConfig,
    address::Address,
    config::ConfigError,
    connect::ConnectError,
    session::{KnownDelays, Session},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Mutex, time::timeout};

/// Gives out a session.
pub(crate) struct Shared {
    pub(crate) config: Arc<RabbitConfig>,
    addresses: Vec<Address>,
    known: Arc<KnownDelays>,
    /// Held while connecting, so that there is one attempt at a time.
    state: Mutex<State>,
    /// Attempts that have ended.
    ended: AtomicU64,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    /// The address to begin with.
    next: usize,
    failure: Option<ConnectError>,
}

impl Shared {
    /// # Errors
    /// The first field of the config that is wrong.
    pub(crate) fn new(config: RabbitConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            addresses: config.check()?,
            config: Arc::new(config),
            known: Arc::new(KnownDelays::new()),
            state: Mutex::default(),
            ended: AtomicU64::new(0),
        })
    }

    /// The session, if need be after one attempt that is given `connect_timeout` in all. An attempt that takes too long
    /// at one address is followed, at the next request, by one that begins with the next address.
    ///
    /// # Errors
    /// Why the last address tried could not be reached. Whoever has waited for an attempt of others takes its failure.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        let seen = self.ended.load(Ordering::Relaxed);
        let mut state = self.state.lock().await;
        if let Some(session) = state.session.take() {
            if session.is_alive() {
                state.session = Some(session.clone());
                return Ok(session);
            }
            session.cut();
        }
        match &state.failure {
            Some(failure) if self.ended.load(Ordering::Relaxed) != seen => return Err(failure.clone()),
            _ => {}
        }
        let limit = self.config.connect_timeout;
        let slow = state.next;
        let opened = match timeout(limit, self.open_any(&mut state)).await {
            Ok(opened) => opened,
            Err(_) => {
                let problem = format!("no session within {limit:?}");
                Err(ConnectError { address: self.addresses[slow % self.addresses.len()].to_string(), problem })
            }
        };
        self.ended.fetch_add(1, Ordering::Relaxed);
        match opened {
            Ok(session) => {
                (state.session, state.failure) = (Some(session.clone()), None);
                Ok(session)
            }
            Err(failure) => {
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Tries every address, however long that takes.
    ///
    /// # Errors
    /// Why the last one could not be reached.
    pub(crate) async fn open(&self) -> Result<(), ConnectError> {
        let mut state = self.state.lock().await;
        state.session = Some(self.open_any(&mut state).await?);
        Ok(())
    }

    /// Closes the session, if there is one, within `limit`.
    pub(crate) async fn close(&self, limit: Duration) {
        let session = self.state.lock().await.session.take();
        if let Some(session) = session {
            session.close(limit).await;
        }
    }

    async fn open_any(&self, state: &mut State) -> Result<Arc<Session>, ConnectError> {
        let mut last = None;
        for _ in &self.addresses {
            let address = &self.addresses[state.next % self.addresses.len()];
            // Moved on before the attempt, which may be given up at any point.
            state.next = state.next.wrapping_add(1) % self.addresses.len();
            match Session::open(address, self.config.clone(), self.known.clone()).await {
                Ok(session) => {
                    state.next = state.next.wrapping_add(self.addresses.len() - 1) % self.addresses.len();
                    return Ok(Arc::new(session));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a checked config has an address"))
    }
}
