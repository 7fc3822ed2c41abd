//! Bytes per request under way: many at once, over HTTP/1.1, each with a connection of its own; and over one of HTTP/2.

use crate::{
    Contestant, Fault, Options,
    h2::H2Stub,
    load::Queue,
    process,
    run::Orders,
    world::{World, myself},
};
use std::{fs, time::Duration};
use tokio::{process::Command, time::sleep};

/// Requests under way at once. Over HTTP/1.1 each takes a file of this process and of the stub.
const AT_ONCE: u16 = 5_000;
/// How long an answer takes, which must be longer than it takes to start them all.
const ANSWERED_AFTER: Duration = Duration::from_secs(15);

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\nmemory of {AT_ONCE} requests under way");
    println!("{:16} {:>10} {:>10} {:>14} {:>10}", "", "idle MiB", "peak MiB", "bytes/request", "files");
    for contestant in &options.contestants {
        let queue = world.queue().await?;
        let url = format!("{}/wait/{}", world.executor(), ANSWERED_AFTER.as_millis());
        one(&contestant.to_string(), &world.orders(options, *contestant, &queue), &queue, &url).await?;
        queue.delete().await?;
    }
    if options.contestants.contains(&Contestant::Shipped) {
        // Written by hand it would be another loop: there is nothing to hold this against.
        let stub = H2Stub::start(ANSWERED_AFTER, AT_ONCE.into()).await?;
        let queue = world.queue().await?;
        let orders = Orders { ca: Some(stub.ca.clone()), ..world.orders(options, Contestant::Shipped, &queue) };
        one("shipped, HTTP/2", &orders, &queue, &stub.executor.url("/")).await?;
        queue.delete().await?;
    }
    Ok(())
}

async fn one(name: &str, orders: &Orders, queue: &Queue, url: &str) -> Result<(), Fault> {
    let orders = Orders { window: AT_ONCE, slots: AT_ONCE.into(), tasks: AT_ONCE.into(), ..orders.clone() };
    let mut child = Command::from(myself()?)
        .args(orders.arguments())
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or("it ended at once")?;
    sleep(Duration::from_secs(2)).await;
    let idle = process::resident_bytes(pid)?;
    queue.fill((0..AT_ONCE).map(|_| url.to_owned())).await?;
    let (mut peak, mut files) = (0, 0);
    while child.try_wait()?.is_none() {
        peak = peak.max(process::resident_bytes(pid).unwrap_or(0));
        files = files.max(fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count));
        sleep(Duration::from_millis(100)).await;
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let each = peak.saturating_sub(idle) / u64::from(AT_ONCE);
    println!("{name:16} {:>10.1} {:>10.1} {each:>14} {files:>10}", mib(idle), mib(peak));
    Ok(())
}
