//! A lane that is paused and let go on, again and again, in the middle of its work: on a broker that gives back whatever
//! is unsettled when a source is opened anew.

use crate::site::{LONG, Site};
use quebert::{Message, Settlement};
use quebert_broker_adapter::testing::executor::{Executor, Reply};
use std::time::Duration;

const TASKS: usize = 300;

#[tokio::test]
async fn nothing_is_lost_or_sent_twice_over_pauses() {
    let site = Site::new("pauses", "lanes.work.slots_max = 8").await;
    let executor = Executor::start(|_| Reply::status(200).after(Duration::from_millis(30))).await;
    // Without ids nobody could tell a redelivery from another task.
    let task = Message { body: format!(r#"{{"url":"{}"}}"#, executor.url("/")).into(), ..Message::default() };
    site.publish_all("work", std::iter::repeat_n(task, TASKS)).await;
    let dispatching = site.run().await;
    for round in 0..10 {
        let enough = 25 * (round + 1);
        dispatching.until("some work", |seen| seen.settled_as(Settlement::Succeeded) >= enough).await;
        dispatching.running.handle.pause("work");
        if round % 2 == 0 {
            dispatching.until("nothing under way", |seen| seen.sending == 0).await;
        }
        dispatching.running.handle.resume("work");
    }
    dispatching.until("all done", |seen| seen.settled_as(Settlement::Succeeded) == TASKS as u64).await;
    assert_eq!(executor.wait_for(TASKS, LONG).await.len(), TASKS);
    dispatching.end(&site).await;
    assert_eq!(executor.requests().len(), TASKS, "each was sent once");
}
