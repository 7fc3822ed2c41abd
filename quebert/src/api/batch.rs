//! `POST /v1/tasks/batch`: many tasks in one request, each stored or refused by itself. What is wrong with the request as a
//! whole (its syntax as an array, its size) is found before anything is stored.

#![expect(unused_qualifications, reason = "utoipa's macro writes them")]

use super::{
    body,
    context::Context,
    enqueue::{Counter, Stored, key},
    problem::{Code, Fault},
    state::ApiState,
    types::{Accepted, BatchAnswer, BatchResult},
};
use crate::intake::Intake;
use axum::{Json, body::Body, extract::State};
use bytes::Bytes;
use http::HeaderMap;
use serde::{
    Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, SchemaType},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Tasks that are handed to the broker at a time: enough to fill its pipeline, and a bound of the memory.
const CHUNK: usize = 256;

/// Batches that are held in memory at a time; more wait. With the default limit that is 128 MiB.
const BATCHES_MAX: usize = 4;

/// How long a batch waits for its turn.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The longest key of a batch: `#` and an item's number are added to it.
const KEY_BYTES_MAX: usize = 240;

pub(super) fn routes(state: &ApiState) -> OpenApiRouter<ApiState> {
    let batches = Batches { counter: Counter::new(state), room: Semaphore::new(BATCHES_MAX) };
    OpenApiRouter::new().routes(routes!(enqueue_batch)).with_state(Arc::new(batches))
}

/// An array of tasks, as the description says it: an item may be anything, since one that is no task is refused by itself.
struct BatchArray;

impl PartialSchema for BatchArray {
    fn schema() -> RefOr<Schema> {
        let task = AnyOfBuilder::new()
            .item(Ref::from_schema_name("Envelope"))
            .item(ObjectBuilder::new().schema_type(SchemaType::AnyValue).description(Some("Refused by itself")));
        RefOr::T(ArrayBuilder::new().items(task).into())
    }
}

impl ToSchema for BatchArray {}

/// One task a line. Any text is that: a line that is no task is refused by itself.
struct BatchLines;

impl PartialSchema for BatchLines {
    fn schema() -> RefOr<Schema> {
        let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
        RefOr::T(any.description(Some("One task a line; blank lines are left out")).into())
    }
}

impl ToSchema for BatchLines {}

struct Batches {
    counter: Arc<Counter>,
    room: Semaphore,
}

/// Add many tasks
///
/// A JSON array of tasks, or one task a line. Each item is stored or refused by itself; the answer has one result for each,
/// in order. If this answers anything but 200, nothing of the batch was stored. With an `Idempotency-Key`, each item is
/// stored at most once for the key and its position.
#[utoipa::path(
    post,
    path = "/v1/tasks/batch",
    tag = "tasks",
    operation_id = "enqueue_batch",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 240 visible ASCII characters; remembered for `api.idempotency_window`", pattern = "^[!-~]{1,240}$")),
    request_body(content(
        (BatchArray = "application/json", example = json!([{"url": "https://example.com/a"}, {"url": "https://example.com/b"}])),
        (BatchLines = "application/x-ndjson", example = "{\"url\": \"https://example.com/a\"}\n{\"url\": \"https://example.com/b\"}\n"),
    )),
    responses(
        (status = 200, description = "What became of each item", body = BatchAnswer),
        (status = 429, description = "Too many batches at a time"),
    )
)]
async fn enqueue_batch(
    State(batches): State<Arc<Batches>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BatchAnswer>, Fault> {
    const JSON: &str = "application/json";
    let media_type = body::expect_type(&headers, &[JSON, "application/x-ndjson"])?;
    let key = key(&headers, KEY_BYTES_MAX)?;
    let context = Context::of(&headers);
    let counter = &batches.counter;
    counter.ready()?;
    let _place = batches.place().await?;
    let api = &counter.state.config.api;
    let body = body::whole(&headers, body, api.batch_bytes_max).await?;
    let items =
        if media_type == JSON { array(&body, api.batch_items_max)? } else { lines(&body, api.batch_items_max)? };

    let mut answer = BatchAnswer { enqueued: 0, refused: 0, results: Vec::with_capacity(items.len()) };
    for (chunk, first) in items.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        for (index, result) in (first..).zip(store(counter, chunk, first, key.as_deref(), &context).await) {
            answer.results.push(match result {
                Ok((task, replayed)) => {
                    answer.enqueued += 1;
                    BatchResult { index, task: Some(task), replayed, problem: None }
                }
                Err(fault) => {
                    answer.refused += 1;
                    BatchResult { index, task: None, replayed: false, problem: Some(fault.into_problem()) }
                }
            });
        }
    }
    Ok(Json(answer))
}

impl Batches {
    async fn place(&self) -> Result<SemaphorePermit<'_>, Fault> {
        let place = tokio::time::timeout(PLACE_WAIT_MAX, self.room.acquire()).await;
        let busy = |_| Fault::new(Code::Busy, format!("{BATCHES_MAX} batches are being read and stored"));
        Ok(place.map_err(busy)?.expect("the semaphore is never closed"))
    }
}

/// Stores what can be; one answer each, in order, and whether the item had been stored before.
async fn store(
    counter: &Counter,
    items: &[Bytes],
    first: u64,
    key: Option<&str>,
    context: &Context,
) -> Vec<Result<(Accepted, bool), Fault>> {
    let mut tasks = Vec::with_capacity(items.len());
    let read: Vec<_> = (first..)
        .zip(items)
        .map(|(index, item)| {
            let mut intake = take_in(counter, item)?;
            context.give(&mut intake.message);
            let accepted = Accepted { id: intake.id.clone(), queue: intake.lane.to_string() };
            tasks.push((intake, key.map(|key| counter.once(format!("{key}#{index}"), item))));
            Ok(accepted)
        })
        .collect();
    let mut stored = if tasks.is_empty() { Vec::new() } else { counter.store(tasks).await }.into_iter();
    let answers = read.into_iter().map(|read: Result<Accepted, Fault>| {
        let accepted = read?;
        Ok(match stored.next().expect("one answer for each task that was taken in")? {
            Stored::Now => (accepted, false),
            Stored::Before { id } => (Accepted { id, ..accepted }, true),
        })
    });
    answers.collect()
}

fn take_in(counter: &Counter, item: &Bytes) -> Result<Intake, Fault> {
    let bytes_max = counter.state.config.api.request_bytes_max;
    if item.len() > bytes_max {
        return Err(Fault::new(Code::TooLarge, format!("one task may have at most {bytes_max} bytes")));
    }
    Ok(counter.desk.read(item)?)
}

/// The items of a JSON array, as parts of `body`.
fn array(body: &Bytes, items_max: usize) -> Result<Vec<Bytes>, Fault> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let items = reader.deserialize_seq(Items { items_max }).and_then(|items| reader.end().map(|()| items));
    let items = items.map_err(|e| {
        let code = if e.is_data() { Code::InvalidBody } else { Code::InvalidJson };
        Fault::new(code, e.to_string())
    })?;
    let items = items.ok_or_else(|| too_many(items_max))?;
    Ok(items.into_iter().map(|item| body.slice_ref(item.get().as_bytes())).collect())
}

/// Reads an array up to a limit of items; `None` is more than that.
struct Items {
    items_max: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() < self.items_max {
                items.push(item);
            } else {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
        }
        Ok(Some(items))
    }
}

/// The lines that are not blank, as parts of `body`.
fn lines(body: &Bytes, items_max: usize) -> Result<Vec<Bytes>, Fault> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let items: Vec<_> = lines.take(items_max + 1).map(|line| body.slice_ref(line)).collect();
    if items.len() > items_max { Err(too_many(items_max)) } else { Ok(items) }
}

fn too_many(items_max: usize) -> Fault {
    Fault::new(Code::TooLarge, format!("a batch may have at most {items_max} tasks; nothing was stored"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: Result<Vec<Bytes>, Fault>) -> Result<Vec<String>, Code> {
        let text = |item: Bytes| String::from_utf8(item.to_vec()).unwrap();
        items.map(|items| items.into_iter().map(text).collect()).map_err(|fault| fault.code())
    }

    #[test]
    fn items_of_an_array_are_parts_of_the_body() {
        let array = |text: &'static str| texts(array(&Bytes::from_static(text.as_bytes()), 2));
        assert_eq!(array(" [ {\"a\": [1]} , 5 ] \n"), Ok(vec!["{\"a\": [1]}".to_owned(), "5".to_owned()]));
        assert_eq!(array("[]"), Ok(vec![]));
        assert_eq!(array("[1,2,3]"), Err(Code::TooLarge));
        assert_eq!(array("[1,2,3"), Err(Code::InvalidJson));
        assert_eq!(array("[1,2] 3"), Err(Code::InvalidJson));
        assert_eq!(array("{}"), Err(Code::InvalidBody));
    }

    #[test]
    fn blank_lines_are_no_items() {
        let lines = |text: &'static str| texts(lines(&Bytes::from_static(text.as_bytes()), 2));
        assert_eq!(lines("\r\n{}\r\n  \n x"), Ok(vec!["{}".to_owned(), "x".to_owned()]));
        assert_eq!(lines(""), Ok(vec![]));
        assert_eq!(lines("1\n2\n3"), Err(Code::TooLarge));
    }
}
