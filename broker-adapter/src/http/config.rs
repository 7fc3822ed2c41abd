//! Limits of the HTTP transport. The time limit of a whole exchange is not here: it comes with each request.

use std::time::Duration;

/// Limits of the HTTP transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the start of a request until the head of its answer; `None` leaves it to the attempt's own limit.
    pub header_timeout: Option<Duration>,
    /// How long an unused HTTP/1.1 connection may be used again. Must be below the keep-alive of the executors, or
    /// requests meet connections that are just being closed: Node closes at 5 s.
    pub idle_timeout: Duration,
    /// Unused HTTP/1.1 connections kept per destination; 0 turns keep-alive off. With fewer than the requests that go there
    /// at a time, answers that come together cost their connections.
    pub idle_per_destination: usize,
    /// Unused HTTP/1.1 connections kept in all.
    pub idle_total: usize,
    /// How long an HTTP/2 connection without requests is kept.
    pub h2_idle_timeout: Duration,
    /// An HTTP/2 connection is asked this often whether it is still there.
    pub h2_ping_interval: Duration,
    /// An HTTP/2 connection that does not answer that within this time is given up.
    pub h2_ping_timeout: Duration,
    /// Bytes of an answer's status line and headers.
    pub head_bytes_max: usize,
    /// Bytes of an answer's body that are kept.
    pub body_keep: usize,
    /// Bytes of an answer's body that are read, so that its connection can be used again.
    pub body_read_max: usize,
    /// What a longer body means.
    pub body_over: BodyOver,
}

/// What an answer's body beyond `body_read_max` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyOver {
    /// The status counts; the rest of the body is not read, and the connection is closed.
    #[default]
    Cut,
    /// The attempt failed with `body_limit`.
    Fail,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            header_timeout: None,
            idle_timeout: Duration::from_secs(4),
            idle_per_destination: 1024,
            idle_total: 4096,
            h2_idle_timeout: Duration::from_secs(60),
            h2_ping_interval: Duration::from_secs(20),
            h2_ping_timeout: Duration::from_secs(10),
            head_bytes_max: 16 * 1024,
            body_keep: 4 * 1024,
            body_read_max: 64 * 1024,
            body_over: BodyOver::Cut,
        }
    }
}
