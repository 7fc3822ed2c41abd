//! What operators ask of the store: figures, looking, taking out, purging, finding, idempotency keys, pauses.

use super::{
    disk::{Disk, Fault},
    inbox::{AdminAnswer, Enqueuing, Page, Purged, Request},
    once::OnceEntry,
    record::{self, Record},
    store::{Store, Waiting},
};
use crate::{
    admin::{AdminError, Enqueued, Found, FoundState, Once, Place, PlaceStatus, Position},
    queue::{self, Figures, QueueId, QueueName, Spot},
};
use quebert_dispatcher::ports::broker::{PublishError, Target};
use quebert_wire::{HeaderValue, Message, TaskId, Timestamp, header};
use std::{collections::BTreeMap, sync::Arc};

/// Most messages of one page.
const PAGE_MESSAGES: usize = 100;
/// Most bytes of one page, save that there is one message at least.
const PAGE_BYTES: usize = 1 << 20;
/// Most messages of one id's hash that a lookup goes through: ids need not be unique, and a hash can be met on purpose.
const LOOKED_AT_MAX: usize = 10_000;
/// Most copies of one task that are read.
const COPIES_MAX: usize = 100;
/// Most bytes of them, save that there is one at least.
const COPIES_BYTES: usize = 16 << 20;
/// Most messages that one transaction of a purge removes: some 10 ms.
const PURGED_AT_ONCE: usize = 2000;

impl Store {
    /// Answers an operator.
    pub(super) fn serve(&mut self, request: Request) {
        match request {
            Request::Enqueue { tasks, permit, answer } => {
                let results = tasks.into_iter().map(|task| self.enqueue(task)).collect();
                self.batch.waiting.push(Waiting::Enqueue(answer, results, permit));
            }
            Request::Status { place, answer } => {
                let status = self.queue_of(&place).map(|queue| self.status(queue));
                let _ = answer.send(status);
            }
            Request::Browse { place, after, until, answer } => drop(answer.send(self.browse(&place, after, until))),
            Request::Take { spot, instead, answer } => self.take_out(spot, instead, answer),
            Request::Purge { place, until, answer } => self.purge(&place, until, answer),
            Request::Find { id, answer } => drop(answer.send(self.find(&id))),
            Request::RunNow { id, answer } => {
                let done = self.run_now(&id);
                self.flag(answer, done);
            }
            Request::Cancel { id, answer } => {
                let done = self.cancel(&id);
                self.flag(answer, done);
            }
            Request::RememberPause { queue, paused, answer } => {
                self.batch.paused.push((queue.to_string(), paused));
                self.batch.waiting.push(Waiting::Done(answer));
            }
            Request::Paused(answer) => drop(answer.send(self.paused())),
            // The broker's side has taken in everything else.
            _ => {}
        }
    }

    fn enqueue(&mut self, task: Enqueuing) -> Result<Enqueued, PublishError> {
        let Enqueuing { queue, record, id, once } = task;
        let record = record?;
        if let Some(once) = &once
            && let Some(known) = self.known(once)?
        {
            return Ok(known);
        }
        self.place(&Target::Queue(queue), record, false)?;
        if let Some(Once { key, fingerprint, until }) = once {
            self.batch.once.insert(key, OnceEntry { fingerprint, until, id });
        }
        Ok(Enqueued::Stored)
    }

    /// Whether an idempotency key was used before, in this transaction or an earlier one.
    fn known(&mut self, once: &Once) -> Result<Option<Enqueued>, PublishError> {
        let entry = match self.batch.once.get(&once.key).cloned() {
            Some(entry) => Some(entry),
            None if self.trouble.is_some() => return Err(PublishError::Refused(self.words())),
            None => self.look_up(|disk| disk.once(&once.key)).map_err(PublishError::Refused)?,
        };
        let now = self.wall();
        let entry = entry.filter(|entry| entry.until > now);
        Ok(entry.map(|entry| match entry.fingerprint == once.fingerprint {
            true => Enqueued::Repeated { id: entry.id },
            false => Enqueued::Conflict,
        }))
    }

    fn queue_of(&self, place: &Place) -> Result<QueueId, AdminError> {
        let (name, text) = match place {
            Place::Queue(name) => (QueueName::Work(name.clone()), name.to_string()),
            Place::Dead(name) => (QueueName::Dead(name.clone()), name.to_string()),
            Place::CommonDead => (QueueName::CommonDead, String::new()),
        };
        self.core.queue(&name).ok_or(AdminError::NoSuchPlace(text))
    }

    fn status(&self, queue: QueueId) -> PlaceStatus {
        let Figures { ready, unsettled, delayed, bytes, oldest_ms, consumers } =
            self.core.figures(queue).unwrap_or_default();
        PlaceStatus {
            ready,
            unsettled: Some(unsettled),
            delayed: Some(delayed),
            bytes: Some(bytes),
            oldest: oldest_ms.map(Timestamp::from_millis),
            consumers: Some(consumers),
        }
    }

    fn browse(&mut self, place: &Place, after: Option<Position>, until: Option<Position>) -> Result<Page, AdminError> {
        let queue = self.queue_of(place)?;
        let until = until.unwrap_or_else(|| Position(self.core.last(queue).unwrap_or(0)));
        let mut bytes = 0;
        let mut spots = Vec::new();
        let mut more = false;
        for (spot, letter) in self.core.ready_after(queue, after.map_or(0, |after| after.0)) {
            if spot.seq > until.0 {
                break;
            }
            bytes += letter.bytes as usize;
            if spots.len() == PAGE_MESSAGES || (bytes > PAGE_BYTES && !spots.is_empty()) {
                more = true;
                break;
            }
            spots.push(spot);
        }
        let messages = self.messages(&spots)?;
        Ok(Page { messages, last: spots.last().map(|spot| Position(spot.seq)), until, more })
    }

    /// The messages at these spots, from memory or the file.
    fn messages(&mut self, spots: &[Spot]) -> Result<Vec<(Spot, Message)>, AdminError> {
        let uncached = spots.iter().copied().filter(|spot| self.cache.get(*spot).is_none()).collect::<Vec<_>>();
        let read = self.read(&uncached).map_err(|words| {
            self.begin_trouble(words.clone());
            AdminError::Unavailable(words)
        })?;
        let record = |spot: &Spot| self.cache.get(*spot).or_else(|| read.get(spot));
        Ok(spots.iter().filter_map(|spot| Some((*spot, self.readable(*spot, record(spot)?)?))).collect())
    }

    fn take_out(&mut self, spot: Spot, instead: Option<(Target, Record)>, answer: AdminAnswer<bool>) {
        if !self.core.is_ready(spot) {
            return drop(answer.send(Ok(false)));
        }
        let done = match instead {
            _ if self.is_stuck() => Err(AdminError::Unavailable(self.words())),
            Some((target, record)) => self.place(&target, record, true).map(drop).map_err(AdminError::from),
            None => Ok(()),
        };
        let done = done.map(|()| self.take(spot));
        self.flag(answer, done);
    }

    fn purge(&mut self, place: &Place, until: Option<Position>, answer: AdminAnswer<Purged>) {
        let queue = match self.queue_of(place) {
            Ok(queue) if !self.is_stuck() => queue,
            Ok(_) => return drop(answer.send(Err(AdminError::Unavailable(self.words())))),
            Err(error) => return drop(answer.send(Err(error))),
        };
        let until = until.unwrap_or_else(|| Position(self.core.last(queue).unwrap_or(0)));
        let ready = self.core.ready_after(queue, 0).map(|(spot, _)| spot).take_while(|spot| spot.seq <= until.0);
        let spots = ready.take(PURGED_AT_ONCE + 1).collect::<Vec<_>>();
        let more = spots.len() > PURGED_AT_ONCE;
        let mut removed = 0;
        for spot in spots.into_iter().take(PURGED_AT_ONCE) {
            removed += u64::from(self.take(spot));
        }
        self.batch.waiting.push(Waiting::Purged(answer, Purged { removed, until, more }));
    }

    /// The first copies of a task that are `wanted`, with where they lie.
    fn copies(
        &mut self,
        id: &TaskId,
        wanted: impl Fn(&queue::Found, &QueueName) -> bool,
    ) -> Result<Vec<(queue::Found, Message)>, AdminError> {
        let mut bytes = 0;
        let found = self.core.find(record::hash(id.as_str())).take(LOOKED_AT_MAX);
        let found = found.filter(|found| self.core.name(found.spot.queue).is_some_and(|name| wanted(found, name)));
        let found = found.take(COPIES_MAX).take_while(|found| {
            let first = bytes == 0;
            bytes += found.bytes as usize;
            first || bytes <= COPIES_BYTES
        });
        let found = found.map(|found| (found.spot, found)).collect::<BTreeMap<_, _>>();
        let spots = found.keys().copied().collect::<Vec<_>>();
        let messages = self.messages(&spots)?;
        let copies = messages.into_iter().filter(|(_, message)| record::id_of(message) == Some(id.as_str()));
        Ok(copies.filter_map(|(spot, message)| Some((*found.get(&spot)?, message))).collect())
    }

    fn find(&mut self, id: &TaskId) -> Result<Vec<Found>, AdminError> {
        let copies = self.copies(id, |_, _| true)?;
        Ok(copies
            .into_iter()
            .filter_map(|(found, message)| {
                let name = self.core.name(found.spot.queue)?;
                let state = match name {
                    _ if !found.ready => FoundState::Delivered,
                    QueueName::Work(_) => FoundState::Ready,
                    QueueName::Delay(_) => FoundState::Delayed,
                    QueueName::Dead(_) | QueueName::CommonDead => FoundState::Dead,
                };
                Some(Found { queue: self.work_queue(name, found.home), state, message })
            })
            .collect())
    }

    /// The work queue that a copy is in or goes back to.
    fn work_queue(&self, name: &QueueName, home: Option<QueueId>) -> Arc<str> {
        let home = home.and_then(|home| self.core.name(home));
        match (name, home) {
            (QueueName::Work(name) | QueueName::Dead(name), _) | (_, Some(QueueName::Work(name))) => name.clone(),
            _ => "".into(),
        }
    }

    fn run_now(&mut self, id: &TaskId) -> Result<bool, AdminError> {
        let mut done = false;
        // A task that has waited keeps the name of its queue, as a dead letter too: only what waits still is meant.
        for (found, mut message) in self.copies(id, |found, name| found.ready && name.is_delay())? {
            let Some(home) = found.home else { continue };
            for name in [header::DUE_AT, header::HOP_AT, header::RETURN_TO] {
                message.headers.remove(name);
            }
            message.headers.insert(header::RUN_NOW.to_owned(), HeaderValue::Bool(true));
            let Some(record) = Record::new(&message, self.wall()) else { continue };
            if self.is_stuck() {
                return Err(AdminError::Unavailable(self.words()));
            }
            if self.add(home, record, true).is_ok() {
                done |= self.take(found.spot);
            }
        }
        Ok(done)
    }

    fn cancel(&mut self, id: &TaskId) -> Result<bool, AdminError> {
        if self.is_stuck() {
            return Err(AdminError::Unavailable(self.words()));
        }
        let mut done = false;
        for (found, _) in self.copies(id, |found, name| found.ready && !name.is_dead())? {
            done |= self.take(found.spot);
        }
        Ok(done)
    }

    fn paused(&mut self) -> Result<Vec<Arc<str>>, AdminError> {
        let names = self.look_up(Disk::paused).map_err(AdminError::Unavailable)?;
        Ok(names.into_iter().map(Arc::from).collect())
    }

    /// Reads something small. An error is the beginning of trouble, as with every read: after one the database reads
    /// nothing more until it is opened again.
    fn look_up<T>(&mut self, read: impl FnOnce(&Disk) -> Result<T, Fault>) -> Result<T, String> {
        let Some(disk) = &self.disk else { return Err(self.words()) };
        read(disk).map_err(|fault| {
            self.disk = None;
            self.begin_trouble(fault.to_string());
            self.words()
        })
    }

    /// Answers with the next transaction what was done in it, or at once that it can't be.
    fn flag(&mut self, answer: AdminAnswer<bool>, done: Result<bool, AdminError>) {
        match done {
            Ok(done) => self.batch.waiting.push(Waiting::Flag(answer, done)),
            Err(error) => drop(answer.send(Err(error))),
        }
    }
}
