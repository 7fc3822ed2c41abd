//! What operators and producers ask of a broker, whichever it is: store tasks, tell what waits, look through dead
//! letters, replay and delete. Where a broker can't tell or do something, it says so ([`Abilities`], `None`,
//! [`AdminError::Unsupported`]) instead of guessing. Settling deliveries is not done here; that is the dispatcher's port.

#[cfg(feature = "testing")]
pub mod contract;
mod once;

pub use once::OnceMemory;

use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{PublishError, Target},
};
use quebert_wire::{Message, TaskId, Timestamp};
use std::sync::Arc;

/// What a broker is able to do beyond storing and delivering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// `embedded` or `rabbitmq`: for people and for the API's answers.
    pub engine: &'static str,
    /// It finds a waiting task by its id, and can send it now or take it out.
    pub lookup: bool,
    /// Idempotency keys outlive this process and are shared by all that use the broker.
    pub durable_once: bool,
    /// Pauses outlive this process.
    pub durable_pause: bool,
    /// It tells the age of the oldest waiting task, and how many wait for a delay, queue by queue.
    pub ages: bool,
}

/// Where messages lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A work queue, by the broker's name of it.
    Queue(Arc<str>),
    /// The dead letters of a work queue, by the work queue's name.
    Dead(Arc<str>),
    /// The dead letters of queues that nobody declared.
    CommonDead,
}

/// What can be told of a place. `None` is "this broker can't tell".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceStatus {
    /// Messages that wait to be delivered.
    pub ready: u64,
    /// Delivered and not settled, over all consumers.
    pub unsettled: Option<u64>,
    /// Tasks of this queue that wait for their moment: in delay queues, or held there by a dispatcher.
    pub delayed: Option<u64>,
    /// Bytes of what is ready, bodies and headers.
    pub bytes: Option<u64>,
    /// When the oldest of the ready was enqueued.
    pub oldest: Option<Timestamp>,
    /// Consumers, of all dispatchers.
    pub consumers: Option<u64>,
}

/// A task to be stored.
#[derive(Debug, Clone)]
pub struct Enqueue {
    /// The work queue, by the broker's name of it.
    pub queue: Arc<str>,
    /// The task. Its `id` is set.
    pub message: Message,
    /// Stores it at most once for this key.
    pub once: Option<Once>,
}

/// An idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Chosen by the producer; 1 to 255 bytes.
    pub key: String,
    /// A hash of what was asked for, so that a key that comes again with another task is found out.
    pub fingerprint: [u8; 32],
    /// Until when the key is remembered.
    pub until: Timestamp,
}

/// What became of an [`Enqueue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// It is stored.
    Stored,
    /// The key was used before for the same request; the task stored then has this id. Nothing new was stored.
    Repeated {
        /// Of the first task.
        id: String,
    },
    /// The key was used before for another request. Nothing new was stored.
    Conflict,
    /// The first request of this key is still under way, and its fate is open.
    UnderWay,
}

/// A position in a place that [`Admin::sweep`] can start after. Only some brokers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What becomes of a message that a sweep looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Take {
    /// It stays.
    Keep,
    /// It is removed for good.
    Remove,
    /// This is published in its place, and it is removed once that is confirmed; in one transaction where there are some.
    Move {
        /// Where to.
        target: Target,
        /// What to publish.
        message: Message,
    },
    /// It stays, and no more are looked at.
    Stop,
}

/// Decides what becomes of each message of a sweep. It may take its time, which is how a caller limits the rate.
pub trait Sweeper: Send {
    /// `at` is where the message lies, if the broker has positions.
    fn decide<'a>(&'a mut self, at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take>;
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Messages looked at.
    pub seen: u64,
    /// Of these, removed for good.
    pub removed: u64,
    /// Of these, published elsewhere and removed.
    pub moved: u64,
    /// Whether it went to the end of the place; `false` when the limit or [`Take::Stop`] ended it.
    pub complete: bool,
}

/// Where a waiting task was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The work queue that it is in or goes back to.
    pub queue: Arc<str>,
    /// What it is doing there.
    pub state: FoundState,
    /// The task as it lies there.
    pub message: Message,
}

/// What a waiting task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundState {
    /// In its work queue.
    Ready,
    /// In a delay queue.
    Delayed,
    /// Delivered to a dispatcher, which knows more.
    Delivered,
    /// Among the dead letters.
    Dead,
}

/// Why an operator's request failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is no such queue.
    #[error("there is no queue {0:?}")]
    NoSuchPlace(String),
    /// The broker can't be reached, or the connection broke. What was not yet done stays as it was.
    #[error("broker not available: {0}")]
    Unavailable(String),
    /// The broker said no.
    #[error("refused by the broker: {0}")]
    Refused(String),
    /// A message could not be published; it stays where it was.
    #[error("publish: {0}")]
    Publish(#[from] PublishError),
    /// This broker can't do that.
    #[error("not possible with this broker: {0}")]
    Unsupported(&'static str),
}

/// The operators' side of a broker. Connects by itself, and again after a fault.
pub trait Admin: Send + Sync + 'static {
    /// What it is able to do.
    fn abilities(&self) -> Abilities;

    /// Stores tasks; one answer each, in order. `Stored` only when the broker has confirmed it.
    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>>;

    /// What can be told of a place.
    ///
    /// # Errors
    /// When there is none of that name, or the broker is away.
    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>>;

    /// Looks at up to `limit` messages from the front of a place, or from behind `after`, each once, and does with each
    /// what `sweeper` says.
    ///
    /// # Errors
    /// What was done until then stays done, and nothing is lost.
    fn sweep<'a>(
        &'a self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>>;

    /// Removes for good what is ready in a place; returns how many that were. What is delivered stays.
    ///
    /// # Errors
    /// When there is none of that name, or the broker is away.
    fn purge(&self, place: Place) -> BoxFuture<'_, Result<u64, AdminError>>;

    /// Every copy of a task, wherever it waits.
    ///
    /// # Errors
    /// `Unsupported` where [`Abilities::lookup`] says so.
    fn find(&self, id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>>;

    /// Puts a delayed task into its work queue, with its due time struck out and the note that the moment its envelope
    /// names counts no more. Returns whether one was found that was not delivered to a dispatcher.
    ///
    /// # Errors
    /// `Unsupported` where [`Abilities::lookup`] says so.
    fn run_now(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>>;

    /// Takes a waiting task out for good (not a dead letter). Returns whether one was found that was not delivered to a
    /// dispatcher.
    ///
    /// # Errors
    /// `Unsupported` where [`Abilities::lookup`] says so.
    fn cancel(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>>;

    /// Remembers over restarts that a queue is paused, where [`Abilities::durable_pause`] says so; else does nothing.
    ///
    /// # Errors
    /// When the broker is away.
    fn remember_pause(&self, queue: Arc<str>, paused: bool) -> BoxFuture<'_, Result<(), AdminError>>;

    /// The queues that are remembered as paused.
    ///
    /// # Errors
    /// When the broker is away.
    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>>;
}
