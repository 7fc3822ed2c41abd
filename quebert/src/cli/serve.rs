//! The HTTP API beside a running dispatcher: where it listens, and its end. What it answers is the API's.

use super::Failure;
use crate::api::{SHUTDOWN_GRACE, Server, state::ApiState};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::sync::oneshot;

/// What the server's thread takes beyond the time that it gives to requests under way. One that hangs is left behind.
const MARGIN: Duration = Duration::from_secs(1);

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

    /// Takes nothing new, and waits for as long as the server lets what is under way go on. Whoever drops this instead does
    /// not wait.
    pub(super) async fn stop(self) {
        drop(self.stop);
        drop(tokio::time::timeout(SHUTDOWN_GRACE + MARGIN, self.end).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_under_way_have_the_time_that_the_server_gives_them_and_no_hanging_one_more() {
        let (stop, stopped) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let server = tokio::spawn(async move {
            drop(stopped.await);
            tokio::time::sleep(SHUTDOWN_GRACE).await;
            drop(ended);
        });
        Serving { address, stop, end }.stop().await;
        assert!(server.is_finished(), "it was waited for");

        let (stop, _stopped) = oneshot::channel();
        let (_ended, end) = oneshot::channel();
        Serving { address, stop, end }.stop().await;
    }
}
