//! Requests to the broker, each with a time limit and on a channel that may be thrown away.
//!
//! Knows nothing of what the requests are for.

use super::connect::describe;
use lapin::{Channel, Connection, Error, ErrorKind, protocol::AMQPErrorKind};
use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// Why a request did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The broker said no, and closed the channel. The connection goes on.
    Refused { code: u16, words: String },
    /// The channel or the connection is gone, or nothing came within the limit. `reason` is a metric label.
    Lost { reason: &'static str, words: String },
}

/// AMQP's codes for "no such queue or exchange", and for "exists with other arguments".
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;

impl Fault {
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Refused { words, .. } | Self::Lost { words, .. } => words,
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        let words = describe(error);
        let reason = match error.kind() {
            ErrorKind::ProtocolError(e) if matches!(e.kind(), AMQPErrorKind::Soft(_)) => {
                return Self::Refused { code: e.get_id(), words };
            }
            ErrorKind::ProtocolError(_) => "closed",
            ErrorKind::IOError(_) | ErrorKind::RuntimeShutdownError(_) => "io",
            ErrorKind::MissingHeartbeatError => "heartbeat",
            _ => "channel",
        };
        Self::Lost { reason, words }
    }
}

/// Waits for the broker to answer a request, called `what`, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    request: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Fault> {
    match timeout(limit, request).await {
        Ok(result) => result.map_err(|error| Fault::from(&error)),
        Err(_) => Err(Fault::Lost { reason: "io", words: format!("no answer to {what} within {limit:?}") }),
    }
}

/// Makes requests on one channel after the other: a refusal costs the channel, not the connection.
pub(crate) struct Requests<'a> {
    connection: &'a Connection,
    limit: Duration,
    channel: Option<Channel>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(connection: &'a Connection, limit: Duration) -> Self {
        Self { connection, limit, channel: None }
    }

    /// Makes one request.
    pub(crate) async fn make<T, F: Future<Output = lapin::Result<T>>>(
        &mut self,
        what: &str,
        request: impl FnOnce(Channel) -> F,
    ) -> Result<T, Fault> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => within(self.limit, "channel.open", self.connection.create_channel()).await?,
        };
        let result = within(self.limit, what, request(channel.clone())).await;
        if result.is_ok() {
            self.channel = Some(channel);
        }
        result
    }
}
