//! The production transport's way onto the simulated network. Names are hosts; there is no TLS.

use crate::{
    host::Host,
    net::{Net, Stream},
};
use hyper_util::rt::TokioIo;
use quebert_broker_adapter::http::{Connect, ConnectError, Connected, Target};
use quebert_dispatcher::outcome::FailureKind;
use std::{io, time::Duration};
use tokio::time::timeout;

/// Connects over the simulated network.
#[derive(Clone)]
pub struct SimConnector(Net);

impl SimConnector {
    /// From the host whose network this is.
    pub const fn new(net: Net) -> Self {
        Self(net)
    }
}

impl Connect for SimConnector {
    type Io = TokioIo<Stream>;

    async fn connect(&self, target: &Target, limit: Duration) -> Result<Connected<Self::Io>, ConnectError> {
        if target.tls {
            return Err(ConnectError::new(FailureKind::Tls, "there is no TLS in the simulation"));
        }
        let host: Host = target
            .host
            .parse()
            .map_err(|error| ConnectError::new(FailureKind::Dns, format!("not resolved: {error}")))?;
        let connected = timeout(limit, self.0.connect(host, target.port)).await;
        let connected =
            connected.map_err(|_| ConnectError::new(FailureKind::ConnectTimeout, "no connection in time"))?;
        let stream = connected.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => FailureKind::ConnectRefused,
                io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
                _ => FailureKind::Connect,
            };
            ConnectError::new(kind, error.to_string())
        })?;
        Ok(Connected { io: TokioIo::new(stream), h2: false })
    }
}
