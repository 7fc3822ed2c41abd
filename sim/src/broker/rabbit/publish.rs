//! Publishes: stored, refused or returned, and confirmed at once, late, in batches or never. What a crash does to them is in
//! `crash`.

use super::{
    super::{
        cluster::At,
        conns::{ConnNo, Conns},
        wire::{Answer, Tell},
    },
    Kind, Parcel, Rabbit, Timer, target_of,
};
use crate::{
    history::{CopyNo, TaskNo, What},
    host::Host,
};
use quebert_broker_adapter::queue::{Letter, QueueId, Spot};
use quebert_dispatcher::ports::broker::{Tag, Target};
use quebert_wire::{HeaderValue, Message, header};
use std::time::Duration;

/// What a client asks to be stored.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) conn: ConnNo,
    /// The connection's number of it.
    pub(super) no: u64,
    pub(super) client: Host,
    pub(super) target: Target,
    /// The delivery in whose place it is stored.
    pub(super) from: Option<Tag>,
}

/// A publish that is not answered yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) asked: Asked,
    copy: Option<CopyNo>,
    answer: Answer,
    /// When it is safe; after that only its answer is missing.
    pub(super) safe_at: Duration,
    /// When it is answered; `None` is never.
    answer_at: Option<Duration>,
    pub(super) place: Place,
}

/// Where a message is that is not safe yet.
#[derive(Debug)]
pub(super) enum Place {
    /// Not in its queue yet.
    Outside(QueueId, Message),
    /// In its queue.
    Inside(Spot),
    /// It is refused.
    Nowhere,
}

/// Answers that are held back, to be sent together.
#[derive(Debug, Default)]
pub(super) struct Batch(Vec<(u64, Answer)>);

impl Rabbit {
    pub(super) fn publish(&mut self, at: At, conns: &mut Conns, asked: &Asked, message: Message) {
        let Some(queue) = self.core.route(&asked.target) else {
            // Returned, and then confirmed: at once, since nothing is stored.
            self.note(at, What::Answered { copy: None, to: asked.client, how: "returned" });
            return conns.tell(asked.conn, &Tell::Answers(vec![(asked.no, Answer::Returned)]));
        };
        let task = task_of(&message);
        let key = self.key(task);
        let rules = self.rules(queue);
        let nacked = self.draw.nack.at(key).chance(self.knobs.confirm_nack_per_mille);
        let full = rules.messages_max.is_some_and(|max| self.core.figures(queue).is_some_and(|one| one.ready >= max));
        let never = self.draw.never.at(key).chance(self.knobs.confirm_never_per_mille);
        // What comes first is stored first: a queue has one log.
        let earliest = self.committed_by.get(&queue).copied().unwrap_or_default();
        let safe_at = (at.now + self.storing(self.draw.commit, key)).max(earliest);
        let answer_at = (!never).then(|| safe_at + Duration::from_millis(self.knobs.confirm_late_ms));
        self.last += 1;
        let number = self.last;
        let refused = nacked || full;
        let mut pending = Pending {
            asked: asked.clone(),
            copy: None,
            answer: if refused { Answer::Nack } else { Answer::Ack },
            safe_at,
            answer_at,
            place: Place::Nowhere,
        };
        if !refused {
            self.committed_by.insert(queue, safe_at);
            // What takes a delivery's place does so in one transaction, which is not split here.
            let moves = self.spec.relocates && asked.from.is_some();
            if (rules.kind == Kind::Quorum || moves) && safe_at > at.now {
                pending.place = Place::Outside(queue, message);
            } else {
                let (spot, copy) = self.store(at, queue, message, asked);
                (pending.place, pending.copy) = (Place::Inside(spot), Some(copy));
            }
        }
        self.pending.insert(number, pending);
        if safe_at > at.now { self.plan(safe_at, Timer::Commit(number)) } else { self.commit(at, conns, number) }
    }

    /// A publish is safe from now on.
    pub(super) fn commit(&mut self, at: At, conns: &mut Conns, number: u64) {
        let Some(mut pending) = self.pending.remove(&number) else { return };
        if let Place::Outside(queue, message) = std::mem::replace(&mut pending.place, Place::Nowhere) {
            let (_, copy) = self.store(at, queue, message, &pending.asked);
            pending.copy = Some(copy);
        }
        pending.place = Place::Nowhere;
        let Some(answer_at) = pending.answer_at else {
            return self.note(at, What::Answered { copy: pending.copy, to: pending.asked.client, how: "never" });
        };
        self.pending.insert(number, pending);
        if answer_at > at.now {
            self.plan(answer_at, Timer::Answer(number));
        } else {
            self.answer_publish(at, conns, number);
        }
    }

    /// A publish is answered: now, or with the next ones.
    pub(super) fn answer_publish(&mut self, at: At, conns: &mut Conns, number: u64) {
        let Some(Pending { asked, copy, answer, .. }) = self.pending.remove(&number) else { return };
        // Nobody is told anything over a connection that is no more.
        if conns.get(asked.conn).is_none_or(|conn| conn.ending) {
            return;
        }
        let how = if answer == Answer::Ack { "ack" } else { "nack" };
        self.note(at, What::Answered { copy, to: asked.client, how });
        let most = usize::try_from(self.spec.confirm_batch.max(1)).unwrap_or(usize::MAX);
        if most == 1 {
            return conns.tell(asked.conn, &Tell::Answers(vec![(asked.no, answer)]));
        }
        let batch = self.batches.entry(asked.conn).or_default();
        batch.0.push((asked.no, answer));
        if batch.0.len() >= most {
            self.flush(conns, asked.conn);
        } else if batch.0.len() == 1 {
            // RabbitMQ holds them back until it has nothing else to do: here, until as many could have been stored.
            let rest = self.spec.confirm_max_ms.max(1).saturating_mul(most as u64);
            self.plan(at.now + Duration::from_millis(rest), Timer::Flush(asked.conn));
        }
    }

    /// Sends the answers that were held back.
    pub(super) fn flush(&mut self, conns: &mut Conns, conn: ConnNo) {
        if let Some(Batch(answers)) = self.batches.remove(&conn) {
            conns.tell(conn, &Tell::Answers(answers));
        }
    }

    /// Takes a message in, in the place of a delivery where that is asked for and can be.
    pub(super) fn store(&mut self, at: At, queue: QueueId, message: Message, asked: &Asked) -> (Spot, CopyNo) {
        let stored = self.put(at, queue, message, asked.client);
        let from = asked.from.filter(|_| self.spec.relocates);
        let from = from.filter(|tag| self.tag_owner(*tag).is_some_and(|channel| channel.client == asked.client));
        if let Some(taken) = from.and_then(|tag| self.core.relocate(tag)) {
            self.remove(at, taken.spot(), asked.client);
        }
        stored
    }

    /// Puts a message into a queue.
    pub(super) fn put(&mut self, at: At, queue: QueueId, message: Message, by: Host) -> (Spot, CopyNo) {
        let (copy, task) = (self.next_copy(), task_of(&message));
        let bytes = u32::try_from(message.body.len()).unwrap_or(u32::MAX);
        let letter = Letter { payload: (), bytes, at_ms: 0, id: 0, home: None };
        let spot = self.core.publish(queue, letter, true).expect("what is moved is always taken");
        let target = target_of(self.core.name(queue).expect("queues stay"));
        self.note(at, What::Stored { copy, target, task, by, attempts: attempts_of(&message) });
        self.parcels.insert(spot, Parcel { copy, task, message, returns: 0, at: at.now });
        if let Some(ttl) = self.rules(queue).ttl {
            self.touched.insert(queue);
            self.plan(at.now + ttl, Timer::Expire(queue));
        }
        (spot, copy)
    }
}

pub(super) fn task_of(message: &Message) -> Option<TaskNo> {
    message.id.as_deref().and_then(TaskNo::of_id)
}

pub(super) fn attempts_of(message: &Message) -> u32 {
    match message.headers.get(header::ATTEMPTS) {
        Some(HeaderValue::Int(attempts)) => u32::try_from(*attempts).unwrap_or(0),
        _ => 0,
    }
}
