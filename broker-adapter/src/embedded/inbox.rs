//! What is asked of the store, and the way there: a queue with one bell. The store sleeps until it rings.

use super::record::Record;
use crate::{
    admin::{AdminError, Enqueued, Found, Once, Place, PlaceStatus, Position},
    queue::{ClientId, Spot},
};
use quebert_dispatcher::ports::broker::{BrokerEvent, Depth, PublishError, Source, Tag, Target};
use quebert_wire::{Message, TaskId};
use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<T>;
/// Where an operator's answer goes.
pub(super) type AdminAnswer<T> = Answer<Result<T, AdminError>>;

/// One thing that is asked of the store.
pub(super) enum Request {
    /// A client starts.
    Start {
        client: ClientId,
        events: mpsc::Sender<BrokerEvent>,
    },
    /// A client's session is cut, and made again.
    Cut(ClientId),
    /// A client is gone without a word.
    Gone(ClientId),
    /// A client stops; answered when its acks are on disk. With the last one the store closes.
    Stop {
        client: ClientId,
        last: bool,
        answer: Answer<()>,
    },
    /// The last client is gone, and it had nothing open.
    End,
    /// A work queue is wanted.
    Declare(Arc<str>),
    Open {
        client: ClientId,
        source: Source,
        window: u16,
    },
    Close {
        client: ClientId,
        source: Source,
    },
    Pause {
        client: ClientId,
        source: Source,
    },
    Ack(Tag),
    GiveBack(Tag),
    Publish(Publish),
    Depth {
        target: Target,
        answer: Answer<Option<Depth>>,
    },
    Enqueue {
        tasks: Vec<Enqueuing>,
        permit: OwnedSemaphorePermit,
        answer: Answer<Vec<Result<Enqueued, PublishError>>>,
    },
    Status {
        place: Place,
        answer: AdminAnswer<PlaceStatus>,
    },
    /// The ready messages from behind `after`, up to `until`.
    Browse {
        place: Place,
        after: Option<Position>,
        until: Option<Position>,
        answer: AdminAnswer<Page>,
    },
    /// Takes a ready message out; publishes another in its place. Answers whether it was still there.
    Take {
        spot: Spot,
        instead: Option<(Target, Record)>,
        answer: AdminAnswer<bool>,
    },
    /// Removes some of what is ready up to `until`; answers how many, and where that ends.
    Purge {
        place: Place,
        until: Option<Position>,
        answer: AdminAnswer<Purged>,
    },
    Find {
        id: TaskId,
        answer: AdminAnswer<Vec<Found>>,
    },
    RunNow {
        id: TaskId,
        answer: AdminAnswer<bool>,
    },
    Cancel {
        id: TaskId,
        answer: AdminAnswer<bool>,
    },
    RememberPause {
        queue: Arc<str>,
        paused: bool,
        answer: AdminAnswer<()>,
    },
    Paused(AdminAnswer<Vec<Arc<str>>>),
}

/// A message to be stored.
pub(super) struct Publish {
    pub(super) target: Target,
    pub(super) record: Record,
    /// Whether it is a move, and of which delivery.
    pub(super) from: Option<Tag>,
    /// Its share of what may be under way.
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) answer: Answer<Result<(), PublishError>>,
}

/// One task of a batch, or why it is not one.
pub(super) struct Enqueuing {
    pub(super) queue: Arc<str>,
    pub(super) record: Result<Record, PublishError>,
    /// The task's id.
    pub(super) id: String,
    pub(super) once: Option<Once>,
}

/// Some messages of a place.
pub(super) struct Page {
    pub(super) messages: Vec<(Spot, Message)>,
    /// The last that was looked at, readable or not.
    pub(super) last: Option<Position>,
    /// Where a sweep that began now ends.
    pub(super) until: Position,
    /// Whether there are more up to there.
    pub(super) more: bool,
}

/// A part of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purged {
    pub(super) removed: u64,
    pub(super) until: Position,
    pub(super) more: bool,
}

/// The queue of requests.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    /// Somebody must ring.
    asleep: bool,
    /// Nobody takes requests any more.
    ended: bool,
    /// Everybody is gone without a word: what waits here is not to be carried out.
    abandoned: bool,
}

/// What the store woke up to.
pub(super) enum Woken {
    /// Requests, or none when the time was over.
    Requests,
    /// Everybody is gone.
    Abandoned,
}

impl Inbox {
    /// Leaves a request. `false` if the store has ended.
    pub(super) fn push(&self, request: Request) -> bool {
        let mut state = self.lock();
        if state.ended {
            return false;
        }
        state.requests.push_back(request);
        let ring = std::mem::take(&mut state.asleep);
        drop(state);
        if ring {
            self.bell.notify_one();
        }
        true
    }

    /// Everybody is gone without a word.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.bell.notify_one();
    }

    /// Waits for requests, at most for so long, and moves all of them into `todo`. Waits for none if `todo` has some.
    pub(super) fn take(&self, todo: &mut VecDeque<Request>, patience: Option<Duration>) -> Woken {
        let end = patience.map(|patience| Instant::now() + patience);
        let mut state = self.lock();
        while todo.is_empty() && state.requests.is_empty() && !state.abandoned {
            state.asleep = true;
            let Some(end) = end else {
                state = self.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.asleep = false;
        if state.abandoned {
            return Woken::Abandoned;
        }
        if todo.is_empty() {
            std::mem::swap(todo, &mut state.requests);
        } else {
            todo.append(&mut state.requests);
        }
        Woken::Requests
    }

    /// Moves all that waits into `todo`, without waiting.
    #[cfg(feature = "simulation")]
    pub(super) fn take_now(&self, todo: &mut VecDeque<Request>) {
        todo.append(&mut self.lock().requests);
    }

    /// Whether something waits.
    #[cfg(feature = "simulation")]
    pub(super) fn has_some(&self) -> bool {
        !self.lock().requests.is_empty()
    }

    /// Takes no more requests; those left are dropped, which their askers see.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let left = std::mem::take(&mut state.requests);
        drop(state);
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
