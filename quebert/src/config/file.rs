//! The config as it is typed: names and types, nothing checked yet. `config.default.toml` explains each key.

#![expect(missing_docs, reason = "config.default.toml documents every key, and a test holds that it does")]

use super::value::{Secrets, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    pub broker: Broker,
    pub embedded: Embedded,
    pub api: Api,
    pub topology: Topology,
    pub lane_defaults: Lane,
    pub lanes: BTreeMap<String, Lane>,
    pub pool: Pool,
    pub destinations: Destinations,
    pub retry: Retry,
    pub status: Status,
    pub limits: Limits,
    pub http: Http,
    pub signing: Signing,
    pub hooks: Hooks,
    pub admin: Admin,
    pub metrics: Metrics,
    pub otlp: Otlp,
    pub log: Log,
    pub drain: Drain,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    pub url: Secrets,
    pub url_file: Option<String>,
    pub connect_timeout: Span,
    pub heartbeat: Span,
    pub confirm_timeout: Span,
    pub tls: Tls,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub ca_file: Option<String>,
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    pub queue_messages_max: u64,
    pub message_bytes_max: usize,
    pub total_bytes_max: u64,
    pub idempotency_keys_max: u64,
    pub cache_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: String,
    pub console: bool,
    pub request_bytes_max: usize,
    pub batch_items_max: usize,
    pub batch_bytes_max: usize,
    pub idempotency_window: Span,
    pub tokens: BTreeMap<String, ApiToken>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    pub roles: Vec<ApiRole>,
    pub token: Option<Secrets>,
    pub token_file: Option<String>,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiRole {
    /// Add tasks.
    Enqueue,
    /// Look at everything but secrets.
    Read,
    /// Pause, resume, purge, replay, delete, run now, cancel.
    Operate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueType {
    Quorum,
    Classic,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    pub declare: bool,
    pub queue_type: QueueType,
    pub exchange: String,
    pub prefix: String,
    pub delivery_limit: u32,
    pub consumer_timeout: Span,
}

/// `retry` and `status` are filled in from the sections of that name before this is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lane {
    pub queue: Option<String>,
    pub routing_key: Option<String>,
    pub exchange: Option<String>,
    pub priority: u8,
    pub weight: u32,
    pub slots_own: u32,
    pub slots_max: u32,
    pub window: u16,
    pub attempt_timeout: Span,
    pub attempt_timeout_max: Span,
    pub ttl_default: Span,
    pub retry: Option<Retry>,
    pub status: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    Strict,
    Weighted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub slots: u32,
    pub schedule: Schedule,
    pub pass_over_max: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destinations {
    pub slots: u32,
    pub slots_of: BTreeMap<String, u32>,
    pub window_share: u8,
    pub patience: Span,
    pub put_off_min: Span,
    pub put_off_max: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    Exponential,
    Doublings,
    Schedule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    None,
    Full,
    Equal,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    pub curve: Curve,
    pub factor: f64,
    pub max_doublings: u32,
    pub schedule: Vec<Span>,
    pub jitter: Jitter,
    pub backoff_min: Span,
    pub backoff_max: Span,
    pub max_attempts: u32,
    pub max_age: Span,
    pub retry_after_max: Span,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    pub success: Vec<u16>,
    pub permanent: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub body_bytes: usize,
    pub url_bytes: usize,
    pub headers: usize,
    pub header_bytes: usize,
    pub bury_unknown_fields: bool,
    pub bury_expired: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub connect_timeout: Span,
    pub idle_timeout: Span,
    pub response_body_bytes: usize,
    pub response_header_bytes: usize,
    pub ca_file: Option<String>,
    pub guard: Guard,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub enabled: bool,
    #[serde(deserialize_with = "super::value::texts")]
    pub allow: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    pub keys: Secrets,
    pub keys_file: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    Send,
    PutOff,
    Bury,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    pub timeout: Span,
    pub on_error: OnError,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    pub listen: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub max_destinations: usize,
    pub depth_interval: Span,
    pub slo: Vec<Span>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    pub url: String,
    pub service: String,
    pub begin_percent: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Pretty,
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: Level,
    pub format: Format,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    pub grace: Span,
}
