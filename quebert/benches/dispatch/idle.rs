//! Wake-ups without work: connected, lanes open, nothing to do.

use crate::{
    Fault, Options, process,
    world::{World, myself},
};
use std::time::Duration;
use tokio::{process::Command, time::sleep};

/// Until everything is open and quiet.
const SETTLE: Duration = Duration::from_secs(5);
/// A multiple of all the periods that tick in an idle dispatcher.
const WATCHED: Duration = Duration::from_secs(20);

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\nidle, over {} s", WATCHED.as_secs());
    println!("{:8} {:>12} {:>10} {:>8}", "", "wake-ups/s", "CPU ms/s", "MiB");
    for contestant in &options.contestants {
        let queue = world.queue().await?;
        let orders = world.orders(options, *contestant, &queue);
        let mut child = Command::from(myself()?).args(orders.arguments()).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("it ended at once")?;
        sleep(SETTLE).await;
        let (switches, cpu) = (process::voluntary_switches(pid)?, process::cpu_seconds(pid)?);
        sleep(WATCHED).await;
        let since = |(thread, now): (_, u64)| now - switches.get(&thread).copied().unwrap_or(0);
        let switches: u64 = process::voluntary_switches(pid)?.into_iter().map(since).sum();
        let cpu = process::cpu_seconds(pid)? - cpu;
        let mib = process::resident_bytes(pid)? as f64 / f64::from(1 << 20);
        child.kill().await?;
        queue.delete().await?;
        let seconds = WATCHED.as_secs_f64();
        println!("{contestant:8} {:>12.1} {:>10.2} {mib:>8.1}", switches as f64 / seconds, cpu * 1e3 / seconds);
    }
    Ok(())
}
