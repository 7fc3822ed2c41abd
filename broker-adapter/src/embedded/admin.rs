//! The handle as the operators' port. It cuts long work into parts, so that nobody else waits for it.

use super::{
    EmbeddedBroker,
    broker::{Answered, Shared},
    inbox::{AdminAnswer, Enqueuing, Request},
    record::Record,
};
use crate::admin::{
    Abilities, Admin, AdminError, Enqueue, Enqueued, Found, Place, PlaceStatus, Position, Sweeper, Swept, Take,
};
use quebert_dispatcher::ports::{BoxFuture, broker::PublishError};
use quebert_wire::TaskId;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Actions of a sweep that may be under way to the disk.
const UNDER_WAY: usize = 64;

impl Admin for EmbeddedBroker {
    fn abilities(&self) -> Abilities {
        Abilities { engine: "embedded", lookup: true, durable_once: true, durable_pause: true, ages: true }
    }

    fn enqueue(&self, tasks: Vec<Enqueue>) -> BoxFuture<'_, Vec<Result<Enqueued, PublishError>>> {
        Box::pin(async move {
            let shared = self.shared();
            let count = tasks.len();
            let tasks = tasks.into_iter().map(|task| enqueuing(shared, task)).collect::<Vec<_>>();
            let bytes = tasks.iter().filter_map(|task| task.record.as_ref().ok()).map(Record::len).sum();
            let permit = shared.permit(bytes).await;
            let error = match shared.answer(|answer| Request::Enqueue { tasks, permit, answer }).await {
                Answered::With(results) => return results,
                Answered::Never => PublishError::Unknown("the store ended before it answered".into()),
                Answered::Ended => PublishError::NotConnected("the embedded broker has stopped".into()),
            };
            vec![Err(error); count]
        })
    }

    fn status(&self, place: Place) -> BoxFuture<'_, Result<PlaceStatus, AdminError>> {
        Box::pin(ask(self.shared(), |answer| Request::Status { place, answer }))
    }

    fn sweep<'a>(
        &'a self,
        place: Place,
        after: Option<Position>,
        limit: u64,
        sweeper: &'a mut dyn Sweeper,
    ) -> BoxFuture<'a, Result<Swept, AdminError>> {
        Box::pin(sweep(self.shared(), place, after, limit, sweeper))
    }

    fn purge(&self, place: Place) -> BoxFuture<'_, Result<u64, AdminError>> {
        Box::pin(async move {
            let mut total = 0;
            let mut until = None;
            loop {
                let place = place.clone();
                let part = ask(self.shared(), |answer| Request::Purge { place, until, answer }).await?;
                total += part.removed;
                if !part.more {
                    return Ok(total);
                }
                until = Some(part.until);
            }
        })
    }

    fn find(&self, id: TaskId) -> BoxFuture<'_, Result<Vec<Found>, AdminError>> {
        Box::pin(ask(self.shared(), |answer| Request::Find { id, answer }))
    }

    fn run_now(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(ask(self.shared(), |answer| Request::RunNow { id, answer }))
    }

    fn cancel(&self, id: TaskId) -> BoxFuture<'_, Result<bool, AdminError>> {
        Box::pin(ask(self.shared(), |answer| Request::Cancel { id, answer }))
    }

    fn remember_pause(&self, queue: Arc<str>, paused: bool) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(ask(self.shared(), move |answer| Request::RememberPause { queue, paused, answer }))
    }

    fn paused(&self) -> BoxFuture<'_, Result<Vec<Arc<str>>, AdminError>> {
        Box::pin(ask(self.shared(), Request::Paused))
    }
}

fn enqueuing(shared: &Shared, task: Enqueue) -> Enqueuing {
    let record = match &task.once {
        Some(once) if !(1..=255).contains(&once.key.len()) => {
            Err(PublishError::Refused("an idempotency key has 1 to 255 bytes".into()))
        }
        _ => shared.record(&task.message, false),
    };
    let id = task.message.id.unwrap_or_default();
    Enqueuing { queue: task.queue, record, id, once: task.once }
}

async fn ask<T>(shared: &Shared, request: impl FnOnce(AdminAnswer<T>) -> Request) -> Result<T, AdminError> {
    match shared.answer(request).await {
        Answered::With(result) => result,
        Answered::Never | Answered::Ended => Err(AdminError::Unavailable("the embedded broker has stopped".into())),
    }
}

/// Looks at what is ready now, page by page. What is done to a message is under way while the next ones are looked at.
async fn sweep(
    shared: &Shared,
    place: Place,
    mut after: Option<Position>,
    limit: u64,
    sweeper: &mut dyn Sweeper,
) -> Result<Swept, AdminError> {
    let mut swept = Swept::default();
    let mut until = None;
    let mut under_way = UnderWay::default();
    loop {
        let place = place.clone();
        let page = ask(shared, |answer| Request::Browse { place, after, until, answer }).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                // What was asked for before has its answer first.
                under_way.settle(&mut swept, 0).await?;
                return Err(error);
            }
        };
        until = Some(page.until);
        for (spot, message) in page.messages {
            if swept.seen == limit {
                under_way.settle(&mut swept, 0).await?;
                return Ok(swept);
            }
            swept.seen += 1;
            let position = Position(spot.seq);
            after = Some(position);
            let instead = match sweeper.decide(Some(position), &message).await {
                Take::Keep => continue,
                Take::Stop => {
                    under_way.settle(&mut swept, 0).await?;
                    return Ok(swept);
                }
                Take::Remove => None,
                Take::Move { target, message } => {
                    let record = shared.record(&message, true);
                    let record = match record {
                        Ok(record) => record,
                        Err(error) => {
                            under_way.settle(&mut swept, 0).await?;
                            return Err(error.into());
                        }
                    };
                    Some((target, record))
                }
            };
            let moved = instead.is_some();
            let (answer, answered) = oneshot::channel();
            shared.ask(Request::Take { spot, instead, answer });
            under_way.0.push_back((moved, answered));
            under_way.settle(&mut swept, UNDER_WAY).await?;
        }
        // Also past what can't be read.
        after = page.last.or(after);
        if !page.more {
            under_way.settle(&mut swept, 0).await?;
            swept.complete = true;
            return Ok(swept);
        }
    }
}

/// What a sweep has asked for and has no answer to yet, each with whether it is a move.
#[derive(Default)]
struct UnderWay(std::collections::VecDeque<(bool, oneshot::Receiver<Result<bool, AdminError>>)>);

impl UnderWay {
    /// Waits until at most `left` are under way, and counts the others.
    async fn settle(&mut self, swept: &mut Swept, left: usize) -> Result<(), AdminError> {
        while self.0.len() > left {
            let Some((moved, answered)) = self.0.pop_front() else { break };
            let stopped = || AdminError::Unavailable("the embedded broker has stopped".into());
            if answered.await.map_err(|_| stopped())?? {
                *if moved { &mut swept.moved } else { &mut swept.removed } += 1;
            }
        }
        Ok(())
    }
}
