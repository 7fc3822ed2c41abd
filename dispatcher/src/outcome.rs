//! What came of one attempt: an answer, or a classified failure. What it means is decided elsewhere.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The executor answered.
    Answered(Response),
    /// No complete answer came.
    Failed(Failure),
}

/// An executor's answer, bounded by the transport.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, at most as many bytes as the transport allows.
    pub headers: HeaderMap,
    /// The beginning of its body, at most as many bytes as the transport allows.
    pub body: Bytes,
    /// Whether the body went on after that.
    pub truncated: bool,
}

/// Why an attempt got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub kind: FailureKind,
    /// For people: a lowercase fragment without secrets.
    pub detail: String,
    /// Whether the executor may have received the request.
    pub reached: bool,
}

/// The classes of failure. Their text is a metric label and a header value, and stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The host's name could not be resolved.
    Dns,
    /// Nobody listens there.
    ConnectRefused,
    /// No connection within the connect limit.
    ConnectTimeout,
    /// Any other failure to connect.
    Connect,
    /// The TLS handshake or a certificate.
    Tls,
    /// The connection ended before an answer.
    ResetBeforeResponse,
    /// No complete answer within the attempt's limit.
    Timeout,
    /// What came was not HTTP.
    Protocol,
    /// The answer's body passed the limit, and the config says that this is a failure.
    BodyLimit,
    /// The resolved address is one that the guard forbids. Nothing was sent.
    ForbiddenAddress,
    /// The dispatcher cut the attempt off (drain, or expiry).
    Cancelled,
}

impl FailureKind {
    /// Whether it means that nothing was heard for as long as was waited.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectTimeout)
    }

    /// The label: lower case, words joined by `_`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::ResetBeforeResponse => "reset_before_response",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::BodyLimit => "body_limit",
            Self::ForbiddenAddress => "forbidden_address",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Outcome {
    /// The class of this outcome for metrics: `2xx 3xx 4xx 429 5xx timeout connect dns tls
    /// reset protocol body_limit forbidden cancelled`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Answered(r) if r.status == StatusCode::TOO_MANY_REQUESTS => "429",
            Self::Answered(r) => match r.status.as_u16() {
                200..=299 => "2xx",
                300..=399 => "3xx",
                400..=499 => "4xx",
                500..=599 => "5xx",
                _ => "protocol",
            },
            Self::Failed(f) => match f.kind {
                FailureKind::Dns => "dns",
                FailureKind::ConnectRefused | FailureKind::ConnectTimeout | FailureKind::Connect => "connect",
                FailureKind::Tls => "tls",
                FailureKind::ResetBeforeResponse => "reset",
                FailureKind::Timeout => "timeout",
                FailureKind::Protocol => "protocol",
                FailureKind::BodyLimit => "body_limit",
                FailureKind::ForbiddenAddress => "forbidden",
                FailureKind::Cancelled => "cancelled",
            },
        }
    }

    /// Every class that [`class`](Self::class) can return, for metrics that start at zero.
    pub const CLASSES: [&'static str; 14] = [
        "2xx",
        "3xx",
        "4xx",
        "429",
        "5xx",
        "timeout",
        "connect",
        "dns",
        "tls",
        "reset",
        "protocol",
        "body_limit",
        "forbidden",
        "cancelled",
    ];

    /// The status, if the executor answered.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered(r) => Some(r.status),
            Self::Failed(_) => None,
        }
    }
}
