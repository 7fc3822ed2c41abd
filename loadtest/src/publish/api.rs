//! Through the HTTP API, in batches: the way into the embedded broker.

use super::{Door, Parcel, Refused};
use crate::target::http::Client;
use quebert_dispatcher::ports::BoxFuture;
use quebert_wire::{Codec as _, JsonCodec};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// As many as the API takes at a time.
const BATCHES: usize = 4;
/// Enough to fill one sync of the broker; more would only make the first ones wait for the last.
const BATCH: usize = 256;
/// Limit of one batch.
const LIMIT: Duration = Duration::from_secs(30);

/// A door through the HTTP API.
pub struct ApiDoor {
    client: Arc<Client>,
}

impl ApiDoor {
    /// By a client of the API's address.
    pub fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    async fn post(&self, parcels: &[Parcel]) -> Result<Vec<Result<(), Refused>>, Refused> {
        let mut body = Vec::with_capacity(parcels.len() * 512);
        for parcel in parcels {
            let line = JsonCodec.encode(&parcel.envelope).map_err(|e| Refused(e.to_string()))?;
            body.extend_from_slice(&line);
            body.push(b'\n');
        }
        let answer = self.client.post("/v1/tasks/batch", "application/x-ndjson", body, LIMIT).await;
        let (status, text) = answer.map_err(|e| Refused(e.to_string()))?;
        if status != 200 {
            return Err(Refused(format!("the API answered {status}: {}", String::from_utf8_lossy(&text))));
        }
        let answer = serde_json::from_slice::<Answer>(&text).map_err(|e| Refused(format!("the API's answer: {e}")))?;
        let each = answer.results.into_iter().map(|result| match result.task {
            Some(_) => Ok(()),
            None => Err(Refused(result.problem.map_or_else(|| "refused".to_owned(), |problem| problem.detail))),
        });
        Ok(each.collect())
    }
}

/// The parts of the answer that count here.
#[derive(Deserialize)]
struct Answer {
    results: Vec<ResultOfOne>,
}

#[derive(Deserialize)]
struct ResultOfOne {
    task: Option<serde::de::IgnoredAny>,
    problem: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl Door for ApiDoor {
    fn batch_max(&self) -> usize {
        BATCH
    }

    fn window(&self) -> usize {
        BATCHES
    }

    fn publish(&self, parcels: Vec<Parcel>) -> BoxFuture<'_, Vec<Result<(), Refused>>> {
        Box::pin(async move {
            let mut answers = self.post(&parcels).await.unwrap_or_else(|e| vec![Err(e); parcels.len()]);
            answers.resize(parcels.len(), Err(Refused("no answer for it".to_owned())));
            answers
        })
    }
}
