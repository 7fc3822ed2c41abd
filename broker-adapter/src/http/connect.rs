//! Connecting: from a destination to a stream of bytes. Knows nothing of HTTP but what ALPN says.

use super::{guard::AddressGuard, stream::Stream, tls::TlsClient};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use quebert_dispatcher::outcome::FailureKind;
use quebert_wire::Destination;
use rustls::pki_types::ServerName;
use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

/// Makes connections. A simulation brings its own.
pub trait Connect: Send + Sync + 'static {
    /// What bytes go through.
    type Io: Read + Write + Unpin + Send + 'static;

    /// Connects within `limit`, which the implementer keeps, since only it can tell which step took too long. Dropping
    /// the future gives up.
    fn connect(
        &self,
        target: &Target,
        limit: Duration,
    ) -> impl Future<Output = Result<Connected<Self::Io>, ConnectError>> + Send;
}

/// A new connection.
#[derive(Debug)]
pub struct Connected<Io> {
    /// What bytes go through.
    pub io: Io,
    /// Whether both sides have agreed on HTTP/2.
    pub h2: bool,
}

/// A destination, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether to speak TLS.
    pub tls: bool,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// `None` for what is no origin.
    pub fn of(destination: &Destination) -> Option<Self> {
        let (scheme, rest) = destination.as_str().split_once("://")?;
        let (host, port) = rest.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        Some(Self { tls: scheme == "https", host: host.to_owned(), port: port.parse().ok()? })
    }
}

/// Why there is no connection. Nothing of the request has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    /// The class.
    pub kind: FailureKind,
    /// For people: a lowercase fragment without secrets.
    pub detail: String,
}

impl ConnectError {
    /// From a class and a detail.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}

impl std::error::Error for ConnectError {}

/// Connects over TCP, and TLS for `https`, to addresses that the guard allows.
#[derive(Debug, Clone)]
pub struct TcpConnector {
    guard: AddressGuard,
    tls: TlsClient,
}

impl TcpConnector {
    /// With this guard and this side of TLS.
    pub fn new(guard: AddressGuard, tls: TlsClient) -> Self {
        Self { guard, tls }
    }

    /// The allowed ones among the addresses of the target.
    async fn resolve(&self, target: &Target, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectError> {
        let found: Vec<SocketAddr> = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![(address, target.port).into()],
            Err(_) => {
                let error = |why: &dyn fmt::Display| {
                    ConnectError::new(FailureKind::Dns, format!("{} not resolved: {why}", target.host))
                };
                let lookup = timeout_at(deadline, lookup_host((target.host.as_str(), target.port))).await;
                lookup.map_err(|_| error(&"no answer in time"))?.map_err(|e| error(&e))?.collect()
            }
        };
        let mut refusal = None;
        let mut allowed = found;
        allowed.retain(|address| match self.guard.check(address.ip()) {
            Ok(()) => true,
            Err(forbidden) => {
                refusal = Some(forbidden);
                false
            }
        });
        match refusal {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(forbidden) => Err(ConnectError::new(FailureKind::ForbiddenAddress, forbidden.to_string())),
            None => Err(ConnectError::new(FailureKind::Dns, format!("{} has no address", target.host))),
        }
    }
}

impl Connect for TcpConnector {
    type Io = TokioIo<Stream>;

    async fn connect(&self, target: &Target, limit: Duration) -> Result<Connected<Self::Io>, ConnectError> {
        let deadline = Instant::now() + limit;
        let addresses = self.resolve(target, deadline).await?;
        let tcp = connect_any(&addresses, deadline).await?;
        if !target.tls {
            return Ok(Connected { io: TokioIo::new(Stream::Plain(tcp)), h2: false });
        }
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| ConnectError::new(FailureKind::Tls, format!("{} is no name for TLS", target.host)))?;
        let tls = timeout_at(deadline, self.tls.connector.connect(name, tcp))
            .await
            .map_err(|_| ConnectError::new(FailureKind::ConnectTimeout, "no TLS handshake in time"))?
            .map_err(|e| ConnectError::new(FailureKind::Tls, format!("TLS handshake: {e}")))?;
        let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connected { io: TokioIo::new(Stream::Tls(Box::new(tls))), h2 })
    }
}

/// Tries the addresses in their order. Each gets its share of the time that is left, so that a dead one does not use up
/// the time of the next.
async fn connect_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::new(FailureKind::Connect, "no address");
    for (i, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - i).unwrap_or(u32::MAX);
        let share = now + deadline.saturating_duration_since(now) / left;
        last = match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // A request is written at once; waiting for more would only delay it. Without it, it is slower.
                let _ = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => tcp_error(address, &error),
            Err(_) => ConnectError::new(FailureKind::ConnectTimeout, format!("{address}: no connection in time")),
        };
    }
    Err(last)
}

fn tcp_error(address: &SocketAddr, error: &io::Error) -> ConnectError {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
        io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
        _ => FailureKind::Connect,
    };
    ConnectError::new(kind, format!("{address}: {error}"))
}
