//! kill -9 of the dispatcher, again and again, while tasks flow.

use super::world::{LANES, World, long};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_killed_20_times_loses_nothing_and_repeats_only_what_it_held() {
    let (tasks, kills) = if long() { (100_000, 100) } else { (20_000, 20) };
    let world = World::start("dispatcher-kills", "").await;
    let producer = world.publish(world.plans("t", tasks), 2000.0);
    let mut dispatcher = world.dispatcher().await;
    for n in 1..=kills {
        // Spread over the run, and each in mid-run: more than it can hold is still to come.
        let at = tasks * n / (kills + 1);
        world.ledger.wait_until("the next kill", Duration::from_secs(180), |counts| counts.executions >= at).await;
        world.kill(&mut dispatcher).await;
        dispatcher = world.dispatcher().await;
    }
    producer.await.unwrap();
    world.all_done(Duration::from_secs(180)).await;
    dispatcher.stop().await;
    world.nothing_is_left().await;
    let judgement = world.ledger.judge();
    assert_eq!(judgement.confirmed, tasks, "nothing happened to the broker: {}", world.ledger.story());
    // A kill can repeat what was unsettled in the lanes' windows, and a head of the delay grid moved but not yet acked.
    let held: usize = LANES.iter().map(|(_, window)| usize::from(*window)).sum();
    assert!(judgement.extra <= kills * held, "{} extra executions\n{}", judgement.extra, world.ledger.story());
    world.verdict("dispatcher_kills", &format!("{kills} kills"));
}
