//! The core: decides everything, does nothing. No `.await`, no clock, no entropy, no sockets.
//!
//! What can come in is an [`Input`], what can go out an [`Action`]. **Drain [`Core::poll`] to `None` after every
//! [`Core::handle`]**, and call [`Core::handle`] with [`Input::Tick`] when [`Core::next_wakeup`] has come. Time is an
//! argument; randomness comes from a generator that the config seeds, so that the same inputs give the same actions.

mod arrival;
mod attempt;
mod delays;
mod destinations;
mod drain;
mod lanes;
mod pause;
mod recall;
mod schedule;
mod settle;
mod steer;
mod ticket;
mod timers;

#[cfg(test)]
mod tests;

use crate::{
    config::CoreConfig,
    event::{Event, Settlement},
    outcome::Outcome,
    ports::{
        broker::{BrokerEvent, Opening, PublishError, Source, Tag, Target},
        clock::Now,
        mediator::{Attempt, Before},
    },
    verdict::Verdict,
};
use delays::{Delays, HeadId};
use destinations::Destinations;
use lanes::{Flow, Lanes};
use quebert_wire::{Codecs, Message, TaskId};
use rand::{SeedableRng, rngs::StdRng};
use recall::{CopyKey, Recall};
use slotmap::{SlotMap, new_key_type};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
pub use steer::{HeldState, HeldTask, Steer, Steered};
use ticket::Ticket;
use timers::Timers;

new_key_type! {
    /// Names a task that the core holds. Never names another one later.
    pub struct TicketId;
}

/// Names what a publish is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishId(Mover);

/// Who has a publish under way; each has at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mover {
    Ticket(TicketId),
    Head(HeadId),
}

/// Everything that can happen to a core.
#[derive(Debug)]
pub enum Input {
    /// Something came from the broker.
    Broker(BrokerEvent),
    /// Mediators have seen the task: the answer to [`Action::Prepare`].
    Prepared {
        /// Which.
        ticket: TicketId,
        /// As the mediators left it.
        attempt: Box<Attempt>,
        /// What they want; `Err` says how one of them failed.
        before: Result<Before, String>,
    },
    /// The answer to [`Action::Send`].
    Answered {
        /// Which.
        ticket: TicketId,
        /// As it was sent.
        attempt: Box<Attempt>,
        /// What came of it.
        outcome: Outcome,
    },
    /// Mediators have seen the outcome: the answer to [`Action::Review`].
    Reviewed {
        /// Which.
        ticket: TicketId,
        /// What they decided.
        verdict: Verdict,
    },
    /// The answer to [`Action::Publish`].
    Published {
        /// Which.
        id: PublishId,
        /// Whether it counts.
        result: Result<(), PublishError>,
    },
    /// Finish what is under way, start nothing new, be done by then (monotonic).
    Drain {
        /// When to give up waiting.
        deadline: Duration,
    },
    /// Other limits and policies.
    Reconfigure(Box<CoreConfig>),
    /// Take no more tasks of a lane (`true`), or go on with it. An unknown name does nothing.
    Pause {
        /// The lane's name.
        lane: Arc<str>,
        /// As it is to be.
        paused: bool,
    },
    /// Steer the held copies of one task; answered by [`Action::Steered`] in the same turn.
    Steer {
        /// Which.
        task: TaskId,
        /// What to do.
        how: Steer,
    },
    /// Nothing but time.
    Tick,
}

/// Everything that a core can want.
#[derive(Debug)]
pub enum Action {
    /// [`Broker::open`](crate::ports::broker::Broker::open).
    Open {
        /// What.
        source: Source,
        /// Most deliveries unsettled.
        window: u16,
    },
    /// [`Broker::close`](crate::ports::broker::Broker::close).
    Close(Source),
    /// [`Broker::pause`](crate::ports::broker::Broker::pause).
    Pause(Source),
    /// Let the mediators' `before` see the attempt; answered by [`Input::Prepared`].
    Prepare {
        /// Which.
        ticket: TicketId,
        /// The attempt to come.
        attempt: Box<Attempt>,
    },
    /// Make the request; answered by [`Input::Answered`].
    Send {
        /// Which.
        ticket: TicketId,
        /// What.
        attempt: Box<Attempt>,
        /// Limit of the whole exchange.
        timeout: Duration,
    },
    /// Let the mediators' `verdict` and `after` see the outcome; answered by [`Input::Reviewed`].
    Review {
        /// Which.
        ticket: TicketId,
        /// As it was sent.
        attempt: Box<Attempt>,
        /// What came of it.
        outcome: Box<Outcome>,
        /// What the policies say.
        proposed: Verdict,
    },
    /// [`Broker::relocate`](crate::ports::broker::Broker::relocate) if it replaces a delivery, else
    /// [`Broker::publish`](crate::ports::broker::Broker::publish); answered by [`Input::Published`].
    Publish {
        /// Which.
        id: PublishId,
        /// Where to.
        target: Target,
        /// What.
        message: Box<Message>,
        /// The delivery in hand that it takes the place of; it is acked once the publish counts. `None` if that delivery is
        /// lost, as far as known here.
        replaces: Option<Tag>,
    },
    /// [`Broker::ack`](crate::ports::broker::Broker::ack).
    Ack(Tag),
    /// [`Broker::give_back`](crate::ports::broker::Broker::give_back).
    GiveBack(Tag),
    /// Tell the observers.
    Emit(Event),
    /// The answer to [`Input::Steer`].
    Steered(Steered),
    /// The drain is over: stop the broker and end.
    Stop,
}

/// Where the core is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    Stopped,
}

/// What goes off.
#[derive(Debug, Clone, Copy)]
enum Timer {
    /// A held task may be due.
    Due(TicketId),
    /// A waiting task's time may be over.
    Expiry(TicketId),
    /// A task beyond its destination's share has waited long enough.
    Patience(TicketId),
    /// A publish that failed is tried again.
    PublishAgain(PublishId),
    /// The head of a delay queue may be due.
    Head(HeadId),
    /// A lane that is to go on is opened, though something of it is still in hand.
    Resume(usize),
    /// A delay queue is opened again.
    OpenDelay(crate::grid::Step),
    /// Tasks that wait for too long are looked for.
    Sweep,
    /// The drain's grace is over.
    DrainOver,
}

/// What comes through an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inlet {
    Lane(usize),
    Delay(crate::grid::Step),
}

/// The dispatcher's state machine.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    codecs: Codecs,
    now: Now,
    phase: Phase,
    rng: StdRng,
    lanes: Lanes,
    destinations: Destinations,
    tickets: SlotMap<TicketId, Ticket>,
    /// Tasks whose delivery was lost while something was under way for them; a redelivery is joined to them.
    orphans: BTreeMap<CopyKey, TicketId>,
    recall: Recall,
    delays: Delays,
    inlets: BTreeMap<Opening, Inlet>,
    timers: Timers<Timer>,
    actions: VecDeque<Action>,
    /// Counts arrivals, so that the oldest goes first.
    arrivals: u64,
    deliveries: u64,
    settlements: BTreeMap<Settlement, u64>,
}

/// How long the core lets a publish rest that was refused, at first and at most.
const PUBLISH_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Core {
    /// A core that wants its lanes opened, as soon as it is polled.
    ///
    /// # Panics
    /// If `config` names no lane.
    pub fn new(config: CoreConfig, codecs: Codecs, now: Now) -> Self {
        Self::with_paused(config, codecs, now, &BTreeSet::new())
    }

    /// The same with lanes that are paused from the first moment, by name: they are not opened before they are let go on.
    ///
    /// # Panics
    /// If `config` names no lane.
    pub fn with_paused(config: CoreConfig, codecs: Codecs, now: Now, paused: &BTreeSet<Arc<str>>) -> Self {
        assert!(!config.lanes.is_empty(), "a dispatcher has at least one lane");
        let mut core = Self {
            rng: StdRng::seed_from_u64(config.seed),
            lanes: Lanes::new(&config),
            destinations: Destinations::new(config.lanes.len(), config.seed),
            tickets: SlotMap::with_key(),
            orphans: BTreeMap::new(),
            recall: Recall::default(),
            delays: Delays::default(),
            inlets: BTreeMap::new(),
            timers: Timers::new(),
            actions: VecDeque::new(),
            arrivals: 0,
            deliveries: 0,
            settlements: BTreeMap::new(),
            phase: Phase::Running,
            codecs,
            config,
            now,
        };
        for (at, lane) in core.config.lanes.iter().enumerate() {
            core.actions.push_back(if paused.contains(&lane.name) {
                core.lanes.of_mut(at).flow = Flow::Paused;
                Action::Emit(Event::LanePaused { lane: lane.name.clone(), paused: true })
            } else {
                Action::Open { source: Source::Queue(lane.queue.clone()), window: lane.window }
            });
        }
        core.timers.set(now.mono + core.sweep_every(), Timer::Sweep);
        core
    }

    /// Takes in what happened, and whatever has become due by `now`.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = Now { mono: now.mono.max(self.now.mono), wall: now.wall };
        if self.phase == Phase::Stopped {
            return;
        }
        match input {
            Input::Broker(event) => self.on_broker(event),
            Input::Prepared { ticket, attempt, before } => self.on_prepared(ticket, attempt, before),
            Input::Answered { ticket, attempt, outcome } => self.on_answered(ticket, attempt, outcome),
            Input::Reviewed { ticket, verdict } => self.on_reviewed(ticket, verdict),
            Input::Published { id: PublishId(Mover::Ticket(ticket)), result } => {
                self.on_ticket_published(ticket, &result);
            }
            Input::Published { id: PublishId(Mover::Head(head)), result } => self.on_head_published(head, result),
            Input::Drain { deadline } => self.on_drain(deadline),
            Input::Reconfigure(config) => self.on_reconfigure(*config),
            Input::Pause { lane, paused } => self.on_pause(&lane, paused),
            Input::Steer { task, how } => self.on_steer(&task, how),
            Input::Tick => {}
        }
        while let Some(timer) = self.timers.pop_due(self.now.mono) {
            self.on_timer(timer);
        }
        self.grant();
        self.open_resumed();
        self.report_held();
        self.end_drain_if_done();
    }

    /// The next thing to do; `None` when there is nothing left for now.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle`](Self::handle) next if nothing happens before (monotonic).
    pub fn next_wakeup(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Deliveries of work queues so far.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// How they left, so far. The sum is `deliveries` less what is held.
    pub fn settlements(&self) -> &BTreeMap<Settlement, u64> {
        &self.settlements
    }

    /// Deliveries of work queues that are not settled yet.
    pub fn held(&self) -> u64 {
        self.lanes.all().iter().map(|lane| u64::from(lane.in_flight) + u64::from(lane.buffered)).sum()
    }

    fn on_broker(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Connected => self.emit(Event::BrokerConnected),
            BrokerEvent::Disconnected { reason, detail } => self.emit(Event::BrokerDisconnected { reason, detail }),
            BrokerEvent::Blocked(blocked) => self.emit(Event::BrokerBlocked(blocked)),
            BrokerEvent::SourceFailed { source, detail } => self.emit(Event::SourceFailed { source, detail }),
            BrokerEvent::DelayExists(step) => self.on_delay_exists(step),
            BrokerEvent::DelaySettled(step) => self.on_delay_settled(step),
            BrokerEvent::Opened { source, opening } => self.on_opened(source, opening),
            BrokerEvent::Closed { opening } => self.on_closed(opening),
            BrokerEvent::Delivered(delivery) => match self.inlets.get(&delivery.tag.opening) {
                Some(Inlet::Lane(lane)) => self.on_delivered(*lane, delivery),
                Some(Inlet::Delay(step)) => self.on_head_delivered(*step, delivery),
                // The core closed that source, and forgot the opening at once: the delivery goes back by itself.
                None => {}
            },
        }
    }

    fn on_opened(&mut self, source: Source, opening: Opening) {
        match source {
            Source::Queue(queue) => {
                let Some(lane) = self.config.lanes.iter().position(|lane| lane.queue == queue) else {
                    return;
                };
                // A broker opens a source once: what it opened before is over, whether or not it says so.
                let former = self.inlets.iter().find(|(_, inlet)| **inlet == Inlet::Lane(lane));
                if let Some(former) = former.map(|(former, _)| *former).filter(|former| *former != opening) {
                    self.on_closed(former);
                }
                self.inlets.insert(opening, Inlet::Lane(lane));
                self.emit(Event::LaneOpen { lane: self.config.lanes[lane].name.clone(), open: true });
            }
            Source::Delay(step) => {
                if self.delays.opened(step, opening) {
                    self.inlets.insert(opening, Inlet::Delay(step));
                }
            }
        }
    }

    fn on_closed(&mut self, opening: Opening) {
        match self.inlets.remove(&opening) {
            Some(Inlet::Lane(lane)) => self.on_lane_closed(lane, opening),
            Some(Inlet::Delay(step)) => self.on_delay_closed(step, opening),
            None => {}
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Due(ticket) => self.on_due(ticket),
            Timer::Expiry(ticket) => self.on_expiry(ticket),
            Timer::Patience(ticket) => self.on_patience(ticket),
            Timer::PublishAgain(PublishId(Mover::Ticket(ticket))) => self.publish_ticket(ticket),
            Timer::PublishAgain(PublishId(Mover::Head(head))) => self.publish_head(head),
            Timer::Head(head) => self.on_head_due(head),
            Timer::Resume(lane) => self.open_again(lane),
            Timer::OpenDelay(step) => self.open_delay(step),
            Timer::Sweep => self.sweep(),
            Timer::DrainOver => self.on_drain_over(),
        }
    }

    /// Puts off what has waited so long that the broker might take its delivery back, and forgets orphans that nobody
    /// claimed.
    fn sweep(&mut self) {
        self.put_off_overdue();
        self.forget_orphans();
        for destination in self.destinations.release_idle() {
            self.emit(Event::DestinationTrusted { destination, trusted: true });
        }
        self.timers.set(self.now.mono + self.sweep_every(), Timer::Sweep);
    }

    fn sweep_every(&self) -> Duration {
        let shortest = (0..self.config.lanes.len()).map(|lane| self.config.wait_limit(lane)).min();
        (shortest.unwrap_or_default() / 2).max(Duration::from_millis(100))
    }

    fn on_reconfigure(&mut self, config: CoreConfig) {
        self.config.reload(config);
        self.lanes.reconfigure(&self.config);
        self.destinations.reconfigure(&self.config.destinations);
        self.refresh_all_eligible();
        self.emit(Event::Reconfigured);
    }

    fn emit(&mut self, event: Event) {
        self.actions.push_back(Action::Emit(event));
    }
}
