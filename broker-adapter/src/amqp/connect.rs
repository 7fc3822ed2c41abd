//! Connecting with limits that lapin lacks, and without leaking its threads.
//!
//! Retries nothing: the supervisor does.

use super::{RabbitConfig, address::Address, config::Identity};
use async_rs::traits::*;
use lapin::{
    Connection, ConnectionProperties, ErrorKind,
    tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig},
    uri::{AMQPScheme, AMQPUri},
};
use std::{
    io,
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// A peer whose TCP stack answers nothing for this long is gone, whatever the heartbeat says.
#[cfg(target_os = "linux")]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// A failed connect.
#[derive(Debug, Clone, thiserror::Error)]
#[error("connect to {address}: {problem}")]
pub struct ConnectError {
    /// Scheme, host, port and virtual host; no credentials.
    pub address: String,
    /// Why.
    pub problem: String,
}

/// A connection, and a way to end it that asks nobody.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    socket: SocketHandle,
}

impl Link {
    /// Shuts the socket down: the broker sees it at once, and lapin's thread ends.
    pub(crate) fn cut(&self) {
        self.socket.shut_down();
    }

    /// Closes in the orderly way, within `limit`; in any case it is closed afterwards.
    pub(crate) async fn close(&self, limit: Duration) {
        // An error means that it is closed already, which is what we want.
        let _ = timeout(limit, self.connection.close(200, "stop".into())).await;
        self.cut();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Opens one connection, login included, within the config's limit.
pub(crate) async fn connect(address: &Address, config: &RabbitConfig, role: &str) -> Result<Link, ConnectError> {
    let failed = |problem: String| ConnectError { address: address.to_string(), problem };
    let limit = config.connect_timeout;
    let tls = tls_config(config);
    let name = format!("{}-{role}", config.connection_name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    // A second handle of the socket: shutting it down is what ends lapin's thread when we stop waiting. That thread dials
    // by itself, so it may come to it, or be through with it, only when nobody waits any more: then the handle says no.
    let handle = SocketHandle::default();
    let keep = handle.clone();
    let runtime = lapin::runtime::default_runtime().map_err(|e| failed(describe(&e)))?;
    let connecting = Connection::connector(
        address.0.clone(),
        runtime,
        async move |uri: AMQPUri, runtime: async_rs::TokioRuntime| {
            keep.refuse_if_shut()?;
            let stream =
                timeout(limit, dial(&uri, &runtime)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            keep.hold(tune(stream.get_ref())?)?;
            let stream = AsyncTcpStream::Plain(stream);
            Ok(match uri.scheme {
                AMQPScheme::AMQP => stream,
                AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, tls.as_ref()).await?,
            })
        },
        properties,
    );
    // Dropping the guard before the end, by the time limit or by our caller, shuts the socket down.
    let guard = ShutdownGuard(handle);
    match timeout(limit, connecting).await {
        Ok(Ok(connection)) => Ok(Link { connection, socket: guard.disarm() }),
        Ok(Err(error)) => Err(failed(describe(&error))),
        Err(_) => Err(failed(format!("no answer within {limit:?}"))),
    }
}

/// An error of lapin's in words, without the dump of its structure.
pub(crate) fn describe(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::MissingHeartbeatError => "no heartbeat from the broker".into(),
        _ => error.to_string(),
    }
}

async fn dial(uri: &AMQPUri, runtime: &async_rs::TokioRuntime) -> io::Result<<async_rs::Tokio as Reactor>::TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((uri.authority.host.as_str(), uri.authority.port)).await? {
        match runtime.tcp_connect_addr(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tune(stream: &tokio::net::TcpStream) -> io::Result<TcpStream> {
    let socket = socket2::SockRef::from(stream);
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    Ok(socket.try_clone()?.into())
}

fn tls_config(config: &RabbitConfig) -> OwnedTLSConfig {
    let identity = config.tls.identity.clone().map(|identity| match identity {
        Identity::Pem { certificate, key } => OwnedIdentity::PKCS8 { pem: certificate, key },
        Identity::Pkcs12 { der, password } => OwnedIdentity::PKCS12 { der, password },
    });
    OwnedTLSConfig { identity, cert_chain: config.tls.ca_pem.clone() }
}

#[derive(Clone, Default)]
struct SocketHandle(Arc<Mutex<Held>>);

#[derive(Default)]
enum Held {
    /// Not dialled yet.
    #[default]
    Nothing,
    Socket(TcpStream),
    /// For good: no later socket gets in here.
    Shut,
}

impl SocketHandle {
    fn hold(&self, socket: TcpStream) -> io::Result<()> {
        let mut held = self.held();
        if matches!(*held, Held::Shut) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *held = Held::Socket(socket);
        Ok(())
    }

    fn refuse_if_shut(&self) -> io::Result<()> {
        if matches!(*self.held(), Held::Shut) { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    fn shut_down(&self) {
        if let Held::Socket(socket) = std::mem::replace(&mut *self.held(), Held::Shut) {
            // It may be shut already; either way nobody uses it any more.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ShutdownGuard(SocketHandle);

impl ShutdownGuard {
    fn disarm(mut self) -> SocketHandle {
        std::mem::take(&mut self.0)
    }
}

impl Drop for ShutdownGuard {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}
