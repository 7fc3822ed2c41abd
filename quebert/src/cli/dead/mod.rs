//! `quebert dead`: looks through dead letters, replays them, deletes them. What is not asked for stays where it is.

mod at_broker;
mod show;
mod through_api;

use super::{
    Failure,
    client::ApiArgs,
    table::{self, plain},
    way::Way,
};
use crate::{api::types::DeadFilter, config::Span, letter::KNOWN_REASONS};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Flags of `quebert dead`.
#[derive(Debug, Args)]
pub(super) struct DeadArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    #[command(subcommand)]
    command: DeadCommand,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List them: key, queue, reason, attempts, age, URL
    List {
        #[command(flatten)]
        filter: FilterArgs,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one in full: history, headers, body
    Show {
        /// Its key: its task's id, or what `list` shows
        key: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Publish them to their queues again; attempts count from 1
    Replay {
        /// These, by their keys; without, all that fit the filter
        #[arg(value_name = "KEY", conflicts_with = "FilterArgs")]
        keys: Vec<String>,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        how: HowArgs,
    },
    /// Delete these for good, by their keys
    Delete {
        /// Their keys
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Delete all that fit for good
    Purge {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        how: HowArgs,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// How to replay or delete many.
#[derive(Debug, Clone, Default, Args)]
struct HowArgs {
    /// At most that many a second
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// Tell what would be done, change nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Which dead letters are meant: those that fit all that is given.
#[derive(Debug, Clone, Default, Args)]
#[group(id = "FilterArgs", multiple = true)]
struct FilterArgs {
    /// Of this queue; without, of all queues and the common ones
    #[arg(short, long, visible_alias = "lane")]
    queue: Option<String>,
    /// Given up for this reason, such as max_attempts, permanent or undecodable
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// With a URL that begins so
    #[arg(long, value_name = "PREFIX")]
    url: Option<String>,
    /// Whose id, URL, reason or detail contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Of the task with this id; may be repeated
    #[arg(long)]
    id: Vec<String>,
    /// Given up longer ago than this
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Span>,
    /// Given up more recently than this
    #[arg(long, value_name = "DURATION")]
    newer_than: Option<Span>,
    /// At most that many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// With --broker: look at most at that many of each queue
    #[arg(long, value_name = "N")]
    scan: Option<u64>,
}

impl FilterArgs {
    /// As the API says it; one for each id, if there are any.
    fn said(&self) -> Vec<DeadFilter> {
        let ms = |span: Option<Span>| span.map(|span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
        let all = DeadFilter {
            queue: self.queue.clone(),
            reason: self.reason.clone(),
            url_prefix: self.url.clone(),
            search: self.search.clone(),
            id: None,
            older_than_ms: ms(self.older_than),
            newer_than_ms: ms(self.newer_than),
        };
        if self.id.is_empty() {
            return vec![all];
        }
        self.id.iter().map(|id| DeadFilter { id: Some(id.clone()), ..all.clone() }).collect()
    }
}

/// What becomes of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    Replay,
    Delete,
}

impl Deed {
    fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Delete => "delete",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Delete => "deleted",
        }
    }
}

/// What came of a replay or a delete.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Outcome {
    kind: Deed,
    dry_run: bool,
    /// Looked at.
    seen: u64,
    /// Of these, those that were meant.
    matched: u64,
    /// Of these, done.
    done: u64,
    /// Of these, kept: no queue to return to is known.
    stuck: u64,
    /// Keys of which there is no letter.
    missing: Vec<String>,
}

impl Outcome {
    fn of(kind: Deed, dry_run: bool) -> Self {
        Self { kind, dry_run, seen: 0, matched: 0, done: 0, stuck: 0, missing: Vec::new() }
    }

    fn tell(&self, json: bool) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if json {
            table::json_line(&mut out, self)?;
        } else {
            for key in &self.missing {
                writeln!(io::stderr(), "{}: there is no such dead letter", plain(key))?;
            }
            let (count, verb) = match self.dry_run {
                true => (self.matched - self.stuck, "would be "),
                false => (self.done, ""),
            };
            match self.kind {
                Deed::Replay => writeln!(out, "{count} {verb}replayed, {} stay", self.stuck)?,
                Deed::Delete => writeln!(out, "{count} {verb}deleted")?,
            }
        }
        if self.stuck == 0 && self.missing.is_empty() { Ok(()) } else { Err(Failure::Partly) }
    }
}

impl DeadArgs {
    /// Refuses what was not confirmed, before anything is asked for.
    pub(super) fn confirmed(&self) -> Result<(), Failure> {
        match self.command {
            DeadCommand::Purge { yes: false, how: HowArgs { dry_run: false, .. }, .. } => {
                Err(Failure::Usage("purge deletes for good: say --yes, or look first with --dry-run".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

pub(super) async fn dead(way: Way, args: DeadArgs) -> Result<(), Failure> {
    match way {
        Way::Api(client) => through_api::carry_out(&client, args.command).await,
        Way::Broker(direct) => {
            let done = at_broker::carry_out(&direct, args.command).await;
            direct.close().await;
            done
        }
    }
}

fn reason(text: &str) -> Result<String, String> {
    if KNOWN_REASONS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!("known reasons are {}", KNOWN_REASONS.join(", ")))
}

fn positive(text: &str) -> Result<f64, String> {
    let wrong = || "must be a number above 0, at most 1000000".to_owned();
    text.parse().ok().filter(|n| *n > 0.0 && *n <= 1e6).ok_or_else(wrong)
}

/// The pause between two letters at this rate.
fn pause(rate: Option<f64>) -> Option<Duration> {
    rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
}
