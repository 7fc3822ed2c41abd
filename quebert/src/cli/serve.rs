//! The HTTP API beside a running dispatcher: where it listens, and its end. What it answers is the API's.

use super::Failure;
use crate::api::{Server, state::ApiState};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::sync::oneshot;

/// How long requests under way may take in the end. Whoever follows the events never ends by itself.
const GRACE: Duration = Duration::from_secs(1);

/// A listening API.
pub(super) struct Listening(Server);

/// An API that answers until it is stopped.
pub(super) struct Serving {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    /// Closes with the thread's end.
    end: oneshot::Receiver<()>,
}

impl Listening {
    /// On this address; port 0 picks a free one.
    pub(super) async fn on(address: SocketAddr) -> Result<Self, Failure> {
        let taken = |e: io::Error| match e.kind() {
            io::ErrorKind::AddrInUse => {
                let words =
                    format!("api.listen: {address} is taken, most likely by another quebert; --api says another");
                Failure::other("serve the API", words)
            }
            _ => Failure::other("listen on api.listen", e),
        };
        Ok(Self(Server::bind(address).await.map_err(taken)?))
    }

    /// On this address or, if that is taken, on any free port of loopback.
    pub(super) async fn on_or_anywhere(address: SocketAddr) -> Result<Self, Failure> {
        match Server::bind(address).await {
            Ok(server) => Ok(Self(server)),
            Err(_) => Self::on((Ipv4Addr::LOCALHOST, 0).into()).await,
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Answers from now on, on a thread of its own: what a request costs, a batch of megabytes or a look through a hundred
    /// thousand dead letters, is not taken from the dispatcher's turns.
    pub(super) fn serve(self, state: ApiState) -> Result<Serving, Failure> {
        let failed = |e: io::Error| Failure::other("serve the API", e);
        let address = self.address();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let work = move || {
            runtime.block_on(async {
                if let Err(e) = self.0.serve(state, async move { drop(stopped.await) }).await {
                    tracing::error!(error = %e, "the API is not served");
                }
            });
            // Whatever still runs for it, such as an operation, is broken off here.
            drop(runtime);
            drop(ended);
        };
        std::thread::Builder::new().name("quebert-api".to_owned()).spawn(work).map_err(failed)?;
        Ok(Serving { address, stop, end })
    }
}

impl Serving {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes nothing new, lets what is under way end within a moment, and waits no longer for the rest.
    pub(super) async fn stop(self) {
        drop(self.stop);
        drop(tokio::time::timeout(GRACE, self.end).await);
    }
}
