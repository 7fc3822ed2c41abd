//! `quebert dead`: looks through dead letters, replays them, deletes them. What is not asked for stays where it is.

use super::{
    Failure, connect,
    table::{self, plain},
};
use crate::{compose, config::Config, config::Span};
use clap::{Args, Subcommand};
use quebert_broker_adapter::amqp::{AdminError, RabbitAdmin, Take};
use quebert_dispatcher::verdict::BuryReason;
use quebert_wire::{Bookkeeping, HeaderValue, Message, Timestamp, header};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Why the broker itself gives up messages, in its words (`expired` is one of ours, too).
const BROKER_REASONS: [&str; 3] = ["delivery_limit", "rejected", "maxlen"];

/// Bytes of a body that `show` prints.
const SHOWN_BYTES: usize = 64 * 1024;

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
            sweep(admin, config, &filter, async |letter: Letter, _| {
                letters.push(letter);
                Ok(Take::Keep)
            })
            .await?;
            list(&letters, json)
        }
        DeadCommand::Show { id, scan } => {
            let filter = Filter { id: vec![id.clone()], limit: Some(1), scan, ..Filter::default() };
            let mut found = None;
            sweep(admin, config, &filter, async |letter: Letter, message: &Message| {
                found = Some(letter.in_full(message));
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
            let pause = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
            let mut next = tokio::time::Instant::now();
            let count = sweep(admin, config, &filter, async |letter: Letter, message: &Message| {
                let Some(queue) = letter.queue.clone() else {
                    stuck += 1;
                    writeln!(io::stderr(), "{}: no queue to return to is known", letter.name())?;
                    return Ok(Take::Keep);
                };
                if dry_run {
                    writeln!(io::stdout(), "{} -> {}", letter.name(), plain(&queue))?;
                    return Ok(Take::Keep);
                }
                if let Some(pause) = pause {
                    tokio::time::sleep_until(next).await;
                    next = tokio::time::Instant::now().max(next + pause);
                }
                Ok(Take::Move { exchange: String::new(), routing_key: queue, message: reborn(message, now()) })
            })
            .await?;
            let verb = if dry_run { "would be replayed" } else { "replayed" };
            writeln!(io::stdout(), "{} {verb}, {stuck} stay", count - stuck)?;
            if stuck == 0 { Ok(()) } else { Err(Failure::Partly) }
        }
        DeadCommand::Purge { filter, dry_run, .. } => {
            let count = sweep(admin, config, &filter, async |letter: Letter, _| {
                if dry_run {
                    writeln!(io::stdout(), "{}", letter.name())?;
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
    mut each: impl AsyncFnMut(Letter, &Message) -> io::Result<Take>,
) -> Result<u64, Failure> {
    let (mut count, mut failure) = (0, None);
    for place in places(config, filter.lane.as_deref())? {
        let swept = admin
            .sweep(&place.dead_queue, filter.scan, async |message: Message| {
                if failure.is_some() || filter.limit.is_some_and(|limit| count >= limit) {
                    return Take::Stop;
                }
                let letter = Letter::read(&message, &place);
                if !filter.fits(&letter, now()) {
                    return Take::Keep;
                }
                count += 1;
                each(letter, &message).await.unwrap_or_else(|e| {
                    failure = Some(e);
                    Take::Stop
                })
            })
            .await;
        match swept {
            Ok(_) => {}
            // Nothing was ever dead there.
            Err(AdminError::Refused(words)) if words.contains("NOT_FOUND") => {}
            Err(e) => return Err(e.into()),
        }
        if let Some(e) = failure.take() {
            return Err(e.into());
        }
    }
    Ok(count)
}

/// Where dead letters lie, and what that tells of them.
#[derive(Debug, Default)]
struct Place {
    dead_queue: String,
    work_queue: Option<String>,
    lane: Option<String>,
}

/// The queues of dead letters, the common one last.
fn places(config: &Config, lane: Option<&str>) -> Result<Vec<Place>, Failure> {
    let topology = compose::topology(config);
    let all = config.core.lanes.iter().map(|lane| Place {
        dead_queue: topology.dead_queue_of(&lane.queue),
        work_queue: Some(lane.queue.to_string()),
        lane: Some(lane.name.to_string()),
    });
    match lane {
        Some(name) => {
            let own: Vec<_> = all.filter(|place| place.lane.as_deref() == Some(name)).collect();
            if own.is_empty() { Err(Failure::Usage(format!("there is no lane {name:?}"))) } else { Ok(own) }
        }
        None => Ok(all.chain([Place { dead_queue: topology.common_dead_queue(), ..Place::default() }]).collect()),
    }
}

/// What can be told of a dead letter at a glance.
#[derive(Debug, Clone, PartialEq)]
struct Letter {
    id: Option<String>,
    lane: Option<String>,
    reason: Option<String>,
    detail: Option<String>,
    at: Option<Timestamp>,
    attempts: u32,
    url: Option<String>,
    queue: Option<String>,
    history: Option<String>,
}

impl Letter {
    fn read(message: &Message, place: &Place) -> Self {
        #[derive(serde::Deserialize)]
        struct Glance {
            url: Option<String>,
            id: Option<String>,
        }
        let text = |name: &str| match message.headers.get(name) {
            Some(HeaderValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let at = match message.headers.get(header::DEAD_AT) {
            Some(HeaderValue::Int(ms)) => Some(Timestamp::from_millis(*ms)),
            _ => None,
        };
        let broker = BrokerDeath::read(message);
        let book = Bookkeeping::read(&message.headers);
        // Dead letters that can't be decoded are dead letters all the same: what can't be told is left out.
        let raw = text(header::URL);
        let glance = if raw.is_some() { None } else { serde_json::from_slice::<Glance>(&message.body).ok() };
        let (url, id) = glance.map_or((raw, None), |g| (g.url, g.id));
        Self {
            id: id.or_else(|| message.id.clone()).or(book.id),
            lane: text(header::DEAD_LANE).or_else(|| place.lane.clone()),
            reason: text(header::DEAD_REASON).or(broker.reason),
            detail: text(header::DEAD_DETAIL).or(broker.detail),
            at: at.or(broker.at),
            attempts: book.attempts,
            url,
            queue: book.return_to.or_else(|| place.work_queue.clone()),
            history: book.history,
        }
    }

    fn name(&self) -> String {
        plain(self.id.as_deref().unwrap_or("(no id)"))
    }

    fn brief(&self) -> Value {
        json!({
            "id": self.id, "lane": self.lane, "reason": self.reason, "detail": self.detail,
            "dead_at_ms": self.at.map(Timestamp::as_millis), "attempts": self.attempts, "url": self.url,
        })
    }

    fn in_full(&self, message: &Message) -> Value {
        let mut all = self.brief();
        all["history"] = json!(self.history);
        all["queue"] = json!(self.queue);
        all["content_type"] = json!(message.content_type);
        let headers = message.headers.iter().map(|(k, v)| (k.clone(), value(v)));
        all["headers"] = Value::Object(headers.collect());
        let shown = &message.body[..message.body.len().min(SHOWN_BYTES)];
        all["body"] = json!(String::from_utf8_lossy(shown));
        all["body_bytes"] = json!(message.body.len());
        all
    }
}

/// What the broker notes where it gives up a message by itself, such as at a work queue's delivery limit.
#[derive(Debug, Default)]
struct BrokerDeath {
    reason: Option<String>,
    detail: Option<String>,
    at: Option<Timestamp>,
}

impl BrokerDeath {
    fn read(message: &Message) -> Self {
        // The newest comes first.
        let Some(HeaderValue::List(deaths)) = message.headers.get("x-death") else { return Self::default() };
        let Some(HeaderValue::Table(death)) = deaths.first() else { return Self::default() };
        let text = |name: &str| match death.get(name) {
            Some(HeaderValue::Text(text)) => Some(text.clone()),
            _ => None,
        };
        Self {
            reason: text("reason"),
            detail: text("queue").map(|queue| format!("given up by the broker, in queue {queue:?}")),
            at: match death.get("time") {
                Some(HeaderValue::Timestamp(at)) => Some(*at),
                _ => None,
            },
        }
    }
}

fn value(value: &HeaderValue) -> Value {
    match value {
        HeaderValue::Null => Value::Null,
        HeaderValue::Bool(b) => json!(b),
        HeaderValue::Int(n) => json!(n),
        HeaderValue::Float(n) => json!(n),
        HeaderValue::Text(text) => json!(text),
        HeaderValue::Bytes(bytes) => json!(String::from_utf8_lossy(bytes)),
        HeaderValue::Timestamp(at) => json!(at.as_millis()),
        HeaderValue::List(all) => all.iter().map(self::value).collect(),
        HeaderValue::Table(table) => Value::Object(table.iter().map(|(k, v)| (k.clone(), self::value(v))).collect()),
    }
}

impl Filter {
    fn fits(&self, letter: &Letter, now: Timestamp) -> bool {
        let age = letter.at.map(|at| now.since(at));
        self.reason.as_ref().is_none_or(|r| letter.reason.as_ref() == Some(r))
            && self.url.as_ref().is_none_or(|prefix| letter.url.as_ref().is_some_and(|url| url.starts_with(prefix)))
            && (self.id.is_empty() || letter.id.as_ref().is_some_and(|id| self.id.contains(id)))
            && self.older_than.is_none_or(|span| age.is_some_and(|age| age >= span.0))
            && self.newer_than.is_none_or(|span| age.is_some_and(|age| age < span.0))
    }
}

/// The message as it is published again: as the producer wrote it, with its id, and with attempts and age counted from
/// now. The history stays, so that a second death tells of the first. The copy's number goes on: a dispatcher that
/// remembers the settled copy of that number would take this one for it, and ack it without an attempt.
fn reborn(message: &Message, now: Timestamp) -> Message {
    let old = Bookkeeping::read(&message.headers);
    let mut message = message.clone();
    message.strip_broker_headers();
    for name in [header::DEAD_REASON, header::DEAD_DETAIL, header::DEAD_AT, header::DEAD_LANE] {
        message.headers.remove(name);
    }
    let book = Bookkeeping {
        enqueued_at: Some(now),
        copy: old.copy.saturating_add(1),
        id: old.id,
        history: old.history,
        ..Bookkeeping::default()
    };
    book.write(&mut message.headers);
    message
}

fn list(letters: &[Letter], json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if json {
        for letter in letters {
            writeln!(out, "{}", letter.brief())?;
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
    let known = [&BuryReason::ALL.map(BuryReason::label)[..], &BROKER_REASONS].concat();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn buried() -> Message {
        let mut headers = quebert_wire::Headers::new();
        for (name, text) in [
            (header::DEAD_REASON, "max_attempts"),
            (header::DEAD_DETAIL, "status 500"),
            (header::DEAD_LANE, "high"),
            (header::HISTORY, "1 500"),
            (header::RETRY_REASON, "5xx"),
            ("mine", "kept"),
        ] {
            headers.insert(name.to_owned(), HeaderValue::Text(text.to_owned()));
        }
        headers.insert(header::DEAD_AT.to_owned(), HeaderValue::Int(1_000_000));
        headers.insert(header::ATTEMPTS.to_owned(), HeaderValue::Int(20));
        headers.insert(header::COPY.to_owned(), HeaderValue::Int(21));
        headers.insert(header::ENQUEUED_AT.to_owned(), HeaderValue::Int(1));
        let body = r#"{"url": "http://host/a", "id": "t-1"}"#.into();
        Message { headers, body, ..Message::default() }
    }

    #[test]
    fn a_letter_tells_what_its_notes_say() {
        let place = Place { work_queue: Some("quebert.high".into()), ..Place::default() };
        let letter = Letter::read(&buried(), &place);
        assert_eq!(letter.id.as_deref(), Some("t-1"));
        assert_eq!((letter.reason.as_deref(), letter.attempts), (Some("max_attempts"), 20));
        assert_eq!(letter.queue.as_deref(), Some("quebert.high"));
        let junk = Message { body: "junk".into(), id: Some("m".into()), ..Message::default() };
        assert_eq!(
            Letter::read(&junk, &place).id.as_deref(),
            Some("m"),
            "what can't be decoded can be found by its id"
        );
    }

    #[test]
    fn filters_narrow_down() {
        let letter = Letter::read(&buried(), &Place::default());
        let now = Timestamp::from_millis(1_060_000);
        let fits = |filter: Filter| filter.fits(&letter, now);
        let span = |s| Some(Span(Duration::from_secs(s)));
        assert!(fits(Filter::default()));
        assert!(fits(Filter { url: Some("http://host/".into()), ..Filter::default() }));
        assert!(!fits(Filter { url: Some("http://other/".into()), ..Filter::default() }));
        assert!(fits(Filter { reason: Some("max_attempts".into()), ..Filter::default() }));
        assert!(!fits(Filter { reason: Some("permanent".into()), ..Filter::default() }));
        assert!(fits(Filter { id: vec!["x".into(), "t-1".into()], ..Filter::default() }));
        assert!(!fits(Filter { id: vec!["x".into()], ..Filter::default() }));
        assert!(fits(Filter { older_than: span(60), newer_than: span(61), ..Filter::default() }));
        assert!(!fits(Filter { older_than: span(61), ..Filter::default() }));
        assert!(!fits(Filter { newer_than: span(60), ..Filter::default() }));
    }

    #[test]
    fn a_replayed_task_begins_anew_and_keeps_what_is_its_own() {
        let message = reborn(&buried(), Timestamp::from_millis(77));
        let book = Bookkeeping::read(&message.headers);
        assert_eq!((book.attempts, book.enqueued_at), (0, Some(Timestamp::from_millis(77))));
        assert_eq!(book.copy, 22, "never taken for a copy that was settled before");
        assert_eq!(book.history.as_deref(), Some("1 500"));
        assert_eq!(message.body, buried().body);
        let names: Vec<_> = message.headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["mine", header::COPY, header::ENQUEUED_AT, header::HISTORY]);
    }

    #[test]
    fn a_letter_of_the_brokers_own_tells_its_reason() {
        let text = |text: &str| HeaderValue::Text(text.to_owned());
        let death = |reason: &str| {
            HeaderValue::Table(quebert_wire::Headers::from([
                ("reason".to_owned(), text(reason)),
                ("queue".to_owned(), text("quebert.high")),
                ("time".to_owned(), HeaderValue::Timestamp(Timestamp::from_millis(5000))),
            ]))
        };
        let deaths = HeaderValue::List(vec![death("delivery_limit"), death("rejected")]);
        let message = Message { headers: [("x-death".to_owned(), deaths)].into(), ..Message::default() };
        let place = Place { lane: Some("high".into()), ..Place::default() };
        let letter = Letter::read(&message, &place);
        assert_eq!((letter.reason.as_deref(), letter.lane.as_deref()), (Some("delivery_limit"), Some("high")));
        assert_eq!(letter.at, Some(Timestamp::from_millis(5000)));
        assert!(reason("delivery_limit").is_ok(), "and can be asked for");
    }
}
