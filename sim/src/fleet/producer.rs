//! The producers: publish their tasks at their moments, and again while nobody knows whether they are stored. They never
//! look at what becomes of a task after that.

use super::body::{message, message_with};
use crate::{
    case::Case,
    env::Env,
    history::{TaskNo, What},
    run::EnvelopeHook,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use quebert_dispatcher::ports::{
    broker::{Broker, BrokerEvent, PublishError, Target},
    clock::Clock,
};
use quebert_wire::Message;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{select, sync::mpsc, time::sleep};

/// Most publishes of one producer that wait for their confirms at a time.
const UNDER_WAY_MAX: usize = 16;

/// How long a task rests after its first failed publish, and at most: doubling in between.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The outboxes of all producers, as in a database beside each: they outlive their hosts, so that a producer that
/// starts again goes on with what was not confirmed. Clones are the same.
#[derive(Clone)]
pub struct Producers {
    case: Arc<Case>,
    envelope: Option<EnvelopeHook>,
    boxes: Arc<Mutex<BTreeMap<u8, Outbox>>>,
}

/// What one producer has not got confirmed.
#[derive(Default)]
struct Outbox {
    /// By task, in what order they came to be made: places in the case.
    left: BTreeMap<TaskNo, Letter>,
}

/// One task in an outbox.
struct Letter {
    /// Its place in the case.
    place: usize,
    /// When to publish it, next: true time.
    due: Duration,
    /// How often that was tried.
    tries: u32,
    /// Whether nobody has heard of the latest try yet.
    under_way: bool,
    /// As it was published first.
    message: Option<Message>,
}

impl Producers {
    /// For the tasks of a case, none of which is published.
    pub fn new(case: Arc<Case>) -> Self {
        let mut boxes = BTreeMap::<u8, Outbox>::new();
        for (place, task) in case.tasks.iter().enumerate() {
            let due = Duration::from_millis(task.at_ms);
            let letter = Letter { place, due, tries: 0, under_way: false, message: None };
            boxes.entry(task.producer).or_default().left.insert(task.no, letter);
        }
        Self { case, envelope: None, boxes: Arc::new(Mutex::new(boxes)) }
    }

    /// Changing what they publish.
    #[must_use]
    pub fn changing(self, envelope: Option<EnvelopeHook>) -> Self {
        Self { envelope, ..self }
    }

    /// How many tasks are not confirmed, of all producers.
    pub fn left(&self) -> usize {
        self.lock().values().map(|outbox| outbox.left.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Outbox>> {
        self.boxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes the tasks of this host's producer, then goes on until the host goes down. A producer that starts again
/// publishes what was not confirmed before.
///
/// # Panics
/// On a host that is no producer.
pub async fn producer(env: Env, producers: Producers, broker: Arc<dyn Broker>) {
    let crate::host::Host::Producer(number) = env.host() else { panic!("{} is no producer", env.host()) };
    let events = broker.start();
    let mut desk = Desk { env, producers, number, broker, queue: BTreeSet::new(), open: false };
    desk.take_up();
    desk.run(events).await;
}

/// A try to publish, under way; it ends with what came of it.
type Try = BoxFuture<'static, (TaskNo, Result<(), PublishError>)>;

/// A producer at work.
struct Desk {
    env: Env,
    producers: Producers,
    number: u8,
    broker: Arc<dyn Broker>,
    /// What is to be published, by when.
    queue: BTreeSet<(Duration, TaskNo)>,
    /// Whether there is a session that takes publishes.
    open: bool,
}

impl Desk {
    /// Takes up what the producer before left: of what was under way, nobody knows.
    fn take_up(&mut self) {
        let mut unknown = Vec::new();
        self.with_outbox(|outbox, queue| {
            for (task, letter) in &mut outbox.left {
                if std::mem::take(&mut letter.under_way) {
                    unknown.push(*task);
                }
                queue.insert((letter.due, *task));
            }
        });
        for task in unknown {
            let why = "the producer went down".to_owned();
            self.env.note(What::NotConfirmed { task, why, unknown: true });
        }
    }

    async fn run(mut self, mut events: mpsc::Receiver<BrokerEvent>) {
        let mut under_way = FuturesUnordered::<Try>::new();
        loop {
            let room = self.open && under_way.len() < UNDER_WAY_MAX;
            let next = self.queue.first().map(|(due, _)| due.saturating_sub(self.env.now())).filter(|_| room);
            if next == Some(Duration::ZERO) {
                under_way.extend(self.begin_next());
                continue;
            }
            select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.on_event(&event),
                    // Only a broker that was stopped says nothing more.
                    None => return,
                },
                Some((task, result)) = under_way.next(), if !under_way.is_empty() => self.on_result(task, result),
                () = sleep(next.unwrap_or_default()), if next.is_some() => {}
            }
        }
    }

    fn on_event(&mut self, event: &BrokerEvent) {
        match event {
            BrokerEvent::Connected | BrokerEvent::Blocked(false) => self.open = true,
            BrokerEvent::Disconnected { .. } | BrokerEvent::Blocked(true) => self.open = false,
            _ => {}
        }
    }

    /// Publishes what is due first.
    fn begin_next(&mut self) -> Option<Try> {
        let (_, task) = self.queue.pop_first()?;
        let (case, now) = (self.producers.case.clone(), self.env.clock().now().wall);
        let envelope = self.producers.envelope.clone();
        let (spec, message, n) = self.with_outbox(|outbox, _| {
            let letter = outbox.left.get_mut(&task).expect("what is in the queue is not confirmed");
            let spec = &case.tasks[letter.place];
            letter.under_way = true;
            letter.tries += 1;
            let make = || match &envelope {
                Some(change) => message_with(spec, now, |spec, envelope| change(spec, envelope)),
                None => message(spec, now),
            };
            (spec, letter.message.get_or_insert_with(make).clone(), letter.tries)
        });
        let lane = &case.world.dispatcher.lanes[spec.lane];
        self.env.note(What::Offered { task, n });
        let publish = self.broker.publish(Target::Queue(lane.name.as_str().into()), message);
        Some(publish.map(move |result| (task, result)).boxed())
    }

    fn on_result(&mut self, task: TaskNo, result: Result<(), PublishError>) {
        let Err(error) = result else {
            self.with_outbox(|outbox, _| drop(outbox.left.remove(&task)));
            return self.env.note(What::Confirmed { task });
        };
        let (now, draw) = (self.env.now(), self.env.draw.of("publish again").at(task.0.into()));
        self.with_outbox(|outbox, queue| {
            let letter = outbox.left.get_mut(&task).expect("what is under way is not confirmed");
            letter.under_way = false;
            let (first, most) = AGAIN;
            let rest = first.saturating_mul(1 << (letter.tries - 1).min(8)).min(most);
            letter.due = now + draw.at(letter.tries.into()).span(rest / 2, rest);
            queue.insert((letter.due, task));
        });
        // What is not known to be nowhere may be there.
        let nowhere = matches!(
            error,
            PublishError::Returned(_)
                | PublishError::Refused(_)
                | PublishError::Unfit(_)
                | PublishError::NotConnected(_)
        );
        self.env.note(What::NotConfirmed { task, why: error.to_string(), unknown: !nowhere });
    }

    fn with_outbox<T>(&mut self, act: impl FnOnce(&mut Outbox, &mut BTreeSet<(Duration, TaskNo)>) -> T) -> T {
        act(self.producers.lock().entry(self.number).or_default(), &mut self.queue)
    }
}
