//! The program that Quebert grew from: tasks of three priorities, published to the exchange `flow` with the keys
//! `tasks.high`, `tasks.medium` and `tasks.low`; five at a time of each; what fails is tried again with exponential
//! backoff. Run it with `cargo run --example seed`, or with AMQP_URL set against your RabbitMQ.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod common;

use quebert::{
    App, Attempt, Before, BuryReason, Mediator, Outcome, Retry, RetryAfter, RetryReason, Verdict,
    sample::SampleExecutor,
};

const CONFIG: &str = r#"
[topology]
exchange = "flow"

[lane_defaults]
slots_own = 5                       # five at a time, in slots that nobody else takes
slots_max = 5

[lanes.high]
priority = 2
queue = "high-priority-queue"
routing_key = "tasks.high"

[lanes.medium]
priority = 1
queue = "medium-priority-queue"
routing_key = "tasks.medium"

[lanes.low]
queue = "low-priority-queue"
routing_key = "tasks.low"

[pool]
slots = 0

[retry]                             # 1 s, 2 s, 4 s, ... at most a minute
backoff_max = "1m"
jitter = "none"

[http.guard]
enabled = false                     # the executors of this example are on this machine
"#;

/// Says what happens to each task, and puts off whatever did not end well.
struct DelayOnErrorMediator;

impl Mediator for DelayOnErrorMediator {
    // The name in metrics and logs.
    fn name(&self) -> &str {
        "delay-on-error"
    }

    // Before each attempt. Here the task could be changed, dropped or put off, too.
    async fn before(&self, attempt: &mut Attempt) -> Before {
        println!("[{}] {}: attempt {} begins", attempt.lane, attempt.task.id, attempt.number);
        Before::Send
    }

    // Anything but success is delayed and tried again: what the policies would give up at once (410, say) gets its
    // backoff, too. How long the delay is, and after how many attempts it ends, stays with the lane's policy.
    fn verdict(&self, _attempt: &Attempt, _outcome: &Outcome, proposed: Verdict) -> Verdict {
        match proposed {
            Verdict::Bury { reason: BuryReason::Permanent, .. } => {
                Verdict::Retry(Retry { reason: RetryReason::Hook, after: RetryAfter::Policy })
            }
            proposed => proposed,
        }
    }

    // After each attempt, once its fate is known.
    async fn after(&self, attempt: &Attempt, outcome: &Outcome, verdict: &Verdict) {
        let fate = match verdict {
            Verdict::Complete => "done",
            Verdict::Retry(_) => "again later",
            _ => "over",
        };
        println!("[{}] {}: attempt {} -> {}, {fate}", attempt.lane, attempt.task.id, attempt.number, outcome.class());
    }
}

#[tokio::main]
async fn main() -> common::Result<()> {
    let executor = SampleExecutor::start().await?;
    let mut tasks = Vec::new();
    for (queue, name) in
        [("low-priority-queue", "low"), ("medium-priority-queue", "medium"), ("high-priority-queue", "high")]
    {
        for n in 0..6 {
            let path = if n % 3 == 2 { "/flaky" } else { "/ok" };
            tasks.push((queue, common::task(&executor, path, &format!("{name}-{n}"))));
        }
    }
    common::run(App::new(common::config(CONFIG)?).mediator(DelayOnErrorMediator), tasks).await
}
