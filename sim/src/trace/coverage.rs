//! What a batch of runs has reached: points that a good mix of cases should pass now and then, and that a batch which never
//! passes them has not tested. It judges no run.

use crate::{
    case::{Case, FaultKind, fault::Step},
    history::{Entry, Order, What},
    host::Host,
};
use quebert_dispatcher::{
    event::{Event, ExpiryStage, Purpose, Settlement},
    verdict::{BuryReason, RetryReason},
};

macro_rules! points {
    ($($name:ident = $label:literal,)*) => {
        /// Something that runs should reach now and then. Its label tells what.
        #[expect(missing_docs, reason = "the labels say it, a line each")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point { $($name,)* }

        impl Point {
            /// Every point, in the order of output.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// For people.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

points! {
    FaultDown = "fault: a host went down",
    FaultKillAt = "fault: a dispatcher was killed at a step",
    FaultFreeze = "fault: a host froze",
    FaultCut = "fault: a link was cut",
    FaultHold = "fault: a link was held",
    FaultSlow = "fault: a link was slow",
    FaultLoss = "fault: a link was lossy",
    FaultReset = "fault: connections were reset",
    FaultExecutor = "fault: an executor answered otherwise",
    FaultSluggish = "fault: an executor was sluggish",
    FaultClockJump = "fault: a clock jumped",
    FaultClockDrift = "fault: a clock drifted",
    FaultAlarm = "fault: the broker's alarm",
    FaultConfirmLate = "fault: confirms came late",
    FaultConfirmNever = "fault: confirms never came",
    FaultConfirmNack = "fault: publishes were refused",
    FaultCloseConnection = "fault: the broker closed a connection",
    FaultCancelConsumer = "fault: the broker cancelled a consumer",
    FaultLeaderChange = "fault: the leader changed",
    FaultDrain = "fault: a dispatcher drained",
    FaultPause = "fault: a lane was paused",
    FaultReconfigure = "fault: a dispatcher got other limits",
    FaultDiskFull = "fault: the disk was full",
    FaultDiskReadErrors = "fault: reads of the disk failed",
    FaultDiskSlow = "fault: the disk was slow",
    KilledDelivered = "killed with a delivery just taken in",
    KilledSent = "killed with a request just sent",
    KilledAnswered = "killed with an answer and nothing settled",
    KilledPublishAsked = "killed with a move asked for",
    KilledPublishConfirmed = "killed between a move's confirm and its ack",
    KilledAckAsked = "killed with an ack asked for",
    OfferedAgain = "a producer published again",
    ConfirmUnknown = "a producer did not know whether its task was stored",
    BrokerDown = "a broker node went down",
    DispatcherDown = "a dispatcher went down",
    ExecutorDown = "an executor went down",
    ProducerDown = "a producer went down",
    Redelivered = "a task was delivered again, and flagged",
    GivenBack = "a dispatcher gave a task back",
    ReturnedClosed = "a closed source gave tasks back",
    ReturnedConnection = "a lost connection gave tasks back",
    ReturnedCrash = "a crash of the broker gave tasks back",
    ReturnedTimeout = "the consumer timeout gave tasks back",
    BuriedByBroker = "the broker's delivery limit buried a task",
    Unstored = "a crash lost what was not confirmed",
    Revived = "a crash undid an ack",
    AnsweredNack = "the broker refused a publish",
    AnsweredReturned = "the broker returned a publish",
    AnsweredNever = "the broker never answered a publish",
    Blocked = "a dispatcher was told that publishes are blocked",
    SourceFailed = "a source could not be opened",
    Drained = "a dispatcher ended by itself",
    Duplicate = "a redelivery was recognised and not sent again",
    Requeued = "a delivery was requeued",
    Filtered = "a hook dropped a task",
    DeadLettered = "a task was buried",
    ExpiredReceived = "a task expired on arrival",
    ExpiredBefore = "a task expired while it waited for its slot",
    ExpiredInFlight = "a task expired in the middle of an attempt",
    ExpiredRetry = "a task expired before its next attempt could be due",
    Retry5xx = "retried after a 5xx",
    Retry429 = "retried after a 429",
    Retry4xx = "retried after a 4xx",
    RetryTimeout = "retried after a timeout",
    RetryConnect = "retried after a failed connection",
    RetryHook = "put off by a hook",
    RetryOverload = "put off since its destination held too much of the window",
    BuryAttempts = "buried: attempts used up",
    BuryPermanent = "buried: permanent",
    BuryExpired = "buried: expired",
    BuryUndecodable = "buried: undecodable",
    BuryNotAllowed = "buried: not allowed",
    BuryDeliveries = "buried: too many deliveries",
    BuryHook = "buried: a hook said so",
    OutcomeReset = "an answer ended in a reset",
    OutcomeProtocol = "an answer was no HTTP",
    OutcomeCancelled = "an attempt was cut off",
    PublishedDue = "a task came back from the delay grid",
    PublishedRecount = "a redelivery was counted on a classic queue",
    PublishedTimeout = "a dispatcher's publish timed out",
    PublishedNack = "a dispatcher's publish was refused",
    HookFailed = "a hook failed",
    LanePaused = "a lane was paused",
    Reconfigured = "limits were replaced",
    ClockDisagreed = "clocks disagreed about a wait",
}

/// A set of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage(u128);

// Each point has a bit.
const _: () = assert!(Point::ALL.len() <= 128);

impl Coverage {
    /// What a run passed.
    pub fn of(case: &Case, entries: &[Entry]) -> Self {
        let mut coverage = Self::default();
        for entry in entries {
            coverage.take(case, entry);
        }
        coverage
    }

    /// Whether a point is in it.
    pub const fn has(self, point: Point) -> bool {
        self.0 & Self::bit(point) != 0
    }

    /// What is in either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The points that are not in it, in their order.
    pub fn missing(self) -> impl Iterator<Item = Point> {
        Point::ALL.iter().copied().filter(move |point| !self.has(*point))
    }

    /// As 32 hexadecimal digits, of one release only: bits move when points are added.
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads what [`to_hex`](Self::to_hex) wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(Self)
    }

    const fn bit(point: Point) -> u128 {
        1 << point as u32
    }

    const fn add(&mut self, point: Point) {
        self.0 |= Self::bit(point);
    }

    fn take(&mut self, case: &Case, entry: &Entry) {
        let point = match &entry.what {
            What::Fault { index, begins: true } => {
                let Some(fault) = case.faults.get(*index) else { return };
                fault_point(&fault.kind)
            }
            What::Down => {
                if let Some(step) = killed_at(case, entry) {
                    self.add(step);
                }
                match entry.host {
                    Host::Broker(_) => Point::BrokerDown,
                    Host::Dispatcher(_) => Point::DispatcherDown,
                    Host::Executor(_) => Point::ExecutorDown,
                    Host::Producer(_) => Point::ProducerDown,
                }
            }
            What::Offered { n: 2.., .. } => Point::OfferedAgain,
            What::NotConfirmed { unknown: true, .. } => Point::ConfirmUnknown,
            What::Delivered { redelivered: true, .. } => Point::Redelivered,
            What::Returned { why, .. } => match *why {
                "give_back" => Point::GivenBack,
                "closed" => Point::ReturnedClosed,
                "connection" => Point::ReturnedConnection,
                "crash" => Point::ReturnedCrash,
                "consumer_timeout" => Point::ReturnedTimeout,
                _ => return,
            },
            What::BuriedByBroker { .. } => Point::BuriedByBroker,
            What::Unstored { .. } => Point::Unstored,
            What::Revived { .. } => Point::Revived,
            What::Answered { how, .. } => match *how {
                "nack" => Point::AnsweredNack,
                "returned" => Point::AnsweredReturned,
                "never" => Point::AnsweredNever,
                _ => return,
            },
            What::Told(Order::Pause(_)) => Point::LanePaused,
            What::Ended(_) => Point::Drained,
            What::Event(event) => match event_point(event) {
                Some(point) => point,
                None => return,
            },
            _ => return,
        };
        self.add(point);
    }
}

/// The step at which a dispatcher was killed: of the fault of that kind that was on it then.
fn killed_at(case: &Case, entry: &Entry) -> Option<Point> {
    let now = u64::try_from(entry.at.as_millis()).unwrap_or(u64::MAX);
    let step = case.faults.iter().find_map(|fault| match fault.kind {
        FaultKind::KillAt { host, step } if host == entry.host && fault.at_ms <= now && now <= fault.end_ms() => {
            Some(step)
        }
        _ => None,
    })?;
    Some(match step {
        Step::Delivered => Point::KilledDelivered,
        Step::Sent => Point::KilledSent,
        Step::Answered => Point::KilledAnswered,
        Step::PublishAsked => Point::KilledPublishAsked,
        Step::PublishConfirmed => Point::KilledPublishConfirmed,
        Step::AckAsked => Point::KilledAckAsked,
    })
}

const fn fault_point(kind: &FaultKind) -> Point {
    match kind {
        FaultKind::Down { .. } => Point::FaultDown,
        FaultKind::KillAt { .. } => Point::FaultKillAt,
        FaultKind::Freeze { .. } => Point::FaultFreeze,
        FaultKind::Cut { .. } => Point::FaultCut,
        FaultKind::Hold { .. } => Point::FaultHold,
        FaultKind::Slow { .. } => Point::FaultSlow,
        FaultKind::Loss { .. } => Point::FaultLoss,
        FaultKind::Reset { .. } => Point::FaultReset,
        FaultKind::Executor { .. } => Point::FaultExecutor,
        FaultKind::Sluggish { .. } => Point::FaultSluggish,
        FaultKind::ClockJump { .. } => Point::FaultClockJump,
        FaultKind::ClockDrift { .. } => Point::FaultClockDrift,
        FaultKind::Alarm => Point::FaultAlarm,
        FaultKind::ConfirmLate { .. } => Point::FaultConfirmLate,
        FaultKind::ConfirmNever { .. } => Point::FaultConfirmNever,
        FaultKind::ConfirmNack { .. } => Point::FaultConfirmNack,
        FaultKind::CloseConnection { .. } => Point::FaultCloseConnection,
        FaultKind::CancelConsumer { .. } => Point::FaultCancelConsumer,
        FaultKind::LeaderChange => Point::FaultLeaderChange,
        FaultKind::Drain { .. } => Point::FaultDrain,
        FaultKind::Pause { .. } => Point::FaultPause,
        FaultKind::Reconfigure { .. } => Point::FaultReconfigure,
        FaultKind::DiskFull => Point::FaultDiskFull,
        FaultKind::DiskReadErrors { .. } => Point::FaultDiskReadErrors,
        FaultKind::DiskSlow { .. } => Point::FaultDiskSlow,
    }
}

fn event_point(event: &Event) -> Option<Point> {
    Some(match event {
        Event::BrokerBlocked(true) => Point::Blocked,
        Event::SourceFailed { .. } => Point::SourceFailed,
        Event::Settled { result, .. } => match result {
            Settlement::Duplicate => Point::Duplicate,
            Settlement::Requeued => Point::Requeued,
            Settlement::Filtered => Point::Filtered,
            Settlement::DeadLettered => Point::DeadLettered,
            Settlement::Succeeded | Settlement::Retried | Settlement::Expired => return None,
        },
        Event::Expired { stage, .. } => match stage {
            ExpiryStage::Received => Point::ExpiredReceived,
            ExpiryStage::BeforeDispatch => Point::ExpiredBefore,
            ExpiryStage::InFlight => Point::ExpiredInFlight,
            ExpiryStage::BeforeRetry => Point::ExpiredRetry,
        },
        Event::RetryScheduled { reason, .. } => match reason {
            RetryReason::ServerError => Point::Retry5xx,
            RetryReason::TooManyRequests => Point::Retry429,
            RetryReason::ClientError => Point::Retry4xx,
            RetryReason::Timeout => Point::RetryTimeout,
            RetryReason::Connect => Point::RetryConnect,
            RetryReason::Hook => Point::RetryHook,
            RetryReason::Overload => Point::RetryOverload,
        },
        Event::Buried { reason, .. } => match reason {
            BuryReason::MaxAttempts => Point::BuryAttempts,
            BuryReason::Permanent => Point::BuryPermanent,
            BuryReason::Expired => Point::BuryExpired,
            BuryReason::Undecodable => Point::BuryUndecodable,
            BuryReason::NotAllowed => Point::BuryNotAllowed,
            BuryReason::MaxDeliveries => Point::BuryDeliveries,
            BuryReason::Hook => Point::BuryHook,
            // No case takes a queue away.
            BuryReason::Unroutable => return None,
        },
        Event::AttemptEnded { class, .. } => match *class {
            "reset" => Point::OutcomeReset,
            "protocol" => Point::OutcomeProtocol,
            "cancelled" => Point::OutcomeCancelled,
            _ => return None,
        },
        Event::Published { purpose, result, .. } => match (purpose, *result) {
            (_, "timeout") => Point::PublishedTimeout,
            (_, "nack") => Point::PublishedNack,
            (Purpose::Due, _) => Point::PublishedDue,
            (Purpose::Recount, _) => Point::PublishedRecount,
            (Purpose::Retry | Purpose::DeadLetter | Purpose::Enqueue, _) => return None,
        },
        Event::HookFailed { .. } => Point::HookFailed,
        Event::Reconfigured => Point::Reconfigured,
        Event::Waited { skewed: true, .. } => Point::ClockDisagreed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_survives_its_text() {
        let mut set = Coverage::default();
        set.add(Point::FaultDown);
        set.add(*Point::ALL.last().unwrap());
        assert_eq!(Coverage::from_hex(&set.to_hex()), Some(set));
        assert_eq!(set.missing().count(), Point::ALL.len() - 2);
        assert!(set.has(Point::FaultDown) && !set.has(Point::FaultCut));
        assert_eq!(Coverage::from_hex("no"), None);
    }
}
