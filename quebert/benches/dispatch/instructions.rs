//! Instructions per task, by callgrind: the slope between a short and a long run, so that starting and stopping cancel
//! out. They repeat within 2 % on a loaded machine, and don't see the kernel.

use crate::{
    Contestant, Fault, Options,
    run::Orders,
    world::{World, myself},
};
use std::{collections::BTreeMap, fs, path::PathBuf};
use tokio::process::Command;

/// Tasks of the short and of the long run.
const TASKS: [u64; 2] = [2_000, 6_000];

pub(crate) async fn measure(world: &World, options: &Options) -> Result<(), Fault> {
    println!("\ninstructions per task, slope between {} and {} tasks", TASKS[0], TASKS[1]);
    let mut each = BTreeMap::new();
    for contestant in &options.contestants {
        let mut totals = Vec::new();
        for tasks in TASKS {
            eprintln!("callgrind: {contestant}, {tasks} tasks");
            totals.push(instructions(world, options, *contestant, tasks).await? as f64);
        }
        let of_one = (totals[1] - totals[0]) / (TASKS[1] - TASKS[0]) as f64;
        println!("{contestant:8} {of_one:>8.0}");
        each.insert(*contestant, of_one);
    }
    println!("profiles: {}", profile("<contestant>", TASKS[1]).display());
    options.at_most.map_or(Ok(()), |at_most| judge(&each, at_most))
}

/// The only figure that is judged: it repeats, whatever else the machine does.
fn judge(each: &BTreeMap<Contestant, f64>, at_most: f64) -> Result<(), Fault> {
    let (Some(shipped), Some(batch)) = (each.get(&Contestant::Shipped), each.get(&Contestant::Batch)) else {
        return Err("--at-most compares shipped with batch, and needs both among the contestants".into());
    };
    let ratio = shipped / batch;
    println!("shipped / batch: {ratio:.3}, at most {at_most}");
    if ratio > at_most {
        return Err(format!(
            "a task costs {ratio:.3} times the instructions of the loop, at most {at_most} are allowed"
        )
        .into());
    }
    Ok(())
}

async fn instructions(world: &World, options: &Options, contestant: Contestant, tasks: u64) -> Result<u64, Fault> {
    let queue = world.queue().await?;
    let url = format!("{}/task", world.executor());
    queue.fill((0..tasks).map(|_| url.clone())).await?;
    let orders = Orders { tasks, ..world.orders(options, contestant, &queue) };
    let file = profile(&contestant.to_string(), tasks);
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(myself()?.get_program())
        .args(orders.arguments())
        .output()
        .await?;
    queue.delete().await?;
    if !output.status.success() {
        return Err(format!("{contestant} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let text = fs::read_to_string(file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).ok_or("the profile has no total")?;
    Ok(total.trim().parse()?)
}

fn profile(contestant: &str, tasks: u64) -> PathBuf {
    std::env::temp_dir().join(format!("callgrind.{contestant}.{tasks}"))
}
