//! Where tasks are handed in: at the API, at the broker, or only to be checked. Each is told of by itself, in order.

use super::super::{
    Failure,
    client::{Call, Client, ClientError, is_passing, told},
    way::Direct,
};
use crate::{
    api::types::{Accepted, BatchAnswer},
    intake::{Desk, Intake, now},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use quebert_broker_adapter::admin::{Enqueue, Enqueued, Once};
use quebert_dispatcher::ports::broker::PublishError;
use quebert_wire::{Envelope, TaskId, Timestamp};
use sha2::{Digest as _, Sha256};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Of what was read, and then not even tried.
pub(super) const NOT_HANDED_IN: &str = "not handed in, since what came before it failed";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Takes tasks in.
pub(super) struct Counter {
    place: Place,
    /// How long to try again while the API or its broker are away.
    patience: Duration,
    /// Whether anybody has answered yet.
    reached: AtomicBool,
}

enum Place {
    Api { client: Client, queue: Option<String> },
    Broker { direct: Box<Direct>, desk: Desk },
    Nowhere { desk: Desk },
}

/// A task with its id, so that it can be handed in again without making a second one.
pub(super) struct Item {
    pub(super) id: String,
    /// The queue that it names, or was given.
    pub(super) queue: Option<String>,
    /// Of what was asked for, before anything was added to it.
    fingerprint: [u8; 32],
    what: What,
}

enum What {
    Json(Bytes),
    Ready(Box<Intake>),
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// Stored (or, where nothing is stored, good) in this queue.
    Stored(Accepted),
    /// As it is, it never will be.
    Refused(String),
    /// It was not stored, or nobody knows.
    Failed(String),
}

/// What became of items, one fate each, in order.
pub(super) struct Handed {
    pub(super) fates: Vec<Fate>,
    /// Why there is no use in handing in more: nobody answered for as long as the patience lasts, or the API refuses all.
    pub(super) failure: Option<Failure>,
}

impl Counter {
    pub(super) fn at_api(client: Client, queue: Option<String>, patience: Duration) -> Self {
        Self::new(Place::Api { client, queue }, patience)
    }

    pub(super) fn at_broker(direct: Box<Direct>, desk: Desk) -> Self {
        Self::new(Place::Broker { direct, desk }, Duration::ZERO)
    }

    /// Looks at tasks, and stores none.
    pub(super) fn nowhere(desk: Desk) -> Self {
        Self::new(Place::Nowhere { desk }, Duration::ZERO)
    }

    fn new(place: Place, patience: Duration) -> Self {
        Self { place, patience, reached: AtomicBool::new(false) }
    }

    /// Reads a line.
    pub(super) fn read(&self, line: &Bytes) -> Result<Item, String> {
        match &self.place {
            Place::Api { .. } => {
                self.prepare(serde_json::from_slice(line).map_err(|e| super::without_line(&e))?, false)
            }
            Place::Broker { desk, .. } | Place::Nowhere { desk } => {
                desk.read(line).map(|intake| Item::ready(intake, [0; 32])).map_err(|e| e.to_string())
            }
        }
    }

    /// Makes an item of a task. One with a key of the producer's own gets its id from whoever stores it, since the same
    /// command must make the same request again.
    pub(super) fn prepare(&self, mut envelope: Envelope, keyed: bool) -> Result<Item, String> {
        match &self.place {
            Place::Api { queue, .. } => {
                if !keyed {
                    envelope.id.get_or_insert_with(|| TaskId::v7(now(), rand::random()).as_str().to_owned());
                }
                if queue.is_some() {
                    envelope.queue.clone_from(queue);
                }
                let json = serde_json::to_vec(&envelope).map_err(|e| e.to_string())?;
                let id = envelope.id.unwrap_or_default();
                Ok(Item { id, queue: envelope.queue, fingerprint: [0; 32], what: What::Json(json.into()) })
            }
            Place::Broker { desk, .. } | Place::Nowhere { desk } => {
                let asked = serde_json::to_vec(&envelope).map_err(|e| e.to_string())?;
                let fingerprint = Sha256::digest(&asked).into();
                desk.prepare(envelope).map(|intake| Item::ready(intake, fingerprint)).map_err(|e| e.to_string())
            }
        }
    }

    /// Hands in one task, with the producer's own key if there is one.
    ///
    /// # Errors
    /// Whatever kept it from being stored.
    pub(super) async fn hand_in(&self, item: Item, key: Option<&str>) -> Result<Accepted, Failure> {
        match (&self.place, &item.what) {
            (Place::Api { client, .. }, What::Json(json)) => {
                let call = Call::post("/v1/tasks").body("application/json", json.clone());
                Ok(self.again_and_again(client, call.header(IDEMPOTENCY_KEY, key_header(key)?)).await?)
            }
            (Place::Broker { direct, .. }, What::Ready(_))
                if key.is_some() && !direct.admin.abilities().durable_once =>
            {
                Err(Failure::Usage("this broker remembers no keys: --idempotency-key needs the API".into()))
            }
            _ => {
                let Handed { mut fates, failure } = self.hand_in_all(vec![item], key).await;
                match (failure, fates.pop()) {
                    (Some(failure), _) => Err(failure),
                    (None, Some(Fate::Stored(accepted))) => Ok(accepted),
                    (None, Some(Fate::Refused(why))) => Err(Failure::Usage(why)),
                    (None, Some(Fate::Failed(why))) => Err(Failure::other("enqueue", why)),
                    (None, None) => Err(Failure::other("enqueue", "no answer")),
                }
            }
        }
    }

    /// Hands in several, and tells of each, in order.
    pub(super) async fn hand_in_all(&self, items: Vec<Item>, key: Option<&str>) -> Handed {
        match &self.place {
            Place::Api { client, .. } => self.batch(client, items).await,
            Place::Broker { direct, .. } => self.store(direct, items, key).await,
            Place::Nowhere { .. } => {
                let fates = items.into_iter().map(|item| Fate::Stored(item.accepted())).collect();
                Handed { fates, failure: None }
            }
        }
    }

    /// Ends in an orderly way.
    pub(super) async fn close(self) {
        if let Place::Broker { direct, .. } = self.place {
            direct.close().await;
        }
    }

    /// Hands in a batch; one that is too large for the API in halves. After a failure nothing more of it is handed in.
    async fn batch(&self, client: &Client, items: Vec<Item>) -> Handed {
        let mut fates = Vec::with_capacity(items.len());
        let mut parts = vec![items];
        while let Some(mut part) = parts.pop() {
            match self.part(client, &part).await {
                Ok(told) => fates.extend(told),
                Err(ClientError::Problem { problem, .. }) if problem.code == "too_large" && part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.extend([rest, part]);
                }
                Err(ClientError::Problem { problem, .. }) if problem.code == "too_large" => {
                    fates.push(Fate::Refused(told(&problem)));
                }
                Err(e) => {
                    fates.resize(fates.len() + part.len(), Fate::Failed(e.to_string()));
                    let rest = parts.iter().map(Vec::len).sum::<usize>();
                    fates.resize(fates.len() + rest, Fate::Failed(NOT_HANDED_IN.to_owned()));
                    return Handed { fates, failure: Some(e.into()) };
                }
            }
        }
        Handed { fates, failure: None }
    }

    /// A batch has one key and the same bytes however often it is sent, so that nothing in it is stored twice.
    async fn part(&self, client: &Client, items: &[Item]) -> Result<Vec<Fate>, ClientError> {
        let mut body = Vec::new();
        for item in items {
            if let What::Json(json) = &item.what {
                body.extend_from_slice(json);
                body.push(b'\n');
            }
        }
        let key = key_header(None).expect("an id of ours is a header's value");
        let call = Call::post("/v1/tasks/batch").body("application/x-ndjson", body).header(IDEMPOTENCY_KEY, key);
        let started = Instant::now();
        loop {
            let answer: BatchAnswer = self.again_and_again(client, call.clone()).await?;
            if answer.results.len() != items.len() {
                return Err(ClientError::Strange(format!(
                    "{} results for {} tasks",
                    answer.results.len(),
                    items.len()
                )));
            }
            let passing = answer.results.iter().filter_map(|result| result.problem.as_ref()).any(is_passing);
            if passing && started.elapsed() < self.patience {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            let fate = |result: crate::api::types::BatchResult| match (result.task, result.problem) {
                (Some(accepted), _) => Fate::Stored(accepted),
                (None, Some(problem)) if is_passing(&problem) || problem.status >= 500 => Fate::Failed(told(&problem)),
                (None, Some(problem)) => Fate::Refused(told(&problem)),
                (None, None) => Fate::Failed("the API does not say what became of it".into()),
            };
            return Ok(answer.results.into_iter().map(fate).collect());
        }
    }

    /// Asks until there is an answer or no more patience. Who never answered is not waited for.
    async fn again_and_again<T: serde::de::DeserializeOwned>(
        &self,
        client: &Client,
        call: Call,
    ) -> Result<T, ClientError> {
        let started = Instant::now();
        loop {
            let error = match client.ask(call.clone()).await {
                Ok(answer) => {
                    self.reached.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if matches!(error, ClientError::Problem { .. } | ClientError::Between { .. }) {
                self.reached.store(true, Ordering::Relaxed);
            }
            match error.try_again() {
                Some(pause) if self.reached.load(Ordering::Relaxed) && started.elapsed() < self.patience => {
                    sleep(pause.min(PAUSE_MAX)).await;
                }
                _ => return Err(error),
            }
        }
    }

    async fn store(&self, direct: &Direct, items: Vec<Item>, key: Option<&str>) -> Handed {
        let accepted: Vec<_> = items.iter().map(Item::accepted).collect();
        let window = direct.config.api.idempotency_window;
        let tasks = items.into_iter().filter_map(|item| item.enqueue(key, window)).collect();
        let results = direct.admin.enqueue(tasks).await;
        let mut failure = None;
        if !self.reached.load(Ordering::Relaxed) {
            match results.first() {
                Some(Err(PublishError::NotConnected(why))) => failure = Some(Failure::Unreachable(why.clone().into())),
                _ => self.reached.store(true, Ordering::Relaxed),
            }
        }
        let fate = |(accepted, result): (Accepted, Result<Enqueued, PublishError>)| match result {
            Ok(Enqueued::Stored) => Fate::Stored(accepted),
            Ok(Enqueued::Repeated { id }) => Fate::Stored(Accepted { id, ..accepted }),
            Ok(Enqueued::Conflict) => Fate::Refused("the key came before, with another task".into()),
            Ok(Enqueued::UnderWay) => Fate::Failed("the first request with this key is under way".into()),
            Err(e @ PublishError::Unfit(_)) => Fate::Refused(e.to_string()),
            Err(e) => Fate::Failed(e.to_string()),
        };
        Handed { fates: accepted.into_iter().zip(results).map(fate).collect(), failure }
    }
}

impl Item {
    fn ready(intake: Intake, fingerprint: [u8; 32]) -> Self {
        let (id, queue) = (intake.id.clone(), Some(intake.lane.to_string()));
        Self { id, queue, fingerprint, what: What::Ready(Box::new(intake)) }
    }

    /// About how many bytes it takes on its way.
    pub(super) fn bytes(&self) -> usize {
        match &self.what {
            What::Json(json) => json.len(),
            What::Ready(intake) => intake.message.body.len(),
        }
    }

    fn accepted(&self) -> Accepted {
        Accepted { id: self.id.clone(), queue: self.queue.clone().unwrap_or_default() }
    }

    fn enqueue(self, key: Option<&str>, window: Duration) -> Option<Enqueue> {
        let What::Ready(intake) = self.what else { return None };
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let once = key.map(|key| Once {
            key: key.to_owned(),
            fingerprint: self.fingerprint,
            until: Timestamp::from_millis(now().as_millis().saturating_add(window)),
        });
        Some(Enqueue { queue: intake.queue, message: intake.message, once })
    }
}

/// The producer's key, or a new one: what is sent again after a fault must not be stored twice either.
fn key_header(key: Option<&str>) -> Result<HeaderValue, Failure> {
    let text = match key {
        Some(key) => key.to_owned(),
        None => TaskId::v7(now(), rand::random()).as_str().to_owned(),
    };
    HeaderValue::try_from(text).map_err(|_| Failure::Usage("--idempotency-key must be visible ASCII".into()))
}
