//! From the moment a task is due to be published to its arrival at the executor, at an easy rate: what a dispatcher adds
//! when nothing waits. Publisher and stub are in this process, so that both ends are read from one clock.

use crate::{
    Contestant, Fault, Options,
    run::Orders,
    stub::Noting,
    world::{World, myself},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::{process::Command, time::MissedTickBehavior};

/// Tasks are due so far apart: 200 a second.
const APART: Duration = Duration::from_millis(5);
const TASKS: usize = 3_600;
/// The first ones, while connections are opened, are not shown.
const WARM_UP: usize = 1_000;

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\nfrom being due to the executor, ms; {} tasks a second", 1_000 / APART.as_millis());
    println!("{:8} {:>8} {:>8} {:>8} {:>8}", "", "p50", "p99", "max", "n");
    for contestant in &options.contestants {
        let mut waits = waits(world, options, *contestant).await?;
        waits.sort();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("{contestant:8} {:>8.2} {:>8.2} {:>8.2} {:>8}", at(0.5), at(0.99), at(1.0), waits.len());
    }
    Ok(())
}

async fn waits(world: &World, options: &Options, contestant: Contestant) -> Result<Vec<Duration>, Fault> {
    let stub = Noting::start().await?;
    let queue = world.queue().await?;
    let orders = Orders { tasks: TASKS as u64, ..world.orders(options, contestant, &queue) };
    let child = Command::from(myself()?).args(orders.arguments()).kill_on_drop(true).output();
    let child = tokio::spawn(child);
    let mut due = BTreeMap::new();
    let mut ticks = tokio::time::interval(APART);
    // Who is late catches up: a task counts from when it was due.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..TASKS {
        let at = ticks.tick().await.into_std();
        let path = format!("/{number}");
        queue.send(&format!("{}{path}", stub.url)).await?;
        if number >= WARM_UP {
            due.insert(path, at);
        }
    }
    let output = child.await??;
    queue.delete().await?;
    if !output.status.success() {
        return Err(format!("{contestant} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let arrivals = stub.answers();
    let wait = |(path, at): (&String, &Instant)| Some(arrivals.get(path)?.saturating_duration_since(*at));
    Ok(due.iter().filter_map(wait).collect())
}
