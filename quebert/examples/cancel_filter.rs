//! Drops tasks whose ids were cancelled after they had been enqueued. `cargo run --example cancel_filter`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use quebert::{App, Attempt, Before, Mediator, sample::SampleExecutor};
use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
};

/// The ids of cancelled tasks. Whoever cancels a task puts its id in; in a real service this would be fed from a table
/// or a stream, and ids would be taken out again once their tasks must have expired.
#[derive(Clone, Default)]
struct Cancelled(Arc<RwLock<BTreeSet<String>>>);

impl Cancelled {
    fn cancel(&self, id: &str) {
        self.0.write().expect("no holder panics").insert(id.to_owned());
    }

    fn contains(&self, id: &str) -> bool {
        self.0.read().expect("no holder panics").contains(id)
    }
}

impl Mediator for Cancelled {
    fn name(&self) -> &str {
        "cancel"
    }

    // A queue can't delete one message by its id. It need not: the task is dropped when its turn comes, and is counted
    // as `filtered`. It is asked before every attempt, so a task that waits for its retry can be cancelled, too.
    async fn before(&self, attempt: &mut Attempt) -> Before {
        if self.contains(attempt.task.id.as_str()) {
            println!("{} was cancelled", attempt.task.id);
            return Before::Drop;
        }
        println!("{} is sent", attempt.task.id);
        Before::Send
    }
}

#[tokio::main]
async fn main() -> common::Result<()> {
    let executor = SampleExecutor::start().await?;
    let cancelled = Cancelled::default();
    cancelled.cancel("order-2");
    let config = common::config("[lanes.orders]\nqueue = \"orders\"\n[http.guard]\nenabled = false")?;
    let tasks = ["order-1", "order-2", "order-3"].map(|id| ("orders", common::task(&executor, "/ok", id))).to_vec();
    common::run(App::new(config).mediator(cancelled), tasks).await
}
