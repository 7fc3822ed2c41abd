//! The API's server: HTTP/1.1 on one address, with a limit of connections, a limit for slow clients and an end in order.
//! It knows no path; what is served is the router's.

use super::{auth::Gate, front::Front, state::ApiState};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tracing::debug;

/// Connections at a time; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;

/// From the start of a connection or request to the end of its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// How long requests under way may go on after the end was asked for.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// A server that listens already.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on `address`; port 0 picks a free one. Nobody is answered before [`serve`](Self::serve).
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is done; then takes nothing new, lets requests under way end for at most five seconds, and
    /// returns. It may be another runtime's than the one it was bound in.
    ///
    /// # Errors
    /// When the system takes the listener back.
    pub async fn serve(self, state: ApiState, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener.into_std()?)?;
        let feed = state.feed.clone();
        let front = Arc::new(Front::new(Gate::new(&state.config.api), super::router(state)));
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (close, closing) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let place = room.clone().acquire_owned();
            let accepted = tokio::select! {
                accepted = async { (place.await.expect("the semaphore is never closed"), listener.accept().await) } => accepted,
                Some(_) = connections.join_next() => continue,
                () = &mut shutdown => break,
            };
            match accepted {
                (place, Ok((stream, _))) => {
                    let (front, closing) = (front.clone(), closing.clone());
                    connections.spawn(async move {
                        connection(stream, front, closing).await;
                        drop(place);
                    });
                }
                (_, Err(e)) => {
                    // Out of file descriptors, most likely: it passes, and asking again at once would spin.
                    debug!(error = %e, "accept on the API's address");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        drop(close);
        // Whoever reads events would read on for ever.
        feed.close();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all).await.is_err() {
            connections.shutdown().await;
        }
        Ok(())
    }
}

async fn connection(stream: TcpStream, front: Arc<Front>, mut closing: watch::Receiver<()>) {
    // Answers are small, and each is written at once.
    if let Err(e) = stream.set_nodelay(true) {
        debug!(error = %e, "API connection");
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let front = front.clone();
        async move { front.answer(request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEADER_BYTES_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = connection.as_mut() => result,
        // The sender is never used, only dropped.
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = result {
        debug!(error = %e, "API connection");
    }
}
