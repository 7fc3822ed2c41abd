//! Names of the message headers that Quebert reads and writes. All begin with `quebert-`; no other header is touched,
//! and none of them is ever an HTTP header by itself.

/// What all the names begin with. HTTP headers of this prefix are reserved as well.
pub const PREFIX: &str = "quebert-";

// What a producer writes in the raw form (`crate::raw`). Integers may be text, too.

/// Text: the task's URL. Its presence makes a message one of the raw form.
pub const URL: &str = "quebert-url";
/// Text: the envelope's `method`.
pub const METHOD: &str = "quebert-method";
/// Text (RFC 3339), integer (epoch milliseconds) or AMQP timestamp: the envelope's `created_at`.
pub const CREATED_AT: &str = "quebert-created-at";
/// As [`CREATED_AT`]: the envelope's `not_before`.
pub const NOT_BEFORE: &str = "quebert-not-before";
/// Integer: the envelope's `delay_ms`.
pub const DELAY_MS: &str = "quebert-delay-ms";
/// As [`CREATED_AT`]: the envelope's `expires_at`.
pub const EXPIRES_AT: &str = "quebert-expires-at";
/// Integer: the envelope's `ttl_ms`.
pub const TTL_MS: &str = "quebert-ttl-ms";
/// Integer: the envelope's `timeout_ms`.
pub const TIMEOUT_MS: &str = "quebert-timeout-ms";
/// Integer: the envelope's `retry.max_attempts`.
pub const MAX_ATTEMPTS: &str = "quebert-max-attempts";
/// Integer: the envelope's `retry.max_age_ms`.
pub const MAX_AGE_MS: &str = "quebert-max-age-ms";
/// Integer: the envelope's `retry.backoff_min_ms`.
pub const BACKOFF_MIN_MS: &str = "quebert-backoff-min-ms";
/// Integer: the envelope's `retry.backoff_max_ms`.
pub const BACKOFF_MAX_MS: &str = "quebert-backoff-max-ms";
/// List of integers, or text with commas between them: the envelope's `retry.schedule_ms`.
pub const SCHEDULE_MS: &str = "quebert-schedule-ms";
/// Text: the envelope's `queue`.
pub const QUEUE: &str = "quebert-queue";
/// Text: the envelope's `flow_key`.
pub const FLOW_KEY: &str = "quebert-flow-key";
/// Text: the envelope's `callback`.
pub const CALLBACK: &str = "quebert-callback";
/// Followed by a name: an HTTP header of the request; text, or a list of texts.
pub const FORWARD_PREFIX: &str = "quebert-h-";
/// Followed by a name: a label; text.
pub const LABEL_PREFIX: &str = "quebert-label-";

// What the dispatcher writes (`crate::bookkeeping`).

/// Integer: attempts made so far.
pub const ATTEMPTS: &str = "quebert-attempts";
/// Integer, epoch milliseconds: no attempt before this (ETA or backoff).
pub const DUE_AT: &str = "quebert-due-at";
/// Integer, epoch milliseconds: when the message went into the delay queue it is in.
pub const HOP_AT: &str = "quebert-hop-at";
/// Text: the broker's name of the work queue to return to.
pub const RETURN_TO: &str = "quebert-return-to";
/// Integer, epoch milliseconds: when the task was enqueued, as far as known.
pub const ENQUEUED_AT: &str = "quebert-enqueued-at";
/// Integer: how often in a row the task was put off without an attempt.
pub const PUT_OFFS: &str = "quebert-put-offs";
/// Integer: how often the task has been republished; tells its copies apart.
pub const COPY: &str = "quebert-copy";
/// Integer: how often in a row the task came again without an attempt in between that ended, where the broker itself
/// does not count that.
pub const REDELIVERIES: &str = "quebert-redeliveries";
/// Integer: status of the attempt before.
pub const PREVIOUS_STATUS: &str = "quebert-previous-status";
/// Text: why the task is tried again.
pub const RETRY_REASON: &str = "quebert-retry-reason";
/// Text: the id that was given to a task that came without one.
pub const ID: &str = "quebert-id";
/// Boolean: somebody has had the task sent at once, so its own `not_before` counts no more.
pub const RUN_NOW: &str = "quebert-run-now";
/// Text: what came of the last attempts, newest last, bounded.
pub const HISTORY: &str = "quebert-history";
/// Text: why the task was buried.
pub const DEAD_REASON: &str = "quebert-dead-reason";
/// Text: the same in words.
pub const DEAD_DETAIL: &str = "quebert-dead-detail";
/// Integer, epoch milliseconds: when the task was buried.
pub const DEAD_AT: &str = "quebert-dead-at";
/// Text: the lane it was buried from.
pub const DEAD_LANE: &str = "quebert-dead-lane";
/// List of texts: names of headers that did not fit into the dead letter.
pub const DEAD_SHED: &str = "quebert-dead-shed";

/// The names that the dispatcher writes; no producer needs them.
pub const BOOKKEEPING: [&str; 18] = [
    ATTEMPTS,
    DUE_AT,
    HOP_AT,
    RETURN_TO,
    ENQUEUED_AT,
    PUT_OFFS,
    COPY,
    REDELIVERIES,
    PREVIOUS_STATUS,
    RETRY_REASON,
    ID,
    RUN_NOW,
    HISTORY,
    DEAD_REASON,
    DEAD_DETAIL,
    DEAD_AT,
    DEAD_LANE,
    DEAD_SHED,
];
