//! The state machine itself. It decides order, windows, limits and ownership; what is durable is its host's business.

use super::{
    Change, ClientId, Closed, Figures, Found, Full, Handed, Letter, Limits, QueueId, QueueName, Room, Spot, Taken,
    consumers::{Consumers, Held},
    line::{Entry, Line},
};
use quebert_dispatcher::ports::broker::{Opening, Tag, Target};
use std::collections::{BTreeMap, BTreeSet};

/// Queues of messages with a payload `P`, and who consumes them. **Drain [`changes`](Self::changes) into one transaction,
/// and tell nobody of anything before that is durable.**
#[derive(Debug)]
pub struct QueueCore<P> {
    limits: Limits,
    lines: BTreeMap<QueueId, Line<P>>,
    names: BTreeMap<QueueName, QueueId>,
    consumers: Consumers,
    index: BTreeSet<(u64, Spot)>,
    bytes: u64,
    /// Queues that may have something to hand out.
    stirred: BTreeSet<QueueId>,
    changes: Vec<Change>,
}

impl<P> QueueCore<P> {
    /// Without any queue but that of the common dead letters, which is number 1.
    pub fn new(limits: Limits) -> Self {
        let mut core = Self {
            limits,
            lines: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: Consumers::default(),
            index: BTreeSet::new(),
            bytes: 0,
            stirred: BTreeSet::new(),
            changes: Vec::new(),
        };
        core.declare(QueueName::CommonDead);
        core
    }

    /// Makes a queue, if it is not there; a work queue with its dead letters.
    pub fn declare(&mut self, name: QueueName) -> QueueId {
        if let Some(id) = self.names.get(&name) {
            return *id;
        }
        if let QueueName::Work(work) = &name {
            self.declare(QueueName::Dead(work.clone()));
        }
        let last = self.lines.last_key_value().map_or(0, |(id, _)| id.0);
        let id = QueueId(last + 1);
        self.add_line(id, name.clone());
        self.changes.push(Change::Made { queue: id, name });
        id
    }

    /// Takes in a queue from the store. Everything up to `mark` has been delivered.
    pub fn restore_queue(&mut self, id: QueueId, name: QueueName, mark: u64) {
        if self.names.get(&name) != Some(&id) {
            self.add_line(id, name);
        }
        let line = self.lines.get_mut(&id).expect("just made");
        line.cursor = line.cursor.max(mark + 1);
        line.next = line.next.max(line.cursor);
    }

    /// Takes in a message from the store, whose queue was restored before. Of one that has been delivered, `crashes` tells
    /// at how many crashes it was under way.
    pub fn restore(&mut self, spot: Spot, letter: Letter<P>, crashes: Option<u32>) {
        let Some(line) = self.lines.get_mut(&spot.queue) else { return };
        line.next = line.next.max(spot.seq + 1);
        let delivered = spot.seq < line.cursor;
        let entry = Entry { letter, crashes: crashes.unwrap_or(0), delivered, noted: delivered };
        if delivered {
            line.returned.insert(spot.seq);
        }
        self.insert(spot, entry);
    }

    /// The queue of exactly this name.
    pub fn queue(&self, name: &QueueName) -> Option<QueueId> {
        self.names.get(name).copied()
    }

    /// What a queue is for.
    pub fn name(&self, queue: QueueId) -> Option<&QueueName> {
        self.lines.get(&queue).map(|line| &line.name)
    }

    /// Every queue.
    pub fn queues(&self) -> impl Iterator<Item = (QueueId, &QueueName)> {
        self.lines.iter().map(|(id, line)| (*id, &line.name))
    }

    /// Where a message for `target` goes, as far as that is there: dead letters of an undeclared queue go to the common
    /// ones.
    pub fn route(&self, target: &Target) -> Option<QueueId> {
        let own = self.queue(&target.into());
        match target {
            Target::Dead(_) => own.or_else(|| self.queue(&QueueName::CommonDead)),
            Target::Queue(_) | Target::Delay(_) => own,
        }
    }

    /// Takes a message in. What is `moved`, and dead letters, are always taken.
    ///
    /// # Errors
    /// When that would go over a limit.
    ///
    /// # Panics
    /// If there is no such queue.
    pub fn publish(&mut self, queue: QueueId, letter: Letter<P>, moved: bool) -> Result<Spot, Full> {
        let line = self.lines.get_mut(&queue).expect("a queue of this core");
        if !moved && !line.name.is_dead() {
            let (messages, limit) = (line.entries.len() as u64, self.limits.queue_messages_max);
            if line.name.is_work() && messages >= limit {
                return Err(Full::Queue { name: line.name.clone(), messages, limit });
            }
            let (bytes, limit) = (self.bytes, self.limits.total_bytes_max);
            if bytes.saturating_add(u64::from(letter.bytes)) > limit {
                return Err(Full::Bytes { bytes, limit });
            }
        }
        let spot = Spot { queue, seq: line.next };
        line.next += 1;
        self.insert(spot, Entry { letter, crashes: 0, delivered: false, noted: false });
        self.changes.push(Change::Added(spot));
        Ok(spot)
    }

    /// Opens a queue for a client. `None` if there is no such queue.
    pub fn open(&mut self, client: ClientId, queue: QueueId, window: u16) -> Option<Opening> {
        let line = self.lines.get_mut(&queue)?;
        let opening = self.consumers.open(client, queue, window);
        line.openings.push_back(opening);
        self.stirred.insert(queue);
        Some(opening)
    }

    /// Closes what a client has open, of one queue or of all; what is unsettled goes back.
    pub fn close(&mut self, client: ClientId, queue: Option<QueueId>) -> Vec<Closed> {
        let closed = self.consumers.of(client, queue);
        for Closed { opening, queue } in &closed {
            let consumer = self.consumers.remove(*opening).expect("it is open");
            let line = self.lines.get_mut(queue).expect("queues stay");
            line.openings.retain(|other| other != opening);
            for held in consumer.held.into_values() {
                self.return_held(*queue, held);
            }
        }
        closed
    }

    /// Whether a client has a queue open.
    pub fn has_open(&self, client: ClientId, queue: QueueId) -> bool {
        !self.consumers.of(client, Some(queue)).is_empty()
    }

    /// No new deliveries for what a client has open on a queue; those that are out can be settled.
    pub fn pause(&mut self, client: ClientId, queue: QueueId) {
        for closed in self.consumers.of(client, Some(queue)) {
            if let Some(consumer) = self.consumers.get_mut(closed.opening) {
                consumer.paused = true;
            }
        }
    }

    /// A delivery is done with. Tells where its message lay, unless the tag is of a former opening, settled before, or
    /// another message has taken its place.
    pub fn settle(&mut self, tag: Tag) -> Option<Spot> {
        let (queue, held) = self.consumers.settle(tag)?;
        self.stirred.insert(queue);
        if held.gone {
            return None;
        }
        let spot = Spot { queue, seq: held.seq };
        let entry = self.remove(spot, true);
        self.changes.push(Change::Removed { spot, noted: entry.noted });
        Some(spot)
    }

    /// A delivery goes back to where it was.
    pub fn give_back(&mut self, tag: Tag) {
        if let Some((queue, held)) = self.consumers.settle(tag) {
            self.return_held(queue, held);
        }
    }

    /// A message that is ready again goes before all others, behind those of which that was said before: brokers differ
    /// in where a message that comes back stands. Not durable.
    pub fn hurry(&mut self, spot: Spot) {
        if let Some(line) = self.lines.get_mut(&spot.queue)
            && line.returned.contains(&spot.seq)
        {
            line.hurried.push_back(spot.seq);
        }
    }

    /// Takes the message of a delivery out, for another one that takes its place. The delivery still fills the window
    /// until its ack. `None` for a tag of a former opening.
    pub fn relocate(&mut self, tag: Tag) -> Option<Taken<P>> {
        let (queue, held) = self.consumers.held(tag)?;
        if std::mem::replace(&mut held.gone, true) {
            return None;
        }
        let spot = Spot { queue, seq: held.seq };
        let entry = self.remove(spot, true);
        self.changes.push(Change::Removed { spot, noted: entry.noted });
        Some(Taken { spot, entry, tag: Some(tag) })
    }

    /// Takes a ready message out. `None` if there is none, or it is delivered.
    pub fn take(&mut self, spot: Spot) -> Option<Taken<P>> {
        if !self.is_ready(spot) {
            return None;
        }
        let entry = self.remove(spot, false);
        self.changes.push(Change::Removed { spot, noted: entry.noted });
        Some(Taken { spot, entry, tag: None })
    }

    /// Hands out what windows and `room` allow, queue by queue and to each opening in turn, until it is `limit` or comes to
    /// `bytes` or more.
    pub fn hand_out(&mut self, room: &mut Room, limit: usize, bytes: u64) -> Vec<Handed> {
        let mut handed = Vec::<Handed>::new();
        let mut taken = 0;
        for queue in std::mem::take(&mut self.stirred) {
            let mut more = true;
            while more && handed.len() < limit && taken < bytes {
                more = match self.hand_out_one(queue, room) {
                    Ok(one) => {
                        taken += one.as_ref().map_or(0, |one| u64::from(one.bytes));
                        handed.extend(one.iter().cloned());
                        one.is_some()
                    }
                    Err(NoRoom) => {
                        self.stirred.insert(queue);
                        false
                    }
                };
            }
            if more {
                self.stirred.insert(queue);
            }
        }
        handed
    }

    /// Whether something could be handed out, if only its client had room.
    pub fn waits_for_room(&self) -> bool {
        !self.stirred.is_empty()
    }

    /// What must become durable, since this was last asked. If the transaction fails, it belongs into the next one, after
    /// the host has undone what must not have happened.
    pub fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A hand-over that was never told of must not have happened. The latest first.
    pub fn take_back(&mut self, handed: &Handed) {
        let Some((queue, _)) = self.consumers.settle(handed.tag) else { return };
        let line = self.lines.get_mut(&queue).expect("queues stay");
        let entry = line.give_back(handed.spot.seq);
        entry.delivered = handed.redelivered;
        let crashes = entry.crashes;
        let passed_by = line.returned.range(handed.spot.seq + 1..).next().is_some();
        if handed.again || passed_by {
            // Also if one behind it was given back meanwhile, as when its opening closed: the cursor can't go back over that.
            line.entries.get_mut(&handed.spot.seq).expect("just given back").noted = true;
            self.changes.push(Change::Returned { spot: handed.spot, crashes });
        } else {
            line.returned.remove(&handed.spot.seq);
            line.cursor = handed.spot.seq;
        }
        self.stirred.insert(queue);
    }

    /// A message that was taken out must not have been: it is unsettled or ready as before.
    pub fn put_back(&mut self, taken: Taken<P>) {
        let Taken { spot, entry, tag } = taken;
        let (bytes, crashes, noted) = (entry.letter.bytes, entry.crashes, entry.noted);
        self.insert(spot, entry);
        let held = tag.and_then(|tag| self.consumers.held(tag)).map(|(_, held)| held.gone = false);
        let line = self.lines.get_mut(&spot.queue).expect("queues stay");
        if held.is_some() {
            line.bytes_ready -= u64::from(bytes);
            line.unsettled += 1;
            if noted {
                self.changes.push(Change::HandedOut { spot, again: true, crashes });
            }
        } else if spot.seq < line.cursor {
            line.returned.insert(spot.seq);
            line.entries.get_mut(&spot.seq).expect("just inserted").noted = true;
            self.changes.push(Change::Returned { spot, crashes });
        }
    }

    /// A message that was taken in must not have been.
    pub fn forget(&mut self, spot: Spot) {
        if self.is_ready(spot) {
            self.remove(spot, false);
        }
    }

    /// What can be told of a queue.
    pub fn figures(&self, queue: QueueId) -> Option<Figures> {
        let line = self.lines.get(&queue)?;
        let open = self.consumers.all().filter(|(_, consumer)| consumer.queue == queue && !consumer.paused);
        Some(Figures { consumers: open.count() as u64, ..line.figures() })
    }

    /// The ready messages of a queue, from behind `after`, in order.
    pub fn ready_after(&self, queue: QueueId, after: u64) -> impl Iterator<Item = (Spot, &Letter<P>)> {
        self.lines.get(&queue).into_iter().flat_map(move |line| {
            line.ready_after(after).map(move |seq| (Spot { queue, seq }, &line.entries[&seq].letter))
        })
    }

    /// Whether a message is there and not delivered.
    pub fn is_ready(&self, spot: Spot) -> bool {
        self.lines.get(&spot.queue).is_some_and(|line| line.is_ready(spot.seq))
    }

    /// The highest number given out in a queue.
    pub fn last(&self, queue: QueueId) -> Option<u64> {
        self.lines.get(&queue).map(|line| line.next - 1)
    }

    /// The highest number delivered in a queue: its mark.
    pub fn mark(&self, queue: QueueId) -> Option<u64> {
        self.lines.get(&queue).map(|line| line.cursor - 1)
    }

    /// The messages whose ids have this hash, queue by queue; other ids may have it, too. There may be any number of them.
    pub fn find(&self, id: u64) -> impl Iterator<Item = Found> + '_ {
        let least = Spot { queue: QueueId(0), seq: 0 };
        let all = self.index.range((id, least)..).take_while(move |(hash, _)| *hash == id);
        all.filter_map(|(_, spot)| {
            let Letter { home, bytes, .. } = self.lines.get(&spot.queue)?.entries.get(&spot.seq)?.letter;
            Some(Found { spot: *spot, ready: self.is_ready(*spot), home, bytes })
        })
    }

    /// Bytes of all messages.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All messages.
    pub fn len(&self) -> usize {
        self.lines.values().map(|line| line.entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn add_line(&mut self, id: QueueId, name: QueueName) {
        self.names.insert(name.clone(), id);
        self.lines.insert(id, Line::new(name));
    }

    /// Puts a message into its queue as a ready one. Where it lies among the ready is for the caller to say.
    fn insert(&mut self, spot: Spot, entry: Entry<P>) {
        let line = self.lines.get_mut(&spot.queue).expect("a queue of this core");
        let Letter { bytes, id, home, .. } = entry.letter;
        let is_delay = line.name.is_delay();
        line.bytes_ready += u64::from(bytes);
        line.entries.insert(spot.seq, entry);
        self.bytes += u64::from(bytes);
        if id != 0 {
            self.index.insert((id, spot));
        }
        if is_delay && let Some(home) = home.and_then(|home| self.lines.get_mut(&home)) {
            home.delayed += 1;
        }
        self.stirred.insert(spot.queue);
    }

    fn remove(&mut self, spot: Spot, unsettled: bool) -> Entry<P> {
        let line = self.lines.get_mut(&spot.queue).expect("a queue of this core");
        let entry = line.entries.remove(&spot.seq).expect("the message is there");
        let Letter { bytes, id, home, .. } = entry.letter;
        let is_delay = line.name.is_delay();
        if unsettled {
            line.unsettled -= 1;
        } else {
            line.bytes_ready -= u64::from(bytes);
            line.returned.remove(&spot.seq);
        }
        self.bytes -= u64::from(bytes);
        if id != 0 {
            self.index.remove(&(id, spot));
        }
        if is_delay && let Some(home) = home.and_then(|home| self.lines.get_mut(&home)) {
            home.delayed -= 1;
        }
        entry
    }

    fn return_held(&mut self, queue: QueueId, held: Held) {
        self.stirred.insert(queue);
        if held.gone {
            return;
        }
        let line = self.lines.get_mut(&queue).expect("queues stay");
        let entry = line.give_back(held.seq);
        entry.noted = true;
        let crashes = entry.crashes;
        self.changes.push(Change::Returned { spot: Spot { queue, seq: held.seq }, crashes });
    }

    /// One delivery, to the opening whose turn it is; `None` if no window is open or nothing is ready.
    fn hand_out_one(&mut self, queue: QueueId, room: &mut Room) -> Result<Option<Handed>, NoRoom> {
        let Some(line) = self.lines.get_mut(&queue).filter(|line| line.ready() > 0) else { return Ok(None) };
        let mut without_room = false;
        for _ in 0..line.openings.len() {
            line.openings.rotate_left(1);
            let opening = *line.openings.back().expect("one was rotated");
            let consumer = self.consumers.get_mut(opening).expect("a line lists open openings");
            if !consumer.has_room() {
                continue;
            }
            let Some(room) = room.get_mut(&consumer.client).filter(|room| **room > 0) else {
                without_room = true;
                continue;
            };
            let Some((seq, again, entry)) = line.hand_out_next() else { return Ok(None) };
            *room -= 1;
            let tag = Tag { opening, seq: consumer.hold(seq) };
            let redelivered = std::mem::replace(&mut entry.delivered, true);
            let (crashes, bytes) = (entry.crashes, entry.letter.bytes);
            let spot = Spot { queue, seq };
            self.changes.push(Change::HandedOut { spot, again, crashes });
            return Ok(Some(Handed { client: consumer.client, tag, spot, redelivered, crashes, bytes, again }));
        }
        if without_room { Err(NoRoom) } else { Ok(None) }
    }
}

/// A window is open, but its client takes no more events for now.
struct NoRoom;
