//! Dead letters through the API. A replay or delete by filter is an operation there, which is waited for here.

use super::{DeadCommand, Deed, FilterArgs, HowArgs, Outcome, show};
use crate::{
    api::types::{DeadAction, DeadDetail, DeadFilter, DeadPage, DeadView, Operation},
    cli::{
        Failure,
        client::{Call, Client, ClientError, escaped},
        table::{self, plain},
    },
};
use http::Method;
use std::{
    io::{self, Write as _},
    time::Duration,
};

/// Letters asked for at a time.
const PAGE_MAX: u64 = 500;
/// How often an operation is looked at.
const POLL: Duration = Duration::from_millis(250);

pub(super) async fn carry_out(client: &Client, command: DeadCommand) -> Result<(), Failure> {
    match command {
        DeadCommand::List { filter, json } => list(client, &filter, json).await,
        DeadCommand::Show { key, json } => {
            let shown: DeadDetail = client.ask(Call::get(path(&key))).await?;
            Ok(table::print(json, &shown, show::in_full)?)
        }
        DeadCommand::Replay { keys, filter, how } if keys.is_empty() => {
            by_filter(client, Deed::Replay, &filter, &how).await
        }
        DeadCommand::Replay { keys, how, .. } => by_keys(client, Deed::Replay, &keys, &how).await,
        DeadCommand::Delete { keys, json } => {
            by_keys(client, Deed::Delete, &keys, &HowArgs { json, ..HowArgs::default() }).await
        }
        DeadCommand::Purge { filter, how, .. } => by_filter(client, Deed::Delete, &filter, &how).await,
    }
}

async fn list(client: &Client, filter: &FilterArgs, json: bool) -> Result<(), Failure> {
    let mut letters = Vec::new();
    let mut complete = true;
    for said in filter.said() {
        let mut cursor = None;
        loop {
            let left = filter.limit.map_or(u64::MAX, |limit| limit - letters.len() as u64);
            if left == 0 {
                break;
            }
            let page: DeadPage = client.ask(page(&said, left.min(PAGE_MAX), cursor.take())).await?;
            complete &= page.complete;
            if json {
                page.letters.iter().try_for_each(|letter| table::json_line(&mut io::stdout().lock(), letter))?;
            }
            letters.extend(page.letters);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    if !json {
        show::list(&mut io::stdout().lock(), &letters)?;
    }
    if !complete {
        writeln!(io::stderr(), "there are more than a listing looks through; some that fit may be missing")?;
    }
    Ok(())
}

fn page(said: &DeadFilter, limit: u64, cursor: Option<String>) -> Call {
    Call::get("/v1/dead").query([
        ("queue", said.queue.clone()),
        ("reason", said.reason.clone()),
        ("url_prefix", said.url_prefix.clone()),
        ("search", said.search.clone()),
        ("id", said.id.clone()),
        ("older_than_ms", said.older_than_ms.map(|ms| ms.to_string())),
        ("newer_than_ms", said.newer_than_ms.map(|ms| ms.to_string())),
        ("limit", Some(limit.to_string())),
        ("cursor", cursor),
    ])
}

async fn by_keys(client: &Client, deed: Deed, keys: &[String], how: &HowArgs) -> Result<(), Failure> {
    let mut outcome = Outcome::of(deed, how.dry_run);
    let mut ticks = super::pause(how.rate).map(tokio::time::interval);
    for key in keys {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let asked = match (how.dry_run, deed) {
            (true, _) => client.tell(Call::get(path(key))).await,
            (false, Deed::Replay) => client.tell(Call::post(format!("{}/replay", path(key)))).await,
            (false, Deed::Delete) => client.tell(Call::new(Method::DELETE, path(key))).await,
        };
        match asked {
            Ok(()) => {
                outcome.matched += 1;
                outcome.done += u64::from(!how.dry_run);
            }
            Err(ClientError::Problem { problem, .. }) if problem.code == "dead_letter_not_found" => {
                outcome.missing.push(key.clone());
            }
            Err(ClientError::Problem { problem, .. }) if problem.code == "no_way_back" => {
                outcome.matched += 1;
                outcome.stuck += 1;
            }
            // What is done is told before what went wrong.
            Err(e) => {
                if outcome.done > 0 {
                    drop(outcome.tell(how.json));
                }
                return Err(e.into());
            }
        }
    }
    outcome.seen = outcome.matched;
    outcome.tell(how.json)
}

async fn by_filter(client: &Client, deed: Deed, filter: &FilterArgs, how: &HowArgs) -> Result<(), Failure> {
    let mut outcome = Outcome::of(deed, how.dry_run);
    for said in filter.said() {
        let left = filter.limit.map(|limit| limit.saturating_sub(outcome.matched));
        if left == Some(0) {
            break;
        }
        if how.dry_run && !how.json {
            let shown = left.unwrap_or(u64::MAX).min(PAGE_MAX);
            let page: DeadPage = client.ask(page(&said, shown, None)).await?;
            preview(&page.letters)?;
        }
        let action = DeadAction { filter: said, rate_per_s: how.rate, limit: left, dry_run: how.dry_run };
        let begun = client.ask(Call::post(format!("/v1/dead/{}", deed.word())).json(&action)).await?;
        let ended = wait(client, deed, begun).await?;
        outcome.seen += ended.seen;
        outcome.matched += ended.matched;
        outcome.done += ended.done;
        outcome.stuck += ended.stuck;
        if ended.state != "done" {
            let why = ended.error.unwrap_or_else(|| format!("it was {}", ended.state));
            drop(outcome.tell(how.json));
            return Err(Failure::other("the operation did not end well", plain(&why)));
        }
    }
    outcome.tell(how.json)
}

/// The first of those that are meant, so that a dry run shows what it is about.
fn preview(letters: &[DeadView]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    letters.iter().try_for_each(|letter| writeln!(out, "{}", plain(&letter.key)))
}

/// Waits for an operation. Ctrl-C cancels it, which leaves what is done done.
async fn wait(client: &Client, deed: Deed, mut operation: Operation) -> Result<Operation, Failure> {
    let bar = super::super::progress::spinner(deed.done());
    let mut cancelled = false;
    while operation.state == "running" {
        bar.set_position(operation.done);
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            Ok(()) = tokio::signal::ctrl_c(), if !cancelled => {
                cancelled = true;
                client.tell(Call::delete(operation_path(&operation))).await?;
            }
        }
        operation = match client.ask(Call::get(operation_path(&operation))).await {
            Ok(operation) => operation,
            // It goes on by itself: a moment without an answer is no reason to leave it.
            Err(e) if e.try_again().is_some() && !matches!(e, ClientError::Connect(_)) => operation,
            Err(e) => return Err(e.into()),
        };
    }
    bar.finish_and_clear();
    Ok(operation)
}

fn operation_path(operation: &Operation) -> String {
    format!("/v1/operations/{}", escaped(&operation.id))
}

fn path(key: &str) -> String {
    format!("/v1/dead/{}", escaped(key))
}
