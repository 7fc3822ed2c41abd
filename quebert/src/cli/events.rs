//! `quebert events`: what happens in a running program, as it happens. It goes on after a fault where it was.

use super::{
    Failure,
    client::{ApiArgs, Call, Client, ClientError},
    sse::Parser,
    table::{self, plain},
};
use crate::api::types::EventView;
use clap::Args;
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The API sends a sign of life every few seconds; nothing for that long is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Pauses between two tries to go on.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Flags of `quebert events`.
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    /// Of this queue
    #[arg(short, long, visible_alias = "lane")]
    queue: Option<String>,
    /// Of the task with this id
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// Of this kind, such as attempt_ended or buried; may be repeated, or several with commas between them
    #[arg(long, value_delimiter = ',')]
    kind: Vec<String>,
    /// Begin behind the event of this number, as far as it is still known
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// End after that many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn events(client: &Client, args: &EventsArgs) -> Result<(), Failure> {
    let mut follower = Follower { args, last: args.after.map(|seq| seq.to_string()), left: args.limit };
    if follower.left == Some(0) {
        return Ok(());
    }
    let mut body = client.stream(follower.call()).await?;
    let mut pause = PAUSE_MIN;
    loop {
        let seen = follower.last.clone();
        let Some(why) = follower.follow(body).await? else { return Ok(()) };
        if follower.last != seen {
            pause = PAUSE_MIN;
        }
        writeln!(io::stderr(), "{}: {}; going on as soon as it is back", client.address(), plain(&why))?;
        body = loop {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            match client.stream(follower.call()).await {
                Ok(body) => break body,
                Err(ClientError::Problem { problem, .. }) if problem.status < 500 => {
                    return Err(ClientError::Problem { problem, retry_after: None }.into());
                }
                Err(_) => {}
            }
        };
    }
}

/// What has been told so far.
struct Follower<'a> {
    args: &'a EventsArgs,
    last: Option<String>,
    left: Option<u64>,
}

impl Follower<'_> {
    fn call(&self) -> Call {
        let kinds = (!self.args.kind.is_empty()).then(|| self.args.kind.join(","));
        let call = Call::get("/v1/events").query([
            ("queue", self.args.queue.clone()),
            ("task", self.args.task.clone()),
            ("kind", kinds),
        ]);
        match self.last.as_deref().and_then(|last| HeaderValue::try_from(last).ok()) {
            Some(last) => call.header(HeaderName::from_static("last-event-id"), last),
            None => call,
        }
    }

    /// Tells what comes, until there are enough (`None`) or the stream ends, and why that was.
    async fn follow(&mut self, mut body: Incoming) -> Result<Option<String>, Failure> {
        let mut parser = Parser::default();
        loop {
            let frame = match timeout(SILENCE_MAX, body.frame()).await {
                Err(_) => return Ok(Some("nothing comes any more".into())),
                Ok(None) => return Ok(Some("the stream has ended".into())),
                Ok(Some(Err(e))) => return Ok(Some(format!("the stream broke off: {e}"))),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            for event in parser.push(&data).map_err(|e| Failure::other("API", e))? {
                if let Some(id) = event.id {
                    self.last = Some(id);
                }
                // Kinds that a newer API may have are told as well as can be.
                let view = serde_json::from_str::<EventView>(&event.data)
                    .map_err(|e| Failure::other("the API sent what is no event", e))?;
                table::print(self.args.json, &view, |out, view| writeln!(out, "{}", line(view)))?;
                // A gap is no event.
                if let Some(left) = self.left.as_mut().filter(|_| view.kind != "missed") {
                    *left -= 1;
                    if *left == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// One line for people.
fn line(view: &EventView) -> String {
    // The time of day is enough for people; JSON has all of it.
    let time = view.at.get(11..23).unwrap_or(&view.at);
    let mut line = format!("{}  {:<19}", plain(time), plain(&view.kind));
    for (text, width) in [(&view.queue, 8), (&view.task, 36)] {
        let text = plain(text.as_deref().unwrap_or(""));
        let _ = write!(line, "  {text:<width$}");
    }
    if let Some(attempt) = view.attempt {
        let _ = write!(line, "  #{attempt}");
    }
    let number = |n: u16| n.to_string();
    let words = [view.status.map(number), view.result.clone(), view.destination.clone(), view.detail.clone()];
    for word in words.into_iter().flatten() {
        let _ = write!(line, "  {}", plain(&word));
    }
    if let Some(ms) = view.duration_ms {
        let _ = match view.kind.as_str() {
            "retry_scheduled" => write!(line, "  in {}", table::age(Duration::from_secs_f64(ms.max(0.0) / 1000.0))),
            _ => write!(line, "  {ms:.1}ms"),
        };
    }
    if let Some(count) = view.count {
        let _ = write!(line, "  {count} of them");
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn events_are_lines_for_people() {
        let event = |kind: &str| EventView {
            seq: 7,
            at: "2026-11-24T10:00:00.123Z".into(),
            kind: kind.into(),
            queue: Some("high".into()),
            task: Some("order-17".into()),
            attempt: Some(3),
            destination: None,
            status: None,
            result: None,
            detail: None,
            duration_ms: None,
            count: None,
        };
        let ended = EventView {
            status: Some(500),
            result: Some("5xx".into()),
            destination: Some("http://host:80".into()),
            duration_ms: Some(12.34),
            ..event("attempt_ended")
        };
        let retry =
            EventView { duration_ms: Some(200_000.0), detail: Some("\u{1b}[2J".into()), ..event("retry_scheduled") };
        let missed = EventView { queue: None, task: None, attempt: None, count: Some(12), ..event("missed") };
        let lines = [ended, retry, missed].map(|view| line(&view)).join("\n");
        assert_snapshot!(lines, @r"
        10:00:00.123  attempt_ended        high      order-17                              #3  500  5xx  http://host:80  12.3ms
        10:00:00.123  retry_scheduled      high      order-17                              #3  \u{1b}[2J  in 3m20s
        10:00:00.123  missed                                                               12 of them
        ");
    }
}
