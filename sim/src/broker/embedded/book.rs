//! The truth about the store, from its journal: which message is which copy, who holds it, and what became of it.

use super::super::{cluster::At, conns::ConnNo};
use crate::{
    history::{CopyNo, History, TaskNo, What},
    host::Host,
};
use quebert_broker_adapter::{
    embedded::simulation::{Content, Done},
    queue::{Handed, QueueName, Spot},
};
use quebert_dispatcher::ports::broker::{Opening, Source, Tag, Target};
use quebert_wire::{HeaderValue, Message, header};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A message that is stored.
#[derive(Debug, Clone)]
struct Known {
    copy: CopyNo,
    task: Option<TaskNo>,
    target: Target,
    id: Option<String>,
    /// By which delivery it is out.
    out: Option<Tag>,
    /// Why it comes back, if it does.
    why: &'static str,
}

/// An opening of this life.
#[derive(Debug, Clone)]
struct Open {
    host: Host,
    channel: (ConnNo, u64),
    source: Source,
}

/// Somebody who waits for a message to be stored.
#[derive(Debug)]
struct Expected {
    key: u64,
    host: Host,
    target: Target,
    id: Option<String>,
}

/// What is known of the store.
pub(super) struct Book {
    history: History,
    known: BTreeMap<Spot, Known>,
    openings: BTreeMap<Opening, Open>,
    expected: VecDeque<Expected>,
    /// Acked, as was noted, and not seen to be gone from the disk.
    acked: BTreeMap<Spot, Known>,
    /// Openings of former lives: a name is used once in a run.
    base: u64,
    last_copy: u64,
    /// What was stored for a publish, by its key, until that is answered.
    stored: BTreeMap<u64, CopyNo>,
    drawn: BTreeMap<Option<TaskNo>, u64>,
}

/// Why a delivery goes back that its consumer did not want.
const GIVEN_BACK: &str = "give_back";

impl Book {
    pub(super) fn new(history: History) -> Self {
        Self {
            history,
            known: BTreeMap::new(),
            openings: BTreeMap::new(),
            expected: VecDeque::new(),
            acked: BTreeMap::new(),
            base: 0,
            last_copy: 0,
            stored: BTreeMap::new(),
            drawn: BTreeMap::new(),
        }
    }

    pub(super) fn note(&self, at: At, what: What) {
        self.history.note(at.now, at.node, what);
    }

    /// What an opening of this life is called in the whole run.
    pub(super) const fn name(&self, opening: Opening) -> Opening {
        Opening(self.base + opening.0)
    }

    /// The store's own name of a tag, if it is of this life and the client's.
    pub(super) fn tag_of(&self, tag: Tag, host: Host) -> Option<Tag> {
        let opening = Opening(tag.opening.0.checked_sub(self.base)?);
        let open = self.openings.get(&opening).filter(|open| open.host == host);
        open.map(|_| Tag { opening, seq: tag.seq })
    }

    pub(super) fn channel(&self, opening: Opening) -> Option<(ConnNo, u64)> {
        self.openings.get(&opening).map(|open| open.channel)
    }

    /// A client publishes. Returns the key of what is drawn for it.
    pub(super) fn expects(&mut self, host: Host, target: &Target, message: &Message) -> u64 {
        let task = task_of(message);
        let count = self.drawn.entry(task).or_default();
        *count += 1;
        let key = (u64::from(task.map_or(0, |task| task.0)) << 32) | *count;
        self.expected.push_back(Expected { key, host, target: target.clone(), id: message.id.clone() });
        key
    }

    /// A publish is answered: the message that was stored for it, if one was.
    pub(super) fn answered(&mut self, key: u64) -> Option<CopyNo> {
        self.expected.retain(|one| one.key != key);
        self.stored.remove(&key)
    }

    pub(super) fn opened(
        &mut self,
        at: At,
        host: Host,
        channel: (ConnNo, u64),
        source: Source,
        opening: Opening,
        window: u16,
    ) {
        self.openings.insert(opening, Open { host, channel, source: source.clone() });
        self.note(at, What::Opened { by: host, source, opening: self.name(opening), window });
    }

    pub(super) fn closed(&self, at: At, host: Host, opening: Opening) {
        self.note(at, What::Closed { by: host, opening: self.name(opening) });
    }

    /// A delivery is to be given back.
    pub(super) fn give_back(&mut self, tag: Tag) {
        self.explain(|out| out == tag, GIVEN_BACK);
    }

    /// What is unsettled of an opening is to go back.
    pub(super) fn gives_back(&mut self, opening: Opening, why: &'static str) {
        self.explain(|out| out.opening == opening, why);
    }

    /// What was given back first goes back for that, though its connection ends before the store has done it.
    fn explain(&mut self, which: impl Fn(Tag) -> bool, why: &'static str) {
        for known in self.known.values_mut().filter(|known| known.out.is_some_and(&which)) {
            if known.why != GIVEN_BACK {
                known.why = why;
            }
        }
    }

    /// A turn's work is on disk.
    pub(super) fn turned(&mut self, at: At, done: Vec<Done>) {
        // With a transaction that went well what was acked before is gone from the disk.
        let written = done.iter().any(|one| matches!(one, Done::Added { .. } | Done::Delivered(_)));
        if written {
            self.acked.clear();
        }
        for one in done {
            match one {
                Done::Added { spot, queue, message } => self.added(at, spot, &queue, &message),
                Done::Taken(spot) => self.taken(at, spot),
                Done::Settled(spot) => self.settled(at, spot),
                Done::Returned(spot) => self.returned(at, spot),
                Done::Delivered(handed) => self.delivered(at, &handed),
                _ => {}
            }
        }
    }

    fn added(&mut self, at: At, spot: Spot, queue: &QueueName, message: &Message) {
        self.last_copy += 1;
        let (copy, task, target) = (CopyNo(self.last_copy), task_of(message), target_of(queue));
        // Dead letters of an unknown queue are stored as common ones.
        let is =
            |one: &Expected| one.id == message.id && (one.target == target || matches!(queue, QueueName::CommonDead));
        let place = self.expected.iter().position(is);
        let expected = place.and_then(|place| self.expected.remove(place));
        let by = expected.as_ref().map_or(at.node, |one| one.host);
        if let Some(expected) = expected {
            self.stored.insert(expected.key, copy);
        }
        let attempts = match message.headers.get(header::ATTEMPTS) {
            Some(HeaderValue::Int(attempts)) => u32::try_from(*attempts).unwrap_or(0),
            _ => 0,
        };
        self.note(at, What::Stored { copy, target: target.clone(), task, by, attempts });
        self.known.insert(spot, Known { copy, task, target, id: message.id.clone(), out: None, why: "closed" });
    }

    /// A message is gone, and another one stands for it.
    fn taken(&mut self, at: At, spot: Spot) {
        if let Some(known) = self.known.remove(&spot) {
            let by = self.holder(&known).unwrap_or(at.node);
            self.note(at, What::Acked { copy: known.copy, by });
        }
    }

    fn settled(&mut self, at: At, spot: Spot) {
        if let Some(known) = self.known.remove(&spot) {
            let by = self.holder(&known).unwrap_or(at.node);
            self.note(at, What::Acked { copy: known.copy, by });
            self.acked.insert(spot, known);
        }
    }

    fn returned(&mut self, at: At, spot: Spot) {
        let Some(known) = self.known.get_mut(&spot) else { return };
        if known.out.take().is_some() {
            let (copy, why) = (known.copy, std::mem::replace(&mut known.why, "closed"));
            self.note(at, What::Returned { copy, why });
        }
    }

    fn delivered(&mut self, at: At, handed: &Handed) {
        let (Some(open), Some(known)) = (self.openings.get(&handed.tag.opening), self.known.get_mut(&handed.spot))
        else {
            return;
        };
        known.out = Some(handed.tag);
        let (copy, to, source) = (known.copy, open.host, open.source.clone());
        let tag = Tag { opening: self.name(handed.tag.opening), seq: handed.tag.seq };
        self.note(at, What::Delivered { copy, tag, source, to, redelivered: handed.redelivered });
    }

    /// The process is no more: everything that is out comes back, every opening ends.
    pub(super) fn crashed(&mut self, at: At) {
        let openings = std::mem::take(&mut self.openings);
        let out = self.known.values_mut().filter_map(|known| known.out.take().map(|_| known.copy));
        let out = out.collect::<Vec<_>>();
        for copy in out {
            self.note(at, What::Returned { copy, why: "crash" });
        }
        for (opening, open) in &openings {
            self.closed(at, open.host, *opening);
        }
        // Names that were given and not told of are not given again either.
        self.base += openings.keys().next_back().map_or(0, |last| last.0) + NAMES_UNTOLD;
        self.stored.clear();
    }

    /// The process is there again. `interrupted` is what the turn did that was under way, `recovery` what the recovery
    /// did, and `contents` what is on disk now: the truth is what is there.
    pub(super) fn recovered(&mut self, at: At, interrupted: &[Done], recovery: &[Done], contents: Vec<Content>) {
        let meant: BTreeSet<Spot> = interrupted
            .iter()
            .filter_map(|done| match done {
                Done::Taken(spot) | Done::Settled(spot) => Some(*spot),
                _ => None,
            })
            .collect();
        let mut buried = BTreeMap::new();
        for done in recovery {
            if let Done::Taken(spot) = done
                && let Some(known) = self.known.get(spot)
            {
                buried.insert(known.id.clone(), *spot);
            }
        }
        let there: BTreeSet<Spot> = contents.iter().map(|content| content.spot).collect();
        for content in contents {
            if self.known.contains_key(&content.spot) {
                continue;
            }
            if let Some(known) = self.acked.remove(&content.spot) {
                let (copy, target, task) = (known.copy, known.target.clone(), known.task);
                self.note(at, What::Revived { copy, target, task });
                self.known.insert(content.spot, Known { out: None, ..known });
                continue;
            }
            self.added(at, content.spot, &content.queue, &content.message);
            let dead = CopyNo(self.last_copy);
            if content.queue.is_dead()
                && let Some(known) = buried.remove(&content.message.id).and_then(|spot| self.known.remove(&spot))
            {
                self.note(at, What::BuriedByBroker { copy: known.copy, dead });
            }
        }
        let gone = self.known.keys().filter(|spot| !there.contains(spot)).copied().collect::<Vec<_>>();
        for spot in gone {
            let known = self.known.remove(&spot).expect("just found");
            let copy = known.copy;
            // What nobody meant to remove is a loss, and the judge is to see it as one.
            let what = if meant.contains(&spot) { What::Acked { copy, by: at.node } } else { What::Unstored { copy } };
            self.note(at, what);
        }
        self.acked.clear();
        self.expected.clear();
        self.stored.clear();
    }

    fn holder(&self, known: &Known) -> Option<Host> {
        self.openings.get(&known.out?.opening).map(|open| open.host)
    }
}

/// Openings that a life may have given without their having been told of.
const NAMES_UNTOLD: u64 = 1000;

fn task_of(message: &Message) -> Option<TaskNo> {
    message.id.as_deref().and_then(TaskNo::of_id)
}

fn target_of(name: &QueueName) -> Target {
    match name {
        QueueName::Work(name) => Target::Queue(name.clone()),
        QueueName::Dead(name) => Target::Dead(name.clone()),
        QueueName::CommonDead => Target::Dead("".into()),
        QueueName::Delay(step) => Target::Delay(*step),
    }
}
