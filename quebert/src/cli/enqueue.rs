//! `quebert enqueue`: publishes tasks, with the broker's confirmation for each. What a task may be is the wire's to say.

use super::{Failure, connect, table::plain};
use crate::{
    config::{Config, Span},
    intake::{Desk, Intake},
};
use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quebert_broker_adapter::amqp::RabbitAdmin;
use quebert_wire::{Binary, Envelope, HeaderValues, Json};
use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader};

/// Bytes of one line: a body of the default limit, base64, with room for the rest.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Flags of `quebert enqueue`.
#[derive(Debug, Args)]
pub(super) struct EnqueueArgs {
    /// The lane to add to; by default a task's own `queue`, else the lane of lowest priority
    #[arg(short, long)]
    lane: Option<String>,
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
    /// Publishes under way at a time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    in_flight: u16,
    /// Check the tasks, publish nothing
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

/// A task that is ready to be published, and the line it came from.
struct Ready {
    line: u64,
    intake: Intake,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    enqueued: u64,
    refused: u64,
    failed: u64,
}

pub(super) async fn enqueue(config: &Config, args: EnqueueArgs) -> Result<(), Failure> {
    let desk = Desk::new(config);
    let desk = match &args.lane {
        Some(lane) => desk.into_lane(lane).map_err(|e| Failure::Usage(e.to_string()))?,
        None => desk,
    };
    let admin = if args.dry_run { None } else { Some(connect(config).await?) };
    let mut tally = Tally::default();
    if args.url.is_some() {
        let envelope = one(&args).map_err(Failure::Usage)?;
        let intake = desk.prepare(envelope).map_err(|e| Failure::Usage(e.to_string()))?;
        report(&args, &mut tally, publish(config, admin.as_ref(), Ready { line: 1, intake }).await)?;
    } else {
        let bar = progress();
        let input = BufReader::with_capacity(64 * 1024, tokio::io::stdin());
        stream(config, &desk, admin.as_ref(), &args, input, &bar, &mut tally).await?;
        bar.finish_and_clear();
    }
    if let Some(admin) = admin {
        admin.close().await;
    }
    if !args.json {
        let what = if args.dry_run { "would be enqueued" } else { "enqueued" };
        let Tally { enqueued, refused, failed } = tally;
        writeln!(io::stdout(), "{enqueued} {what}, {refused} refused, {failed} failed")?;
    }
    if tally.refused + tally.failed == 0 { Ok(()) } else { Err(Failure::Partly) }
}

/// Publishes line by line, several at a time. A bad line is told with its number and stops nothing.
async fn stream(
    config: &Config,
    desk: &Desk,
    admin: Option<&RabbitAdmin>,
    args: &EnqueueArgs,
    mut input: impl AsyncBufRead + Unpin,
    bar: &ProgressBar,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let mut under_way = FuturesUnordered::new();
    let mut number = 0;
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            Some(result) = under_way.next() => {
                bar.inc(1);
                bar.suspend(|| report(args, tally, result))?;
            }
            line = line(&mut input), if open && under_way.len() < usize::from(args.in_flight) => {
                number += 1;
                match line.map_err(|e| Failure::other("read standard input", e))? {
                    Line::End => open = false,
                    Line::Blank => {}
                    Line::TooLong => {
                        tally.refused += 1;
                        let message = format!("longer than {LINE_BYTES_MAX} bytes");
                        bar.suspend(|| complain(args, number, &message))?;
                    }
                    Line::Text(text) => match desk.read(&text.into()) {
                        Ok(intake) => under_way.push(publish(config, admin, Ready { line: number, intake })),
                        Err(refusal) => {
                            tally.refused += 1;
                            bar.suspend(|| complain(args, number, &refusal.to_string()))?;
                        }
                    },
                }
            }
        }
    }
    Ok(())
}

async fn publish(config: &Config, admin: Option<&RabbitAdmin>, ready: Ready) -> (Ready, Result<(), String>) {
    let Some(admin) = admin else { return (ready, Ok(())) };
    let binding = &config.topology.bindings[&ready.intake.lane];
    let exchange = binding.exchange.as_deref().unwrap_or("");
    let key = if exchange.is_empty() { &*binding.queue } else { &*binding.routing_key };
    let result = admin.publish_to(exchange, key, &ready.intake.message).await.map_err(|e| e.to_string());
    (ready, result)
}

fn report(args: &EnqueueArgs, tally: &mut Tally, (ready, result): (Ready, Result<(), String>)) -> io::Result<()> {
    match &result {
        Ok(()) => tally.enqueued += 1,
        Err(_) => tally.failed += 1,
    }
    if args.json {
        let line = serde_json::json!({
            "line": ready.line, "id": ready.intake.id, "lane": &*ready.intake.lane, "enqueued": result.is_ok(), "error": result.err(),
        });
        return writeln!(io::stdout(), "{line}");
    }
    match result {
        Err(error) => complain(args, ready.line, &format!("task {}: {error}", plain(&ready.intake.id))),
        Ok(()) if args.url.is_some() => writeln!(io::stdout(), "{}", plain(&ready.intake.id)),
        Ok(()) => Ok(()),
    }
}

fn complain(args: &EnqueueArgs, line: u64, message: &str) -> io::Result<()> {
    if args.json {
        writeln!(io::stdout(), "{}", serde_json::json!({"line": line, "enqueued": false, "error": message}))
    } else {
        writeln!(io::stderr(), "line {line}: {}", plain(message))
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

enum Line {
    Text(Vec<u8>),
    Blank,
    TooLong,
    End,
}

/// One line, without ever holding more than the limit.
async fn line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut text = Vec::new();
    let mut too_long = false;
    loop {
        let chunk = input.fill_buf().await?;
        if chunk.is_empty() {
            let nothing = text.is_empty() && !too_long;
            return Ok(if nothing { Line::End } else { finished(text, too_long) });
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let take = end.unwrap_or(chunk.len());
        too_long |= text.len() + take > LINE_BYTES_MAX;
        if !too_long {
            text.extend_from_slice(&chunk[..take]);
        }
        input.consume(take + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(finished(text, too_long));
        }
    }
}

fn finished(text: Vec<u8>, too_long: bool) -> Line {
    match () {
        () if too_long => Line::TooLong,
        () if text.iter().all(u8::is_ascii_whitespace) => Line::Blank,
        () => Line::Text(text),
    }
}

fn progress() -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{spinner} {human_pos} tasks  {per_sec}  {elapsed}");
    bar.set_style(style.expect("the template is right: it is a constant"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
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

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_skipped_and_the_next_one_read() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 1];
        text.extend_from_slice(b"\n\n{}");
        let mut input = BufReader::with_capacity(1000, &text[..]);
        assert!(matches!(line(&mut input).await.unwrap(), Line::TooLong));
        assert!(matches!(line(&mut input).await.unwrap(), Line::Blank));
        assert!(matches!(line(&mut input).await.unwrap(), Line::Text(t) if t == b"{}"));
        assert!(matches!(line(&mut input).await.unwrap(), Line::End));
    }
}
