//! `quebert task`: where a task is, run it now, take it out. It waits for nothing to happen to it.

use super::{
    Failure,
    client::{ApiArgs, Call, Client, escaped},
    table::{self, plain, text},
    way::{Direct, Way},
};
use crate::{api::types::TaskView, letter};
use clap::{Args, Subcommand};
use quebert_broker_adapter::admin::{Found, FoundState};
use quebert_wire::{Bookkeeping, Codecs, HeaderValue, TaskId, header};
use std::io::{self, Write as _};

/// Flags of `quebert task`.
#[derive(Debug, Args)]
pub(super) struct TaskArgs {
    #[command(flatten)]
    pub(super) api: ApiArgs,
    #[command(subcommand)]
    pub(super) command: TaskCommand,
}

/// What to do with a task.
#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Where it is, with what came of its last attempts
    Show(WhichArgs),
    /// Send it now instead of at its due time
    Run(WhichArgs),
    /// Take it out for good; an attempt under way is not stopped
    Cancel(WhichArgs),
}

/// Which task, and how to tell of it.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// The task's id
    id: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn task(way: Way, command: &TaskCommand) -> Result<(), Failure> {
    match way {
        Way::Api(client) => through_api(&client, command).await,
        Way::Broker(direct) => {
            let done = at_broker(&direct, command).await;
            direct.close().await;
            done
        }
    }
}

async fn through_api(client: &Client, command: &TaskCommand) -> Result<(), Failure> {
    let (TaskCommand::Show(args) | TaskCommand::Run(args) | TaskCommand::Cancel(args)) = command;
    let path = format!("/v1/tasks/{}", escaped(&args.id));
    match command {
        TaskCommand::Show(_) => show(args, &client.ask(Call::get(path)).await?),
        TaskCommand::Run(_) => {
            client.tell(Call::post(format!("{path}/run"))).await?;
            done(args, "run", "is sent as soon as a slot is free")
        }
        TaskCommand::Cancel(_) => {
            client.tell(Call::delete(path)).await?;
            done(args, "cancelled", "is taken out")
        }
    }
}

async fn at_broker(direct: &Direct, command: &TaskCommand) -> Result<(), Failure> {
    let (TaskCommand::Show(args) | TaskCommand::Run(args) | TaskCommand::Cancel(args)) = command;
    let id = TaskId::new(&args.id).map_err(|e| Failure::Usage(format!("the id {e}")))?;
    let gone = || Failure::Usage(format!("task {:?} is not waiting anywhere", args.id));
    match command {
        TaskCommand::Show(_) => {
            let found = direct.admin.find(id).await?;
            show(args, &view(direct, &args.id, &found).ok_or_else(gone)?)
        }
        TaskCommand::Run(_) => {
            direct.admin.run_now(id).await?.then_some(()).ok_or_else(gone)?;
            done(args, "run", "is sent as soon as a slot is free")
        }
        TaskCommand::Cancel(_) => {
            direct.admin.cancel(id).await?.then_some(()).ok_or_else(gone)?;
            done(args, "cancelled", "is taken out")
        }
    }
}

/// A task as the broker has it; the copy that is furthest on.
fn view(direct: &Direct, id: &str, found: &[Found]) -> Option<TaskView> {
    let copy = found.iter().max_by_key(|found| Bookkeeping::read(&found.message.headers).copy)?;
    let book = Bookkeeping::read(&copy.message.headers);
    let lane = direct.config.core.lanes.iter().find(|lane| lane.queue == copy.queue);
    let url = match copy.message.headers.get(header::URL) {
        Some(HeaderValue::Text(url)) => Some(url.clone()),
        _ => {
            let codecs = Codecs::default();
            let codec = codecs.find(copy.message.content_type.as_deref());
            codec.and_then(|codec| codec.decode(&copy.message.body).ok()).map(|envelope| envelope.url)
        }
    };
    let state = match copy.state {
        FoundState::Ready => "ready",
        FoundState::Delayed => "delayed",
        FoundState::Delivered => "in_flight",
        FoundState::Dead => "dead",
    };
    Some(TaskView {
        id: id.to_owned(),
        queue: lane.map(|lane| lane.name.to_string()),
        state: state.to_owned(),
        url,
        attempts: book.attempts,
        due_at: book.due_at.map(|at| at.to_string()),
        enqueued_at: book.enqueued_at.map(|at| at.to_string()),
        history: letter::history(&copy.message),
        copies: u32::try_from(found.len()).unwrap_or(u32::MAX),
    })
}

fn show(args: &WhichArgs, view: &TaskView) -> Result<(), Failure> {
    Ok(table::print(args.json, view, in_full)?)
}

fn in_full(out: &mut impl io::Write, view: &TaskView) -> io::Result<()> {
    let lines = [
        ("task", plain(&view.id)),
        ("queue", text(view.queue.as_deref())),
        ("state", plain(&view.state)),
        ("url", text(view.url.as_deref())),
        ("attempts", view.attempts.to_string()),
        ("due", text(view.due_at.as_deref())),
        ("enqueued", text(view.enqueued_at.as_deref())),
        ("copies", view.copies.to_string()),
    ];
    lines.iter().try_for_each(|(name, value)| writeln!(out, "{name:<8}  {value}"))?;
    for attempt in &view.history {
        writeln!(out, "attempt   {}  {}  {} ms", plain(&attempt.at), plain(&attempt.outcome), attempt.duration_ms)?;
    }
    Ok(())
}

fn done(args: &WhichArgs, word: &str, words: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if args.json {
        table::json_line(&mut out, &serde_json::json!({"id": args.id, word: true}))?;
    } else {
        writeln!(out, "{} {words}", plain(&args.id))?;
    }
    Ok(())
}
