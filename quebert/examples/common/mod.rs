//! What the examples share: against the broker of AMQP_URL if that is set, else against one in memory, with a sample
//! executor and some tasks, so that anybody can run them. Nothing here is worth copying.

#![allow(dead_code, reason = "each example uses its part")]

use quebert::{
    App, Broker as _, Config, Envelope, Event, MemoryBroker, Message, Observer, Settlement, Target, config::Sources,
    sample::SampleExecutor,
};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The config of an example, with the broker of AMQP_URL.
pub(crate) fn config(text: &str) -> Result<Config> {
    let set = std::env::var("AMQP_URL").ok().map(|url| ("AMQP_URL".to_owned(), format!("broker.url={url}")));
    let file = Some(("example".to_owned(), text.to_owned()));
    Ok(Config::load(&Sources { file, set: set.into_iter().collect(), ..Sources::default() })?)
}

/// A task as JSON, for the sample executor.
pub(crate) fn task(executor: &SampleExecutor, path: &str, id: &str) -> Message {
    let envelope = Envelope { id: Some(id.to_owned()), ..Envelope::new(executor.url(path)) };
    let body = serde_json::to_vec(&envelope).expect("an envelope is plain data");
    Message { content_type: Some("application/json".to_owned()), body: body.into(), ..Message::default() }
}

/// With AMQP_URL: until SIGINT or SIGTERM. Without: until these tasks are settled, each given with its queue.
pub(crate) async fn run(app: App, tasks: Vec<(&str, Message)>) -> Result<()> {
    if std::env::var_os("AMQP_URL").is_some() {
        app.start()?.until_signal().await;
        return Ok(());
    }
    let broker = MemoryBroker::new();
    tasks.iter().for_each(|(queue, _)| broker.declare(queue));
    let ends = Arc::new(Ends { open: AtomicUsize::new(tasks.len()), over: Notify::new() });
    let mut running = app.broker(broker.clone()).observer(ends.clone()).start()?;
    for (queue, message) in tasks {
        broker.publish(Target::Queue(queue.into()), message).await?;
    }
    ends.over.notified().await;
    running.handle.drain(running.config.drain_grace);
    let summary = running.end().await;
    assert_eq!(summary.deliveries, summary.settlements.values().sum::<u64>(), "every delivery was settled");
    Ok(())
}

struct Ends {
    open: AtomicUsize,
    over: Notify,
}

impl Observer for Ends {
    fn observe(&self, event: &Event) {
        let Event::Settled { result, .. } = event else { return };
        let over = !matches!(result, Settlement::Retried | Settlement::Requeued | Settlement::Duplicate);
        if over && self.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.notify_one();
        }
    }
}
