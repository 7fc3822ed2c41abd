//! The broker, as the tester sees it: what waits in its queues, and who is among its dead letters. It settles nothing.

use super::{http::Client, spec::TargetSpec};
use crate::ledger::{Book, End};
use quebert_broker_adapter::{
    admin::{Admin as _, AdminError, Place, Position, Sweeper, Take},
    amqp::RabbitAdmin,
};
use quebert_dispatcher::{
    grid::Step,
    ports::{BoxFuture, broker::Target},
};
use quebert_wire::{HeaderValue, Message, header};
use serde::Deserialize;
use std::{io, sync::Arc, time::Duration};

/// Limit of one request to the API. A page of dead letters may take it ten seconds.
const LIMIT: Duration = Duration::from_secs(30);
/// The reason of dead letters whose time was over.
const EXPIRED: &str = "expired";

/// A lane, and the broker's name of its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueName {
    /// The lane.
    pub lane: String,
    /// The queue.
    pub queue: String,
}

/// What is in the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Ready in work queues.
    pub ready: u64,
    /// With a dispatcher; `None` if the broker doesn't tell.
    pub held: Option<u64>,
    /// In delay queues; `None` if nobody looked.
    pub delayed: Option<u64>,
    /// Dead letters.
    pub dead: u64,
}

/// A broker.
pub(super) enum Broker {
    Rabbit { admin: Arc<RabbitAdmin>, queues: Vec<QueueName> },
    Api { client: Arc<Client> },
}

impl Broker {
    pub(super) fn rabbit(admin: Arc<RabbitAdmin>, spec: &TargetSpec) -> Self {
        let name = |lane: &str| QueueName { lane: lane.to_owned(), queue: format!("{}.{lane}", spec.prefix) };
        Self::Rabbit { admin, queues: spec.queues.iter().map(|queue| name(&queue.name)).collect() }
    }

    pub(super) fn api(client: Arc<Client>) -> Self {
        Self::Api { client }
    }

    /// The API has come back at another address.
    pub(super) fn follow(&self, address: &str) {
        if let Self::Api { client } = self {
            client.follow(address);
        }
    }

    /// Empties the queues of a former run.
    pub(super) async fn purge(&self) -> Result<(), AdminError> {
        if let Self::Rabbit { admin, queues } = self {
            for name in queues {
                for place in places(name) {
                    admin.purge(place).await?;
                }
            }
        }
        Ok(())
    }

    /// What is in the queues, as far as that is quickly told; `None` if nobody answers.
    pub(super) async fn left(&self) -> Option<Left> {
        match self {
            Self::Rabbit { admin, queues } => {
                let mut left = Left::default();
                for name in queues {
                    let [work, dead] = places(name);
                    left.ready += admin.status(work).await.ok()?.ready;
                    // Dead letters that were not declared yet are none.
                    left.dead += admin.status(dead).await.map_or(0, |status| status.ready);
                }
                Some(left)
            }
            Self::Api { client } => {
                let queues = get::<Queues>(client, "/v1/queues").await.ok()?.queues;
                let sum = |of: fn(&Queue) -> Option<u64>| queues.iter().filter_map(of).sum::<u64>();
                Some(Left {
                    ready: sum(|queue| queue.ready),
                    held: Some(sum(|queue| queue.unsettled)),
                    delayed: Some(sum(|queue| queue.delayed)),
                    dead: sum(|queue| queue.dead),
                })
            }
        }
    }

    /// The same with the delay queues. RabbitMQ tells only of those that no dispatcher holds, so let them end before.
    pub(super) async fn left_everywhere(&self) -> Option<Left> {
        let mut left = self.left().await?;
        if let Self::Rabbit { admin, .. } = self {
            let mut delayed = 0;
            for step in Step::all() {
                delayed += admin.depth(&Target::Delay(step)).await.map_or(0, |depth| depth.ready);
            }
            left.delayed = Some(delayed);
        }
        Some(left)
    }

    /// Tells the ledger who is among the dead letters, and who is still in a work queue.
    pub(super) async fn tell_ends(&self, book: &Book) -> io::Result<()> {
        match self {
            Self::Rabbit { admin, queues } => {
                for name in queues {
                    let [work, dead] = places(name);
                    let mut letters = Letters { book, left: false };
                    admin.sweep(dead, None, u64::MAX, &mut letters).await.map_err(io::Error::other)?;
                    let mut waiting = Letters { book, left: true };
                    admin.sweep(work, None, u64::MAX, &mut waiting).await.map_err(io::Error::other)?;
                }
                Ok(())
            }
            Self::Api { client } => letters_of(client, book).await,
        }
    }

    pub(super) async fn close(&self) {
        if let Self::Rabbit { admin, .. } = self {
            admin.close().await;
        }
    }
}

fn places(name: &QueueName) -> [Place; 2] {
    let queue = Arc::<str>::from(name.queue.as_str());
    [Place::Queue(queue.clone()), Place::Dead(queue)]
}

/// Looks at messages, and leaves them where they are.
struct Letters<'a> {
    book: &'a Book,
    /// They are not dead, but left in a work queue.
    left: bool,
}

impl Sweeper for Letters<'_> {
    fn decide<'a>(&'a mut self, _: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        let reason = match message.headers.get(header::DEAD_REASON) {
            Some(HeaderValue::Text(reason)) => reason.as_str(),
            _ => "",
        };
        if let Some(number) = message.id.as_deref().and_then(|id| self.book.number(id)) {
            self.book.found(number, if self.left { End::Left } else { end_of(reason) });
        }
        Box::pin(std::future::ready(Take::Keep))
    }
}

fn end_of(reason: &str) -> End {
    if reason == EXPIRED { End::Expired } else { End::Dead }
}

async fn letters_of(client: &Client, book: &Book) -> io::Result<()> {
    let mut path = "/v1/dead?limit=500".to_owned();
    loop {
        let page = get::<DeadPage>(client, &path).await?;
        for letter in page.letters {
            if let Some(number) = letter.id.as_deref().and_then(|id| book.number(id)) {
                book.found(number, end_of(letter.reason.as_deref().unwrap_or_default()));
            }
        }
        // Cursors are made of letters that need no escapes.
        let Some(cursor) = page.next_cursor else { return Ok(()) };
        path = format!("/v1/dead?limit=500&cursor={cursor}");
    }
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> io::Result<T> {
    let (status, text) = client.get(path, LIMIT).await?;
    if status != 200 {
        return Err(io::Error::other(format!("{path} answered {status}")));
    }
    Ok(serde_json::from_slice(&text)?)
}

/// The parts of the API's answers that count here.
#[derive(Deserialize)]
struct Queues {
    queues: Vec<Queue>,
}

#[derive(Deserialize)]
struct Queue {
    ready: Option<u64>,
    unsettled: Option<u64>,
    delayed: Option<u64>,
    dead: Option<u64>,
}

#[derive(Deserialize)]
struct DeadPage {
    letters: Vec<DeadLetter>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct DeadLetter {
    id: Option<String>,
    reason: Option<String>,
}
