//! Limits of what is taken for a task. Those that fit every installation are constants, the rest can be configured.

use std::time::Duration;

/// Limits of what is taken for a task. Errors name the field and the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request's body, as sent. Default 1 MiB.
    pub body_bytes: usize,
    /// Bytes of `url`, and of `callback`. Default 2083, the limit of Cloud Tasks and of old browsers.
    pub url_bytes: usize,
    /// HTTP headers of a task, each value of a list counted. Default 100.
    pub headers: usize,
    /// Bytes of all names and values of HTTP headers together. Default 32 KiB.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1024 * 1024, url_bytes: 2083, headers: 100, header_bytes: 32 * 1024 }
    }
}

/// Characters of an id.
pub const ID_LEN_MAX: usize = 128;
/// Bytes of `queue`: the longest name that AMQP 0-9-1 can say.
pub const QUEUE_BYTES_MAX: usize = 255;
/// Bytes of `flow_key`.
pub const FLOW_KEY_BYTES_MAX: usize = 256;
/// Entries of `labels`.
pub const LABELS_MAX: usize = 64;
/// Bytes of a label's name.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Entries of `retry.schedule_ms`.
pub const SCHEDULE_LEN_MAX: usize = 100;
/// The longest `timeout_ms`: one day.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest delay or time to live, relative or from now to a moment: 400 days.
pub const DELAY_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Bytes of a method.
pub const METHOD_BYTES_MAX: usize = 32;
/// Names of unknown fields that are kept.
pub const UNKNOWN_FIELDS_MAX: usize = 8;
/// Bytes of a message's properties and headers, all of them. They must fit into one frame, of 128 KiB by RabbitMQ's
/// default, together with the dispatcher's notes: a task that could not be published again could never be settled.
pub const MESSAGE_HEAD_BYTES_MAX: usize = 96 * 1024;
