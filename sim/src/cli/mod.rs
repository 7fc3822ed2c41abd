//! The command line: what there is to say, and what comes back as an exit code. What is run and judged stands elsewhere.

mod cases;
mod clock;
mod list;
mod meta;
mod out;
#[cfg(feature = "planted")]
mod planted;
mod run;
mod shrink;
mod swarm;

use clap::{Parser, Subcommand};
use std::{error::Error as _, io, path::PathBuf, process::ExitCode};

const EXIT_CODES: &str = "\
Exit codes:
  0  every promise was kept, and every run that was repeated was the same
  1  a promise was broken, two runs of one case differed, or a run did not end
  2  wrong usage, or a file that can't be read or written; nothing was judged";

/// A deterministic world that tries to make Quebert lose a task.
#[derive(Debug, Parser)]
#[command(name = "quebert-sim", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one case and judge it; write its trace, its messages, or a timeline to look at
    Run(run::RunArgs),
    /// Run many seeds, each a case of its own, in several processes
    Swarm(swarm::SwarmArgs),
    /// Run a case again from its file or seed, and tell the story of what went wrong
    Replay(run::ReplayArgs),
    /// Make a failing case small, while it goes on breaking the same promise
    Shrink(shrink::ShrinkArgs),
    /// Prove that the same case gives the same bytes: in this process, and in others
    Meta(meta::MetaArgs),
    /// Look for each known bug, and say how soon it was found
    #[cfg(feature = "planted")]
    Planted(planted::PlantedArgs),
    /// List the scenarios
    Scenarios,
    /// Print the case of a seed as JSON
    Case(list::CaseArgs),
    /// A worker of `swarm`
    #[command(hide = true)]
    SwarmWorker(swarm::WorkerArgs),
    /// A process that `meta` compares with itself
    #[command(hide = true)]
    MetaChild(meta::ChildArgs),
}

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Kept,
    Broken,
}

/// Why nothing was judged.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("write {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("{origin}")]
    Case {
        origin: String,
        #[source]
        source: crate::case::CaseError,
    },
    #[error("start another process of this program")]
    Process(#[source] io::Error),
    #[error("write to standard output")]
    Output(#[from] io::Error),
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => run::replay(&args),
        Command::Swarm(args) => swarm::swarm(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Meta(args) => meta::meta(&args),
        #[cfg(feature = "planted")]
        Command::Planted(args) => planted::planted(&args),
        Command::Scenarios => list::scenarios(),
        Command::Case(args) => list::case(&args),
        Command::SwarmWorker(args) => swarm::worker(&args),
        Command::MetaChild(args) => meta::child(&args),
    };
    match result {
        Ok(Verdict::Kept) => ExitCode::SUCCESS,
        Ok(Verdict::Broken) => ExitCode::from(1),
        // Nobody reads any more: `quebert-sim case 1 | head` is no mistake.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("quebert-sim: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text.push_str(&format!(": {error}"));
                cause = error.source();
            }
            out::tell(&text);
            ExitCode::from(2)
        }
    }
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
