//! The command line: what there is to say, and what comes back as an exit code. The work is done elsewhere.

mod check;
mod client;
mod dashboards;
mod dead;
mod demo;
mod enqueue;
mod events;
mod progress;
mod queues;
mod run;
mod serve;
mod sse;
mod table;
mod task;
mod top;
mod topology;
mod way;

use crate::{
    compose::ComposeError,
    config::{Config, Problems, Sources},
};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use quebert_broker_adapter::{admin::AdminError, amqp::RabbitAdmin};
use std::{error::Error, fs, io, process::ExitCode};
use way::Way;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    done in part: some items failed, or something is not as it should be
  2    wrong usage or config, or refused as wrong; nothing was done
  3    the API, the broker or Prometheus could not be reached, or takes nothing for now; the
       embedded broker's folder is in use or damaged
  4    anything else that went wrong: files, the network, the terminal
  130  stopped at once by a second SIGINT (143: SIGTERM)
  141  nobody reads the output any more";

/// HTTP push task queues on RabbitMQ that lose nothing.
#[derive(Debug, Parser)]
#[command(name = "quebert", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(subcommand)]
    command: Command,
}

/// Where the config comes from: flags over environment over file over defaults.
#[derive(Debug, Args)]
struct SourceArgs {
    /// Config file in TOML; without, ./quebert.toml if there is one
    #[arg(short, long, global = true, value_name = "FILE", env = "QUEBERT_CONFIG", hide_env_values = true)]
    config: Option<String>,
    /// Overrides a key of the config; may be repeated
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The broker's address; short for --set broker.url=URL. Commands that speak to the API go straight to that broker
    /// instead; the word `config` means the config's own
    #[arg(long, global = true, value_name = "URL")]
    broker: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take tasks from the queues and send them, with API and web console, until SIGTERM or SIGINT
    Run(run::RunArgs),
    /// Add tasks to a queue: one by flags, or NDJSON (an envelope a line) on standard input
    Enqueue(enqueue::EnqueueArgs),
    /// Show the queues: what waits, what is under way, what of late came of it
    Queues(queues::QueuesArgs),
    /// Take nothing more from a queue; what is under way goes on
    Pause(queues::PauseArgs),
    /// Take from a paused queue again
    Resume(queues::PauseArgs),
    /// Remove all waiting tasks of a queue for good
    Purge(queues::PurgeArgs),
    /// Look for a task, send it now, or take it out
    Task(task::TaskArgs),
    /// Tell all that is wrong with config and topology; changes nothing
    Check(check::CheckArgs),
    /// Declare the queues, or print them as a definitions file
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// Look through dead letters, replay them, or delete them
    Dead(dead::DeadArgs),
    /// Follow what happens, as it happens
    Events(events::EventsArgs),
    /// Watch the figures of running dispatchers: rates, waits, slots, destinations
    Top(top::TopArgs),
    /// Write Grafana dashboards and Prometheus rules for your config, or check them at your Prometheus
    Dashboards(dashboards::DashboardsArgs),
    /// Show it at work with nothing installed: broker, executors, a stream of tasks, API and web console
    Demo(demo::DemoArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the default config, with comments
    DefaultConfig,
}

/// Why a command ended without having done all of its work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Told already; the exit code says it again.
    #[error("some items failed")]
    Partly,
    #[error("{0}")]
    Usage(String),
    // No `source`: the problems are the text already.
    #[error("config:\n{0}")]
    Config(Problems),
    #[error("config")]
    Compose(#[from] ComposeError),
    #[error("no broker could be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error("no API could be reached (is `quebert run` there? --api says where else, --broker asks the broker itself)")]
    ApiAway(#[source] Box<dyn Error + Send + Sync>),
    #[error("no Prometheus could be reached")]
    PrometheusAway(#[source] Box<dyn Error + Send + Sync>),
    /// The API said no.
    #[error("{text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In its words.
        text: String,
    },
    /// Whoever read the output has gone, as `head` does. Told to nobody.
    #[error("nobody reads the output")]
    Unread,
    /// The embedded broker's file can't be used: why, and what to do about it.
    #[error("{0}")]
    Store(String),
    #[error("{what}")]
    Other {
        what: &'static str,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A second signal.
    #[error("stopped at once")]
    Signal(u8),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Partly => 1,
            Self::Usage(_) | Self::Config(_) | Self::Compose(_) => 2,
            Self::Unreachable(_) | Self::ApiAway(_) | Self::PrometheusAway(_) | Self::Store(_) => 3,
            Self::Refused { status, .. } => match status {
                429 | 503 => 3,
                400..=499 | 501 => 2,
                _ => 4,
            },
            Self::Other { .. } => 4,
            // As of a program that SIGPIPE has ended.
            Self::Unread => 141,
            Self::Signal(code) => *code,
        }
    }

    fn other(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other { what, source: source.into() }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe { Self::Unread } else { Self::other("write output", e) }
    }
}

impl From<AdminError> for Failure {
    fn from(e: AdminError) -> Self {
        match e {
            e @ AdminError::Unavailable(_) => Self::Unreachable(Box::new(e)),
            e @ (AdminError::NoSuchPlace(_) | AdminError::Unsupported(_)) => Self::Usage(e.to_string()),
            e => Self::other("broker", e),
        }
    }
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors: clap knows which stream and which code.
        Err(e) => e.exit(),
    };
    // One worker: the dispatcher is one task, and handing its wake-ups to a second thread costs more than it brings
    // (docs/performance.md: 1.14 times the minimal loop's CPU instead of 1.42, and a third more tasks a second).
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return report(&Failure::other("start the runtime", e)),
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Run(args) => run::run(&cli.sources, args).await,
        Command::Enqueue(args) => enqueue::enqueue(&cli.sources, args).await,
        Command::Queues(args) => queues::queues(Way::choose(&cli.sources, &args.api).await?, &args).await,
        Command::Pause(args) => queues::pause(&Way::api_only(&cli.sources, &args.api, "pause")?, &args, true).await,
        Command::Resume(args) => queues::pause(&Way::api_only(&cli.sources, &args.api, "resume")?, &args, false).await,
        Command::Purge(args) => {
            queues::confirmed(&args)?;
            queues::purge(Way::choose(&cli.sources, &args.api).await?, &args).await
        }
        Command::Task(args) => task::task(Way::choose(&cli.sources, &args.api).await?, &args.command).await,
        Command::Check(args) => check::check(&cli.sources, &args).await,
        Command::Topology(command) => topology::topology(&cli.sources.load()?, command).await,
        Command::Dead(args) => {
            args.confirmed()?;
            dead::dead(Way::choose(&cli.sources, &args.api).await?, args).await
        }
        Command::Events(args) => events::events(&Way::api_only(&cli.sources, &args.api, "events")?, &args).await,
        Command::Top(args) => top::top(&cli.sources, &args).await,
        Command::Dashboards(args) => dashboards::dashboards(&cli.sources, &args).await,
        Command::Demo(args) => demo::demo(args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "quebert", &mut io::stdout());
            Ok(())
        }
        Command::DefaultConfig => {
            io::Write::write_all(&mut io::stdout(), crate::config::layers::DEFAULTS.as_bytes())?;
            Ok(())
        }
    }
}

/// The chain of causes, once.
#[expect(clippy::print_stderr, reason = "the edge of the program, where errors are told to people")]
fn report(failure: &Failure) -> ExitCode {
    if !matches!(failure, Failure::Partly | Failure::Unread) {
        let mut text = failure.to_string();
        let mut cause = failure.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        eprintln!("quebert: {text}");
    }
    ExitCode::from(failure.exit_code())
}

impl SourceArgs {
    /// What the config is made of, read anew: a reload calls this again.
    fn sources(&self) -> Result<Sources, Failure> {
        const DEFAULT: &str = "quebert.toml";
        let name = match &self.config {
            Some(name) => Some(name.as_str()),
            None => fs::exists(DEFAULT).unwrap_or(false).then_some(DEFAULT),
        };
        let file = match name {
            Some(name) => {
                let text = fs::read_to_string(name).map_err(|e| Failure::Usage(format!("read {name}: {e}")))?;
                Some((name.to_owned(), text))
            }
            None => None,
        };
        let broker = self.broker.iter().filter(|url| *url != "config");
        let broker = broker.map(|url| ("--broker".to_owned(), format!("broker.url={url}")));
        let set = self.set.iter().map(|assignment| ("--set".to_owned(), assignment.clone())).chain(broker).collect();
        // Variables that are not Unicode can't be ours, nor named in a config.
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(Sources { file, env: env.collect(), set })
    }

    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.sources()?)?)
    }
}

fn rabbit(config: &Config) -> Result<RabbitAdmin, Failure> {
    if config.broker.embedded.is_some() {
        let words = "the embedded broker has no topology to look at; `broker.url` names no RabbitMQ";
        return Err(Failure::Usage(words.to_owned()));
    }
    Ok(RabbitAdmin::new(crate::compose::rabbit_config(config)?).map_err(ComposeError::from)?)
}

#[cfg(test)]
mod tests;
