//! Confirmed tasks that wait in the delay grid, and a broker that is killed meanwhile.

use super::{
    ledger::Moment,
    producer::Plan,
    world::{World, long},
};
use std::time::Duration;

/// The longest delay.
const DELAY_MAX_MS: u64 = 15_000;

#[tokio::test(flavor = "multi_thread")]
async fn delayed_tasks_survive_two_kills_of_the_broker_and_are_never_early() {
    let (seconds, kills) = if long() { (120, 8) } else { (30, 2) };
    let tasks = 300 * seconds;
    let world = World::start("delays", "").await;
    let dispatcher = world.dispatcher().await;
    dispatcher.ready(Duration::from_secs(30)).await;
    // A prime step spreads the delays evenly, in no order.
    let delay = |n: usize| Duration::from_millis(100 + n as u64 * 7919 % (DELAY_MAX_MS - 100));
    let plans = world.plans("d", tasks).into_iter().enumerate().map(|(n, plan)| Plan { delay: Some(delay(n)), ..plan });
    let producer = world.publish(plans.collect(), 300.0);
    for n in 1..=kills {
        let wanted = tasks * n / (kills + 1);
        let limit = Duration::from_secs(180);
        world.ledger.wait_until("the next kill", limit, |counts| counts.confirmed >= wanted).await;
        if n == 1 {
            let sessions = dispatcher.sum("quebert_broker_reconnects_total").await;
            assert_eq!(sessions, 0.0, "new delay queues cost no session: {}", dispatcher.last_words());
        }
        let waiting: u64 = world.waiting_in_grid().await;
        assert!(waiting > 100, "only {waiting} wait in the delay grid");
        let from = Moment::now();
        world.node.kill();
        world.node.restart().await.unwrap();
        dispatcher.ready(Duration::from_secs(120)).await;
        world.ledger.fault_since(format!("kill -9 of the broker, with {waiting} tasks in the delay grid"), from);
    }
    producer.await.unwrap();
    world.all_done(Duration::from_secs(180)).await;
    dispatcher.stop().await;
    world.nothing_is_left().await;
    let late = world.lateness();
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    let figures =
        format!("{kills} kills of the broker, lateness {:.0?} median, {:.1?} p99, {:.1?} max", at(50), at(99), at(100));
    world.verdict("delays", &figures);
}

impl World {
    async fn waiting_in_grid(&self) -> u64 {
        let messages = self.messages().await;
        messages.iter().filter(|(name, _)| name.starts_with("quebert.delay.")).map(|(_, n)| n).sum()
    }

    /// How late first attempts were, sorted.
    fn lateness(&self) -> Vec<Duration> {
        let books = self.ledger.books();
        let late = books.tasks.values().filter_map(|task| Some(task.executions.first()?.at.since(task.not_before?)));
        let mut late: Vec<_> = late.collect();
        late.sort_unstable();
        late
    }
}
