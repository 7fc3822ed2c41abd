//! The handle: a client of the store, as the dispatcher's `Broker`. The work is the store's, on its own thread.

use super::{
    EmbeddedConfig, OpenError,
    file::Medium,
    inbox::{Answer, Inbox, Publish, Request},
    record::Record,
    store::Store,
    time::Machine,
};
use crate::queue::ClientId;
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, BrokerEvent, Depth, PublishError, Source, Tag, Target},
    clock::Clock,
};
use quebert_wire::Message;
use redb::StorageBackend;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Room for events that a client has not taken yet.
const EVENTS: usize = 2048;

/// What may be under way to the disk at once, in KiB; whoever publishes more waits.
const UNDER_WAY_KIB: u32 = 64 << 10;

/// A durable broker in this process. Each handle is one client; [`another`](Self::another) makes one more. When all
/// have stopped or are dropped, the file is closed.
///
/// Dropping a handle without [`stop`](Broker::stop) is a client's sudden end; dropping the last one is the process's,
/// as far as the tasks are concerned: what was under way counts as crashed. It waits for the disk, some milliseconds.
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    client: ClientId,
    started: AtomicBool,
    /// It counts no more among those that keep the store open.
    left: AtomicBool,
}

pub(super) struct Shared {
    pub(super) config: EmbeddedConfig,
    pub(super) inbox: Arc<Inbox>,
    clock: Arc<dyn Clock>,
    room: Arc<Semaphore>,
    clients: Mutex<Clients>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Clients {
    made: u64,
    there: u64,
}

impl EmbeddedBroker {
    /// Opens the folder, made if it is not there, and takes in all that is stored. Blocks: some milliseconds for an
    /// empty one, seconds for millions of tasks.
    ///
    /// # Errors
    /// When the folder is in use by somebody else, can't be read or written, or its file is damaged; the file is then
    /// left as it is.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        let medium = Medium::folder(&config.folder)?;
        Self::open_medium(medium, config)
    }

    /// The same on a storage of the caller's, such as a simulated disk. `config.folder` is only what errors call it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), but that locking is the caller's affair.
    pub fn open_on(backend: impl StorageBackend, config: EmbeddedConfig) -> Result<Self, OpenError> {
        let medium = Medium::backend(&config.folder, backend);
        Self::open_medium(medium, config)
    }

    fn open_medium(medium: Medium, config: EmbeddedConfig) -> Result<Self, OpenError> {
        let path = medium.path().to_path_buf();
        let shared = Shared::new(config, Arc::new(Machine::new()));
        let store = shared.open(medium)?;
        let thread = std::thread::Builder::new()
            .name("quebert-store".into())
            .spawn(move || store.run())
            .map_err(|source| OpenError::Io { path, source })?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self::client_of(shared))
    }

    /// One more client of the same store, not started.
    pub fn another(&self) -> Self {
        Self::client_of(self.shared.clone())
    }

    /// Makes a work queue and its dead letters, if they are not there; what is asked of the broker later finds them.
    pub fn declare(&self, queue: &str) {
        self.ask(Request::Declare(queue.into()));
    }

    /// Cuts this client's session and makes it again, as a network's fault would for another broker: what was unsettled
    /// is delivered again, flagged.
    pub fn cut(&self) {
        self.ask(Request::Cut(self.client));
    }

    pub(super) fn client_of(shared: Arc<Shared>) -> Self {
        let mut clients = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.made += 1;
        clients.there += 1;
        let client = ClientId(clients.made);
        drop(clients);
        Self { shared, client, started: AtomicBool::new(false), left: AtomicBool::new(false) }
    }

    /// Counts itself out, once; whether it was the last, and still there.
    fn leave(&self) -> (bool, bool) {
        if self.left.swap(true, Ordering::Relaxed) {
            return (false, false);
        }
        let mut clients = self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.there -= 1;
        (true, clients.there == 0)
    }

    fn ask(&self, request: Request) {
        self.shared.ask(request);
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn store(
        &self,
        from: Option<Tag>,
        target: Target,
        message: Message,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        if self.left.load(Ordering::Relaxed) {
            return Box::pin(async { Err(stopped()) });
        }
        let shared = self.shared.clone();
        Box::pin(async move {
            let always = from.is_some() || matches!(target, Target::Dead(_));
            let record = shared.record(&message, always)?;
            drop(message);
            let permit = shared.permit(record.len()).await;
            let publish = |answer| Request::Publish(Publish { target, record, from, permit, answer });
            match shared.answer(publish).await {
                Answered::With(result) => result,
                Answered::Never => Err(PublishError::Unknown("the store ended before it answered".into())),
                Answered::Ended => Err(stopped()),
            }
        })
    }
}

/// How a question ended.
pub(super) enum Answered<T> {
    /// So.
    With(T),
    /// The store ended with the question open.
    Never,
    /// The store had ended before.
    Ended,
}

impl Shared {
    pub(super) fn new(config: EmbeddedConfig, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            config,
            inbox: Arc::default(),
            clock,
            room: Arc::new(Semaphore::new(UNDER_WAY_KIB as usize)),
            clients: Mutex::default(),
            thread: Mutex::default(),
        })
    }

    /// The store that serves these clients.
    pub(super) fn open(&self, medium: Medium) -> Result<Store, OpenError> {
        Store::open(medium, self.config.clone(), self.inbox.clone(), self.clock.clone())
    }

    /// A message as it is stored.
    ///
    /// # Errors
    /// When it is too large, or nested too deep; what is taken `always` is too large only at 3 GiB.
    pub(super) fn record(&self, message: &Message, always: bool) -> Result<Record, PublishError> {
        let (bytes, limit) = (message.head_bytes() + message.body.len(), self.config.message_bytes_max);
        if !always && bytes > limit {
            return Err(PublishError::Unfit(format!("the message takes {bytes} bytes, and {limit} is the limit")));
        }
        Record::new(message, self.clock.now().wall)
            .ok_or_else(|| PublishError::Unfit("the message's headers are nested too deep".into()))
    }

    /// Waits until so many bytes may be under way.
    pub(super) async fn permit(&self, bytes: usize) -> OwnedSemaphorePermit {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(UNDER_WAY_KIB);
        self.room.clone().acquire_many_owned(kib).await.expect("it is never closed")
    }

    /// Asks without waiting. If the store has ended, the request is dropped.
    pub(super) fn ask(&self, request: Request) {
        self.inbox.push(request);
    }

    /// Asks, and waits for the answer.
    pub(super) async fn answer<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Answered<T> {
        let (answer, answered) = oneshot::channel();
        if !self.inbox.push(request(answer)) {
            return Answered::Ended;
        }
        answered.await.map_or(Answered::Never, Answered::With)
    }
}

impl Broker for EmbeddedBroker {
    fn start(&self) -> mpsc::Receiver<BrokerEvent> {
        let (events, receiver) = mpsc::channel(EVENTS);
        if !self.left.load(Ordering::Relaxed) && !self.started.swap(true, Ordering::Relaxed) {
            self.ask(Request::Start { client: self.client, events });
        }
        receiver
    }

    fn open(&self, source: Source, window: u16) {
        self.ask(Request::Open { client: self.client, source, window });
    }

    fn close(&self, source: &Source) {
        self.ask(Request::Close { client: self.client, source: source.clone() });
    }

    fn pause(&self, source: &Source) {
        self.ask(Request::Pause { client: self.client, source: source.clone() });
    }

    fn ack(&self, tag: Tag) {
        self.ask(Request::Ack(tag));
    }

    fn give_back(&self, tag: Tag) {
        self.ask(Request::GiveBack(tag));
    }

    fn publish(&self, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.store(None, target, message)
    }

    fn relocate(&self, from: Tag, target: Target, message: Message) -> BoxFuture<'static, Result<(), PublishError>> {
        self.store(Some(from), target, message)
    }

    fn depth(&self, target: Target) -> BoxFuture<'static, Option<Depth>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            match shared.answer(|answer| Request::Depth { target, answer }).await {
                Answered::With(depth) => depth,
                Answered::Never | Answered::Ended => None,
            }
        })
    }

    fn stop(&self) -> BoxFuture<'static, ()> {
        let (there, last) = self.leave();
        let (answer, answered) = oneshot::channel();
        if there {
            self.ask(Request::Stop { client: self.client, last, answer });
        }
        Box::pin(async move {
            // However it ends, the store is done with this client.
            let _ = answered.await;
        })
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        let (there, last) = self.leave();
        if !there {
            return;
        }
        match (last, *self.started.get_mut()) {
            (false, _) => self.ask(Request::Gone(self.client)),
            (true, false) => self.ask(Request::End),
            (true, true) => self.shared.inbox.abandon(),
        }
        if last {
            let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            // A panic of the store has been reported as such.
            let _ = thread.map(JoinHandle::join);
        }
    }
}

impl fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedBroker").field("folder", &self.shared.config.folder).finish_non_exhaustive()
    }
}

fn stopped() -> PublishError {
    PublishError::NotConnected("the embedded broker has stopped".into())
}
