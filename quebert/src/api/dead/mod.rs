//! Dead letters: listed, shown, replayed, deleted, one by one or by filter. All of it is sweeps over the broker's dead
//! letters; nothing of them is kept here.

mod cursor;
mod one;
mod page;
mod run;

use super::{
    answers::{LettersBusy, NoAction, NoLetter, OperationsBusy},
    body,
    operations::{self, Operations},
    problem::{Code, Fault},
    state::ApiState,
    types::{DeadAction, DeadDetail, DeadFilter, DeadPage, FieldError, Operation, ReplayAnswer},
};
use crate::letter::{Drawer, Filter};
use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use cursor::Cursor;
use http::{HeaderMap, StatusCode};
use one::{What, one};
use quebert_broker_adapter::admin::{AdminError, Place, Position, Sweeper, Swept};
use run::{Order, WaysBack};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::OwnedMutexGuard;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Letters on a page: without saying how many, and at most.
const PAGE: usize = 50;
const PAGE_MAX: usize = 500;
/// Letters a second at most, where a rate is asked for.
const RATE_MAX: f64 = 1e6;
/// The longest pause between two letters, a year: smaller rates would overflow clocks.
const PAUSE_S_MAX: f64 = 365.0 * 86_400.0;
/// How long a request waits for its turn at letters that others look at.
const TURN_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a dry run may take.
const DRY_RUN_TIME: Duration = Duration::from_secs(25);

pub(super) fn routes(state: &ApiState) -> OpenApiRouter<ApiState> {
    let desk = Arc::new(Desk { state: state.clone(), operations: Arc::default(), turns: Mutex::default() });
    let operations = operations::routes(desk.operations.clone());
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(replay_all))
        .routes(routes!(delete_all))
        .routes(routes!(show, delete_one))
        .routes(routes!(replay_one))
        .with_state(desk)
        .merge(operations)
}

/// What a listing is told.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    queue: Option<String>,
    reason: Option<String>,
    url_prefix: Option<String>,
    search: Option<String>,
    id: Option<String>,
    older_than_ms: Option<u64>,
    newer_than_ms: Option<u64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// List dead letters
///
/// Those that fit all that is given, oldest first: queue by queue where the broker tells where messages lie, else by the
/// moment they were given up. There are more pages as long as `next_cursor` is not `null`; pass it on as `cursor`, with the
/// same filters.
#[utoipa::path(
    get,
    path = "/v1/dead",
    tag = "dead letters",
    operation_id = "dead_letters",
    params(
        ("queue" = Option<String>, Query, description = "Of this queue (a lane's name)"),
        ("reason" = Option<String>, Query, description = "Given up for this reason"),
        ("url_prefix" = Option<String>, Query, description = "With a URL that begins so"),
        ("search" = Option<String>, Query, description = "Whose id, URL, reason or detail contains this"),
        ("id" = Option<String>, Query, description = "Of the task with this id"),
        ("older_than_ms" = Option<u64>, Query, description = "Given up that long ago or longer"),
        ("newer_than_ms" = Option<u64>, Query, description = "Given up more recently than that"),
        ("limit" = Option<usize>, Query, description = "Letters on the page; 50 without", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of them", body = DeadPage),
        LettersBusy,
    )
)]
async fn list(State(desk): State<Arc<Desk>>, Query(query): Query<ListQuery>) -> Result<Json<DeadPage>, Fault> {
    let wrong = |detail: String| Fault::new(Code::InvalidRequest, detail);
    let ListQuery { queue, reason, url_prefix, search, id, older_than_ms, newer_than_ms, limit, cursor } = query;
    let said = DeadFilter { queue, reason, url_prefix, search, id, older_than_ms, newer_than_ms };
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(wrong(format!("limit: 1 to {PAGE_MAX}")));
    }
    let (filter, drawers) = desk.meant(&said).map_err(|error| wrong(format!("{}: {}", error.field, error.detail)))?;
    let cursor = cursor.map(|text| Cursor::read(&text, &said)).transpose()?;
    carry_out(async move { page::page(&desk, &said, drawers, filter, limit, cursor).await }).await.map(Json)
}

/// Show a dead letter
///
/// Values of headers that look like secrets, such as `Authorization` or `Cookie`, are replaced by `***`, also within the
/// task; the rest of the task is shown as it is.
#[utoipa::path(
    get,
    path = "/v1/dead/{key}",
    tag = "dead letters",
    operation_id = "dead_letter",
    params(("key" = String, Path, description = "The letter's key, as listed")),
    responses(
        (status = 200, description = "In full", body = DeadDetail),
        NoLetter,
        LettersBusy,
    )
)]
async fn show(State(desk): State<Arc<Desk>>, Path(key): Path<String>) -> Result<Json<DeadDetail>, Fault> {
    carry_out(async move { one(&desk, key, What::Show).await }).await.map(Json)
}

/// Replay a dead letter
///
/// It is published to its queue again, as the producer wrote it; attempts count from 1.
#[utoipa::path(
    post,
    path = "/v1/dead/{key}/replay",
    tag = "dead letters",
    operation_id = "replay_dead_letter",
    params(("key" = String, Path, description = "The letter's key, as listed")),
    responses(
        (status = 200, description = "It is in its queue again", body = ReplayAnswer),
        NoLetter,
        (status = 409, description = "No queue to return to is there (`no_way_back`)"),
        LettersBusy,
    )
)]
async fn replay_one(State(desk): State<Arc<Desk>>, Path(key): Path<String>) -> Result<Json<ReplayAnswer>, Fault> {
    let answer = ReplayAnswer { key: key.clone(), replayed: true };
    carry_out(async move { one(&desk, key, What::Replay).await }).await.map(|_| Json(answer))
}

/// Delete a dead letter
///
/// For good.
#[utoipa::path(
    delete,
    path = "/v1/dead/{key}",
    tag = "dead letters",
    operation_id = "delete_dead_letter",
    params(("key" = String, Path, description = "The letter's key, as listed")),
    responses(
        (status = 204, description = "It is gone"),
        NoLetter,
        LettersBusy,
    )
)]
async fn delete_one(State(desk): State<Arc<Desk>>, Path(key): Path<String>) -> Result<StatusCode, Fault> {
    carry_out(async move { one(&desk, key, What::Delete).await }).await.map(|_| StatusCode::NO_CONTENT)
}

/// Replay dead letters by filter
///
/// Goes on in the background; the answer's `id` tells more at `/v1/operations/{id}`. Letters without a queue to return to
/// stay, and are counted as `stuck`. With `dry_run` nothing is changed, and the answer has the final counts.
#[utoipa::path(
    post,
    path = "/v1/dead/replay",
    tag = "dead letters",
    operation_id = "replay_dead_letters",
    request_body = DeadAction,
    responses(
        (status = 200, description = "Counted (`dry_run`)", body = Operation),
        (status = 202, description = "Begun", body = Operation),
        NoAction,
        OperationsBusy,
    )
)]
async fn replay_all(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Operation>), Fault> {
    begin(desk, &headers, body, true).await
}

/// Delete dead letters by filter
///
/// For good. Otherwise like a replay; an empty filter means all of them.
#[utoipa::path(
    post,
    path = "/v1/dead/delete",
    tag = "dead letters",
    operation_id = "delete_dead_letters",
    request_body = DeadAction,
    responses(
        (status = 200, description = "Counted (`dry_run`)", body = Operation),
        (status = 202, description = "Begun", body = Operation),
        NoAction,
        OperationsBusy,
    )
)]
async fn delete_all(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Operation>), Fault> {
    begin(desk, &headers, body, false).await
}

async fn begin(
    desk: Arc<Desk>,
    headers: &HeaderMap,
    body: Body,
    replay: bool,
) -> Result<(StatusCode, Json<Operation>), Fault> {
    body::expect_type(headers, &["application/json"])?;
    let body = body::whole(headers, body, desk.state.config.api.request_bytes_max).await?;
    let action = read_action(&body)?;
    let (filter, drawers) = desk.meant(&action.filter).map_err(|FieldError { field, detail }| {
        invalid("the filter makes no sense", vec![FieldError { field: format!("filter.{field}"), detail }])
    })?;
    let dry_run = action.dry_run;
    let order = Order {
        filter,
        replay,
        dry_run,
        pause: action
            .rate_per_s
            .filter(|_| !dry_run)
            .map(|rate| Duration::from_secs_f64((1.0 / rate).min(PAUSE_S_MAX))),
        limit: action.limit,
        time: dry_run.then_some(DRY_RUN_TIME),
    };
    let running = desk.operations.begin(if replay { "replay" } else { "delete" }, dry_run)?;
    let progress = running.0.clone();
    let work = tokio::spawn(async move { run::run(&desk, running, drawers, order).await });
    if !dry_run {
        return Ok((StatusCode::ACCEPTED, Json(progress.view())));
    }
    // However it ended, the operation says so.
    drop(work.await);
    Ok((StatusCode::OK, Json(progress.view())))
}

fn read_action(body: &[u8]) -> Result<DeadAction, Fault> {
    let said: Value = serde_json::from_slice(body).map_err(|e| Fault::new(Code::InvalidJson, e.to_string()))?;
    // A list would be read as an object's fields in their order, and an empty one as a filter that all letters fit.
    for (path, part) in [("", Some(&said)), ("filter", said.get("filter"))] {
        if part.is_some_and(|part| !part.is_object()) {
            let field = FieldError { field: path.to_owned(), detail: "must be an object".to_owned() };
            return Err(invalid("a field is not what this takes", vec![field]));
        }
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let action: DeadAction = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let field = FieldError { field: e.path().to_string(), detail: e.inner().to_string() };
        invalid("a field is not what this takes", vec![field])
    })?;
    let mut wrong = Vec::new();
    let mut say =
        |field: &str, detail: &str| wrong.push(FieldError { field: field.to_owned(), detail: detail.to_owned() });
    if action.rate_per_s.is_some_and(|rate| !(rate > 0.0 && rate <= RATE_MAX)) {
        say("rate_per_s", "above 0, at most 1000000");
    }
    if action.limit.is_some_and(|limit| limit == 0 || i64::try_from(limit).is_err()) {
        say("limit", "1 to 9223372036854775807");
    }
    if wrong.is_empty() { Ok(action) } else { Err(invalid("a field is out of range", wrong)) }
}

fn invalid(detail: &str, errors: Vec<FieldError>) -> Fault {
    Fault::new(Code::InvalidBody, detail).fields(errors)
}

/// On a task of its own, to its end: a client that goes away must not break a sweep off in the middle of a move.
async fn carry_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| Err(Fault::new(Code::Internal, "this is a bug; the log has more")))
}

/// What handlers of dead letters share.
struct Desk {
    state: ApiState,
    operations: Arc<Operations>,
    /// Who looks at which letters, for brokers that hide from one what another looks at.
    turns: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<()>>>>,
}

impl Desk {
    /// The filter, checked, and where those that it means lie.
    fn meant(&self, said: &DeadFilter) -> Result<(Filter, Vec<Drawer>), FieldError> {
        let wrong = |field: &str, detail: String| FieldError { field: field.to_owned(), detail };
        let filter = Filter::try_from(said.clone()).map_err(|e| wrong(e.field(), e.to_string()))?;
        let drawers = Drawer::all(&self.state.core.now().lanes, filter.lane.as_deref());
        let drawers = drawers.ok_or_else(|| wrong("queue", "there is no such queue".to_owned()))?;
        Ok((filter, drawers))
    }

    /// Sweeps when it is its turn.
    async fn sweep(
        &self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &mut dyn Sweeper,
    ) -> Result<Result<Swept, AdminError>, Fault> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turn(&place)).await;
        let _turn = turn.map_err(|_| Fault::new(Code::Busy, "others look at these dead letters"))?;
        Ok(self.state.admin.sweep(place, after, limit, sweeper).await)
    }

    /// Waits for its turn at a place. RabbitMQ hides what one looks at from all others until it has ended, so that a
    /// second listing would find nothing. A broker that can look tasks up by itself hides nothing: `None`.
    async fn turn(&self, place: &Place) -> Option<OwnedMutexGuard<()>> {
        if self.state.admin.abilities().lookup {
            return None;
        }
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(place.clone()).or_default().clone();
        Some(turn.lock_owned().await)
    }

    fn ways_back(&self) -> WaysBack {
        WaysBack::new(self.state.admin.clone())
    }
}
