//! `quebert topology`: declare what the config says, or print it for an administrator.

use super::{
    Failure, rabbit,
    table::{self, Set},
};
use crate::{compose, config::Config, config::Span};
use clap::Subcommand;
use quebert_broker_adapter::amqp::{Report, State};
use std::io::{self, Write as _};

/// What to do with the topology.
#[derive(Debug, Subcommand)]
pub(super) enum TopologyCommand {
    /// Declare queues, exchange and bindings, each by itself; tells which failed
    Apply {
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Print everything as a RabbitMQ definitions file
    Print {
        /// The virtual host it is for
        #[arg(long, default_value = "/")]
        vhost: String,
        /// Delay queues up to this length
        #[arg(long, default_value = "25d")]
        longest_delay: Span,
    },
}

pub(super) async fn topology(config: &Config, command: TopologyCommand) -> Result<(), Failure> {
    match command {
        TopologyCommand::Print { vhost, longest_delay } => {
            writeln!(io::stdout(), "{}", compose::topology(config).definitions_json(&vhost, longest_delay.0))?;
            Ok(())
        }
        TopologyCommand::Apply { json } => {
            let admin = rabbit(config)?;
            let reports = admin.apply().await?;
            admin.close().await;
            show(&reports, json)?;
            if reports.iter().all(|r| r.state.is_usable()) { Ok(()) } else { Err(Failure::Partly) }
        }
    }
}

pub(super) fn show(reports: &[Report], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let words = |state: &State| match state {
        State::Ready => ("ready", String::new()),
        State::Differs(words) => ("differs", words.clone()),
        State::Missing(words) => ("missing", words.clone()),
        State::Unchecked => ("unchecked", String::new()),
        State::Failed(words) => ("failed", words.clone()),
        _ => ("unknown", String::new()),
    };
    if json {
        for report in reports {
            let (state, detail) = words(&report.state);
            writeln!(out, "{}", serde_json::json!({"object": report.object, "state": state, "detail": detail}))?;
        }
        return Ok(());
    }
    let rows: Vec<_> = reports
        .iter()
        .map(|r| {
            let (state, detail) = words(&r.state);
            vec![table::plain(&r.object), state.to_owned(), table::plain(&detail)]
        })
        .collect();
    table::table(&mut out, &[("OBJECT", Set::Left), ("STATE", Set::Left), ("DETAIL", Set::Left)], &rows)
}
