//! `GET /v1/events`: the feed as server-sent events. It tells nothing of what happened before, but to a reader that comes
//! back.

use super::{
    feed::Interest,
    problem::{Code, Fault},
    state::ApiState,
    types::{EventMessage, EventView},
};
use axum::{
    extract::{Query, State},
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use quebert_wire::TaskId;
use std::{convert::Infallible, time::Duration};
use utoipa_axum::{router::OpenApiRouter, routes};

/// A comment is sent after that long without an event, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Events as they happen
///
/// Server-sent events. Each has its number as `id`, its kind as `event`, and an `EventView` as `data`. A reader that comes
/// back with `Last-Event-ID` gets what happened meanwhile, as far as the last 4,096 events go. Whoever is too slow, or
/// comes back too late, gets a `missed` event, whatever it asked for, with how many are gone.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "events",
    params(
        ("queue" = Option<String>, Query, description = "Only of this queue (a lane's name)"),
        ("task" = Option<String>, Query, description = "Only of the task with this id", pattern = "^[!-~]{1,128}$"),
        ("kind" = Option<Vec<String>>, Query, description = "Only of these kinds; may be repeated, or have commas in it"),
        ("Last-Event-ID" = Option<String>, Header, description = "Goes on behind this event", pattern = "^[0-9]{0,19}$"),
    ),
    responses(
        (status = 200, description = "A stream without end", body = EventMessage, content_type = "text/event-stream"),
        (status = 429, description = "64 others read already (`busy`)"),
    )
)]
async fn events(
    State(state): State<ApiState>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Fault> {
    let interest = interest(&state, query)?;
    let reader = state.feed.read(interest, last_event_id(&headers)?);
    let reader = reader.map_err(|e| Fault::new(Code::Busy, e.to_string()))?;
    let stream = stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)));
    let stream = stream.flat_map(stream::iter).map(|view| Ok::<_, Infallible>(event(&view)));
    let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // nginx would hold events back until they fill a buffer.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(([unbuffered], sse))
}

fn event(view: &EventView) -> Event {
    let data = serde_json::to_string(view).expect("an event is plain data");
    Event::default().id(view.seq.to_string()).event(&view.kind).data(data)
}

fn interest(state: &ApiState, query: Vec<(String, String)>) -> Result<Interest, Fault> {
    let wrong = |detail: String| Fault::new(Code::InvalidRequest, detail);
    let (mut queue, mut task, mut interest) = (None, None, Interest::default());
    for (name, value) in query {
        let taken = match &*name {
            "queue" => queue.replace(value).is_none(),
            "task" => task.replace(TaskId::new(&value).map_err(|e| wrong(format!("task {e}")))?).is_none(),
            "kind" => {
                let unknown = value.split(',').find(|kind| !interest.add_kind(kind.trim()));
                if unknown.is_some() {
                    let known: Vec<_> = Interest::kinds().collect();
                    return Err(wrong(format!("kind: known kinds are {}", known.join(", "))));
                }
                true
            }
            _ => return Err(wrong("known parameters are queue, task and kind".to_owned())),
        };
        if !taken {
            return Err(wrong(format!("{name} is given more than once")));
        }
    }
    if queue.as_ref().is_some_and(|queue| state.core.now().lanes.iter().all(|lane| &*lane.name != queue.as_str())) {
        return Err(wrong("queue: there is no such queue".to_owned()));
    }
    Ok(interest.queue(queue).task(task))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    match value.to_str().ok().map(str::trim) {
        // What a browser sends that has not seen any.
        Some("") => Ok(None),
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map(Some).map_err(|_| no_id()),
        _ => Err(no_id()),
    }
}

fn no_id() -> Fault {
    Fault::new(Code::InvalidRequest, "Last-Event-ID must be the id of an event")
}
