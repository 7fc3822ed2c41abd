//! `quebert enqueue`: hands tasks in, and tells of each what became of it. What a task may be is the wire's to say.

mod counter;
mod lines;

use super::{
    Failure, SourceArgs,
    client::ApiArgs,
    progress,
    table::{self, plain},
    way::Way,
};
use crate::{
    api::types::Accepted,
    config::{Config, Span},
    intake::Desk,
};
use clap::{Args, ValueEnum};
use counter::{Counter, Fate, Handed, Item, NOT_HANDED_IN};
use futures_util::{StreamExt as _, stream::FuturesOrdered};
use indicatif::ProgressBar;
use lines::{LINE_BYTES_MAX, Line, Lines};
use quebert_wire::{Binary, Envelope, HeaderValues, Json};
use std::{
    io::{self, Write as _},
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, BufReader},
    time::{Instant, sleep_until},
};

/// Batches under way at a time.
const BATCHES_MAX: usize = 4;
/// Tasks of one batch at most, and bytes after which it is full.
const BATCH_ITEMS_MAX: usize = 500;
const BATCH_BYTES: usize = 1024 * 1024;
/// How long a batch waits for more.
const LINGER: Duration = Duration::from_millis(20);

/// Flags of `quebert enqueue`.
#[derive(Debug, Args)]
pub(super) struct EnqueueArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// The queue to add to; by default a task's own `queue`, else the one of lowest priority
    #[arg(short, long, visible_alias = "lane")]
    queue: Option<String>,
    /// URL of one task; without, NDJSON is read from standard input
    url: Option<String>,
    /// The same id is the same task; by default a UUIDv7
    #[arg(long, requires = "url")]
    id: Option<String>,
    /// HTTP method; by default POST
    #[arg(short = 'X', long, requires = "url")]
    method: Option<String>,
    /// HTTP header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", requires = "url")]
    headers: Vec<String>,
    /// The body; see --body-as
    #[arg(short, long, requires = "url")]
    body: Option<String>,
    /// What the body is
    #[arg(long, value_enum, default_value_t = BodyAs::Json)]
    body_as: BodyAs,
    /// Not before this time has passed
    #[arg(long, requires = "url", value_name = "DURATION")]
    delay: Option<Span>,
    /// Not after this time has passed
    #[arg(long, requires = "url", value_name = "DURATION")]
    ttl: Option<Span>,
    /// Limit of one attempt
    #[arg(long, requires = "url", value_name = "DURATION")]
    timeout: Option<Span>,
    /// The same command with the same key stores the task once
    #[arg(long, requires = "url", value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long to try again while the API or its broker are away
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    retry_for: Span,
    /// Check the tasks against the config, add nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a task instead of a summary
    #[arg(long)]
    json: bool,
}

/// What `--body` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BodyAs {
    /// JSON, sent as it is
    Json,
    /// Text
    Text,
    /// Base64, sent decoded
    Base64,
}

/// A line of the input, and the task that it is; or why it is none.
struct Entry {
    line: u64,
    item: Result<Item, String>,
}

/// What became of a line.
struct Told {
    line: u64,
    id: Option<String>,
    fate: Fate,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    enqueued: u64,
    refused: u64,
    failed: u64,
}

pub(super) async fn enqueue(sources: &SourceArgs, args: EnqueueArgs) -> Result<(), Failure> {
    let counter = counter(sources, &args).await?;
    let done = match args.url {
        Some(_) => single(&counter, &args).await,
        None => {
            let bar = progress::spinner("tasks");
            let input = Lines::new(BufReader::with_capacity(64 * 1024, tokio::io::stdin()));
            let mut tally = Tally::default();
            let done = stream(&counter, &args, input, &bar, &mut tally).await;
            bar.finish_and_clear();
            // Also after a failure: what is stored is stored.
            tally.tell(&args)?;
            done
        }
    };
    counter.close().await;
    done
}

async fn counter(sources: &SourceArgs, args: &EnqueueArgs) -> Result<Counter, Failure> {
    let desk = |config: &Config| {
        let desk = Desk::new(config);
        match &args.queue {
            Some(queue) => desk.into_lane(queue).map_err(|e| Failure::Usage(e.to_string())),
            None => Ok(desk),
        }
    };
    if args.dry_run {
        return Ok(Counter::nowhere(desk(&sources.load()?)?));
    }
    Ok(match Way::choose(sources, &args.api).await? {
        Way::Api(client) => Counter::at_api(client, args.queue.clone(), args.retry_for.0),
        Way::Broker(direct) => {
            let desk = desk(&direct.config)?;
            Counter::at_broker(direct, desk)
        }
    })
}

async fn single(counter: &Counter, args: &EnqueueArgs) -> Result<(), Failure> {
    let key = args.idempotency_key.as_deref();
    let envelope = one(args).map_err(Failure::Usage)?;
    let item = counter.prepare(envelope, key.is_some()).map_err(Failure::Usage)?;
    let accepted = counter.hand_in(item, key).await?;
    let mut tally = Tally { enqueued: 1, ..Tally::default() };
    if args.json || args.dry_run {
        tally.enqueued = 0;
        report(args, &mut tally, Told { line: 1, id: None, fate: Fate::Stored(accepted) })?;
        return tally.tell(args);
    }
    Ok(writeln!(io::stdout(), "{}", plain(&accepted.id))?)
}

/// Hands in batch by batch, several at a time, and tells of the lines in their order. A bad line stops nothing. When there
/// is no use in handing in more, nothing more is read, and what was read is told of to the end.
async fn stream(
    counter: &Counter,
    args: &EnqueueArgs,
    mut input: Lines<impl AsyncBufRead + Unpin>,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut under_way = FuturesOrdered::new();
    let mut batch = Batch::default();
    let mut number = 0;
    let mut open = true;
    let mut failure = None;
    loop {
        if under_way.len() < BATCHES_MAX && (batch.is_full() || (!open && !batch.entries.is_empty())) {
            under_way.push_back(send(Some(counter), std::mem::take(&mut batch).entries));
        }
        if !open && batch.entries.is_empty() && under_way.is_empty() {
            if let Some(failure) = failure {
                return Err(failure);
            }
            return if tally.refused + tally.failed == 0 { Ok(()) } else { Err(Failure::Partly) };
        }
        tokio::select! {
            Some((told, failed)) = under_way.next() => {
                for told in told {
                    bar.inc(1);
                    bar.suspend(|| report(args, tally, told))?;
                }
                if failed.is_some() && failure.is_none() {
                    (failure, open) = (failed, false);
                    under_way.push_back(send(None, std::mem::take(&mut batch).entries));
                }
            }
            line = input.next(), if open && !batch.is_full() => {
                number += 1;
                match line {
                    Ok(Line::End) => open = false,
                    Ok(Line::Blank) => {}
                    Ok(Line::TooLong) => batch.push(number, Err(format!("longer than {LINE_BYTES_MAX} bytes"))),
                    Ok(Line::Text(text)) => batch.push(number, counter.read(&text)),
                    Err(e) => (failure, open) = (Some(Failure::other("read standard input", e)), false),
                }
            }
            () = sleep_until(batch.due), if !batch.entries.is_empty() && under_way.len() < BATCHES_MAX => {
                under_way.push_back(send(Some(counter), std::mem::take(&mut batch).entries));
            }
        }
    }
}

/// Lines that are handed in together.
struct Batch {
    entries: Vec<Entry>,
    bytes: usize,
    /// When it waits no longer for more.
    due: Instant,
}

impl Default for Batch {
    fn default() -> Self {
        Self { entries: Vec::new(), bytes: 0, due: Instant::now() }
    }
}

impl Batch {
    fn push(&mut self, line: u64, item: Result<Item, String>) {
        if self.entries.is_empty() {
            self.due = Instant::now() + LINGER;
        }
        self.bytes += item.as_ref().map_or(0, Item::bytes);
        self.entries.push(Entry { line, item });
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= BATCH_ITEMS_MAX || self.bytes >= BATCH_BYTES
    }
}

/// Hands in the tasks among these lines, if there is anybody to hand them in to.
async fn send(counter: Option<&Counter>, entries: Vec<Entry>) -> (Vec<Told>, Option<Failure>) {
    let mut told = Vec::with_capacity(entries.len());
    let (mut items, mut places) = (Vec::new(), Vec::new());
    for Entry { line, item } in entries {
        let (id, fate) = match item {
            Ok(item) => {
                places.push(told.len());
                let id = item.id.clone();
                items.push(item);
                (Some(id), Fate::Failed(NOT_HANDED_IN.to_owned()))
            }
            Err(why) => (None, Fate::Refused(why)),
        };
        told.push(Told { line, id, fate });
    }
    let Some(counter) = counter.filter(|_| !items.is_empty()) else { return (told, None) };
    let Handed { fates, failure } = counter.hand_in_all(items, None).await;
    for (place, fate) in places.into_iter().zip(fates) {
        told[place].fate = fate;
    }
    (told, failure)
}

fn report(args: &EnqueueArgs, tally: &mut Tally, told: Told) -> io::Result<()> {
    let (accepted, error) = match told.fate {
        Fate::Stored(accepted) => {
            tally.enqueued += 1;
            (Some(accepted), None)
        }
        Fate::Refused(why) => {
            tally.refused += 1;
            (None, Some(why))
        }
        Fate::Failed(why) => {
            tally.failed += 1;
            (None, Some(why))
        }
    };
    if args.json {
        let (id, queue) = accepted.map(|Accepted { id, queue }| (id, queue)).unzip();
        let line = serde_json::json!({
            "line": told.line, "id": id.or(told.id), "queue": queue, "enqueued": error.is_none(), "error": error,
        });
        return table::json_line(&mut io::stdout().lock(), &line);
    }
    match (error, told.id) {
        (Some(error), Some(id)) => {
            writeln!(io::stderr(), "line {}: task {}: {}", told.line, plain(&id), table::plain_lines(&error))
        }
        (Some(error), None) => writeln!(io::stderr(), "line {}: {}", told.line, table::plain_lines(&error)),
        (None, _) => Ok(()),
    }
}

impl Tally {
    fn tell(&self, args: &EnqueueArgs) -> Result<(), Failure> {
        if !args.json {
            let what = if args.dry_run { "would be enqueued" } else { "enqueued" };
            let Self { enqueued, refused, failed } = self;
            writeln!(io::stdout(), "{enqueued} {what}, {refused} refused, {failed} failed")?;
        }
        Ok(())
    }
}

fn one(args: &EnqueueArgs) -> Result<Envelope, String> {
    let mut envelope = Envelope::new(args.url.clone().unwrap_or_default());
    envelope.id.clone_from(&args.id);
    envelope.method.clone_from(&args.method);
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("header {header:?} has no colon"))?;
        envelope.headers.insert(name.trim().to_owned(), HeaderValues::One(value.trim().to_owned()));
    }
    let ms = |span: Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
    (envelope.delay_ms, envelope.ttl_ms) = (args.delay.map(ms), args.ttl.map(ms));
    envelope.timeout_ms = args.timeout.map(ms);
    if let Some(body) = &args.body {
        match args.body_as {
            BodyAs::Json => {
                envelope.body =
                    Some(Json::new(body.clone()).map_err(|e| format!("body is not JSON: {}", without_line(&e)))?);
            }
            BodyAs::Text => envelope.body_text = Some(body.clone()),
            BodyAs::Base64 => {
                let decoded: Binary = serde_json::from_value(body.clone().into()).map_err(|e| format!("body: {e}"))?;
                envelope.body_base64 = Some(decoded);
            }
        }
    }
    Ok(envelope)
}

/// Each line is a document of its own, so serde's "line 1" would mislead beside the line's number in the stream.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) if error.column() > 0 => format!("{message} (column {})", error.column()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn args(line: &[&str]) -> EnqueueArgs {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: EnqueueArgs,
        }
        let parsed: Only = clap::Parser::try_parse_from(["enqueue"].iter().chain(line)).unwrap();
        parsed.args
    }

    #[test]
    fn flags_make_the_same_task_as_json() {
        let flags = ["http://h/", "-X", "PUT", "-H", "X-A: b", "-b", "{\"a\": 1}", "--delay", "5s", "--ttl", "1h"];
        let text = serde_json::to_string(&one(&args(&flags)).unwrap()).unwrap();
        assert_snapshot!(text, @r#"
    {"url":"http://h/","method":"PUT","headers":{"X-A":"b"},"body":{"a": 1},"delay_ms":5000,"ttl_ms":3600000}
    "#);
        assert!(one(&args(&["http://h/", "-b", "{"])).is_err());
    }
}
