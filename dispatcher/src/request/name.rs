//! The names of the headers that Quebert sets, beside the standard ones.

use http::HeaderName;

/// The task's id, the same over retries; Standard Webhooks.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// Seconds since the Unix epoch, of this attempt; Standard Webhooks.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The signatures, one per key; Standard Webhooks.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// The task's id as a structured string (RFC 9651).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The lane.
pub const QUEUE: HeaderName = HeaderName::from_static("quebert-queue");
/// Counted from 1.
pub const ATTEMPT: HeaderName = HeaderName::from_static("quebert-attempt");
/// A number, or `unlimited`.
pub const MAX_ATTEMPTS: HeaderName = HeaderName::from_static("quebert-max-attempts");
/// Unique for each attempt.
pub const DELIVERY_ID: HeaderName = HeaderName::from_static("quebert-delivery-id");
/// `true`, or not there.
pub const REDELIVERED: HeaderName = HeaderName::from_static("quebert-redelivered");
/// RFC 3339.
pub const ENQUEUED_AT: HeaderName = HeaderName::from_static("quebert-enqueued-at");
/// RFC 3339: when the attempt was due.
pub const ETA: HeaderName = HeaderName::from_static("quebert-eta");
/// RFC 3339: when the task expires.
pub const EXPIRES_AT: HeaderName = HeaderName::from_static("quebert-expires-at");
/// RFC 3339: when this attempt is given up.
pub const DEADLINE: HeaderName = HeaderName::from_static("quebert-deadline");
/// Status of the attempt before.
pub const PREVIOUS_STATUS: HeaderName = HeaderName::from_static("quebert-previous-status");
/// Why the task is tried again.
pub const RETRY_REASON: HeaderName = HeaderName::from_static("quebert-retry-reason");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C trace context.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// W3C baggage.
pub const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// RFC 9530.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
