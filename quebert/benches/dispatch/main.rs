//! What a dispatcher costs: Quebert and a minimal hand-written loop take the same tasks from the same broker to the same
//! stub, in turn, each in a process of its own. Prints figures, and judges none but the instructions if asked to;
//! `docs/performance.md` explains them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "figures and progress are what this program is for")]

mod acks;
mod h2;
mod idle;
mod instructions;
mod latency;
mod little;
mod load;
mod memory;
mod minimal;
mod peers;
mod process;
mod proxy;
mod rounds;
mod run;
mod shipped;
mod stub;
mod world;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;

/// Anything that goes wrong ends the benchmark.
type Fault = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(about = "What a dispatcher costs, beside a minimal loop over the same queue")]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Args)]
struct Options {
    /// Tasks that each contestant is measured over, after a tenth more to warm up
    #[arg(long, default_value_t = 20_000)]
    tasks: u64,
    /// Rounds; each contestant runs once in each
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Most unsettled deliveries, and requests under way
    #[arg(long, default_value_t = 100)]
    window: u16,
    /// The queue's type
    #[arg(long, value_enum, default_value_t = Kind::Classic)]
    queue: Kind,
    /// Contestants, in turn
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Contestant::Shipped, Contestant::Batch, Contestant::Single])]
    contestants: Vec<Contestant>,
    /// Worker threads of Quebert's runtime; one, as the program has it
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// CPU seconds
    #[arg(long)]
    cpu: bool,
    /// Instructions per task, by callgrind (slow)
    #[arg(long)]
    instructions: bool,
    /// Fails where Quebert takes more than so many times the instructions of the batching loop
    #[arg(long, value_name = "RATIO", requires = "instructions")]
    at_most: Option<f64>,
    /// From an answer to its ack, with one slow task among fast ones
    #[arg(long)]
    acks: bool,
    /// From being due to the executor, at 200 tasks a second
    #[arg(long)]
    latency: bool,
    /// Throughput against what the window allows, with an executor of 50 ms (two minutes for each contestant)
    #[arg(long)]
    little: bool,
    /// Wake-ups without work
    #[arg(long)]
    idle: bool,
    /// Bytes per request under way
    #[arg(long)]
    memory: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// The executor that all requests go to
    #[command(hide = true)]
    Stub,
    /// One contestant
    #[command(hide = true)]
    Run(run::Orders),
}

/// Who takes the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Contestant {
    /// Quebert as it is shipped: metrics, logs, health, timeouts
    Shipped,
    /// The minimal loop with coalesced acks
    Batch,
    /// The minimal loop that acks one by one
    Single,
    /// Node with amqplib and undici
    Node,
    /// Python with aio-pika and aiohttp
    Aio,
    /// A Celery worker with two processes and requests
    Celery,
}

impl Contestant {
    /// How many of so many tasks it is measured over: a tenth of them for those that take that much longer.
    fn share_of(self, tasks: u64) -> u64 {
        match self {
            Self::Shipped | Self::Batch | Self::Single | Self::Node => tasks,
            Self::Aio | Self::Celery => tasks / 10,
        }
    }
}

/// The queue's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Classic,
    Quorum,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Shipped => "shipped",
            Self::Batch => "batch",
            Self::Single => "single",
            Self::Node => "node",
            Self::Aio => "aio",
            Self::Celery => "celery",
        })
    }
}

fn main() -> Result<(), Fault> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Stub) => current_thread()?.block_on(stub::serve()),
        Some(Role::Run(orders)) => run::run(&orders),
        // Tests of all targets start this program, too.
        None if !cli.bench => {
            println!("a benchmark: run it with scripts/bench");
            Ok(())
        }
        None => current_thread()?.block_on(measure(&cli.options)),
    }
}

async fn measure(options: &Options) -> Result<(), Fault> {
    let Options { cpu, instructions, acks, latency, little, idle, memory, .. } = *options;
    let all = ![cpu, instructions, acks, latency, little, idle, memory].contains(&true);
    let world = world::World::start(options.queue).await?;
    if cpu || all {
        rounds::measure(&world, options).await?;
    }
    if acks || all {
        acks::measure(&world, options).await?;
    }
    if latency || all {
        latency::measure(&world, options).await?;
    }
    if little {
        little::measure(&world, options).await?;
    }
    if idle || all {
        idle::measure(&world, options).await?;
    }
    if memory || all {
        memory::measure(&world, options).await?;
    }
    if instructions {
        instructions::measure(&world, options).await?;
    }
    Ok(())
}

fn current_thread() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
