//! The operators' side of a broker of which nothing is known but the dispatcher's port: it enqueues and tells depths, and
//! remembers idempotency keys in this process.
//! Everything else it refuses instead of guessing.

use crate::intake::now;
use quebert_broker_adapter::admin::{
    Abilities, Admin, AdminError, Enqueue, Enqueued, Found, OnceMemory, Place, PlaceStatus, Position, Sweeper, Swept,
};
use quebert_dispatcher::ports::{
    BoxFuture,
    broker::{Broker, PublishError, Target},
};
use quebert_wire::TaskId;
use std::sync::Arc;

const UNSUPPORTED: &str = "it only stores and delivers";

/// An [`Admin`] over any [`Broker`], for programs that bring their own broker and no admin.
pub struct BareAdmin {
    broker: Arc<dyn Broker>,
    once: OnceMemory,
}

impl BareAdmin {
    /// Over this broker.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, once: OnceMemory::default() }
    }
}

impl Admin for BareAdmin {
    fn abilities(&self) -> Abilities {
        Abilities { engine: "custom", lookup: false, durable_once: false, durable_pause: false, ages: false }
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        let store = |task| {
            let publish = |queue, message| self.broker.publish(Target::Queue(queue), message);
            self.once.store(task, now(), publish)
        };
        Box::pin(futures_util::future::join_all(tasks.into_iter().map(store)))
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        Box::pin(async move {
            let (target, name) = match place {
                Place::Queue(queue) => (Target::Queue(queue.clone()), queue),
                Place::Dead(queue) => (Target::Dead(queue.clone()), queue),
                Place::CommonDead => return Err(AdminError::Unsupported(UNSUPPORTED)),
            };
            let depth = self.broker.depth(target).await.ok_or_else(|| AdminError::NoSuchPlace(name.to_string()))?;
            Ok(PlaceStatus { ready: depth.ready, consumers: Some(depth.consumers), ..PlaceStatus::default() })
        })
    }

    fn sweep<'a>(
        &'a self,
        _place: Place,
        _after: Option<Position>,
        _limit: u64,
        _sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        unsupported()
    }

    fn purge(&self, _place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        unsupported()
    }

    fn find(&self, _id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        unsupported()
    }

    fn run_now(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        unsupported()
    }

    fn cancel(&self, _id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        unsupported()
    }

    fn remember_pause(&self, _queue: Arc<str>, _paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        // It never said that a pause would outlive the process.
        Box::pin(async { Ok(()) })
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn unsupported<'a, T: 'a>() -> BoxFuture<'a, Result<T, AdminError>> {
    Box::pin(async { Err(AdminError::Unsupported(UNSUPPORTED)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quebert_broker_adapter::admin::Once;
    use quebert_dispatcher::memory::MemoryBroker;
    use quebert_wire::{Message, Timestamp};

    fn task(queue: &str, key: Option<&str>) -> Enqueue {
        let until = Timestamp::from_millis(i64::MAX);
        let once = key.map(|key| Once { key: key.to_owned(), fingerprint: [0; 32], until });
        Enqueue { queue: queue.into(), message: Message { id: Some("a".to_owned()), ..Message::default() }, once }
    }

    #[tokio::test]
    async fn it_enqueues_and_counts_and_refuses_what_it_can_not_do() {
        let broker = MemoryBroker::new();
        broker.declare("q");
        let admin = BareAdmin::new(Arc::new(broker));
        let answers = admin.enqueue(vec![task("q", None), task("nowhere", None), task("q", Some("k"))]).await;
        assert!(
            matches!(&answers[..], [Ok(Enqueued::Stored), Err(PublishError::Returned(_)), Ok(Enqueued::Stored)]),
            "{answers:?}"
        );
        let again = admin.enqueue(vec![task("q", Some("k"))]).await;
        assert_eq!(again, [Ok(Enqueued::Repeated { id: "a".to_owned() })]);
        assert_eq!(admin.status(Place::Queue("q".into())).await.unwrap().ready, 2, "only what was stored is there");
        assert!(matches!(admin.status(Place::Queue("x".into())).await, Err(AdminError::NoSuchPlace(_))));
        assert!(matches!(admin.purge(Place::Queue("q".into())).await, Err(AdminError::Unsupported(_))));
    }
}
