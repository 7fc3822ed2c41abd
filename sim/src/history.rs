//! What happened in a world, in true order: the judge's only witness. It draws no conclusions.

use crate::{case::Exec, host::Host};
use quebert_dispatcher::{
    event::Event,
    ports::broker::{Opening, Source, Tag, Target},
    shell::Summary,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A task of the workload, by its number. Its id on the wire is `t17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct TaskNo(pub u32);

impl fmt::Display for TaskNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

impl FromStr for TaskNo {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('t').unwrap_or("").parse().map(Self)
    }
}

impl TaskNo {
    /// The task of an id, if it is one of the workload's.
    pub fn of_id(id: &str) -> Option<Self> {
        id.parse().ok()
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// True time.
    pub at: Duration,
    /// Where.
    pub host: Host,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum What {
    /// A host's program began.
    Started,
    /// A host went down.
    Down,
    /// A fault of the case began (`true`) or ended, by its place in the case.
    Fault {
        /// Its index in `Case::faults`.
        index: usize,
        /// Begins or ends.
        begins: bool,
    },
    /// All faults are over and executors do well: from here on liveness counts.
    Healed,

    // Producers.
    /// A producer tries to publish a task, for the `n`th time.
    Offered {
        /// Which.
        task: TaskNo,
        /// Counted from 1.
        n: u32,
    },
    /// The broker confirmed it: from here on it must not be lost.
    Confirmed {
        /// Which.
        task: TaskNo,
    },
    /// That try failed; `unknown` if it may be stored all the same.
    NotConfirmed {
        /// Which.
        task: TaskNo,
        /// Why.
        why: String,
        /// Nobody knows.
        unknown: bool,
    },

    // The broker, as it really is.
    /// A message was stored.
    Stored {
        /// The message's number at the broker; a copy of a task has one of its own.
        copy: CopyNo,
        /// Where.
        target: Target,
        /// Whose, if it has an id of the workload.
        task: Option<TaskNo>,
        /// By whom.
        by: Host,
        /// The attempts that its header counts.
        attempts: u32,
    },
    /// A message was delivered.
    Delivered {
        /// Which.
        copy: CopyNo,
        /// Its tag, at that client.
        tag: Tag,
        /// From.
        source: Source,
        /// To whom.
        to: Host,
        /// Flagged so.
        redelivered: bool,
    },
    /// A message was settled and is gone.
    Acked {
        /// Which.
        copy: CopyNo,
        /// By whom; the broker itself where it lets go of one by its own rules.
        by: Host,
    },
    /// A delivered message is ready again.
    Returned {
        /// Which.
        copy: CopyNo,
        /// `give_back`, `closed`, `connection`, `crash`, `consumer_timeout`.
        why: &'static str,
    },
    /// The broker itself moved a message to the dead letters, as its delivery limit says.
    BuriedByBroker {
        /// Which.
        copy: CopyNo,
        /// As what.
        dead: CopyNo,
    },
    /// A message that was never confirmed was lost in a crash.
    Unstored {
        /// Which.
        copy: CopyNo,
    },
    /// An ack was lost in a crash: the message is there again, as one that was delivered.
    Revived {
        /// Which.
        copy: CopyNo,
        /// Where.
        target: Target,
        /// Whose.
        task: Option<TaskNo>,
    },
    /// A publish was answered.
    Answered {
        /// Which message it was about, if it was stored.
        copy: Option<CopyNo>,
        /// To whom.
        to: Host,
        /// `ack`, `nack`, `returned`, or `never`.
        how: &'static str,
    },
    /// A client opened a source.
    Opened {
        /// Who.
        by: Host,
        /// What.
        source: Source,
        /// As.
        opening: Opening,
        /// Its window.
        window: u16,
    },
    /// An opening ended.
    Closed {
        /// Whose.
        by: Host,
        /// Which.
        opening: Opening,
    },

    // Dispatchers, in their own words.
    /// What its observer was told.
    Event(Event),
    /// It was told to do something by an operator, or by a fault.
    Told(Order),
    /// It ended by itself.
    Ended(Summary),

    // Executors, as they really are.
    /// A request was read to its end.
    Request {
        /// Whose.
        task: TaskNo,
        /// `Quebert-Attempt`.
        attempt: u32,
        /// `Quebert-Delivery-Id`.
        delivery: Arc<str>,
        /// The request's number at this executor, which its answer repeats.
        request: u64,
        /// `Quebert-Redelivered`.
        redelivered: bool,
        /// The body is what the producer gave.
        intact: bool,
        /// What the executor does with it.
        exec: Exec,
    },
    /// It was answered, or not.
    Reply {
        /// Which.
        request: u64,
        /// The status; `None` if it was given up, torn, or never answered.
        status: Option<u16>,
    },
}

/// A message's number at the broker: counted from 1, never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyNo(pub u64);

/// What a dispatcher is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Drain within this.
    Drain(Duration),
    /// Take other limits over.
    Reconfigure {
        /// Most slots of each lane from now on; `None`: as the case says.
        slots_max: Option<u32>,
    },
    /// Pause a lane.
    Pause(Arc<str>),
    /// Let it go on.
    Resume(Arc<str>),
}

/// Takes down what happens, for all hosts of a world. Clones write into the same book.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    entries: Vec<Entry>,
    tally: Tally,
}

/// What a run in progress is asked for: cheap figures, kept along.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Messages in work queues and delay queues, with their tasks.
    pub live_copies: BTreeMap<CopyNo, Option<TaskNo>>,
    /// Tasks confirmed.
    pub confirmed: BTreeSet<TaskNo>,
    /// Publishes of producers that wait for their confirm.
    pub offered: u32,
}

impl History {
    /// Takes one thing down.
    pub fn note(&self, at: Duration, host: Host, what: What) {
        let mut book = self.lock();
        book.tally.count(&what);
        book.entries.push(Entry { at, host, what });
    }

    /// Looks at the figures.
    pub fn tally<T>(&self, look: impl FnOnce(&Tally) -> T) -> T {
        look(&self.lock().tally)
    }

    /// Everything so far, taken out.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.lock().entries)
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn count(&mut self, what: &What) {
        match what {
            What::Stored { copy, target: Target::Queue(_) | Target::Delay(_), task, .. }
            | What::Revived { copy, target: Target::Queue(_) | Target::Delay(_), task } => {
                self.live_copies.insert(*copy, *task);
            }
            What::Acked { copy, .. } | What::Unstored { copy } | What::BuriedByBroker { copy, .. } => {
                self.live_copies.remove(copy);
            }
            What::Offered { .. } => self.offered += 1,
            What::Confirmed { task } => {
                self.confirmed.insert(*task);
                self.offered = self.offered.saturating_sub(1);
            }
            What::NotConfirmed { .. } => self.offered = self.offered.saturating_sub(1),
            _ => {}
        }
    }
}
