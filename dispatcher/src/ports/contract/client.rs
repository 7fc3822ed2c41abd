//! A client of the broker under test, which remembers what it was told and waits for what must come.

use super::{Harness, LIMIT, QUIET};
use crate::{
    grid::Step,
    ports::broker::{Broker, BrokerEvent, Delivery, Depth, Opening, Source, Target},
};
use quebert_wire::{HeaderValue, Headers, Message, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

/// A started client, and what it was told.
pub(super) struct Client<B> {
    pub(super) broker: B,
    pub(super) events: mpsc::Receiver<BrokerEvent>,
    connected: bool,
    open: BTreeMap<Opening, Source>,
    closed: BTreeSet<Opening>,
    known: BTreeSet<Step>,
    /// Deliveries that came while waiting for something else.
    waiting: Vec<Delivery>,
}

pub(super) async fn one_queue<H: Harness>(harness: &H) -> (Client<H::Broker>, Arc<str>) {
    let queue = harness.fresh_name();
    (Client::start(harness.client(std::slice::from_ref(&queue)).await).await, queue)
}

impl<B: Broker> Client<B> {
    pub(super) async fn start(broker: B) -> Self {
        let events = broker.start();
        let (open, closed, known) = Default::default();
        let mut client = Self { broker, events, connected: false, open, closed, known, waiting: Vec::new() };
        while !client.connected {
            client.next("a session").await;
        }
        client
    }

    /// Takes the next event in, and holds the broker to the order that the port promises.
    async fn next(&mut self, awaited: &str) {
        let event = timeout(LIMIT, self.events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("{awaited} did not come within {LIMIT:?}"));
        self.take_in(event.unwrap_or_else(|| panic!("the events ended while waiting for {awaited}")));
    }

    fn take_in(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Connected => self.connected = true,
            BrokerEvent::Disconnected { .. } => {
                assert!(self.open.is_empty(), "each opening closes before the session does: {:?}", self.open);
                self.connected = false;
            }
            BrokerEvent::Opened { source, opening } => {
                assert!(!self.closed.contains(&opening), "{opening:?} was used before");
                assert_eq!(self.open.insert(opening, source), None, "{opening:?} opened twice");
            }
            BrokerEvent::Delivered(delivery) => {
                assert!(!self.closed.contains(&delivery.tag.opening), "a delivery after its opening closed");
                self.waiting.push(delivery);
            }
            BrokerEvent::Closed { opening } => {
                assert!(self.open.remove(&opening).is_some(), "{opening:?} closed but was not open");
                self.closed.insert(opening);
                self.waiting.retain(|delivery| delivery.tag.opening != opening);
            }
            BrokerEvent::DelayExists(step) => assert!(self.known.insert(step), "{step:?} was told of twice"),
            BrokerEvent::DelaySettled(step) => assert!(self.known.contains(&step), "{step:?} is not there yet"),
            BrokerEvent::SourceFailed { source, detail } => panic!("{source:?} failed: {detail}"),
            BrokerEvent::Blocked(_) => {}
        }
    }

    pub(super) async fn open(&mut self, queue: &Arc<str>, window: u16) -> Opening {
        self.open_source(Source::Queue(queue.clone()), window).await
    }

    pub(super) async fn open_source(&mut self, source: Source, window: u16) -> Opening {
        // What was closed before is forgotten; its leftovers, told or not, are none of ours.
        let old: Vec<_> = self.open.iter().filter(|(_, s)| **s == source).map(|(opening, _)| *opening).collect();
        self.broker.open(source.clone(), window);
        loop {
            if let Some(opening) = self.opening_of(&source).filter(|opening| !old.contains(opening)) {
                self.waiting.retain(|delivery| !old.contains(&delivery.tag.opening));
                return opening;
            }
            self.next("an opening").await;
        }
    }

    /// The next opening of a source that is not the one it had.
    pub(super) async fn opened(&mut self, source: &Source) -> Opening {
        let old = self.opening_of(source);
        loop {
            self.next("an opening").await;
            if let Some(opening) = self.opening_of(source).filter(|opening| Some(*opening) != old) {
                return opening;
            }
        }
    }

    pub(super) fn opening_of(&self, source: &Source) -> Option<Opening> {
        self.open.iter().filter(|(_, open)| *open == source).map(|(opening, _)| *opening).max()
    }

    pub(super) fn is_closed(&self, opening: Opening) -> bool {
        self.closed.contains(&opening)
    }

    pub(super) async fn delivery(&mut self) -> Delivery {
        self.deliveries(1).await.remove(0)
    }

    pub(super) async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        while self.waiting.len() < count {
            self.next("a delivery").await;
        }
        self.waiting.drain(..count).collect()
    }

    pub(super) async fn nothing_is_delivered(&mut self) {
        let end = Instant::now() + QUIET;
        while let Ok(event) = tokio::time::timeout_at(end, self.events.recv()).await {
            self.take_in(event.expect("the events go on"));
        }
        assert!(self.waiting.is_empty(), "nothing should have been delivered: {:?}", self.waiting);
    }

    pub(super) async fn knows(&mut self, step: Step) {
        while !self.known.contains(&step) {
            self.next("a delay queue's announcement").await;
        }
    }

    pub(super) async fn publish(&self, queue: &Arc<str>, message: Message) {
        self.broker.publish(Target::Queue(queue.clone()), message).await.expect("a queue that is there takes it");
    }

    pub(super) async fn publish_numbered(&self, queue: &Arc<str>, count: u32) {
        for n in 0..count {
            self.publish(queue, numbered(n)).await;
        }
    }

    pub(super) async fn depth_becomes(&self, target: Target, right: impl Fn(Depth) -> bool) {
        let end = Instant::now() + LIMIT;
        loop {
            let depth = self.broker.depth(target.clone()).await;
            if depth.is_some_and(&right) {
                return;
            }
            assert!(Instant::now() < end, "the depth of {target:?} stayed at {depth:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) fn numbered(n: u32) -> Message {
    Message { body: n.to_string().into(), ..Message::default() }
}

pub(super) fn full_message() -> Message {
    let text = |s: &str| Some(s.to_owned());
    let values = [
        ("quebert-int", HeaderValue::Int(-5)),
        ("quebert-large", HeaderValue::Int(i64::MAX)),
        ("quebert-text", HeaderValue::Text("grüß dich".into())),
        ("quebert-empty", HeaderValue::Text(String::new())),
        ("quebert-bool", HeaderValue::Bool(true)),
        ("quebert-float", HeaderValue::Float(0.5)),
        ("quebert-null", HeaderValue::Null),
        ("quebert-bytes", HeaderValue::Bytes(vec![0, 255, 128].into())),
        ("quebert-time", HeaderValue::Timestamp(Timestamp::from_millis(1_700_000_000_000))),
        ("quebert-list", HeaderValue::List(vec![HeaderValue::Int(1), HeaderValue::Text("two".into())])),
        ("quebert-table", HeaderValue::Table(Headers::from([("k".into(), HeaderValue::Int(1))]))),
    ];
    Message {
        id: text("an-id"),
        content_type: text("application/octet-stream"),
        timestamp: Some(Timestamp::from_millis(1_700_000_000_000)),
        priority: Some(3),
        correlation_id: text("a-correlation"),
        kind: text("a-type"),
        app_id: text("an-app"),
        reply_to: text("a-queue"),
        content_encoding: text("identity"),
        headers: values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        body: (0..=255u8).cycle().take(70_000).collect::<Vec<_>>().into(),
    }
}
