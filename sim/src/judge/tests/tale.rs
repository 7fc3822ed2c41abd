//! A history made by hand: one producer, one dispatcher, one executor, and a clock that goes on by 10 ms with each line.

use crate::{
    case::{BrokerSpec, Case, DispatcherSpec, Exec, TaskSpec, VERSION, WorldSpec, work::Reply},
    clock::EPOCH_MS,
    history::{CopyNo, Entry, Order, TaskNo, What},
    host::Host,
    judge::{Oracle, judge},
    net::{Ran, Weather},
};
use quebert_dispatcher::{
    event::{Event, ExpiryStage, Settlement},
    grid::Step,
    ports::broker::{Opening, Source, Tag, Target},
    shell::Summary,
    verdict::{BuryReason, RetryReason},
};
use quebert_wire::{TaskId, Timestamp};
use std::{sync::Arc, time::Duration};

pub(super) const BROKER: Host = Host::Broker(1);
pub(super) const D1: Host = Host::Dispatcher(1);
const PRODUCER: Host = Host::Producer(1);

/// One lane `high` of five slots and a window of ten, and as many tasks for it as asked for.
pub(super) fn case(tasks: u32) -> Case {
    let mut dispatcher = DispatcherSpec::default();
    dispatcher.lanes.truncate(1);
    Case {
        version: VERSION,
        name: String::new(),
        seed: 1,
        world: WorldSpec {
            dispatchers: 1,
            executors: 2,
            producers: 1,
            broker: BrokerSpec::default(),
            dispatcher,
            weather: Weather::default(),
        },
        tasks: (1..=tasks).map(|no| TaskSpec::new(no, 0)).collect(),
        faults: Vec::new(),
        heal_at_ms: 60_000,
        settle_ms: 60_000,
        least_ms: 0,
    }
}

/// A history in the making.
#[derive(Clone)]
pub(super) struct Tale {
    pub(super) case: Case,
    pub(super) entries: Vec<Entry>,
    pub(super) now: Duration,
    lane: usize,
    opening: u64,
}

impl Tale {
    /// Everybody has started, and the lanes are open.
    pub(super) fn of(case: Case) -> Self {
        let mut tale = Self { case, entries: Vec::new(), now: Duration::ZERO, lane: 0, opening: 1 };
        tale.at(D1, What::Started).event(Event::BrokerConnected);
        for lane in 0..tale.case.world.dispatcher.lanes.len() {
            tale.lane(lane).opened(u64::try_from(lane).unwrap() + 1);
        }
        tale.lane(0);
        tale
    }

    /// From here on it is about that lane; its opening has the next number.
    pub(super) fn lane(&mut self, lane: usize) -> &mut Self {
        self.lane = lane;
        self.opening = u64::try_from(lane).unwrap() + 1;
        self
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.case.world.dispatcher.lanes[self.lane].name.as_str().into()
    }

    pub(super) fn opened(&mut self, opening: u64) -> &mut Self {
        let window = self.case.world.dispatcher.lanes[self.lane].window;
        self.opened_with(opening, window)
    }

    pub(super) fn opened_with(&mut self, opening: u64, window: u16) -> &mut Self {
        self.opening = opening;
        let (lane, source) = (self.name(), Source::Queue(self.name()));
        self.at(BROKER, What::Opened { by: D1, source, opening: Opening(opening), window });
        self.event(Event::LaneOpen { lane, open: true })
    }

    /// The dispatcher hears that the lane is closed.
    pub(super) fn closed(&mut self) -> &mut Self {
        let lane = self.name();
        self.event(Event::LaneOpen { lane, open: false })
    }

    pub(super) fn at(&mut self, host: Host, what: What) -> &mut Self {
        self.entries.push(Entry { at: self.now, host, what });
        self.wait(10)
    }

    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    pub(super) fn event(&mut self, event: Event) -> &mut Self {
        self.at(D1, What::Event(event))
    }

    pub(super) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(EPOCH_MS + i64::try_from(self.now.as_millis()).unwrap())
    }

    /// A producer publishes a task, as that message, and it is confirmed.
    pub(super) fn published(&mut self, task: u32, copy: u64) -> &mut Self {
        let no = TaskNo(task);
        let target = Target::Queue(self.name());
        self.at(PRODUCER, What::Offered { task: no, n: 1 })
            .at(BROKER, What::Stored { copy: CopyNo(copy), target, task: Some(no), by: PRODUCER, attempts: 0 })
            .at(BROKER, What::Answered { copy: Some(CopyNo(copy)), to: PRODUCER, how: "ack" })
            .at(PRODUCER, What::Confirmed { task: no })
    }

    fn tag(&self, copy: u64) -> Tag {
        Tag { opening: Opening(self.opening), seq: copy }
    }

    /// The broker delivers a message, and the dispatcher takes it in.
    pub(super) fn delivered(&mut self, copy: u64) -> &mut Self {
        self.sent_to(D1, copy, false).taken_in(copy, false)
    }

    pub(super) fn redelivered(&mut self, copy: u64) -> &mut Self {
        self.sent_to(D1, copy, true).taken_in(copy, true)
    }

    pub(super) fn sent_to(&mut self, to: Host, copy: u64, redelivered: bool) -> &mut Self {
        let (tag, source) = (self.tag(copy), Source::Queue(self.name()));
        self.at(BROKER, What::Delivered { copy: CopyNo(copy), tag, source, to, redelivered })
    }

    pub(super) fn taken_in(&mut self, copy: u64, redelivered: bool) -> &mut Self {
        let (lane, tag) = (self.name(), self.tag(copy));
        self.event(Event::Delivered { lane, tag, redelivered })
    }

    pub(super) fn started(&mut self, task: u32, number: u32) -> &mut Self {
        self.started_to(task, number, 1)
    }

    pub(super) fn started_to(&mut self, task: u32, number: u32, executor: u8) -> &mut Self {
        let at = self.wall();
        self.event(Event::AttemptStarted {
            lane: self.name(),
            task: id(task),
            number,
            destination: format!("http://executor-{executor}").parse().unwrap(),
            body_bytes: 0,
            trace: None,
            at,
        })
    }

    /// The executor sees the request and answers; the dispatcher hears of it.
    pub(super) fn answered(&mut self, task: u32, number: u32, status: u16) -> &mut Self {
        self.answered_so(task, number, status, Reply::Status(status))
    }

    pub(super) fn answered_so(&mut self, task: u32, number: u32, status: u16, reply: Reply) -> &mut Self {
        let request = self.entries.len() as u64;
        let duration = self.since_start(task, number) + Duration::from_millis(20);
        self.requested(task, number, request, reply)
            .at(Host::Executor(1), What::Reply { request, status: Some(status) })
            .ended(task, number, Some(status), duration)
    }

    fn since_start(&self, task: u32, number: u32) -> Duration {
        let start = self.entries.iter().rev().find(|entry| {
            matches!(&entry.what, What::Event(Event::AttemptStarted { task: of, number: n, .. })
                if *of == id(task) && *n == number)
        });
        start.map_or(Duration::ZERO, |entry| self.now - entry.at)
    }

    pub(super) fn requested(&mut self, task: u32, attempt: u32, request: u64, reply: Reply) -> &mut Self {
        let exec = Exec { after_ms: 0, reply };
        let (task, delivery) = (TaskNo(task), "d".into());
        let request = What::Request { task, attempt, delivery, request, redelivered: false, intact: true, exec };
        self.at(Host::Executor(1), request)
    }

    pub(super) fn ended(&mut self, task: u32, number: u32, status: Option<u16>, duration: Duration) -> &mut Self {
        self.event(Event::AttemptEnded {
            lane: self.name(),
            task: id(task),
            number,
            destination: "http://executor-1".parse().unwrap(),
            class: if status.is_some() { "5xx" } else { "timeout" },
            status,
            detail: None,
            trace: None,
            duration,
        })
    }

    pub(super) fn retry(&mut self, task: u32, attempts: u32, delay_ms: u64) -> &mut Self {
        self.retry_for(task, attempts, delay_ms, RetryReason::ServerError)
    }

    pub(super) fn retry_for(&mut self, task: u32, attempts: u32, delay_ms: u64, reason: RetryReason) -> &mut Self {
        let delay = Duration::from_millis(delay_ms);
        self.event(Event::RetryScheduled { lane: self.name(), task: id(task), reason, attempts, delay, trace: None })
    }

    /// The dispatcher publishes the next message of a task, and the broker confirms it.
    pub(super) fn moved(&mut self, task: u32, copy: u64, target: Target, attempts: u32) -> &mut Self {
        self.stored(task, copy, target, attempts).confirmed(copy)
    }

    pub(super) fn stored(&mut self, task: u32, copy: u64, target: Target, attempts: u32) -> &mut Self {
        let (copy, task) = (CopyNo(copy), Some(TaskNo(task)));
        self.at(BROKER, What::Stored { copy, target, task, by: D1, attempts })
    }

    pub(super) fn confirmed(&mut self, copy: u64) -> &mut Self {
        self.at(BROKER, What::Answered { copy: Some(CopyNo(copy)), to: D1, how: "ack" })
    }

    pub(super) fn settled(&mut self, task: u32, result: Settlement) -> &mut Self {
        let ended = self.entries.iter().filter_map(|entry| match &entry.what {
            What::Event(Event::AttemptEnded { task: of, number, .. }) if *of == id(task) => Some(*number),
            _ => None,
        });
        let attempts = ended.max().unwrap_or(0);
        let (lane, task) = (self.name(), Some(id(task)));
        self.event(Event::Settled { lane, result, task, attempts, age: None, trace: None })
    }

    pub(super) fn acked(&mut self, copy: u64) -> &mut Self {
        self.at(BROKER, What::Acked { copy: CopyNo(copy), by: D1 })
    }

    pub(super) fn returned(&mut self, copy: u64, why: &'static str) -> &mut Self {
        self.at(BROKER, What::Returned { copy: CopyNo(copy), why })
    }

    pub(super) fn held(&mut self, in_flight: u32, buffered: u32) -> &mut Self {
        let lane = self.name();
        self.event(Event::Held { lane, in_flight, buffered })
    }

    pub(super) fn expired(&mut self, task: u32, stage: ExpiryStage) -> &mut Self {
        self.event(Event::Expired { lane: self.name(), task: id(task), stage, trace: None })
    }

    pub(super) fn buried(&mut self, task: Option<u32>, reason: BuryReason) -> &mut Self {
        let detail = String::new();
        self.event(Event::Buried { lane: self.name(), task: task.map(id), reason, detail, trace: None })
    }

    pub(super) fn told(&mut self, order: Order) -> &mut Self {
        self.at(D1, What::Told(order))
    }

    pub(super) fn ended_itself(&mut self, deliveries: u64, settled: u64, held: u64) -> &mut Self {
        let settlements = [(Settlement::Succeeded, settled)].into();
        self.at(D1, What::Ended(Summary { deliveries, settlements, held }))
    }

    /// From its message's delivery to its end: one attempt, 200, ack.
    pub(super) fn done(&mut self, task: u32, copy: u64) -> &mut Self {
        self.delivered(copy).started(task, 1).answered(task, 1, 200).settled(task, Settlement::Succeeded).acked(copy)
    }

    pub(super) fn dead(&self) -> Target {
        Target::Dead(self.name())
    }

    #[track_caller]
    pub(super) fn keeps_all(&self) {
        let violations = judge(&self.case, &self.entries, &self.ran());
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Breaks just that promise; the detail has these words.
    #[track_caller]
    pub(super) fn breaks(&self, oracle: Oracle, words: &str) {
        let violations = judge(&self.case, &self.entries, &self.ran());
        let right = violations.iter().any(|broken| broken.oracle == oracle && broken.detail.contains(words));
        assert!(right, "no {oracle} that says {words:?}: {violations:#?}");
    }

    fn ran(&self) -> Ran {
        Ran { end: self.now, panics: Vec::new(), wire_hash: 0, segments: 0 }
    }
}

pub(super) fn id(task: u32) -> TaskId {
    TaskId::new(&TaskNo(task).to_string()).unwrap()
}

pub(super) fn second() -> Target {
    Target::Delay(Step::FIRST)
}
