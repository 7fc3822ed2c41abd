//! A broker's operators' side with queues and dead letters in memory: with positions, as the embedded broker has them, or
//! without, where whoever looks at messages hides them from all others, as RabbitMQ does. It delivers nothing.

use quebert::{
    adapters::admin::{
        Abilities, Admin, AdminError, Enqueue, Enqueued, Found, Place, PlaceStatus, Position, Sweeper, Swept, Take,
    },
    dispatcher::ports::{
        BoxFuture,
        broker::{PublishError, Target},
    },
    wire::{Envelope, HeaderValue, Message, TaskId, Timestamp, header},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Each message has its place's next number.
type Pile = BTreeMap<u64, Message>;

#[derive(Default)]
pub(crate) struct Shelf {
    positions: bool,
    places: Mutex<BTreeMap<Place, Pile>>,
    next: AtomicU64,
    pub(crate) away: AtomicBool,
    pub(crate) paused: Mutex<BTreeSet<Arc<str>>>,
}

impl Shelf {
    /// With the queues of the default config.
    pub(crate) fn new(positions: bool) -> Arc<Self> {
        let shelf = Self { positions, ..Self::default() };
        let queues =
            ["high", "medium", "low"].map(|lane| (Place::Queue(format!("quebert.{lane}").into()), Pile::new()));
        shelf.places.lock().unwrap().extend(queues);
        Arc::new(shelf)
    }

    pub(crate) fn put(&self, place: Place, message: Message) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.places.lock().unwrap().entry(place).or_default().insert(number, message);
    }

    /// A dead letter of a lane.
    pub(crate) fn bury(&self, lane: &str, letter: Message) {
        self.put(dead(lane), letter);
    }

    /// What lies in a place.
    pub(crate) fn pile(&self, place: &Place) -> Vec<Message> {
        self.places.lock().unwrap().get(place).map(|pile| pile.values().cloned().collect()).unwrap_or_default()
    }

    /// The tasks' ids of what lies in a work queue.
    pub(crate) fn queued(&self, lane: &str) -> Vec<String> {
        ids(&self.pile(&queue(lane)))
    }

    /// The tasks' ids of a lane's dead letters.
    pub(crate) fn buried(&self, lane: &str) -> Vec<String> {
        ids(&self.pile(&dead(lane)))
    }

    fn check(&self) -> Result<(), AdminError> {
        if self.away.load(Ordering::Relaxed) { Err(AdminError::Unavailable("gone fishing".into())) } else { Ok(()) }
    }

    /// The first message behind a number; taken out where there are no positions.
    fn next_of(&self, place: &Place, behind: Option<u64>) -> Result<Option<(u64, Message)>, AdminError> {
        self.check()?;
        let mut places = self.places.lock().unwrap();
        let pile = places.get_mut(place).ok_or_else(|| AdminError::NoSuchPlace(format!("{place:?}")))?;
        let from = behind.map_or(0, |behind| behind + 1);
        let found = pile.range(from..).next().map(|(number, message)| (*number, message.clone()));
        if let (false, Some((number, _))) = (self.positions, &found) {
            pile.remove(number);
        }
        Ok(found)
    }

    async fn go_through(
        &self,
        place: &Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &mut dyn Sweeper,
        hidden: &mut Pile,
    ) -> Result<Swept, AdminError> {
        let (mut swept, mut behind) = (Swept::default(), after.map(|after| after.0));
        while swept.seen < limit {
            let Some((number, message)) = self.next_of(place, behind)? else {
                swept.complete = true;
                break;
            };
            behind = Some(number);
            swept.seen += 1;
            let at = self.positions.then_some(Position(number));
            let take = sweeper.decide(at, &message).await;
            // Others may come in between.
            tokio::task::yield_now().await;
            if matches!(take, Take::Keep | Take::Stop) && !self.positions {
                hidden.insert(number, message.clone());
            }
            let target = match take {
                Take::Keep => continue,
                Take::Stop => break,
                Take::Remove => None,
                Take::Move { target: Target::Queue(queue), message } => Some((Place::Queue(queue), message)),
                Take::Move { target, .. } => panic!("nobody moves to {target:?}"),
            };
            let known = |place: &Place| self.places.lock().unwrap().contains_key(place);
            if let Some((place, _)) = target.as_ref().filter(|(place, _)| !known(place)) {
                hidden.insert(number, message);
                return Err(PublishError::Returned(format!("{place:?}")).into());
            }
            let taken = self.places.lock().unwrap().get_mut(place).expect("it was there").remove(&number);
            if self.positions && taken.is_none() {
                continue;
            }
            match target {
                None => swept.removed += 1,
                Some((place, message)) => {
                    self.put(place, message);
                    swept.moved += 1;
                }
            }
        }
        Ok(swept)
    }
}

impl Admin for Shelf {
    fn abilities(&self) -> Abilities {
        let all = self.positions;
        Abilities { engine: "shelf", lookup: all, durable_once: all, durable_pause: all, ages: all }
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        let stored = tasks.into_iter().map(|task| {
            self.put(Place::Queue(task.queue), task.message);
            Ok(Enqueued::Stored)
        });
        let stored = stored.collect();
        Box::pin(async move { stored })
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        Box::pin(async move {
            self.check()?;
            let places = self.places.lock().unwrap();
            let pile = places.get(&place).ok_or_else(|| AdminError::NoSuchPlace(format!("{place:?}")))?;
            let oldest = pile.values().next().and_then(|message| message.timestamp);
            Ok(PlaceStatus { ready: pile.len() as u64, oldest, consumers: Some(1), ..PlaceStatus::default() })
        })
    }

    fn sweep<'a>(
        &'a self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        Box::pin(async move {
            if after.is_some() && !self.positions {
                return Err(AdminError::Unsupported("no positions"));
            }
            let mut hidden = Pile::new();
            let swept = self.go_through(&place, after, limit, sweeper, &mut hidden).await;
            if let Some(pile) = self.places.lock().unwrap().get_mut(&place) {
                pile.extend(hidden);
            }
            swept
        })
    }

    fn purge(&self, place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        Box::pin(async move {
            self.check()?;
            let mut places = self.places.lock().unwrap();
            let pile = places.get_mut(&place).ok_or_else(|| AdminError::NoSuchPlace(format!("{place:?}")))?;
            Ok(std::mem::take(pile).len() as u64)
        })
    }

    fn find(&self, _id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn run_now(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(async { Ok(false) })
    }

    fn cancel(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(async { Ok(false) })
    }

    fn remember_pause(&self, queue: Arc<str>, paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async move {
            self.check()?;
            let mut all = self.paused.lock().unwrap();
            let _ = if paused { all.insert(queue) } else { all.remove(&queue) };
            Ok(())
        })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        Box::pin(async { Ok(self.paused.lock().unwrap().iter().cloned().collect()) })
    }
}

pub(crate) fn queue(lane: &str) -> Place {
    Place::Queue(format!("quebert.{lane}").into())
}

pub(crate) fn dead(lane: &str) -> Place {
    Place::Dead(format!("quebert.{lane}").into())
}

/// A dead letter as the dispatcher leaves it, given up at that moment.
pub(crate) fn letter(id: &str, reason: &str, url: &str, at_ms: i64) -> Message {
    let text = |text: &str| HeaderValue::Text(text.to_owned());
    let headers = [
        (header::DEAD_REASON, text(reason)),
        (header::DEAD_DETAIL, text("20 of 20 attempts failed, the last one with 5xx")),
        (header::DEAD_AT, HeaderValue::Int(at_ms)),
        (header::ATTEMPTS, HeaderValue::Int(20)),
        (header::HISTORY, text("19 1000 500 3ms\n20 2000 timeout 30000ms")),
        (header::ENQUEUED_AT, HeaderValue::Int(at_ms - 1000)),
    ];
    let envelope = Envelope { id: Some(id.to_owned()), ..Envelope::new(url) };
    Message {
        id: Some(id.to_owned()),
        timestamp: Some(Timestamp::from_millis(at_ms)),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        body: serde_json::to_vec(&envelope).unwrap().into(),
        ..Message::default()
    }
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone().unwrap()).collect()
}
