//! The envelope: a task as producers type it. Nothing in it is checked before [`Envelope::check`] or
//! [`decode`](crate::decode) looks at it.

mod body;
mod publish;
mod read;
mod schema;

pub use body::{Binary, Json};
pub use publish::Form;
pub(crate) use read::{Seed, Source};
pub use schema::envelope_schema;

use crate::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// A task as producers type it. Only `url` is required.
///
/// ```
/// use quebert_wire::{Envelope, Json, Limits};
///
/// let envelope = Envelope {
///     body: Some(Json::new(r#"{"user": 17}"#)?),
///     delay_ms: Some(5_000),
///     ..Envelope::new("https://example.com/mails")
/// };
/// assert!(envelope.check(&Limits::default()).is_ok());
///
/// let text = serde_json::to_string(&envelope)?;
/// assert_eq!(text, r#"{"url":"https://example.com/mails","body":{"user": 17},"delay_ms":5000}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, title = "Quebert task envelope", transform = schema::at_most_one_of_each)]
pub struct Envelope {
    /// Absolute http or https URL, at most 2083 bytes by default, without credentials.
    #[schemars(regex(pattern = r"^[hH][tT][tT][pP][sS]?://[^/?#@]+([/?#].*)?$"))]
    pub url: String,
    /// 1 to 128 visible ASCII characters. Default: the message's id, else a UUIDv7. The same id is the same task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[!-~]{1,128}$"))]
    pub id: Option<String>,
    /// Default POST. Any token but CONNECT and TRACE.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$"))]
    pub method: Option<String>,
    /// HTTP headers: a value, or a list of values, by name. At most 100 and 32 KiB by default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, HeaderValues>>")]
    pub headers: BTreeMap<String, HeaderValues>,
    /// Any JSON, sent byte for byte, as application/json unless `headers` says otherwise. `null` is sent, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Json>,
    /// Text, sent as text/plain; charset=utf-8 unless `headers` says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_text: Option<String>,
    /// Base64, sent decoded, with no content type unless `headers` says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<Binary>,
    /// When the producer made the task. Delays, times to live and ages count from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// No attempt starts before this. At most one of this and `delay_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// No attempt starts sooner than this after the task was made; at most 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 34_560_000_000_u64))]
    pub delay_ms: Option<u64>,
    /// No attempt starts at or after this. At most one of this and `ttl_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// No further attempt is scheduled for later than this after the task was made; 1 ms to 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 34_560_000_000_u64))]
    pub ttl_ms: Option<u64>,
    /// Limit of one attempt, 1 ms to 24 h; the queue's own limits cap it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub timeout_ms: Option<u64>,
    /// Overrides of the queue's retry policy, capped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<EnvelopeRetry>,
    /// The queue that the producer means, 1 to 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub queue: Option<String>,
    /// A key for flow control, 1 to 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub flow_key: Option<String>,
    /// URL to tell the result, under the rules of `url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[hH][tT][tT][pP][sS]?://[^/?#@]+([/?#].*)?$"))]
    pub callback: Option<String>,
    /// The producer's own labels: at most 64, names of 1 to 64 bytes, values of at most 256.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Option<BTreeMap<String, String>>", transform = schema::bounded_labels)]
    pub labels: BTreeMap<String, String>,
    /// Names of the fields that were read and that no envelope has, at most eight. Never written.
    #[serde(skip)]
    pub unknown_fields: Vec<String>,
}

/// Overrides of the queue's retry policy, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct EnvelopeRetry {
    /// Attempts in all, the first one included; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_u64))]
    pub max_attempts: Option<u32>,
    /// No further attempt is scheduled for later than this after the task was made; at most 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 34_560_000_000_u64))]
    pub max_age_ms: Option<u64>,
    /// Shortest delay between two attempts; at most 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 34_560_000_000_u64))]
    pub backoff_min_ms: Option<u64>,
    /// Longest delay between two attempts; at most 400 days, and at least `backoff_min_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 34_560_000_000_u64))]
    pub backoff_max_ms: Option<u64>,
    /// 1 to 100 delays, one after the other; the last one repeats. Each at most 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), inner(range(max = 34_560_000_000_u64)))]
    pub schedule_ms: Option<Vec<u64>>,
}

/// A header's value, or several under one name.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum HeaderValues {
    /// One value.
    One(String),
    /// Several; each becomes a header line of its own.
    Many(Vec<String>),
}

impl HeaderValues {
    /// The values.
    pub fn as_slice(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl From<&str> for HeaderValues {
    fn from(value: &str) -> Self {
        Self::One(value.to_owned())
    }
}

/// Without the values: they may be secrets.
impl fmt::Debug for HeaderValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderValues({})", self.as_slice().len())
    }
}

impl Envelope {
    /// A task that names its URL and leaves the rest to the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

/// Without URL, header values and body: they may hold secrets.
impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("headers", &self.headers)
            .field("body", &self.body)
            .field("body_text_bytes", &self.body_text.as_ref().map(String::len))
            .field("body_base64", &self.body_base64)
            .field("created_at", &self.created_at)
            .field("not_before", &self.not_before)
            .field("delay_ms", &self.delay_ms)
            .field("expires_at", &self.expires_at)
            .field("ttl_ms", &self.ttl_ms)
            .field("timeout_ms", &self.timeout_ms)
            .field("retry", &self.retry)
            .field("queue", &self.queue)
            .field("flow_key", &self.flow_key)
            .field("labels", &self.labels)
            .field("unknown_fields", &self.unknown_fields)
            .finish_non_exhaustive()
    }
}
