//! `quebert dead`: looks through dead letters, replays them, deletes them. What is not asked for stays where it is.

use super::{
    Failure, connect,
    table::{self, plain},
};
use crate::{
    config::{Config, Span},
    letter::{self, Drawer, KNOWN_REASONS, Letter, reborn},
};
use clap::{Args, Subcommand};
use quebert_broker_adapter::{
    admin::{Admin as _, AdminError, Position, Sweeper, Take},
    amqp::RabbitAdmin,
};
use quebert_dispatcher::ports::{BoxFuture, broker::Target};
use quebert_wire::{Bookkeeping, Message, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadCommand {
    /// List them: id, lane, reason, attempts, age, URL
    List {
        #[command(flatten)]
        filter: Filter,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one in full: notes, history, headers, body
    Show {
        /// Its task's id
        id: String,
        /// Look at most at that many of each queue
        #[arg(long, default_value_t = 100_000, value_name = "N")]
        scan: u64,
    },
    /// Publish them to their queues again, each removed once its publish is confirmed; attempts count from 1
    Replay {
        #[command(flatten)]
        filter: Filter,
        /// At most that many a second
        #[arg(long, value_name = "N", value_parser = positive)]
        rate: Option<f64>,
        /// Tell what would be replayed, change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete them for good
    Purge {
        #[command(flatten)]
        filter: Filter,
        /// Tell what would be deleted, change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do it
        #[arg(long)]
        yes: bool,
    },
}

/// Which dead letters are meant: those that fit all that is given.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// Of this lane; without, of all lanes and the common ones
    #[arg(long)]
    lane: Option<String>,
    /// Given up for this reason, such as max_attempts, permanent or undecodable
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// With a URL that begins so
    #[arg(long, value_name = "PREFIX")]
    url: Option<String>,
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
    /// Look at most at that many of each queue
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    scan: u64,
}

pub(super) async fn dead(config: &Config, command: DeadCommand) -> Result<(), Failure> {
    if let DeadCommand::Purge { dry_run: false, yes: false, .. } = command {
        return Err(Failure::Usage("purge deletes for good: say --yes, or look first with --dry-run".to_owned()));
    }
    let admin = connect(config).await?;
    let done = carry_out(&admin, config, command).await;
    admin.close().await;
    done
}

async fn carry_out(admin: &RabbitAdmin, config: &Config, command: DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List { filter, json } => {
            let mut letters = Vec::new();
            sweep(admin, config, &filter, None, |letter: Letter, _| {
                letters.push(letter);
                Ok(Take::Keep)
            })
            .await?;
            list(&letters, json)
        }
        DeadCommand::Show { id, scan } => {
            let filter = Filter { id: vec![id.clone()], limit: Some(1), scan, ..Filter::default() };
            let mut found = None;
            sweep(admin, config, &filter, None, |letter: Letter, message: &Message| {
                found = Some(in_full(&letter, message));
                Ok(Take::Stop)
            })
            .await?;
            let letter = found.ok_or_else(|| Failure::Usage(format!("there is no dead letter of task {id:?}")))?;
            let text = serde_json::to_string_pretty(&letter).map_err(|e| Failure::other("write output", e))?;
            writeln!(io::stdout(), "{text}")?;
            Ok(())
        }
        DeadCommand::Replay { filter, rate, dry_run } => {
            let mut stuck = 0u64;
            let count = sweep(admin, config, &filter, rate, |letter: Letter, message: &Message| {
                let Some(queue) = letter.returns_to.clone() else {
                    stuck += 1;
                    writeln!(io::stderr(), "{}: no queue to return to is known", name(&letter))?;
                    return Ok(Take::Keep);
                };
                if dry_run {
                    writeln!(io::stdout(), "{} -> {}", name(&letter), plain(&queue))?;
                    return Ok(Take::Keep);
                }
                Ok(Take::Move { target: Target::Queue(queue.into()), message: reborn(message, now()) })
            })
            .await?;
            let verb = if dry_run { "would be replayed" } else { "replayed" };
            writeln!(io::stdout(), "{} {verb}, {stuck} stay", count - stuck)?;
            if stuck == 0 { Ok(()) } else { Err(Failure::Partly) }
        }
        DeadCommand::Purge { filter, dry_run, .. } => {
            let count = sweep(admin, config, &filter, None, |letter: Letter, _| {
                if dry_run {
                    writeln!(io::stdout(), "{}", name(&letter))?;
                }
                Ok(if dry_run { Take::Keep } else { Take::Remove })
            })
            .await?;
            writeln!(io::stdout(), "{count} {}", if dry_run { "would be deleted" } else { "deleted" })?;
            Ok(())
        }
    }
}

/// Goes through the queues of dead letters and hands over those that fit. Returns how many that were.
async fn sweep(
    admin: &RabbitAdmin,
    config: &Config,
    filter: &Filter,
    rate: Option<f64>,
    each: impl FnMut(Letter, &Message) -> io::Result<Take> + Send,
) -> Result<u64, Failure> {
    let no_lane = || Failure::Usage(format!("there is no lane {:?}", filter.lane.as_deref().unwrap_or_default()));
    let pause = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let mut hand = Hand {
        filter,
        meant: filter.meant(),
        drawer: Drawer::common(),
        pause,
        next: None,
        each,
        count: 0,
        failure: None,
    };
    for drawer in Drawer::all(&config.core.lanes, filter.lane.as_deref()).ok_or_else(no_lane)? {
        hand.drawer = drawer.clone();
        match admin.sweep(drawer.place, None, filter.scan, &mut hand).await {
            // Nothing was ever dead there.
            Ok(_) | Err(AdminError::NoSuchPlace(_)) => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(e) = hand.failure.take() {
            return Err(e.into());
        }
    }
    Ok(hand.count)
}

/// Hands over the letters that fit, at a rate.
struct Hand<'f, F> {
    filter: &'f Filter,
    meant: letter::Filter,
    drawer: Drawer,
    pause: Option<Duration>,
    next: Option<tokio::time::Instant>,
    each: F,
    count: u64,
    failure: Option<io::Error>,
}

impl<F: FnMut(Letter, &Message) -> io::Result<Take> + Send> Sweeper for Hand<'_, F> {
    fn decide<'a>(&'a mut self, _at: Option<Position>, message: &'a Message) -> BoxFuture<'a, Take> {
        Box::pin(async move {
            if self.failure.is_some() || self.filter.limit.is_some_and(|limit| self.count >= limit) {
                return Take::Stop;
            }
            let letter = Letter::read(message, &self.drawer);
            if !self.meant.fits(&letter, now()) {
                return Take::Keep;
            }
            self.count += 1;
            let take = (self.each)(letter, message).unwrap_or_else(|e| {
                self.failure = Some(e);
                Take::Stop
            });
            if let (Take::Move { .. }, Some(pause)) = (&take, self.pause) {
                let next = self.next.unwrap_or_else(tokio::time::Instant::now);
                tokio::time::sleep_until(next).await;
                self.next = Some(tokio::time::Instant::now().max(next + pause));
            }
            take
        })
    }
}

fn name(letter: &Letter) -> String {
    plain(letter.id.as_deref().unwrap_or("(no id)"))
}

fn brief(letter: &Letter) -> Value {
    json!({
        "id": letter.id, "lane": letter.lane, "reason": letter.reason, "detail": letter.detail,
        "dead_at_ms": letter.at.map(Timestamp::as_millis), "attempts": letter.attempts, "url": letter.url,
    })
}

fn in_full(letter: &Letter, message: &Message) -> Value {
    let shown = letter.detail(message);
    let mut all = brief(letter);
    all["history"] = json!(Bookkeeping::read(&message.headers).history);
    all["queue"] = json!(shown.replays_to);
    all["content_type"] = json!(shown.content_type);
    all["headers"] = shown.headers;
    all["body"] = json!(shown.body);
    all["body_bytes"] = json!(shown.body_bytes);
    all
}

impl Filter {
    fn meant(&self) -> letter::Filter {
        letter::Filter {
            lane: self.lane.clone(),
            reason: self.reason.clone(),
            url_prefix: self.url.clone(),
            search: None,
            ids: self.id.clone(),
            older_than: self.older_than.map(|span| span.0),
            newer_than: self.newer_than.map(|span| span.0),
        }
    }
}

fn list(letters: &[Letter], json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        for letter in letters {
            writeln!(out, "{}", brief(letter))?;
        }
        return Ok(());
    }
    let text = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let age = |at: Option<Timestamp>| match at {
        Some(at) => Span(Duration::from_secs(now().since(at).as_secs())).to_string(),
        None => "-".to_owned(),
    };
    let row = |l: &Letter| {
        let detail = text(&l.detail);
        vec![text(&l.id), text(&l.lane), text(&l.reason), l.attempts.to_string(), age(l.at), text(&l.url), detail]
    };
    let rows: Vec<_> = letters.iter().map(row).collect();
    table::table(&mut out, &["ID", "LANE", "REASON", "ATTEMPTS", "AGE", "URL", "DETAIL"], &rows)?;
    let mut by_reason = BTreeMap::<String, u64>::new();
    letters.iter().for_each(|l| *by_reason.entry(text(&l.reason)).or_default() += 1);
    let sums: Vec<_> = by_reason.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    writeln!(out, "{} dead letters{}{}", letters.len(), if sums.is_empty() { "" } else { ": " }, sums.join(", "))?;
    Ok(())
}

fn reason(text: &str) -> Result<String, String> {
    let known = KNOWN_REASONS;
    if known.contains(&text) { Ok(text.to_owned()) } else { Err(format!("known reasons are {}", known.join(", "))) }
}

fn positive(text: &str) -> Result<f64, String> {
    let wrong = || "must be a number above 0, at most 1000000".to_owned();
    text.parse().ok().filter(|n| *n > 0.0 && *n <= 1e6).ok_or_else(wrong)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
