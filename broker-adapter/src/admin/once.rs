//! Idempotency keys, remembered in this process: for brokers that have no place for them, such as RabbitMQ. Other
//! processes don't see them, and a restart forgets them.

use super::{Enqueue, Enqueued, Once};
use quebert_dispatcher::ports::broker::PublishError;
use quebert_wire::{Message, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Keys that are remembered at most; some 300 bytes each. The one that would be forgotten first makes room.
const KEYS_MAX: usize = 100_000;
/// Bytes of messages whose fate is open that are kept at most. Past it, such a key is forgotten.
const OPEN_BYTES_MAX: usize = 64 << 20;

/// A memory of keys: 100,000 at most, and the one that would be forgotten first makes room. A key whose task is surely
/// nowhere is forgotten; one whose task may be stored or not publishes the same task again when it comes again.
#[derive(Default)]
pub struct OnceMemory(Mutex<Keys>);

#[derive(Default)]
struct Keys {
    entries: BTreeMap<String, Entry>,
    by_end: BTreeSet<(Timestamp, String)>,
    open_bytes: usize,
}

struct Entry {
    fingerprint: [u8; 32],
    until: Timestamp,
    id: String,
    fate: Fate,
}

enum Fate {
    /// Somebody is at it.
    UnderWay,
    Stored,
    /// Perhaps it is stored. Kept, so that a repetition publishes the same task and not a second one.
    Open(Arc<str>, Message),
}

/// What to do for a key.
enum Begun<'a> {
    /// Publish this, and tell the ticket what came of it. `again` is whether that was tried before with an open end.
    Publish {
        ticket: Ticket<'a>,
        again: bool,
    },
    Answer(Enqueued),
}

/// A key under way. Dropped without an end, as when the caller gives up, the fate is open.
struct Ticket<'a> {
    memory: &'a OnceMemory,
    key: String,
    queue: Arc<str>,
    message: Message,
    ended: bool,
}

impl OnceMemory {
    /// Stores a task by `publish`, unless its key says that it is stored already or somebody is at it. `now` is this
    /// machine's wall clock. Dropping the future leaves the key's fate open.
    ///
    /// # Errors
    /// Those of `publish`.
    pub async fn store<F: Future<Output = Result<(), PublishError>>>(
        &self,
        task: Enqueue,
        now: Timestamp,
        publish: impl FnOnce(Arc<str>, Message) -> F,
    ) -> Result<Enqueued, PublishError> {
        let Some(once) = &task.once else {
            return publish(task.queue, task.message).await.map(|()| Enqueued::Stored);
        };
        match self.begin(once, &task, now) {
            Begun::Answer(answer) => Ok(answer),
            Begun::Publish { ticket, again } => {
                let result = publish(ticket.queue.clone(), ticket.message.clone()).await;
                let id = ticket.id();
                ticket.end(&result, again);
                result.map(|()| if again { Enqueued::Repeated { id } } else { Enqueued::Stored })
            }
        }
    }

    /// Begins with a task that has a key.
    fn begin(&self, once: &Once, task: &Enqueue, now: Timestamp) -> Begun<'_> {
        let mut keys = self.keys();
        keys.expire(now);
        let ticket = |queue: Arc<str>, message: Message| Ticket {
            memory: self,
            key: once.key.clone(),
            queue,
            message,
            ended: false,
        };
        let Some(entry) = keys.entries.get_mut(&once.key) else {
            keys.make_room();
            let id = task.message.id.clone().unwrap_or_default();
            let entry = Entry { fingerprint: once.fingerprint, until: once.until, id, fate: Fate::UnderWay };
            keys.entries.insert(once.key.clone(), entry);
            keys.by_end.insert((once.until, once.key.clone()));
            return Begun::Publish { ticket: ticket(task.queue.clone(), task.message.clone()), again: false };
        };
        if entry.fingerprint != once.fingerprint {
            return Begun::Answer(Enqueued::Conflict);
        }
        match std::mem::replace(&mut entry.fate, Fate::UnderWay) {
            Fate::UnderWay => Begun::Answer(Enqueued::UnderWay),
            Fate::Stored => {
                entry.fate = Fate::Stored;
                Begun::Answer(Enqueued::Repeated { id: entry.id.clone() })
            }
            Fate::Open(queue, message) => {
                keys.open_bytes -= size(&message);
                Begun::Publish { ticket: ticket(queue, message), again: true }
            }
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn expire(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.by_end.first().filter(|(until, _)| *until <= now).cloned() {
            self.forget(&key);
        }
    }

    fn make_room(&mut self) {
        while self.entries.len() >= KEYS_MAX {
            let Some((_, key)) = self.by_end.first().cloned() else { return };
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &str) {
        let Some(entry) = self.entries.remove(key) else { return };
        if let Fate::Open(_, message) = &entry.fate {
            self.open_bytes -= size(message);
        }
        self.by_end.remove(&(entry.until, key.to_owned()));
    }
}

impl Ticket<'_> {
    /// What came of it. Forgotten if the task is surely nowhere.
    fn end(mut self, result: &Result<(), PublishError>, again: bool) {
        self.ended = true;
        match result {
            Ok(()) => {
                if let Some(entry) = self.memory.keys().entries.get_mut(&self.key) {
                    entry.fate = Fate::Stored;
                }
            }
            // A refusal now says nothing of the try before.
            Err(PublishError::Unknown(_)) => self.leave_open(),
            Err(_) if again => self.leave_open(),
            Err(_) => self.memory.keys().forget(&self.key),
        }
    }

    /// The task that this key stands for.
    fn id(&self) -> String {
        self.message.id.clone().unwrap_or_default()
    }

    fn leave_open(&mut self) {
        let mut keys = self.memory.keys();
        let bytes = size(&self.message);
        if keys.open_bytes + bytes > OPEN_BYTES_MAX {
            keys.forget(&self.key);
            return;
        }
        // Unless it has expired meanwhile.
        if let Some(entry) = keys.entries.get_mut(&self.key) {
            entry.fate = Fate::Open(self.queue.clone(), std::mem::take(&mut self.message));
            keys.open_bytes += bytes;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.leave_open();
        }
    }
}

impl fmt::Debug for OnceMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceMemory").field("keys", &self.keys().entries.len()).finish_non_exhaustive()
    }
}

fn size(message: &Message) -> usize {
    message.body.len() + message.head_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn task(id: &str) -> Enqueue {
        Enqueue { queue: "work".into(), message: Message { id: Some(id.into()), ..Message::default() }, once: None }
    }

    fn once(key: &str, what: u8) -> Once {
        Once { key: key.into(), fingerprint: [what; 32], until: Timestamp::from_millis(2000) }
    }

    #[track_caller]
    fn first<'a>(memory: &'a OnceMemory, key: &str, id: &str) -> Ticket<'a> {
        match memory.begin(&once(key, 1), &task(id), NOW) {
            Begun::Publish { ticket, again: false } => ticket,
            Begun::Publish { .. } => panic!("{key} was tried before"),
            Begun::Answer(answer) => panic!("{key}: {answer:?}"),
        }
    }

    #[track_caller]
    fn answered(memory: &OnceMemory, once: &Once, answer: &Enqueued) {
        match memory.begin(once, &task("other"), NOW) {
            Begun::Answer(given) => assert_eq!(given, *answer),
            Begun::Publish { .. } => panic!("{} is published", once.key),
        }
    }

    #[test]
    fn a_key_is_under_way_then_repeated_and_conflicts_with_other_requests() {
        let memory = OnceMemory::default();
        let ticket = first(&memory, "k", "a");
        answered(&memory, &once("k", 1), &Enqueued::UnderWay);
        answered(&memory, &once("k", 2), &Enqueued::Conflict);
        ticket.end(&Ok(()), false);
        answered(&memory, &once("k", 1), &Enqueued::Repeated { id: "a".into() });
        answered(&memory, &once("k", 2), &Enqueued::Conflict);
    }

    #[test]
    fn a_key_is_forgotten_when_the_task_is_surely_nowhere_and_after_its_time() {
        let memory = OnceMemory::default();
        first(&memory, "k", "a").end(&Err(PublishError::Refused("full".into())), false);
        first(&memory, "k", "b").end(&Ok(()), false);
        assert!(matches!(
            memory.begin(&once("k", 2), &task("c"), Timestamp::from_millis(2000)),
            Begun::Publish { again: false, .. }
        ));
    }

    #[test]
    fn an_open_fate_is_tried_again_with_the_first_task() {
        let memory = OnceMemory::default();
        first(&memory, "k", "a").end(&Err(PublishError::Unknown("no confirmation".into())), false);
        // A caller that gives up, and a refusal that says nothing of the try before.
        for refused in [false, true] {
            let Begun::Publish { ticket, again: true } = memory.begin(&once("k", 1), &task("b"), NOW) else {
                panic!("tried again")
            };
            assert_eq!(ticket.id(), "a", "not a second task");
            answered(&memory, &once("k", 1), &Enqueued::UnderWay);
            if refused {
                ticket.end(&Err(PublishError::NotConnected("away".into())), true);
            }
        }
        answered(&memory, &once("k", 2), &Enqueued::Conflict);
        let Begun::Publish { ticket, again } = memory.begin(&once("k", 1), &task("b"), NOW) else { panic!("again") };
        ticket.end(&Ok(()), again);
        answered(&memory, &once("k", 1), &Enqueued::Repeated { id: "a".into() });
        assert_eq!(memory.keys().open_bytes, 0);
    }

    #[test]
    fn the_memory_is_bounded() {
        let memory = OnceMemory::default();
        for n in 0..KEYS_MAX + 10 {
            first(&memory, &n.to_string(), "a").end(&Ok(()), false);
        }
        let keys = memory.keys();
        assert_eq!((keys.entries.len(), keys.by_end.len()), (KEYS_MAX, KEYS_MAX));
    }
}
