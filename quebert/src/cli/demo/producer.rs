//! Whoever adds tasks: carries the stream to the broker at its pace, as the API would. It knows nothing of their fate.

use super::{
    ledger::Ledger,
    stream::{Next, stream},
};
use crate::intake::Desk;
use quebert_broker_adapter::admin::{Admin as _, Enqueue};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

/// How many tasks, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// All of them; `None` is without end.
    pub(super) tasks: Option<u64>,
    /// The time they take; `None` is as the stream says.
    pub(super) seconds: Option<f64>,
}

pub(super) struct Producer {
    pub(super) desk: Desk,
    pub(super) ledger: Arc<Ledger>,
    /// `http://host:port` of each executor, by name.
    pub(super) origins: BTreeMap<&'static str, String>,
}

impl Producer {
    /// Enqueues until all are in or the sender of `stop` is gone. What is due at the same moment is stored together.
    pub(super) async fn run(self, pace: Pace, mut stop: oneshot::Receiver<()>) {
        let scale = pace.scale();
        let limit = pace.tasks.map_or(usize::MAX, |tasks| usize::try_from(tasks).unwrap_or(usize::MAX));
        let start = Instant::now();
        let mut tasks = stream().take(limit).peekable();
        while let Some(first) = tasks.next() {
            // Stops here only: what is being stored must be counted.
            tokio::select! {
                () = tokio::time::sleep_until(start + first.at.mul_f64(scale)) => {}
                _ = &mut stop => return,
            }
            let mut together = vec![self.task(&first)];
            while let Some(next) = tasks.next_if(|next| next.at == first.at) {
                together.push(self.task(&next));
            }
            // The ledger counts what is refused; the next ones may fare better.
            drop(self.ledger.enqueue(together).await);
        }
    }

    fn task(&self, next: &Next) -> Enqueue {
        let envelope = next.envelope(&self.origins[next.kind.executor]);
        let intake = self.desk.prepare(envelope).expect("the demo's tasks are good ones, and its lanes are there");
        Enqueue { queue: intake.queue, message: intake.message, once: None }
    }
}

impl Pace {
    /// What the stream's own times are multiplied with.
    fn scale(self) -> f64 {
        let (Some(tasks), Some(seconds)) = (self.tasks, self.seconds) else { return 1.0 };
        let last = usize::try_from(tasks.saturating_sub(1)).unwrap_or(usize::MAX);
        let length = stream().nth(last).map_or(Duration::ZERO, |next| next.at);
        if length.is_zero() { 1.0 } else { seconds / length.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bare::BareAdmin, config::Config};
    use quebert_dispatcher::{memory::MemoryBroker, ports::broker::Target};

    #[tokio::test(start_paused = true)]
    async fn so_many_tasks_are_in_after_so_many_seconds() {
        let broker = MemoryBroker::new();
        let config = Config::from_toml("[lanes.high]\n[lanes.medium]\n[lanes.low]").unwrap();
        let queues: Vec<_> = config.core.lanes.iter().map(|lane| lane.queue.clone()).collect();
        queues.iter().for_each(|queue| broker.declare(queue));
        let ledger = Arc::new(Ledger::new(Arc::new(BareAdmin::new(Arc::new(broker.clone())))));
        let origin = |name| (name, "http://127.0.0.1:1".to_owned());
        let origins = ["fast", "flaky", "slow", "limited", "unsteady"].map(origin).into();
        let producer = Producer { desk: Desk::new(&config), ledger: ledger.clone(), origins };
        let start = Instant::now();
        let (_stop, stopped) = oneshot::channel();
        producer.run(Pace { tasks: Some(40), seconds: Some(10.0) }, stopped).await;
        let took = start.elapsed().as_secs_f64();
        assert!((9.9..10.1).contains(&took), "{took} s");
        let stored: usize = queues.iter().map(|queue| broker.messages(&Target::Queue(queue.clone())).len()).sum();
        assert_eq!((stored, ledger.enqueued(), ledger.refused()), (40, 40, 0));
    }
}
