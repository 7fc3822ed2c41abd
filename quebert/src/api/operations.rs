//! Replays and deletes by filter, which may take their time: what they have done so far, and cancelling them. They are
//! remembered by this process only; what they do is done elsewhere.

use super::{
    answers::NoOperation,
    problem::{Code, Fault},
    state::ApiState,
    types::Operation,
};
use axum::{
    Json,
    extract::{Path, State},
};
use quebert_wire::TaskId;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use utoipa_axum::{router::OpenApiRouter, routes};

/// At a time.
pub(super) const RUNNING_MAX: usize = 8;
/// In all, and for how long after their end.
const REMEMBERED_MAX: usize = 100;
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// How long an answer to a cancel waits for the end.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn routes(operations: Arc<Operations>) -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(look, cancel)).with_state(operations)
}

/// Look an operation up
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    tag = "operations",
    operation_id = "operation",
    params(("id" = String, Path, description = "The operation's id")),
    responses(
        (status = 200, description = "How far it is", body = Operation),
        NoOperation,
    )
)]
async fn look(State(operations): State<Arc<Operations>>, Path(id): Path<String>) -> Result<Json<Operation>, Fault> {
    Ok(Json(operations.find(&id)?.view()))
}

/// Cancel an operation
///
/// What it has done stays done. One that has ended stays as it is.
#[utoipa::path(
    delete,
    path = "/v1/operations/{id}",
    tag = "operations",
    operation_id = "cancel_operation",
    params(("id" = String, Path, description = "The operation's id")),
    responses(
        (status = 200, description = "It ends, or has ended", body = Operation),
        NoOperation,
    )
)]
async fn cancel(State(operations): State<Arc<Operations>>, Path(id): Path<String>) -> Result<Json<Operation>, Fault> {
    let operation = operations.find(&id)?;
    operation.stop.send_replace(true);
    let mut state = operation.state.subscribe();
    // It ends after the letter that it has in hand; nobody waits for that longer than this.
    let _ = tokio::time::timeout(CANCEL_TIMEOUT, state.wait_for(|state| *state != Phase::Running)).await;
    Ok(Json(operation.view()))
}

/// Those that are remembered, oldest first.
#[derive(Debug, Default)]
pub(super) struct Operations(Mutex<VecDeque<Arc<Progress>>>);

impl Operations {
    /// A new one, which runs until its [`Running`] is ended or dropped.
    pub(super) fn begin(&self, kind: &'static str, dry_run: bool) -> Result<Running, Fault> {
        let mut all = self.all();
        let ended_at = |progress: &Progress| *progress.ended_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|progress| ended_at(progress).is_none_or(|at| at.elapsed() < REMEMBERED_FOR));
        if all.iter().filter(|progress| ended_at(progress).is_none()).count() >= RUNNING_MAX {
            return Err(Fault::new(Code::Busy, format!("{RUNNING_MAX} operations run already")));
        }
        if all.len() >= REMEMBERED_MAX
            && let Some(oldest) = all.iter().position(|progress| ended_at(progress).is_some())
        {
            all.remove(oldest);
        }
        let progress = Arc::new(Progress {
            id: TaskId::v7(crate::intake::now(), rand::random()).as_str().to_owned(),
            kind,
            dry_run,
            seen: AtomicU64::new(0),
            matched: AtomicU64::new(0),
            done: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            state: watch::Sender::new(Phase::Running),
            stop: watch::Sender::new(false),
            ended_at: Mutex::new(None),
        });
        all.push_back(progress.clone());
        Ok(Running(progress))
    }

    fn find(&self, id: &str) -> Result<Arc<Progress>, Fault> {
        let found = self.all().iter().find(|progress| progress.id == id).cloned();
        found.ok_or_else(|| {
            Fault::new(Code::OperationNotFound, "operations are remembered for an hour, by the process that ran them")
        })
    }

    fn all(&self) -> MutexGuard<'_, VecDeque<Arc<Progress>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far one is.
#[derive(Debug)]
pub(super) struct Progress {
    id: String,
    kind: &'static str,
    dry_run: bool,
    seen: AtomicU64,
    matched: AtomicU64,
    done: AtomicU64,
    stuck: AtomicU64,
    state: watch::Sender<Phase>,
    stop: watch::Sender<bool>,
    ended_at: Mutex<Option<Instant>>,
}

/// Whether one still runs, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    Done,
    Failed(String),
    Cancelled,
}

/// What has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) seen: u64,
    pub(super) matched: u64,
    pub(super) done: u64,
    pub(super) stuck: u64,
}

impl Progress {
    pub(super) fn view(&self) -> Operation {
        let (state, error) = match &*self.state.borrow() {
            Phase::Running => ("running", None),
            Phase::Done => ("done", None),
            Phase::Failed(why) => ("failed", Some(why.clone())),
            Phase::Cancelled => ("cancelled", None),
        };
        Operation {
            id: self.id.clone(),
            kind: self.kind.to_owned(),
            state: state.to_owned(),
            dry_run: self.dry_run,
            seen: self.seen.load(Ordering::Relaxed),
            matched: self.matched.load(Ordering::Relaxed),
            done: self.done.load(Ordering::Relaxed),
            stuck: self.stuck.load(Ordering::Relaxed),
            error,
        }
    }

    /// Tells how far it is.
    pub(super) fn tell(&self, counts: Counts) {
        self.seen.store(counts.seen, Ordering::Relaxed);
        self.matched.store(counts.matched, Ordering::Relaxed);
        self.done.store(counts.done, Ordering::Relaxed);
        self.stuck.store(counts.stuck, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until it is to end.
    pub(super) async fn cancelled(&self) {
        let mut stop = self.stop.subscribe();
        stop.wait_for(|stop| *stop).await.expect("the sender is ours");
    }
}

/// One that runs. If it is dropped before its end, it has failed.
#[derive(Debug)]
pub(super) struct Running(pub(super) Arc<Progress>);

impl Running {
    pub(super) fn end(self, phase: Phase) {
        self.0.state.send_replace(phase);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.ended_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.state.send_if_modified(|phase| {
            let dropped = *phase == Phase::Running;
            if dropped {
                *phase = Phase::Failed("it broke off; the log has more".to_owned());
            }
            dropped
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_run_and_so_many_are_remembered() {
        let operations = Operations::default();
        let mut running: Vec<_> = (0..RUNNING_MAX).map(|_| operations.begin("replay", false).unwrap()).collect();
        assert_eq!(operations.begin("replay", false).unwrap_err().code(), Code::Busy);
        let first = running[0].0.id.clone();
        running.remove(0).end(Phase::Done);
        for _ in 0..3 * REMEMBERED_MAX {
            operations.begin("delete", true).unwrap().end(Phase::Cancelled);
        }
        assert_eq!(operations.all().len(), REMEMBERED_MAX);
        assert_eq!(operations.find(&first).unwrap_err().code(), Code::OperationNotFound);
        assert!(running.iter().all(|running| operations.find(&running.0.id).is_ok()), "what runs is never forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_forgotten_after_an_hour() {
        let operations = Operations::default();
        let ended = operations.begin("replay", false).unwrap();
        let id = ended.0.id.clone();
        ended.end(Phase::Done);
        tokio::time::advance(REMEMBERED_FOR - Duration::from_secs(1)).await;
        let _other = operations.begin("replay", false).unwrap();
        assert!(operations.find(&id).is_ok());
        tokio::time::advance(Duration::from_secs(2)).await;
        let _another = operations.begin("replay", false).unwrap();
        assert!(operations.find(&id).is_err());
    }

    #[test]
    fn one_that_breaks_off_has_failed() {
        let operations = Operations::default();
        let running = operations.begin("replay", false).unwrap();
        let id = running.0.id.clone();
        drop(running);
        let view = operations.find(&id).unwrap().view();
        assert_eq!((&*view.state, view.error.is_some()), ("failed", true));
    }
}
