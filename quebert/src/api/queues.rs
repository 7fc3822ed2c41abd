//! Queues: how they are, pausing, purging. Figures come from the broker and from the board; where the broker does not
//! answer in time, its part is left out.

use super::{
    answers::NoQueue,
    problem::{Code, Fault},
    state::ApiState,
    types::{PauseAnswer, PurgeAnswer, QueueLimits, QueueView, Queues},
};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use futures_util::future::{join, join_all};
use quebert_broker_adapter::admin::{AdminError, Place, PlaceStatus};
use quebert_dispatcher::config::{CoreConfig, LaneConfig};
use std::time::Duration;
use utoipa_axum::{router::OpenApiRouter, routes};

/// How long the broker may take to tell of its queues, all of them at the same time.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer to a pause waits for the dispatcher to say that it is so.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(purge))
}

/// All queues
///
/// Figures of the broker are `null` while it is away, or where it can't tell.
#[utoipa::path(
    get,
    path = "/v1/queues",
    tag = "queues",
    operation_id = "queues",
    responses((status = 200, description = "One per lane, highest priority first", body = Queues))
)]
async fn list(State(state): State<ApiState>) -> Json<Queues> {
    let core = state.core.now();
    let mut lanes: Vec<_> = core.lanes.iter().collect();
    lanes.sort_by_key(|lane| std::cmp::Reverse(lane.priority));
    let queues = join_all(lanes.into_iter().map(|lane| view(&state, lane))).await;
    Json(Queues { engine: state.admin.abilities().engine.to_owned(), queues })
}

/// One queue
#[utoipa::path(
    get,
    path = "/v1/queues/{queue}",
    tag = "queues",
    operation_id = "queue",
    params(("queue" = String, Path, description = "A lane's name")),
    responses(
        (status = 200, description = "How it is now", body = QueueView),
        NoQueue,
    )
)]
async fn show(State(state): State<ApiState>, Path(queue): Path<String>) -> Result<Json<QueueView>, Fault> {
    let core = state.core.now();
    let lane = lane(&core, &queue)?;
    Ok(Json(view(&state, lane).await))
}

/// Pause a queue
///
/// This dispatcher takes nothing more from it. Attempts under way end; what it holds goes back.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/pause",
    tag = "queues",
    operation_id = "pause_queue",
    params(("queue" = String, Path, description = "A lane's name")),
    responses(
        (status = 200, description = "It is paused", body = PauseAnswer),
        NoQueue,
    )
)]
async fn pause(State(state): State<ApiState>, Path(queue): Path<String>) -> Result<Json<PauseAnswer>, Fault> {
    steer(&state, &queue, true).await
}

/// Resume a queue
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/resume",
    tag = "queues",
    operation_id = "resume_queue",
    params(("queue" = String, Path, description = "A lane's name")),
    responses(
        (status = 200, description = "Tasks are taken from it", body = PauseAnswer),
        NoQueue,
    )
)]
async fn resume(State(state): State<ApiState>, Path(queue): Path<String>) -> Result<Json<PauseAnswer>, Fault> {
    steer(&state, &queue, false).await
}

/// What a purge is told.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeQuery {
    #[serde(default)]
    dry_run: bool,
}

/// Purge a queue
///
/// Removes for good what waits to be delivered. What a dispatcher holds, what waits for its moment, and dead letters stay.
#[utoipa::path(
    post,
    path = "/v1/queues/{queue}/purge",
    tag = "queues",
    operation_id = "purge_queue",
    params(("queue" = String, Path, description = "A lane's name"), ("dry_run" = Option<bool>, Query, description = "Only count")),
    responses(
        (status = 200, description = "They are gone, or with `dry_run` counted", body = PurgeAnswer),
        NoQueue,
    )
)]
async fn purge(
    State(state): State<ApiState>,
    Path(queue): Path<String>,
    Query(PurgeQuery { dry_run }): Query<PurgeQuery>,
) -> Result<Json<PurgeAnswer>, Fault> {
    let place = Place::Queue(lane(&state.core.now(), &queue)?.queue.clone());
    let purged = match dry_run {
        true => state.admin.status(place).await?.ready,
        false => state.admin.purge(place).await?,
    };
    Ok(Json(PurgeAnswer { queue, purged, dry_run }))
}

/// Remembered first: a pause that could not be is not made, rather than made until the next restart only.
async fn steer(state: &ApiState, queue: &str, paused: bool) -> Result<Json<PauseAnswer>, Fault> {
    let core = state.core.now();
    let lane = lane(&core, queue)?;
    state.admin.remember_pause(lane.queue.clone(), paused).await?;
    match paused {
        true => state.handle.pause(&lane.name),
        false => state.handle.resume(&lane.name),
    }
    // Whoever looks right after this answer sees it done.
    let told = async {
        while state.board.is_paused(&lane.name) != paused {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    // A dispatcher that has ended says nothing more, and takes nothing either.
    let _ = tokio::time::timeout(PAUSE_TIMEOUT, told).await;
    Ok(Json(PauseAnswer { queue: queue.to_owned(), paused, scope: scope(state).to_owned() }))
}

async fn view(state: &ApiState, lane: &LaneConfig) -> QueueView {
    let status = async |place| {
        let asked = tokio::time::timeout(STATUS_TIMEOUT, state.admin.status(place)).await;
        asked.unwrap_or_else(|_| Err(AdminError::Unavailable("no answer in time".to_owned())))
    };
    let (waiting, dead) = join(status(Place::Queue(lane.queue.clone())), status(Place::Dead(lane.queue.clone()))).await;
    let dead = match dead {
        Ok(status) => Some(status.ready + status.unsettled.unwrap_or(0)),
        // Nothing was ever dead there.
        Err(AdminError::NoSuchPlace(_)) => Some(0),
        Err(_) => None,
    };
    let PlaceStatus { ready, unsettled, delayed, bytes, oldest, consumers } = waiting.clone().unwrap_or_default();
    let figures = state.board.lane(&lane.name);
    QueueView {
        name: lane.name.to_string(),
        broker_queue: lane.queue.to_string(),
        priority: lane.priority,
        paused: figures.paused,
        pause_scope: scope(state).to_owned(),
        open: figures.open,
        ready: waiting.is_ok().then_some(ready),
        unsettled,
        delayed,
        dead,
        ready_bytes: bytes,
        oldest_age_ms: oldest.map(|at| millis(crate::intake::now().since(at))),
        consumers,
        in_flight: figures.in_flight,
        buffered: figures.buffered,
        limits: limits(state, lane),
        recent: figures.recent,
        settled: figures.settled,
        delivered: figures.delivered,
    }
}

fn limits(state: &ApiState, lane: &LaneConfig) -> QueueLimits {
    let embedded = state.config.broker.embedded.is_some();
    QueueLimits {
        slots_max: lane.slots_max,
        slots_own: lane.slots_own,
        window: lane.window.into(),
        max_attempts: lane.retry.max_attempts,
        attempt_timeout_ms: millis(lane.attempt_timeout),
        ttl_default_ms: lane.ttl_default.map(millis),
        messages_max: embedded.then_some(state.config.typed.embedded.queue_messages_max),
    }
}

fn lane<'c>(core: &'c CoreConfig, name: &str) -> Result<&'c LaneConfig, Fault> {
    let lanes = &core.lanes;
    lanes.iter().find(|lane| &*lane.name == name).ok_or_else(|| {
        let names: Vec<_> = lanes.iter().map(|lane| &*lane.name).collect();
        Fault::new(Code::QueueNotFound, format!("there are {}", names.join(", ")))
    })
}

fn scope(state: &ApiState) -> &'static str {
    if state.admin.abilities().durable_pause { "broker" } else { "dispatcher" }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
