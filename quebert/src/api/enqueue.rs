//! `POST /v1/tasks`, and how tasks are stored. An answer of 201 means that the broker has confirmed the task; in any other
//! case it says whether it may be there all the same.

use super::{
    body,
    context::Context,
    problem::{Code, Fault},
    state::ApiState,
    types::{Accepted, FieldError},
};
use crate::intake::{Desk, Intake, Refusal};
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quebert_broker_adapter::admin::{Enqueue, Enqueued, Once};
use quebert_dispatcher::{
    event::{Event, Purpose},
    ports::{broker::PublishError, observer::Observer as _},
};
use sha2::{Digest as _, Sha256};
use std::{sync::Arc, time::Instant};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What adding tasks takes, made once.
pub(super) struct Counter {
    /// As for all handlers.
    pub(super) state: ApiState,
    /// Takes tasks in.
    pub(super) desk: Desk,
}

/// The header that makes an enqueue safe to repeat.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The longest key of one task. Of a batch it is shorter: an item's number is added to it.
const KEY_BYTES_MAX: usize = 255;

pub(super) fn routes(state: &ApiState) -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(enqueue)).with_state(Counter::new(state))
}

/// Add a task
///
/// The task is stored when this answers 201. With an `Idempotency-Key`, sending the same bytes again stores nothing new
/// and answers 200 with the first task's id.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    tag = "tasks",
    operation_id = "enqueue",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters; remembered for `api.idempotency_window`", pattern = "^[!-~]{1,255}$")),
    request_body(
        content = ref("#/components/schemas/Envelope"),
        content_type = "application/json",
        examples(
            ("minimal" = (summary = "What is left out is the queue's to say", value = json!({"url": "https://example.com/mails"}))),
            ("delayed" = (
                summary = "In a minute, with a body and a policy of its own",
                value = json!({
                    "url": "https://example.com/mails",
                    "body": {"user": 17},
                    "headers": {"X-Shop": "north"},
                    "queue": "high",
                    "delay_ms": 60_000,
                    "retry": {"max_attempts": 5},
                })
            )),
        ),
    ),
    responses(
        (status = 201, description = "It is stored", body = Accepted, headers(("Location" = String, description = "Where it can be looked up"))),
        (status = 200, description = "It was stored before, with this key", body = Accepted, headers(("Idempotent-Replayed" = String, description = "`true`"))),
        (status = 409, description = "The first request with this key is under way"),
        (status = 422, description = "It is no task, names no queue that there is, or the key came with another task before"),
    )
)]
async fn enqueue(State(counter): State<Arc<Counter>>, headers: HeaderMap, body: Body) -> Result<Response, Fault> {
    body::expect_type(&headers, &["application/json"])?;
    let key = key(&headers, KEY_BYTES_MAX)?;
    let body = body::whole(&headers, body, counter.state.config.api.request_bytes_max).await?;
    let mut intake = counter.desk.read(&body)?;
    Context::of(&headers).give(&mut intake.message);
    counter.ready()?;
    let once = key.map(|key| counter.once(key, &body));
    let (id, lane) = (intake.id.clone(), intake.lane.clone());
    let stored = counter.store(vec![(intake, once)]).await.pop().expect("one answer for one task")?;
    let (status, id) = match stored {
        Stored::Now => (StatusCode::CREATED, id),
        Stored::Before { id } => (StatusCode::OK, id),
    };
    let location = HeaderValue::try_from(format!("/v1/tasks/{}", path_segment(&id))).expect("it is ASCII: encoded");
    let mut response = (status, Json(Accepted { id, queue: lane.to_string() })).into_response();
    response.headers_mut().insert(header::LOCATION, location);
    if status == StatusCode::OK {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What became of a task that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is stored.
    Now,
    /// One with the same key was stored before, under this id.
    Before {
        /// Of the first task.
        id: String,
    },
}

impl Counter {
    pub(super) fn new(state: &ApiState) -> Arc<Self> {
        let desk = Desk::new(&state.config).following(state.core.clone()).guarded(state.config.http.guard.clone());
        Arc::new(Self { desk, state: state.clone() })
    }

    /// Refuses early what the broker could not take anyway.
    pub(super) fn ready(&self) -> Result<(), Fault> {
        let health = &self.state.health;
        if health.draining() {
            return Err(Fault::new(Code::BrokerUnavailable, "this process is ending; nothing was stored"));
        }
        if !health.connected() {
            return Err(Fault::new(Code::BrokerUnavailable, "not connected to the broker; nothing was stored"));
        }
        if health.blocked() {
            return Err(Fault::new(Code::BrokerBlocked, "the broker is short of memory or disk; nothing was stored"));
        }
        Ok(())
    }

    /// An idempotency key for what was sent, byte for byte.
    pub(super) fn once(&self, key: String, sent: &[u8]) -> Once {
        let until = crate::intake::now().saturating_add(self.state.config.api.idempotency_window);
        Once { key, fingerprint: Sha256::digest(sent).into(), until }
    }

    /// Stores tasks; one answer each, in order.
    pub(super) async fn store(&self, tasks: Vec<(Intake, Option<Once>)>) -> Vec<Result<Stored, Fault>> {
        let count = tasks.len();
        let told: Vec<_> = tasks.iter().map(|(intake, _)| (intake.lane.clone(), intake.id.clone())).collect();
        let keyed = tasks.iter().any(|(_, once)| once.is_some());
        let tasks = tasks.into_iter().map(|(Intake { queue, message, .. }, once)| Enqueue { queue, message, once });
        let (tasks, admin, started) = (tasks.collect(), self.state.admin.clone(), Instant::now());
        let answers = if keyed {
            // On a task of its own: if the client goes away in the middle, the key's fate must still become known.
            let enqueue = tokio::spawn(async move { admin.enqueue(tasks).await });
            enqueue.await.unwrap_or_else(|_| vec![Err(PublishError::Unknown("it failed inside".to_owned())); count])
        } else {
            admin.enqueue(tasks).await
        };
        assert_eq!(answers.len(), count, "the broker answers each task");
        let duration = started.elapsed();
        for result in answers.iter().filter_map(published) {
            self.state.metrics.observe(&Event::Published { purpose: Purpose::Enqueue, result, duration });
        }
        let outcomes: Vec<_> = answers.into_iter().map(outcome).collect();
        for ((lane, id), _) in told.iter().zip(&outcomes).filter(|(_, outcome)| matches!(outcome, Ok(Stored::Now))) {
            self.state.feed.enqueued(lane, id);
        }
        outcomes
    }
}

/// What the broker said to the publish, if there was one: a repeated key stores nothing.
fn published(answer: &Result<Enqueued, PublishError>) -> Option<&'static str> {
    match answer {
        Ok(Enqueued::Stored) => Some("ack"),
        Ok(Enqueued::Repeated { .. } | Enqueued::Conflict | Enqueued::UnderWay) => None,
        Err(error) => Some(error.label()),
    }
}

fn outcome(answer: Result<Enqueued, PublishError>) -> Result<Stored, Fault> {
    match answer? {
        Enqueued::Stored => Ok(Stored::Now),
        Enqueued::Repeated { id } => Ok(Stored::Before { id }),
        Enqueued::Conflict => Err(Fault::new(
            Code::IdempotencyConflict,
            "this Idempotency-Key came before with another body; nothing new was stored",
        )),
        Enqueued::UnderWay => Err(Fault::new(
            Code::IdempotencyUnderWay,
            "the first request with this Idempotency-Key has no answer yet; nothing new was stored",
        )),
    }
}

/// The request's idempotency key.
pub(super) fn key(headers: &HeaderMap, bytes_max: usize) -> Result<Option<String>, Fault> {
    let wrong = || {
        let detail = format!("Idempotency-Key must be one value of 1 to {bytes_max} visible ASCII characters");
        Fault::new(Code::InvalidRequest, detail)
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let bytes = value.as_bytes();
            let fits = (1..=bytes_max).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
            let key = fits.then(|| value.to_str().ok()).flatten().ok_or_else(wrong)?;
            Ok(Some(key.to_owned()))
        }
        (Some(_), Some(_)) => Err(wrong()),
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::NotJson(_) => Self::new(Code::InvalidJson, detail),
            Refusal::NoSuchLane { lanes } => {
                let field =
                    FieldError { field: "queue".to_owned(), detail: format!("no such queue; there are {lanes}") };
                Self::new(Code::UnknownQueue, detail).fields(vec![field])
            }
            Refusal::NotATask(wrong) => {
                let fields = wrong.into_iter().map(|v| FieldError { field: v.field, detail: v.message });
                Self::new(Code::InvalidTask, detail).fields(fields.collect())
            }
        }
    }
}

/// A path segment that means `text`: all but RFC 3986's unreserved characters are encoded.
fn path_segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
