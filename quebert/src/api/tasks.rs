//! One task that waits somewhere: where it is, sending it now, taking it out. What this dispatcher holds is known with
//! any broker; what lies in queues only where the broker can look.

use super::{
    answers::{NoTask, NotSteered},
    problem::{Code, Fault},
    state::ApiState,
    types::{RunAnswer, TaskView},
};
use crate::letter;
use axum::{
    Json,
    extract::{Path, State},
};
use http::StatusCode;
use quebert_broker_adapter::admin::{Found, FoundState};
use quebert_dispatcher::shell::{HeldState, HeldTask, Steered};
use quebert_wire::{Codecs, Decoded, Message, TaskId, decode};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(look, cancel)).routes(routes!(run))
}

/// Look a task up
///
/// Finds tasks that wait, are under way, or are dead letters. Of a task that is done nothing is kept.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    tag = "tasks",
    operation_id = "task",
    params(("id" = String, Path, description = "The task's id", pattern = "^[!-~]{1,128}$")),
    responses(
        (status = 200, description = "Where it is", body = TaskView),
        NoTask,
    )
)]
async fn look(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<TaskView>, Fault> {
    let id = task_id(&id)?;
    let copies = Copies::of(&state, &id).await?;
    let first = copies.states().into_iter().next().ok_or_else(|| missing(&state))?;
    Ok(Json(copies.view(&state, &id, first)))
}

/// Send a task now
///
/// A task that waits for its moment is sent as soon as a slot is free.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/run",
    tag = "tasks",
    operation_id = "run_task",
    params(("id" = String, Path, description = "The task's id", pattern = "^[!-~]{1,128}$")),
    responses(
        (status = 200, description = "It is due", body = RunAnswer),
        NoTask,
        NotSteered,
    )
)]
async fn run(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<RunAnswer>, Fault> {
    let id = task_id(&id)?;
    let before = Copies::of(&state, &id).await?.states();
    let mut done = match state.handle.run_now(id.clone()).await {
        Steered::Done => true,
        Steered::NotHeld => false,
        Steered::UnderWay => return Err(under_way()),
    };
    if before.contains(&Whereabouts::Delayed) && state.admin.abilities().lookup {
        done |= state.admin.run_now(id.clone()).await?;
    }
    match before.first() {
        Some(&was) if done || was == Whereabouts::Ready => {
            Ok(Json(RunAnswer { id: id.to_string(), was: was.word().to_owned() }))
        }
        first => Err(not_steered(&state, first.copied())),
    }
}

/// Cancel a task
///
/// It is taken out for good; it does not become a dead letter.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{id}",
    tag = "tasks",
    operation_id = "cancel_task",
    params(("id" = String, Path, description = "The task's id", pattern = "^[!-~]{1,128}$")),
    responses(
        (status = 204, description = "It is gone"),
        NoTask,
        NotSteered,
    )
)]
async fn cancel(State(state): State<ApiState>, Path(id): Path<String>) -> Result<StatusCode, Fault> {
    let id = task_id(&id)?;
    let mut done = match state.handle.cancel(id.clone()).await {
        Steered::Done => true,
        Steered::NotHeld => false,
        Steered::UnderWay => return Err(under_way()),
    };
    if state.admin.abilities().lookup {
        done |= state.admin.cancel(id.clone()).await?;
    }
    if done {
        return Ok(StatusCode::NO_CONTENT);
    }
    let left = Copies::of(&state, &id).await?.states();
    Err(not_steered(&state, left.first().copied()))
}

/// What a copy of a task is doing. What tells most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whereabouts {
    InFlight,
    Settling,
    Waiting,
    Delayed,
    /// Held by another dispatcher, which knows more.
    Elsewhere,
    Ready,
    Dead,
}

impl Whereabouts {
    fn word(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::Settling => "settling",
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Elsewhere => "delivered",
            Self::Ready => "ready",
            Self::Dead => "dead",
        }
    }
}

/// All that is known of a task.
struct Copies {
    held: Vec<HeldTask>,
    /// Those at the broker, what is held here among them; empty where it can't look.
    found: Vec<Found>,
}

impl Copies {
    async fn of(state: &ApiState, id: &TaskId) -> Result<Self, Fault> {
        let held = state.handle.find(id.clone()).await;
        let found = match state.admin.abilities().lookup {
            true => state.admin.find(id.clone()).await?,
            false => Vec::new(),
        };
        Ok(Self { held, found })
    }

    /// What its copies are doing, what tells most first.
    fn states(&self) -> Vec<Whereabouts> {
        let held = self.held.iter().map(|held| match held.state {
            HeldState::InFlight => Whereabouts::InFlight,
            HeldState::Settling => Whereabouts::Settling,
            HeldState::Waiting => Whereabouts::Waiting,
            HeldState::Delayed => Whereabouts::Delayed,
        });
        let at = |state: FoundState| self.found.iter().filter(move |found| found.state == state);
        let elsewhere = at(FoundState::Delivered).skip(self.held.len()).map(|_| Whereabouts::Elsewhere);
        let ready = at(FoundState::Ready).map(|_| Whereabouts::Ready);
        let delayed = at(FoundState::Delayed).map(|_| Whereabouts::Delayed);
        let dead = at(FoundState::Dead).map(|_| Whereabouts::Dead);
        let mut all: Vec<_> = held.chain(elsewhere).chain(ready).chain(delayed).chain(dead).collect();
        all.sort_unstable();
        all
    }

    /// As it is told: of what this dispatcher holds, else of what the broker has found.
    fn view(&self, state: &ApiState, id: &TaskId, first: Whereabouts) -> TaskView {
        let held = self.held.iter().min_by_key(|held| held.state != HeldState::InFlight);
        let message = self.found.first().map(|found| &found.message);
        let read = message.and_then(|message| read(state, message, id));
        let core = state.core.now();
        let lane_of = |queue: &str| {
            let lane = core.lanes.iter().find(|lane| &*lane.queue == queue);
            lane.map(|lane| lane.name.to_string())
        };
        let queue = held.and_then(|held| held.lane.as_deref().map(str::to_owned));
        let due_at = held.and_then(|held| held.due_at);
        let due_at = due_at.or_else(|| read.as_ref().and_then(|r| r.book.due_at.max(r.task.not_before)));
        let enqueued_at = held.and_then(|held| held.enqueued_at).or_else(|| read.as_ref()?.enqueued_at);
        let attempts = held.map(|held| held.attempts).or_else(|| Some(read.as_ref()?.book.attempts));
        TaskView {
            id: id.to_string(),
            queue: queue.or_else(|| self.found.first().and_then(|found| lane_of(&found.queue))),
            state: first.word().to_owned(),
            url: held.and_then(|held| held.url.clone()).or_else(|| Some(read.as_ref()?.task.url.to_string())),
            attempts: attempts.unwrap_or(0),
            due_at: due_at.map(|at| at.to_string()),
            enqueued_at: enqueued_at.map(|at| at.to_string()),
            history: message.map(letter::history).unwrap_or_default(),
            copies: u32::try_from(self.states().len()).unwrap_or(u32::MAX),
        }
    }
}

fn read(state: &ApiState, message: &Message, id: &TaskId) -> Option<Decoded> {
    let now = crate::intake::now();
    decode(message, &Codecs::default(), &state.core.now().limits, now, || id.clone()).ok()
}

fn task_id(text: &str) -> Result<TaskId, Fault> {
    TaskId::new(text).map_err(|e| Fault::new(Code::InvalidRequest, format!("the id {e}")))
}

fn not_steered(state: &ApiState, whereabouts: Option<Whereabouts>) -> Fault {
    match whereabouts {
        None => missing(state),
        Some(Whereabouts::Dead) => {
            Fault::new(Code::DeadLetter, "it is a dead letter: replay or delete it under /v1/dead; nothing was changed")
        }
        Some(_) => under_way(),
    }
}

fn under_way() -> Fault {
    Fault::new(Code::UnderWay, "a dispatcher is working on it; nothing was changed")
}

fn missing(state: &ApiState) -> Fault {
    let abilities = state.admin.abilities();
    if abilities.lookup {
        Fault::new(Code::TaskNotFound, "no task with this id waits, is under way or is a dead letter")
    } else {
        let engine = abilities.engine;
        Fault::new(
            Code::TaskNotHeld,
            format!(
                "this dispatcher does not hold it; whether it waits in a queue can't be told, since {engine} can't look into its queues"
            ),
        )
    }
}
