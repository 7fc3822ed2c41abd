//! Who has what: tasks in queues, in windows, in slots. It knows the moments that it is told, and plans nothing.

use crate::{
    arrivals::Arrival,
    draw::Draw,
    figures::{Figures, Kind, steady},
    ledger::{Record, Tick},
    run::Config,
    simulate::{Ends, Outcome},
};
use quebert_dispatcher::backoff::{Curve, Jitter, RetryPolicy};
use std::{collections::VecDeque, time::Duration};

/// Between two looks at the backlog.
const LOOK: Duration = Duration::from_millis(100);

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Succeeded,
    /// With another status than one of success; the executor may have asked for a delay.
    Answered(u16, Option<Duration>),
    /// Without an answer.
    Failed,
    /// The task's time was over.
    Expired,
}

#[derive(Debug, Clone)]
struct Task {
    record: Record,
    intended: Duration,
    /// Its own moment, if it has one; the time of its attempts is told from it.
    due: Option<Duration>,
    expires: Option<Duration>,
    lane: u16,
    executor: u16,
    attempts: u32,
    /// An attempt is under way: since when the executor has it.
    since: Option<Duration>,
}

/// A queue at the broker.
#[derive(Debug, Default)]
struct Queue {
    ready: VecDeque<u64>,
    /// Who was delivered to last.
    turn: usize,
}

/// One lane of one dispatcher.
#[derive(Debug, Clone)]
struct Lane {
    slots: u32,
    busy: u32,
    /// Deliveries that it may still have.
    credit: u32,
    buffer: VecDeque<u64>,
}

#[derive(Debug, Clone)]
struct Dispatcher {
    lanes: Vec<Lane>,
    /// Requests under way, by executor.
    under_way: Vec<u32>,
}

pub(super) struct State {
    tasks: Vec<Task>,
    queues: Vec<Queue>,
    dispatchers: Vec<Dispatcher>,
    destination_slots: u32,
    retry: RetryPolicy,
    permanent: Vec<u16>,
    /// Of each class: its queue, and its executor.
    places: Vec<(u16, u16)>,
    draw: Draw,
    figures: Figures,
    ends: Ends,
    open: u64,
    backlog_max: u64,
    looked: Duration,
}

impl State {
    pub(super) fn new(config: &Config) -> Self {
        let target = &config.target;
        // In the order of the rules, which is the mix's.
        let spec = |name: &str| target.queues.iter().find(|queue| queue.name == name);
        let specs = config.rules.queues.iter().map(|rule| spec(&rule.name).expect("every rule has its queue"));
        let lanes = specs.map(|queue| Lane {
            slots: queue.slots,
            busy: 0,
            credit: queue.window_or_derived(),
            buffer: VecDeque::new(),
        });
        let lanes = lanes.collect::<Vec<_>>();
        let index = |name: &str| config.executors.iter().position(|executor| executor.name == name);
        let place = |(queue, class): (&usize, &crate::arrivals::Class)| {
            let executor = index(&class.to).expect("a checked mix names executors that there are");
            (small(*queue), small(executor))
        };
        let dispatcher = Dispatcher { under_way: vec![0; config.executors.len()], lanes };
        Self {
            tasks: Vec::new(),
            queues: config.rules.queues.iter().map(|_| Queue::default()).collect(),
            dispatchers: vec![dispatcher; target.dispatchers as usize],
            destination_slots: target.destination_slots,
            retry: RetryPolicy {
                curve: Curve::Exponential { factor: 2.0 },
                jitter: Jitter::Equal,
                backoff_min: target.retry.backoff_min,
                backoff_max: target.retry.backoff_max,
                max_attempts: (target.retry.max_attempts > 0).then_some(target.retry.max_attempts),
                max_age: None,
                retry_after_max: config.rules.retry_after_max,
            },
            permanent: config.rules.permanent.clone(),
            places: config.rules.queue_of.iter().zip(config.mix.classes()).map(place).collect(),
            draw: Draw::new(config.profile.seed).of("backoff"),
            figures: Figures::new(config.layout()),
            ends: Ends::default(),
            open: 0,
            backlog_max: 0,
            looked: Duration::ZERO,
        }
    }

    /// A task of the plan. Returns its number, and when it may be sent at the earliest.
    pub(super) fn arrive(&mut self, arrival: &Arrival, confirmed: Duration) -> (u64, Duration) {
        let (lane, executor) = self.places[usize::from(arrival.class)];
        let record = Record { intended: Tick::at(arrival.at), class: arrival.class, ..Record::default() };
        let due = arrival.delay.map(|delay| arrival.at + delay);
        self.tasks.push(Task {
            record,
            intended: arrival.at,
            due,
            expires: arrival.ttl.map(|ttl| arrival.at + ttl),
            lane,
            executor,
            attempts: 0,
            since: None,
        });
        self.figures.record(Kind::Confirm, record, lane.into(), confirmed - arrival.at);
        self.figures.second(arrival.at).offered += 1;
        self.ends.tasks += 1;
        self.open += 1;
        (arrival.index, due.unwrap_or_default())
    }

    /// A task stands in its queue. Returns the lane.
    pub(super) fn queue(&mut self, task: u64) -> usize {
        let lane = usize::from(self.task(task).lane);
        self.queues[lane].ready.push_back(task);
        lane
    }

    /// The next delivery, if there is one and somebody has room for it.
    pub(super) fn deliver(&mut self, lane: usize) -> Option<(usize, u64)> {
        let queue = &mut self.queues[lane];
        queue.ready.front()?;
        let n = self.dispatchers.len();
        let turns = (1..=n).map(|step| (queue.turn + step) % n);
        let dispatcher = turns.into_iter().find(|d| self.dispatchers[*d].lanes[lane].credit > 0)?;
        queue.turn = dispatcher;
        self.dispatchers[dispatcher].lanes[lane].credit -= 1;
        queue.ready.pop_front().map(|task| (dispatcher, task))
    }

    /// A task is at a dispatcher. Returns the lane.
    pub(super) fn buffer(&mut self, dispatcher: usize, task: u64) -> usize {
        let lane = usize::from(self.task(task).lane);
        self.dispatchers[dispatcher].lanes[lane].buffer.push_back(task);
        lane
    }

    pub(super) fn credit(&mut self, dispatcher: usize, lane: usize) {
        self.dispatchers[dispatcher].lanes[lane].credit += 1;
    }

    /// Lanes that may go on when a request of this one has ended: all others.
    pub(super) fn lanes_beside(&self, lane: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.queues.len()).filter(move |other| *other != lane)
    }

    /// The first task that may have a slot gets it.
    pub(super) fn take_slot(&mut self, dispatcher: usize, lane: usize) -> Option<u64> {
        let Dispatcher { lanes, under_way } = &mut self.dispatchers[dispatcher];
        let lane = &mut lanes[lane];
        if lane.busy == lane.slots {
            return None;
        }
        let executor = |task: u64| usize::from(self.tasks[place(task)].executor);
        let at = lane.buffer.iter().position(|task| under_way[executor(*task)] < self.destination_slots)?;
        let task = lane.buffer.remove(at)?;
        lane.busy += 1;
        under_way[executor(task)] += 1;
        Some(task)
    }

    /// How long a task may still be worked on.
    pub(super) fn time_left(&self, task: u64, now: Duration) -> Option<Duration> {
        self.task(task).expires.map(|expires| expires.saturating_sub(now))
    }

    /// An attempt arrives at its executor. Returns which, and the attempt's number.
    pub(super) fn begin(&mut self, number: u64, arrives: Duration) -> (usize, u32) {
        let task = &mut self.tasks[place(number)];
        task.attempts += 1;
        task.since = Some(arrives);
        self.ends.attempts += 1;
        self.figures.second(arrives).attempts += 1;
        let lane = usize::from(task.lane);
        if task.attempts == 1 {
            match task.due {
                Some(due) => {
                    self.figures.record(Kind::ScheduleLag, task.record, lane, arrives.saturating_sub(due));
                }
                None => {
                    task.record.first = Tick::at(arrives);
                    self.figures.wait(task.record, lane, arrives, arrives - task.intended);
                }
            }
        }
        (task.executor.into(), task.attempts)
    }

    /// A slot is free again. Returns the lane, and the executor if it had the task.
    pub(super) fn free_slot(&mut self, dispatcher: usize, number: u64) -> (usize, Option<usize>) {
        let task = self.task(number);
        let (lane, executor, begun) = (usize::from(task.lane), usize::from(task.executor), task.since.is_some());
        let dispatcher = &mut self.dispatchers[dispatcher];
        dispatcher.lanes[lane].busy -= 1;
        dispatcher.under_way[executor] -= 1;
        (lane, begun.then_some(executor))
    }

    /// What becomes of a task: `None` if it is done; else how long until its next attempt, or zero if there is none.
    pub(super) fn judge(&mut self, number: u64, fate: Fate, answered: Duration, now: Duration) -> Option<Duration> {
        let task = &mut self.tasks[place(number)];
        let lane = usize::from(task.lane);
        if let Some(since) = task.since.take() {
            self.figures.record(Kind::Attempt, task.record, lane, answered.saturating_sub(since));
        }
        let asked = match fate {
            Fate::Succeeded => {
                if task.due.is_none() {
                    self.figures.record(Kind::Done, task.record, lane, answered - task.intended);
                }
                self.figures.second(answered).succeeded += 1;
                self.ends.succeeded += 1;
                self.open -= 1;
                return None;
            }
            Fate::Expired => return Some(self.give_up(true)),
            Fate::Answered(status, _) if self.permanent.contains(&status) => return Some(self.give_up(false)),
            Fate::Answered(_, asked) => asked,
            Fate::Failed => None,
        };
        self.figures.second(answered).failed += 1;
        let (attempts, expires) = (task.attempts, task.expires);
        let (least, most) = self.retry.bounds(attempts);
        let unit = self.draw.at(number).at(attempts.into()).unit();
        let drawn = least + (most - least).mul_f64(unit);
        let delay = drawn.max(asked.unwrap_or_default().min(self.retry.retry_after_max));
        if self.retry.exhausted(attempts, None, delay) {
            return Some(self.give_up(false));
        }
        if expires.is_some_and(|expires| now + delay >= expires) {
            return Some(self.give_up(true));
        }
        Some(delay)
    }

    fn give_up(&mut self, expired: bool) -> Duration {
        self.ends.dead += 1;
        self.ends.expired += u64::from(expired);
        self.open -= 1;
        Duration::ZERO
    }

    /// Time goes on to this moment.
    pub(super) fn look_until(&mut self, at: Duration) {
        while self.looked + LOOK <= at {
            self.looked += LOOK;
            self.backlog_max = self.backlog_max.max(self.open);
            self.figures.second(self.looked).held = Some(self.open);
        }
    }

    pub(super) fn outcome(mut self, now: Duration) -> Outcome {
        self.ends.left = self.open;
        self.figures.seconds();
        Outcome {
            steady: steady::steady(|| self.tasks.iter().map(|task| &task.record)),
            figures: self.figures,
            ends: self.ends,
            backlog_max: self.backlog_max,
            settled_at: (self.open == 0).then_some(now),
            verdict: None,
        }
    }

    fn task(&self, number: u64) -> &Task {
        &self.tasks[place(number)]
    }
}

fn place(task: u64) -> usize {
    usize::try_from(task).expect("fewer tasks than bytes of memory")
}

fn small(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}
