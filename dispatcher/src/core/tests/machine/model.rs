//! What the machine knows of its world: every task that was produced, and what may become of it. It decides by what
//! went in and out of the core, not by how the core works; only slots are looked up in the core itself.

use super::{
    super::{
        ticket::Slot,
        world::{Traced, World, answered, int, message},
        *,
    },
    invariants::{Broken, INVARIANTS},
    ops::{Decides, Delay, Fate, Junk, Knobs, Op, Reply, Says, Spec, Weather},
};
use crate::{
    core::ticket::State,
    event::ExpiryStage,
    outcome::Failure,
    ports::broker::Delivery,
    verdict::{BuryReason, Retry, RetryAfter, RetryReason},
};
use quebert_wire::{Destination, RetryOverrides};
use std::{collections::BTreeSet, sync::Arc};

/// A settled copy is recognised for a quarter of an hour; what comes later counts as unknown.
const RECOGNISED: Duration = Duration::from_secs(14 * 60);

/// The core and its world, and what is known of them.
pub(super) struct Machine {
    pub(super) world: World,
    pub(super) config: CoreConfig,
    pub(super) weather: Weather,
    pub(super) tasks: Vec<Known>,
    /// Numbers of the tasks by id, as far as the ids have shown up.
    pub(super) ids: BTreeMap<String, usize>,
    /// Who holds a slot and a place at a destination.
    pub(super) occupied: BTreeMap<TicketId, Place>,
    /// In a row, how often each lane was passed over.
    pub(super) passed_over: Vec<u32>,
    /// The last that was told of each lane: in flight and buffered.
    pub(super) told: BTreeMap<Arc<str>, (u32, u32)>,
    /// The last that was told of each destination.
    pub(super) told_of: BTreeMap<Destination, u32>,
    pub(super) drained_until: Option<Duration>,
    /// Lanes that somebody has paused.
    pub(super) paused: BTreeSet<usize>,
    /// Deliveries that have left the broker and have not come yet.
    pub(super) on_their_way: usize,
    /// The latest that the wall clock has shown.
    pub(super) wall_max: Timestamp,
    pub(super) step: Step,
}

/// A slot in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: usize,
    pub(super) slot: Slot,
    pub(super) destination: Destination,
}

/// A task that was produced.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) spec: Spec,
    pub(super) not_before: Option<Timestamp>,
    /// The earliest and the latest that its expiry may be: what is relative counts from a delivery on, and after a loss
    /// from which one is open.
    pub(super) expires: Option<(Timestamp, Timestamp)>,
    pub(super) policy: RetryPolicy,
    /// A fault has left its fate open: there may be two of it.
    pub(super) forked: bool,
    pub(super) sends: Vec<Sent>,
    pub(super) successes: u32,
    /// Done, dropped or expired: nothing of it needs to be anywhere any more.
    pub(super) ended: bool,
    /// No attempt before this, as the core itself said.
    pub(super) floor: Option<Timestamp>,
    /// Whether that was without an attempt: then it need not outlast a lost delivery.
    pub(super) put_off: bool,
    /// Somebody had it sent at once: its own moment counts no more.
    pub(super) hurried: bool,
    /// Somebody has dropped it.
    pub(super) cancelled: bool,
    /// What the last verdict asked of the next delay.
    pub(super) asked: RetryAfter,
    pub(super) lost_at: Option<Duration>,
    /// Numbers of the copies that the broker has confirmed.
    pub(super) confirmed: BTreeSet<i64>,
    pub(super) dead: bool,
}

/// An attempt, and what was known when it began.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) ticket: TicketId,
    pub(super) at: Timestamp,
    pub(super) number: u32,
    pub(super) timeout: Duration,
    pub(super) floor: Option<Timestamp>,
    pub(super) forked: bool,
    pub(super) after_success: bool,
    pub(super) after_cancel: bool,
}

/// What one input made the core do.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) draining: bool,
    pub(super) opened: usize,
    /// Numbers of the tasks whose mediators were asked.
    pub(super) asked: Vec<usize>,
    /// Numbers of the tasks that were sent.
    pub(super) sent: Vec<usize>,
    /// Places that were taken.
    pub(super) granted: Vec<Place>,
    /// Acks without a right to them.
    pub(super) unfounded_acks: Vec<String>,
    /// Retries that were scheduled: whose, after how many attempts, after which wait.
    pub(super) retries: Vec<(usize, u32, RetryReason, Duration)>,
    /// Tasks that were said to have expired, and where; `None` for a task whose id has not shown up before.
    pub(super) expired: Vec<(Option<usize>, ExpiryStage)>,
    /// Which lanes were said to be paused, or to go on.
    pub(super) pauses: Vec<(Arc<str>, bool)>,
    /// What should have been said of that.
    pub(super) pauses_due: Vec<(Arc<str>, bool)>,
    /// Somebody who steers a task, and what the answer should be.
    pub(super) steered: Option<(TaskId, Steer, Steered)>,
}

impl Machine {
    pub(super) fn new(config: CoreConfig, transactional: bool, weather: Weather) -> Self {
        let mut machine = Self {
            passed_over: vec![0; config.lanes.len()],
            world: World::new(config.clone()),
            config,
            weather,
            tasks: Vec::new(),
            ids: BTreeMap::new(),
            occupied: BTreeMap::new(),
            told: BTreeMap::new(),
            told_of: BTreeMap::new(),
            drained_until: None,
            paused: BTreeSet::new(),
            on_their_way: 0,
            wall_max: EPOCH,
            step: Step::default(),
        };
        machine.world.trace.clear();
        machine.world.transactional = transactional;
        machine
    }

    pub(super) fn apply(&mut self, op: &Op) -> Result<(), Broken> {
        if self.world.stopped {
            return Ok(());
        }
        match op {
            Op::Produce { count, spec } => (0..*count).for_each(|_| self.produce(spec)),
            Op::Deliver { source, count } => return self.deliver(*source, *count),
            Op::Prepared { which, reply } => return self.prepared(*which, *reply),
            Op::Answer { which, reply } => return self.answer(*which, *reply),
            Op::Reviewed { which, reply } => return self.reviewed(*which, *reply),
            Op::Published { which, result } => return self.published(*which, *result),
            Op::Advance { ms } => return self.advance(Duration::from_millis(u64::from(*ms))),
            Op::Cut { source, acks_lost } => return self.cut(*source, usize::from(*acks_lost)),
            Op::JumpWall { ms } => {
                self.world.now.wall = Timestamp::from_millis(self.world.now.wall.as_millis() + i64::from(*ms));
                return self.feed(Input::Tick);
            }
            Op::Reconfigure(knobs) => return self.reconfigure(*knobs),
            Op::Pause { lane, paused } => return self.pause(usize::from(*lane) % self.config.lanes.len(), *paused),
            Op::Steer { which, how } => return self.steer(*which, *how),
            Op::Drain { grace_ms } => {
                let deadline = self.world.now.mono + Duration::from_millis(u64::from(*grace_ms));
                return self.drain(deadline);
            }
        }
        Ok(())
    }

    /// Feeds the core, takes in what it did, and checks everything.
    pub(super) fn feed(&mut self, input: Input) -> Result<(), Broken> {
        self.feed_with(input, Step::default())
    }

    pub(super) fn feed_with(&mut self, input: Input, step: Step) -> Result<(), Broken> {
        let before = self.world.events.len();
        self.world.steered.clear();
        self.step = Step { draining: self.drained_until.is_some(), ..step };
        self.wall_max = self.wall_max.max(self.world.now.wall);
        self.world.feed(input);
        self.take_in_events(before);
        self.take_in_trace();
        self.take_in_places();
        self.count_passed_over();
        for (name, invariant) in INVARIANTS {
            invariant(self).map_err(|detail| Broken { invariant: name, detail })?;
        }
        Ok(())
    }

    fn produce(&mut self, spec: &Spec) {
        let n = self.tasks.len();
        let lane = &self.config.lanes[usize::from(spec.lane) % self.config.lanes.len()];
        let wall = self.world.now.wall;
        let after = |ms: u32| Timestamp::from_millis(wall.as_millis() + i64::from(ms));
        let scheme = if matches!(spec.junk, Some(Junk::OtherScheme)) { "ftp" } else { "http" };
        let mut fields = vec![format!(r#""url":"{scheme}://h{}/{n}""#, spec.host)];
        if spec.named {
            fields.push(format!(r#""id":"t{n}""#));
            self.ids.insert(format!("t{n}"), n);
        }
        if spec.stamped {
            fields.push(format!(r#""created_at":{}"#, wall.as_millis()));
        }
        let not_before = match spec.delay {
            Delay::None => None,
            Delay::Relative(ms) => {
                fields.push(format!(r#""delay_ms":{ms}"#));
                spec.stamped.then(|| after(ms))
            }
            Delay::Absolute(ms) => {
                fields.push(format!(r#""not_before":{}"#, after(ms).as_millis()));
                Some(after(ms))
            }
        };
        if let Some(ms) = spec.ttl_ms {
            fields.push(format!(r#""ttl_ms":{ms}"#));
        }
        let mut overrides = RetryOverrides::default();
        if let Some(wishes) = spec.wishes {
            let (attempts, min) = (wishes.max_attempts, wishes.backoff_min_ms);
            fields.push(format!(r#""retry":{{"max_attempts":{attempts},"backoff_min_ms":{min}}}"#));
            overrides.max_attempts = Some(attempts);
            overrides.backoff_min = Some(Duration::from_millis(min));
        }
        let end = if matches!(spec.junk, Some(Junk::BrokenJson)) { "" } else { "}" };
        let text = format!("{{{}{end}", fields.join(","));
        let queue = lane.queue.clone();
        let mut known = Known {
            not_before,
            expires: None,
            policy: lane.retry.for_task(&overrides).into_owned(),
            spec: spec.clone(),
            forked: false,
            sends: Vec::new(),
            successes: 0,
            ended: false,
            floor: None,
            put_off: false,
            hurried: false,
            cancelled: false,
            asked: RetryAfter::Policy,
            lost_at: None,
            confirmed: BTreeSet::new(),
            dead: false,
        };
        if spec.stamped {
            known.expires = time_to_live(spec, lane).map(|ttl| wall.saturating_add(ttl)).map(|at| (at, at));
        }
        self.tasks.push(known);
        self.world.produce(&queue, Message { correlation_id: Some(n.to_string()), ..message(&text) });
    }

    fn deliver(&mut self, source: u8, count: u8) -> Result<(), Broken> {
        for _ in 0..count {
            let could = self.world.deliverable();
            let Some(source) = pick(&could, source) else { return Ok(()) };
            let delivery = self.world.next_delivery(source);
            self.deliver_one(source, delivery)?;
        }
        Ok(())
    }

    pub(super) fn deliver_one(&mut self, source: &Source, delivery: Delivery) -> Result<(), Broken> {
        let (mono, wall) = (self.world.now.mono, self.world.now.wall);
        let n = number_of(&delivery.message);
        let known = &mut self.tasks[n];
        if let (Source::Queue(queue), None) = (source, int(&delivery.message, "quebert-enqueued-at"))
            && !known.spec.stamped
        {
            // What is relative counts from here on, until a note says otherwise.
            let lane = self.config.lanes.iter().find(|lane| lane.queue == *queue).unwrap();
            let expires = time_to_live(&known.spec, lane).map(|ttl| wall.saturating_add(ttl));
            known.expires = match (known.expires, expires) {
                (Some((first, last)), Some(at)) => Some((first.min(at), last.max(at))),
                (_, at) => at.map(|at| (at, at)),
            };
            if let (Delay::Relative(ms), false) = (known.spec.delay, known.hurried) {
                let not_before = wall.saturating_add(Duration::from_millis(u64::from(ms)));
                known.not_before = known.not_before.map(|at| at.min(not_before)).or(Some(not_before));
            }
        }
        if known.lost_at.is_some_and(|at| mono - at > RECOGNISED) {
            known.forked = true;
        }
        self.feed(Input::Broker(BrokerEvent::Delivered(delivery)))
    }

    pub(super) fn prepared(&mut self, which: u8, says: Says) -> Result<(), Broken> {
        let Some(at) = index(self.world.preparing.len(), which) else { return Ok(()) };
        let (ticket, mut attempt) = self.world.preparing.remove(at).unwrap();
        let n: usize = attempt.task.url.path()[1..].parse().unwrap();
        let before = match says {
            Says::Send => Ok(Before::Send),
            Says::Elsewhere(host) => {
                attempt.task.url = format!("http://h{}/{n}", host % 4).parse().unwrap();
                Ok(Before::Send)
            }
            Says::NoUrl => {
                attempt.task.url = "/".parse().unwrap();
                Ok(Before::Send)
            }
            Says::Drop => {
                self.tasks[n].ended = true;
                Ok(Before::Drop)
            }
            Says::PutOff(ms) => Ok(Before::PutOff(Duration::from_millis(u64::from(ms)))),
            Says::Bury => Ok(Before::Bury("a hook said so".to_owned())),
            Says::Fails => Err("a hook failed".to_owned()),
        };
        self.feed(Input::Prepared { ticket, attempt, before })
    }

    pub(super) fn answer(&mut self, which: u8, reply: Reply) -> Result<(), Broken> {
        let Some(at) = index(self.world.sending.len(), which) else { return Ok(()) };
        let (ticket, attempt, _) = self.world.sending.remove(at).unwrap();
        let known = &mut self.tasks[attempt.task.url.path()[1..].parse::<usize>().unwrap()];
        known.asked = RetryAfter::Policy;
        let outcome = match reply {
            Reply::Status(status) => {
                if (200..300).contains(&status) && !self.config.mediated {
                    known.successes += 1;
                    known.ended = true;
                }
                answered(status, &[])
            }
            Reply::RetryAfter(s) => {
                known.asked = RetryAfter::AtLeast(Duration::from_secs(u64::from(s)));
                answered(429, &[("retry-after", &s.to_string())])
            }
            Reply::Exactly(ms) => {
                known.asked = RetryAfter::Exactly(Duration::from_millis(u64::from(ms)));
                answered(503, &[("quebert-retry", &format!("after={ms}ms"))])
            }
            Reply::Never => answered(500, &[("quebert-retry", "never")]),
            Reply::Fails(kind) => Outcome::Failed(Failure { kind, detail: "it failed".to_owned(), reached: true }),
        };
        self.feed(Input::Answered { ticket, attempt, outcome })
    }

    pub(super) fn reviewed(&mut self, which: u8, decides: Decides) -> Result<(), Broken> {
        let Some(at) = index(self.world.reviewing.len(), which) else { return Ok(()) };
        let (ticket, proposed) = self.world.reviewing.remove(at).unwrap();
        let id = self.world.core.tickets.get(ticket).and_then(|ticket| Some(ticket.facts.as_ref()?.id.to_string()));
        let verdict = match decides {
            Decides::AsProposed => proposed,
            Decides::Complete => Verdict::Complete,
            Decides::RetryExactly(ms) => {
                let after = RetryAfter::Exactly(Duration::from_millis(u64::from(ms)));
                Verdict::Retry(Retry { reason: RetryReason::ServerError, after })
            }
            Decides::Bury => Verdict::Bury { reason: BuryReason::Hook, detail: "a hook said so".to_owned() },
            Decides::Expire => Verdict::Expire,
            Decides::Drop => Verdict::Drop,
        };
        // A task whose ticket is gone comes again; what is decided of it now is nobody's business.
        if let Some(n) = id.and_then(|id| self.ids.get(&id)) {
            let known = &mut self.tasks[*n];
            match &verdict {
                Verdict::Complete => known.successes += 1,
                Verdict::Retry(retry) => known.asked = retry.after,
                _ => {}
            }
            known.ended |= match verdict {
                Verdict::Complete | Verdict::Drop => true,
                Verdict::Expire => !self.config.bury_expired,
                _ => false,
            };
        }
        self.feed(Input::Reviewed { ticket, verdict })
    }

    pub(super) fn published(&mut self, which: u8, fate: Fate) -> Result<(), Broken> {
        let Some(at) = index(self.world.publishing.len(), which) else { return Ok(()) };
        let (id, target, message) = self.world.publishing.remove(at).unwrap();
        let known = &mut self.tasks[number_of(&message)];
        let fate = if fate == Fate::Returned && !matches!(target, Target::Queue(_)) { Fate::Refused } else { fate };
        let text = "for a reason".to_owned();
        let result = match fate {
            Fate::Confirmed => {
                match target {
                    Target::Dead(_) => known.dead = true,
                    _ => drop(known.confirmed.insert(int(&message, "quebert-copy").unwrap_or(0))),
                }
                Ok(())
            }
            Fate::StoredButUnknown => {
                known.forked = true;
                Err(PublishError::Unknown(text))
            }
            Fate::LostAndUnknown => Err(PublishError::Unknown(text)),
            Fate::Refused => Err(PublishError::Refused(text)),
            Fate::NotConnected => Err(PublishError::NotConnected(text)),
            Fate::Returned => Err(PublishError::Returned(text)),
        };
        if matches!(fate, Fate::Confirmed | Fate::StoredButUnknown) {
            self.world.store(&target, message);
            self.world.relocate(id);
        }
        self.feed(Input::Published { id, result })
    }

    pub(super) fn advance(&mut self, by: Duration) -> Result<(), Broken> {
        let end = self.world.now.mono + by;
        while let Some(at) = self.world.core.next_wakeup().filter(|at| *at <= end && !self.world.stopped) {
            self.world.step_clock(at.saturating_sub(self.world.now.mono).max(Duration::from_millis(1)));
            self.feed(Input::Tick)?;
        }
        self.world.step_clock(end.saturating_sub(self.world.now.mono));
        self.feed(Input::Tick)
    }

    fn cut(&mut self, source: Option<u8>, acks_lost: usize) -> Result<(), Broken> {
        let open: Vec<Source> = self.world.open.keys().cloned().collect();
        let cut = match source {
            Some(which) => pick(&open, which).into_iter().cloned().collect(),
            None => open,
        };
        for source in cut {
            let (opening, lost) = self.world.lose(&source, acks_lost);
            self.lose(&lost);
            self.feed(Input::Broker(BrokerEvent::Closed { opening }))?;
            // Unless the core itself has had it opened meanwhile.
            if let Some(window) = self.world.wanted.get(&source).filter(|_| !self.world.open.contains_key(&source)) {
                self.world.open_source(source, *window);
                self.feed(Input::Tick)?;
            }
        }
        Ok(())
    }

    fn lose(&mut self, lost: &[Message]) {
        for message in lost {
            let known = &mut self.tasks[number_of(message)];
            known.lost_at = Some(self.world.now.mono);
            known.floor = known.floor.filter(|_| !known.put_off);
            // Without an id nobody can tell that it is the same task.
            known.forked |= !known.spec.named && !message.headers.contains_key("quebert-id");
        }
    }

    fn reconfigure(&mut self, knobs: Knobs) -> Result<(), Broken> {
        self.config.slots_shared = knobs.slots_shared;
        self.config.schedule = knobs.schedule;
        self.config.destinations.slots = knobs.slots_of_destinations;
        for lane in &mut self.config.lanes {
            (lane.slots_own, lane.slots_max) = (knobs.slots_own, knobs.slots_max);
        }
        self.passed_over.fill(0);
        self.feed(Input::Reconfigure(Box::new(self.config.clone())))
    }

    fn take_in_events(&mut self, from: usize) {
        let wall = self.world.now.wall;
        for event in &self.world.events[from..] {
            match event {
                Event::Held { lane, in_flight, buffered } => {
                    self.told.insert(lane.clone(), (*in_flight, *buffered));
                }
                Event::DestinationInFlight { destination, in_flight, .. } => {
                    self.told_of.insert(destination.clone(), *in_flight);
                }
                Event::RetryScheduled { task, reason, attempts, delay, .. } => {
                    if let Some(n) = self.ids.get(task.as_str()) {
                        self.step.retries.push((*n, *attempts, *reason, *delay));
                        self.tasks[*n].floor = Some(wall.saturating_add(*delay));
                        self.tasks[*n].put_off = matches!(reason, RetryReason::Hook | RetryReason::Overload);
                    }
                }
                Event::Expired { task, stage, .. } => {
                    self.step.expired.push((self.ids.get(task.as_str()).copied(), *stage));
                }
                Event::LanePaused { lane, paused } => self.step.pauses.push((lane.clone(), *paused)),
                _ => {}
            }
        }
    }

    fn take_in_trace(&mut self) {
        let mut may_vanish = if self.config.bury_expired { 0 } else { self.step.expired.len() };
        for traced in std::mem::take(&mut self.world.trace) {
            match traced {
                Traced::Opened => self.step.opened += 1,
                Traced::Asked { path, id } => {
                    let n = path[1..].parse().unwrap();
                    self.ids.insert(id, n);
                    self.step.asked.push(n);
                }
                Traced::Sent { ticket, path, id, number, timeout } => {
                    let n = path[1..].parse().unwrap();
                    self.ids.insert(id, n);
                    self.step.sent.push(n);
                    let at = self.world.now.wall;
                    let known = &mut self.tasks[n];
                    let (floor, forked) = (known.floor, known.forked);
                    let (after_success, after_cancel) = (known.successes > 0, known.cancelled);
                    known.sends.push(Sent { ticket, at, number, timeout, floor, forked, after_success, after_cancel });
                }
                Traced::GoneBack(messages) => self.lose(&messages),
                Traced::Acked(message) => {
                    let known = &mut self.tasks[number_of(&message)];
                    let copy = int(&message, "quebert-copy").unwrap_or(0);
                    let founded = known.ended || known.dead || known.confirmed.range(copy + 1..).next().is_some();
                    if !founded && known.expires.is_some() && may_vanish > 0 {
                        may_vanish -= 1;
                        known.ended = true;
                    } else if !founded {
                        let n = number_of(&message);
                        self.step.unfounded_acks.push(format!("copy {copy} of task {n}"));
                    }
                }
            }
        }
    }

    fn take_in_places(&mut self) {
        let core = &self.world.core;
        let places = core.tickets.iter().filter_map(|(id, ticket)| {
            let (State::Preparing { slot } | State::Sending { slot, .. }) = ticket.state else { return None };
            let destination = core.destinations.of(ticket.dest()).name.clone();
            Some((id, Place { lane: ticket.lane, slot, destination }))
        });
        let places: BTreeMap<TicketId, Place> = places.collect();
        self.step.granted =
            places.iter().filter(|(id, place)| self.occupied.get(id) != Some(place)).map(|(_, p)| p.clone()).collect();
        self.occupied = places;
    }
}

fn time_to_live(spec: &Spec, lane: &LaneConfig) -> Option<Duration> {
    spec.ttl_ms.map(|ms| Duration::from_millis(u64::from(ms))).or(lane.ttl_default)
}

/// The number of the task that a message is of.
pub(super) fn number_of(message: &Message) -> usize {
    message.correlation_id.as_deref().unwrap().parse().unwrap()
}

pub(super) fn index(len: usize, which: u8) -> Option<usize> {
    (len > 0).then(|| usize::from(which) % len)
}

fn pick<T>(of: &[T], which: u8) -> Option<&T> {
    index(of.len(), which).map(|at| &of[at])
}
