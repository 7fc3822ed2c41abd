//! Little's law: with an executor that takes its time and always enough tasks, a window of so many is worth so many requests
//! at a time. What is missing is what the dispatcher lets lie between an answer and the next request.

use crate::{
    Contestant, Fault, Options,
    run::Orders,
    world::{World, myself},
};
use std::time::Duration;
use tokio::process::Command;

/// How long the executor takes.
const EXECUTOR: Duration = Duration::from_millis(50);
/// How long each run takes if nothing is missing.
const RUN: Duration = Duration::from_secs(30);
const WINDOWS: [u16; 4] = [1, 10, 50, 100];

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\ntasks a second, and of what the window allows; an executor of {} ms", EXECUTOR.as_millis());
    println!("{:8} {}", "window", WINDOWS.map(|window| format!("{window:>16}")).concat());
    for contestant in &options.contestants {
        let mut line = String::new();
        for window in WINDOWS {
            let ideal = f64::from(window) / EXECUTOR.as_secs_f64();
            let rate = rate(world, options, *contestant, window, ideal).await?;
            line += &format!("{:>16}", format!("{rate:.0} {:.3}", rate / ideal));
        }
        println!("{contestant:8} {line}");
    }
    Ok(())
}

async fn rate(world: &World, options: &Options, contestant: Contestant, window: u16, ideal: f64) -> Result<f64, Fault> {
    let tasks = (ideal * RUN.as_secs_f64()) as u64;
    let warm_up = u64::from(window) * 10;
    let queue = world.queue().await?;
    let url = format!("{}/wait/{}", world.executor(), EXECUTOR.as_millis());
    // Beyond the last one more window, so that it is never short of tasks.
    queue.fill((0..warm_up + tasks + u64::from(window)).map(|_| url.clone())).await?;
    let orders = Orders { window, slots: window.into(), warm_up, tasks, ..world.orders(options, contestant, &queue) };
    let output = Command::from(myself()?).args(orders.arguments()).output().await?;
    queue.delete().await?;
    let text = String::from_utf8(output.stdout)?;
    let wall: Option<f64> = text.split_whitespace().next().and_then(|word| word.parse().ok());
    let wall = wall.ok_or_else(|| format!("{contestant} failed: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(tasks as f64 / wall)
}
