//! The pace of a run: one task of the tester follows the plan, another hands tasks to the door, and neither waits for the
//! broker's answer. It never spins: timers are exact to a millisecond, and what is late is sent at once.

use super::{Door, Parcel, Refused};
use crate::{
    arrivals::{Arrival, Plan, Turn},
    clock::Clock,
    ledger::Book,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use quebert_wire::{Envelope, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::sleep_until};

/// Tasks whose time has come and that wait for the door. When that many wait, the plan waits too; they are all late by
/// then, and are measured as that.
const WAITING_MAX: usize = 65_536;

/// Makes tasks of arrivals.
#[derive(Debug, Clone)]
pub struct Maker {
    /// Queue and URL of each class.
    classes: Vec<(Arc<str>, String)>,
}

/// What became of the publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paced {
    /// Tasks that were handed over.
    pub published: u64,
    /// The first refusals, in words.
    pub refusals: Vec<String>,
}

/// Refusals that are kept.
const REFUSALS: usize = 5;

impl Maker {
    /// From the queue and the executor's origin of each class.
    pub fn new(classes: impl IntoIterator<Item = (String, String)>) -> Self {
        let class = |(queue, origin): (String, String)| (Arc::from(queue), format!("{origin}/task"));
        Self { classes: classes.into_iter().map(class).collect() }
    }

    /// The task, and its moments by the wall clock: due, expires.
    fn make(&self, book: &Book, arrival: &Arrival) -> (Parcel, Option<Duration>, Option<Duration>) {
        let clock = book.clock();
        let (queue, url) = &self.classes[usize::from(arrival.class)];
        // A moment in whole milliseconds is what the task says, so it is what the ledger must know.
        let moment = |after: Duration| {
            let ms = clock.epoch_ms(arrival.at + after);
            (Timestamp::from_millis(ms), clock.wall_of(ms))
        };
        let due = arrival.delay.map(moment);
        let expires = arrival.ttl.map(moment);
        let envelope = Envelope {
            id: Some(book.id(arrival.index)),
            queue: Some(queue.to_string()),
            body_text: (arrival.size > 0).then(|| "x".repeat(arrival.size as usize)),
            created_at: Some(Timestamp::from_millis(clock.epoch_ms(clock.now().wall) - 1)),
            not_before: due.map(|(at, _)| at),
            expires_at: expires.map(|(at, _)| at),
            ..Envelope::new(url.clone())
        };
        let parcel = Parcel { number: arrival.index, queue: queue.clone(), envelope };
        (parcel, due.map(|(_, wall)| wall), expires.map(|(_, wall)| wall))
    }
}

/// Follows the plan to its end, and returns when each task has its confirmation or will have none.
pub async fn drive(plan: Plan, maker: Maker, door: Arc<dyn Door>, book: Arc<Book>) -> Paced {
    drive_until(plan, maker, door, book, std::future::pending()).await
}

/// The same, unless it is stopped before: then no more tasks come, and those whose time has come are handed over.
pub async fn drive_until(
    plan: Plan,
    maker: Maker,
    door: Arc<dyn Door>,
    book: Arc<Book>,
    stop: impl Future<Output = ()>,
) -> Paced {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let follow = async {
        tokio::select! {
            biased;
            () = stop => {}
            () = follow(plan, book.clone(), sender) => {}
        }
    };
    let ((), paced) = tokio::join!(follow, hand_over(receiver, &maker, &*door, &book));
    paced
}

async fn follow(mut plan: Plan, book: Arc<Book>, sender: mpsc::Sender<Arrival>) {
    let clock = book.clock();
    while let Some(turn) = plan.turn() {
        match turn {
            Turn::Open(arrival) => {
                until(clock, arrival.at).await;
                book.offered(&arrival);
                if sender.send(arrival).await.is_err() {
                    return;
                }
            }
            Turn::Closed { phase, clients, from, until: end } => {
                until(clock, from).await;
                let mut first = true;
                while let Ok(()) =
                    tokio::time::timeout_at(clock.instant(end), room(&book, first.then_some(clients), &plan)).await
                {
                    first = false;
                    let arrival = plan.extra(phase, clock.now().run);
                    book.offered(&arrival);
                    if sender.send(arrival).await.is_err() {
                        return;
                    }
                }
                book.close_room();
            }
        }
    }
    // A plan lasts as long as it says, even if nothing comes at its end.
    until(clock, plan.arrivals().length()).await;
}

/// Waits for room in a closed phase, which is opened at its first task.
async fn room(book: &Book, open: Option<u32>, plan: &Plan) {
    if let Some(clients) = open {
        book.open_room(plan.made(), clients);
    }
    book.room().await;
}

async fn until(clock: Clock, run: Duration) {
    if clock.now().run < run {
        sleep_until(clock.instant(run)).await;
    }
}

async fn hand_over(mut arrivals: mpsc::Receiver<Arrival>, maker: &Maker, door: &dyn Door, book: &Book) -> Paced {
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::new();
    let mut paced = Paced::default();
    loop {
        tokio::select! {
            biased;
            Some(refusals) = under_way.next() => keep(&mut paced, refusals),
            n = arrivals.recv_many(&mut batch, door.batch_max()), if under_way.len() < door.window() => {
                if n == 0 {
                    break;
                }
                paced.published += n as u64;
                let parcels = batch.drain(..).map(|arrival| {
                    let (parcel, due, expires) = maker.make(book, &arrival);
                    book.publishing(parcel.number, due, expires);
                    parcel
                });
                under_way.push(publish(door, book, parcels.collect()));
            }
        }
    }
    while let Some(refusals) = under_way.next().await {
        keep(&mut paced, refusals);
    }
    paced
}

fn keep(paced: &mut Paced, refusals: Vec<Refused>) {
    let room = REFUSALS - paced.refusals.len();
    paced.refusals.extend(refusals.into_iter().take(room).map(|refused| refused.0));
}

/// The refusals among the answers.
async fn publish(door: &dyn Door, book: &Book, parcels: Vec<Parcel>) -> Vec<Refused> {
    let numbers = parcels.iter().map(|parcel| parcel.number).collect::<Vec<_>>();
    let answers = door.publish(parcels).await;
    let mut refusals = Vec::new();
    for (number, answer) in numbers.into_iter().zip(answers) {
        match answer {
            Ok(()) => book.confirmed(number),
            Err(refused) => {
                book.unconfirmed(number);
                refusals.push(refused);
            }
        }
    }
    refusals
}
