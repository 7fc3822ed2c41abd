//! Follows messages through a history: which publish came to be which copy, which request is which attempt's. Entries do not
//! name each other, so it pairs them by task, host and order. It is for pictures; the judge does not go by it.

use super::{
    copies::Copies,
    data::{Arrow, Bar, Places, micros},
};
use crate::{
    case::Case,
    history::{CopyNo, Entry, TaskNo, What},
    host::Host,
    trace::About,
};
use quebert_dispatcher::{
    event::{Event, Settlement},
    ports::broker::{Source, Target},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// What becomes of a task, if this says so.
pub(super) const fn fate(what: &What) -> Option<&'static str> {
    match what {
        What::Confirmed { .. } => Some("open"),
        // Of a message that no task could be read from no event names the task.
        What::BuriedByBroker { .. } | What::Stored { target: Target::Dead(_), .. } => Some("dead-lettered"),
        What::Event(Event::Settled { result, .. }) => match result {
            Settlement::Succeeded => Some("completed"),
            Settlement::DeadLettered => Some("dead-lettered"),
            Settlement::Expired => Some("expired"),
            Settlement::Filtered => Some("dropped"),
            Settlement::Retried | Settlement::Requeued | Settlement::Duplicate => None,
        },
        _ => None,
    }
}

/// What was found.
pub(super) struct Followed {
    pub(super) arrows: Vec<Arrow>,
    pub(super) bars: Vec<Bar>,
    /// Bars beside each other, at most, for each host.
    pub(super) slots: Vec<usize>,
}

/// Pairs of what belongs together, and what still waits for its other half. All `usize` but slots are places in `found`.
pub(super) struct Follow<'a> {
    places: &'a Places,
    /// How long a message takes where only one of its ends is told.
    hop: Duration,
    about: About,
    found: Followed,
    /// Publishes under way, by whom and of what.
    offered: BTreeMap<(Host, TaskNo), usize>,
    /// When a dispatcher last said what becomes of a task.
    decided: BTreeMap<(Host, TaskNo), u64>,
    settled: BTreeMap<(Host, TaskNo), u64>,
    confirms: BTreeMap<(Host, TaskNo), usize>,
    /// Confirms on their way to a dispatcher, whose events do not name tasks; neither do those of deliveries.
    confirms_to: BTreeMap<Host, Vec<Confirming>>,
    /// The publish of each copy.
    publishes: BTreeMap<CopyNo, usize>,
    deliveries_to: BTreeMap<(Host, Arc<str>), VecDeque<usize>>,
    attempts: BTreeMap<(TaskNo, u32), Vec<Making>>,
    /// Requests that executors work on: the bar, and whose attempt it is.
    working: BTreeMap<(Host, u64), (usize, (TaskNo, u32))>,
    copies: Copies<'a>,
    taken: BTreeMap<usize, BTreeSet<usize>>,
}

/// An attempt that a dispatcher makes.
#[derive(Debug, Clone, Copy)]
struct Making {
    host: Host,
    bar: usize,
    request: Option<usize>,
    reply: Option<usize>,
}

/// A confirm on its way, and the publish that it is for.
#[derive(Debug, Clone, Copy)]
struct Confirming {
    confirm: usize,
    publish: Option<usize>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(case: &Case, places: &'a Places) -> Self {
        let slots = vec![0; places.hosts.len()];
        let (arrows, bars) = (Vec::new(), Vec::new());
        Self {
            places,
            hop: Duration::from_millis(case.world.weather.latency_min_ms.into()),
            about: About::default(),
            found: Followed { arrows, bars, slots },
            offered: BTreeMap::new(),
            decided: BTreeMap::new(),
            settled: BTreeMap::new(),
            confirms: BTreeMap::new(),
            confirms_to: BTreeMap::new(),
            publishes: BTreeMap::new(),
            deliveries_to: BTreeMap::new(),
            attempts: BTreeMap::new(),
            working: BTreeMap::new(),
            copies: Copies::new(places),
            taken: BTreeMap::new(),
        }
    }

    /// Follows all of it. What is still under way then ends at `end`.
    pub(super) fn through(mut self, entries: &[Entry], end: u64) -> (Followed, Copies<'a>) {
        for entry in entries {
            let task = self.about.next(entry);
            self.entry(entry, task);
        }
        let open: Vec<_> = self.attempts.values().flatten().map(|making| making.bar).collect();
        let working: Vec<_> = self.working.values().map(|(bar, _)| *bar).collect();
        for bar in open.into_iter().chain(working) {
            self.close(bar, end, "lost", "under way when the run ended");
        }
        (self.found, self.copies)
    }

    fn entry(&mut self, entry: &Entry, task: Option<TaskNo>) {
        let (host, at) = (entry.host, micros(entry.at));
        match &entry.what {
            What::Down => self.host_down(host, at),
            What::Event(Event::BrokerDisconnected { .. }) => self.cut_off(host),
            What::Event(event) => self.event(host, at, event, task),
            What::Request { task, attempt, request, .. } => self.request(host, at, (*task, *attempt), *request),
            What::Reply { request, status } => self.reply(host, at, *request, *status),
            what => {
                if let Some(task) = task {
                    self.message(host, at, what, task);
                }
                self.copies.take(host, at, what, task.and_then(|task| self.places.tasks.get(&task).copied()));
            }
        }
    }

    /// What producers and the broker say of messages.
    fn message(&mut self, host: Host, at: u64, what: &What, task: TaskNo) {
        match what {
            What::Offered { .. } => {
                if let Some(arrow) = self.arrow(task, "publish", host, Host::Broker(1), at) {
                    self.offered.insert((host, task), arrow);
                }
            }
            What::Stored { by, copy, .. } => self.stored(host, at, *by, (*copy, task)),
            What::Confirmed { .. } => {
                if let Some(arrow) = self.confirms.remove(&(host, task)) {
                    self.arrives(arrow, at);
                }
            }
            What::Answered { to, how, copy } if *how != "never" => {
                let publish = copy.and_then(|copy| self.publishes.get(&copy).copied());
                let Some(confirm) = self.arrow(task, "confirm", host, *to, at) else { return };
                match to {
                    Host::Dispatcher(_) => {
                        self.confirms_to.entry(*to).or_default().push(Confirming { confirm, publish });
                    }
                    _ => drop(self.confirms.insert((*to, task), confirm)),
                }
            }
            What::Delivered { to, source, .. } => {
                let Some(arrow) = self.arrow(task, "deliver", host, *to, at) else { return };
                match source {
                    Source::Queue(queue) => {
                        self.deliveries_to.entry((*to, queue.clone())).or_default().push_back(arrow);
                    }
                    // Nobody tells of those.
                    Source::Delay(_) => self.arrives(arrow, at + micros(self.hop)),
                }
            }
            What::Acked { by, .. } if *by != host => {
                let sent = self.settled.remove(&(*by, task));
                let sent = sent.unwrap_or_else(|| at.saturating_sub(micros(self.hop)));
                if let Some(arrow) = self.arrow(task, "ack", *by, host, sent) {
                    self.arrives(arrow, at);
                }
            }
            _ => {}
        }
    }

    fn stored(&mut self, host: Host, at: u64, by: Host, (copy, task): (CopyNo, TaskNo)) {
        let arrow = match self.offered.remove(&(by, task)) {
            Some(arrow) => Some(arrow),
            None => {
                let sent = self.decided.remove(&(by, task)).unwrap_or_else(|| at.saturating_sub(micros(self.hop)));
                self.arrow(task, "publish", by, host, sent)
            }
        };
        if let (Some(arrow), Some(place)) = (arrow, self.places.hosts.get(&host)) {
            self.found.arrows[arrow].to = *place;
            self.arrives(arrow, at);
            self.publishes.insert(copy, arrow);
        }
    }

    /// What dispatchers say.
    fn event(&mut self, host: Host, at: u64, event: &Event, task: Option<TaskNo>) {
        match (event, task) {
            (Event::Delivered { lane, .. }, _) => {
                let waiting = self.deliveries_to.get_mut(&(host, lane.clone()));
                if let Some(arrow) = waiting.and_then(VecDeque::pop_front) {
                    self.arrives(arrow, at);
                }
            }
            (Event::Published { result: "ack" | "nack" | "returned", duration, .. }, _) => {
                self.published(host, at, at.saturating_sub(micros(*duration)));
            }
            (Event::AttemptStarted { number, destination, .. }, Some(task)) => {
                let executor = destination.host().parse().ok();
                let request = executor.and_then(|executor| self.arrow(task, "request", host, executor, at));
                if let Some(bar) = self.open(task, host, at, *number) {
                    let making = Making { host, bar, request, reply: None };
                    self.attempts.entry((task, *number)).or_default().push(making);
                }
            }
            (Event::AttemptEnded { number, class, status, detail, .. }, Some(task)) => {
                let text = detail
                    .as_deref()
                    .map_or_else(|| status.map_or((*class).to_owned(), |s| s.to_string()), str::to_owned);
                self.attempt_ended(host, at, (task, *number), *status, &text);
            }
            (Event::Settled { .. }, Some(task)) => drop(self.settled.insert((host, task), at)),
            (Event::RetryScheduled { .. } | Event::Buried { .. } | Event::Expired { .. }, Some(task)) => {
                self.decided.insert((host, task), at);
            }
            _ => {}
        }
    }

    /// A dispatcher got the confirm of what it published at `asked`: the one that fits best.
    fn published(&mut self, host: Host, at: u64, asked: u64) {
        let Some(all) = self.confirms_to.get_mut(&host) else { return };
        let sent = |of: &Confirming| of.publish.map_or(0, |publish| self.found.arrows[publish].sent);
        let best = all.iter().enumerate().min_by_key(|(place, of)| (sent(of).abs_diff(asked), *place));
        let Some(best) = best.map(|(place, _)| place) else { return };
        let Confirming { confirm, publish } = all.remove(best);
        self.arrives(confirm, at);
        // When it was sent may have been a guess.
        let publish = publish.map(|publish| &mut self.found.arrows[publish]);
        if let Some(publish) = publish.filter(|publish| publish.came.is_some_and(|came| asked <= came)) {
            publish.sent = asked;
        }
    }

    fn attempt_ended(&mut self, host: Host, at: u64, key: (TaskNo, u32), status: Option<u16>, text: &str) {
        let Some(all) = self.attempts.get_mut(&key) else { return };
        let Some(place) = all.iter().position(|making| making.host == host) else { return };
        let making = all.remove(place);
        let class = match status {
            Some(200..=299) => "ok",
            Some(_) => "failed",
            None => "broken",
        };
        self.close(making.bar, at, class, text);
        if let Some(reply) = making.reply.filter(|_| status.is_some()) {
            self.arrives(reply, at);
        }
    }

    fn request(&mut self, host: Host, at: u64, key: (TaskNo, u32), request: u64) {
        let waits = |making: &&mut Making| making.request.is_some();
        let made = self.attempts.get_mut(&key).and_then(|all| all.iter_mut().rev().find(waits));
        let arrow = made.and_then(|making| making.request.take());
        if let Some(arrow) = arrow {
            self.arrives(arrow, at);
        }
        if let Some(bar) = self.open(key.0, host, at, key.1) {
            self.working.insert((host, request), (bar, key));
        }
    }

    fn reply(&mut self, host: Host, at: u64, request: u64, status: Option<u16>) {
        let Some((bar, key)) = self.working.remove(&(host, request)) else { return };
        let (class, text) = match status {
            Some(status @ 200..=299) => ("ok", status.to_string()),
            Some(status) => ("failed", status.to_string()),
            None => ("broken", "no answer".to_owned()),
        };
        self.close(bar, at, class, &text);
        let waits = |making: &Making| making.request.is_none() && making.reply.is_none();
        let made = self.attempts.get(&key).and_then(|all| all.iter().rposition(waits));
        let Some(made) = made.filter(|_| status.is_some()) else { return };
        let to = self.attempts[&key][made].host;
        let arrow = self.arrow(key.0, "reply", host, to, at);
        self.attempts.entry(key).and_modify(|all| all[made].reply = arrow);
    }

    fn host_down(&mut self, host: Host, at: u64) {
        self.cut_off(host);
        let mut bars = Vec::new();
        for all in self.attempts.values_mut() {
            bars.extend(all.iter().filter(|making| making.host == host).map(|making| making.bar));
            all.retain(|making| making.host != host);
        }
        bars.extend(self.working.iter().filter(|((at, _), _)| *at == host).map(|(_, (bar, _))| *bar));
        self.working.retain(|(at, _), _| *at != host);
        for bar in bars {
            self.close(bar, at, "lost", "its host went down");
        }
    }

    /// What was on its way to a client never comes.
    fn cut_off(&mut self, host: Host) {
        self.confirms_to.remove(&host);
        self.deliveries_to.retain(|(to, _), _| *to != host);
    }

    fn arrow(&mut self, task: TaskNo, kind: &'static str, from: Host, to: Host, sent: u64) -> Option<usize> {
        let task = *self.places.tasks.get(&task)?;
        let (from, to) = (*self.places.hosts.get(&from)?, *self.places.hosts.get(&to)?);
        self.found.arrows.push(Arrow { task, kind, from, to, sent, came: None });
        Some(self.found.arrows.len() - 1)
    }

    fn arrives(&mut self, arrow: usize, at: u64) {
        let arrow = &mut self.found.arrows[arrow];
        arrow.came = Some(at.max(arrow.sent));
    }

    fn open(&mut self, task: TaskNo, host: Host, at: u64, n: u32) -> Option<usize> {
        let (task, host) = (*self.places.tasks.get(&task)?, *self.places.hosts.get(&host)?);
        let taken = self.taken.entry(host).or_default();
        let slot = (0..).find(|slot| !taken.contains(slot)).expect("there are more numbers than bars");
        taken.insert(slot);
        self.found.slots[host] = self.found.slots[host].max(slot + 1);
        let (class, text) = ("lost", String::new());
        self.found.bars.push(Bar { task, host, slot, from: at, to: at, n, class, text });
        Some(self.found.bars.len() - 1)
    }

    fn close(&mut self, bar: usize, at: u64, class: &'static str, text: &str) {
        let bar = &mut self.found.bars[bar];
        (bar.to, bar.class) = (at, class);
        text.clone_into(&mut bar.text);
        if let Some(taken) = self.taken.get_mut(&bar.host) {
            taken.remove(&bar.slot);
        }
    }
}
