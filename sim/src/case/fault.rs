//! Faults, as data: what goes wrong, from when, for how long. Overlapping ones add up.

use crate::{host::Host, net::Down};
use serde::{Deserialize, Serialize};

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins: true time, in milliseconds.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds; 0 for what only happens.
    pub for_ms: u64,
    /// What.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// A host goes down, and up again at the end.
    Down {
        /// Which.
        host: Host,
        /// How.
        how: Down,
    },
    /// A dispatcher is killed at its next step of this kind, and started again at the end.
    KillAt {
        /// Which dispatcher.
        host: Host,
        /// The step.
        step: Step,
    },
    /// A host freezes.
    Freeze {
        /// Which.
        host: Host,
    },
    /// Nothing gets through between two hosts.
    Cut {
        /// From.
        one: Host,
        /// To.
        other: Host,
        /// Only this way; otherwise both.
        one_way: bool,
    },
    /// What is sent between two hosts waits for the end.
    Hold {
        /// One.
        one: Host,
        /// The other.
        other: Host,
    },
    /// Slower.
    Slow {
        /// One.
        one: Host,
        /// The other.
        other: Host,
        /// Added to each hop.
        ms: u32,
    },
    /// Lossy.
    Loss {
        /// One.
        one: Host,
        /// The other.
        other: Host,
        /// Of 1,000 segments.
        per_mille: u32,
    },
    /// Each connection between two hosts is reset.
    Reset {
        /// One.
        one: Host,
        /// The other.
        other: Host,
    },
    /// An executor answers some requests otherwise than its tasks say.
    Executor {
        /// Which.
        host: Host,
        /// Of 1,000 requests.
        per_mille: u32,
        /// How.
        exec: super::Exec,
    },
    /// An executor's work takes longer.
    Sluggish {
        /// Which.
        host: Host,
        /// Times as long.
        times: u32,
        /// And this much longer.
        ms: u64,
    },
    /// A host's clock jumps, and stays so to the end.
    ClockJump {
        /// Whose.
        host: Host,
        /// Forward, or back.
        ms: i64,
    },
    /// A host's clock drifts.
    ClockDrift {
        /// Whose.
        host: Host,
        /// Milliseconds in 1,000 s.
        ppm: i64,
    },
    /// The broker takes no publishes, and tells the connections that try.
    Alarm,
    /// The broker's confirms come later.
    ConfirmLate {
        /// By this.
        ms: u64,
    },
    /// Some confirms never come, though the message is stored.
    ConfirmNever {
        /// Of 1,000.
        per_mille: u32,
    },
    /// Some publishes are refused.
    ConfirmNack {
        /// Of 1,000.
        per_mille: u32,
    },
    /// The broker closes a client's connection.
    CloseConnection {
        /// Whose.
        host: Host,
    },
    /// The broker closes one of a client's consumers, as when a queue's leader moves.
    CancelConsumer {
        /// Whose.
        host: Host,
        /// The lane's index.
        lane: usize,
    },
    /// The leading node of three gives up leading, without going down.
    LeaderChange,
    /// A dispatcher drains, ends, and is started again at the end.
    Drain {
        /// Which.
        host: Host,
        /// Its grace time.
        grace_ms: u64,
    },
    /// A lane is paused at a dispatcher.
    Pause {
        /// Which dispatcher.
        host: Host,
        /// The lane's index.
        lane: usize,
    },
    /// A dispatcher is told other limits, and at the end the old ones.
    Reconfigure {
        /// Which.
        host: Host,
        /// Slots of each lane during it.
        slots_max: u32,
    },
    /// The embedded broker's disk is full.
    DiskFull,
    /// Some of the embedded broker's reads fail.
    DiskReadErrors {
        /// Of 1,000.
        per_mille: u32,
    },
    /// The disk's syncs take this much longer.
    DiskSlow {
        /// In milliseconds.
        ms: u64,
    },
}

/// A step of a dispatcher's work, right after which it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A delivery was taken in.
    Delivered,
    /// A request was handed to the transport.
    Sent,
    /// Its answer came, and nothing is settled.
    Answered,
    /// The next copy's publish was asked for.
    PublishAsked,
    /// It was confirmed, and the old copy is not acked.
    PublishConfirmed,
    /// The ack was asked for, and may not have been sent.
    AckAsked,
}

impl Fault {
    /// When it ends: true time, in milliseconds.
    pub const fn end_ms(&self) -> u64 {
        self.at_ms.saturating_add(self.for_ms)
    }
}

impl FaultKind {
    /// Whether it goes on for a while. Others only happen.
    pub const fn lasts(&self) -> bool {
        !matches!(
            self,
            Self::Reset { .. }
                | Self::ClockJump { .. }
                | Self::CloseConnection { .. }
                | Self::CancelConsumer { .. }
                | Self::LeaderChange
        )
    }
}
