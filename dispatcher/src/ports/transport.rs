//! The transport: one bounded request to one bounded response, or a classified failure.

use super::BoxFuture;
use crate::outcome::Outcome;
use bytes::Bytes;
use quebert_wire::Destination;
use std::time::Duration;

/// One request to make.
#[derive(Debug)]
pub struct Request {
    /// Where to; the origin of the request's URI.
    pub destination: Destination,
    /// What; its URI is absolute, its headers are complete but for `Host` and `Content-Length`.
    pub http: http::Request<Bytes>,
    /// Limit of the whole exchange, the connecting included.
    pub timeout: Duration,
}

/// A transport. It sends a request at most once, and never follows a redirect.
pub trait Transport: Send + Sync + 'static {
    /// Makes the request. Dropping the future gives it up; the executor may go on.
    fn send(&self, request: Request) -> BoxFuture<'static, Outcome>;
}
