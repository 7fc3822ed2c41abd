//! A model of the world around a core: a broker that keeps every message in the open, and a clock that is moved by
//! hand. It knows nothing of how the core decides.

use super::*;
use crate::{grid::Step, ports::broker::Delivery};
use quebert_wire::HeaderValue;

/// A message in the model's broker.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) message: Message,
    pub(super) redelivered: bool,
}

/// Something that the core wanted, as far as the machine's invariants look at it.
#[derive(Debug)]
pub(super) enum Traced {
    Opened,
    Asked {
        path: String,
        id: String,
    },
    Sent {
        ticket: TicketId,
        path: String,
        id: String,
        number: u32,
        timeout: Duration,
    },
    Acked(Message),
    /// What was in hand of a work queue that the core has closed.
    GoneBack(Vec<Message>),
}

/// The broker and the clock around one core.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Now,
    pub(super) queues: BTreeMap<Source, VecDeque<Kept>>,
    pub(super) dead: Vec<Message>,
    /// Open sources with their windows.
    pub(super) open: BTreeMap<Source, (Opening, u16, bool)>,
    pub(super) wanted: BTreeMap<Source, u16>,
    pub(super) unsettled: BTreeMap<Tag, (Source, Message)>,
    pub(super) acked: Vec<(Tag, Source, Message)>,
    pub(super) sending: VecDeque<(TicketId, Box<Attempt>, Duration)>,
    pub(super) preparing: VecDeque<(TicketId, Box<Attempt>)>,
    pub(super) reviewing: VecDeque<(TicketId, Verdict)>,
    pub(super) publishing: VecDeque<(PublishId, Target, Message)>,
    /// Whether a publish that takes the place of a delivery settles it, too.
    pub(super) transactional: bool,
    /// Deliveries settled that way. They fill their windows until the core has settled them.
    pub(super) relocated: BTreeMap<Tag, Source>,
    replacing: BTreeMap<PublishId, Tag>,
    pub(super) events: Vec<Event>,
    /// What the core has wanted, in order, until somebody takes it out.
    pub(super) trace: Vec<Traced>,
    /// What each publish takes the place of, in order.
    pub(super) replaced: Vec<Option<Tag>>,
    /// The answers to what was asked for.
    pub(super) steered: Vec<Steered>,
    pub(super) stopped: bool,
    next: u64,
}

impl World {
    pub(super) fn new(config: CoreConfig) -> Self {
        let now = Now { mono: Duration::from_secs(5), wall: EPOCH };
        let mut world = Self {
            core: Core::new(config, Codecs::default(), now),
            now,
            queues: BTreeMap::new(),
            dead: Vec::new(),
            open: BTreeMap::new(),
            wanted: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            acked: Vec::new(),
            sending: VecDeque::new(),
            preparing: VecDeque::new(),
            reviewing: VecDeque::new(),
            publishing: VecDeque::new(),
            transactional: false,
            relocated: BTreeMap::new(),
            replacing: BTreeMap::new(),
            events: Vec::new(),
            trace: Vec::new(),
            replaced: Vec::new(),
            steered: Vec::new(),
            stopped: false,
            next: 0,
        };
        world.feed(Input::Tick);
        world
    }

    /// Feeds the core and carries its actions out as far as the broker goes.
    pub(super) fn feed(&mut self, input: Input) {
        self.core.handle(self.now, input);
        while let Some(action) = self.core.poll() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Open { source, window } => {
                self.trace.push(Traced::Opened);
                self.wanted.insert(source.clone(), window);
                self.open_source(source, window);
            }
            Action::Close(source) => {
                self.wanted.remove(&source);
                if let Some((opening, ..)) = self.open.remove(&source) {
                    let back = self.take_back(opening);
                    if matches!(source, Source::Queue(_)) {
                        self.trace.push(Traced::GoneBack(back));
                    }
                }
            }
            Action::Pause(source) => {
                self.wanted.remove(&source);
                if let Some(open) = self.open.get_mut(&source) {
                    open.2 = true;
                }
            }
            Action::Ack(tag) => {
                self.relocated.remove(&tag);
                if let Some((source, message)) = self.unsettled.remove(&tag) {
                    self.trace.push(Traced::Acked(message.clone()));
                    self.acked.push((tag, source, message));
                }
            }
            Action::GiveBack(tag) => {
                self.relocated.remove(&tag);
                if let Some((source, message)) = self.unsettled.remove(&tag) {
                    self.queues.entry(source).or_default().push_front(Kept { message, redelivered: true });
                }
            }
            Action::Send { ticket, attempt, timeout } => {
                let (path, id) = (attempt.task.url.path().to_owned(), attempt.task.id.to_string());
                self.trace.push(Traced::Sent { ticket, path, id, number: attempt.number, timeout });
                self.sending.push_back((ticket, attempt, timeout));
            }
            Action::Prepare { ticket, attempt } => {
                let (path, id) = (attempt.task.url.path().to_owned(), attempt.task.id.to_string());
                self.trace.push(Traced::Asked { path, id });
                self.preparing.push_back((ticket, attempt));
            }
            Action::Review { ticket, proposed, .. } => self.reviewing.push_back((ticket, proposed)),
            Action::Publish { id, target, message, replaces } => {
                self.replaced.push(replaces);
                match replaces {
                    Some(tag) => drop(self.replacing.insert(id, tag)),
                    None => drop(self.replacing.remove(&id)),
                }
                self.publishing.push_back((id, target, *message));
            }
            Action::Emit(event) => self.events.push(event),
            Action::Steered(result) => self.steered.push(result),
            Action::Stop => self.stopped = true,
        }
    }

    pub(super) fn open_source(&mut self, source: Source, window: u16) {
        assert!(!self.open.contains_key(&source), "{source:?} is opened twice");
        self.next += 1;
        let opening = Opening(self.next);
        self.open.insert(source.clone(), (opening, window, false));
        self.core.handle(self.now, Input::Broker(BrokerEvent::Opened { source, opening }));
    }

    fn take_back(&mut self, opening: Opening) -> Vec<Message> {
        self.relocated.retain(|tag, _| tag.opening != opening);
        let tags: Vec<Tag> = self.unsettled.keys().filter(|tag| tag.opening == opening).copied().collect();
        let mut back = Vec::new();
        for tag in tags.into_iter().rev() {
            let (source, message) = self.unsettled.remove(&tag).unwrap();
            back.push(message.clone());
            self.queues.entry(source).or_default().push_front(Kept { message, redelivered: true });
        }
        back
    }

    /// What was published is stored: a broker with transactions has settled the delivery that it takes the place of.
    pub(super) fn relocate(&mut self, id: PublishId) {
        if let Some(tag) = self.replacing.remove(&id).filter(|_| self.transactional)
            && let Some((source, _)) = self.unsettled.remove(&tag)
        {
            self.relocated.insert(tag, source);
        }
    }

    /// Puts a task into a lane's queue.
    pub(super) fn produce(&mut self, queue: &str, message: Message) {
        let kept = Kept { message, redelivered: false };
        self.queues.entry(Source::Queue(queue.into())).or_default().push_back(kept);
    }

    /// The sources from which something can be delivered now.
    pub(super) fn deliverable(&self) -> Vec<Source> {
        let could = self.open.iter().filter(|(source, (opening, window, paused))| {
            let waiting = self.queues.get(source).is_some_and(|queue| !queue.is_empty());
            !paused && waiting && self.unsettled_of(*opening) < usize::from(*window)
        });
        could.map(|(source, _)| source.clone()).collect()
    }

    pub(super) fn unsettled_of(&self, opening: Opening) -> usize {
        self.unsettled.keys().chain(self.relocated.keys()).filter(|tag| tag.opening == opening).count()
    }

    /// Takes the next message out of a source that could deliver. The caller feeds it to the core.
    pub(super) fn next_delivery(&mut self, source: &Source) -> Delivery {
        let opening = self.open[source].0;
        let kept = self.queues.get_mut(source).unwrap().pop_front().unwrap();
        self.next += 1;
        let tag = Tag { opening, seq: self.next };
        self.unsettled.insert(tag, (source.clone(), kept.message.clone()));
        Delivery { tag, redelivered: kept.redelivered, message: kept.message }
    }

    /// Hands out what the windows allow.
    pub(super) fn deliver_all(&mut self) {
        while let Some(source) = self.deliverable().first() {
            let delivery = self.next_delivery(source);
            self.feed(Input::Broker(BrokerEvent::Delivered(delivery)));
        }
    }

    /// Loses one opening with its last acks, as many of `acks_lost` as its window leaves room for. Gives back what it
    /// held, lost acks included, and does not tell the core.
    pub(super) fn lose(&mut self, source: &Source, acks_lost: usize) -> (Opening, Vec<Message>) {
        let (opening, window, _) = self.open.remove(source).unwrap();
        // Until it has an ack, the broker counts the delivery against the window.
        let room = usize::from(window).saturating_sub(self.unsettled_of(opening));
        let acked: Vec<usize> = (0..self.acked.len()).rev().filter(|at| self.acked[*at].0.opening == opening).collect();
        for at in acked.into_iter().take(acks_lost.min(room)) {
            let (tag, source, message) = self.acked.remove(at);
            self.unsettled.insert(tag, (source, message));
        }
        self.acked.retain(|(tag, ..)| tag.opening != opening);
        let lost = self.unsettled.iter().filter(|(tag, _)| tag.opening == opening).map(|(_, (_, m))| m.clone());
        let lost = lost.collect();
        self.take_back(opening);
        (opening, lost)
    }

    /// Another core takes over, as after the end of the process.
    pub(super) fn restart(&mut self, config: CoreConfig) {
        for source in self.open.keys().cloned().collect::<Vec<_>>() {
            self.lose(&source, 0);
        }
        self.wanted.clear();
        self.acked.clear();
        self.sending.clear();
        self.preparing.clear();
        self.reviewing.clear();
        self.publishing.clear();
        self.replacing.clear();
        self.relocated.clear();
        self.events.clear();
        self.trace.clear();
        self.stopped = false;
        self.core = Core::new(config, Codecs::default(), self.now);
        for source in self.queues.keys().cloned().collect::<Vec<_>>() {
            if let Source::Delay(step) = source {
                self.core.handle(self.now, Input::Broker(BrokerEvent::DelayExists(step)));
            }
        }
        self.feed(Input::Tick);
    }

    /// Loses the connection, and the last `acks_lost` acks with it; opens everything again.
    pub(super) fn cut(&mut self, acks_lost: usize) {
        // Only acks of openings that are still open can be lost, and of each at most a window.
        let mut left = acks_lost;
        while left > 0
            && let Some((tag, source, message)) = self.acked.pop()
        {
            if !self.open.values().any(|(opening, ..)| *opening == tag.opening) {
                break;
            }
            self.unsettled.insert(tag, (source, message));
            left -= 1;
        }
        self.acked.clear();
        let open: Vec<Opening> = self.open.values().map(|(opening, ..)| *opening).collect();
        self.open.clear();
        for opening in open {
            self.take_back(opening);
            self.feed(Input::Broker(BrokerEvent::Closed { opening }));
        }
        for (source, window) in self.wanted.clone() {
            self.open_source(source, window);
        }
        self.feed(Input::Tick);
    }

    /// Moves both clocks on, and lets timers go off in between.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now.mono + by;
        while let Some(at) = self.core.next_wakeup().filter(|at| *at <= end) {
            self.step_clock(at.saturating_sub(self.now.mono).max(Duration::from_millis(1)));
            self.feed(Input::Tick);
        }
        self.step_clock(end.saturating_sub(self.now.mono));
        self.feed(Input::Tick);
    }

    pub(super) fn step_clock(&mut self, by: Duration) {
        self.now.mono += by;
        self.now.wall = Timestamp::from_millis(self.now.wall.as_millis() + i64::try_from(by.as_millis()).unwrap());
    }

    /// Answers the oldest request with a status.
    pub(super) fn answer(&mut self, status: u16, headers: &[(&'static str, &str)]) -> u32 {
        let (ticket, attempt, _) = self.sending.pop_front().expect("a request is under way");
        let number = attempt.number;
        self.feed(Input::Answered { ticket, attempt, outcome: answered(status, headers) });
        number
    }

    /// Stores the message of the oldest publish, and says so.
    pub(super) fn confirm(&mut self) {
        let (id, target, message) = self.publishing.pop_front().expect("a publish is under way");
        self.store(&target, message);
        self.relocate(id);
        self.feed(Input::Published { id, result: Ok(()) });
    }

    pub(super) fn confirm_all(&mut self) {
        while !self.publishing.is_empty() {
            self.confirm();
        }
    }

    pub(super) fn store(&mut self, target: &Target, message: Message) {
        let kept = Kept { message: message.clone(), redelivered: false };
        match target {
            Target::Queue(queue) => self.queues.entry(Source::Queue(queue.clone())).or_default().push_back(kept),
            Target::Delay(step) => self.queues.entry(Source::Delay(*step)).or_default().push_back(kept),
            Target::Dead(_) => self.dead.push(message),
        }
    }

    /// How the deliveries were settled, in order.
    pub(super) fn settled(&self) -> Vec<Settlement> {
        let settled = self.events.iter().filter_map(|event| match event {
            Event::Settled { result, .. } => Some(*result),
            _ => None,
        });
        settled.collect()
    }

    /// Every message that the broker has, wherever.
    pub(super) fn everything(&self) -> impl Iterator<Item = &Message> {
        let queued = self.queues.values().flatten().map(|kept| &kept.message);
        queued.chain(self.unsettled.values().map(|(_, message)| message)).chain(&self.dead)
    }

    pub(super) fn delay_steps(&self) -> Vec<Step> {
        let steps = self.queues.iter().filter(|(_, queue)| !queue.is_empty()).filter_map(|(source, _)| match source {
            Source::Delay(step) => Some(*step),
            Source::Queue(_) => None,
        });
        steps.collect()
    }
}

pub(super) fn answered(status: u16, headers: &[(&'static str, &str)]) -> Outcome {
    let mut map = http::HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().unwrap());
    }
    Outcome::Answered(crate::outcome::Response {
        status: http::StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: bytes::Bytes::new(),
        truncated: false,
    })
}

/// A message with an envelope in JSON.
pub(super) fn message(json: &str) -> Message {
    Message {
        content_type: Some("application/json".to_owned()),
        body: bytes::Bytes::copy_from_slice(json.as_bytes()),
        ..Message::default()
    }
}

/// An integer header.
pub(super) fn int(message: &Message, name: &str) -> Option<i64> {
    match message.headers.get(name) {
        Some(HeaderValue::Int(n)) => Some(*n),
        _ => None,
    }
}

/// A text header.
pub(super) fn text<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    match message.headers.get(name) {
        Some(HeaderValue::Text(text)) => Some(text),
        _ => None,
    }
}
