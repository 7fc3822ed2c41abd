//! From an executor's answer to its ack at the broker's door, with one slow task among fast ones. A proxy in front of the
//! broker and the stub are in this process, so that both ends of each interval are read from one clock. Nothing of the
//! contestant's own words is believed.

use crate::{
    Contestant, Fault, Options, proxy,
    run::Orders,
    stub::Noting,
    world::{World, myself},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, process::Command};

/// How long the slow task takes.
const SLOW: Duration = Duration::from_secs(5);
/// How long each of the others takes, so that the machine is not saturated and waiting shows.
const FAST: Duration = Duration::from_millis(20);
const TASKS: usize = 3_000;
const WINDOW: u16 = 20;
/// The slow one comes after so many, once everything is warm.
const SLOW_AT: usize = 500;

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!(
        "\nfrom an answer to its ack at the broker, ms; one task of {} s among {TASKS} of {} ms, window {WINDOW}",
        SLOW.as_secs(),
        FAST.as_millis()
    );
    println!("{:8} {:>8} {:>8} {:>8} {:>8}", "", "p50", "p99", "max", "n");
    for contestant in &options.contestants {
        let mut waits = waits(world, options, *contestant).await?;
        waits.sort();
        let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("{contestant:8} {:>8.2} {:>8.2} {:>8.2} {:>8}", at(0.5), at(0.99), at(1.0), waits.len());
    }
    Ok(())
}

/// Of all fast tasks that were answered while the slow one was under way.
async fn waits(world: &World, options: &Options, contestant: Contestant) -> Result<Vec<Duration>, Fault> {
    let stub = Noting::start().await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let broker =
        world.rabbit.url().replace(&world.rabbit.port().to_string(), &listener.local_addr()?.port().to_string());
    let seen: Arc<Mutex<proxy::Seen>> = Arc::default();
    let proxy = tokio::spawn(proxy::serve(listener, world.rabbit.port(), seen.clone()));

    let queue = world.queue().await?;
    let paths = (0..TASKS).map(|n| match n {
        SLOW_AT => format!("{}/wait/{}/slow", stub.url, SLOW.as_millis()),
        n => format!("{}/wait/{}/{n}", stub.url, FAST.as_millis()),
    });
    queue.fill(paths).await?;
    let orders = Orders {
        broker,
        window: WINDOW,
        slots: WINDOW.into(),
        tasks: TASKS as u64,
        ..world.orders(options, contestant, &queue)
    };
    let output = Command::from(myself()?).args(orders.arguments()).output().await?;
    queue.delete().await?;
    proxy.abort();
    if !output.status.success() {
        return Err(format!("{contestant} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let answers = stub.answers();
    let acked = &seen.lock().unwrap_or_else(PoisonError::into_inner).acked;
    let slow = answers.iter().find(|(path, _)| path.ends_with("/slow")).map(|(_, at)| *at);
    let slow = slow.ok_or("the slow task was not answered")?;
    let fast = answers.iter().filter(|(_, at)| slow - SLOW < **at && **at < slow);
    // What has no ack by the end went back to the broker with the connection.
    Ok(fast.filter_map(|(path, at)| Some(*acked.get(path)? - *at)).collect())
}
