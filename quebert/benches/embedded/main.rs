//! What the embedded broker does: durable enqueues a second, the way of a task to its executor, a million waiting tasks,
//! and the start of the program. The first two also on RabbitMQ. Prints figures and judges none; `docs/performance.md`
//! explains them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what this program is for")]

mod backlog;
mod broker;
mod chain;
mod enqueue;
mod probe;
#[path = "../dispatch/process.rs"]
#[expect(dead_code, reason = "shared with the other benchmark, which uses all of it")]
mod process;
mod ready;
#[path = "../dispatch/stub.rs"]
#[expect(dead_code, reason = "shared with the other benchmark, which uses all of it")]
mod stub;

use clap::{Args, Parser};
use std::path::PathBuf;

/// Anything that goes wrong ends the benchmark.
type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(about = "What the embedded broker does, beside RabbitMQ")]
struct Cli {
    #[command(subcommand)]
    role: Option<backlog::Role>,
    #[command(flatten)]
    options: Options,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Where stores are made, which should be on the disk that is of interest
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    folder: PathBuf,
    /// Confirmed enqueues a second
    #[arg(long)]
    enqueue: bool,
    /// From the enqueue to the first byte at the executor
    #[arg(long)]
    chain: bool,
    /// A store with many waiting tasks
    #[arg(long)]
    backlog: bool,
    /// From the program's start to ready
    #[arg(long)]
    ready: bool,
    /// Leaves RabbitMQ out
    #[arg(long)]
    no_rabbit: bool,
    /// Producers at a time
    #[arg(long, default_value_t = 64)]
    producers: usize,
    /// Seconds that each run lasts
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Tasks a second of the chain; 0 is half of what it can do
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Waiting tasks of the backlog
    #[arg(long, default_value_t = 1_000_000)]
    waiting: u32,
}

fn main() -> Result<(), Fault> {
    let cli = Cli::parse();
    match cli.role {
        Some(role) => runtime()?.block_on(backlog::play(role)),
        // Tests of all targets start this program, too.
        None if !cli.bench => {
            println!("a benchmark: run it with cargo bench -p quebert --bench embedded");
            Ok(())
        }
        None => runtime()?.block_on(measure(&cli.options)),
    }
}

async fn measure(options: &Options) -> Result<(), Fault> {
    let all = ![options.enqueue, options.chain, options.backlog, options.ready].contains(&true);
    if options.enqueue || all {
        enqueue::measure(options).await?;
    }
    if options.chain || all {
        chain::measure(options).await?;
    }
    if options.backlog || all {
        backlog::measure(options).await?;
    }
    if options.ready || all {
        ready::measure(options).await?;
    }
    Ok(())
}

/// One worker, as the program has it.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}
