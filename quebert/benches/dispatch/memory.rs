//! Bytes per request under way: many at once, over HTTP/1.1, each with a connection of its own.

use crate::{
    Fault, Options, process,
    run::Orders,
    world::{World, myself},
};
use std::{fs, time::Duration};
use tokio::{process::Command, time::sleep};

/// Requests under way at once. Each takes a file of this process and of the stub.
const AT_ONCE: u16 = 5_000;
/// How long the stub takes, which must be longer than it takes to start them all.
const ANSWERED_AFTER_MS: u64 = 15_000;

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\nmemory of {AT_ONCE} requests under way");
    println!("{:8} {:>10} {:>10} {:>14} {:>10}", "", "idle MiB", "peak MiB", "bytes/request", "files");
    for contestant in &options.contestants {
        let queue = world.queue().await?;
        let orders = Orders {
            contestant: *contestant,
            broker: world.rabbit.url(),
            queue: queue.name.clone(),
            window: AT_ONCE,
            slots: AT_ONCE.into(),
            warm_up: 0,
            tasks: AT_ONCE.into(),
            workers: options.workers,
            others: Vec::new(),
        };
        let mut child = Command::from(myself()?)
            .args(orders.arguments())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("it ended at once")?;
        sleep(Duration::from_secs(2)).await;
        let idle = process::resident_bytes(pid)?;
        let url = format!("{}/wait/{ANSWERED_AFTER_MS}", world.executor());
        queue.fill((0..AT_ONCE).map(|_| url.clone())).await?;
        let (mut peak, mut files) = (0, 0);
        while child.try_wait()?.is_none() {
            peak = peak.max(process::resident_bytes(pid).unwrap_or(0));
            files = files.max(fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count));
            sleep(Duration::from_millis(100)).await;
        }
        queue.delete().await?;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let each = peak.saturating_sub(idle) / u64::from(AT_ONCE);
        println!("{contestant:8} {:>10.1} {:>10.1} {each:>14} {files:>10}", mib(idle), mib(peak));
    }
    Ok(())
}
