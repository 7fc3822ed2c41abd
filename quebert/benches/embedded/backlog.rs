//! Many waiting tasks: how long the store takes to open, what each takes of memory, and whether enqueues get slower. Each
//! step is a process of its own, so that memory is counted from the same start.

use crate::{
    Fault, Options,
    broker::{self, Folder},
    enqueue::enqueue,
    process,
};
use clap::Subcommand;
use quebert_dispatcher::ports::broker::{Broker, Target};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{process::Command, task::JoinSet};

/// One step, in a process of its own.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Enqueues so many
    #[command(hide = true)]
    Fill {
        folder: PathBuf,
        count: u32,
        /// Ends without closing the store, as by `kill -9`.
        #[arg(long)]
        abrupt: bool,
    },
    /// Opens the store, and tells what that took
    #[command(hide = true)]
    Open { folder: PathBuf, producers: usize, seconds: u64 },
}

/// What an opening came to.
struct Opened {
    seconds: f64,
    waiting: f64,
    bytes: f64,
    per_second: f64,
}

pub(crate) async fn measure(options: &Options) -> Result<(), Fault> {
    let Options { waiting, producers, seconds, folder, .. } = options;
    println!("\n{waiting} waiting tasks of 300 bytes");
    let full = Folder::new(folder)?;
    let start = Instant::now();
    run(&["fill", &text(&full.0), &waiting.to_string()]).await?;
    println!("   filled in {:.1} s, {} MiB of file", start.elapsed().as_secs_f64(), full.bytes()? >> 20);
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        let empty = Folder::new(folder)?;
        let without = opened(&empty.0, *producers, *seconds).await?;
        let with = opened(&full.0, *producers, *seconds).await?;
        println!(
            "{round}  opened in {:.2} s (empty {:.3} s); resident {:.1} MiB (empty {:.1}), {:.0} bytes for each of {:.0}",
            with.seconds,
            without.seconds,
            with.bytes / f64::from(1 << 20),
            without.bytes / f64::from(1 << 20),
            (with.bytes - without.bytes) / with.waiting,
            with.waiting
        );
        println!("   enqueued {:.0}/s (empty {:.0}/s)", with.per_second, without.per_second);
        ratios.push(with.per_second / without.per_second);
    }
    ratios.sort_by(f64::total_cmp);
    println!("   enqueue rate with the backlog is {:.2} of the rate without (median)", ratios[ratios.len() / 2]);
    run(&["fill", &text(&full.0), "1000", "--abrupt"]).await?;
    let after = opened(&full.0, *producers, 1).await?;
    println!("   after an end without closing: opened in {:.2} s, {:.0} waiting", after.seconds, after.waiting);
    Ok(())
}

fn text(folder: &Path) -> String {
    folder.display().to_string()
}

async fn opened(folder: &Path, producers: usize, seconds: u64) -> Result<Opened, Fault> {
    let told = run(&["open", &text(folder), &producers.to_string(), &seconds.to_string()]).await?;
    let numbers: Vec<f64> = told.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [seconds, waiting, bytes, per_second] = numbers[..] else { return Err(told.into()) };
    Ok(Opened { seconds, waiting, bytes, per_second })
}

async fn run(arguments: &[&str]) -> Result<String, Fault> {
    let output = Command::new(std::env::current_exe()?).args(arguments).output().await?;
    let told = String::from_utf8(output.stdout)?;
    if output.status.success() || arguments.contains(&"--abrupt") {
        return Ok(told);
    }
    Err(format!("{arguments:?}: {told}{}", String::from_utf8_lossy(&output.stderr)).into())
}

pub(crate) async fn play(role: Role) -> Result<(), Fault> {
    match role {
        Role::Fill { folder, count, abrupt } => fill(&folder, count, abrupt).await,
        Role::Open { folder, producers, seconds } => open(&folder, producers, seconds).await,
    }
}

async fn fill(folder: &Path, count: u32, abrupt: bool) -> Result<(), Fault> {
    let embedded = broker::embedded(folder)?;
    broker::connected(&embedded).await?;
    let embedded: Arc<dyn Broker> = Arc::new(embedded);
    let mut under_way = JoinSet::new();
    for n in 0..u64::from(count) {
        let broker = embedded.clone();
        under_way.spawn(async move { broker::publish(broker.as_ref(), n, "http://127.0.0.1:9/task").await });
        while under_way.len() >= 1000 {
            under_way.join_next().await.ok_or("just counted")???;
        }
    }
    while let Some(published) = under_way.join_next().await {
        published??;
    }
    if abrupt {
        // Nothing is closed, nothing is dropped.
        std::process::abort();
    }
    embedded.stop().await;
    Ok(())
}

async fn open(folder: &Path, producers: usize, seconds: u64) -> Result<(), Fault> {
    let start = Instant::now();
    let embedded = broker::embedded(folder)?;
    let took = start.elapsed().as_secs_f64();
    let waiting = embedded.depth(Target::Queue(broker::QUEUE.into())).await.ok_or("no queue")?.ready;
    let bytes = process::resident_bytes(std::process::id())?;
    broker::connected(&embedded).await?;
    let embedded: Arc<dyn Broker> = Arc::new(embedded);
    let run = enqueue(&embedded, producers, Duration::from_secs(seconds), 1 << 40).await?;
    embedded.stop().await;
    println!("{took} {waiting} {bytes} {}", run.per_second);
    Ok(())
}
