//! The demo's books: what was put in and what was taken out by hand, and whether all sums add up in the end. It counts
//! nothing that the dispatcher does; that the dispatcher counts itself.

use quebert_broker_adapter::admin::{
    Abilities, Admin, AdminError, Enqueue, Enqueued, Found, Place, PlaceStatus, Position, Sweeper, Swept,
};
use quebert_dispatcher::{
    event::{Event, Settlement},
    grid::Step,
    ports::{
        BoxFuture,
        broker::{Broker, PublishError, Target},
        observer::Observer,
    },
    shell::Summary,
};
use quebert_wire::TaskId;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::RwLock;

/// An operators' side that keeps count of what goes in and out through it.
pub(super) struct Ledger {
    inner: Arc<dyn Admin>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    enqueued: AtomicU64,
    refused: AtomicU64,
    taken_out: AtomicU64,
    /// Held by whoever is about to count.
    under_way: RwLock<()>,
}

impl Ledger {
    pub(super) fn new(inner: Arc<dyn Admin>) -> Self {
        Self { inner, counts: Arc::default() }
    }

    /// Tasks that the broker has confirmed.
    pub(super) fn enqueued(&self) -> u64 {
        self.counts.enqueued.load(Ordering::Relaxed)
    }

    /// Tasks that the broker has not taken.
    pub(super) fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Asks the broker what is left. The dispatcher has ended, and nobody enqueues any more.
    pub(super) async fn close(
        &self,
        broker: &dyn Broker,
        queues: &[Arc<str>],
        summary: &Summary,
    ) -> Result<Sums, AdminError> {
        drop(self.counts.under_way.write().await);
        let (mut waiting, mut dead, mut delays_known) = (0, 0, true);
        for queue in queues {
            let status = self.inner.status(Place::Queue(queue.clone())).await?;
            waiting += status.ready + status.unsettled.unwrap_or(0) + status.delayed.unwrap_or(0);
            delays_known &= status.delayed.is_some();
            dead += self.inner.status(Place::Dead(queue.clone())).await?.ready;
        }
        if !delays_known {
            for step in Step::all() {
                waiting += broker.depth(Target::Delay(step)).await.map_or(0, |depth| depth.ready);
            }
        }
        let of = |s: Settlement| summary.settlements.get(&s).copied().unwrap_or(0);
        let settled = summary.settlements.iter().filter(|(s, _)| **s != Settlement::Requeued);
        Ok(Sums {
            enqueued: self.enqueued(),
            done: of(Settlement::Succeeded),
            dead,
            expired: of(Settlement::Expired),
            taken_out: self.counts.taken_out.load(Ordering::Relaxed) + of(Settlement::Filtered),
            waiting,
            delivered: summary.deliveries,
            settled: settled.map(|(s, n)| (*s, *n)).collect(),
            returned: of(Settlement::Requeued) + summary.held,
        })
    }
}

/// The dispatcher holds some of the tasks that wait for their moment; what is cancelled there, no broker counts.
impl Observer for Ledger {
    fn observe(&self, event: &Event) {
        if let Event::DelayedCancelled { .. } = event {
            self.counts.taken_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Admin for Ledger {
    fn abilities(&self) -> Abilities {
        self.inner.abilities()
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        let (inner, counts) = (self.inner.clone(), self.counts.clone());
        // In a task of its own: what is stored is counted, even if whoever asked for it has gone.
        let storing = tokio::spawn(async move {
            let _under_way = counts.under_way.read().await;
            let answers = inner.enqueue(tasks).await;
            let stored = answers.iter().filter(|answer| matches!(answer, Ok(Enqueued::Stored))).count();
            counts.enqueued.fetch_add(stored as u64, Ordering::Relaxed);
            counts.refused.fetch_add(answers.iter().filter(|answer| answer.is_err()).count() as u64, Ordering::Relaxed);
            answers
        });
        Box::pin(async move {
            match storing.await {
                Ok(answers) => answers,
                Err(e) => std::panic::resume_unwind(e.into_panic()),
            }
        })
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        self.inner.status(place)
    }

    fn sweep<'a>(
        &'a self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        Box::pin(async move {
            let swept = self.inner.sweep(place, after, limit, sweeper).await?;
            self.counts.taken_out.fetch_add(swept.removed, Ordering::Relaxed);
            Ok(swept)
        })
    }

    fn purge(&self, place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        Box::pin(async move {
            let purged = self.inner.purge(place).await?;
            self.counts.taken_out.fetch_add(purged, Ordering::Relaxed);
            Ok(purged)
        })
    }

    fn find(&self, id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        self.inner.find(id)
    }

    fn run_now(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        self.inner.run_now(id)
    }

    fn cancel(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(async move {
            let cancelled = self.inner.cancel(id).await?;
            self.counts.taken_out.fetch_add(u64::from(cancelled), Ordering::Relaxed);
            Ok(cancelled)
        })
    }

    fn remember_pause(&self, queue: Arc<str>, paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        self.inner.remember_pause(queue, paused)
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        self.inner.paused()
    }
}

/// What must add up in the end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums {
    enqueued: u64,
    done: u64,
    /// As the broker counts them.
    dead: u64,
    expired: u64,
    /// Purged, deleted or cancelled by somebody.
    taken_out: u64,
    /// As the broker counts them.
    waiting: u64,
    delivered: u64,
    /// How deliveries were settled; given back is not settled.
    settled: Vec<(Settlement, u64)>,
    returned: u64,
}

impl Sums {
    /// Whether every task and every delivery is accounted for.
    pub(super) fn add_up(&self) -> bool {
        self.tasks() == self.enqueued && self.settlements() + self.returned == self.delivered
    }

    fn tasks(&self) -> u64 {
        self.done + self.dead + self.expired + self.taken_out + self.waiting
    }

    fn settlements(&self) -> u64 {
        self.settled.iter().map(|(_, n)| n).sum()
    }
}

/// Two equations, and what the settled ones were.
impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |equal| if equal { "=" } else { "!=" };
        let equals = sign(self.tasks() == self.enqueued);
        write!(f, "tasks:      {} enqueued {equals} {} done", self.enqueued, self.done)?;
        write!(f, " + {} dead + {} expired", self.dead, self.expired)?;
        if self.taken_out > 0 {
            write!(f, " + {} taken out by hand", self.taken_out)?;
        }
        writeln!(f, " + {} waiting", self.waiting)?;
        let equals = sign(self.settlements() + self.returned == self.delivered);
        let (settled, returned) = (self.settlements(), self.returned);
        write!(f, "deliveries: {} delivered {equals} {settled} settled + {returned} returned", self.delivered)?;
        let kinds: Vec<_> =
            self.settled.iter().filter(|(_, n)| *n > 0).map(|(s, n)| format!("{n} {}", s.label())).collect();
        if kinds.is_empty() { Ok(()) } else { write!(f, "\nsettled:    {}", kinds.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::BareAdmin;
    use insta::assert_snapshot;
    use quebert_dispatcher::memory::MemoryBroker;
    use quebert_wire::Message;

    fn sums() -> Sums {
        Sums {
            enqueued: 10,
            done: 5,
            dead: 2,
            expired: 1,
            taken_out: 0,
            waiting: 2,
            delivered: 12,
            settled: vec![(Settlement::Succeeded, 5), (Settlement::Retried, 4), (Settlement::Duplicate, 0)],
            returned: 3,
        }
    }

    #[test]
    fn sums_that_add_up_say_so() {
        assert!(sums().add_up());
        assert_snapshot!(sums(), @r"
        tasks:      10 enqueued = 5 done + 2 dead + 1 expired + 2 waiting
        deliveries: 12 delivered = 9 settled + 3 returned
        settled:    5 succeeded, 4 retried
        ");
    }

    #[test]
    fn one_task_or_one_delivery_too_few_shows() {
        for wrong in [Sums { done: 4, ..sums() }, Sums { returned: 2, ..sums() }, Sums { taken_out: 1, ..sums() }] {
            assert!(!wrong.add_up() && wrong.to_string().contains("!="), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_left_is_counted_by_the_broker() {
        let broker = MemoryBroker::new();
        broker.declare("q");
        let ledger = Ledger::new(Arc::new(BareAdmin::new(Arc::new(broker.clone()))));
        let task = |queue: &str| Enqueue { queue: queue.into(), message: Message::default(), once: None };
        ledger.enqueue(vec![task("q"), task("q"), task("nowhere")]).await;
        let step = Step::all().next().unwrap();
        for target in [Target::Delay(step), Target::Dead("q".into())] {
            broker.publish(target, Message::default()).await.unwrap();
        }
        let summary = Summary { deliveries: 0, settlements: [].into(), held: 0 };
        let sums = ledger.close(&broker, &["q".into()], &summary).await.unwrap();
        assert_eq!((sums.enqueued, ledger.refused(), sums.waiting, sums.dead), (2, 1, 3, 1));
    }
}
