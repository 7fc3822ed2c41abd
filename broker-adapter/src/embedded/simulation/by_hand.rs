//! The store without a thread: a host asks, makes a turn, and has the answers. Time stands still during a turn, unless the
//! host's disk moves the host's clock.

use crate::{
    embedded::{
        EmbeddedBroker, EmbeddedConfig, OpenError, broker::Shared, file::Medium, journal::Done, record, store::Store,
    },
    queue::{QueueName, Spot},
};
use quebert_dispatcher::ports::{broker::Broker as _, clock::Clock};
use quebert_wire::Message;
use redb::StorageBackend;
use std::{fmt, sync::Arc, time::Duration};

/// A store that its host drives: what clients ask for waits until the next [`turn`](Self::turn), which makes one
/// transaction of it, and then answers and delivers. The same calls on the same disk at the same times write the same
/// bytes.
///
/// Dropping it closes the file as redb does, which writes. A host that means a crash switches its disk off first.
pub struct ByHand {
    root: EmbeddedBroker,
    shared: Arc<Shared>,
    store: Store,
}

/// A message that is stored.
#[derive(Debug, Clone)]
pub struct Content {
    /// Where it lies.
    pub spot: Spot,
    /// In which queue that is.
    pub queue: QueueName,
    /// The message.
    pub message: Message,
    /// Whether the file says that it was delivered before, and if so, at how many crashes it was under way.
    pub delivered: Option<u32>,
}

impl ByHand {
    /// Opens the store on a storage of the host's. `config.folder` is only what errors call it.
    ///
    /// # Errors
    /// When the storage can't be read or written, or what is on it is damaged.
    pub fn open_on(
        backend: impl StorageBackend,
        config: EmbeddedConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let medium = Medium::backend(&config.folder, backend);
        let shared = Shared::new(config, clock);
        let mut store = shared.open(medium)?;
        store.begin();
        Ok(Self { root: EmbeddedBroker::client_of(shared.clone()), shared, store })
    }

    /// One more client, not started. Its futures ask when they are first polled, and are ready after the turn that
    /// answers. Dropping it is a client's sudden end.
    pub fn client(&self) -> EmbeddedBroker {
        self.root.another()
    }

    /// Whether a turn has something to do now: something is asked, or it is time.
    pub fn has_work(&self) -> bool {
        self.shared.inbox.has_some() || self.store.next_wakeup().is_some_and(|at| at <= self.store.mono())
    }

    /// When a turn has something to do though nothing is asked, on the clock's monotonic side.
    pub fn next_wakeup(&self) -> Option<Duration> {
        self.store.next_wakeup()
    }

    /// Takes what is asked, makes one transaction, and answers and delivers. Tells what it did.
    pub fn turn(&mut self) -> Vec<Done> {
        self.shared.inbox.take_now(&mut self.store.todo);
        self.store.turn();
        self.store.journal.take()
    }

    /// Everything that is on the disk, queue by queue and in order.
    ///
    /// # Errors
    /// In the store's words, when it can't be read.
    pub fn contents(&self) -> Result<Vec<Content>, String> {
        let disk = self.store.disk.as_ref().ok_or("it is not open")?;
        let index = disk.index().map_err(|fault| fault.to_string())?;
        let mut spots = Vec::new();
        disk.heads(|spot, _, _| spots.push(spot)).map_err(|fault| fault.to_string())?;
        let records = disk.read(spots).map_err(|fault| fault.to_string())?;
        let content = |(spot, record): (Spot, _)| {
            let queue = index.queues.iter().find(|(queue, _)| *queue == spot.queue);
            let delivered = index.marks.get(&spot.queue).is_some_and(|mark| spot.seq <= *mark);
            Ok(Content {
                spot,
                queue: queue.map(|(_, name)| name.clone()).ok_or_else(|| format!("{spot:?} is of no queue"))?,
                message: record::message(&record).map_err(|fault| fault.to_string())?,
                delivered: delivered.then(|| index.notes.get(&spot).map_or(0, |note| note.crashes)),
            })
        };
        records.into_iter().map(content).collect()
    }

    /// Ends in an orderly way: every client's session ends, what is pending is written, and the file is closed.
    pub fn close(self) {
        let Self { root, shared, mut store } = self;
        shared.inbox.take_now(&mut store.todo);
        // Asks for it at once.
        drop(root.stop());
        shared.inbox.take_now(&mut store.todo);
        while !store.todo.is_empty() {
            store.turn();
        }
        shared.inbox.end();
        for answer in store.close() {
            let _ = answer.send(());
        }
    }
}

impl fmt::Debug for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand").field("root", &self.root).finish_non_exhaustive()
    }
}
