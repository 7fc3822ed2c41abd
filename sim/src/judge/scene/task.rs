//! What is known of one task and of each message that carries it.

use crate::{
    case::{Case, LaneSpec, TaskSpec},
    history::{CopyNo, TaskNo},
    host::Host,
};
use quebert_dispatcher::ports::broker::{Tag, Target};
use quebert_wire::Timestamp;
use std::time::Duration;

/// One task of the workload: what it asks for, and what has become of it so far.
#[derive(Debug)]
pub struct Task<'a> {
    /// As the case has it.
    pub spec: &'a TaskSpec,
    /// Its lane.
    pub lane: &'a LaneSpec,
    /// When its envelope was made, by its producer's clock.
    pub created_at: Option<Timestamp>,
    /// Since when the broker's word is given: true time.
    pub confirmed_at: Option<Duration>,
    /// Messages of it in work queues and delay queues.
    pub live: u32,
    /// Messages of it in dead letters.
    pub dead: u32,
    /// An executor answered a request for it with success.
    pub succeeded: bool,
    /// It has ended without a trace, as it should: it expired where such tasks are not kept, or a hook dropped it.
    pub let_go: bool,
    /// Happenings that leave open whether it was sent or stored. Each explains one more request of the same attempt.
    pub doubts: u32,
    /// How often a delivery of it went back.
    pub returns: u32,
    /// A hook has put it off.
    pub put_off: bool,
    /// There were two messages of it that go ways of their own: published twice, put in the place of one that is back in
    /// its queue, or there again after a crash. What is told by the task's name may be about either from then on, so
    /// nothing is held against single messages any more.
    pub parallel: bool,
    /// Every message of it so far.
    pub copies: Vec<CopyNo>,
}

impl<'a> Task<'a> {
    pub(super) fn new(case: &'a Case, spec: &'a TaskSpec) -> Self {
        Self {
            spec,
            lane: &case.world.dispatcher.lanes[spec.lane],
            created_at: None,
            confirmed_at: None,
            live: 0,
            dead: 0,
            succeeded: false,
            let_go: false,
            doubts: 0,
            returns: 0,
            put_off: false,
            parallel: false,
            copies: Vec::new(),
        }
    }

    /// Its number.
    pub fn no(&self) -> TaskNo {
        self.spec.no
    }

    /// The moment before which it must not be sent.
    pub fn not_before(&self) -> Option<Timestamp> {
        Some(self.created_at?.saturating_add(Duration::from_millis(self.spec.delay_ms?)))
    }

    /// The moment from which on it must not be sent.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let ttl = self.spec.ttl_ms.or(self.lane.ttl_ms)?;
        Some(self.created_at?.saturating_add(Duration::from_millis(ttl)))
    }

    /// Attempts that it may have at most.
    pub fn attempts_max(&self) -> Option<u32> {
        match (self.spec.max_attempts.map(|n| n.max(1)), self.lane.max_attempts) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// Whether it needs no message at the broker any more.
    pub fn has_ended(&self) -> bool {
        self.succeeded || self.let_go || self.dead > 0
    }
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In its queue.
    Ready,
    /// Delivered to this client, under this tag, and not settled.
    Unsettled(Host, Tag),
    /// Gone.
    Gone,
}

/// One message at the broker.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Whose.
    pub task: Option<TaskNo>,
    /// In which queue.
    pub target: Target,
    /// Who published it.
    pub by: Host,
    /// When.
    pub stored_at: Duration,
    /// The attempts that its header counts.
    pub attempts: u32,
    /// The end of the backoff that it waits for, by the clock of the dispatcher that published it.
    pub due: Option<Timestamp>,
    /// The message that it takes the place of, if that is certain.
    pub parent: Option<CopyNo>,
    /// Whether the broker has confirmed it.
    pub confirmed: bool,
    /// Where it is.
    pub place: Place,
    /// Dispatchers that may ack it, with the number of the process: each knows its end, or that the next copy is confirmed.
    pub done_by: Vec<(Host, u32)>,
    /// How often it was delivered.
    pub deliveries: u32,
}

impl Copy {
    /// Whether it waits for anything; a dead letter does not.
    pub fn is_live(&self) -> bool {
        !matches!(self.target, Target::Dead(_))
    }

    /// Whether a dispatcher, in any of its lives, may ack it.
    pub fn is_done_by(&self, host: Host) -> bool {
        self.done_by.iter().any(|(by, _)| *by == host)
    }

    /// Whether the broker has it still.
    pub fn is_there(&self) -> bool {
        self.place != Place::Gone
    }
}
