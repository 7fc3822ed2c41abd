//! The command line: what there is to say, and what comes back as an exit code. What is run and judged stands elsewhere.

mod certificate;
mod chaos;
mod compare;
mod drain;
mod executor;
mod find;
mod live;
mod out;
mod plan;
mod profile;
mod report;
mod run;
mod simulate;
mod sweep;
mod verify;

use crate::{report::exit, run::ConfigError, schema::Written};
use clap::{Parser, Subcommand};
use std::{error::Error as _, io, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

const EXIT_CODES: &str = "\
Exit codes:
  0  every promise was kept, and every threshold
  1  a threshold was missed
  2  a task was lost, or another promise was broken
  3  the run is invalid: the tester was late or starved, or the run never became steady
  4  wrong usage, or a system that could not be started; nothing was measured";

/// Load tests of Quebert: truth about latency, and proof that nothing was lost.
#[derive(Debug, Parser)]
#[command(name = "quebert-loadtest", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a profile against a system, and report
    Run(Box<run::RunArgs>),
    /// Plan capacity for a workload, assumed or measured
    Plan(Box<plan::PlanArgs>),
    /// Compute what would happen with other dispatchers, slots and prefetch windows
    Simulate(Box<simulate::SimulateArgs>),
    /// Make a page, a summary or JUnit's XML of a report
    Report(report::ReportArgs),
    /// Run a profile while dispatchers or the broker are killed, or the link between them is cut, stalled or slow
    Chaos(Box<run::RunArgs>),
    /// Find the largest rate at which objectives are kept
    FindMax(Box<find::FindArgs>),
    /// Run a grid of rates, concurrency and prefetch
    Sweep(Box<sweep::SweepArgs>),
    /// Make a backlog, and measure how long it takes to drain
    Drain(Box<drain::DrainArgs>),
    /// Compare runs before a change with runs after it: better, same, worse or inconclusive
    Compare(compare::CompareArgs),
    /// Judge a ledger again
    Verify(verify::VerifyArgs),
    /// Run executors alone, until they are interrupted
    Executor(executor::ExecutorArgs),
    /// Make a certificate for executors, and an authority that dispatchers which run are to trust
    Certificate(certificate::CertificateArgs),
    /// Print the JSON Schema of what a verb writes
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = Written::Report)]
        of: Written,
    },
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    #[error(transparent)]
    Bench(#[from] crate::search::BenchError),
    #[error(transparent)]
    Ledger(#[from] crate::ledger::LedgerFileError),
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FleetError),
    #[error(transparent)]
    Identity(#[from] crate::fleet::IdentityError),
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("understand {}", .0.display())]
    Document(PathBuf, #[source] crate::report::DocumentError),
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error("write to standard output")]
    Output(#[from] io::Error),
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no mistakes.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Plan(args) => plan::make(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Report(args) => report::report(&args),
        Command::Chaos(args) => chaos::chaos(*args),
        Command::FindMax(args) => find::find(*args),
        Command::Sweep(args) => sweep::sweep_verb(*args),
        Command::Drain(args) => drain::drain_verb(*args),
        Command::Compare(args) => compare::compare(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Executor(args) => executor::executor(&args),
        Command::Certificate(args) => certificate::certificate(&args),
        Command::Schema { of } => out::print(&format!("{:#}", of.schema())).map(|()| exit::OK).map_err(Error::Output),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // Nobody reads any more: `| head` is no mistake.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("quebert-loadtest: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            out::tell(&text);
            ExitCode::from(exit::USAGE)
        }
    }
}

/// Waits for SIGINT or SIGTERM; for ever, if neither can be waited for.
async fn interrupted() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let Ok(mut int) = signal(SignalKind::interrupt()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
