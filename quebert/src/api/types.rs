//! What the API says and is told, as JSON. The CLI and the console speak these, too. Tasks themselves are
//! [`Envelope`](quebert_wire::Envelope)s, whose schema is the wire's.
//!
//! Times are RFC 3339 in UTC with milliseconds; durations are milliseconds, named `_ms`. A field that is `null` is
//! something that this broker can't tell.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The answer to one task's enqueue. It is stored: the broker has confirmed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// The task's id: the envelope's, or a new UUIDv7.
    pub id: String,
    /// The queue (a lane's name) it was added to.
    pub queue: String,
}

/// The answer to a batch: one result per item, in order. Each item is stored or refused by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// Items that are stored, those that had been stored before included.
    pub enqueued: u64,
    /// Items that are not.
    pub refused: u64,
    /// One per item.
    pub results: Vec<BatchResult>,
}

/// What became of one item of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BatchResult {
    /// Position in the batch, from 0 (blank lines of NDJSON don't count).
    pub index: u64,
    /// The task, if it is stored.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<Accepted>,
    /// Whether it had been stored before, with the same `Idempotency-Key`.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub replayed: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<Problem>,
}

/// An error, after RFC 9457 (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `https://quebert.dev/problems/<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs: see `docs/api.md`.
    pub code: String,
    /// What is wrong in this case, for people.
    pub detail: String,
    /// What is wrong with which field, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The field's path, such as `headers.X-A`.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

/// All queues.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// The broker: `embedded` or `rabbitmq`.
    pub engine: String,
    /// One per lane, highest priority first.
    pub queues: Vec<QueueView>,
}

/// A queue, and the dispatcher's lane on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// The lane's name: what `queue` in a task and in paths means.
    pub name: String,
    /// The broker's name of it.
    pub broker_queue: String,
    /// Higher goes first.
    pub priority: u8,
    /// Whether this dispatcher takes nothing from it.
    pub paused: bool,
    /// `broker` if a pause outlives restarts, `dispatcher` if it is this process' alone.
    pub pause_scope: String,
    /// Whether the dispatcher has it open.
    pub open: bool,
    /// Tasks that wait to be delivered; `null` while the broker is away.
    pub ready: Option<u64>,
    /// Tasks delivered to dispatchers and not settled.
    pub unsettled: Option<u64>,
    /// Tasks that wait for their moment.
    pub delayed: Option<u64>,
    /// Dead letters of it.
    pub dead: Option<u64>,
    /// Bytes of the ready.
    pub ready_bytes: Option<u64>,
    /// Age of the oldest ready task.
    pub oldest_age_ms: Option<u64>,
    /// Consumers of all dispatchers.
    pub consumers: Option<u64>,
    /// Attempts of this dispatcher under way.
    pub in_flight: u32,
    /// Tasks that this dispatcher holds and has not sent.
    pub buffered: u32,
    /// What bounds it.
    pub limits: QueueLimits,
    /// What happened of late, in this dispatcher.
    pub recent: Recent,
    /// Since this dispatcher's start, by how deliveries were settled: `succeeded`, `retried`, `dead_lettered`, `expired`,
    /// `filtered`, `requeued`, `duplicate`.
    pub settled: BTreeMap<String, u64>,
    /// Deliveries since this dispatcher's start. Less the sum of `settled`, it is `in_flight` + `buffered`.
    pub delivered: u64,
}

/// A lane's limits, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueLimits {
    /// Most attempts under way.
    pub slots_max: u32,
    /// Slots of its own.
    pub slots_own: u32,
    /// Most deliveries held.
    pub window: u32,
    /// Attempts in all; `null` is without limit.
    pub max_attempts: Option<u32>,
    /// Limit of one attempt.
    pub attempt_timeout_ms: u64,
    /// Time to live of tasks that name none; `null` is without limit.
    pub ttl_default_ms: Option<u64>,
    /// Most messages in the queue; `null` where the broker's own limits hold.
    pub messages_max: Option<u64>,
}

/// The last minute of a queue or a destination.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Recent {
    /// Attempts ended a second.
    pub attempts_per_s: f64,
    /// Tasks completed a second.
    pub succeeded_per_s: f64,
    /// Attempts that failed, a second.
    pub failed_per_s: f64,
    /// Duration of attempts, median; `null` without any.
    pub attempt_p50_ms: Option<f64>,
    /// Duration of attempts, 99th percentile.
    pub attempt_p99_ms: Option<f64>,
    /// Completed tasks per second for each of the last 60 seconds, oldest first: what a sparkline needs.
    pub succeeded_by_s: Vec<u32>,
}

/// All destinations that this dispatcher has seen of late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Destinations {
    /// Busiest first; at most 200.
    pub destinations: Vec<DestinationView>,
    /// Whether there are more.
    pub more: bool,
}

/// An executor's origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DestinationView {
    /// Scheme, host and port.
    pub origin: String,
    /// Requests under way.
    pub in_flight: u32,
    /// How many it may have now.
    pub limit: u32,
    /// What happened of late.
    pub recent: Recent,
    /// Attempts by class of outcome since the start: `2xx`, `4xx`, `timeout`, ...
    pub outcomes: BTreeMap<String, u64>,
    /// The last failure in words.
    pub last_failure: Option<String>,
    /// When that was.
    pub last_failure_at: Option<String>,
}

/// The answer to a pause or resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PauseAnswer {
    /// The queue.
    pub queue: String,
    /// As it is now.
    pub paused: bool,
    /// See [`QueueView::pause_scope`].
    pub scope: String,
}

/// The answer to a purge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PurgeAnswer {
    /// The queue.
    pub queue: String,
    /// Tasks removed for good; with `dry_run`, tasks that would be.
    pub purged: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
}

/// Where a task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// Its queue (a lane's name), if that is known.
    pub queue: Option<String>,
    /// `in_flight`, `settling`, `waiting` (for a slot), `delayed`, `delivered` (another dispatcher holds it), `ready` (in
    /// its queue), `dead`. Of several copies the one that comes first here.
    pub state: String,
    /// Its URL, if that can be read.
    pub url: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// No attempt before this.
    pub due_at: Option<String>,
    /// When it was enqueued.
    pub enqueued_at: Option<String>,
    /// What came of the last attempts, newest last.
    pub history: Vec<AttemptView>,
    /// Copies of it, where a fault has left several.
    pub copies: u32,
}

/// The answer to sending a task now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunAnswer {
    /// The task.
    pub id: String,
    /// What it was doing: see [`TaskView::state`].
    pub was: String,
}

/// One attempt of the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    /// Counted from 1.
    pub number: u32,
    /// The HTTP status, or a word for what failed.
    pub outcome: String,
    /// When it ended.
    pub at: String,
    /// How long it took.
    pub duration_ms: u64,
}

/// A dead letter at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadView {
    /// What names it in paths: the task's id, or a hash of it where there is no id.
    pub key: String,
    /// The task's id.
    pub id: Option<String>,
    /// The lane that it came from.
    pub queue: Option<String>,
    /// Why it was given up: `max_attempts`, `permanent`, `undecodable`, ...
    pub reason: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// When.
    pub dead_at: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// Its URL.
    pub url: Option<String>,
}

/// A page of dead letters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadPage {
    /// At most `limit` of them.
    pub letters: Vec<DeadView>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next_cursor: Option<String>,
    /// Whether all was looked at. `false`: there were more than a listing looks through, and some that fit may be missing.
    pub complete: bool,
}

/// A dead letter in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadDetail {
    /// At a glance.
    #[serde(flatten)]
    pub letter: DeadView,
    /// What came of its attempts, newest last.
    pub history: Vec<AttemptView>,
    /// The message's content type.
    pub content_type: Option<String>,
    /// The message's headers, the dispatcher's notes among them; secrets masked.
    #[schema(value_type = Object)]
    pub headers: serde_json::Value,
    /// The message's body as text, its first 64 KiB; secrets in the task's headers masked, all else as it is. MessagePack is
    /// shown as JSON.
    pub body: String,
    /// Whether `body` is only a part, or had bytes that are no UTF-8 or no JSON.
    pub body_lossy: bool,
    /// Bytes of the whole body.
    pub body_bytes: u64,
    /// The broker's queue that a replay goes to; `null` if none is known.
    pub replays_to: Option<String>,
}

/// The answer to the replay of one dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayAnswer {
    /// The letter's key.
    pub key: String,
    /// True.
    pub replayed: bool,
}

/// Which dead letters are meant: those that fit all that is given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadFilter {
    /// Of this lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Given up for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With a URL that begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_prefix: Option<String>,
    /// Whose id, URL, reason or detail contains this, in whatever ASCII case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Of the task with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Given up longer ago than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<u64>,
    /// Given up more recently than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than_ms: Option<u64>,
}

/// What to do with dead letters by filter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadAction {
    /// Which.
    pub filter: DeadFilter,
    /// At most that many a second; above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// At most that many in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Only count.
    pub dry_run: bool,
}

/// A replay or delete by filter, which may take its time. Remembered by this process only, for an hour after its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    /// Names it.
    pub id: String,
    /// `replay` or `delete`.
    pub kind: String,
    /// `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Whether it only counts.
    pub dry_run: bool,
    /// Dead letters looked at.
    pub seen: u64,
    /// Of these, those that fit.
    pub matched: u64,
    /// Of these, replayed or deleted. While it runs, and after a failure, up to 64 of them may be unconfirmed.
    pub done: u64,
    /// Of these, kept: no queue to return to is known.
    pub stuck: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// An event as it comes over the wire of `/v1/events`: the fields of a server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventMessage {
    /// The event's number, to come back with as `Last-Event-ID`.
    pub id: String,
    /// Its kind.
    pub event: String,
    /// An `EventView` as JSON.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// One thing that happened, as sent by `/v1/events` (server-sent events; the SSE event name is `kind`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventView {
    /// One more with each event, and higher at each start; the SSE id.
    pub seq: u64,
    /// When.
    pub at: String,
    /// `enqueued`, `attempt_started`, `attempt_ended`, `retry_scheduled`, `settled`, `buried`, `expired`, `hook_failed`,
    /// `broker_connected`, `broker_disconnected`, `broker_blocked`, `queue_paused`, `queue_resumed`, `reconfigured`,
    /// `draining`, `missed` (the reader was too slow; `count` events are gone).
    pub kind: String,
    /// The queue (a lane's name).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue: Option<String>,
    /// The task's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task: Option<String>,
    /// The attempt's number, or attempts made so far.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<u32>,
    /// The executor's origin.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination: Option<String>,
    /// The HTTP status.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<u16>,
    /// The outcome's class, the settlement, the reason: a word.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
    /// In words, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// How long an attempt took, or how long until the next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<f64>,
    /// How many, where `kind` says of what.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
}

/// Which program this is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// `quebert`.
    pub name: String,
    /// Of the program.
    pub version: String,
    /// Of the API: what its paths begin with.
    pub api: String,
}

/// How the process is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// `embedded` or `rabbitmq`.
    pub engine: String,
    /// Whether it is ready for work.
    pub ready: bool,
    /// What keeps it from being ready.
    pub obstacles: Vec<String>,
    /// Whether the broker refuses publishes.
    pub blocked: bool,
    /// Since its start.
    pub uptime_ms: u64,
    /// Now, by this machine's clock.
    pub now: String,
    /// What this broker is able to do: `lookup`, `durable_once`, `durable_pause`, `ages`.
    pub abilities: Vec<String>,
    /// Attempts under way, and slots that lanes share.
    pub in_flight: u32,
    /// See `pool.slots`.
    pub slots: u32,
    /// What the caller's token may do: of `enqueue`, `read`, `operate`.
    pub roles: Vec<String>,
}
